//! Requests that wait for content from elsewhere, and how they are called back.
//!
//! Such a request leaves the pool's threads: it waits on a thread of its own, so that any number of them keeps nobody
//! from being answered, in this mount or another. INTERRUPT (a signal came for the program) ends its waiting.
//! Invariant: an INTERRUPT is never lost, also when it is read before the request began to wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use weald_model::Wait;

/// Requests of one mount that wait at most: as many processes are stuck then.
const WAITING_MAX: usize = 4096;
/// Interrupts that are remembered for requests that may yet begin to wait.
const EARLY_MAX: usize = 256;

/// The waiting requests of one mount.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: HashMap<u64, Wait>,
    /// Requests that were interrupted and did not wait. Most have been answered meanwhile.
    early: VecDeque<u64>,
    is_closed: bool,
}

impl Waits {
    /// A request begins to wait. None when too many do.
    pub(crate) fn begin(&self, unique: u64) -> Option<Wait> {
        let mut inner = self.inner();
        if inner.waiting.len() >= WAITING_MAX {
            return None;
        }
        let wait = Wait::default();
        if inner.is_closed || inner.early.contains(&unique) {
            wait.cancel();
        }
        inner.waiting.insert(unique, wait.clone());
        Some(wait)
    }

    /// It does not wait any more.
    pub(crate) fn end(&self, unique: u64) {
        self.inner().waiting.remove(&unique);
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.inner().waiting.len()
    }

    /// A signal came for the program that made a request.
    pub(crate) fn interrupt(&self, unique: u64) {
        let mut inner = self.inner();
        if let Some(wait) = inner.waiting.get(&unique) {
            return wait.cancel();
        }
        if inner.early.len() == EARLY_MAX {
            inner.early.pop_front();
        }
        inner.early.push_back(unique);
    }

    /// The mount is gone: nobody waits any more.
    pub(crate) fn close(&self) {
        let mut inner = self.inner();
        inner.is_closed = true;
        inner.waiting.values().for_each(Wait::cancel);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_counts_whether_it_comes_before_or_behind_the_waiting() {
        let waits = Waits::default();
        waits.interrupt(4);
        assert!(waits.begin(4).unwrap().is_cancelled());
        let wait = waits.begin(6).unwrap();
        assert!(!wait.is_cancelled());
        waits.interrupt(8);
        assert!(!wait.is_cancelled(), "it was another's");
        waits.interrupt(6);
        assert!(wait.is_cancelled());
    }

    #[test]
    fn interrupts_that_nobody_waits_for_are_forgotten_in_time() {
        let waits = Waits::default();
        (0..10_000).for_each(|unique| waits.interrupt(unique));
        assert_eq!(waits.inner().early.len(), EARLY_MAX);
        assert!(waits.begin(9_999).unwrap().is_cancelled());
    }

    #[test]
    fn nobody_waits_in_a_mount_that_is_gone() {
        let waits = Waits::default();
        let before = waits.begin(1).unwrap();
        waits.close();
        assert!(before.is_cancelled() && waits.begin(2).unwrap().is_cancelled());
    }

    #[test]
    fn the_number_of_those_who_wait_is_bounded() {
        let waits = Waits::default();
        for unique in 0..WAITING_MAX as u64 {
            assert!(waits.begin(unique).is_some());
        }
        assert!(waits.begin(1 << 40).is_none());
        waits.end(7);
        assert!(waits.begin(1 << 40).is_some());
    }
}
