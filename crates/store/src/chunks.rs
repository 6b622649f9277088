//! Content by BLAKE3 hash, in compressed packs: what snapshots are sealed into.
//!
//! A pack is an immutable file with many chunks and an index. Chunks become durable, and findable, a pack at a time:
//! a crash leaves a pack wholly there or absent. Equal content is stored once, whoever puts it.
//! Invariant: the hash is checked at every read; a chunk that fails is never served.
//! Memory: 24 bytes for a chunk, from the first use on. Read next: [`pack`] (bytes), [`writer`] (making a pack).

use crate::NOT_POISONED;
use crate::cas::{Hash, hex};
use crate::disk::{Disk, DiskFile, OpenMode, read_exact_at};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use weald_model::Errno;

pub mod pack;
mod writer;

use pack::{Index, Slot};
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
    /// Taken exclusively while chunks are dropped.
    dropping: RwLock<()>,
}

/// While it lives, no chunk is dropped.
pub struct Kept<'a>(#[expect(dead_code, reason = "held, not used")] RwLockReadGuard<'a, ()>);

/// The packs there are, and where each chunk is.
#[derive(Default)]
struct Known {
    packs: Vec<Option<Arc<Pack>>>,
    /// By the first eight bytes of the hash: pack and place in its index. A pair of equal keys, which nobody makes
    /// by chance, is told apart by the index; the second is then stored again.
    places: HashMap<u64, (u32, u32)>,
}

/// An open pack.
struct Pack {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    index: Index,
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
        Self { disk, dir, known: Mutex::default(), dropping: RwLock::default() }
    }

    /// Keeps every chunk there is until the guard is dropped. Who adds chunks holds it from the first to when something
    /// durable names them: else what it found there could be dropped before.
    pub fn keep_all(&self) -> Kept<'_> {
        Kept(self.dropping.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a chunk is there. Its content is not looked at.
    pub fn has(&self, hash: &Hash) -> Result<bool, ChunkError> {
        Ok(self.find(hash)?.is_some())
    }

    /// A chunk's content. Cost: one read and one hash.
    pub fn read(&self, hash: &Hash) -> Result<Vec<u8>, ChunkError> {
        let (pack, slot) = self.find(hash)?.ok_or(ChunkError::Missing(*hash))?;
        pack.read(&slot)
    }

    /// Begins a pack.
    pub fn writer(&self) -> Writer<'_> {
        Writer::new(self)
    }

    /// Bytes of disk that packs take, and how many packs there are.
    pub fn disk_bytes(&self) -> Result<(u64, u64), ChunkError> {
        let packs = self.packs()?;
        let mut bytes = 0;
        for pack in &packs {
            bytes += pack.file.len().map_err(ChunkError::io(&pack.path))?;
        }
        Ok((bytes, packs.len() as u64))
    }

    /// Reads every chunk and compares its hash. A damaged one does not hide the others.
    pub fn verify(&self) -> Result<Checked, ChunkError> {
        let mut checked = Checked::default();
        for name in self.names()? {
            let path = self.dir.join(name);
            match Pack::open(&*self.disk, path) {
                Ok(pack) => pack.verify(&mut checked),
                Err(error) => checked.problems.push(error),
            }
        }
        Ok(checked)
    }

    /// Gives back what nobody needs: packs in which less than half is `live` are written anew without the rest, then
    /// removed. At a crash every live chunk is in one of both. Returns the bytes of disk given back.
    pub fn retain(&self, live: &dyn Fn(&Hash) -> bool) -> Result<u64, ChunkError> {
        let mut freed = 0;
        for pack in self.packs()? {
            let slots = pack.index.slots();
            let kept: Vec<&Slot> = slots.iter().filter(|slot| live(&slot.hash)).collect();
            let kept_bytes: u64 = kept.iter().map(|slot| u64::from(slot.stored)).sum();
            let all_bytes: u64 = slots.iter().map(|slot| u64::from(slot.stored)).sum();
            if kept.len() == slots.len() || kept_bytes * 2 > all_bytes {
                continue;
            }
            let before = pack.file.len().map_err(ChunkError::io(&pack.path))?;
            self.forget(&pack.path);
            let mut writer = self.writer();
            for slot in kept {
                writer.put(&pack.read(slot)?)?;
            }
            let after = writer.finish()?.disk_bytes;
            self.disk.remove_file(&pack.path).map_err(ChunkError::io(&pack.path))?;
            self.disk.sync_dir(&self.dir).map_err(ChunkError::io(&self.dir))?;
            freed += before.saturating_sub(after);
        }
        Ok(freed)
    }

    fn packs(&self) -> Result<Vec<Arc<Pack>>, ChunkError> {
        self.with(|known| known.packs.iter().flatten().cloned().collect())
    }

    fn find(&self, hash: &Hash) -> Result<Option<(Arc<Pack>, Slot)>, ChunkError> {
        self.with(|known| {
            let (pack, at) = *known.places.get(&key(hash))?;
            let pack = known.packs[pack as usize].clone()?;
            let slot = pack.index.slots()[at as usize];
            (slot.hash == *hash).then_some((pack, slot))
        })
    }

    /// Runs `work` on what is known, reading the indices of all packs first if need be.
    fn with<T>(&self, work: impl FnOnce(&Known) -> T) -> Result<T, ChunkError> {
        let mut known = self.known.lock().expect(NOT_POISONED);
        if known.is_none() {
            let mut fresh = Known::default();
            for name in self.names()? {
                fresh.add(Pack::open(&*self.disk, self.dir.join(name))?);
            }
            *known = Some(fresh);
        }
        Ok(work(known.as_ref().expect("it was just made")))
    }

    /// A new pack can be read from now on.
    fn add(&self, path: PathBuf) -> Result<(), ChunkError> {
        let pack = Pack::open(&*self.disk, path)?;
        if let Some(known) = self.known.lock().expect(NOT_POISONED).as_mut() {
            known.add(pack);
        }
        Ok(())
    }

    /// Chunks of a pack are no more found in it.
    fn forget(&self, path: &Path) {
        let mut known = self.known.lock().expect(NOT_POISONED);
        let Some(known) = known.as_mut() else { return };
        let is_it = |pack: &Option<Arc<Pack>>| pack.as_ref().is_some_and(|pack| pack.path == path);
        let Some(number) = known.packs.iter().position(is_it) else { return };
        known.packs[number] = None;
        known.places.retain(|_, (pack, _)| *pack as usize != number);
    }

    fn names(&self) -> Result<Vec<String>, ChunkError> {
        let names = self.disk.list(&self.dir).map_err(ChunkError::io(&self.dir))?;
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        let mut packs: Vec<String> = names.filter(|name| name.ends_with(pack::SUFFIX)).collect();
        packs.sort_unstable();
        Ok(packs)
    }
}

