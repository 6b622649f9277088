//! The pool's threads: which requests may block, how long is looked, when threads come and go.

use super::*;

fn sleep_briefly(spin: &mut Spin, times: u32) {
    for _ in 0..times {
        let asleep = spin.begin_sleep();
        spin.end_sleep(asleep.and_then(|at| at.checked_sub(Spin::SAME_CPU)));
    }
}

fn looks(spin: &mut Spin, found: Received) -> bool {
    let mut looked = false;
    spin.look(|| {
        looked = true;
        found
    });
    looked
}

/// A limit that no delay of the machine exceeds, so that sleeps count as short; failed looks take it in full.
const LIMIT: Duration = Duration::from_millis(20);

#[test]
fn looking_is_tried_only_after_it_would_have_paid() {
    let mut spin = Spin::new(LIMIT);
    assert!(!looks(&mut spin, Received::Empty), "an idle pool does not look");
    sleep_briefly(&mut spin, Spin::PATIENCE_MIN);
    for _ in 0..10 {
        assert!(looks(&mut spin, Received::Request(1)));
    }
}

#[test]
fn taking_turns_on_one_cpu_does_not_turn_it_on() {
    let mut spin = Spin::new(LIMIT);
    for _ in 0..100 {
        // No longer asleep than the call takes.
        let asleep = spin.begin_sleep().map(|_| Instant::now());
        spin.end_sleep(asleep);
    }
    assert!(!looks(&mut spin, Received::Request(1)));
}

#[test]
fn looking_that_fails_ends_and_comes_back_later() {
    let mut spin = Spin::new(LIMIT);
    sleep_briefly(&mut spin, Spin::PATIENCE_MIN);
    let failures = (0..10).filter(|_| looks(&mut spin, Received::Empty)).count();
    assert_eq!(failures as u32, Spin::FAILURES_MAX);
    sleep_briefly(&mut spin, Spin::PATIENCE_MIN);
    assert!(!looks(&mut spin, Received::Request(1)), "twice as many are needed now");
    sleep_briefly(&mut spin, Spin::PATIENCE_MIN);
    assert!(looks(&mut spin, Received::Request(1)));
    assert_eq!(spin.patience, Spin::PATIENCE_MIN, "a success forgives");
}

#[test]
fn no_spin_means_no_clock() {
    let mut spin = Spin::new(Duration::ZERO);
    assert!(spin.begin_sleep().is_none());
    sleep_briefly(&mut spin, 100);
    assert!(!looks(&mut spin, Received::Request(1)));
}

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
    let pool = Pool::new(Limits { threads: 3, threads_max: 8, spin: Duration::ZERO }).unwrap();
    assert_eq!(pool.threads(), 1);
    assert!(pool.is_empty());
    let shared = Arc::clone(&pool.shared);
    drop(pool);
    assert_eq!(shared.threads.load(Ordering::Relaxed), 0);
}

#[test]
fn threads_are_kept_up_to_the_limit() {
    let pool = Pool::new(Limits { threads: 2, threads_max: 8, spin: Duration::ZERO }).unwrap();
    for _ in 0..3 {
        pool.shared.start_thread().unwrap();
    }
    let start = Instant::now();
    while pool.threads() != 2 || *pool.shared.parked.lock().unwrap() != 1 {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", pool.threads());
        thread::yield_now();
    }
}
