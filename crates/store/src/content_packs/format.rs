//! The bytes of a content pack; docs/format.md has the same as tables. All numbers are little endian.
//!
//! Invariant: whatever the bytes, reading them here neither panics nor allocates.

use super::ContentPackError;
use crate::log::format::{u32_at, u64_at};
use std::ffi::OsStr;
use std::path::Path;
use weald_model::Oid;

/// First bytes of the file.
pub const MAGIC: [u8; 8] = *b"WEALDCP\0";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a slot of the index beside the object id.
pub const SLOT_BYTES: usize = 20;
/// Bytes behind the index.
pub const TRAILER_BYTES: usize = 48;
/// Entries at most: as many as a manifest has nodes.
pub const SLOTS_MAX: u64 = 1 << 24;
/// End of the names of content packs.
pub const SUFFIX: &str = ".wc";

/// Where a blob is in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Id of the blob.
    pub id: Oid,
    /// First byte.
    pub offset: u64,
    /// Bytes in the pack.
    pub stored: u32,
    /// Bytes of the content; equal to `stored` when it is not compressed.
    pub content: u32,
    /// CRC-32C of the stored bytes.
    pub sum: u32,
}

/// Where the parts of a pack are, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The tree that it was written for.
    pub tree: Oid,
    /// Offset of the index.
    pub index_at: u64,
    /// Entries.
    pub count: u64,
}

impl Layout {
    /// Checks header, trailer and the hash of the index of a whole file.
    pub fn decode(file: &[u8], path: &Path) -> Result<Self, ContentPackError> {
        let damaged = |offset: usize, why| {
            Err(ContentPackError::Damaged { path: path.to_owned(), offset: offset as u64, why })
        };
        let Some(trailer_at) = file.len().checked_sub(TRAILER_BYTES).filter(|at| *at >= HEADER_BYTES) else {
            return damaged(file.len(), "it is cut off");
        };
        if file[..8] != MAGIC {
            return damaged(0, "it does not begin as a content pack");
        }
        let version = u32_at(file, 8);
        if version != VERSION {
            return Err(ContentPackError::Version { path: path.to_owned(), version });
        }
        let width = u32_at(file, 12) as usize;
        let Some(tree) = Oid::new(&file[16..16 + width.min(32)]).filter(|_| matches!(width, 20 | 32)) else {
            return damaged(12, "its object ids have an unknown length");
        };
        if file[..HEADER_BYTES] != header(&tree) {
            return damaged(0, "its header is not right");
        }
        let (index_at, count) = (u64_at(file, trailer_at), u64_at(file, trailer_at + 8));
        let slot_bytes = (width + SLOT_BYTES) as u64;
        let fits = count <= SLOTS_MAX
            && index_at >= HEADER_BYTES as u64
            && index_at.checked_add(count * slot_bytes) == Some(trailer_at as u64);
        if !fits {
            return damaged(trailer_at, "its trailer does not fit");
        }
        let (index, sum) = file[index_at as usize..].split_at(file.len() - 32 - index_at as usize);
        if index_hash(index) != sum {
            return damaged(index_at as usize, "its index does not have its hash");
        }
        Ok(Self { tree, index_at, count })
    }

    fn slot_at(&self, at: u64) -> usize {
        self.index_at as usize + at as usize * (self.tree.as_bytes().len() + SLOT_BYTES)
    }

    /// The id in a slot of the index.
    pub fn id<'a>(&self, file: &'a [u8], at: u64) -> &'a [u8] {
        &file[self.slot_at(at)..][..self.tree.as_bytes().len()]
    }

    /// A slot of the index.
    pub fn slot(&self, file: &[u8], at: u64) -> Slot {
        let id = self.id(file, at);
        let rest = &file[self.slot_at(at) + id.len()..][..SLOT_BYTES];
        Slot {
            id: Oid::new(id).expect("the layout has checked the width of ids"),
            offset: u64_at(rest, 0),
            stored: u32_at(rest, 8),
            content: u32_at(rest, 12),
            sum: u32_at(rest, 16),
        }
    }
}

/// The header of a pack written for a tree.
pub fn header(tree: &Oid) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let id = tree.as_bytes();
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&(id.len() as u32).to_le_bytes());
    bytes[16..16 + id.len()].copy_from_slice(id);
    let sum = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The index and trailer of a pack whose entries end at `offset`. Sorts the slots.
pub fn encode_index(slots: &mut [Slot], offset: u64) -> Vec<u8> {
    slots.sort_unstable_by(|a, b| a.id.as_bytes().cmp(b.id.as_bytes()));
    let mut bytes = Vec::new();
    for slot in slots.iter() {
        bytes.extend_from_slice(slot.id.as_bytes());
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

/// The name of the pack of a tree with this number.
pub fn name(tree: &Oid, number: u32) -> String {
    format!("{tree}-{number:04x}{SUFFIX}")
}

/// True for a name that [`name`] gives.
pub fn is_name(name: &OsStr) -> bool {
    let parts = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.split_once('-'));
    parts.is_some_and(|(tree, number)| {
        Oid::from_hex(tree).is_some() && number.len() >= 4 && u32::from_str_radix(number, 16).is_ok()
    })
}

fn index_hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}
