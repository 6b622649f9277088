//! The bytes of a manifest; docs/format.md has the same as tables. All numbers are little endian.
//!
//! Invariant: whatever the bytes, reading them here neither panics nor allocates.

use super::ManifestError;
use crate::log::format::{u32_at, u64_at};
use weald_model::{Oid, Timestamp, TreeKind};

/// First bytes of the file.
pub const MAGIC: [u8; 8] = *b"WEALDMF\0";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Version of a manifest with sizes that are not known.
pub const VERSION_UNKNOWN_SIZES: u32 = 2;
/// A size that is not known.
pub const SIZE_UNKNOWN: u64 = u64::MAX;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 128;
/// Bytes of a node without its object id.
pub const NODE_BYTES: usize = 24;
/// Bytes of the BLAKE3 hash at the end.
pub const TRAILER_BYTES: usize = 32;
/// Most nodes: 200 times the largest trees known, and a bound on the memory a hostile tree can cost.
pub const NODES_MAX: u64 = 1 << 24;

/// The header, checked, and where the sections lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of nodes; at least the root.
    pub nodes: u64,
    /// Number of regular files and symbolic links.
    pub files: u64,
    /// Bytes of all blobs whose size is known.
    pub total_bytes: u64,
    /// Number of files and symbolic links whose size is not known.
    pub unknown_sizes: u32,
    /// Time stamp of all nodes.
    pub time: Timestamp,
    /// The tree.
    pub tree: Oid,
    /// Bytes of all names.
    pub name_bytes: u64,
}

impl Layout {
    /// Bytes of one object id.
    pub fn oid_bytes(&self) -> usize {
        self.tree.as_bytes().len()
    }

    /// Offset of the section of object ids.
    pub fn oids_at(&self) -> usize {
        HEADER_BYTES + self.nodes as usize * NODE_BYTES
    }

    /// Offset of the section of names.
    pub fn names_at(&self) -> usize {
        self.oids_at() + self.nodes as usize * self.oid_bytes()
    }

    /// Offset of the trailer.
    pub fn trailer_at(&self) -> usize {
        self.names_at() + self.name_bytes as usize
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        let version = if self.unknown_sizes == 0 { VERSION } else { VERSION_UNKNOWN_SIZES };
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.oid_bytes() as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.nodes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.files.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.total_bytes.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.name_bytes.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.time.secs.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.time.nanos.to_le_bytes());
        bytes[60..64].copy_from_slice(&self.unknown_sizes.to_le_bytes());
        bytes[64..64 + self.oid_bytes()].copy_from_slice(self.tree.as_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Checks the header and the length of a whole file.
    pub fn decode(file: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |why| Err(ManifestError::Damaged(why));
        let Some(header) = file.get(..HEADER_BYTES) else { return damaged("it is too short") };
        if header[..8] != MAGIC {
            return damaged("it does not begin as a manifest does");
        }
        // Before the checksum, which another version may have elsewhere.
        let version = u32_at(header, 8);
        if version != VERSION && version != VERSION_UNKNOWN_SIZES {
            return Err(ManifestError::Version(version));
        }
        if crc32c::crc32c(&header[..HEADER_BYTES - 4]) != u32_at(header, HEADER_BYTES - 4) {
            return damaged("the checksum of its header is wrong");
        }
        let oid_bytes = u32_at(header, 12) as usize;
        let tree = header.get(64..64 + oid_bytes.min(32)).and_then(Oid::new);
        let (Some(tree), true) = (tree, matches!(oid_bytes, 20 | 32)) else {
            return damaged("its object ids have an unknown length");
        };
        let layout = Self {
            nodes: u64_at(header, 16),
            files: u64_at(header, 24),
            total_bytes: u64_at(header, 32),
            unknown_sizes: if version == VERSION { 0 } else { u32_at(header, 60) },
            name_bytes: u64_at(header, 40),
            time: Timestamp { secs: u64_at(header, 48).cast_signed(), nanos: u32_at(header, 56) },
            tree,
        };
        layout.check(file.len())?;
        Ok(layout)
    }

    fn check(&self, file_bytes: usize) -> Result<(), ManifestError> {
        let damaged = |why| Err(ManifestError::Damaged(why));
        if self.nodes == 0 || self.nodes > NODES_MAX || self.name_bytes > u64::from(u32::MAX) {
            return damaged("its number of nodes is out of range");
        }
        if u64::from(self.unknown_sizes) > self.files || self.files > self.nodes {
            return damaged("its number of files is out of range");
        }
        if self.time.nanos >= 1_000_000_000 {
            return damaged("its time is out of range");
        }
        if self.trailer_at() + TRAILER_BYTES != file_bytes {
            return damaged("its length is not what its header says");
        }
        Ok(())
    }
}

/// One node as it lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawNode {
    /// Position of the parent; the root's is 0.
    pub parent: u32,
    /// Offset of the name in the section of names.
    pub name_at: u32,
    /// Bytes of the name; 0 for the root only.
    pub name_len: u8,
    /// What it is.
    pub kind: TreeKind,
    /// What depends on the kind.
    pub detail: Detail,
}

/// The part of a node that depends on its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A directory's children.
    Children {
        /// Position of the first.
        first: u32,
        /// How many.
        count: u32,
        /// How many of them are directories or gitlinks.
        subdirs: u32,
    },
    /// The size of a blob in bytes, or [`SIZE_UNKNOWN`]; 0 for a gitlink.
    Size(u64),
}

impl RawNode {
    /// The node's bytes.
    pub fn encode(&self) -> [u8; NODE_BYTES] {
        let mut bytes = [0; NODE_BYTES];
        bytes[..4].copy_from_slice(&self.parent.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.name_at.to_le_bytes());
        bytes[8] = self.name_len;
        bytes[9] = kind_to_byte(self.kind);
        match self.detail {
            Detail::Children { first, count, subdirs } => {
                bytes[12..16].copy_from_slice(&subdirs.to_le_bytes());
                bytes[16..20].copy_from_slice(&first.to_le_bytes());
                bytes[20..].copy_from_slice(&count.to_le_bytes());
            }
            Detail::Size(size) => bytes[16..].copy_from_slice(&size.to_le_bytes()),
        }
        bytes
    }

    /// Reads a node of exactly [`NODE_BYTES`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let Some(kind) = kind_from_byte(bytes[9]) else {
            return Err(ManifestError::Damaged("a node has an unknown kind"));
        };
        let detail = match kind {
            TreeKind::Dir => Detail::Children {
                subdirs: u32_at(bytes, 12),
                first: u32_at(bytes, 16),
                count: u32_at(bytes, 20),
            },
            _ => Detail::Size(u64_at(bytes, 16)),
        };
        Ok(Self { parent: u32_at(bytes, 0), name_at: u32_at(bytes, 4), name_len: bytes[8], kind, detail })
    }
}

const fn kind_to_byte(kind: TreeKind) -> u8 {
    match kind {
        TreeKind::File => 1,
        TreeKind::Executable => 2,
        TreeKind::Symlink => 3,
        TreeKind::Dir => 4,
        TreeKind::Gitlink => 5,
    }
}

const fn kind_from_byte(byte: u8) -> Option<TreeKind> {
    Some(match byte {
        1 => TreeKind::File,
        2 => TreeKind::Executable,
        3 => TreeKind::Symlink,
        4 => TreeKind::Dir,
        5 => TreeKind::Gitlink,
        _ => return None,
    })
}
