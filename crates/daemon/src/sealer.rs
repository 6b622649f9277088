//! Seals snapshots in the background.
//!
//! One thread for all workspaces, asleep while there is nothing to seal. Sealed are the snapshots somebody or something
//! asked for, and the newest of those taken by itself: the others will be thinned. What costs (reading, cutting,
//! hashing, writing) is done by a thread of the lowest priority, which takes no lock that a program waits for; only the
//! record is written at ordinary priority. It stops within a chunk when the daemon ends, the workspace is unmounted,
//! or the setting `snapshots.seal` is off. Failing is told in daemon.log; the snapshot stays `taken` and is tried again.
//! Read next: `weald_engine::SealJob`, `keeper` (which takes snapshots).

use crate::aside::aside;
use crate::entry::Entry;
use crate::forest::Forest;
use crate::report::SealingReport;
use crate::{locked, start_thread};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use weald_engine::moving::MovedAmount;
use weald_engine::seal::SealError;
use weald_engine::{Occasion, Snapshot, Workspace};
use weald_model::{Errno, Fault, SnapshotId, WorkspaceId};

/// Below this, what is free is left to the workspaces.
const FREE_BYTES_MIN: u64 = 512 << 20;
/// After so many bytes of content what is free is looked at again: sealing must not take what programs need.
const ROOM_BYTES: u64 = 64 << 20;
/// How long a workspace is left alone after its snapshot could not be sealed.
const PAUSE: Duration = Duration::from_secs(60);

/// What the thread and those who wake it share.
#[derive(Default)]
pub(crate) struct Sealer {
    news: Mutex<News>,
    woken: Condvar,
    stopped: AtomicBool,
    now: Mutex<Option<Now>>,
    /// The host's file system makes no holes.
    cannot_move: AtomicBool,
    /// Bytes of content that were cut of the snapshot being sealed.
    bytes: AtomicU64,
}

#[derive(Default)]
struct News {
    changed: BTreeSet<WorkspaceId>,
    stopped: bool,
}

/// What is being sealed.
#[derive(Clone, Copy)]
struct Now {
    workspace: WorkspaceId,
    snapshot: SnapshotId,
}

impl Sealer {
    /// Tells that workspaces changed. Never blocks for long.
    pub(crate) fn changed(&self, ids: &[WorkspaceId]) {
        locked(&self.news).changed.extend(ids);
        self.woken.notify_one();
    }

