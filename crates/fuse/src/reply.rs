//! Replies to the kernel, built in one reused buffer so that each is one write.
//!
//! The buffer starts with room for `fuse_out_header`, filled in by [`Reply::finish`] or [`Reply::fail`]; the methods
//! between append the body of an opcode. Invariant: a reply's header length equals its bytes. Layouts are those of
//! the kernel's header (see [`crate::abi`]).

use crate::abi;
use weald_model::attr::SIZE_UNKNOWN;
use weald_model::{Attr, Errno, FileKind, Timestamp};

/// "For ever" as the kernel takes it: seconds that do not overflow when added to its clock.
const FOR_EVER_SECS: u64 = u64::MAX / 2;
/// Preferred I/O size told in `st_blksize`.
const BLOCK_BYTES: u32 = 4096;
/// Longest target of a symbolic link: PATH_MAX without its NUL.
const LINK_BYTES_MAX: u64 = 4095;
/// Largest buffer kept between replies: the largest READ answer and its header.
const KEPT_BYTES_MAX: usize = 1_100_000;

/// A reply in the making.
#[derive(Debug, Default)]
pub struct Reply {
    bytes: Vec<u8>,
}

/// What statfs(2) reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of statfs(2)")]
pub struct StatFs {
    pub block_bytes: u32,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub name_max: u32,
}

/// The answer to INIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of fuse_init_out")]
pub struct InitOut {
    pub minor: u32,
    pub max_readahead: u32,
    pub flags: u64,
    pub max_background: u16,
    pub congestion_threshold: u16,
    pub max_write: u32,
    pub max_pages: u16,
}

impl Reply {
    /// Empties the buffer for the next answer.
    pub fn start(&mut self) {
        self.bytes.truncate(0);
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.bytes.resize(abi::OUT_HEADER_BYTES, 0);
    }

    /// Fills in the header of a success and returns the whole message.
    pub fn finish(&mut self, unique: u64) -> &[u8] {
        self.header(0, unique)
    }

    /// Drops the body and returns the message of a failure.
    pub fn fail(&mut self, unique: u64, error: Errno) -> &[u8] {
        self.bytes.truncate(abi::OUT_HEADER_BYTES);
        self.header(-error.number(), unique)
    }

    /// Fills in the header of a notification (`unique` 0) and returns the whole message.
    pub fn notification(&mut self, code: i32) -> &[u8] {
        self.header(code, 0)
    }

    /// The whole message, after one of the above.
    pub(crate) fn message(&self) -> &[u8] {
        &self.bytes
    }

    fn header(&mut self, error: i32, unique: u64) -> &[u8] {
        let len =
            u32::try_from(self.bytes.len()).expect("replies are bounded by max_write and the page count");
        self.bytes[0..4].copy_from_slice(&len.to_ne_bytes());
        self.bytes[4..8].copy_from_slice(&error.to_ne_bytes());
        self.bytes[8..16].copy_from_slice(&unique.to_ne_bytes());
        &self.bytes
    }

