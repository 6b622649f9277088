//! Waiting for something slow that one can be called back from: content on its way over the network.
//!
//! Invariant: a call that comes between two looks is not lost: it is remembered until the next [`Wait::park`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One who waits. Clones are the same one. He looks whether what he waits for is there, parks, and looks again;
/// whoever brings it calls [`Wait::wake`], whoever wants him to give up calls [`Wait::cancel`].
#[derive(Clone, Debug, Default)]
pub struct Wait {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    called: Mutex<bool>,
    bell: Condvar,
}

impl Wait {
    /// True once somebody wants the waiting to end.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }

    /// Ends the waiting, for good.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        self.wake();
    }

    /// Has him look again.
    pub fn wake(&self) {
        *self.called() = true;
        self.shared.bell.notify_all();
    }

    /// Blocks until called, or at most this long. Returns at once when cancelled.
    pub fn park(&self, at_most: Duration) {
        let called = self.called();
        let quiet = |called: &mut bool| !*called && !self.is_cancelled();
        let (mut called, _) = self
            .shared
            .bell
            .wait_timeout_while(called, at_most, quiet)
            .unwrap_or_else(PoisonError::into_inner);
        *called = false;
    }

    fn called(&self) -> MutexGuard<'_, bool> {
        self.shared.called.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_call_before_parking_is_not_lost() {
        let wait = Wait::default();
        wait.wake();
        wait.park(LONG);
        assert!(!wait.is_cancelled());
    }

    #[test]
    fn who_is_cancelled_parks_no_more() {
        let wait = Wait::default();
        wait.cancel();
        wait.park(LONG);
        wait.park(LONG);
        assert!(wait.is_cancelled());
    }

    #[test]
    fn one_who_is_parked_is_woken_by_a_clone() {
        let wait = Wait::default();
        let other = wait.clone();
        let thread = std::thread::spawn(move || other.cancel());
        while !wait.is_cancelled() {
            wait.park(LONG);
        }
        thread.join().expect("the thread ends");
    }
}
