//! Making a pack: chunks are written aside as they come, then the index, then the name.

use super::pack::{self, SLOTS_MAX, Slot};
use super::{CHUNK_BYTES_MAX, ChunkError, Chunks};
use crate::cas::Hash;
use crate::disk::DiskFile;
use crate::publish::create_temporary;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// A pack is ended before its chunks take more than this.
const PACK_BYTES_MAX: u64 = 256 << 20;
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Fast enough to keep up with a disk; source code and text still shrink to a third.
const COMPRESSION_LEVEL: i32 = 1;
/// Bytes of a chunk tried before the rest of it is: what does not shrink is mostly compressed already.
const TRIAL_BYTES: usize = 16 << 10;

/// What was added by a [`Writer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Chunks that were new.
    pub chunks: u64,
    /// Bytes of their content.
    pub content_bytes: u64,
    /// Bytes of the packs that hold them.
    pub disk_bytes: u64,
}

/// Adds chunks. Nothing can be read before [`Writer::finish`]; dropped, it leaves nothing.
pub struct Writer<'a> {
    chunks: &'a Chunks,
    pack: Option<Open>,
    /// Hashes in the pack being written.
    own: HashSet<Hash>,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    added: Added,
    /// The packs made, when chunks are copied from one to another: then those that are there are put again.
    copies: Option<Vec<PathBuf>>,
}

struct Open {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    slots: Vec<Slot>,
    buffer: Vec<u8>,
    /// Bytes written, without the buffer.
    written: u64,
}

impl Chunks {
    /// Begins copying chunks from pack to pack.
    pub(super) fn copier(&self) -> Writer<'_> {
        let mut writer = Writer::new(self);
        writer.copies = Some(Vec::new());
        writer
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(chunks: &'a Chunks) -> Self {
        let added = Added::default();
        Self { chunks, pack: None, own: HashSet::new(), compressor: None, added, copies: None }
    }

    /// Adds a chunk, unless it is there, and tells its hash.
    pub fn put(&mut self, content: &[u8]) -> Result<Hash, ChunkError> {
        if content.len() > CHUNK_BYTES_MAX {
            return Err(ChunkError::TooLarge(content.len()));
        }
        let hash = *blake3::hash(content).as_bytes();
        if self.own.contains(&hash) || self.copies.is_none() && self.chunks.has(&hash)? {
            return Ok(hash);
        }
        let compressed = self.compress(content);
        let stored = compressed.as_deref().unwrap_or(content);
        if self.pack.as_ref().is_some_and(|pack| pack.is_full(stored.len())) {
            self.publish()?;
        }
        let pack = match &mut self.pack {
            Some(pack) => pack,
            None => self.pack.insert(Open::new(self.chunks)?),
        };
        pack.push(hash, stored, content.len())?;
        self.own.insert(hash);
        self.added.chunks += 1;
        self.added.content_bytes += content.len() as u64;
        Ok(hash)
    }

    /// Makes everything added durable and findable, and what was there already.
    pub fn finish(mut self) -> Result<Added, ChunkError> {
        self.publish()?;
        self.chunks.make_names_durable()?;
        Ok(self.added)
    }

    /// Makes the copies durable, and tells the new packs. They cannot be found yet.
    pub(super) fn finish_copies(mut self) -> Result<(Added, Vec<PathBuf>), ChunkError> {
        self.publish()?;
        Ok((self.added, self.copies.take().unwrap_or_default()))
    }

    /// None when it does not get smaller.
    fn compress(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            // Without memory for it chunks are kept as they are.
            None => self.compressor.insert(zstd::bulk::Compressor::new(COMPRESSION_LEVEL).ok()?),
        };
        if content.len() > 4 * TRIAL_BYTES {
            let middle = &content[content.len() / 2..][..TRIAL_BYTES];
            if compressor.compress(middle).ok()?.len() > TRIAL_BYTES * 15 / 16 {
                return None;
            }
        }
        compressor.compress(content).ok().filter(|compressed| compressed.len() < content.len())
    }

    fn publish(&mut self) -> Result<(), ChunkError> {
        let Some(mut pack) = self.pack.take() else { return Ok(()) };
        let published = pack.publish(self.chunks);
        if published.is_err() {
            // The first error is the one to tell; a file left behind is swept at the next start.
            let _ = self.chunks.disk.remove_file(&pack.path);
        }
        let (path, bytes) = published?;
        self.own.clear();
        self.added.disk_bytes += bytes;
        match &mut self.copies {
            Some(copies) => copies.push(path),
            None => self.chunks.add(path)?,
        }
        Ok(())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if let Some(pack) = &self.pack {
            // A file left behind is swept at the next start.
            let _ = self.chunks.disk.remove_file(&pack.path);
        }
    }
}

impl Open {
    fn new(chunks: &Chunks) -> Result<Self, ChunkError> {
        let (path, file) =
            create_temporary(&*chunks.disk, &chunks.dir).map_err(ChunkError::io(&chunks.dir))?;
        Ok(Self { path, file, slots: Vec::new(), buffer: pack::header().to_vec(), written: 0 })
    }

    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn is_full(&self, more: usize) -> bool {
        self.slots.len() >= SLOTS_MAX || self.end() + more as u64 > PACK_BYTES_MAX
    }

    fn push(&mut self, hash: Hash, stored: &[u8], content: usize) -> Result<(), ChunkError> {
        let (offset, sum) = (self.end(), crc32c::crc32c(stored));
        let slot = Slot { hash, offset, stored: stored.len() as u32, content: content as u32, sum };
        self.slots.push(slot);
        self.buffer.extend_from_slice(stored);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ChunkError> {
        self.file.write_at(&[&self.buffer], self.written).map_err(ChunkError::io(&self.path))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the index, makes all durable and gives the pack its name: the hash of its index.
    fn publish(&mut self, chunks: &Chunks) -> Result<(PathBuf, u64), ChunkError> {
        let end = self.end();
        let index = pack::encode_index(&mut self.slots, end);
        let name = pack::name(&index);
        self.buffer.extend_from_slice(&index);
        self.flush()?;
        self.file.sync().map_err(ChunkError::io(&self.path))?;
        let path = chunks.dir.join(name);
        chunks.disk.rename(&self.path, &path).map_err(ChunkError::io(&path))?;
        chunks.disk.sync_dir(&chunks.dir).map_err(ChunkError::io(&chunks.dir))?;
        Ok((path, self.written))
    }
}
