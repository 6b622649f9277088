//! One workspace of the forest, loaded or not, mounted or not.
//!
//! Lock order: `travel` (held while it goes back to another state), then `life` (held over mounting and unmounting), then `loaded` (held while the log is read), then `row`,
//! `figures` and `fault` (held for a moment). No other entry's lock is taken while one of these is held.

use crate::asker::Wish;
use crate::head::{self, Head};
use crate::ipc_node::IpcNode;
use crate::protocol::FaultLine;
use crate::stores::Stores;
use crate::{locked, note};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};
use weald_engine::{Summary, Workspace};
use weald_fuse::connection::Handler;
use weald_fuse::reply::Reply;
use weald_fuse::request::{Operation, Request};
use weald_fuse::{Adapter, MemberId, Mount, Notifier};
use weald_model::{Errno, Fault, Wait, WorkspaceId};
use weald_store::registry::{State, WorkspaceRow};

/// How long its lock may be held by somebody who only looks; longer means that the workspace is to be closed.
const LOCK_PATIENCE: Duration = Duration::from_millis(50);
/// How long a workspace may be in use by others before it is kept in memory after all.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two looks.
const CLOSE_PAUSE: Duration = Duration::from_millis(1);

/// A log that cannot be read is not read again for this long, however many programs ask: reading it takes seconds.
const LOAD_PAUSE: Duration = Duration::from_secs(5);

/// A workspace.
pub(crate) struct Entry {
    /// Its id.
    pub(crate) id: WorkspaceId,
    row: Mutex<WorkspaceRow>,
    travel: Mutex<()>,
    life: Mutex<Life>,
    loaded: Mutex<Option<Arc<Workspace>>>,
    figures: Mutex<Option<Figures>>,
    fault: Mutex<Option<Fault>>,
}

/// Whether it is in the file tree.
#[derive(Default)]
pub(crate) struct Life {
    /// The mount, while there is one.
    pub(crate) mount: Option<Live>,
}

/// A mount that is served.
pub(crate) struct Live {
    /// To unmount it.
    pub(crate) mount: Mount,
    /// Its place in the pool.
    pub(crate) member: MemberId,
    /// What answers its requests.
    pub(crate) handler: Arc<LateAdapter>,
    /// To have the kernel forget what it caches.
    pub(crate) notifier: Notifier,
    /// Tells when the pool has seen the end of it.
    pub(crate) end: Receiver<()>,
}

/// What `list` shows of a workspace's inside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Counts and sizes.
    pub(crate) summary: Summary,
    /// Branch and commit.
    pub(crate) head: Head,
}

impl Entry {
    /// An entry that is neither loaded nor mounted.
    pub(crate) fn new(row: WorkspaceRow) -> Arc<Self> {
        Arc::new(Self {
            id: row.id,
            row: Mutex::new(row),
            travel: Mutex::default(),
            life: Mutex::default(),
            loaded: Mutex::default(),
            figures: Mutex::default(),
            fault: Mutex::default(),
        })
    }

    /// An entry that was just made.
    pub(crate) fn with(row: WorkspaceRow, workspace: Arc<Workspace>) -> Arc<Self> {
        let entry = Self::new(row);
        *locked(&entry.loaded) = Some(workspace);
        entry
    }

    /// A copy of its row.
    pub(crate) fn row(&self) -> WorkspaceRow {
        locked(&self.row).clone()
    }

    /// Its name now.
    pub(crate) fn name(&self) -> String {
        locked(&self.row).name.clone()
    }

    /// Where it is in its life.
    pub(crate) fn state(&self) -> State {
        locked(&self.row).state
    }

    /// Replaces the row. The caller has written it to the registry.
    pub(crate) fn set_row(&self, row: WorkspaceRow) {
        *locked(&self.row) = row;
    }

