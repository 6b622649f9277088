//! Threads for requests that may wait, so that the threads bound to CPUs do not.
//!
//! Invariant: a job that is given waits for no other one: while all threads are in a job, a new thread is started.

use super::locked;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Threads that are kept while there is nothing to do.
const KEPT: usize = 4;

/// Something that may wait.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The threads.
#[derive(Default)]
pub(super) struct Aside {
    inner: Mutex<Inner>,
    more: Condvar,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    idle: usize,
}

impl Aside {
    /// Has a job done. Without memory for a thread it waits for those there are; with none, it is done here.
    pub(super) fn run(self: &Arc<Self>, job: Job) {
        let mut inner = locked(&self.inner);
        inner.jobs.push_back(job);
        if inner.idle >= inner.jobs.len() {
            self.more.notify_one();
            return;
        }
        drop(inner);
        let here = Arc::clone(self);
        let started = std::thread::Builder::new().name("weald-aside".to_owned()).spawn(move || here.work());
        if started.is_err() {
            let job = locked(&self.inner).jobs.pop_back();
            job.into_iter().for_each(|job| job());
        }
    }

    fn work(&self) {
        let mut inner = locked(&self.inner);
        loop {
            while let Some(job) = inner.jobs.pop_front() {
                drop(inner);
                job();
                inner = locked(&self.inner);
            }
            if inner.idle >= KEPT {
                return;
            }
            inner.idle += 1;
            inner = self.more.wait(inner).unwrap_or_else(PoisonError::into_inner);
            inner.idle -= 1;
        }
    }
}
