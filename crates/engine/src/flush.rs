//! Makes changes durable in the background: what no program asked to be synced is durable a few seconds later.
//!
//! Nothing runs while nothing changes: the thread sleeps until a workspace has its first change since its last sync.

use crate::Shared;
use crate::workspace::Workspace;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use weald_model::WorkspaceId;

/// How long a change may wait for the disk: the commit interval of ext4 (ext4(5), `commit=`).
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

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
    stopped: bool,
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
        self.lock().dirty.push(workspace);
        self.changed.notify_one();
    }

    pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<Running> {
        let flushed = shared.clone();
        let thread = std::thread::Builder::new()
            .name("flush".to_owned())
            .spawn(move || while flushed.flusher.round() {})?;
        Ok(Running { shared, thread: Some(thread) })
    }

    /// Waits for changes, gives them the interval, syncs. False when stopped.
    fn round(&self) -> bool {
        let queue = self.lock();
        let idle = |queue: &mut Queue| queue.dirty.is_empty() && !queue.stopped;
        let queue = self.changed.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
        let running = |queue: &mut Queue| !queue.stopped;
        let waited = self.changed.wait_timeout_while(queue, FLUSH_INTERVAL, running);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let dirty = std::mem::take(&mut queue.dirty);
        let stopped = queue.stopped;
        drop(queue);
        let mut changed = Vec::with_capacity(dirty.len());
        for workspace in dirty.iter().filter_map(Weak::upgrade) {
            // A failed sync closes the workspace's log; its programs see the error at their next change.
            let _ = workspace.sync();
            changed.push(workspace.id());
        }
        if let Some(watch) = self.watch.get() {
            watch(&changed);
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
