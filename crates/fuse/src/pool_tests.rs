//! The pool's threads: which requests may block, when threads come and go.

use super::worker::{Pace, buffer_in_memory, pace_of};
use super::*;
use crate::connection::BUFFER_BYTES;
use crate::request::Operation;
use std::time::Duration;

#[test]
fn what_waits_for_a_disk_is_slow_and_what_may_is_watched() {
    assert_eq!(pace_of(&Operation::Fsync { data_only: true }), Pace::Slow);
    assert_eq!(pace_of(&Operation::Read { offset: 0, size: 4096 }), Pace::Unsure);
    assert_eq!(pace_of(&Operation::Write { offset: 0, flags: 0, data: &[0; 4096] }), Pace::Quick);
    assert_eq!(pace_of(&Operation::Write { offset: 0, flags: 0, data: &[0; 1 << 17] }), Pace::Unsure);
    assert_eq!(pace_of(&Operation::Lookup { name: b"a" }), Pace::Quick);
}

#[test]
fn a_pool_starts_with_one_thread_and_stops_when_dropped() {
    let pool = Pool::new(Limits { threads: 3, threads_max: 8 }).unwrap();
    assert_eq!(pool.threads(), 1);
    assert!(pool.is_empty());
    let shared = Arc::clone(&pool.shared);
    drop(pool);
    assert_eq!(shared.threads.load(Ordering::Relaxed), 0);
}

#[test]
fn threads_are_kept_up_to_the_limit() {
    let pool = Pool::new(Limits { threads: 2, threads_max: 8 }).unwrap();
    for _ in 0..3 {
        pool.shared.start_thread().unwrap();
    }
    let start = Instant::now();
    while pool.threads() != 2 || *pool.shared.parked.lock().unwrap() != 1 {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", pool.threads());
        thread::yield_now();
    }
}

#[test]
fn a_buffer_for_requests_is_in_memory_before_the_first_of_them() {
    const PAGE: usize = 4096;
    let present = |buffer: &[u8]| {
        let first = buffer.as_ptr().addr() / PAGE;
        let last = (buffer.as_ptr().addr() + buffer.len() - 1) / PAGE;
        let mut entries = vec![0; (last - first + 1) * 8];
        // proc_pid_pagemap(5): eight bytes a page, the highest bit says that it is there.
        let pagemap = std::fs::File::open("/proc/self/pagemap").unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&pagemap, &mut entries, first as u64 * 8).unwrap();
        entries.chunks(8).all(|entry| entry[7] & 0x80 != 0)
    };
    assert!(present(&buffer_in_memory()));
    assert!(!present(&vec![0; BUFFER_BYTES]), "the look tells the difference");
}
