//! Content that was moved from data segments to the store of chunks, and reading it there.
//!
//! A record in the log says which entries were moved, and names a *table*: an object in the store of chunks that says
//! which chunks hold the bytes of each. A place in the log stays what it is; who reads it is led on.
//! Invariant: what a table says was compared with the bytes in the log before these were given back, so a place reads
//! the same before, while and after it is moved. Memory: the pieces; tables and chunks are cached, bounded.
//! Read next: `moving` (how content gets there), `given_back` (who knows of a log's records), docs/format.md.

use crate::Shared;
use crate::record::{Malformed, Reader, Writer};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use weald_model::{Errno, Result, WorkspaceId};
use weald_store::cas::Hash;
use weald_store::chunks::{CHUNK_BYTES_MAX, Chunks};
use weald_store::log::Place;
use weald_store::log::format::{ENTRY_HEADER_BYTES, entry_bytes};
use weald_store::log::reclaim::{Piece, Pieces};

/// Parts of an entry at most: what was torn into more is not worth moving.
pub(crate) const PARTS_MAX: usize = 4096;
/// A table is ended when it has taken so many bytes; one more entry fits well into a chunk.
pub(crate) const TABLE_BYTES: usize = 256 << 10;
/// Memory for chunks read last, and for tables.
const CACHE_BYTES_MAX: usize = 16 << 20;

/// Tables by the pieces of a log that they speak of.
#[derive(Clone, Default)]
pub(crate) struct MovedLog {
    by_start: BTreeMap<(u32, u64), (u64, Hash)>,
}

/// Where the data of one entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The data segment, as in [`Place::file`].
    pub(crate) file: u32,
    /// Offset of the entry's data.
    pub(crate) offset: u64,
    /// What its data is made of, in order.
    pub(crate) parts: Vec<Part>,
}

/// A run of bytes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) chunk: Hash,
    pub(crate) skip: u32,
    pub(crate) len: u32,
}

/// Entries in the order of their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

/// What was read last, in two generations.
#[derive(Default)]
pub(crate) struct Cache {
    inner: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Hash, Cached>,
    young_bytes: usize,
    old: HashMap<Hash, Cached>,
}

#[derive(Clone)]
enum Cached {
    Chunk(Arc<Vec<u8>>),
    Table(Arc<Table>, usize),
}

impl MovedLog {
    pub(crate) fn add(&mut self, table: Hash, pieces: &[Piece]) {
        self.by_start.extend(pieces.iter().map(|piece| ((piece.file, piece.from), (piece.to, table))));
    }

    pub(crate) fn extend(&mut self, other: MovedLog) {
        self.by_start.extend(other.by_start);
    }

    /// The table that speaks of a place.
    pub(crate) fn table(&self, file: u32, offset: u64) -> Option<Hash> {
        let (_, (to, table)) =
            self.by_start.range(..=(file, offset)).next_back().filter(|at| at.0.0 == file)?;
        (offset < *to).then_some(*table)
    }

    /// Those of which not everything is in `gone`: the others may be gone, too.
    pub(crate) fn tables(&self, gone: &Pieces) -> BTreeSet<Hash> {
        let left = self
            .by_start
            .iter()
            .filter(|((file, from), (to, _))| !gone.covers(&Piece { file: *file, from: *from, to: *to }));
        left.map(|(_, (_, table))| *table).collect()
    }

    pub(crate) fn pieces(&self) -> Pieces {
        let pieces = self.by_start.iter();
        pieces.map(|((file, from), (to, _))| Piece { file: *file, from: *from, to: *to }).collect()
    }

    /// The pieces, and the table that speaks of each.
    pub(crate) fn told(&self) -> impl Iterator<Item = (Piece, Hash)> {
        let pieces = self.by_start.iter();
        pieces.map(|((file, from), (to, table))| (Piece { file: *file, from: *from, to: *to }, *table))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }
}

impl Entry {
    /// Bytes of data.
    pub(crate) fn len(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.len)).sum()
    }

    /// All of it in its segment, header and checksums included.
    pub(crate) fn piece(&self) -> Piece {
        if self.file & Place::DATA == 0 {
            // Of what lies within a frame, the bytes that are named.
            return Piece { file: self.file, from: self.offset, to: self.offset.saturating_add(self.len()) };
        }
        let from = self.offset.saturating_sub(ENTRY_HEADER_BYTES as u64);
        Piece { file: self.file, from, to: from.saturating_add(entry_bytes(self.len() as usize)) }
    }
}

impl Table {
    /// Appends one entry's encoding.
    pub(crate) fn encode(entry: &Entry, out: &mut Vec<u8>) {
        let mut w = Writer(out);
        w.number(u64::from(entry.file));
        w.number(entry.offset);
        w.number(entry.parts.len() as u64);
        for part in &entry.parts {
            w.raw(&part.chunk);
            w.number(u64::from(part.skip));
            w.number(u64::from(part.len));
        }
    }

