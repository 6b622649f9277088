//! Taking the files of a plain directory into a fresh workspace.
//!
//! Everything comes along: bytes, holes, modes, owners (as root), times to the nanosecond, hard links, symbolic
//! links, xattrs and ACLs, fifos, sockets, devices. Other file systems mounted below are left out and told, as
//! with `cp -x`.
//! Invariants: no symbolic link is followed and no directory is entered twice, since every step opens one name
//! below an open directory; the source is only read.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno as HostErrno;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use weald_engine::{Workspace, XattrMode};
use weald_model::{Attr, Caller, Code, Errno, Fault, FileKind, Ino, Progress, SetAttr, SetTime, Timestamp};

/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Deepest directory: one descriptor is open per level.
const DEPTH_MAX: usize = 4000;
/// How many things left out are told by name.
const NOTES_MAX: usize = 20;

/// What was taken in besides the files.
#[derive(Debug, Default)]
pub(crate) struct TakenIn {
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

/// Takes in everything below `root`. `skip` is Weald's own home, which may lie below.
pub(crate) fn take_in(
    workspace: &Workspace,
    owner: &Caller,
    root: &Path,
    skip: &Path,
    progress: &dyn Progress,
) -> Result<TakenIn, Fault> {
    let fd = rustix::fs::open(root, DIRECTORY, Mode::empty()).map_err(|error| refused(root, error))?;
    let stat = rustix::fs::fstat(&fd).map_err(|error| refused(root, error))?;
    let skip = rustix::fs::stat(skip).ok().map(|stat| (stat.st_dev, stat.st_ino));
    progress.stage("taking in files", 0);
    let mut walk = Walk {
        workspace,
        owner,
        progress,
        device: stat.st_dev,
        skip,
        linked: HashMap::new(),
        buffer: vec![0; CHUNK_BYTES],
        taken: TakenIn::default(),
    };
    walk.run(root, fd, &stat)?;
    Ok(walk.taken)
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Walk<'a> {
    workspace: &'a Workspace,
    owner: &'a Caller,
    progress: &'a dyn Progress,
    device: u64,
    skip: Option<(u64, u64)>,
    /// Inodes with several names, by their number in the source.
    linked: HashMap<u64, Ino>,
    buffer: Vec<u8>,
    taken: TakenIn,
}

/// One directory on the way down.
struct Level {
    fd: OwnedFd,
    entries: Dir,
    ino: Ino,
    stat: Stat,
    path: PathBuf,
}

impl Walk<'_> {
    fn run(&mut self, root: &Path, fd: OwnedFd, stat: &Stat) -> Result<(), Fault> {
        let mut levels = vec![level(fd, Ino::ROOT, *stat, root.to_owned())?];
        while let Some(level) = levels.last_mut() {
            match level.entries.read() {
                None => {
                    // A directory's times come last: what is made in it changes them.
                    self.finish_directory(level)?;
                    levels.pop();
                }
                Some(Err(error)) => return Err(refused(&level.path, error)),
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes();
                    if name == b"." || name == b".." {
                        continue;
                    }
                    if let Some(deeper) = self.entry(level, name)? {
                        levels.push(deeper);
                    }
                    if levels.len() > DEPTH_MAX {
                        return Err(Fault::new(
                            Code::UnsupportedSource,
                            "directories are nested over 4,000 deep",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes one entry in; returns the directory to go into.
    fn entry(&mut self, level: &Level, name: &[u8]) -> Result<Option<Level>, Fault> {
        let path = level.path.join(std::ffi::OsStr::from_bytes(name));
        let stat = match rustix::fs::statat(&level.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Somebody else removed it meanwhile.
            Err(HostErrno::NOENT) => return Ok(None),
            Err(error) => return Err(refused(&path, error)),
        };
        if self.skip == Some((stat.st_dev, stat.st_ino)) {
            return Ok(None);
        }
        if stat.st_dev != self.device {
            self.note(format!("{} was left out: it is another file system", path.display()));
            return Ok(None);
        }
        self.progress.advance(1);
        let kind = FileKind::from_mode(stat.st_mode).ok_or_else(|| {
            Fault::new(Code::UnsupportedSource, format!("unknown kind of file: {}", path.display()))
        })?;
        if stat.st_nlink > 1
            && kind != FileKind::Dir
            && let Some(ino) = self.linked.get(&stat.st_ino)
        {
            self.workspace.link(self.owner, *ino, level.ino, name).map_err(|e| failed(&path, e))?;
            return Ok(None);
        }
        self.fresh(level, name, path, kind, &stat)
    }

    /// An entry seen for the first time.
    fn fresh(
        &mut self,
        level: &Level,
        name: &[u8],
        path: PathBuf,
        kind: FileKind,
        stat: &Stat,
    ) -> Result<Option<Level>, Fault> {
        match kind {
            FileKind::Dir => {
                let fd = rustix::fs::openat(&level.fd, name, DIRECTORY, Mode::empty())
                    .map_err(|e| refused(&path, e))?;
                let attr = self.make(level.ino, name, kind, stat, &path)?;
                return Ok(Some(self::level(fd, attr.ino, *stat, path)?));
            }
            FileKind::File => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let fd = rustix::fs::openat(&level.fd, name, flags, Mode::empty())
                    .map_err(|e| refused(&path, e))?;
                let attr = self.make(level.ino, name, kind, stat, &path)?;
                self.content(&fd, attr.ino, stat.st_size as u64).map_err(|e| self.blame(&path, e))?;
                self.xattrs(fd.as_fd(), attr.ino, &path)?;
                self.finish(attr.ino, kind, stat, &path)?;
                self.remember(stat, attr.ino);
            }
            FileKind::Symlink => {
                let target =
                    rustix::fs::readlinkat(&level.fd, name, Vec::new()).map_err(|e| refused(&path, e))?;
                let made = self.workspace.make_symlink(self.owner, level.ino, name, target.as_bytes());
                let attr = made.map_err(|e| failed(&path, e))?;
                self.finish(attr.ino, kind, stat, &path)?;
                self.remember(stat, attr.ino);
            }
            FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => {
                let attr = self.make(level.ino, name, kind, stat, &path)?;
                self.finish(attr.ino, kind, stat, &path)?;
                self.remember(stat, attr.ino);
            }
        }
        Ok(None)
    }

    fn make(
        &self,
        parent: Ino,
        name: &[u8],
        kind: FileKind,
        stat: &Stat,
        path: &Path,
    ) -> Result<Attr, Fault> {
        let made = self.workspace.make_node(self.owner, parent, name, kind, 0o600, device_number(stat));
        made.map_err(|e| failed(path, e))
    }

    fn remember(&mut self, stat: &Stat, ino: Ino) {
        if stat.st_nlink > 1 {
            self.linked.insert(stat.st_ino, ino);
        }
    }

    /// Copies the data and leaves the holes.
    fn content(&mut self, fd: &OwnedFd, ino: Ino, size: u64) -> Result<(), Trouble> {
        let mut at = 0;
        while at < size {
            let start = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
                Ok(start) => start,
                // Only a hole is left.
                Err(HostErrno::NXIO) => break,
                // The file system knows no holes: all is data.
                Err(HostErrno::INVAL | HostErrno::OPNOTSUPP) => at,
                Err(error) => return Err(Trouble::Host(error)),
            };
            let end = rustix::fs::seek(fd, SeekFrom::Hole(start)).unwrap_or(size).min(size);
            at = self.copy(fd, ino, start, end.max(start))?.max(start);
            if at < end || end <= start {
                // It shrank while it was read.
                break;
            }
        }
        let set = SetAttr { size: Some(size), ..SetAttr::default() };
        self.workspace.set_attr(self.owner, ino, &set)?;
        Ok(())
    }

    /// Copies bytes `start..end`; returns where the file ended early, or `end`.
    fn copy(&mut self, fd: &OwnedFd, ino: Ino, start: u64, end: u64) -> Result<u64, Trouble> {
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let got = rustix::io::pread(fd, &mut self.buffer[..want], at).map_err(Trouble::Host)?;
            if got == 0 {
                break;
            }
            self.workspace.write(self.owner, ino, at, &self.buffer[..got])?;
            at += got as u64;
        }
        Ok(at)
    }

    fn xattrs(&mut self, fd: BorrowedFd<'_>, ino: Ino, path: &Path) -> Result<(), Fault> {
        let Some(names) = grown(|buffer| rustix::fs::flistxattr(fd, buffer)) else { return Ok(()) };
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let Some(value) = grown(|buffer| rustix::fs::fgetxattr(fd, name, buffer)) else { continue };
            match self.workspace.set_xattr(self.owner, ino, name, &value, XattrMode::Either, false) {
                Ok(()) => {}
                Err(Errno::NotSupported | Errno::NotPermitted) => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    self.note(format!("the attribute {name} of {} was left out", path.display()));
                }
                Err(error) => return Err(failed(path, error)),
            }
        }
        Ok(())
    }

    fn finish_directory(&mut self, level: &Level) -> Result<(), Fault> {
        self.xattrs(level.fd.as_fd(), level.ino, &level.path)?;
        self.finish(level.ino, FileKind::Dir, &level.stat, &level.path)
    }

    /// Owner first, since it clears suid; then mode, then times.
    fn finish(&mut self, ino: Ino, kind: FileKind, stat: &Stat, path: &Path) -> Result<(), Fault> {
        let mut sets = Vec::with_capacity(3);
        if self.owner.uid == 0 {
            sets.push(SetAttr { uid: Some(stat.st_uid), gid: Some(stat.st_gid), ..SetAttr::default() });
        }
        if kind != FileKind::Symlink {
            sets.push(SetAttr { perm: Some(stat.st_mode & 0o7777), ..SetAttr::default() });
        }
        let time = |secs: i64, nanos: u64| Some(SetTime::At(Timestamp { secs, nanos: nanos as u32 }));
        sets.push(SetAttr {
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ..SetAttr::default()
        });
        for set in &sets {
            self.workspace.set_attr(self.owner, ino, set).map_err(|e| failed(path, e))?;
        }
        Ok(())
    }

    fn note(&mut self, text: String) {
        if self.taken.notes.len() < NOTES_MAX {
            self.taken.notes.push(text);
        } else if self.taken.notes.len() == NOTES_MAX {
            self.taken.notes.push("and more was left out".to_owned());
        }
    }

    fn blame(&self, path: &Path, trouble: Trouble) -> Fault {
        match trouble {
            Trouble::Host(error) => refused(path, error),
            Trouble::Engine(error) => failed(path, error),
        }
    }
}

/// Which side of a copy failed.
enum Trouble {
    Host(HostErrno),
    Engine(Errno),
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        Trouble::Engine(error)
    }
}

