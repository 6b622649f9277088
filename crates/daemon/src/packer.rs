//! Copies the content of bases into content packs, in the background: from there it is read for half the processor time.
//!
//! One thread for all sources, asleep while nothing is wanted; a base is wanted when a workspace was made on it, and when
//! all of it was fetched. Invariants: nobody waits for this: the work is done by a thread of the lowest priority, with a repository
//! of its own, and pauses while somebody reads content of the same source; it stops with the daemon, with the settings
//! `fetch.pack`, `fetch.pack_min` and `fetch.pack_max`, and when the disk gets full. What was left is tried again when somebody
//! makes a workspace there, changes a setting, or has read content that is in no pack. Read next: `packing`.

use crate::forest::Forest;
use crate::packing::{PackingError, pack};
use crate::report::PacksReport;
use crate::sources::LateSource;
use crate::{locked, memory, note, start_thread};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use weald_git::{GitSource, Repository};
use weald_model::{Fault, Oid};
use weald_store::registry::State;

/// Whoever just made a workspace looks into it: so long it is left to him.
const START_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks whether somebody still reads.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Blobs between two looks at settings, disk and readers.
const BLOBS_BETWEEN: u64 = 64;

/// A repository and the tree of a base in it.
type Job = (PathBuf, Oid);

/// What the thread and those who wake it share.
#[derive(Default)]
pub(crate) struct Packer {
    news: Mutex<News>,
    woken: Condvar,
    stopped: AtomicBool,
    /// What `weald status` tells.
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    copying: Option<PathBuf>,
    held_back: Option<&'static str>,
}

#[derive(Default)]
struct News {
    /// When each is to begin.
    wanted: HashMap<Job, Instant>,
    stopped: bool,
}

impl Forest {
    /// Has the bases of all workspaces looked at, or those of one repository. Those of clones follow when all of them was fetched.
    pub(crate) fn want_packs(&self, of: Option<&Path>) {
        for entry in self.in_state(State::Active) {
            let row = entry.row();
            if let (Some(repo), None, Some(tree)) = (&row.repo_path, &row.repo_id, Oid::from_hex(&row.tree))
                && of.is_none_or(|of| of == repo)
            {
                self.packer.want(repo, tree);
            }
        }
    }
}

impl Packer {
    /// Tells that all content of a base is at hand: it may be copied soon.
    pub(crate) fn want(&self, repo: &Path, tree: Oid) {
        locked(&self.news).wanted.insert((repo.to_owned(), tree), Instant::now() + START_PAUSE);
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
        let (packer, weak) = (forest.packer.clone(), Arc::downgrade(forest));
        let asked = weak.clone();
        forest.stores.sources.when_unpacked(Box::new(move |repo| {
            if let Some(forest) = asked.upgrade() {
                forest.want_packs(Some(repo));
            }
        }));
        start_thread("packer", move || packer.run(&weak))
    }

    fn run(&self, weak: &Weak<Forest>) {
        // Trees that are in packs as far as they can be, and how many packs had been removed by then.
        let mut packed: HashMap<Oid, u64> = HashMap::new();
        while let Some((repo, tree)) = self.wait() {
            let Some(forest) = weak.upgrade() else { return };
            let removed = forest.stores.home.content().removed();
            if packed.get(&tree) == Some(&removed) {
                continue;
            }
            let copied = self.copy(&forest, &repo, &tree);
            locked(&self.told).copying = None;
            match copied {
                Ok(true) => drop(packed.insert(tree, removed)),
                Ok(false) => {}
                Err(why) => note(format_args!("copying content of {}: {why}", repo.display())),
            }
        }
    }

