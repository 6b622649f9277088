//! Makes changes durable in the background: what no program asked to be synced is durable a few seconds later, and a long
//! stream of large data sooner, so that who asks at its end waits for its rest only.
//!
//! Nothing runs while nothing changes: the thread sleeps until a workspace has its first change since its last sync.

use crate::Shared;
use crate::workspace::Workspace;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use weald_model::WorkspaceId;

/// How long a change may wait for the disk: the commit interval of ext4 (ext4(5), `commit=`).
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// Large data that is not waited with. More often, and syncing costs as much as it saves; less often, and the last sync has more to
/// do (docs/decisions/0027-large-writes.md).
const STREAM_BYTES: u64 = 64 << 20;

/// The workspaces with changes to make durable.
#[derive(Default)]
pub(crate) struct Flusher {
    queue: Mutex<Queue>,
    changed: Condvar,
    watch: OnceLock<Box<Watch>>,
}

/// Is told which workspaces changed.
pub type Watch = dyn Fn(&[WorkspaceId]) + Send + Sync;

#[derive(Default)]
struct Queue {
    dirty: Vec<Weak<Workspace>>,
    /// When the first of these has waited long enough.
    due: Option<Instant>,
    /// Those with much large data. They are among the dirty, too.
    streams: Vec<Weak<Workspace>>,
    stopped: bool,
}

/// What the flusher's thread does next.
#[derive(Debug)]
enum Step {
    Wait(Option<Duration>),
    /// Sync those whose interval is over.
    Dirty(Vec<Weak<Workspace>>),
    /// Sync those that write much.
    Streams(Vec<Weak<Workspace>>),
}

impl Queue {
    fn add(&mut self, workspace: Weak<Workspace>, now: Instant) {
        self.due.get_or_insert(now + FLUSH_INTERVAL);
        self.dirty.push(workspace);
    }

    /// What is due comes first: it is not to wait for a stream that never ends.
    fn step(&mut self, now: Instant) -> Step {
        let left = self.due.map(|due| due.saturating_duration_since(now));
        if self.stopped || left.is_some_and(|left| left.is_zero()) {
            self.due = None;
            return Step::Dirty(std::mem::take(&mut self.dirty));
        }
        match self.streams.is_empty() {
            true => Step::Wait(left),
            false => Step::Streams(std::mem::take(&mut self.streams)),
        }
    }
}

/// Large data of a workspace that no sync has begun with.
#[derive(Default)]
pub(crate) struct Stream(AtomicU64);

impl Stream {
    /// So many bytes more. True when they are not to be waited with; then, as after a sync, it begins to count anew.
    pub(crate) fn grew(&self, bytes: u64) -> bool {
        let is_long = self.0.fetch_add(bytes, Ordering::Relaxed) + bytes >= STREAM_BYTES;
        if is_long {
            self.begin();
        }
        is_long
    }

    /// A sync begins.
    pub(crate) fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Keeps the flusher's thread running.
pub struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    pub(crate) fn watch(&self, watch: Box<Watch>) {
        let _ = self.watch.set(watch);
    }

    pub(crate) fn add(&self, workspace: Weak<Workspace>) {
        self.lock().add(workspace, Instant::now());
        self.changed.notify_one();
    }

    /// Syncs a workspace soon, which has much that is not durable.
    pub(crate) fn hurry(&self, workspace: Weak<Workspace>) {
        let mut queue = self.lock();
        // One sync has all of it.
        if !queue.streams.iter().any(|other| other.ptr_eq(&workspace)) {
            queue.streams.push(workspace);
            self.changed.notify_one();
        }
    }

    pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<Running> {
        let flushed = shared.clone();
        let thread = std::thread::Builder::new()
            .name("flush".to_owned())
            .spawn(move || while flushed.flusher.round() {})?;
        Ok(Running { shared, thread: Some(thread) })
    }

    /// Waits for changes, gives them the interval unless they are a stream, syncs. False when stopped.
    fn round(&self) -> bool {
        let mut queue = self.lock();
        let (workspaces, is_due) = loop {
            match queue.step(Instant::now()) {
                Step::Dirty(dirty) => break (dirty, true),
                Step::Streams(streams) => break (streams, false),
                Step::Wait(None) => queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Step::Wait(Some(left)) => {
                    let waited = self.changed.wait_timeout(queue, left);
                    queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        };
        let stopped = queue.stopped;
        drop(queue);
        let mut synced = Vec::with_capacity(workspaces.len());
        for workspace in workspaces.iter().filter_map(Weak::upgrade) {
            // A failed sync closes the workspace's log; its programs see the error at their next change.
            let _ = workspace.sync();
            synced.push(workspace.id());
        }
        // Of a stream is told when its interval is over, as of all changes.
        if let Some(watch) = self.watch.get().filter(|_| is_due) {
            watch(&synced);
        }
        !stopped
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.flusher.lock().stopped = true;
        self.shared.flusher.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
