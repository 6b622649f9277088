//! The only door to the host's files, so that tests can put a disk behind it that tears, fills and crashes.
//!
//! Invariant: a call either does all it says or returns an error; nothing is durable before `sync` and `sync_dir`.
//! Read next: [`HostDisk`], the real one; the registry alone goes past this door, because SQLite has its own.

use std::ffi::OsString;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

mod host;

pub use host::HostDisk;

/// What blocks of the host's disks are multiples of.
pub const BLOCK_BYTES: usize = 4096;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; the file must exist.
    Read,
    /// For reading and writing; the file must exist.
    ReadWrite,
    /// For reading and writing; the file must not exist and is made with mode 0600.
    CreateNew,
}

/// Room on the file system that holds the store, as statvfs(3) tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Size of one block in bytes.
    pub block_bytes: u64,
    /// All bytes.
    pub total: u64,
    /// Unused bytes.
    pub free: u64,
    /// Unused bytes that an ordinary user may take.
    pub available: u64,
    /// All inodes.
    pub files: u64,
    /// Unused inodes.
    pub files_free: u64,
}

/// Files and directories of the host. Paths are absolute. Symbolic links in the last component are not followed.
pub trait Disk: Send + Sync {
    /// Makes a directory with mode 0700; one that exists is fine.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Maps a whole file that nobody will ever change or cut.
    fn map(&self, path: &Path) -> io::Result<Map>;
    /// Renames, replacing a file that is there. Durable after `sync_dir` of the directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Lists the names in a directory, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Tells how much room is left.
    fn space(&self) -> io::Result<Space>;
}

/// An open file. Reads and writes name their offset, so that threads share it without a lock.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes the parts one after another, all or an error; after an error any of it may have been written.
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;
    /// Writes what nobody is about to read: past the host's page cache where `data`, its address and `offset` are multiples
    /// of [`BLOCK_BYTES`] and the file system can do so, else as [`DiskFile::write_at`].
    fn write_cold(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(&[data], offset)
    }
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or grows the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes content and length durable: fdatasync(2).
    fn sync(&self) -> io::Result<()>;
    /// Writes real zeros to a range, so that overwriting it later needs no new blocks.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes a hole of whole blocks within the file: its bytes read as zeros and take no space. The length stays.
    /// `Unsupported` where the host's file system cannot.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Bytes of disk the file takes.
    fn allocated_bytes(&self) -> io::Result<u64>;
    /// Tells that these bytes will be read soon. A hint; returns before they are there.
    fn will_need(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
}

/// The bytes of a whole immutable file: a memory map, or memory of a disk that has none. Cheap to clone.
#[derive(Clone)]
pub struct Map(Bytes);

#[derive(Clone)]
enum Bytes {
    Mapped(Arc<memmap2::Mmap>),
    Owned(Arc<[u8]>),
}

impl Map {
    /// Takes bytes already in memory.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(Bytes::Owned(bytes.into()))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Map({} bytes)", self.len())
    }
}

/// Reads exactly `buf.len()` bytes; a file that ends earlier gives `UnexpectedEof`.
pub fn read_exact_at(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(())
}
