//! Making a pack: chunks are written aside as they come, then the index, then the name.

use super::pack::{self, SLOTS_MAX, Slot};
use super::{CHUNK_BYTES_MAX, ChunkError, Chunks};
use crate::cas::Hash;
use crate::disk::{BLOCK_BYTES, DiskFile};
use crate::publish::create_temporary;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// A pack is ended before its chunks take more than this.
const PACK_BYTES_MAX: u64 = 256 << 20;
/// Bytes gathered before they are written, past the host's page cache: a pack is as large as the content it is made of, and
/// taking as much memory again for it costs more than all other work here.
const BUFFER_BYTES: usize = 1 << 20;
/// Fast enough to keep up with a disk; source code and text still shrink to a third.
const COMPRESSION_LEVEL: i32 = 1;
/// Bytes of a chunk tried before the rest of it is: what does not shrink is mostly compressed already.
const TRIAL_BYTES: usize = 8 << 10;

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
    buffer: Buffer,
    /// Bytes written, without the buffer.
    written: u64,
}

/// [`BUFFER_BYTES`] that begin at a multiple of [`BLOCK_BYTES`]. The host gives memory for what is used of them.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
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
        if content.len() > 8 * TRIAL_BYTES {
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

impl Buffer {
    fn new() -> Self {
        let memory = vec![0; BUFFER_BYTES + BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        Self { memory, start, len: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }

    fn is_full(&self) -> bool {
        self.len == BUFFER_BYTES
    }

    /// Takes as many bytes as it has room for, and returns the rest.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(BUFFER_BYTES - self.len));
        self.memory[self.start + self.len..][..taken.len()].copy_from_slice(taken);
        self.len += taken.len();
        rest
    }
}

impl Open {
    fn new(chunks: &Chunks) -> Result<Self, ChunkError> {
        let (path, file) =
            create_temporary(&*chunks.disk, &chunks.dir).map_err(ChunkError::io(&chunks.dir))?;
        let mut buffer = Buffer::new();
        buffer.take(&pack::header());
        Ok(Self { path, file, slots: Vec::new(), buffer, written: 0 })
    }

    fn end(&self) -> u64 {
        self.written + self.buffer.len as u64
    }

    fn is_full(&self, more: usize) -> bool {
        self.slots.len() >= SLOTS_MAX || self.end() + more as u64 > PACK_BYTES_MAX
    }

    fn push(&mut self, hash: Hash, stored: &[u8], content: usize) -> Result<(), ChunkError> {
        let (offset, sum) = (self.end(), crc32c::crc32c(stored));
        let slot = Slot { hash, offset, stored: stored.len() as u32, content: content as u32, sum };
        self.slots.push(slot);
        self.append(stored)
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), ChunkError> {
        while !bytes.is_empty() {
            bytes = self.buffer.take(bytes);
            if self.buffer.is_full() {
                let written = self.file.write_cold(self.buffer.bytes(), self.written);
                written.map_err(ChunkError::io(&self.path))?;
                self.written += BUFFER_BYTES as u64;
                self.buffer.len = 0;
            }
        }
        Ok(())
    }

    /// Writes the index, makes all durable and gives the pack its name: the hash of its index.
    fn publish(&mut self, chunks: &Chunks) -> Result<(PathBuf, u64), ChunkError> {
        let end = self.end();
        let index = pack::encode_index(&mut self.slots, end);
        let name = pack::name(&index);
        self.append(&index)?;
        self.file.write_at(&[self.buffer.bytes()], self.written).map_err(ChunkError::io(&self.path))?;
        self.written = self.end();
        self.buffer.len = 0;
        self.file.sync().map_err(ChunkError::io(&self.path))?;
        let path = chunks.dir.join(name);
        chunks.disk.rename(&self.path, &path).map_err(ChunkError::io(&path))?;
        chunks.disk.sync_dir(&chunks.dir).map_err(ChunkError::io(&chunks.dir))?;
        Ok((path, self.written))
    }
}
