//! Content by BLAKE3 hash, in compressed packs: what snapshots are sealed into.
//!
//! A pack is an immutable file with many chunks and an index. Chunks become durable, and findable, a pack at a time:
//! a crash leaves a pack wholly there or absent. Equal content is stored once, whoever puts it.
//! Invariant: the hash is checked at every read; a chunk that fails is never served.
//! Memory: some 30 bytes for a chunk, from the first use on; 32 packs are open at most.
//! Read next: [`pack`] (bytes), [`writer`] (making a pack), [`known`] (what is where), [`rewrite`] (dropping).

use crate::NOT_POISONED;
use crate::cas::{Hash, hex};
use crate::disk::{Disk, DiskFile, OpenMode, read_exact_at};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, RwLock, RwLockReadGuard};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use weald_model::Errno;

mod known;
pub mod pack;
mod rewrite;
mod writer;

use known::{Found, Known, OpenPacks, Pack};
use pack::{Index, Slot};
pub use rewrite::Alone;
pub use writer::{Added, Writer};

/// Largest chunk: bounds the memory of a read.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Why chunks cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// The host refused a read or write.
    #[error("{}: {error}", path.display())]
    Io {
        /// The pack or directory.
        path: PathBuf,
        /// What the host said.
        error: io::Error,
    },
    /// There is no such chunk.
    #[error("chunk {} is missing", hex(.0))]
    Missing(Hash),
    /// A pack, or a chunk in it, is not what was written.
    #[error("{} is damaged at byte {offset}: {why}", path.display())]
    Damaged {
        /// The pack.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// A newer Weald wrote the pack.
    #[error("{} has version {version}, which this weald does not know", path.display())]
    Version {
        /// The pack.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A chunk over [`CHUNK_BYTES_MAX`].
    #[error("a chunk of {0} bytes is over the limit of {CHUNK_BYTES_MAX}")]
    TooLarge(usize),
}

impl ChunkError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> ChunkError {
        let path = path.to_owned();
        move |error| ChunkError::Io { path, error }
    }

    /// What a program that asked for a file operation is told.
    pub fn errno(&self) -> Errno {
        match self {
            ChunkError::Io { error, .. } => Errno::from_host(error),
            ChunkError::TooLarge(_) => Errno::TooBig,
            ChunkError::Missing(_) | ChunkError::Damaged { .. } | ChunkError::Version { .. } => Errno::Io,
        }
    }
}

/// The store of chunks. All methods may be called from many threads.
pub struct Chunks {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// None until first used.
    known: Mutex<Option<Known>>,
    /// Whether the names of packs that were found then are durable: who made them may have ended in between.
    names_are_durable: AtomicBool,
    open: Mutex<OpenPacks>,
    /// Taken exclusively while chunks are dropped.
    dropping: RwLock<()>,
    /// Held while packs are written anew.
    rewriting: Mutex<()>,
}

/// While it lives, no chunk is dropped.
pub struct Kept<'a>(#[expect(dead_code, reason = "held, not used")] RwLockReadGuard<'a, ()>);

/// How much is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Packs.
    pub packs: u64,
    /// Bytes of disk they take.
    pub disk_bytes: u64,
    /// Bytes of the chunks in them, uncompressed.
    pub content_bytes: u64,
}

/// What a look at all packs found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Chunks whose content has its hash.
    pub chunks: u64,
    /// Their bytes, uncompressed.
    pub bytes: u64,
    /// What is damaged.
    pub problems: Vec<ChunkError>,
}

