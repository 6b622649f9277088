//! The same operations by system calls, in any directory: a mount of Weald, or another file system to check the
//! reference with.
//!
//! Run as root with [`ROOT`] as the caller: mknod(2), chown(2) and linking by descriptor need it.
//! Invariant: no symbolic link is followed, and what a slot holds is an O_PATH descriptor. Times that come from the
//! clock are not known here, so compare with [`crate::compare::Clock::Own`].

use crate::compare::{Description, Node};
use crate::operation::{Operation, Outcome, Place, SLOTS, name, xattr_name};
use rustix::fs::{
    self as host, AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, RenameFlags, StatxFlags, Timespec,
    Timestamps, UTIME_NOW, UTIME_OMIT, XattrFlags,
};
use rustix::io::Errno as HostErrno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use weald_engine::{AllocateMode, RenameMode, XattrMode};
use weald_model::{Attr, Caller, Errno, FileKind, Ino, Result, SetTime, Timestamp};

/// The caller that the reference must be told: root keeps suid and sgid bits, and the process has no umask.
pub const ROOT: Caller = Caller { uid: 0, gid: 0, pid: 1, umask: 0, kill_privileges: false, request: 0 };

/// A directory of the host that operations are applied in.
pub struct Host {
    path: PathBuf,
    root: OwnedFd,
    slots: [Option<OwnedFd>; SLOTS],
    linkable: [bool; SLOTS],
}

const PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Host {
    /// Takes a directory. Sets the umask of this process to 0.
    pub fn new(path: &Path) -> std::io::Result<Self> {
        rustix::process::umask(Mode::empty());
        let root = host::open(path, PATH, Mode::empty())?;
        Ok(Self { path: path.to_owned(), root, slots: Default::default(), linkable: [false; SLOTS] })
    }

    /// Applies an operation as root.
    pub fn apply(&mut self, operation: &Operation) -> Result<Outcome> {
        match operation {
            Operation::MakeNode { .. } | Operation::MakeSymlink { .. } => self.make(operation),
            Operation::MakeTmpfile { dir, slot, perm } => self.make_tmpfile(dir, *slot, *perm),
            Operation::Link { from, to } => self.link(from, to),
            Operation::Unlink { at } => self.remove(at, AtFlags::empty()),
            Operation::Rmdir { at } => self.remove(at, AtFlags::REMOVEDIR),
            Operation::Rename { from, to, mode } => self.rename(from, to, *mode),
            Operation::Write { at, .. }
            | Operation::Read { at, .. }
            | Operation::Truncate { at, .. }
            | Operation::Allocate { at, .. }
            | Operation::CopyRange { from: at, .. } => self.content(at, operation),
            Operation::Chmod { at, .. }
            | Operation::Chown { at, .. }
            | Operation::SetTimes { at, .. }
            | Operation::SetXattr { at, .. }
            | Operation::RemoveXattr { at, .. } => self.change(at, operation),
            Operation::List { at, .. } => self.list(at).map(Outcome::Entries),
            Operation::Hold { at, slot } => {
                self.slots[*slot] = Some(self.resolve(at)?);
                self.linkable[*slot] = false;
                Ok(Outcome::Done)
            }
            Operation::Release { slot } => {
                self.slots[*slot] = None;
                Ok(Outcome::Done)
            }
            Operation::ForgetNamed { at } => self.resolve(at).map(|_| Outcome::Done),
            Operation::Sync => {
                let root = host::open(&self.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
                root.and_then(host::fsync).map_err(errno)?;
                Ok(Outcome::Done)
            }
        }
    }

    fn make(&mut self, operation: &Operation) -> Result<Outcome> {
        let (Operation::MakeNode { at, .. } | Operation::MakeSymlink { at, .. }) = operation else {
            return Ok(Outcome::NeverSent);
        };
        let (parent, name) = self.entry(at)?;
        let name = OsStr::from_bytes(&name);
        match operation {
            Operation::MakeSymlink { target, .. } => {
                host::symlinkat(OsStr::from_bytes(&target.bytes()), &parent, name)
            }
            Operation::MakeNode { kind: FileKind::Dir, perm, .. } => {
                host::mkdirat(&parent, name, mode(*perm))
            }
            Operation::MakeNode { kind: FileKind::File, perm, .. } => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                host::openat(&parent, name, flags, mode(*perm)).map(|_| ())
            }
            Operation::MakeNode { kind, perm, .. } => {
                let file_type = FileType::from_raw_mode(kind.mode_bits());
                let device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
                host::mknodat(&parent, name, file_type, mode(*perm), if device { 0x103 } else { 0 })
            }
            _ => Ok(()),
        }
        .map_err(errno)?;
        attr(&host::openat(&parent, name, PATH, Mode::empty()).map_err(errno)?).map(Outcome::Attr)
    }

    fn make_tmpfile(&mut self, dir: &Place, slot: usize, perm: u32) -> Result<Outcome> {
        let dir = self.resolve(dir)?;
        let found = attr(&dir)?;
        if found.kind != FileKind::Dir || found.nlink == 0 {
            return Ok(Outcome::NeverSent);
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = host::openat(&dir, ".", flags, mode(perm)).map_err(errno)?;
        let made = attr(&file)?;
        self.slots[slot] = Some(file);
        self.linkable[slot] = true;
        Ok(Outcome::Attr(made))
    }

    fn link(&mut self, from: &Place, to: &Place) -> Result<Outcome> {
        let file = self.resolve(from)?;
        let ino = attr(&file)?.ino;
        if attr(&file)?.nlink == 0 && !self.slots_of(ino).any(|slot| self.linkable[slot]) {
            return Ok(Outcome::NeverSent);
        }
        let (parent, name) = self.entry(to)?;
        host::linkat(&file, "", &parent, OsStr::from_bytes(&name), AtFlags::EMPTY_PATH).map_err(errno)?;
        let linked: Vec<usize> = self.slots_of(ino).collect();
        linked.into_iter().for_each(|slot| self.linkable[slot] = false);
        attr(&file).map(Outcome::Attr)
    }

    fn slots_of(&self, ino: Ino) -> impl Iterator<Item = usize> {
        let holds = move |slot: &usize| {
            self.slots[*slot].as_ref().is_some_and(|held| attr(held).is_ok_and(|attr| attr.ino == ino))
        };
        (0..SLOTS).filter(holds)
    }

    fn remove(&mut self, at: &Place, flags: AtFlags) -> Result<Outcome> {
        let (parent, name) = self.entry(at)?;
        let name = OsStr::from_bytes(&name);
        let file = host::openat(&parent, name, PATH, Mode::empty()).map_err(errno)?;
        host::unlinkat(&parent, name, flags).map_err(errno)?;
        Ok(Outcome::Removed { orphan: attr(&file)?.nlink == 0 })
    }

    fn rename(&mut self, from: &Place, to: &Place, mode: RenameMode) -> Result<Outcome> {
        let (parent, name) = self.entry(from)?;
        let (new_parent, new_name) = self.entry(to)?;
        let flags = match mode {
            RenameMode::Replace => RenameFlags::empty(),
            RenameMode::NoReplace => RenameFlags::NOREPLACE,
            RenameMode::Exchange => RenameFlags::EXCHANGE,
            RenameMode::Whiteout => RenameFlags::WHITEOUT,
        };
        let (name, new_name) = (OsStr::from_bytes(&name), OsStr::from_bytes(&new_name));
        host::renameat_with(&parent, name, &new_parent, new_name, flags).map_err(errno)?;
        Ok(Outcome::Done)
    }

    fn content(&mut self, at: &Place, operation: &Operation) -> Result<Outcome> {
        let Some(file) = self.open_file(at)? else {
            return Ok(Outcome::NeverSent);
        };
        match operation {
            Operation::Write { offset, data, .. } => write_all(&file, &data.bytes(), *offset)?,
            Operation::Read { offset, size, .. } => return read_at(&file, *offset, *size).map(Outcome::Data),
            Operation::Truncate { size, .. } => host::ftruncate(&file, *size).map_err(errno)?,
            Operation::Allocate { offset, len, mode, .. } => {
                host::fallocate(&file, allocate_flags(*mode), *offset, *len).map_err(errno)?;
            }
            Operation::CopyRange { from_offset, to, to_offset, len, .. } => {
                let Some(to) = self.open_file(to)? else {
                    return Ok(Outcome::NeverSent);
                };
                return copy(&file, *from_offset, &to, *to_offset, *len).map(Outcome::Count);
            }
            _ => return Ok(Outcome::NeverSent),
        }
        attr(&file).map(Outcome::Attr)
    }

    fn change(&mut self, at: &Place, operation: &Operation) -> Result<Outcome> {
        let file = self.resolve(at)?;
        let kind = attr(&file)?.kind;
        let path = by_descriptor(&file);
        match operation {
            Operation::Chmod { .. } if kind == FileKind::Symlink => return Ok(Outcome::NeverSent),
            Operation::Chmod { perm, .. } => host::chmodat(CWD, &path, mode(*perm), AtFlags::empty()),
            Operation::Chown { uid, gid, .. } => {
                let (uid, gid) = (uid.map(host::Uid::from_raw), gid.map(host::Gid::from_raw));
                host::chownat(&file, "", uid, gid, AtFlags::EMPTY_PATH)
            }
            Operation::SetTimes { atime, mtime, .. } => {
                let times = Timestamps {
                    last_access: atime.map_or(special(UTIME_OMIT), moment),
                    last_modification: moment(SetTime::At(*mtime)),
                };
                host::utimensat(&file, "", &times, AtFlags::EMPTY_PATH)
            }
            _ if !matches!(kind, FileKind::File | FileKind::Dir) => return Ok(Outcome::NeverSent),
            Operation::SetXattr { name, value, mode, .. } => {
                let flags = match mode {
                    XattrMode::Either => XattrFlags::empty(),
                    XattrMode::Create => XattrFlags::CREATE,
                    XattrMode::Replace => XattrFlags::REPLACE,
                };
                host::setxattr(&path, xattr_name(*name), &value.bytes(), flags)
            }
            Operation::RemoveXattr { name, .. } => host::removexattr(&path, xattr_name(*name)),
            _ => return Ok(Outcome::NeverSent),
        }
        .map_err(errno)?;
        attr(&file).map(Outcome::Attr)
    }

    fn list(&mut self, at: &Place) -> Result<BTreeMap<Vec<u8>, FileKind>> {
        entries(&self.resolve(at)?)
    }

    fn start(&self, place: &Place) -> BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        let held = place.slot.and_then(|slot| self.slots[slot].as_ref());
        held.unwrap_or(&self.root).as_fd()
    }

    fn resolve(&self, place: &Place) -> Result<OwnedFd> {
        let mut at = rustix::io::fcntl_dupfd_cloexec(self.start(place), 0).map_err(errno)?;
        for step in &place.path {
            at = host::openat(&at, OsStr::from_bytes(&name(*step)), PATH, Mode::empty()).map_err(errno)?;
        }
        Ok(at)
    }

    fn entry(&self, place: &Place) -> Result<(OwnedFd, Vec<u8>)> {
        let (last, path) = place.path.split_last().ok_or(Errno::Busy)?;
        let parent = self.resolve(&Place { slot: place.slot, path: path.to_vec() })?;
        if attr(&parent)?.kind == FileKind::Dir { Ok((parent, name(*last))) } else { Err(Errno::NotDir) }
    }

    /// Opens a regular file for reading and writing; None for anything else.
    fn open_file(&self, at: &Place) -> Result<Option<OwnedFd>> {
        let file = self.resolve(at)?;
        if attr(&file)?.kind != FileKind::File {
            return Ok(None);
        }
        host::open(by_descriptor(&file), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map(Some)
            .map_err(errno)
    }

    /// Describes everything below the directory and in the slots; xattrs of links and device nodes are left out.
    pub fn describe(&self) -> Result<Description> {
        let mut all = Description::new();
        let mut open = vec![(Vec::new(), self.resolve(&Place::at(&[]))?)];
        for (slot, held) in self.slots.iter().enumerate() {
            if held.is_some() {
                let held = self.resolve(&Place { slot: Some(slot), path: Vec::new() })?;
                open.push((format!("<{slot}>").into_bytes(), held));
            }
        }
        while let Some((path, file)) = open.pop() {
            let node = node(&file)?;
            if node.attr.kind == FileKind::Dir {
                for name in entries(&file)?.into_keys() {
                    let child = host::openat(&file, OsStr::from_bytes(&name), PATH, Mode::empty());
                    open.push(([&path[..], b"/", &name].concat(), child.map_err(errno)?));
                }
            }
            all.insert(path, node);
        }
        Ok(all)
    }
}

fn node(file: &OwnedFd) -> Result<Node> {
    let attr = attr(file)?;
    let path = by_descriptor(file);
    let content = match attr.kind {
        FileKind::File => std::fs::read(&path).map_err(|error| Errno::from_host(&error))?,
        FileKind::Symlink => host::readlinkat(file, "", Vec::new()).map_err(errno)?.into_bytes(),
        _ => Vec::new(),
    };
    let plain = matches!(attr.kind, FileKind::File | FileKind::Dir);
    let xattrs = if plain { xattrs(&path)? } else { BTreeMap::new() };
    Ok(Node { attr, content, xattrs, parent: None })
}

/// Extended attributes of what a descriptor's path leads to; it may have no name.
fn xattrs(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0; 1 << 16];
    let len = host::listxattr(path, &mut names[..]).map_err(errno)?;
    let mut all = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let len = host::getxattr(path, OsStr::from_bytes(name), &mut value[..]).map_err(errno)?;
        value.truncate(len);
        all.insert(name.to_vec(), value);
    }
    Ok(all)
}