fn level(fd: OwnedFd, ino: Ino, stat: Stat, path: PathBuf) -> Result<Level, Fault> {
    let entries = Dir::read_from(&fd).map_err(|error| refused(&path, error))?;
    Ok(Level { fd, entries, ino, stat, path })
}

/// Calls a "how long, then what" system call until the buffer is large enough; None when there is nothing.
fn grown(call: impl Fn(&mut [u8]) -> Result<usize, HostErrno>) -> Option<Vec<u8>> {
    // XATTR_SIZE_MAX and XATTR_LIST_MAX of limits.h.
    const BYTES_MAX: usize = 65_536;
    let mut buffer = vec![0; 512];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Some(buffer);
            }
            Err(HostErrno::RANGE) if buffer.len() < BYTES_MAX => buffer.resize(BYTES_MAX, 0),
            Err(_) => return None,
        }
    }
}

/// The device number of a node in the kernel's 32-bit encoding (new_encode_dev, linux/kdev_t.h).
fn device_number(stat: &Stat) -> u32 {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

fn refused(path: &Path, error: HostErrno) -> Fault {
    let text = format!("{}: {}", path.display(), std::io::Error::from(error));
    match error {
        HostErrno::ACCESS | HostErrno::PERM => {
            Fault::new(Code::NotAllowed, text).hint("every file of the directory must be readable")
        }
        HostErrno::NOENT | HostErrno::NOTDIR => Fault::new(Code::UnknownSource, text),
        _ => Fault::new(Code::HostIo, text),
    }
}

fn failed(path: &Path, error: Errno) -> Fault {
    let code = match error {
        Errno::NoSpace | Errno::Quota => Code::DiskFull,
        Errno::ReadOnly => Code::HomeReadOnly,
        _ => Code::HostIo,
    };
    Fault::new(code, format!("taking in {}: {error}", path.display()))
}