    /// Takes the lock that mounting, renaming and removing hold.
    pub(crate) fn life(&self) -> MutexGuard<'_, Life> {
        locked(&self.life)
    }

    /// Takes the lock of those who bring an earlier state back.
    pub(crate) fn travel(&self) -> MutexGuard<'_, ()> {
        locked(&self.travel)
    }

    /// Why it is closed or could not be mounted.
    pub(crate) fn fault(&self) -> Option<Fault> {
        locked(&self.fault).clone()
    }

    /// The same, for the wire.
    pub(crate) fn fault_line(&self) -> Option<FaultLine> {
        locked(&self.fault).as_ref().map(FaultLine::from)
    }

    /// Remembers or clears a fault.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        *locked(&self.fault) = fault;
    }

    /// The workspace, loading it when it is not. A damaged log is found here; the entry remembers it.
    pub(crate) fn load(&self, stores: &Stores) -> Result<Arc<Workspace>, Fault> {
        let mut loaded = locked(&self.loaded);
        self.load_into(&mut loaded, stores)
    }

    fn load_into(
        &self,
        loaded: &mut Option<Arc<Workspace>>,
        stores: &Stores,
    ) -> Result<Arc<Workspace>, Fault> {
        if let Some(workspace) = loaded {
            return Ok(workspace.clone());
        }
        match stores.load(&self.row()) {
            Ok(workspace) => {
                self.set_fault(None);
                Ok(loaded.insert(workspace).clone())
            }
            Err(fault) => {
                note(format_args!("{}: {fault} [{}]", self.name(), fault.code));
                self.set_fault(Some(fault.clone()));
                Err(fault)
            }
        }
    }

    /// The workspace when it is loaded.
    pub(crate) fn loaded(&self) -> Option<Arc<Workspace>> {
        locked(&self.loaded).clone()
    }

    /// False when it is not loaded, or somebody wants it not to be: they hold the lock for longer than a moment.
    pub(crate) fn stays_loaded(&self) -> bool {
        let since = Instant::now();
        loop {
            match self.loaded.try_lock() {
                Ok(loaded) => return loaded.is_some(),
                Err(_) if since.elapsed() > LOCK_PATIENCE => return false,
                Err(_) => std::thread::sleep(CLOSE_PAUSE),
            }
        }
    }

    /// Makes what is loaded durable.
    pub(crate) fn settle(&self, stores: &Stores) {
        if let Some(workspace) = self.loaded() {
            self.settle_loaded(&workspace, stores);
        }
    }

    fn settle_loaded(&self, workspace: &Workspace, stores: &Stores) {
        if let Err(error) = stores.keep_head(self.id, workspace) {
            note(format_args!("{}: making changes durable: {error}", self.name()));
        }
    }

    /// Makes what is loaded durable, and lets go of its memory. Only while it is not mounted. One that somebody
    /// still uses stays loaded.
    pub(crate) fn unload(&self, stores: &Stores) {
        let mut loaded = locked(&self.loaded);
        if let Some(workspace) = loaded.take() {
            *locked(&self.figures) = Some(figures(&workspace));
            self.settle_loaded(&workspace, stores);
            *loaded = close(workspace).err();
        }
    }

    /// Lets go of one that somebody still used when it was removed. True when it is to be tried again.
    pub(crate) fn unload_late(&self, stores: &Stores) -> bool {
        if self.state() == State::Active {
            return false;
        }
        let users = match self.loaded.try_lock() {
            Ok(loaded) => loaded.as_ref().map(Arc::strong_count),
            Err(_) => return true,
        };
        let Some(users) = users else { return false };
        let Some(life) = self.life.try_lock().ok().filter(|life| life.mount.is_none() && users == 1) else {
            return true;
        };
        if self.state() != State::Active {
            self.unload(stores);
        }
        drop(life);
        self.loaded().is_some()
    }

    /// What is in it. One that is not loaded is read once and let go again, so that a list of many idle workspaces
    /// leaves no memory behind.
    pub(crate) fn figures(&self, stores: &Stores) -> Result<Figures, Fault> {
        let mut loaded = locked(&self.loaded);
        if let Some(workspace) = loaded.clone() {
            drop(loaded);
            return Ok(figures(&workspace));
        }
        if let Some(figures) = locked(&self.figures).clone() {
            return Ok(figures);
        }
        let figures = self.peek_into(&mut loaded, stores, figures)?;
        *locked(&self.figures) = Some(figures.clone());
        Ok(figures)
    }

    /// Looks into it, and lets go of its memory again if it was not loaded.
    pub(crate) fn peek<T>(&self, stores: &Stores, look: impl FnOnce(&Workspace) -> T) -> Result<T, Fault> {
        let mut loaded = locked(&self.loaded);
        if let Some(workspace) = loaded.clone() {
            drop(loaded);
            return Ok(look(&workspace));
        }
        self.peek_into(&mut loaded, stores, look)
    }

    fn peek_into<T>(
        &self,
        loaded: &mut Option<Arc<Workspace>>,
        stores: &Stores,
        look: impl FnOnce(&Workspace) -> T,
    ) -> Result<T, Fault> {
        let mut own = None;
        let workspace = self.load_into(&mut own, stores)?;
        let seen = look(&workspace);
        drop(own.take());
        // Still under the lock: nobody else gets the workspace before its log is closed.
        *loaded = close(workspace).err();
        Ok(seen)
    }
}

