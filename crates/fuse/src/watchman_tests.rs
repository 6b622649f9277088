//! What is late, and that the watchman sleeps.

use super::*;
use std::cell::RefCell;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::Instant;

fn late(watchman: &Watchman<u32>) -> Vec<u32> {
    let found = RefCell::new(Vec::new());
    watchman.make_round(&|what| found.borrow_mut().push(*what));
    found.into_inner()
}

#[test]
fn late_is_what_lies_there_for_a_second_round_and_once() {
    let watchman = Watchman::new();
    let (one, two) = (watchman.desk(), watchman.desk());
    watchman.begin(&one, 1);
    assert!(late(&watchman).is_empty());
    watchman.begin(&two, 2);
    assert_eq!(late(&watchman), [1]);
    assert_eq!(late(&watchman), [2], "1 was told");
    assert!(late(&watchman).is_empty());
    assert!(one.end() && two.end());
}

#[test]
fn what_ends_between_two_rounds_is_not_late_however_many_there_are() {
    let watchman = Watchman::new();
    let desk = watchman.desk();
    for what in 0..100 {
        watchman.begin(&desk, what);
        assert!(late(&watchman).is_empty());
        assert!(!desk.end());
    }
    assert!(!watchman.make_round(&|_| {}), "nothing was begun since the last round");
}

#[test]
fn a_desk_is_forgotten_with_its_thread() {
    let watchman = Watchman::new();
    for what in 0..10 {
        watchman.begin(&watchman.desk(), what);
    }
    assert!(watchman.desks.lock().unwrap().len() <= 1);
}

#[test]
fn who_sleeps_is_woken_by_the_next_task_and_calls_for_help() {
    let (watchman, helped) = (&Watchman::new(), &AtomicUsize::new(0));
    thread::scope(|scope| {
        let help = |_: &usize| {
            helped.fetch_add(1, Ordering::Relaxed);
        };
        scope.spawn(move || watchman.run(&help));
        let desk = watchman.desk();
        for round in 1..=5 {
            wait_until(|| !watchman.watching.load(Ordering::Relaxed));
            watchman.begin(&desk, round);
            wait_until(|| helped.load(Ordering::Relaxed) == round);
            assert!(desk.end());
        }
        watchman.stop();
    });
}

#[test]
fn tasks_begun_just_when_he_falls_asleep_are_seen() {
    let watchman = Watchman::new();
    let helped = AtomicUsize::new(0);
    thread::scope(|scope| {
        let desk = watchman.desk();
        for round in 1..=2_000 {
            // Both at once: he goes to sleep, a task begins.
            let sleeper = scope.spawn(|| watchman.sleep());
            watchman.begin(&desk, round);
            sleeper.join().unwrap();
            while helped.load(Ordering::Relaxed) < round {
                watchman.make_round(&|_| {
                    helped.fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(desk.end());
        }
    });
}

fn wait_until(is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
}
