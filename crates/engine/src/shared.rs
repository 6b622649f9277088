//! What all workspaces of a home share: logs, stored content, clock, decompressed base content.

use crate::StatFs;
use crate::base::Base;
use crate::flush::Flusher;
use crate::given_back::GivenBack;
use crate::history::Point;
use crate::kept::Kept;
use crate::moved::Cache;
use crate::opening::RECORDS_APPLIED;
use crate::programs::{Author, Programs};
use crate::room::Room;
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use weald_model::name::NAME_BYTES_MAX;
use weald_model::{Caller, Env, Errno, Ino, Oid, Result, SourceError, WorkspaceId};
use weald_store::cas::{Cas, Hash};
use weald_store::chunks::Chunks;
use weald_store::disk::Disk;
use weald_store::log::Logs;

/// The shared parts. One per home.
pub struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) logs: Logs,
    pub(crate) cas: Cas,
    pub(crate) chunks: Arc<Chunks>,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) flusher: Flusher,
    pub(crate) given_back: GivenBack,
    pub(crate) moved_cache: Cache,
    /// Held while content is moved.
    pub(crate) moving: Mutex<()>,
    /// Records that opening a workspace applies before it looks for a checkpoint.
    applied_max: AtomicU64,
    programs: OnceLock<Arc<dyn Programs>>,
    pub(crate) room: Room,
    blobs: Mutex<BlobCache>,
    forks: Mutex<HashMap<WorkspaceId, ForkPoint>>,
    kept: Mutex<Kept>,
    /// Checkpoints of the loaded logs.
    checkpoints: Mutex<BTreeMap<Point, Hash>>,
}

/// What a fork starts from.
#[derive(Clone)]
pub(crate) struct ForkStart {
    pub(crate) state: State,
    /// The logs it comes from and how far, the nearest last.
    pub(crate) lineage: Vec<Point>,
    /// The parent's record there names the fork.
    pub(crate) is_marked: bool,
}

/// Where a fork that may be opened begins. The state there is kept when a replay of the parent's log comes by, so that
/// fifty forks replay their parent once and share its overlay in memory.
struct ForkPoint {
    parent: WorkspaceId,
    seq: u64,
    start: Option<ForkStart>,
    /// Its state was asked for, so it need not be kept any more.
    is_taken: bool,
}

/// Decompressed base content in two generations: what was used since the last turn, and what was before.
/// Bounded by twice half of `bytes_max`.
struct BlobCache {
    bytes_max: usize,
    young: HashMap<Oid, Arc<Vec<u8>>>,
    young_bytes: usize,
    old: HashMap<Oid, Arc<Vec<u8>>>,
    /// Blobs too large for the cache, by the stored file they were unpacked to.
    unpacked: HashMap<Oid, [u8; 32]>,
}

/// The content of a blob, at hand.
enum Blob {
    Memory(Arc<Vec<u8>>),
    Stored([u8; 32]),
}

impl Shared {
    /// Gathers the parts. `blob_cache_bytes_max` bounds the memory for decompressed base content; larger blobs are
    /// unpacked into the store when first read.
    pub fn new(
        disk: Arc<dyn Disk>,
        logs: Logs,
        cas: Cas,
        chunks: Arc<Chunks>,
        env: Arc<dyn Env>,
        blob_cache_bytes_max: usize,
    ) -> Arc<Self> {
        let blobs = BlobCache {
            bytes_max: blob_cache_bytes_max,
            young: HashMap::new(),
            young_bytes: 0,
            old: HashMap::new(),
            unpacked: HashMap::new(),
        };
        let (flusher, blobs, forks) = (Flusher::default(), Mutex::new(blobs), Mutex::default());
        let (given_back, moved_cache, moving) = (GivenBack::default(), Cache::default(), Mutex::default());
        let (programs, kept) = (OnceLock::new(), Mutex::default());
        Arc::new(Self {
            disk,
            logs,
            cas,
            chunks,
            env,
            flusher,
            given_back,
            moved_cache,
            moving,
            applied_max: AtomicU64::new(RECORDS_APPLIED),
            programs,
            room: Room::default(),
            blobs,
            forks,
            kept,
            checkpoints: Mutex::default(),
        })
    }

    /// The logs of all workspaces.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Where what snapshots are sealed into is kept.
    pub fn chunks(&self) -> &Arc<Chunks> {
        &self.chunks
    }

    /// The host's space, since private data goes there.
    pub fn stat_fs(&self) -> Result<StatFs> {
        let space = self.disk.space().map_err(|error| Errno::from_host(&error))?;
        let block = space.block_bytes.max(1);
        Ok(StatFs {
            block_bytes: u32::try_from(space.block_bytes).unwrap_or(u32::MAX),
            blocks: space.total / block,
            blocks_free: space.free / block,
            blocks_available: space.available / block,
            files: space.files,
            files_free: space.files_free,
            name_max: NAME_BYTES_MAX as u32,
        })
    }

