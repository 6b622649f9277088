//! Numbers of the FUSE kernel ABI, version 7.45.
//!
//! Source: `include/uapi/linux/fuse.h` of the Linux kernel (BSD-2-Clause alternative of that header). The kernel never
//! changes a published number; new ones are added behind INIT flags, so a kernel of any 7.x speaks to this table.
//! Invariant: only numbers and sizes, no behaviour. Layouts are read in [`crate::request`] and written in
//! [`crate::reply`]; integers are in host byte order.

/// Major version spoken.
pub const MAJOR: u32 = 7;
/// Newest minor version known.
pub const MINOR: u32 = 45;
/// Oldest minor version spoken: 7.33 has HANDLE_KILLPRIV_V2 and the long SETXATTR (Linux 5.13).
pub const MINOR_MIN: u32 = 33;
/// The node id of the root.
pub const ROOT_ID: u64 = 1;

/// Bytes of `fuse_in_header`.
pub const IN_HEADER_BYTES: usize = 40;
/// Bytes of `fuse_out_header`.
pub const OUT_HEADER_BYTES: usize = 16;
/// Bytes of `fuse_write_in`.
pub const WRITE_IN_BYTES: usize = 40;
/// Bytes of `fuse_attr`.
pub const ATTR_BYTES: usize = 88;
/// Bytes of `fuse_entry_out`.
pub const ENTRY_OUT_BYTES: usize = 40 + ATTR_BYTES;
/// Bytes of `fuse_dirent` before the name.
pub const DIRENT_BYTES: usize = 24;
/// Bytes of `fuse_init_out`.
pub const INIT_OUT_BYTES: usize = 64;

macro_rules! opcodes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal,)+) => {
        /// What the kernel asks for (`enum fuse_opcode`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Opcode { $($(#[doc = $doc])+ $name = $number,)+ }
        impl Opcode {
            /// All opcodes, in order.
            pub const ALL: &'static [Opcode] = &[$(Opcode::$name,)+];
            /// The opcode of this number, if this table knows it.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Opcode::$name),)+ _ => None }
            }
        }
    };
}

opcodes! {
    /// Name in a directory to node.
    Lookup = 1,
    /// Drops references; has no reply.
    Forget = 2,
    /// Attributes.
    Getattr = 3,
    /// chmod, chown, truncate, utimensat.
    Setattr = 4,
    /// Target of a symbolic link.
    Readlink = 5,
    /// New symbolic link.
    Symlink = 6,
    /// New node of any kind but directory.
    Mknod = 8,
    /// New directory.
    Mkdir = 9,
    /// Removes a name of a file.
    Unlink = 10,
    /// Removes an empty directory.
    Rmdir = 11,
    /// rename(2).
    Rename = 12,
    /// New hard link.
    Link = 13,
    /// Opens a file.
    Open = 14,
    /// Reads a file.
    Read = 15,
    /// Writes a file.
    Write = 16,
    /// statfs(2).
    Statfs = 17,
    /// Last close of an open file.
    Release = 18,
    /// fsync(2) of a file.
    Fsync = 20,
    /// Sets an extended attribute.
    Setxattr = 21,
    /// Reads an extended attribute.
    Getxattr = 22,
    /// Names of extended attributes.
    Listxattr = 23,
    /// Removes an extended attribute.
    Removexattr = 24,
    /// Each close of a descriptor.
    Flush = 25,
    /// First request of a connection.
    Init = 26,
    /// Opens a directory.
    Opendir = 27,
    /// Reads a directory.
    Readdir = 28,
    /// Last close of an open directory.
    Releasedir = 29,
    /// fsync(2) of a directory.
    Fsyncdir = 30,
    /// Tests a POSIX lock.
    Getlk = 31,
    /// Sets a POSIX lock.
    Setlk = 32,
    /// Sets a POSIX lock, waiting.
    Setlkw = 33,
    /// access(2); not sent with `default_permissions`.
    Access = 34,
    /// Makes and opens a file.
    Create = 35,
    /// The program gave up on a request.
    Interrupt = 36,
    /// Block map.
    Bmap = 37,
    /// Last request of a connection.
    Destroy = 38,
    /// ioctl(2).
    Ioctl = 39,
    /// poll(2).
    Poll = 40,
    /// Answer to a RETRIEVE notification; has no reply.
    NotifyReply = 41,
    /// Many FORGETs; has no reply.
    BatchForget = 42,
    /// fallocate(2).
    Fallocate = 43,
    /// Reads a directory with attributes.
    Readdirplus = 44,
    /// renameat2(2).
    Rename2 = 45,
    /// SEEK_DATA and SEEK_HOLE.
    Lseek = 46,
    /// copy_file_range(2).
    CopyFileRange = 47,
    /// DAX window.
    Setupmapping = 48,
    /// DAX window.
    Removemapping = 49,
    /// syncfs(2).
    Syncfs = 50,
    /// O_TMPFILE.
    Tmpfile = 51,
    /// statx(2) with more than basic fields.
    Statx = 52,
    /// copy_file_range(2) with a 64-bit result.
    CopyFileRange64 = 53,
}