    /// Bytes of the body so far.
    pub fn body_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(abi::OUT_HEADER_BYTES)
    }

    /// The buffer itself, for READ and READLINK: append only.
    pub fn data(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends 16 bits.
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    /// Appends 32 bits.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    /// Appends 64 bits.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    fn zeros(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    /// `fuse_entry_out`: a node that the kernel may keep for ever, and its attributes, too, unless its size is not
    /// known. Counts one reference.
    pub fn entry(&mut self, attr: &Attr) {
        self.entry_of(attr, 0);
    }

    /// The same, for a node that has been given out under other generations before.
    pub fn entry_of(&mut self, attr: &Attr, generation: u64) {
        self.u64(attr.ino.0);
        self.u64(generation);
        self.u64(FOR_EVER_SECS);
        self.u64(lifetime(attr));
        self.u64(0);
        self.attr_body(attr);
    }

    /// `fuse_entry_out` with node 0: the name does not exist, for ever.
    pub fn negative_entry(&mut self) {
        self.u64(0);
        self.u64(0);
        self.u64(FOR_EVER_SECS);
        self.zeros(abi::ENTRY_OUT_BYTES - 24);
    }

    /// `fuse_open_out` after the entry of CREATE and TMPFILE: no handle, cache kept, no FLUSH.
    pub fn opened(&mut self) {
        self.u64(0);
        self.u32(abi::FOPEN_KEEP_CACHE | abi::FOPEN_NOFLUSH);
        self.u32(0);
    }

    /// `fuse_attr_out`.
    pub fn attr(&mut self, attr: &Attr) {
        self.u64(lifetime(attr));
        self.u64(0);
        self.attr_body(attr);
    }

    fn attr_body(&mut self, attr: &Attr) {
        for value in [attr.ino.0, told_size(attr), attr.blocks] {
            self.u64(value);
        }
        for time in [attr.atime, attr.mtime, attr.ctime] {
            self.u64(time.secs as u64);
        }
        for time in [attr.atime, attr.mtime, attr.ctime] {
            self.u32(time.nanos);
        }
        for value in [mode(attr), attr.nlink, attr.uid, attr.gid, attr.rdev, BLOCK_BYTES, 0] {
            self.u32(value);
        }
    }

    /// `fuse_statx_out` with all basic fields and the birth time.
    pub fn statx(&mut self, attr: &Attr) {
        const BASIC_AND_BTIME: u32 = 0xfff;
        self.u64(lifetime(attr));
        self.zeros(8 + 16);
        self.u32(BASIC_AND_BTIME);
        self.u32(BLOCK_BYTES);
        self.u64(0);
        for value in [attr.nlink, attr.uid, attr.gid] {
            self.u32(value);
        }
        self.u16(mode(attr) as u16);
        self.u16(0);
        for value in [attr.ino.0, told_size(attr), attr.blocks, 0] {
            self.u64(value);
        }
        for time in [attr.atime, attr.btime, attr.ctime, attr.mtime] {
            self.statx_time(time);
        }
        let (major, minor) = split_device(attr.rdev);
        for value in [major, minor, 0, 0] {
            self.u32(value);
        }
        self.zeros(14 * 8);
    }

    fn statx_time(&mut self, time: Timestamp) {
        self.u64(time.secs as u64);
        self.u32(time.nanos);
        self.u32(0);
    }

    /// `fuse_statfs_out`.
    pub fn statfs(&mut self, stat: &StatFs) {
        for value in [stat.blocks, stat.blocks_free, stat.blocks_available, stat.files, stat.files_free] {
            self.u64(value);
        }
        for value in [stat.block_bytes, stat.name_max, stat.block_bytes] {
            self.u32(value);
        }
        self.zeros(4 + 24);
    }

    /// `fuse_write_out`, also for COPY_FILE_RANGE.
    pub fn written(&mut self, count: u32) {
        self.u32(count);
        self.u32(0);
    }

    /// `fuse_getxattr_out`: the size a buffer would need.
    pub fn xattr_size(&mut self, size: u32) {
        self.u32(size);
        self.u32(0);
    }

    /// `fuse_init_out`.
    pub fn init(&mut self, init: &InitOut) {
        for value in [abi::MAJOR, init.minor, init.max_readahead, init.flags as u32] {
            self.u32(value);
        }
        self.u16(init.max_background);
        self.u16(init.congestion_threshold);
        self.u32(init.max_write);
        // Times are exact to the nanosecond.
        self.u32(1);
        self.u16(init.max_pages);
        self.u16(0);
        self.u32((init.flags >> 32) as u32);
        self.zeros(abi::OUT_HEADER_BYTES + abi::INIT_OUT_BYTES - self.bytes.len());
    }

    /// Appends a `fuse_dirent`, or with `plus` a `fuse_direntplus`: its node counts one reference, `None` leaves the node
    /// 0 and counts none. Returns false and appends nothing when the body would exceed `limit` bytes.
    pub fn dirent(&mut self, entry: &Dirent<'_>, plus: Option<Option<&Attr>>, limit: usize) -> bool {
        let head = if plus.is_some() { abi::ENTRY_OUT_BYTES } else { 0 };
        let bytes = (head + abi::DIRENT_BYTES + entry.name.len()).next_multiple_of(8);
        if self.body_bytes() + bytes > limit {
            return false;
        }
        let end = self.bytes.len() + bytes;
        match plus {
            Some(Some(attr)) => self.entry_of(attr, entry.generation),
            Some(None) => self.zeros(head),
            None => {}
        }
        self.u64(entry.ino);
        self.u64(entry.next);
        self.u32(entry.name.len() as u32);
        self.u32(entry.kind.dirent_type());
        self.bytes.extend_from_slice(entry.name);
        self.bytes.resize(end, 0);
        true
    }
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are those of fuse_dirent")]
pub struct Dirent<'a> {
    pub ino: u64,
    pub generation: u64,
    pub next: u64,
    pub kind: FileKind,
    pub name: &'a [u8],
}

/// How long the kernel may go by attributes. Those without a size have expired as they come: the kernel asks again
/// before it opens a file or tells its size.
fn lifetime(attr: &Attr) -> u64 {
    if attr.size == SIZE_UNKNOWN { 0 } else { FOR_EVER_SECS }
}

/// The size told. One that is not known is told as 0, but the kernel cuts the target of a symbolic link at it.
fn told_size(attr: &Attr) -> u64 {
    match attr.size {
        SIZE_UNKNOWN if attr.kind == FileKind::Symlink => LINK_BYTES_MAX,
        SIZE_UNKNOWN => 0,
        size => size,
    }
}

fn mode(attr: &Attr) -> u32 {
    attr.kind.mode_bits() | (attr.perm & 0o7777)
}

/// Splits the kernel's 32-bit device number (`new_encode_dev`) into major and minor.
const fn split_device(rdev: u32) -> (u32, u32) {
    ((rdev & 0xf_ff00) >> 8, (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00))
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
