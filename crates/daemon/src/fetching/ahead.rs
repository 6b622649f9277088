//! Fetching before anybody asks: the content of the bases of all workspaces, in the background.
//!
//! One thread for all clones, asleep while everything is here. A base is fetched in the order of paths, but first what
//! other workspaces of the clone read before it was here ([`early`]). Invariants: no batch begins while somebody waits for content
//! of the same clone; batches are as large as some seconds carry; git runs at the lowest priority; it stops with the daemon, with
//! the settings `fetch.prefetch` and `fetch.prefetch_max`, and when the disk gets full. A remote that cannot be reached is
//! asked again after a growing pause.

pub(crate) mod early;
mod nodes;

use super::Fetcher;
use crate::forest::Forest;
use crate::sources::LateSource;
use crate::{locked, start_thread};
use nodes::Wanted;
pub(crate) use nodes::in_order_of_paths;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use weald_git::Unfetched;
use weald_model::{Fault, Oid, Source as _};
use weald_store::manifest::Manifest;
use weald_store::registry::State;

/// Objects of the first batch, and of the largest.
const BATCH_MIN: usize = 256;
const BATCH_MAX: usize = 8_192;
/// A batch that took less is followed by a larger one, one that took more by a smaller one.
const QUICK: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_secs(4);
/// Whoever just made a workspace looks into it: so long it is left to him.
const START_PAUSE: Duration = Duration::from_millis(500);
/// Between two looks whether somebody still waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How often it is looked whether what stopped it has passed.
const RETRY: Duration = Duration::from_secs(5);

/// A clone and the tree of a base in it.
type Job = (PathBuf, Oid);

/// How far a base is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is to be fetched.
    #[default]
    Waiting,
    /// It is being fetched.
    Running,
    /// All of it is here.
    Done,
    /// It takes more than `fetch.prefetch_max`.
    TooMuch,
}

/// What the thread and those who wake it share.
#[derive(Default)]
pub(crate) struct Ahead {
    news: Mutex<News>,
    woken: Condvar,
    stopped: AtomicBool,
    stages: Mutex<HashMap<Job, Stage>>,
}

#[derive(Default)]
struct News {
    any: bool,
    stopped: bool,
}

/// Why a base was left.
enum Left {
    /// All of it is here, or all that can be had.
    Done,
    TooMuch,
    /// The remote is away, the disk is full.
    Later,
    /// The setting is off, or the daemon ends.
    Ended,
}

impl Ahead {
    /// Tells that there may be something to fetch: a workspace, a setting.
    pub(crate) fn look(&self) {
        locked(&self.news).any = true;
        self.woken.notify_one();
    }

    /// Has the thread stop what it does, and end. Does not wait for it.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        locked(&self.news).stopped = true;
        self.woken.notify_one();
    }

    /// How far a base is.
    pub(crate) fn stage(&self, clone: &std::path::Path, tree: &Oid) -> Stage {
        locked(&self.stages).get(&(clone.to_owned(), *tree)).copied().unwrap_or_default()
    }

    /// Starts the thread.
    pub(crate) fn start(forest: &Arc<Forest>) -> Result<(), Fault> {
        let (ahead, weak) = (forest.ahead.clone(), Arc::downgrade(forest));
        ahead.look();
        start_thread("ahead", move || ahead.run(&weak))
    }

    fn run(&self, weak: &Weak<Forest>) {
        let mut retry = None;
        while self.wait(retry) {
            let Some(forest) = weak.upgrade() else { return };
            retry = None;
            for job in jobs(&forest) {
                let stage = self.stage(&job.0, &job.1);
                if matches!(stage, Stage::Done) || !is_on(&forest) {
                    continue;
                }
                self.set(&job, Stage::Running);
                let left = self.fetch(&forest, &job);
                let stage = match left {
                    Left::Done => Stage::Done,
                    Left::TooMuch => Stage::TooMuch,
                    Left::Later | Left::Ended => Stage::Waiting,
                };
                self.set(&job, stage);
                if matches!(left, Left::Later) {
                    retry = Some(RETRY);
                }
            }
        }
    }

    fn set(&self, job: &Job, stage: Stage) {
        locked(&self.stages).insert(job.clone(), stage);
    }

    /// Waits for news, or until it is time to try again. False when stopped.
    fn wait(&self, retry: Option<Duration>) -> bool {
        let idle = |news: &mut News| !news.any && !news.stopped;
        let news = locked(&self.news);
        let mut news = match retry {
            None => self.woken.wait_while(news, idle).unwrap_or_else(PoisonError::into_inner),
            Some(pause) => {
                let waited = self.woken.wait_timeout_while(news, pause, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        news.any = false;
        !news.stopped
    }

    fn fetch(&self, forest: &Forest, job: &Job) -> Left {
        let source = forest.stores.source(&job.0);
        let Some(fetcher) = source.fetcher().cloned() else { return Left::Done };
        let Some(manifest) = forest.stores.known_manifest(&job.1) else { return Left::Done };
        let early = early::load(&job.0);
        // What is damaged is told by whoever reads it.
        let Ok(mut wanted) = Wanted::of(&manifest, &source, &early) else { return Left::Done };
        let (mut size, mut unknown) = (BATCH_MIN, HashSet::new());
        let mut begun = self.pause(START_PAUSE);
        while begun && !wanted.is_empty() {
            if let Some(left) = reason_to_leave(forest, &job.0) {
                return left;
            }
            if !self.give_way(&fetcher) {
                return Left::Ended;
            }
            let batch = wanted.take(size, &source, &unknown);
            if batch.is_empty() {
                continue;
            }
            let since = Instant::now();
            let ids: Vec<Oid> = batch.iter().map(|(_, id)| *id).collect();
            match fetcher.ahead(&ids, &|| self.stopped.load(Ordering::Relaxed)) {
                Ok(()) => {
                    learn(&manifest, &source, &batch);
                    size = next_size(size, since.elapsed());
                }
                Err(Unfetched::Unknown(id)) => {
                    unknown.insert(id);
                    wanted.put_back(batch);
                }
                Err(Unfetched::GivenUp) => return Left::Ended,
                Err(Unfetched::Failed(_)) => return Left::Later,
            }
            begun = !self.stopped.load(Ordering::Relaxed);
        }
        early::keep(&job.0, &manifest, &fetcher.take_early());
        fetcher.tidy();
        if !begun {
            return Left::Ended;
        }
        forest.packer.want(&job.0, job.1);
        Left::Done
    }

    /// Waits while somebody waits for content himself. False when stopped.
    fn give_way(&self, fetcher: &Fetcher) -> bool {
        while fetcher.is_busy() {
            if !self.pause(LOOK_INTERVAL) {
                return false;
            }
        }
        !self.stopped.load(Ordering::Relaxed)
    }

    /// False when stopped meanwhile.
    fn pause(&self, pause: Duration) -> bool {
        let since = Instant::now();
        while since.elapsed() < pause && !self.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK_INTERVAL.min(pause));
        }
        !self.stopped.load(Ordering::Relaxed)
    }
}

