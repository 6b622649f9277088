//! Tells which requests take long, at next to no cost for those that do not.
//!
//! Most reads are answered from memory within microseconds, and waking a second thread beside each costs more than the
//! answer. A thread therefore notes on its desk ([`Watchman::begin`]) what it begins, and goes on. The watchman, one
//! thread, makes a round of all desks every [`ROUND`]; what lies there for the second time is late, and he calls for help.
//! Without any such request for [`QUIET_ROUNDS`] he sleeps until the next: an idle process is never woken.
//!
//! Invariants: a task is told late at most once, and only while it is on the desk; whoever ends it learns of that. No
//! lock is held while help is called. Locks are never nested.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Between two rounds: a request is late after one to two of them.
pub(crate) const ROUND: Duration = Duration::from_millis(2);
/// Rounds without any task before the watchman sleeps.
const QUIET_ROUNDS: u32 = 50;

/// The one who makes the rounds.
pub(crate) struct Watchman<T> {
    desks: Mutex<Vec<Weak<Desk<T>>>>,
    /// He makes rounds. While this is false a task must wake him.
    watching: AtomicBool,
    /// He is to end.
    stopped: AtomicBool,
    rest: Mutex<()>,
    woken: Condvar,
}

/// Where one thread notes what it does.
pub(crate) struct Desk<T> {
    task: Mutex<Task<T>>,
}

struct Task<T> {
    /// None: nothing is done that could be late.
    what: Option<T>,
    /// Counts tasks.
    number: u64,
    /// The number he saw in the last round.
    seen: u64,
    late: bool,
}

impl<T: Clone> Watchman<T> {
    pub(crate) fn new() -> Self {
        Self {
            desks: Mutex::default(),
            watching: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            rest: Mutex::default(),
            woken: Condvar::new(),
        }
    }

    /// A desk for a thread; it goes with its last reference.
    pub(crate) fn desk(&self) -> Arc<Desk<T>> {
        let task = Task { what: None, number: 0, seen: 0, late: false };
        let desk = Arc::new(Desk { task: Mutex::new(task) });
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.retain(|desk| desk.strong_count() > 0);
        desks.push(Arc::downgrade(&desk));
        desk
    }

    /// Notes that something is begun which may take long.
    pub(crate) fn begin(&self, desk: &Desk<T>, what: T) {
        {
            let mut task = desk.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.what = Some(what);
            task.number += 1;
        }
        // Either he sees the task when he looks before he sleeps, or this sees that he sleeps.
        fence(Ordering::SeqCst);
        if !self.watching.load(Ordering::Relaxed) {
            let _rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
            self.watching.store(true, Ordering::Relaxed);
            self.woken.notify_one();
        }
    }

    /// Has [`Watchman::run`] return.
    pub(crate) fn stop(&self) {
        let _rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopped.store(true, Ordering::Relaxed);
        self.woken.notify_one();
    }

    /// Makes the rounds until stopped. `help` is called for what is late.
    pub(crate) fn run(&self, help: &dyn Fn(&T)) {
        let mut quiet = QUIET_ROUNDS;
        while !self.stopped.load(Ordering::Relaxed) {
            if quiet >= QUIET_ROUNDS {
                self.sleep();
            } else {
                std::thread::sleep(ROUND);
            }
            quiet = if self.make_round(help) { 0 } else { quiet + 1 };
        }
    }

    /// Sleeps until a task is begun, unless there is one.
    fn sleep(&self) {
        self.watching.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let any = self.all().iter().any(|desk| desk.is_taken());
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if any {
            self.watching.store(true, Ordering::Relaxed);
        }
        while !self.watching.load(Ordering::Relaxed) && !self.stopped.load(Ordering::Relaxed) {
            rest = self.woken.wait(rest).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Looks at all desks. True when anything was begun since the last round, or goes on.
    fn make_round(&self, help: &dyn Fn(&T)) -> bool {
        let mut any = false;
        for desk in self.all() {
            let mut task = desk.task.lock().unwrap_or_else(PoisonError::into_inner);
            any |= task.number != task.seen || task.what.is_some();
            let is_late = task.number == task.seen && !task.late;
            let what = task.what.clone().filter(|_| is_late);
            task.late |= what.is_some();
            task.seen = task.number;
            drop(task);
            if let Some(what) = what {
                help(&what);
            }
        }
        any
    }

    fn all(&self) -> Vec<Arc<Desk<T>>> {
        let desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.iter().filter_map(Weak::upgrade).collect()
    }
}

impl<T> Desk<T> {
    /// Ends what was begun. True when help was or is being called for it.
    pub(crate) fn end(&self) -> bool {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.what = None;
        std::mem::take(&mut task.late)
    }

    fn is_taken(&self) -> bool {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).what.is_some()
    }
}

#[cfg(test)]
#[path = "watchman_tests.rs"]
mod tests;
