//! Making content packs: entries are written aside as they come, then the index, then the name.

use super::format::{self, SLOTS_MAX, Slot};
use super::{BLOB_BYTES_MAX, ContentPackError, ContentPacks, Known};
use crate::disk::DiskFile;
use crate::publish::create_temporary;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use weald_model::Oid;

/// A pack is ended before it takes more than this.
const PACK_BYTES_MAX: u64 = 1 << 30;
/// And is better ended from here on.
const PACK_BYTES_FULL: u64 = PACK_BYTES_MAX - (128 << 20);
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Source code shrinks to a quarter; more work gains little, and reading costs the same.
const COMPRESSION_LEVEL: i32 = 3;

/// What was added by a [`Writer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Blobs that no pack had.
    pub blobs: u64,
    /// Bytes of their content.
    pub content_bytes: u64,
    /// Bytes of the packs that hold them.
    pub disk_bytes: u64,
}

/// Writes packs for one tree. Blobs are to come in the order of paths. Nothing can be read from a pack before
/// [`Writer::publish`] or [`Writer::finish`], or before it is full; dropped, an unfinished one leaves nothing. Nothing else takes a lock.
pub struct Writer<'a> {
    packs: &'a ContentPacks,
    tree: Oid,
    /// The packs there were when this one began.
    known: Arc<Known>,
    pack: Option<Open>,
    own: HashSet<Oid>,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    added: Added,
}

struct Open {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    slots: Vec<Slot>,
    buffer: Vec<u8>,
    /// Bytes written, without the buffer.
    written: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(packs: &'a ContentPacks, tree: Oid) -> Self {
        let (known, added) = (packs.known().unwrap_or_default(), Added::default());
        Self { packs, tree, known, pack: None, own: HashSet::new(), compressor: None, added }
    }

    /// True when [`Writer::put`] would add this blob, whatever its size.
    pub fn wants(&self, id: &Oid) -> bool {
        let same_hash = id.as_bytes().len() == self.tree.as_bytes().len();
        same_hash && !self.own.contains(id) && self.known.find(id).is_none()
    }

    /// Adds a blob, unless a pack has it or it is too large. The caller has checked it against its id.
    pub fn put(&mut self, id: &Oid, content: &[u8]) -> Result<(), ContentPackError> {
        if content.len() > BLOB_BYTES_MAX || !self.wants(id) {
            return Ok(());
        }
        let compressed = self.compress(content);
        let stored = compressed.as_deref().unwrap_or(content);
        if self.pack.as_ref().is_some_and(|pack| pack.is_full(stored.len())) {
            self.publish()?;
        }
        let pack = match &mut self.pack {
            Some(pack) => pack,
            None => self.pack.insert(Open::new(self.packs, &self.tree)?),
        };
        let slot = Slot {
            id: *id,
            offset: pack.end(),
            stored: stored.len() as u32,
            content: content.len() as u32,
            sum: crc32c::crc32c(stored),
        };
        pack.append(stored)?;
        pack.slots.push(slot);
        self.own.insert(*id);
        self.added.blobs += 1;
        self.added.content_bytes += content.len() as u64;
        Ok(())
    }

    /// Bytes of the packs so far.
    pub fn disk_bytes(&self) -> u64 {
        self.added.disk_bytes + self.pack.as_ref().map_or(0, Open::end)
    }

    /// True when it is time to [`Writer::publish`].
    pub fn is_full(&self) -> bool {
        self.pack.as_ref().is_some_and(|pack| pack.end() >= PACK_BYTES_FULL)
    }

    /// Makes everything added durable and readable.
    pub fn finish(mut self) -> Result<Added, ContentPackError> {
        self.publish()?;
        Ok(self.added)
    }

    /// None when it does not get smaller.
    fn compress(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            // Without memory for it blobs are kept as they are.
            None => self.compressor.insert(zstd::bulk::Compressor::new(COMPRESSION_LEVEL).ok()?),
        };
        compressor.compress(content).ok().filter(|compressed| compressed.len() < content.len())
    }

    /// Makes what was added so far durable and readable.
    pub fn publish(&mut self) -> Result<(), ContentPackError> {
        let Some(mut pack) = self.pack.take() else { return Ok(()) };
        let published = pack.publish(self.packs, &self.tree);
        if published.is_err() {
            // The first error is the one to tell; a file left behind is swept at the next start.
            let _ = self.packs.disk.remove_file(&pack.path);
        }
        let (path, bytes) = published?;
        self.own.clear();
        self.added.disk_bytes += bytes;
        self.packs.add(&path)?;
        self.known = self.packs.known()?;
        Ok(())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if let Some(pack) = &self.pack {
            // A file left behind is swept at the next start.
            let _ = self.packs.disk.remove_file(&pack.path);
        }
    }
}

impl Open {
    fn new(packs: &ContentPacks, tree: &Oid) -> Result<Self, ContentPackError> {
        let made = create_temporary(&*packs.disk, &packs.dir);
        let (path, file) = made.map_err(ContentPackError::io(&packs.dir))?;
        Ok(Self { path, file, slots: Vec::new(), buffer: format::header(tree).to_vec(), written: 0 })
    }

    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn is_full(&self, more: usize) -> bool {
        self.slots.len() as u64 >= SLOTS_MAX || self.end() + more as u64 > PACK_BYTES_MAX
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), ContentPackError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<(), ContentPackError> {
        self.file.write_at(&[&self.buffer], self.written).map_err(ContentPackError::io(&self.path))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the index, makes all durable and gives the pack the first free name of its tree.
    fn publish(&mut self, packs: &ContentPacks, tree: &Oid) -> Result<(PathBuf, u64), ContentPackError> {
        let end = self.end();
        let index = format::encode_index(&mut self.slots, end);
        self.append(&index)?;
        self.write_out()?;
        self.file.sync().map_err(ContentPackError::io(&self.path))?;
        let there = packs.disk.list(&packs.dir).map_err(ContentPackError::io(&packs.dir))?;
        let mut names = (0..).map(|number| format::name(tree, number));
        let name = names.find(|name| !there.iter().any(|there| there == name.as_str()));
        let path = packs.dir.join(name.expect("there are more numbers than files"));
        packs.disk.rename(&self.path, &path).map_err(ContentPackError::io(&path))?;
        packs.disk.sync_dir(&packs.dir).map_err(ContentPackError::io(&packs.dir))?;
        Ok((path, self.written))
    }
}