    /// Sets how many records opening a workspace applies before it looks for a checkpoint.
    pub fn look_for_checkpoints_after(&self, records: u64) {
        self.applied_max.store(records.max(1), Ordering::Relaxed);
    }

    pub(crate) fn applied_max(&self) -> u64 {
        self.applied_max.load(Ordering::Relaxed)
    }

    /// Sets who tells which program makes a change; before the first change, once. Without it records name none.
    pub fn set_programs(&self, programs: Arc<dyn Programs>) {
        let _ = self.programs.set(programs);
    }

    /// Who a caller is.
    pub(crate) fn author(&self, who: &Caller) -> Author {
        let known = self.programs.get().filter(|_| who.pid != 0);
        let program = known.and_then(|programs| programs.of_thread(who.pid));
        Author {
            pid: program.map_or(who.pid, |program| program.pid),
            uid: who.uid,
            name: program.map(|program| program.name),
            request: who.request,
        }
    }

    /// Sets who is told, by the flusher's thread after each round, which workspaces changed since the last; once.
    pub fn watch_changes(&self, watch: Box<crate::flush::Watch>) {
        self.flusher.watch(watch);
    }

    /// Starts the thread that makes changes durable every few seconds. It ends when the returned guard is dropped,
    /// after a last round.
    pub fn start_flusher(self: &Arc<Self>) -> std::io::Result<crate::flush::Running> {
        Flusher::start(self.clone())
    }

    /// Says that a fork of `parent`, begun behind its record `seq`, may be opened later.
    pub fn expect_fork(&self, fork: WorkspaceId, parent: WorkspaceId, seq: u64) {
        let expected = ForkPoint { parent, seq, start: None, is_taken: false };
        self.fork_points().entry(fork).or_insert(expected).is_taken = false;
    }

    /// Forgets a fork that is no more.
    pub fn forget_fork(&self, fork: WorkspaceId) {
        self.fork_points().remove(&fork);
    }

    /// The last record of `parent` that an expected fork begins behind, at least `seq`.
    pub(crate) fn last_fork_point(&self, parent: WorkspaceId, seq: u64) -> u64 {
        let points = self.fork_points();
        points.values().filter(|point| point.parent == parent).map(|point| point.seq).fold(seq, u64::max)
    }

    /// The records of `parent` that expected forks begin behind.
    pub(crate) fn fork_seqs(&self, parent: WorkspaceId) -> BTreeSet<u64> {
        let points = self.fork_points();
        points.values().filter(|point| point.parent == parent).map(|point| point.seq).collect()
    }

    /// Keeps the state that the forks expected behind a record begin with; `marked` is the one that the record names.
    pub(crate) fn keep_forks(&self, at: Point, marked: Option<WorkspaceId>, start: impl Fn() -> ForkStart) {
        for (fork, point) in self.fork_points().iter_mut() {
            if (point.parent, point.seq) == (at.log, at.seq) && !point.is_taken {
                point.start = Some(ForkStart { is_marked: marked == Some(*fork), ..start() });
            }
        }
    }

    pub(crate) fn take_fork(&self, fork: WorkspaceId) -> Option<ForkStart> {
        let mut points = self.fork_points();
        let point = points.get_mut(&fork)?;
        point.is_taken = point.start.is_some();
        point.start.take()
    }

    /// Keeps a state of the past in memory for a while.
    pub(crate) fn keep(&self, point: Point, state: State) {
        let gone = self.kept().put(point, state);
        drop(gone);
    }

    /// A state of the past that is in memory.
    pub(crate) fn kept_at(&self, point: Point) -> Option<State> {
        self.kept().get(point)
    }

    /// The nearest state in memory before a point of its log, and its record.
    pub(crate) fn kept_before(&self, point: Point) -> Option<(u64, State)> {
        self.kept().before(point)
    }

    /// Forgets the states of a log in memory: the workspace is closed, or its log was cut.
    pub(crate) fn forget_kept(&self, log: WorkspaceId) {
        self.checkpoints().retain(|point, _| point.log != log);
        let gone = self.kept().forget(log);
        drop(gone);
    }

    /// A snapshot was sealed, so the state there can be had from its checkpoint.
    pub(crate) fn add_checkpoint(&self, point: Point, hash: Hash) {
        self.checkpoints().insert(point, hash);
    }