    /// Has the thread stop what it does, and end. Does not wait for it.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        locked(&self.news).stopped = true;
        self.woken.notify_one();
    }

    /// Starts the thread.
    pub(crate) fn start(forest: &Arc<Forest>) -> Result<(), Fault> {
        let (sealer, weak) = (forest.sealer.clone(), Arc::downgrade(forest));
        start_thread("sealer", move || sealer.run(&weak))
    }

    fn run(&self, forest: &Weak<Forest>) {
        let mut failed: HashMap<WorkspaceId, Instant> = HashMap::new();
        while let Some(ids) = self.wait() {
            let Some(forest) = forest.upgrade() else { return };
            if !is_wanted(&forest) {
                continue;
            }
            failed.retain(|_, since| since.elapsed() < PAUSE);
            for id in ids.into_iter().filter(|id| !failed.contains_key(id)).collect::<Vec<_>>() {
                if let Err(error) = self.seal_all(&forest, id) {
                    failed.insert(id, Instant::now());
                    eprintln!("weald: sealing a snapshot of {id}: {error}");
                }
            }
        }
    }

    /// Waits for news. None when stopped.
    fn wait(&self) -> Option<BTreeSet<WorkspaceId>> {
        let idle = |news: &mut News| news.changed.is_empty() && !news.stopped;
        let news = self.woken.wait_while(locked(&self.news), idle);
        let mut news = news.unwrap_or_else(PoisonError::into_inner);
        (!news.stopped).then(|| std::mem::take(&mut news.changed))
    }

    /// Seals what is to be sealed of a workspace, the oldest first.
    fn seal_all(&self, forest: &Forest, id: WorkspaceId) -> Result<(), SealError> {
        let Some(entry) = forest.by_id(id) else { return Ok(()) };
        loop {
            // One that is not in memory did not change.
            let Some(workspace) = entry.loaded() else { return Ok(()) };
            let Some(snapshot) = next(&workspace) else { return Ok(()) };
            if !has_room(forest) || !self.seal_one(forest, &entry, &workspace, snapshot.id)? {
                return Ok(());
            }
        }
    }

    /// Seals one. False when something else is more important.
    fn seal_one(
        &self,
        forest: &Forest,
        entry: &Entry,
        workspace: &Workspace,
        id: SnapshotId,
    ) -> Result<bool, SealError> {
        let Some(job) = workspace.begin_sealing(id)? else { return Ok(false) };
        self.bytes.store(0, Ordering::Relaxed);
        *locked(&self.now) = Some(Now { workspace: workspace.id(), snapshot: id });
        let is_full = AtomicBool::new(false);
        let proceed = |bytes| {
            let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
            if before / ROOM_BYTES != (before + bytes) / ROOM_BYTES && !has_room(forest) {
                is_full.store(true, Ordering::Relaxed);
            }
            let must_end = self.stopped.load(Ordering::Relaxed) || is_full.load(Ordering::Relaxed);
            !must_end && entry.stays_loaded()
        };
        let mut sealed = Err(SealError::Stopped);
        aside(&mut || sealed = job.put(&proceed));
        let recorded = match sealed {
            Ok(sealed) => job.record(&sealed),
            Err(SealError::Stopped) if is_full.load(Ordering::Relaxed) => Err(Errno::NoSpace.into()),
            Err(SealError::Stopped) => Ok(false),
            Err(error) => Err(error),
        };
        drop(job);
        if let Ok(true) = recorded
            && !self.cannot_move.load(Ordering::Relaxed)
        {
            self.move_sealed(workspace, id, &|| !proceed(0));
        }
        *locked(&self.now) = None;
        recorded
    }

    /// Has the log give back what the sealed snapshot has in chunks: it is kept once, for all workspaces. A failure costs
    /// space and nothing else.
    fn move_sealed(&self, workspace: &Workspace, id: SnapshotId, stop: &(dyn Fn() -> bool + Sync)) {
        let moved = move_placed(workspace, id, stop);
        let joined = workspace.shared().chunks().join_small();
        match moved {
            // The host makes no holes: it would take space twice.
            Err(Errno::NotSupported) => self.cannot_move.store(true, Ordering::Relaxed),
            Err(error) => eprintln!("weald: moving content of {} to chunks: {error}", workspace.id()),
            Ok(_) => {}
        }
        if let Err(error) = joined {
            eprintln!("weald: joining packs: {error}");
        }
    }

    /// What is being sealed.
    pub(crate) fn report(&self, forest: &Forest) -> Option<SealingReport> {
        let now = (*locked(&self.now))?;
        Some(SealingReport {
            workspace: forest.by_id(now.workspace)?.name(),
            snapshot: now.snapshot.to_string(),
            bytes: self.bytes.load(Ordering::Relaxed),
        })
    }
}

fn move_placed(
    workspace: &Workspace,
    id: SnapshotId,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<MovedAmount, Errno> {
    let mut placed = Ok(Vec::new());
    aside(&mut || {
        placed = workspace.has_data_to_move(id).map_err(SealError::from).and_then(|is_any| {
            let mut found = Vec::new();
            if is_any {
                workspace.sealed_places(id, &mut |one| found.push(one))?;
            }
            Ok(found)
        });
    });
    workspace.move_content(&placed.map_err(|error| error.errno())?, stop, &aside)
}

/// The next snapshot to seal.
fn next(workspace: &Workspace) -> Option<Snapshot> {
    let newest = workspace.snapshots().pop()?.id;
    let mut unsealed = workspace.unsealed();
    unsealed.retain(|one| one.id == newest || !is_thinned(one.occasion));
    unsealed.into_iter().next()
}

/// True for those that go when there are enough younger ones.
fn is_thinned(occasion: Occasion) -> bool {
    matches!(occasion, Occasion::Timer | Occasion::Quiet)
}

fn has_room(forest: &Forest) -> bool {
    forest.stores.home.disk().space().is_ok_and(|space| space.available >= FREE_BYTES_MIN)
}

fn is_wanted(forest: &Forest) -> bool {
    match forest.stores.config.read() {
        Ok(config) => config.seal,
        Err(fault) => {
            eprintln!("weald: no snapshot is sealed: {fault}");
            false
        }
    }
}