    /// Decodes all entries. Whatever the bytes: lengths are bounded, and memory follows the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<Self, Malformed> {
        let mut r = Reader(bytes);
        let mut entries: Vec<Entry> = Vec::new();
        while !r.0.is_empty() {
            let (file, offset, count) = (r.small()?, r.number()?, r.number()?);
            if entries.last().is_some_and(|last| (last.file, last.offset) >= (file, offset)) {
                return Err(Malformed("a table out of order"));
            }
            let mut parts = Vec::new();
            for _ in 0..count {
                let part = Part { chunk: r.raw()?, skip: r.small()?, len: r.small()? };
                if part.skip as usize + part.len as usize > CHUNK_BYTES_MAX || part.len == 0 {
                    return Err(Malformed("a part that reaches over its chunk"));
                }
                parts.push(part);
            }
            if parts.len() > PARTS_MAX {
                return Err(Malformed("an entry of too many parts"));
            }
            entries.push(Entry { file, offset, parts });
        }
        Ok(Self { entries })
    }

    /// The entry whose data begins at `place`.
    fn entry(&self, place: Place) -> Option<&Entry> {
        let key = (place.file, place.offset);
        let at = self.entries.binary_search_by_key(&key, |entry| (entry.file, entry.offset)).ok()?;
        self.entries.get(at)
    }

    /// Bytes of memory.
    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| size_of::<Entry>() + entry.parts.len() * size_of::<Part>()).sum()
    }
}

impl Cache {
    /// A chunk's content.
    pub(crate) fn chunk(&self, chunks: &Chunks, hash: &Hash) -> Result<Arc<Vec<u8>>> {
        if let Some(Cached::Chunk(content)) = self.lock().get(hash) {
            return Ok(content);
        }
        let content = Arc::new(chunks.read(hash).map_err(|error| error.errno())?);
        self.lock().put(*hash, Cached::Chunk(content.clone()));
        Ok(content)
    }

    fn table(&self, chunks: &Chunks, hash: &Hash) -> Result<Arc<Table>> {
        if let Some(Cached::Table(table, _)) = self.lock().get(hash) {
            return Ok(table);
        }
        let bytes = chunks.read(hash).map_err(|error| error.errno())?;
        let table = Arc::new(Table::decode(&bytes).map_err(|_| Errno::Io)?);
        self.lock().put(*hash, Cached::Table(table.clone(), table.bytes()));
        Ok(table)
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn get(&mut self, hash: &Hash) -> Option<Cached> {
        if let Some(cached) = self.young.get(hash) {
            return Some(cached.clone());
        }
        let cached = self.old.remove(hash)?;
        self.put(*hash, cached.clone());
        Some(cached)
    }

    fn put(&mut self, hash: Hash, cached: Cached) {
        let bytes = match &cached {
            Cached::Chunk(content) => content.len(),
            Cached::Table(_, bytes) => *bytes,
        };
        if self.young_bytes + bytes > CACHE_BYTES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(hash, cached);
    }
}

impl Shared {
    /// Fills `buffer` with data of a log, from `skip` bytes into it, wherever it is by now.
    pub fn read_log(&self, place: Place, skip: u64, buffer: &mut [u8]) -> Result<()> {
        // What lies in a segment of records was moved before that goes; until then it is nearer there.
        if place.file & Place::DATA != 0
            && let Some(table) = self.given_back.table(place)
        {
            return self.read_moved(&table, place, skip, buffer);
        }
        // It may be moved at this moment, or have been in a part of the log that nobody has read yet.
        self.logs.read(place, skip, buffer).or_else(|error| match self.moved_of(place.log) {
            Ok(moved) => match moved.table(place.file, place.offset) {
                Some(table) => self.read_moved(&table, place, skip, buffer),
                None => Err(error.errno()),
            },
            Err(_) => Err(error.errno()),
        })
    }

    fn read_moved(&self, table: &Hash, place: Place, skip: u64, buffer: &mut [u8]) -> Result<()> {
        let table = self.moved_cache.table(&self.chunks, table)?;
        let entry = table.entry(place).ok_or(Errno::Io)?;
        let end = skip.checked_add(buffer.len() as u64).ok_or(Errno::Io)?;
        if end > entry.len() {
            return Err(Errno::Io);
        }
        let mut at = 0;
        for part in &entry.parts {
            let (start, stop) = (at.max(skip), (at + u64::from(part.len)).min(end));
            if start < stop {
                let chunk = self.moved_cache.chunk(&self.chunks, &part.chunk)?;
                let from = part.skip as usize + (start - at) as usize;
                let bytes = chunk.get(from..from + (stop - start) as usize).ok_or(Errno::Io)?;
                buffer[(start - skip) as usize..(stop - skip) as usize].copy_from_slice(bytes);
            }
            at += u64::from(part.len);
        }
        Ok(())
    }

    /// Everything that was moved out of a log and is not in `gone`, by table.
    pub(crate) fn moved_entries(
        &self,
        log: WorkspaceId,
        gone: &Pieces,
        each: &mut dyn FnMut(&Hash, &Entry),
    ) -> Result<()> {
        for hash in self.moved_of(log)?.tables(gone) {
            let bytes = self.chunks.read(&hash).map_err(|error| error.errno())?;
            let table = Table::decode(&bytes).map_err(|_| Errno::Io)?;
            let left = table.entries.iter().filter(|entry| gone.at(entry.file, entry.offset).is_none());
            left.for_each(|entry| each(&hash, entry));
        }
        Ok(())
    }

    /// Forgets what was read from the store of chunks last: so that it is read from the disk again.
    pub fn forget_read(&self) {
        *self.moved_cache.lock() = Generations::default();
    }

    /// Bytes of data of a log that are read from the store of chunks.
    pub fn moved_bytes(&self, log: WorkspaceId) -> Result<u64> {
        Ok(self.moved_of(log)?.pieces().block_bytes())
    }
}

#[cfg(test)]
mod tests;