    /// Waits until one is due. None when stopped.
    fn wait(&self) -> Option<Job> {
        let mut news = locked(&self.news);
        loop {
            if news.stopped {
                return None;
            }
            let next = news.wanted.iter().min_by_key(|(_, due)| **due);
            let next = next.map(|(job, due)| (job.clone(), due.saturating_duration_since(Instant::now())));
            news = match next {
                None => self.woken.wait(news).unwrap_or_else(PoisonError::into_inner),
                Some((job, Duration::ZERO)) => {
                    news.wanted.remove(&job);
                    return Some(job);
                }
                Some((_, pause)) => {
                    self.woken.wait_timeout(news, pause).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Copies one base. True when there is nothing left to copy.
    fn copy(&self, forest: &Forest, repo: &Path, tree: &Oid) -> Result<bool, String> {
        let Ok(config) = forest.stores.config.read() else { return Ok(false) };
        let Some(manifest) = forest.stores.known_manifest(tree) else { return Ok(false) };
        if !config.pack || manifest.file_count() < config.pack_files_min {
            return Ok(false);
        }
        let content = forest.stores.home.content();
        let before = content.list().map_err(|error| error.to_string())?;
        let before = before.iter().map(|pack| pack.disk_bytes).sum();
        *locked(&self.told) = Told { copying: Some(repo.to_owned()), held_back: None };
        let late = forest.stores.source(repo);
        let watch = Watch { packer: self, forest, source: &late, before, asked: 0.into(), reads: 0.into() };
        watch.reads.store(late.reads(), Ordering::Relaxed);
        // Its own: the one that programs' reads go through has locks.
        let source = GitSource::new(Repository::open(repo).map_err(|fault| fault.message)?);
        let is_used =
            || forest.in_state(State::Active).iter().any(|entry| entry.row().tree == tree.to_string());
        let added = pack(content, &manifest, &source, &|bytes| watch.goes_on(bytes), &is_used);
        drop(source);
        memory::give_back();
        match added {
            Ok(added) => Ok(added.is_some()),
            Err(PackingError::Manifest(_)) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What there is and goes on; None while there is nothing to tell.
    pub(crate) fn report(&self, forest: &Forest) -> Option<PacksReport> {
        let packs = forest.stores.home.content().list().unwrap_or_default();
        let told = locked(&self.told);
        let report = PacksReport {
            disk_bytes: packs.iter().map(|pack| pack.disk_bytes).sum(),
            copying: told.copying.as_ref().map(|repo| repo.display().to_string()),
            held_back: told.held_back.map(str::to_owned),
        };
        let is_worth_telling = !packs.is_empty() || report.copying.is_some() || report.held_back.is_some();
        is_worth_telling.then_some(report)
    }

    /// False when stopped meanwhile.
    fn pause(&self) -> bool {
        std::thread::sleep(LOOK_INTERVAL);
        !self.stopped.load(Ordering::Relaxed)
    }
}

/// Whether copying goes on.
struct Watch<'a> {
    packer: &'a Packer,
    forest: &'a Forest,
    source: &'a LateSource,
    /// Bytes of the packs there are.
    before: u64,
    asked: AtomicU64,
    /// What others had read of the source when it was last looked at.
    reads: AtomicU64,
}

impl Watch<'_> {
    /// Asked before each blob, with the bytes of new packs so far. Waits while somebody reads.
    fn goes_on(&self, bytes: u64) -> bool {
        if !self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(BLOBS_BETWEEN) {
            return !self.packer.stopped.load(Ordering::Relaxed);
        }
        while self.reads.swap(self.source.reads(), Ordering::Relaxed) != self.source.reads() {
            if !self.packer.pause() {
                return false;
            }
        }
        let Ok(config) = self.forest.stores.config.read() else { return false };
        let held_back = if self.before + bytes >= config.pack_bytes_max {
            Some("fetch.pack_max")
        } else {
            self.forest.is_disk_low().then_some("disk.free_min")
        };
        locked(&self.packer.told).held_back = held_back;
        config.pack && held_back.is_none() && !self.packer.stopped.load(Ordering::Relaxed)
    }
}
