//! The host's file system through system calls.
//!
//! Invariants: interrupted and partial calls are gone on with, so callers see all or an error; below the root no symbolic
//! link is followed, neither at the end of a path nor on the way, and no path leads out (openat2(2)).

use super::{BLOCK_BYTES, Bytes, Disk, DiskFile, Map, OpenMode, Space};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Zeros written by one call of [`DiskFile::allocate`]; a static, so it costs no memory.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Most parts of one write: what callers need (frame header, body, inline, padding) and some more.
const PARTS_MAX: usize = 8;

/// The host's files.
#[derive(Debug)]
pub struct HostDisk {
    root: PathBuf,
    /// The root, once something below it was wanted.
    beneath: OnceLock<OwnedFd>,
}

impl HostDisk {
    /// Takes the directory below which all is that is opened, and whose file system [`Disk::space`] tells about.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), beneath: OnceLock::new() }
    }

    /// Opens something below the root; what lies elsewhere, or the root itself, without following a link at its end.
    fn open_below(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
        match path.strip_prefix(&self.root) {
            Ok(below) if !below.as_os_str().is_empty() => open_beneath(self.root()?, below, flags, mode),
            _ if path == self.root => Ok(rustix::fs::open(path, flags - OFlags::NOFOLLOW, mode)?),
            _ => Ok(rustix::fs::open(path, flags, mode)?),
        }
    }

    fn root(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(root) = self.beneath.get() {
            return Ok(root.as_fd());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.root, flags, Mode::empty())?;
        Ok(self.beneath.get_or_init(|| root).as_fd())
    }

    /// The directory that a path is in, and its name there.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok((self.open_below(parent, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }
}

fn open_beneath(root: BorrowedFd<'_>, below: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root, below, flags, mode, how) {
            // A name on the way was changed meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Container runtimes that do not know the call, or forbid it: then only the end of the path is guarded.
            Err(Errno::NOSYS | Errno::PERM) => return Ok(rustix::fs::openat(root, below, flags, mode)?),
            other => return Ok(other?),
        }
    }
}

impl Disk for HostDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => Ok(()),
            // A link to a directory is none.
            Err(Errno::EXIST) => self.open_below(path, OFlags::PATH | OFlags::DIRECTORY).map(drop),
            Err(error) => Err(error.into()),
        }
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(HostFile { fd: self.open_below(path, flags_of(mode))?, direct: OnceLock::new() }))
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        let fd = self.open_below(path, flags_of(OpenMode::Read))?;
        if rustix::fs::fstat(&fd)?.st_size == 0 {
            return Ok(Map::from_bytes(Vec::new()));
        }
        map_immutable(&fd)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from, old), (to, new)) = (self.parent(from)?, self.parent(to)?);
        Ok(rustix::fs::renameat(&from, old, &to, new)?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty())?)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let fd = self.open_below(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let fd = self.open_below(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(rustix::fs::fsync(fd)?)
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space {
            block_bytes: stat.f_frsize,
            total: bytes(stat.f_blocks),
            free: bytes(stat.f_bfree),
            available: bytes(stat.f_bavail),
            files: stat.f_files,
            files_free: stat.f_ffree,
        })
    }
}

const fn flags_of(mode: OpenMode) -> OFlags {
    match mode {
        OpenMode::Read => OFlags::RDONLY,
        OpenMode::ReadWrite => OFlags::RDWR,
        OpenMode::CreateNew => OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL),
    }
}

#[allow(unsafe_code, reason = "a map is how thousands of workspaces share one manifest in the page cache")]
fn map_immutable(fd: &OwnedFd) -> io::Result<Map> {
    // SAFETY: the files mapped are published whole by rename into directories of mode 0700 and never written or
    // cut afterwards by Weald. Who breaks into that directory as the same user can do worse than a SIGBUS.
    let map = unsafe { memmap2::Mmap::map(fd) }?;
    Ok(Map(Bytes::Mapped(Arc::new(map))))
}

struct HostFile {
    fd: OwnedFd,
    /// The same file past the page cache, once it was wanted; None where that cannot be.
    direct: OnceLock<Option<OwnedFd>>,
}

impl DiskFile for HostFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match rustix::io::pread(&self.fd, &mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let Some(used) = slices.get_mut(..parts.len()) else {
            return parts
                .chunks(PARTS_MAX)
                .try_fold(offset, |at, some| {
                    self.write_at(some, at)?;
                    Ok(at + some.iter().map(|part| part.len() as u64).sum::<u64>())
                })
                .map(|_| ());
        };
        for (slice, part) in used.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        write_slices(&self.fd, used, offset)?;
        Ok(())
    }

    fn write_cold(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let is_even = |number: usize| number.is_multiple_of(BLOCK_BYTES);
        let fits =
            is_even(data.len()) && is_even(data.as_ptr().addr()) && offset.is_multiple_of(BLOCK_BYTES as u64);
        let direct = if fits { self.direct.get_or_init(|| self.open_direct()).as_ref() } else { None };
        match direct.map(|direct| write_slices(direct, &mut [IoSlice::new(data)], offset)) {
            Some(Ok(())) => Ok(()),
            // EINVAL: blocks larger than ours, open(2).
            None | Some(Err(Errno::INVAL)) => self.write_at(&[data], offset),
            Some(Err(error)) => Err(error.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.fd)?.st_size.try_into().unwrap_or(0))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(&self.fd, len)?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.fd)?)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        // Not fallocate(2): its extents are unwritten, and turning them into written ones costs the journal commit
        // at fdatasync that this exists to avoid (170-220 us against 800-970 us).
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let count = (end - at).min(ZEROS.len() as u64);
            self.write_at(&[&ZEROS[..count as usize]], at)?;
            at += count;
        }
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.fd, how, offset, len)?)
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        Ok(u64::try_from(rustix::fs::fstat(&self.fd)?.st_blocks).unwrap_or(0) * 512)
    }

    fn will_need(&self, offset: u64, len: u64) {
        // A hint that is not taken changes nothing.
        let _ = rustix::fs::fadvise(&self.fd, offset, NonZeroU64::new(len), rustix::fs::Advice::WillNeed);
    }
}

impl HostFile {
    fn open_direct(&self) -> Option<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        rustix::fs::open(path, OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()).ok()
    }
}

fn write_slices(fd: &OwnedFd, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> Result<(), Errno> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match rustix::io::pwritev(fd, slices, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                IoSlice::advance_slices(&mut slices, count);
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
