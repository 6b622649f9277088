//! Repositories that base content is read from: opened when first needed, closed when nobody has read for a while.
//!
//! An open repository keeps its packs mapped, and what was ever read through a map counts as memory of the daemon, up
//! to the size of the packs. Opening one takes less than a millisecond, so an idle one is not worth that.
//! Invariant: while a repository is open here, the thread that will close it runs. A read under way keeps its own
//! handle, so closing disturbs nobody.

use crate::fetching::Fetcher;
use crate::{locked, memory, note};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use weald_git::{GitSource, Repository};
use weald_model::{Env, Oid, Source, SourceError, TreeEntry, Wait};
use weald_store::content_packs::ContentPacks;

/// Between two looks for idle repositories: one is closed when it was not used between two of them.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Is told a repository whose content was read without a pack.
type Unpacked = Box<dyn Fn(&Path) + Send + Sync>;

/// All sources of a home, by path.
pub(crate) struct Sources {
    /// The directory of Weald's own clones. These alone are written to, and so can be lazy.
    clones: PathBuf,
    env: Arc<dyn Env>,
    packs: Arc<ContentPacks>,
    by_path: Mutex<HashMap<PathBuf, Arc<LateSource>>>,
    closer: Arc<Closer>,
}

impl Sources {
    /// Knows none yet. `clones` is the directory of Weald's own clones; what `packs` have is read from there.
    pub(crate) fn new(clones: PathBuf, env: Arc<dyn Env>, packs: Arc<ContentPacks>) -> Self {
        Self { clones, env, packs, by_path: Mutex::default(), closer: Arc::default() }
    }

    /// Sets what is called when nothing was read for a while; once.
    pub(crate) fn when_at_rest(&self, at_rest: Box<dyn Fn() + Send + Sync>) {
        let _ = self.closer.at_rest.set(at_rest);
    }

    /// Sets what is called for a repository that is at rest and of which content was read that is in no pack; once.
    pub(crate) fn when_unpacked(&self, unpacked: Unpacked) {
        let _ = self.closer.unpacked.set(unpacked);
    }

    /// Those that were asked for so far, by path.
    pub(crate) fn all(&self) -> Vec<Arc<LateSource>> {
        let mut all: Vec<_> = locked(&self.by_path).values().cloned().collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// A source over the repository at `path`, opened when first asked.
    pub(crate) fn at(&self, path: &Path) -> Arc<LateSource> {
        let late = || {
            Arc::new_cyclic(|me| LateSource {
                path: path.to_owned(),
                opened: Mutex::default(),
                is_used: AtomicBool::new(false),
                is_watched: AtomicBool::new(false),
                closer: self.closer.clone(),
                packs: self.packs.clone(),
                fetcher: path.starts_with(&self.clones).then(|| Fetcher::new(path, self.env.clone())),
                told: Mutex::default(),
                reads: AtomicU64::new(0),
                is_unpacked: AtomicBool::new(false),
                me: me.clone(),
            })
        };
        locked(&self.by_path).entry(path.to_owned()).or_insert_with(late).clone()
    }

    /// Forgets the repository at `path`, which is about to go.
    pub(crate) fn forget(&self, path: &Path) {
        locked(&self.by_path).remove(path);
    }
}

/// A repository opened when needed, and again after it could not be: one that is away (an unmounted disk) costs its
/// readers an error, not the workspace.
pub(crate) struct LateSource {
    path: PathBuf,
    opened: Mutex<Option<GitSource>>,
    /// Read from since the closer last looked.
    is_used: AtomicBool,
    /// The closer looks at it. Changed while `opened` is held.
    is_watched: AtomicBool,
    closer: Arc<Closer>,
    packs: Arc<ContentPacks>,
    /// Brings what a clone left out. None: what is missing stays so.
    fetcher: Option<Arc<Fetcher>>,
    /// Packs whose damage was told.
    told: Mutex<HashSet<PathBuf>>,
    /// Blobs that were asked for.
    reads: AtomicU64,
    /// One of them was in no pack.
    is_unpacked: AtomicBool,
    me: Weak<LateSource>,
}

impl LateSource {
    /// Where the repository is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What brings here that was left out, if anything does.
    pub(crate) fn fetcher(&self) -> Option<&Arc<Fetcher>> {
        self.fetcher.as_ref()
    }

    /// The open repository.
    pub(crate) fn get(&self) -> Result<GitSource, SourceError> {
        if let Some(source) = &*locked(&self.opened) {
            self.is_used.store(true, Ordering::Relaxed);
            return Ok(source.clone());
        }
        let repo = Repository::open(&self.path).map_err(|fault| SourceError::Unavailable(fault.message))?;
        let source = match self.fetcher {
            Some(_) => GitSource::lazy(repo),
            None => GitSource::new(repo),
        };
        let mut opened = locked(&self.opened);
        let source = opened.get_or_insert(source).clone();
        self.is_used.store(true, Ordering::Relaxed);
        let is_watched = self.is_watched.swap(true, Ordering::Relaxed);
        drop(opened);
        if !is_watched {
            self.closer.watch(self.me.clone());
        }
        Ok(source)
    }

    /// Content of it was read, though it need not be open for that.
    fn was_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.is_used.store(true, Ordering::Relaxed);
        if self.is_watched.load(Ordering::Relaxed) {
            return;
        }
        let opened = locked(&self.opened);
        let is_watched = self.is_watched.swap(true, Ordering::Relaxed);
        drop(opened);
        if !is_watched {
            self.closer.watch(self.me.clone());
        }
    }

