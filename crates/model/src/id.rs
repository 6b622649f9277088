//! Ids.

use std::fmt;

/// An inode number. 1 is the root; a base node's number is its position in the manifest plus one; numbers given
/// out by a workspace start at [`Ino::FIRST_OWN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory (FUSE_ROOT_ID).
    pub const ROOT: Ino = Ino(1);
    /// The first number a workspace gives to a file of its own; manifests hold at most 2^32 - 1 nodes.
    pub const FIRST_OWN: Ino = Ino(1 << 32);

    /// True for a node of the base manifest.
    pub const fn is_base(self) -> bool {
        self.0 < Self::FIRST_OWN.0
    }
}

/// The id of an object in a source: 20 bytes (SHA-1) or 32 (SHA-256), as git names them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid {
    len: u8,
    bytes: [u8; 32],
}

impl Oid {
    /// Makes an id from its 20 or 32 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 20 && bytes.len() != 32 {
            return None;
        }
        let mut id = Self { len: bytes.len() as u8, bytes: [0; 32] };
        id.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(id)
    }

    /// The 20 or 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Parses 40 or 64 hexadecimal digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(32);
        if !hex.len().is_multiple_of(2) || !hex.is_ascii() {
            return None;
        }
        for at in (0..hex.len()).step_by(2) {
            bytes.push(u8::from_str_radix(&hex[at..at + 2], 16).ok()?);
        }
        Self::new(&bytes)
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of a workspace, for ever; its name may change. Also the id of its log in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspaceId(pub u64);

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl WorkspaceId {
    /// Parses the 16 hexadecimal digits that `Display` prints.
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 16 {
            return None;
        }
        u64::from_str_radix(hex, 16).ok().map(Self)
    }
}

/// The id of a snapshot: random, for ever the same, also in forks that were made after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl SnapshotId {
    /// Parses the 16 hexadecimal digits that `Display` prints.
    pub fn from_hex(hex: &str) -> Option<Self> {
        WorkspaceId::from_hex(hex).map(|id| Self(id.0))
    }
}
