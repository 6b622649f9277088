//! Content packs: blobs of a source, compressed, in the order of paths in a few large files.
//!
//! What a source has in many places is here in one run, so that reading a tree for the first time reads a file from its
//! beginning to its end. Everything here can be made again from the source: a pack that is gone or damaged costs time,
//! nothing else.
//! Invariants: a pack is wholly there or absent; every entry is checked at each read, and one that fails is never
//! served. A blob is in one pack, whichever tree it was written for. Indices are mapped; content is read, not mapped, so
//! that a disk that fails is an error.
//! Read next: [`format`](mod@format) (bytes), [`Writer`] (making one).

use crate::NOT_POISONED;
use crate::disk::{Disk, DiskFile, Map, OpenMode, read_exact_at};
use format::{Layout, Slot};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use weald_model::Oid;

pub mod format;
mod writer;

#[cfg(test)]
mod tests;

pub use writer::{Added, Writer};

/// Largest blob in a pack: bounds the memory of a read. Larger ones stay with the source.
pub const BLOB_BYTES_MAX: usize = 64 << 20;

/// What the disk is asked for at a time, ahead of readers: milliseconds on any disk, and not missed in the page cache.
const AHEAD_BYTES: u64 = 2 << 20;

/// Why a pack, or something in it, cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ContentPackError {
    /// The host refused a read or write.
    #[error("{}: {error}", path.display())]
    Io {
        /// The pack or directory.
        path: PathBuf,
        /// What the host said.
        error: io::Error,
    },
    /// It is not what was written.
    #[error("{} is damaged at byte {offset}: {why}", path.display())]
    Damaged {
        /// The pack.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// A newer Weald wrote it.
    #[error("{} has version {version}, which this weald does not know", path.display())]
    Version {
        /// The pack.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl ContentPackError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> ContentPackError {
        let path = path.to_owned();
        move |error| ContentPackError::Io { path, error }
    }

    /// The pack it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. } | Self::Damaged { path, .. } | Self::Version { path, .. } => path,
        }
    }
}

/// One pack in the list of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its file.
    pub path: PathBuf,
    /// The tree that it was written for; None when it cannot be read.
    pub tree: Option<Oid>,
    /// Bytes of disk it takes.
    pub disk_bytes: u64,
}

/// What a look at all packs found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Entries that are what was written.
    pub blobs: u64,
    /// Their bytes, uncompressed.
    pub bytes: u64,
    /// What is damaged.
    pub problems: Vec<ContentPackError>,
}

/// All content packs of a home. All methods may be called from many threads.
pub struct ContentPacks {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// None until first used.
    known: RwLock<Option<Arc<Known>>>,
    removed: AtomicU64,
}

#[derive(Default)]
struct Known {
    packs: Vec<Arc<Pack>>,
    /// Packs that cannot be read.
    problems: Vec<(PathBuf, String)>,
}

/// A pack that is open.
struct Pack {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    map: Map,
    layout: Layout,
    /// A bit for each part that the disk was asked for.
    asked: Vec<AtomicU64>,
}

