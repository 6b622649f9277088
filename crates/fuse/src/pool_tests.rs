//! The pool's threads: which requests may block, when threads come and go.

use super::*;
use std::time::Duration;

#[test]
fn what_waits_for_a_disk_may_block() {
    assert!(may_block(&Operation::Fsync { data_only: true }));
    assert!(may_block(&Operation::Read { offset: 0, size: 4096 }));
    assert!(!may_block(&Operation::Write { offset: 0, flags: 0, data: &[0; 4096] }));
    assert!(may_block(&Operation::Write { offset: 0, flags: 0, data: &[0; 1 << 17] }));
    assert!(!may_block(&Operation::Lookup { name: b"a" }));
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