impl Known {
    fn add(&mut self, pack: Pack) {
        let number = self.packs.len() as u32;
        for (at, slot) in pack.index.slots().iter().enumerate() {
            self.places.entry(key(&slot.hash)).or_insert((number, at as u32));
        }
        self.packs.push(Some(Arc::new(pack)));
    }
}

impl Pack {
    fn open(disk: &dyn Disk, path: PathBuf) -> Result<Self, ChunkError> {
        let file = disk.open(&path, OpenMode::Read).map_err(ChunkError::io(&path))?;
        let index = pack::read_index(&*file, &path)?;
        Ok(Self { path, file, index })
    }

    fn read(&self, slot: &Slot) -> Result<Vec<u8>, ChunkError> {
        let mut stored = vec![0; slot.stored as usize];
        read_exact_at(&*self.file, &mut stored, slot.offset).map_err(ChunkError::io(&self.path))?;
        let content =
            pack::expand(slot, stored).ok_or_else(|| self.damaged(slot, "it cannot be expanded"))?;
        if blake3::hash(&content).as_bytes() != &slot.hash {
            return Err(self.damaged(slot, "the chunk there does not have its hash"));
        }
        Ok(content)
    }

    fn verify(&self, checked: &mut Checked) {
        for slot in self.index.slots() {
            match self.read(slot) {
                Ok(content) => {
                    checked.chunks += 1;
                    checked.bytes += content.len() as u64;
                }
                Err(error) => checked.problems.push(error),
            }
        }
    }

    fn damaged(&self, slot: &Slot, why: &'static str) -> ChunkError {
        ChunkError::Damaged { path: self.path.clone(), offset: slot.offset, why }
    }
}

fn key(hash: &Hash) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