/// Bases of clones that workspaces stand on, the newest first.
fn jobs(forest: &Forest) -> Vec<Job> {
    let mut rows: Vec<_> = forest.in_state(State::Active).iter().map(|entry| entry.row()).collect();
    rows.retain(|row| row.repo_id.is_some());
    rows.sort_by_key(|row| std::cmp::Reverse(row.created_at));
    let mut seen = HashSet::new();
    let job = |row: weald_store::registry::WorkspaceRow| Some((row.repo_path?, Oid::from_hex(&row.tree)?));
    rows.into_iter().filter_map(job).filter(|job| seen.insert(job.clone())).collect()
}

fn is_on(forest: &Forest) -> bool {
    forest.stores.config.read().is_ok_and(|config| config.prefetch)
}

fn reason_to_leave(forest: &Forest, clone: &std::path::Path) -> Option<Left> {
    let Ok(config) = forest.stores.config.read() else { return Some(Left::Ended) };
    if !config.prefetch {
        return Some(Left::Ended);
    }
    if forest.is_disk_low() {
        return Some(Left::Later);
    }
    let is_too_much = crate::survey::disk_bytes(&clone.join("objects")) >= config.prefetch_bytes_max;
    is_too_much.then_some(Left::TooMuch)
}

/// Remembers the sizes of what came.
fn learn(manifest: &Manifest, source: &LateSource, batch: &[nodes::Node]) {
    let ids: Vec<Oid> = batch.iter().map(|(_, id)| *id).collect();
    let sizes = source.blob_sizes(&ids);
    let known = batch.iter().zip(sizes).filter_map(|((ino, _), size)| Some((*ino, size.ok()?)));
    manifest.learn_sizes(&known.collect::<Vec<_>>());
}

fn next_size(size: usize, took: Duration) -> usize {
    if took < QUICK {
        (size * 2).min(BATCH_MAX)
    } else if took > SLOW {
        (size / 2).max(BATCH_MIN)
    } else {
        size
    }
}

impl Fetcher {
    /// Brings objects here that nobody waits for. One try: who calls knows when the next is due.
    fn ahead(&self, ids: &[Oid], given_up: &(dyn Fn() -> bool + Sync)) -> Result<(), Unfetched> {
        if let Some(away) = self.away()
            && Instant::now() < away.next_try()
        {
            return Err(Unfetched::Failed(away.fault));
        }
        let outcome = weald_git::fetch_objects_aside(&self.path, ids, given_up);
        match &outcome {
            Ok(()) | Err(Unfetched::Unknown(_)) => self.is_there(),
            Err(Unfetched::Failed(fault)) => drop(self.is_away(fault.clone())),
            Err(Unfetched::GivenUp) => {}
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_on_a_quick_network_and_shrink_on_a_slow_one() {
        assert_eq!(next_size(256, Duration::from_millis(100)), 512);
        assert_eq!(next_size(BATCH_MAX, Duration::ZERO), BATCH_MAX);
        assert_eq!(next_size(512, Duration::from_secs(2)), 512);
        assert_eq!(next_size(BATCH_MIN, Duration::from_secs(9)), BATCH_MIN);
    }
}
