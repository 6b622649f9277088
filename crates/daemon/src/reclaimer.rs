//! Gives back by itself, now and then, what no state that stays needs.
//!
//! One thread for all workspaces. While nothing changes it sleeps without an end; after a change it looks once each
//! `gc.every`. A family of forks is looked at when it changed since the last look, and once a day when it did not, since
//! time alone moves what lies in the window; only then logs are read that are not in memory. It ends looking when the
//! daemon ends or a workspace is unmounted, and leaves a family for later when a fork, a pin or `gc run` is under way.
//! What it did is in `weald status` and in daemon.log. Read next: `gc/background.rs` (what it does), `keeper`.

use crate::forest::Forest;
use crate::gc::{Looked, Reclaimed};
use crate::report::{Moment, ReclaimedReport};
use crate::{locked, note, start_thread};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use weald_model::{Fault, WorkspaceId};

/// A family that did not change is looked at so often.
const IDLE_EVERY: Duration = Duration::from_secs(24 * 3600);
/// What was left for later is looked at again after this, or after `gc.every` when that is shorter.
const LATER: Duration = Duration::from_secs(60);

/// What the thread and those who wake it share.
#[derive(Default)]
pub(crate) struct Reclaimer {
    news: Mutex<News>,
    woken: Condvar,
    stopped: Arc<AtomicBool>,
    done: Mutex<Done>,
}

#[derive(Default)]
struct News {
    changed: HashSet<WorkspaceId>,
    /// Settings were changed, or something changed for the first time since the last look.
    is_new: bool,
    has_dropped: bool,
    stopped: bool,
}

/// What was done since the daemon began, and what is being done.
#[derive(Default)]
struct Done {
    reclaimed: Reclaimed,
    last_at: Option<i64>,
    now: Option<WorkspaceId>,
}

/// What the thread remembers between two looks.
#[derive(Default)]
struct Rounds {
    /// When each family was looked at, by the workspace it began with.
    looked: HashMap<WorkspaceId, Instant>,
    /// When it was looked last, and whether something was left for later.
    last: Option<Instant>,
    is_unfinished: bool,
    /// Something was taken that may have made chunks needless.
    has_dropped: bool,
    chunks_looked: Option<Instant>,
}

impl Reclaimer {
    /// Tells that workspaces changed. Never blocks for long.
    pub(crate) fn changed(&self, ids: &[WorkspaceId]) {
        let mut news = locked(&self.news);
        if news.changed.is_empty() {
            news.is_new = true;
            self.woken.notify_one();
        }
        news.changed.extend(ids);
    }

    /// Tells that something went that may have made chunks needless.
    pub(crate) fn dropped(&self) {
        let mut news = locked(&self.news);
        (news.has_dropped, news.is_new) = (true, true);
        self.woken.notify_one();
    }

    /// Tells that settings changed.
    pub(crate) fn reread(&self) {
        locked(&self.news).is_new = true;
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
        let (reclaimer, weak) = (forest.reclaimer.clone(), Arc::downgrade(forest));
        start_thread("reclaimer", move || reclaimer.run(&weak))
    }

    /// What was given back since the daemon began; None when nothing was.
    pub(crate) fn report(&self, forest: &Forest) -> Option<ReclaimedReport> {
        let done = locked(&self.done);
        let now = done.now.and_then(|id| forest.by_id(id)).map(|entry| entry.name());
        (done.last_at.is_some() || now.is_some()).then(|| ReclaimedReport {
            bytes: done.reclaimed.bytes,
            snapshots: done.reclaimed.snapshots,
            last_at: done.last_at.map(Moment),
            looking_at: now,
        })
    }

    fn run(&self, weak: &Weak<Forest>) {
        let started = Instant::now();
        let mut rounds = Rounds::default();
        let mut changed = HashSet::new();
        let mut due = None;
        while self.wait(due, &mut changed, &mut rounds) {
            let Some(forest) = weak.upgrade() else { return };
            let Some(every) = every(&forest) else {
                due = None;
                continue;
            };
            let pause = if rounds.is_unfinished { every.min(LATER) } else { every };
            let at = rounds.last.unwrap_or(started) + pause;
            if at > Instant::now() {
                due = (rounds.is_unfinished || rounds.has_dropped || !changed.is_empty()).then_some(at);
                continue;
            }
            self.round(&forest, &mut rounds, &mut changed);
            rounds.last = Some(Instant::now());
            due = rounds.is_unfinished.then(|| Instant::now() + every.min(LATER));
        }
    }