/// INIT flags, bits 0..=31 in `flags` and 32..=63 in `flags2`.
pub mod init {
    /// Reads of one file may be in flight together.
    pub const ASYNC_READ: u64 = 1 << 0;
    /// LOOKUP of "." and ".." is answered.
    pub const EXPORT_SUPPORT: u64 = 1 << 4;
    /// Writes may be larger than 4 KiB.
    pub const BIG_WRITES: u64 = 1 << 5;
    /// The file system applies the umask.
    pub const DONT_MASK: u64 = 1 << 6;
    /// READDIRPLUS is answered.
    pub const DO_READDIRPLUS: u64 = 1 << 13;
    /// Direct I/O may be in flight together.
    pub const ASYNC_DIO: u64 = 1 << 15;
    /// The kernel keeps dirty pages.
    pub const WRITEBACK_CACHE: u64 = 1 << 16;
    /// OPEN may be answered ENOSYS once for all.
    pub const NO_OPEN_SUPPORT: u64 = 1 << 17;
    /// Lookups and reads of one directory may be in flight together.
    pub const PARALLEL_DIROPS: u64 = 1 << 18;
    /// The file system keeps POSIX ACLs.
    pub const POSIX_ACL: u64 = 1 << 20;
    /// `max_pages` is valid.
    pub const MAX_PAGES: u64 = 1 << 22;
    /// READLINK answers may be cached.
    pub const CACHE_SYMLINKS: u64 = 1 << 23;
    /// OPENDIR may be answered ENOSYS once for all.
    pub const NO_OPENDIR_SUPPORT: u64 = 1 << 24;
    /// Cached data stays until it is invalidated by a notification.
    pub const EXPLICIT_INVAL_DATA: u64 = 1 << 25;
    /// The file system drops suid, sgid and capabilities.
    pub const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    /// SETXATTR has the long form.
    pub const SETXATTR_EXT: u64 = 1 << 29;
    /// `flags2` is valid.
    pub const INIT_EXT: u64 = 1 << 30;
    /// RESEND may be asked for.
    pub const HAS_RESEND: u64 = 1 << 39;
    /// Requests may be taken over io_uring.
    pub const OVER_IO_URING: u64 = 1 << 41;
}

/// Bits of `fuse_setattr_in.valid`.
pub mod fattr {
    /// `mode` is given.
    pub const MODE: u32 = 1 << 0;
    /// `uid` is given.
    pub const UID: u32 = 1 << 1;
    /// `gid` is given.
    pub const GID: u32 = 1 << 2;
    /// `size` is given.
    pub const SIZE: u32 = 1 << 3;
    /// `atime` is given.
    pub const ATIME: u32 = 1 << 4;
    /// `mtime` is given.
    pub const MTIME: u32 = 1 << 5;
    /// `atime` is the present.
    pub const ATIME_NOW: u32 = 1 << 7;
    /// `mtime` is the present.
    pub const MTIME_NOW: u32 = 1 << 8;
    /// `ctime` is given.
    pub const CTIME: u32 = 1 << 10;
    /// suid and sgid are to be dropped.
    pub const KILL_SUIDGID: u32 = 1 << 11;
}

/// `fuse_write_in.write_flags`: the write comes from the page cache, `fh` and `pid` are guesses.
pub const WRITE_CACHE: u32 = 1 << 0;
/// `fuse_write_in.write_flags`: suid and sgid are to be dropped.
pub const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// `fuse_setxattr_in.setxattr_flags`: drop sgid together with the new access ACL.
pub const SETXATTR_ACL_KILL_SGID: u32 = 1 << 0;
/// `fuse_open_out.open_flags`: cached data survives the open.
pub const FOPEN_KEEP_CACHE: u32 = 1 << 1;
/// `fuse_open_out.open_flags`: close sends no FLUSH.
pub const FOPEN_NOFLUSH: u32 = 1 << 5;
/// Set in `unique` of a request that was sent before and is sent again after RESEND.
pub const UNIQUE_RESEND: u64 = 1 << 63;

/// Notifications: a message with `unique` 0 whose `error` is one of these (`enum fuse_notify_code`).
pub mod notify {
    /// Drop cached attributes and data.
    pub const INVAL_INODE: i32 = 2;
    /// Drop a cached name.
    pub const INVAL_ENTRY: i32 = 3;
    /// A name was removed; tells watchers too.
    pub const DELETE: i32 = 6;
    /// Send again what was read and not answered.
    pub const RESEND: i32 = 7;
}
