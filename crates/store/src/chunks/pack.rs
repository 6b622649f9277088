//! The bytes of a pack; docs/format.md has the same as tables. All numbers are little endian.
//!
//! Invariant: whatever the bytes, reading them here neither panics nor allocates from an unchecked length.

use super::{CHUNK_BYTES_MAX, ChunkError};
use crate::cas::{Hash, hex};
use crate::disk::{DiskFile, read_exact_at};
use std::path::Path;

/// End of the names of packs.
pub const SUFFIX: &str = ".wp";
/// First bytes of a pack.
pub const MAGIC: [u8; 8] = *b"WEALDPK\0";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of a slot of the index.
pub const SLOT_BYTES: usize = 52;
/// Bytes behind the index.
pub const TRAILER_BYTES: usize = 48;
/// Chunks in a pack at most: bounds the memory of its index.
pub const SLOTS_MAX: usize = 1 << 20;

/// Where a chunk is in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Hash of the content.
    pub hash: Hash,
    /// First byte.
    pub offset: u64,
    /// Bytes in the pack.
    pub stored: u32,
    /// Bytes of the content; equal to `stored` when it is not compressed.
    pub content: u32,
    /// CRC-32C of the stored bytes: some bits of a compressed frame do not change its content.
    pub sum: u32,
}

/// The index of a pack, in the order of hashes.
#[derive(Debug)]
pub struct Index {
    slots: Vec<Slot>,
    offset: u64,
}

impl Index {
    /// All slots.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Where in the pack it is: behind the chunks.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// The header of a pack.
pub fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// The index and trailer of a pack whose chunks end at `offset`. Sorts the slots.
pub fn encode_index(slots: &mut [Slot], offset: u64) -> Vec<u8> {
    slots.sort_unstable_by_key(|slot| slot.hash);
    let mut bytes = Vec::with_capacity(slots.len() * SLOT_BYTES + TRAILER_BYTES);
    for slot in slots.iter() {
        bytes.extend_from_slice(&slot.hash);
        bytes.extend_from_slice(&slot.offset.to_le_bytes());
        bytes.extend_from_slice(&slot.stored.to_le_bytes());
        bytes.extend_from_slice(&slot.content.to_le_bytes());
        bytes.extend_from_slice(&slot.sum.to_le_bytes());
    }
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(&(slots.len() as u64).to_le_bytes());
    let sum = index_hash(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

/// The name of a pack with this index and trailer: so nobody can put one in the place of another.
pub fn name(index: &[u8]) -> String {
    format!("{}{SUFFIX}", hex(&index_hash(index)))
}

/// Reads and checks the index of a pack.
pub fn read_index(file: &dyn DiskFile, path: &Path) -> Result<Index, ChunkError> {
    let damaged = |offset, why| ChunkError::Damaged { path: path.to_owned(), offset, why };
    let len = file.len().map_err(ChunkError::io(path))?;
    let least = (HEADER_BYTES + TRAILER_BYTES) as u64;
    if len < least {
        return Err(damaged(len, "it is cut off"));
    }
    let mut head = [0; HEADER_BYTES];
    read_exact_at(file, &mut head, 0).map_err(ChunkError::io(path))?;
    if head[..8] != MAGIC {
        return Err(damaged(0, "it does not begin as a pack"));
    }
    let version = u32::from_le_bytes(array(&head[8..12]));
    if version != VERSION {
        return Err(ChunkError::Version { path: path.to_owned(), version });
    }
    let mut tail = [0; 16];
    let trailer = len - TRAILER_BYTES as u64;
    read_exact_at(file, &mut tail, trailer).map_err(ChunkError::io(path))?;
    let (start, count) = (u64::from_le_bytes(array(&tail[..8])), u64::from_le_bytes(array(&tail[8..])));
    let fits = count <= SLOTS_MAX as u64 && start.checked_add(count * SLOT_BYTES as u64) == Some(trailer);
    if !fits || start < HEADER_BYTES as u64 {
        return Err(damaged(trailer, "its trailer does not fit"));
    }
    let mut bytes = vec![0; (len - start) as usize];
    read_exact_at(file, &mut bytes, start).map_err(ChunkError::io(path))?;
    let (index, sum) = bytes.split_at(bytes.len() - 32);
    if index_hash(index) != sum || head != header() {
        return Err(damaged(start, "its index does not have its hash"));
    }
    if path.file_name().is_none_or(|found| found != name(&bytes).as_str()) {
        return Err(damaged(start, "its name is that of another pack"));
    }
    let slots = index[..count as usize * SLOT_BYTES].chunks_exact(SLOT_BYTES).map(slot).collect();
    let index = Index { slots, offset: start };
    let is_inside = |slot: &Slot| slot.is_inside(start);
    if index.slots.iter().all(is_inside) { Ok(index) } else { Err(damaged(start, "a chunk lies outside")) }
}

/// Reads one slot of an index that begins at `start`.
pub fn read_slot(file: &dyn DiskFile, path: &Path, start: u64, at: u32) -> Result<Slot, ChunkError> {
    let offset = start + u64::from(at) * SLOT_BYTES as u64;
    let mut bytes = [0; SLOT_BYTES];
    read_exact_at(file, &mut bytes, offset).map_err(ChunkError::io(path))?;
    let slot = slot(&bytes);
    let why = "a chunk lies outside";
    let damaged = || ChunkError::Damaged { path: path.to_owned(), offset, why };
    slot.is_inside(start).then_some(slot).ok_or_else(damaged)
}

impl Slot {
    /// True when it is a chunk before the index.
    fn is_inside(&self, index: u64) -> bool {
        let end = self.offset.checked_add(u64::from(self.stored));
        self.content as usize <= CHUNK_BYTES_MAX
            && self.stored <= self.content
            && self.offset >= HEADER_BYTES as u64
            && end.is_some_and(|end| end <= index)
    }
}

/// The content of a chunk from its stored bytes; None when they are no such chunk.
pub fn expand(slot: &Slot, stored: Vec<u8>) -> Option<Vec<u8>> {
    if crc32c::crc32c(&stored) != slot.sum {
        return None;
    }
    if slot.stored == slot.content {
        return Some(stored);
    }
    crate::expand::expand(&stored, slot.content as usize)
}

fn slot(bytes: &[u8]) -> Slot {
    Slot {
        hash: array(&bytes[..32]),
        offset: u64::from_le_bytes(array(&bytes[32..40])),
        stored: u32::from_le_bytes(array(&bytes[40..44])),
        content: u32::from_le_bytes(array(&bytes[44..48])),
        sum: u32::from_le_bytes(array(&bytes[48..52])),
    }
}

fn index_hash(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