    /// How many blobs were asked for so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// A blob as the repository itself has it, checked against its id.
    pub(crate) fn checked_blob(&self, id: &Oid) -> Result<Vec<u8>, SourceError> {
        self.get()?.blob(id)
    }

    /// Closes the repository when it was not used since the last look. True when it was.
    fn look(&self) -> bool {
        let mut opened = locked(&self.opened);
        let was_used = self.is_used.swap(false, Ordering::Relaxed);
        let idle = if was_used { None } else { opened.take() };
        self.is_watched.store(was_used, Ordering::Relaxed);
        drop(opened);
        // Unmapped without the lock.
        drop(idle);
        was_used
    }
}

impl Source for LateSource {
    fn tree(&self, id: &Oid) -> Result<Vec<TreeEntry>, SourceError> {
        match self.get()?.tree(id) {
            // Trees of commits nobody asked for before; with one come all below it.
            Err(SourceError::Unfetched(_)) => {
                self.fetch(&[*id], &Wait::default())?;
                self.get()?.tree(id)
            }
            other => other,
        }
    }

    fn blob_sizes(&self, ids: &[Oid]) -> Vec<Result<u64, SourceError>> {
        let packed: Vec<Option<u64>> = ids.iter().map(|id| self.packs.size(id)).collect();
        let rest = ids.iter().zip(&packed).filter(|(_, size)| size.is_none()).map(|(id, _)| *id);
        let rest: Vec<Oid> = rest.collect();
        let mut asked = match self.get() {
            _ if rest.is_empty() => Vec::new(),
            Ok(source) => source.blob_sizes(&rest),
            Err(error) => rest.iter().map(|_| Err(error.clone())).collect(),
        }
        .into_iter();
        let unasked = || Err(SourceError::Unavailable("it did not tell all sizes asked for".into()));
        packed.into_iter().map(|size| size.map_or_else(|| asked.next().unwrap_or_else(unasked), Ok)).collect()
    }

    fn blob(&self, id: &Oid) -> Result<Vec<u8>, SourceError> {
        self.was_read();
        match self.packs.read(id) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => {
                self.is_unpacked.store(true, Ordering::Relaxed);
                self.checked_blob(id)
            }
            // The copy is of no use; the source has it as well. It is told once, and by `weald verify`.
            Err(problem) => {
                if locked(&self.told).insert(problem.path().to_owned()) {
                    note(format_args!("content is read from its source: {problem}"));
                }
                self.checked_blob(id)
            }
        }
    }

    fn is_lazy(&self) -> bool {
        self.get().is_ok_and(|source| source.is_lazy())
    }

    fn fetch(&self, ids: &[Oid], wait: &Wait) -> Result<(), SourceError> {
        let source = self.get()?;
        let Some(fetcher) = &self.fetcher else { return source.fetch(ids, wait) };
        let missing = source.repository().missing(ids);
        if missing.is_empty() {
            return Ok(());
        }
        fetcher.get(&missing, wait)?;
        // The remote may have given less than it was asked for.
        let first: Vec<Oid> = ids.iter().take(1).copied().collect();
        match self.get()?.repository().missing(&first).first() {
            Some(first) => Err(SourceError::Missing(*first)),
            None => Ok(()),
        }
    }
}

/// Closes idle repositories, and has what was read of them go from memory. Its thread runs only while one is read.
#[derive(Default)]
struct Closer {
    /// Called when none was read for a while.
    at_rest: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Called for each that is at rest and had content read that is in no pack.
    unpacked: OnceLock<Unpacked>,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    open: Vec<Weak<LateSource>>,
    is_running: bool,
}

impl Closer {
    /// Takes care of a source that was just opened.
    fn watch(self: &Arc<Self>, source: Weak<LateSource>) {
        let mut watched = locked(&self.watched);
        watched.open.push(source);
        if watched.is_running {
            return;
        }
        let closer = self.clone();
        let run = move || {
            std::thread::sleep(LOOK_INTERVAL);
            while closer.round() {
                std::thread::sleep(LOOK_INTERVAL);
            }
        };
        // Without a thread it stays open until the next one is opened: memory, nothing worse.
        watched.is_running = std::thread::Builder::new().name("close".to_owned()).spawn(run).is_ok();
    }

    /// Looks at one. False when it is at rest.
    fn look(&self, source: &LateSource) -> bool {
        let was_used = source.look();
        if !was_used
            && source.is_unpacked.swap(false, Ordering::Relaxed)
            && let Some(unpacked) = self.unpacked.get()
        {
            unpacked(&source.path);
        }
        was_used
    }

    /// Looks at every open source once. False when none is left, and the thread is to end.
    fn round(&self) -> bool {
        let mut open = std::mem::take(&mut locked(&self.watched).open);
        let before = open.len();
        open.retain(|source| source.upgrade().is_some_and(|source| self.look(&source)));
        if let (true, Some(at_rest)) = (open.is_empty(), self.at_rest.get()) {
            at_rest();
        }
        if open.len() < before {
            // Their caches of objects go with them.
            memory::give_back();
        }
        let mut watched = locked(&self.watched);
        watched.open.append(&mut open);
        watched.is_running = !watched.open.is_empty();
        watched.is_running
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