impl Chunks {
    /// Takes the directory, which must exist. Touches nothing yet.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        let (known, open, rewriting) = (Mutex::default(), Mutex::default(), Mutex::default());
        let names_are_durable = AtomicBool::new(false);
        Self { disk, dir, known, names_are_durable, open, dropping: RwLock::default(), rewriting }
    }

    /// Keeps every chunk there is until the guard is dropped. Who adds chunks holds it from the first to when something
    /// durable names them: else what it found there could be dropped before.
    pub fn keep_all(&self) -> Kept<'_> {
        Kept(self.dropping.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a chunk is there. Its content is not looked at.
    pub fn has(&self, hash: &Hash) -> Result<bool, ChunkError> {
        Ok(self.find(hash, &mut |_, _| Ok(()))?.is_some())
    }

    /// The bytes of a chunk's content; None when it is not there. Its content is not looked at.
    pub fn content_bytes(&self, hash: &Hash) -> Result<Option<u32>, ChunkError> {
        self.find(hash, &mut |_, found| Ok(found.slot.content))
    }

    /// A chunk's content. Cost: two reads and one hash.
    pub fn read(&self, hash: &Hash) -> Result<Vec<u8>, ChunkError> {
        let read = &mut |file: &dyn DiskFile, found: &Found| read_slot(file, &found.pack.path, &found.slot);
        self.find(hash, read)?.ok_or(ChunkError::Missing(*hash))
    }

    /// Begins a pack.
    pub fn writer(&self) -> Writer<'_> {
        Writer::new(self)
    }

    /// Bytes of disk that packs take, and how many packs there are.
    pub fn disk_bytes(&self) -> Result<(u64, u64), ChunkError> {
        self.figures().map(|figures| (figures.disk_bytes, figures.packs))
    }

    /// What there is.
    pub fn figures(&self) -> Result<Figures, ChunkError> {
        self.with(|known| {
            known.packs.values().fold(Figures::default(), |sum, pack| Figures {
                packs: sum.packs + 1,
                disk_bytes: sum.disk_bytes + pack.bytes,
                content_bytes: sum.content_bytes + pack.content,
            })
        })
    }

    /// Packs whose index cannot be believed, so that nothing in them is found. Cost: reading all indices.
    pub fn damaged_packs(&self) -> Result<Vec<PathBuf>, ChunkError> {
        let mut damaged = Vec::new();
        for name in self.names()? {
            let path = self.dir.join(name);
            match self.open_pack(path.clone()) {
                Err(ChunkError::Damaged { .. }) => damaged.push(path),
                // Written anew meanwhile.
                Err(ChunkError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
                other => drop(other?),
            }
        }
        Ok(damaged)
    }

    /// Reads every chunk and compares its hash. A damaged one does not hide the others. Who reads and adds chunks is not
    /// kept waiting; packs are not written anew meanwhile.
    pub fn verify(&self) -> Result<Checked, ChunkError> {
        let _no_pack_goes = self.rewriting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut checked = Checked::default();
        for name in self.names()? {
            let path = self.dir.join(name);
            match self.open_pack(path.clone()) {
                Ok((file, _, index)) => checked.pack(&*file, &path, &index),
                Err(error) => checked.problems.push(error),
            }
        }
        Ok(checked)
    }

    /// Looks for a chunk, and has `work` do something with the pack it is in. What is written anew meanwhile is found in its
    /// new place.
    fn find<T>(
        &self,
        hash: &Hash,
        work: &mut dyn FnMut(&dyn DiskFile, &Found) -> Result<T, ChunkError>,
    ) -> Result<Option<T>, ChunkError> {
        loop {
            let Some((pack, at)) = self.with(|known| known.place(hash))? else { return Ok(None) };
            let done = self.file(&pack).and_then(|file| {
                let slot = pack::read_slot(&*file, &pack.path, pack.index_at, at)?;
                match slot.hash == *hash {
                    true => work(&*file, &Found { pack: pack.clone(), slot }).map(Some),
                    false => Ok(None),
                }
            });
            let is_gone =
                matches!(&done, Err(ChunkError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound);
            if !is_gone || self.with(|known| known.packs.contains_key(&pack.number))? {
                return done;
            }
        }
    }

    /// Runs `work` on what is known, reading the indices of all packs first if need be.
    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> Result<T, ChunkError> {
        let mut known = self.known.lock().expect(NOT_POISONED);
        if let Some(known) = known.as_mut() {
            return Ok(work(known));
        }
        let mut fresh = Known::default();
        for name in self.names()? {
            match self.open_pack(self.dir.join(name)) {
                Ok((_, pack, index)) => fresh.add(pack, &index),
                // Verifying names it. It must not hide the others; what is in it can be put again.
                Err(ChunkError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(work(known.insert(fresh)))
    }

    /// What is found is not put again, so its pack must stay, too. Packs get their names when they are durable.
    fn make_names_durable(&self) -> Result<(), ChunkError> {
        if !self.names_are_durable.load(Ordering::Acquire) {
            self.disk.sync_dir(&self.dir).map_err(ChunkError::io(&self.dir))?;
            self.names_are_durable.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// A new pack can be read from now on.
    fn add(&self, path: PathBuf) -> Result<(), ChunkError> {
        let (_, pack, index) = self.open_pack(path)?;
        if let Some(known) = self.known.lock().expect(NOT_POISONED).as_mut() {
            known.add(pack, &index);
        }
        Ok(())
    }

    fn open_pack(&self, path: PathBuf) -> Result<(Arc<dyn DiskFile>, Pack, Index), ChunkError> {
        let file = self.disk.open(&path, OpenMode::Read).map_err(ChunkError::io(&path))?;
        let index = pack::read_index(&*file, &path)?;
        let bytes = file.len().map_err(ChunkError::io(&path))?;
        let content = index.slots().iter().map(|slot| u64::from(slot.content)).sum();
        Ok((file, Pack { number: 0, path, bytes, content, index_at: index.offset() }, index))
    }

    /// A pack open for reading, kept for the next reader.
    fn file(&self, pack: &Pack) -> Result<Arc<dyn DiskFile>, ChunkError> {
        if let Some(file) = self.open.lock().expect(NOT_POISONED).get(pack.number) {
            return Ok(file);
        }
        let file = self.disk.open(&pack.path, OpenMode::Read).map_err(ChunkError::io(&pack.path))?;
        self.open.lock().expect(NOT_POISONED).put(pack.number, file.clone());
        Ok(file)
    }

    fn names(&self) -> Result<Vec<String>, ChunkError> {
        let names = self.disk.list(&self.dir).map_err(ChunkError::io(&self.dir))?;
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        let mut packs: Vec<String> = names.filter(|name| name.ends_with(pack::SUFFIX)).collect();
        packs.sort_unstable();
        Ok(packs)
    }
}

impl Checked {
    fn pack(&mut self, file: &dyn DiskFile, path: &Path, index: &Index) {
        for slot in index.slots() {
            match read_slot(file, path, slot) {
                Ok(content) => {
                    self.chunks += 1;
                    self.bytes += content.len() as u64;
                }
                Err(error) => self.problems.push(error),
            }
        }
    }
}

/// The content of a chunk, checked.
fn read_slot(file: &dyn DiskFile, path: &Path, slot: &Slot) -> Result<Vec<u8>, ChunkError> {
    let damaged = |why| ChunkError::Damaged { path: path.to_owned(), offset: slot.offset, why };
    let mut stored = vec![0; slot.stored as usize];
    read_exact_at(file, &mut stored, slot.offset).map_err(ChunkError::io(path))?;
    let content = pack::expand(slot, stored).ok_or_else(|| damaged("it cannot be expanded"))?;
    if blake3::hash(&content).as_bytes() != &slot.hash {
        return Err(damaged("the chunk there does not have its hash"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
