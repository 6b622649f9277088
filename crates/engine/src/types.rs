//! The words of the engine's operations that are not nouns of the model.

use weald_model::{Errno, FileKind, Ino, Result};

/// What a rename does when the new name exists (renameat2(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Replaces it.
    Replace,
    /// Fails with EEXIST (RENAME_NOREPLACE).
    NoReplace,
    /// Swaps both (RENAME_EXCHANGE).
    Exchange,
    /// Replaces it and leaves a whiteout device at the old name (RENAME_WHITEOUT), as overlayfs asks of an upper layer.
    Whiteout,
}

impl RenameMode {
    /// Reads the flags of renameat2(2).
    pub fn from_flags(flags: u32) -> Result<Self> {
        match flags {
            0 => Ok(RenameMode::Replace),
            1 => Ok(RenameMode::NoReplace),
            2 => Ok(RenameMode::Exchange),
            4 => Ok(RenameMode::Whiteout),
            _ => Err(Errno::Invalid),
        }
    }
}

/// What fallocate(2) does to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocateMode {
    /// Allocates, growing the file if needed.
    Grow,
    /// Allocates, keeping the size (FALLOC_FL_KEEP_SIZE).
    KeepSize,
    /// Frees the range (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE).
    PunchHole,
    /// Zeroes and allocates, growing the file if needed (FALLOC_FL_ZERO_RANGE).
    ZeroGrow,
    /// Zeroes and allocates, keeping the size.
    ZeroKeepSize,
}

impl AllocateMode {
    /// Reads the mode of fallocate(2). Collapse, insert and unshare are not supported (EOPNOTSUPP).
    pub fn from_flags(flags: u32) -> Result<Self> {
        match flags {
            0 => Ok(AllocateMode::Grow),
            1 => Ok(AllocateMode::KeepSize),
            3 => Ok(AllocateMode::PunchHole),
            0x10 => Ok(AllocateMode::ZeroGrow),
            0x11 => Ok(AllocateMode::ZeroKeepSize),
            _ => Err(Errno::NotSupported),
        }
    }
}

/// What lseek(2) looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is not in a hole (SEEK_DATA).
    Data,
    /// The next hole, at last the end of the file (SEEK_HOLE).
    Hole,
}

/// Which of creating and replacing setxattr(2) may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Both.
    Either,
    /// Only create (XATTR_CREATE); EEXIST otherwise.
    Create,
    /// Only replace (XATTR_REPLACE); ENODATA otherwise.
    Replace,
}

impl XattrMode {
    /// Reads the flags of setxattr(2).
    pub fn from_flags(flags: u32) -> Result<Self> {
        match flags {
            0 => Ok(XattrMode::Either),
            1 => Ok(XattrMode::Create),
            2 => Ok(XattrMode::Replace),
            _ => Err(Errno::Invalid),
        }
    }
}

/// A place in a directory's stream, stable while other entries come and go. 0 is the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cookie(pub u64);

/// One entry of a directory's stream.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Name.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: Ino,
    /// File type.
    pub kind: FileKind,
    /// Where the stream goes on after this entry.
    pub next: Cookie,
}

/// What a removal took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedEntry {
    /// The inode the name led to.
    pub ino: Ino,
    /// True when no name is left: the inode lives until it is forgotten.
    pub orphan: bool,
}

/// The answer to statfs(2): the host's space, since that is where private data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Unit of the block counts, in bytes.
    pub block_bytes: u32,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Blocks free for ordinary users.
    pub blocks_available: u64,
    /// All inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Longest name in bytes.
    pub name_max: u32,
}

/// The figures of a workspace that `list` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files and symbolic links, `.git` included.
    pub files: u64,
    /// Sum of file sizes in bytes.
    pub size_bytes: u64,
    /// Bytes of content written in this workspace or its fork parents and still visible here.
    pub private_bytes: u64,
    /// Records in the log of this workspace.
    pub records: u64,
    /// Files that are opened for reading are recorded.
    pub logs_reads: bool,
}
