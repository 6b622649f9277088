//! Which thread serves a queue: that of its CPU, or one for all of them while one program asks densely.
//!
//! A program that does one operation after the other takes turns with the thread of its CPU: two changes of task for each request, and
//! where the scheduler wakes the program on another, idle CPU, a wake-up besides. During such a run one more thread,
//! bound to no CPU, *gathers* the entries of all queues, and looks for the next request for a moment before it sleeps. An entry
//! goes to another thread with the answer that is in it: the kernel gives the next request to the ring the answer came from.
//! When several programs ask at once, or a request may take long, the entries go back in the same way.
//!
//! Invariant: this is a hint. Whoever has an entry serves it, so that nothing depends on when a thread hears of a change.
//! Counts that are lost between threads do no harm. Measured in docs/decisions/0020.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// A program that asks again within so long asks densely.
const DENSE: Duration = Duration::from_micros(100);
/// Such requests in a row that are a run.
const RUN_REQUESTS: u32 = 64;
/// Requests in a row that were waiting already, after which one thread is not enough.
const BACKLOG_REQUESTS: u32 = 4;
/// Looks in a row that found nothing, after which looking is not worth it.
const VAIN_LOOKS: u32 = 16;
/// Requests for which the threads of the CPUs serve their own queues then: some 10 ms of work.
const SPREAD_REQUESTS: u32 = 1024;

/// What a wait for a request was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It was waiting while the one before was answered: several programs ask.
    None,
    /// So long, since any of the threads had answered all it had.
    For(Duration),
}

/// Whether one thread has all queues, and what that follows from.
#[derive(Default)]
pub(super) struct Gathering {
    /// The gatherer is there to take entries.
    is_possible: AtomicBool,
    is_gathered: AtomicBool,
    /// Requests in a row that came densely.
    run: AtomicU32,
    /// Requests in a row that were waiting when the gatherer had answered the one before.
    backlog: AtomicU32,
    /// Looks in a row that found nothing.
    in_vain: AtomicU32,
    /// Requests until one thread may have all queues again.
    spread_for: AtomicU32,
}

impl Gathering {
    /// Whether the gatherer is to have all entries.
    pub(super) fn is_gathered(&self) -> bool {
        self.is_gathered.load(Ordering::Relaxed)
    }

    /// Told by the gatherer when it begins.
    pub(super) fn allow(&self) {
        self.is_possible.store(true, Ordering::Relaxed);
    }

    /// Told when a request came to the thread of a CPU; whether that makes it a run, of which the gatherer is to be told.
    pub(super) fn came(&self, wait: Wait) -> bool {
        if !self.is_possible.load(Ordering::Relaxed) || self.is_gathered() || self.is_spread() {
            return false;
        }
        if matches!(wait, Wait::For(time) if time >= DENSE) {
            self.run.store(0, Ordering::Relaxed);
            return false;
        }
        if count(&self.run) < RUN_REQUESTS {
            return false;
        }
        self.backlog.store(0, Ordering::Relaxed);
        self.in_vain.store(0, Ordering::Relaxed);
        self.is_gathered.store(true, Ordering::SeqCst);
        true
    }

    /// Told when a request came to the gatherer, and whether looking found it.
    pub(super) fn came_to_gatherer(&self, wait: Wait, is_found: bool) {
        if !self.is_gathered() {
            // It has what was not given back yet.
            self.is_spread();
            return;
        }
        if is_found {
            self.in_vain.store(0, Ordering::Relaxed);
        } else if count(&self.in_vain) >= VAIN_LOOKS {
            self.spread();
        }
        if wait != Wait::None {
            self.backlog.store(0, Ordering::Relaxed);
        } else if count(&self.backlog) >= BACKLOG_REQUESTS {
            self.spread();
        }
    }

    /// One thread is not enough, or gains nothing: each CPU has its own for a while.
    pub(super) fn spread(&self) {
        self.spread_for.store(SPREAD_REQUESTS, Ordering::Relaxed);
        self.end();
    }

    /// The run is over.
    pub(super) fn end(&self) {
        self.run.store(0, Ordering::Relaxed);
        self.is_gathered.store(false, Ordering::Relaxed);
    }

    /// Counts a request of those that each CPU serves.
    fn is_spread(&self) -> bool {
        let left = self.spread_for.load(Ordering::Relaxed);
        self.spread_for.store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }
}

fn count(counter: &AtomicU32) -> u32 {
    let counted = counter.load(Ordering::Relaxed) + 1;
    counter.store(counted, Ordering::Relaxed);
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Wait = Wait::For(Duration::from_micros(20));
    const LATE: Wait = Wait::For(Duration::from_micros(500));

    fn after(requests: u32, wait: Wait) -> Gathering {
        let gathering = Gathering::default();
        gathering.allow();
        let begun = (0..requests).filter(|_| gathering.came(wait)).count();
        assert_eq!(begun, usize::from(gathering.is_gathered()), "told once");
        gathering
    }

    #[test]
    fn a_dense_run_is_gathered_and_single_requests_are_not() {
        assert!(after(RUN_REQUESTS, SOON).is_gathered());
        assert!(!after(10 * RUN_REQUESTS, LATE).is_gathered());
        let gathering = after(RUN_REQUESTS - 1, SOON);
        assert!(!gathering.came(LATE));
        assert!(!gathering.came(SOON), "not in a row");
    }

    #[test]
    fn nothing_is_given_to_a_gatherer_that_is_not_there() {
        let gathering = Gathering::default();
        assert!((0..10 * RUN_REQUESTS).all(|_| !gathering.came(SOON)));
        assert!(!gathering.is_gathered());
    }

    #[test]
    fn a_run_that_is_over_may_begin_again_at_once() {
        let gathering = after(RUN_REQUESTS, SOON);
        gathering.end();
        assert!(!gathering.is_gathered());
        assert_eq!((0..RUN_REQUESTS).filter(|_| gathering.came(SOON)).count(), 1);
        assert!(gathering.is_gathered());
    }

    #[test]
    fn several_programs_are_served_by_several_threads_for_a_while() {
        let gathering = after(RUN_REQUESTS, SOON);
        for _ in 0..10 {
            (1..BACKLOG_REQUESTS).for_each(|_| gathering.came_to_gatherer(Wait::None, true));
            gathering.came_to_gatherer(SOON, true);
            assert!(gathering.is_gathered(), "a few in a row are none too many");
        }
        (0..BACKLOG_REQUESTS).for_each(|_| gathering.came_to_gatherer(Wait::None, true));
        assert!(!gathering.is_gathered());
        assert!((0..SPREAD_REQUESTS + RUN_REQUESTS - 1).all(|_| !gathering.came(SOON)));
        assert!(gathering.came(SOON));
    }

    #[test]
    fn looking_that_finds_nothing_ends() {
        let gathering = after(RUN_REQUESTS, SOON);
        (1..VAIN_LOOKS).for_each(|_| gathering.came_to_gatherer(SOON, false));
        assert!(gathering.is_gathered());
        gathering.came_to_gatherer(SOON, false);
        assert!(!gathering.is_gathered());
    }
}