/// Drops a workspace once nobody else has it, so that its log is never open twice: the flusher may be at it. Gives
/// it back when that takes too long.
fn close(mut workspace: Arc<Workspace>) -> Result<(), Arc<Workspace>> {
    let since = Instant::now();
    while since.elapsed() < CLOSE_PATIENCE {
        match Arc::try_unwrap(workspace) {
            Ok(closed) => {
                drop(closed);
                return Ok(());
            }
            Err(shared) => workspace = shared,
        }
        std::thread::sleep(CLOSE_PAUSE);
    }
    Err(workspace)
}

fn figures(workspace: &Workspace) -> Figures {
    Figures { summary: workspace.summary(), head: head::head(workspace) }
}

/// The file system of a mount whose workspace is loaded when the kernel first asks for something.
pub(crate) struct LateAdapter {
    entry: Arc<Entry>,
    stores: Arc<Stores>,
    adapter: OnceLock<Adapter>,
    /// Held while loading, so that the log is read once; when that last failed.
    loading: Mutex<Option<Instant>>,
    /// Another process served the mount before; whether what it was asked last fails.
    before: Option<bool>,
    ipc: IpcNode,
}

impl LateAdapter {
    /// Loads nothing yet.
    pub(crate) fn new(entry: Arc<Entry>, stores: Arc<Stores>) -> Self {
        Self {
            entry,
            stores,
            adapter: OnceLock::new(),
            loading: Mutex::default(),
            before: None,
            ipc: IpcNode::default(),
        }
    }

    /// Of a mount that another process served before. With `gives_up`, requests it did not answer fail.
    pub(crate) fn going_on(self, gives_up: bool) -> Self {
        Self { before: Some(gives_up), ..self }
    }

    /// The adapter, once the kernel has asked for something.
    pub(crate) fn loaded(&self) -> Option<&Adapter> {
        self.adapter.get()
    }

    /// The node of the mount that its workspace has not.
    pub(crate) fn ipc(&self) -> &IpcNode {
        &self.ipc
    }

    /// Loads it as the kernel's first request would.
    pub(crate) fn load(&self) -> Result<(), Errno> {
        self.adapter().map(drop)
    }

    fn adapter(&self) -> Result<&Adapter, Errno> {
        if let Some(adapter) = self.adapter.get() {
            return Ok(adapter);
        }
        let mut failed = locked(&self.loading);
        if self.adapter.get().is_none() {
            if failed.is_some_and(|since| since.elapsed() < LOAD_PAUSE) {
                return Err(Errno::Io);
            }
            // Why is told by `load`; programs that ask get EIO.
            let workspace = self.entry.load(&self.stores).map_err(|_| {
                *failed = Some(Instant::now());
                Errno::Io
            })?;
            let adapter = match self.before {
                None => Adapter::new(workspace)?,
                Some(gives_up) => Adapter::continued(workspace, gives_up),
            };
            let tells_birth = self.stores.config.read().is_ok_and(|config| config.birth_times);
            let adapter = if tells_birth { adapter } else { adapter.without_birth_times() };
            return Ok(self.adapter.get_or_init(|| adapter));
        }
        self.adapter.get().ok_or(Errno::Io)
    }
}

impl Handler for LateAdapter {
    fn answer(&self, request: &Request<'_>, reply: &mut Reply) -> Result<(), Errno> {
        // Programs that watch disks ask every mount for it, and no log should be read for that.
        if self.adapter.get().is_none() && matches!(request.operation, Operation::Statfs) {
            return weald_fuse::adapter::stat_fs(&self.stores.shared.stat_fs()?, reply);
        }
        if let Some(outcome) = self.ipc.answer(request, || self.stores.env.now(), reply) {
            return outcome;
        }
        self.adapter()?.answer(request, reply)
    }

    fn fetch(&self, request: &Request<'_>, wait: &Wait) -> Result<(), Errno> {
        self.adapter()?.fetch(request, wait)
    }

    fn may_ask_a_mount(&self) -> bool {
        self.entry.row().repo_path.is_some_and(|path| crate::rings::may_come_from_a_mount(&path))
    }

    fn nudge(&self) {
        Wish::Nudge { path: self.entry.row().mount_path }.ask();
    }

    fn ended(&self) {
        if let Some(adapter) = self.adapter.get() {
            adapter.ended();
        }
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
