//! The pool's threads: which requests may block, how long is looked, when threads come and go.

use super::*;

#[test]
fn looking_is_tried_only_after_it_would_have_paid() {
    let mut spin = Spin::new(Duration::from_millis(2));
    let mut looks = 0;
    spin.look(|| {
        looks += 1;
        Received::Empty
    });
    assert_eq!(looks, 0, "an idle pool does not look");
    for _ in 0..Spin::CREDIT_MAX {
        let asleep = spin.begin_sleep();
        spin.end_sleep(asleep);
    }
    assert_eq!(spin.look(|| Received::Request(1)), Received::Request(1));
    let failures = (0..10).filter(|_| {
        let mut looked = false;
        spin.look(|| {
            looked = true;
            Received::Empty
        });
        looked
    });
    assert_eq!(failures.count(), 2, "two failed looks in a row end it");
}

#[test]
fn no_spin_means_no_clock() {
    let mut spin = Spin::new(Duration::ZERO);
    assert!(spin.begin_sleep().is_none());
    spin.end_sleep(None);
    assert_eq!(spin.credit, 0);
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
fn a_pool_starts_its_threads_and_stops_them_when_dropped() {
    let pool = Pool::new(Limits { threads: 3, threads_max: 8, spin: Duration::ZERO }).unwrap();
    assert_eq!(pool.threads(), 3);
    assert!(pool.is_empty());
    let shared = Arc::clone(&pool.shared);
    drop(pool);
    assert_eq!(shared.threads.load(Ordering::Relaxed), 0);
}