    /// Waits for news, or until something is due. False when stopped.
    fn wait(&self, due: Option<Instant>, changed: &mut HashSet<WorkspaceId>, rounds: &mut Rounds) -> bool {
        let idle = |news: &mut News| !news.is_new && !news.stopped;
        let news = locked(&self.news);
        let mut news = match due {
            None => self.woken.wait_while(news, idle).unwrap_or_else(PoisonError::into_inner),
            Some(due) => {
                let patience = due.saturating_duration_since(Instant::now());
                let waited = self.woken.wait_timeout_while(news, patience, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        news.is_new = false;
        rounds.has_dropped |= std::mem::take(&mut news.has_dropped);
        changed.extend(news.changed.drain());
        !news.stopped
    }

    /// Looks at all families that are due. What is left for later stays in `changed`.
    fn round(&self, forest: &Forest, rounds: &mut Rounds, changed: &mut HashSet<WorkspaceId>) {
        rounds.is_unfinished = false;
        for family in forest.families() {
            let Some(first) = family.first() else { continue };
            let (root, first) = (forest.root_of(first), first.id);
            let ids: Vec<WorkspaceId> = family.iter().map(|entry| entry.id).collect();
            let is_first = !rounds.looked.contains_key(&root);
            let is_old = rounds.looked.get(&root).is_none_or(|at| at.elapsed() >= IDLE_EVERY);
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            if !is_old && !ids.iter().any(|id| changed.contains(id)) {
                continue;
            }
            locked(&self.done).now = Some(first);
            match forest.reclaim(family, is_first, &self.stop_sign()) {
                Ok(Looked::Later) => rounds.is_unfinished = true,
                Ok(Looked::Done(what)) => {
                    rounds.has_dropped |= self.tell(forest, what);
                    ids.iter().for_each(|id| _ = changed.remove(id));
                    rounds.looked.insert(root, Instant::now());
                }
                Err(fault) => {
                    note(format_args!("giving back what nobody needs: {fault} [{}]", fault.code));
                    ids.iter().for_each(|id| _ = changed.remove(id));
                    rounds.looked.insert(root, Instant::now());
                }
            }
            locked(&self.done).now = None;
        }
        self.chunks(forest, rounds);
        let there: HashSet<WorkspaceId> = forest.all().iter().map(|entry| entry.id).collect();
        changed.retain(|id| there.contains(id));
        rounds.looked.retain(|id, _| there.contains(id));
    }

    fn stop_sign(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let stopped = self.stopped.clone();
        Arc::new(move || stopped.load(Ordering::Relaxed))
    }

    /// Drops chunks once something was taken. Reads the logs of all workspaces, so while some are not in memory only
    /// once a day.
    fn chunks(&self, forest: &Forest, rounds: &mut Rounds) {
        let is_old = rounds.chunks_looked.is_none_or(|at| at.elapsed() >= IDLE_EVERY);
        if !rounds.has_dropped || !(is_old || forest.all().iter().all(|entry| entry.loaded().is_some())) {
            return;
        }
        match forest.reclaim_chunks(&|| self.stopped.load(Ordering::Relaxed)) {
            Ok(None) => rounds.is_unfinished = true,
            Ok(Some(bytes)) => {
                self.tell(forest, Reclaimed { snapshots: 0, bytes });
                (rounds.has_dropped, rounds.chunks_looked) = (false, Some(Instant::now()));
            }
            Err(fault) => {
                note(format_args!("dropping chunks: {fault} [{}]", fault.code));
                (rounds.has_dropped, rounds.chunks_looked) = (false, Some(Instant::now()));
            }
        }
    }

    /// Says what was given back, if anything was.
    fn tell(&self, forest: &Forest, what: Reclaimed) -> bool {
        if what == Reclaimed::default() {
            return false;
        }
        note(format_args!(
            "{} KB of what no state that stays needs were given back, and {} automatic snapshots dropped",
            what.bytes / 1_000,
            what.snapshots
        ));
        let mut done = locked(&self.done);
        done.reclaimed.bytes += what.bytes;
        done.reclaimed.snapshots += what.snapshots;
        done.last_at = Some(forest.stores.now());
        true
    }
}

/// How often it is looked; None when it is not to be.
fn every(forest: &Forest) -> Option<Duration> {
    match forest.stores.config.read() {
        Ok(config) => config.gc.then(|| Duration::from_secs(config.gc_every_secs)),
        Err(fault) => {
            note(format_args!("nothing is given back: {fault}"));
            None
        }
    }
}