impl ContentPacks {
    /// Takes the directory, which must exist. Touches nothing yet.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, known: RwLock::default(), removed: AtomicU64::new(0) }
    }

    /// The size of a blob; None when no pack has it.
    pub fn size(&self, id: &Oid) -> Option<u64> {
        self.known().ok()?.find(id).map(|(_, slot)| u64::from(slot.content))
    }

    /// The content of a blob; None when no pack has it. An error says that one has, and that it cannot be had.
    pub fn read(&self, id: &Oid) -> Result<Option<Vec<u8>>, ContentPackError> {
        self.known()?.find(id).map(|(pack, slot)| pack.read(&slot)).transpose()
    }

    /// Begins to write packs for a tree.
    pub fn writer(&self, tree: &Oid) -> Writer<'_> {
        Writer::new(self, *tree)
    }

    /// All packs, readable or not.
    pub fn list(&self) -> Result<Vec<Listed>, ContentPackError> {
        let known = self.known()?;
        let mut all: Vec<Listed> = Vec::new();
        for pack in &known.packs {
            let disk_bytes = pack.file.allocated_bytes().map_err(ContentPackError::io(&pack.path))?;
            all.push(Listed { path: pack.path.clone(), tree: Some(pack.layout.tree), disk_bytes });
        }
        for (path, _) in &known.problems {
            let bytes = |path: &Path| self.disk.open(path, OpenMode::Read)?.allocated_bytes();
            all.push(Listed { path: path.clone(), tree: None, disk_bytes: bytes(path).unwrap_or(0) });
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    /// Removes a pack. Who reads from it at this moment is not disturbed.
    pub fn remove(&self, path: &Path) -> Result<(), ContentPackError> {
        let mut known = self.known.write().expect(NOT_POISONED);
        *known = None;
        self.removed.fetch_add(1, Ordering::Relaxed);
        match self.disk.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ContentPackError::io(path)(error)),
            _ => Ok(()),
        }
    }

    /// How many were removed since this was made: who has seen all of a tree in packs may look again.
    pub fn removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    /// Reads every entry of every pack; `is_right` says whether bytes are the blob of this id.
    pub fn verify(&self, is_right: &dyn Fn(&Oid, &[u8]) -> bool) -> Result<Checked, ContentPackError> {
        let mut checked = Checked::default();
        let known = self.known()?;
        for (path, _) in &known.problems {
            // Once more, for the error itself.
            if let Err(problem) = Pack::open(&*self.disk, path) {
                checked.problems.push(problem);
            }
        }
        for pack in &known.packs {
            for at in 0..pack.layout.count {
                let slot = pack.layout.slot(&pack.map, at);
                match pack.read(&slot) {
                    Ok(bytes) if is_right(&slot.id, &bytes) => {
                        checked.blobs += 1;
                        checked.bytes += bytes.len() as u64;
                    }
                    Ok(_) => checked.problems.push(pack.damaged(slot.offset, "it is not the blob of its id")),
                    Err(problem) => checked.problems.push(problem),
                }
            }
        }
        Ok(checked)
    }

    fn known(&self) -> Result<Arc<Known>, ContentPackError> {
        if let Some(known) = &*self.known.read().expect(NOT_POISONED) {
            return Ok(known.clone());
        }
        let mut slot = self.known.write().expect(NOT_POISONED);
        if let Some(known) = &*slot {
            return Ok(known.clone());
        }
        let mut found = Known::default();
        let mut names = self.disk.list(&self.dir).map_err(ContentPackError::io(&self.dir))?;
        names.sort();
        for name in names.iter().filter(|name| format::is_name(name)) {
            let path = self.dir.join(name);
            match Pack::open(&*self.disk, &path) {
                Ok(pack) => found.packs.push(Arc::new(pack)),
                Err(problem) => found.problems.push((path, problem.to_string())),
            }
        }
        Ok(slot.insert(Arc::new(found)).clone())
    }

    /// Adds a pack that was just written.
    fn add(&self, path: &Path) -> Result<(), ContentPackError> {
        let pack = Arc::new(Pack::open(&*self.disk, path)?);
        let mut slot = self.known.write().expect(NOT_POISONED);
        // Who looks for the first time finds it in the directory.
        let Some(before) = &*slot else { return Ok(()) };
        let mut packs = before.packs.clone();
        packs.retain(|other| other.path != path);
        packs.push(pack);
        let known = Known { packs, problems: before.problems.clone() };
        *slot = Some(Arc::new(known));
        Ok(())
    }
}

impl Known {
    fn find(&self, id: &Oid) -> Option<(&Pack, Slot)> {
        self.packs.iter().find_map(|pack| Some((&**pack, pack.find(id)?)))
    }
}

impl Pack {
    fn open(disk: &dyn Disk, path: &Path) -> Result<Self, ContentPackError> {
        let file = disk.open(path, OpenMode::Read).map_err(ContentPackError::io(path))?;
        let map = disk.map(path).map_err(ContentPackError::io(path))?;
        let layout = Layout::decode(&map, path)?;
        let asked = (0..=map.len() as u64 / (AHEAD_BYTES * 64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { path: path.to_owned(), file, map, layout, asked })
    }

    /// Has the disk bring what lies around an entry: who reads one file of a directory reads the next, and several programs that
    /// read different ones look random to the kernel's own read-ahead. Once for each part of the file.
    fn ask_ahead(&self, offset: u64) {
        for part in [offset / AHEAD_BYTES, offset / AHEAD_BYTES + 1] {
            let Some(word) = self.asked.get((part / 64) as usize) else { return };
            let bit = 1 << (part % 64);
            if word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
                self.file.will_need(part * AHEAD_BYTES, AHEAD_BYTES);
            }
        }
    }

    fn find(&self, id: &Oid) -> Option<Slot> {
        let (mut low, mut high) = (0, self.layout.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.layout.id(&self.map, middle).cmp(id.as_bytes()) {
                std::cmp::Ordering::Equal => return Some(self.layout.slot(&self.map, middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn read(&self, slot: &Slot) -> Result<Vec<u8>, ContentPackError> {
        let is_inside = slot.offset >= format::HEADER_BYTES as u64
            && slot.offset.checked_add(u64::from(slot.stored)).is_some_and(|end| end <= self.layout.index_at);
        if !is_inside || slot.content as usize > BLOB_BYTES_MAX || slot.stored > slot.content {
            return Err(self.damaged(slot.offset, "an entry lies outside"));
        }
        self.ask_ahead(slot.offset);
        let mut stored = vec![0; slot.stored as usize];
        read_exact_at(&*self.file, &mut stored, slot.offset).map_err(ContentPackError::io(&self.path))?;
        if crc32c::crc32c(&stored) != slot.sum {
            return Err(self.damaged(slot.offset, "the checksum of an entry is wrong"));
        }
        if slot.stored == slot.content {
            return Ok(stored);
        }
        let content = crate::expand::expand(&stored, slot.content as usize);
        content.ok_or_else(|| self.damaged(slot.offset, "an entry cannot be decompressed"))
    }

    fn damaged(&self, offset: u64, why: &'static str) -> ContentPackError {
        ContentPackError::Damaged { path: self.path.clone(), offset, why }
    }
}
