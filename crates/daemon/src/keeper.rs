//! Takes snapshots by itself, and thins them.
//!
//! One thread for all workspaces. Invariants: it sleeps without an end while nothing changes, and wakes for what the
//! flusher found changed, or when the time of a workspace has come; a workspace whose last snapshot shows the present
//! gets no other. Failing to take one is told in daemon.log and tried again after the next change.
//! Read next: `thinning` (which ones stay), `config` (when they are taken).

use crate::config::Config;
use crate::entry::Entry;
use crate::forest::Forest;
use crate::thinning::Policy;
use crate::{locked, start_thread};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use weald_engine::{Occasion, Workspace};
use weald_model::{Caller, Fault, SnapshotId, WorkspaceId};
use weald_store::registry::State;

/// What the flusher and the thread share.
#[derive(Default)]
pub(crate) struct Keeper {
    news: Mutex<News>,
    woken: Condvar,
}

#[derive(Default)]
struct News {
    changed: Vec<WorkspaceId>,
    /// Settings were changed.
    reread: bool,
    stopped: bool,
}

/// A workspace that changed since its last snapshot.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Since when it has no snapshot of a change.
    since: Instant,
    last_change: Instant,
}

/// When, as far as settings say.
#[derive(Clone, Copy, Debug)]
struct Rhythm {
    every: Duration,
    quiet: Duration,
}

/// How long a removed workspace that somebody still used stays in memory before that is looked at again.
const UNLOAD_PAUSE: Duration = Duration::from_secs(2);

impl Keeper {
    /// Tells that workspaces changed. Never blocks for long.
    pub(crate) fn changed(&self, ids: &[WorkspaceId]) {
        locked(&self.news).changed.extend_from_slice(ids);
        self.woken.notify_one();
    }

    /// Tells that settings changed.
    pub(crate) fn reread(&self) {
        locked(&self.news).reread = true;
        self.woken.notify_one();
    }

    /// Has the thread end. Does not wait for it.
    pub(crate) fn stop(&self) {
        locked(&self.news).stopped = true;
        self.woken.notify_one();
    }

    /// Starts the thread.
    pub(crate) fn start(forest: &Arc<Forest>) -> Result<(), Fault> {
        let weak = Arc::downgrade(forest);
        forest.stores.shared.watch_changes(Box::new(move |ids| {
            if let Some(forest) = weak.upgrade() {
                forest.keeper.changed(ids);
                forest.sealer.changed(ids);
                forest.reclaimer.changed(ids);
            }
        }));
        let (keeper, weak) = (forest.keeper.clone(), Arc::downgrade(forest));
        start_thread("keeper", move || keeper.run(&weak))
    }

    fn run(&self, forest: &Weak<Forest>) {
        let mut pending: HashMap<WorkspaceId, Pending> = HashMap::new();
        let mut rhythm = None;
        let mut unload_at = None;
        loop {
            let due = rhythm.and_then(|rhythm| pending.values().map(|one| one.due(rhythm).0).min());
            let due = due.into_iter().chain(unload_at).min();
            let Some(news) = self.wait(due) else { return };
            let Some(forest) = forest.upgrade() else { return };
            forest.make_room();
            unload_at = forest.unload_removed().then(|| Instant::now() + UNLOAD_PAUSE);
            let now = Instant::now();
            for id in news {
                pending.entry(id).or_insert(Pending { since: now, last_change: now }).last_change = now;
            }
            let Some(config) = settings(&forest) else {
                pending.clear();
                continue;
            };
            let found = *rhythm.insert(Rhythm::of(&config));
            for (id, occasion) in take_due(&mut pending, found, now) {
                if let Err(fault) = forest.keep(id, occasion, &config) {
                    eprintln!("weald: an automatic snapshot of {id}: {fault}");
                }
            }
        }
    }