    /// The last checkpoint at a point or before it, in its log, and its record.
    pub(crate) fn sealed_before(&self, point: Point) -> Option<(u64, Hash)> {
        let checkpoints = self.checkpoints();
        let (at, hash) = checkpoints.range(Point { seq: 0, ..point }..=point).next_back()?;
        Some((at.seq, *hash))
    }

    fn checkpoints(&self) -> std::sync::MutexGuard<'_, BTreeMap<Point, Hash>> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fork_points(&self) -> std::sync::MutexGuard<'_, HashMap<WorkspaceId, ForkPoint>> {
        self.forks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stored files that base content was unpacked to and is read from.
    pub fn unpacked(&self) -> Vec<[u8; 32]> {
        self.cache().unpacked.values().copied().collect()
    }

    /// Forgets a stored file that was removed: what was unpacked to it is unpacked again.
    pub fn forget_stored(&self, hash: &[u8; 32]) {
        self.cache().unpacked.retain(|_, stored| stored != hash);
    }

    /// Forgets decompressed base content in memory: nobody read any for a while.
    pub fn forget_blobs(&self) {
        let mut cache = self.cache();
        let gone = (std::mem::take(&mut cache.young), std::mem::take(&mut cache.old));
        cache.young_bytes = 0;
        drop(cache);
        drop(gone);
    }

    /// Reads `buffer.len()` bytes of a base node's content from `offset`. Blocks on the source without a lock.
    pub(crate) fn read_base(&self, base: &Base, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match self.blob(base, ino)? {
            Blob::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(|_| Errno::Io)?;
                let part = bytes.get(start..start + buffer.len()).ok_or(Errno::Io)?;
                buffer.copy_from_slice(part);
                Ok(())
            }
            Blob::Stored(hash) => self.read_cas(&hash, offset, buffer).or_else(|_| {
                // Removed, or damaged, since it was unpacked: the source still has it.
                self.forget_stored(&hash);
                match self.blob(base, ino)? {
                    Blob::Stored(again) => self.read_cas(&again, offset, buffer),
                    Blob::Memory(_) => Err(Errno::Io),
                }
            }),
        }
    }

    /// The whole content of a base node: a symbolic link's target.
    pub(crate) fn base_content(&self, base: &Base, ino: Ino) -> Result<Vec<u8>> {
        match self.blob(base, ino)? {
            Blob::Memory(bytes) => Ok(bytes.to_vec()),
            Blob::Stored(_) => Err(Errno::NameTooLong),
        }
    }

    /// Reads a part of an immutable stored file.
    pub(crate) fn read_cas(&self, hash: &[u8; 32], offset: u64, buffer: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self
                .cas
                .read(hash, offset + done as u64, &mut buffer[done..])
                .map_err(|error| error.errno())?
            {
                0 => return Err(Errno::Io),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Reads a part of a chunk.
    pub(crate) fn read_chunk(&self, hash: &[u8; 32], offset: u64, buffer: &mut [u8]) -> Result<()> {
        let bytes = self.chunks.read(hash).map_err(|error| error.errno())?;
        let start = usize::try_from(offset).map_err(|_| Errno::Io)?;
        let part = bytes.get(start..).and_then(|bytes| bytes.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(Errno::Io)?);
        Ok(())
    }

    fn blob(&self, base: &Base, ino: Ino) -> Result<Blob> {
        let (oid, source) = base.blob(ino)?;
        if let Some(blob) = self.cache().get(&oid) {
            return Ok(blob);
        }
        let bytes = source.blob(&oid).map_err(|error| match error {
            SourceError::Unfetched(_) => Errno::Unfetched,
            SourceError::Interrupted => Errno::Interrupted,
            SourceError::Missing(_) | SourceError::Damaged(..) | SourceError::Unavailable(_) => Errno::Io,
        })?;
        if bytes.len() > self.cache().bytes_max / 2 {
            let hash = self.cas.put(&bytes).map_err(|error| error.errno())?;
            self.cache().unpacked.insert(oid, hash);
            return Ok(Blob::Stored(hash));
        }
        let bytes = Arc::new(bytes);
        self.cache().put(oid, bytes.clone());
        Ok(Blob::Memory(bytes))
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, BlobCache> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobCache {
    fn get(&mut self, oid: &Oid) -> Option<Blob> {
        if let Some(bytes) = self.young.get(oid) {
            return Some(Blob::Memory(bytes.clone()));
        }
        if let Some(bytes) = self.old.remove(oid) {
            self.put(*oid, bytes.clone());
            return Some(Blob::Memory(bytes));
        }
        self.unpacked.get(oid).map(|hash| Blob::Stored(*hash))
    }

    fn put(&mut self, oid: Oid, bytes: Arc<Vec<u8>>) {
        if self.young_bytes + bytes.len() > self.bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes.len();
        self.young.insert(oid, bytes);
    }
}