fn attr(file: &OwnedFd) -> Result<Attr> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = host::statx(file, "", AtFlags::EMPTY_PATH, mask).map_err(errno)?;
    let time = |time: host::StatxTimestamp| Timestamp { secs: time.tv_sec, nanos: time.tv_nsec };
    let kind = FileKind::from_mode(u32::from(stat.stx_mode)).ok_or(Errno::Io)?;
    Ok(Attr {
        ino: Ino(stat.stx_ino),
        kind,
        perm: u32::from(stat.stx_mode) & 0o7777,
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        rdev: (stat.stx_rdev_major << 8) | stat.stx_rdev_minor,
        size: if kind == FileKind::Dir { 0 } else { stat.stx_size },
        blocks: stat.stx_blocks,
        atime: time(stat.stx_atime),
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
        btime: time(stat.stx_btime),
    })
}

fn entries(dir: &OwnedFd) -> Result<BTreeMap<Vec<u8>, FileKind>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = host::openat(dir, ".", flags, Mode::empty()).map_err(errno)?;
    let mut all = BTreeMap::new();
    for entry in host::Dir::new(dir).map_err(errno)? {
        let entry = entry.map_err(errno)?;
        let name = entry.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            let kind = FileKind::from_mode(entry.file_type().as_raw_mode()).ok_or(Errno::Io)?;
            assert_eq!(all.insert(name, kind), None, "a name is listed twice");
        }
    }
    Ok(all)
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        let done = rustix::io::pwrite(file, bytes, offset).map_err(errno)?;
        bytes = &bytes[done..];
        offset += done as u64;
    }
    Ok(())
}