    /// Waits for news, or until something is due. None when stopped.
    fn wait(&self, due: Option<Instant>) -> Option<Vec<WorkspaceId>> {
        let idle = |news: &mut News| news.changed.is_empty() && !news.reread && !news.stopped;
        let news = locked(&self.news);
        let mut news = match due {
            None => self.woken.wait_while(news, idle).unwrap_or_else(PoisonError::into_inner),
            Some(due) => {
                let patience = due.saturating_duration_since(Instant::now());
                let waited = self.woken.wait_timeout_while(news, patience, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        news.reread = false;
        (!news.stopped).then(|| std::mem::take(&mut news.changed))
    }
}

impl Rhythm {
    fn of(config: &Config) -> Self {
        Self { every: Duration::from_secs(config.every_secs), quiet: Duration::from_secs(config.quiet_secs) }
    }
}

impl Pending {
    /// When its snapshot is due, and why.
    fn due(&self, rhythm: Rhythm) -> (Instant, Occasion) {
        let (timer, quiet) = (self.since + rhythm.every, self.last_change + rhythm.quiet);
        if quiet <= timer { (quiet, Occasion::Quiet) } else { (timer, Occasion::Timer) }
    }
}

/// Takes those out that are due. What goes on changing comes back with its next change.
fn take_due(
    pending: &mut HashMap<WorkspaceId, Pending>,
    rhythm: Rhythm,
    now: Instant,
) -> Vec<(WorkspaceId, Occasion)> {
    let due = |one: &Pending| Some(one.due(rhythm)).filter(|(at, _)| *at <= now).map(|(_, why)| why);
    let mut taken: Vec<_> = pending.iter().filter_map(|(id, one)| Some((*id, due(one)?))).collect();
    taken.sort_by_key(|(id, _)| *id);
    pending.retain(|_, one| due(one).is_none());
    taken
}

/// The settings, when snapshots are to be taken by themselves.
fn settings(forest: &Forest) -> Option<Config> {
    match forest.stores.config.read() {
        Ok(config) => Some(config).filter(|config| config.automatic),
        Err(fault) => {
            eprintln!("weald: no automatic snapshots: {fault}");
            None
        }
    }
}

impl Forest {
    /// Lets go of removed workspaces that could not be let go of then. True when some are left.
    fn unload_removed(&self) -> bool {
        let removed = self.all().into_iter().filter(|entry| entry.state() != State::Active);
        removed.filter(|entry| entry.unload_late(&self.stores)).count() > 0
    }

    /// Takes an automatic snapshot, unless the last one shows the present, and drops those that are too many.
    fn keep(&self, id: WorkspaceId, occasion: Occasion, config: &Config) -> Result<(), Fault> {
        self.open_for_work()?;
        let Some(entry) = self.by_id(id).filter(|entry| entry.state() == State::Active) else {
            return Ok(());
        };
        // One that is not in memory did not change.
        let Some(workspace) = entry.loaded() else { return Ok(()) };
        if shows_present(&workspace) {
            return Ok(());
        }
        entry.flush();
        let failed = |error| crate::faults::errno("taking a snapshot", error);
        let who = owner(&entry);
        let fresh = SnapshotId(self.stores.env.random().max(1));
        workspace.snapshot(&who, fresh, "", &[], occasion).map_err(failed)?;
        let snapshots = workspace.snapshots();
        for surplus in Policy::Settings(config.keep).dropped(&snapshots) {
            workspace.drop_snapshot(&who, surplus.id).map_err(failed)?;
            self.reclaimer.dropped();
        }
        Ok(())
    }
}

/// Weald itself, in the owner's name.
pub(crate) fn owner(entry: &Entry) -> Caller {
    let row = entry.row();
    Caller::owner(row.uid, row.gid)
}

/// True when nothing differs from the last snapshot. Cost: O(1), or up to the first difference.
fn shows_present(workspace: &Workspace) -> bool {
    let snapshots = workspace.snapshots();
    let Some(Ok(last)) = snapshots.last().map(|last| workspace.past(last.point)) else { return false };
    let mut differs = false;
    let compared = weald_engine::diff(&last, &workspace.now_past(), &mut |_| {
        differs = true;
        false
    });
    compared.is_ok() && !differs
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm { every: Duration::from_secs(600), quiet: Duration::from_secs(60) };

    #[test]
    fn quiet_comes_a_minute_after_the_last_change_and_a_timer_when_it_never_does() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let one = Pending { since: start, last_change: after(10) };
        assert_eq!(one.due(RHYTHM), (after(70), Occasion::Quiet));
        let busy = Pending { since: start, last_change: after(590) };
        assert_eq!(busy.due(RHYTHM), (after(600), Occasion::Timer));
    }

    #[test]
    fn what_is_due_is_taken_once() {
        let start = Instant::now();
        let mut pending = HashMap::new();
        pending.insert(WorkspaceId(1), Pending { since: start, last_change: start });
        assert!(take_due(&mut pending, RHYTHM, start).is_empty());
        let later = start + RHYTHM.quiet;
        assert_eq!(take_due(&mut pending, RHYTHM, later), [(WorkspaceId(1), Occasion::Quiet)]);
        assert!(take_due(&mut pending, RHYTHM, later).is_empty() && pending.is_empty());
    }
}
