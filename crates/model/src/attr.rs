//! What a file is: kind, mode, times, and the changes a caller may ask for.

use crate::Ino;

/// A point in time as `stat(2)` reports it: seconds since 1970 (negative before) and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since the epoch.
    pub secs: i64,
    /// Nanoseconds within the second, 0..=999_999_999.
    pub nanos: u32,
}

impl Timestamp {
    /// Makes a timestamp from whole seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }
}

/// The type of a file, as in the top bits of `st_mode` (inode(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

impl FileKind {
    /// The `S_IF*` bits of this kind.
    pub const fn mode_bits(self) -> u32 {
        match self {
            FileKind::Fifo => 0o010_000,
            FileKind::CharDevice => 0o020_000,
            FileKind::Dir => 0o040_000,
            FileKind::BlockDevice => 0o060_000,
            FileKind::File => 0o100_000,
            FileKind::Symlink => 0o120_000,
            FileKind::Socket => 0o140_000,
        }
    }

    /// The kind named by the `S_IF*` bits of `mode`; no type bits mean a regular file, as in mknod(2).
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o010_000 => FileKind::Fifo,
            0o020_000 => FileKind::CharDevice,
            0o040_000 => FileKind::Dir,
            0o060_000 => FileKind::BlockDevice,
            0o100_000 | 0 => FileKind::File,
            0o120_000 => FileKind::Symlink,
            0o140_000 => FileKind::Socket,
            _ => return None,
        })
    }

    /// The `d_type` of readdir(3).
    pub const fn dirent_type(self) -> u32 {
        self.mode_bits() >> 12
    }
}

/// A size that is not known, because the content is elsewhere and was not fetched yet.
pub const SIZE_UNKNOWN: u64 = u64::MAX;

/// Everything `stat(2)` and `statx(2)` tell about an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Inode number, stable over restart, remount and fork.
    pub ino: Ino,
    /// File type.
    pub kind: FileKind,
    /// Permission bits incl. suid, sgid, sticky (0o7777).
    pub perm: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, in the kernel's 32-bit encoding (`new_encode_dev`).
    pub rdev: u32,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Last access; see docs/semantics.md for the policy.
    pub atime: Timestamp,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
}

/// Who asks for a change; recorded in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// File-system user id.
    pub uid: u32,
    /// File-system group id.
    pub gid: u32,
    /// Process id as the front end knows it; 0 when unknown (write-back by the kernel).
    pub pid: u32,
    /// The caller's umask, 0 when the front end has applied it.
    pub umask: u32,
    /// True when the kernel asks that suid, sgid and capabilities be dropped (FUSE_HANDLE_KILLPRIV_V2).
    pub kill_privileges: bool,
    /// Which request of the front end it is, so that one sent again after a crash is not carried out twice; 0 for none.
    pub request: u64,
}

impl Caller {
    /// The caller used for Weald's own work on behalf of the owner.
    pub const fn owner(uid: u32, gid: u32) -> Self {
        Self { uid, gid, pid: 0, umask: 0, kill_privileges: false, request: 0 }
    }
}

/// A new value for a time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The engine's present.
    Now,
    /// This moment.
    At(Timestamp),
}

/// The changes of one chmod, chown, truncate or utimensat. `None` keeps a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits (0o7777).
    pub perm: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of content.
    pub mtime: Option<SetTime>,
    /// Last change of the inode; only a write-back-caching kernel sends it.
    pub ctime: Option<Timestamp>,
}