fn read_at(file: &OwnedFd, offset: u64, size: usize) -> Result<Vec<u8>> {
    let mut all = vec![0; size];
    let mut done = 0;
    while done < size {
        match rustix::io::pread(file, &mut all[done..], offset + done as u64).map_err(errno)? {
            0 => break,
            count => done += count,
        }
    }
    all.truncate(done);
    Ok(all)
}

fn copy(from: &OwnedFd, mut from_offset: u64, to: &OwnedFd, mut to_offset: u64, len: u64) -> Result<u64> {
    let wanted = len.min(attr(from)?.size.saturating_sub(from_offset));
    let mut done = 0;
    while done < wanted {
        let left = (wanted - done) as usize;
        match host::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), left)
            .map_err(errno)?
        {
            0 => break,
            count => done += count as u64,
        }
    }
    Ok(done)
}

fn allocate_flags(mode: AllocateMode) -> FallocateFlags {
    match mode {
        AllocateMode::Grow => FallocateFlags::empty(),
        AllocateMode::KeepSize => FallocateFlags::KEEP_SIZE,
        AllocateMode::PunchHole => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        AllocateMode::ZeroGrow => FallocateFlags::ZERO_RANGE,
        AllocateMode::ZeroKeepSize => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
    }
}

fn moment(time: SetTime) -> Timespec {
    match time {
        SetTime::Now => special(UTIME_NOW),
        SetTime::At(time) => Timespec { tv_sec: time.secs, tv_nsec: i64::from(time.nanos) },
    }
}

fn special(nanos: i64) -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: nanos }
}

fn mode(perm: u32) -> Mode {
    Mode::from_raw_mode(perm)
}

fn by_descriptor(file: &OwnedFd) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(format!("/proc/self/fd/{}", file.as_raw_fd()).into_bytes()))
}

/// What a system call failed with; numbers that no file operation of Weald gives are EIO.
fn errno(error: HostErrno) -> Errno {
    const KNOWN: [Errno; 20] = [
        Errno::NotPermitted,
        Errno::NotFound,
        Errno::NoAddress,
        Errno::Access,
        Errno::Busy,
        Errno::Exists,
        Errno::CrossDevice,
        Errno::NotDir,
        Errno::IsDir,
        Errno::Invalid,
        Errno::TooBig,
        Errno::NoSpace,
        Errno::ReadOnly,
        Errno::TooManyLinks,
        Errno::Range,
        Errno::NameTooLong,
        Errno::NotEmpty,
        Errno::NoData,
        Errno::NotSupported,
        Errno::Stale,
    ];
    KNOWN.into_iter().find(|known| known.number() == error.raw_os_error()).unwrap_or(Errno::Io)
}
