//! One of the two trees: calls are made in it, by whoever is said to make them.
//!
//! Invariant: what a call answers is put so that it is equal where two file systems do the same. Inode numbers, device
//! numbers, the order of listings, sizes of directories and times are left out; `look.rs` compares the numbers and times.

use super::call::{Acl, Call, Moment, Path, SLOTS, USERS, User};
use crate::operation::Data;
use rustix::fs::{
    self, AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing but that it was done.
    Done,
    /// A number.
    Count(u64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Mode, links, owner, group, size and device number; no size of a directory.
    Attributes([u64; 6]),
    /// Names and kinds.
    Names(BTreeSet<(Vec<u8>, u32)>),
    /// The slot was empty, so there was nothing to call.
    Nothing,
}

/// One of the two trees.
pub(super) struct Side {
    top: OwnedFd,
    slots: [Option<OwnedFd>; SLOTS as usize],
}

/// Makes the calling thread a user's. It stays root for [`be_root`].
pub(super) fn be(user: User) -> Result<(), Errno> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let root = Uid::ROOT;
    set_thread_res_uid(root, root, root)?;
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups)?;
    set_thread_res_gid(Gid::ROOT, groups[0], Gid::ROOT)?;
    set_thread_res_uid(root, Uid::from_raw(user.uid), root)
}

/// Makes the calling thread a user's again, after [`be_root`].
pub(super) fn be_again(user: User) -> Result<(), Errno> {
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::from_raw(user.uid), Uid::ROOT)
}

/// Makes the calling thread root's; it keeps its groups.
pub(super) fn be_root() -> Result<(), Errno> {
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

impl Side {
    /// Takes a directory as the top.
    pub(super) fn new(top: &std::path::Path) -> Result<Self, Errno> {
        let top = fs::open(top, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { top, slots: Default::default() })
    }

    /// What a slot holds.
    pub(super) fn slot(&self, slot: u8) -> Option<BorrowedFd<'_>> {
        self.slots[usize::from(slot)].as_ref().map(AsFd::as_fd)
    }

    /// Where a path starts.
    pub(super) fn start(&self, at: &Path) -> BorrowedFd<'_> {
        at.from.and_then(|slot| self.slot(slot)).unwrap_or(self.top.as_fd())
    }

    /// The top.
    pub(super) fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// Makes a call.
    pub(super) fn call(&mut self, call: &Call) -> Result<Answer, Errno> {
        match call {
            Call::Become { user } => be(USERS[usize::from(*user)])?,
            Call::Umask { mask } => drop(rustix::process::umask(Mode::from_raw_mode(*mask))),
            Call::Open { slot, at, flags, mode } => {
                // Nobody may be at the other end of a pipe.
                let flags = *flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let opened = fs::openat(self.start(at), &at.text, flags, Mode::from_raw_mode(*mode))?;
                self.slots[usize::from(*slot)] = Some(opened);
            }
            Call::Close { slot } => self.slots[usize::from(*slot)] = None,
            Call::Mkdir { .. }
            | Call::Mknod { .. }
            | Call::Symlink { .. }
            | Call::Link { .. }
            | Call::Unlink { .. }
            | Call::Rmdir { .. }
            | Call::Rename { .. } => self.name(call)?,
            Call::Stat { .. } | Call::Access { .. } | Call::Readlink { .. } | Call::List { .. } => {
                return self.look(call);
            }
            Call::Chmod { .. } | Call::Chown { .. } | Call::Utimens { .. } => self.change(call)?,
            _ => return self.on_slot(call),
        }
        Ok(Answer::Done)
    }

    fn name(&self, call: &Call) -> Result<(), Errno> {
        match call {
            Call::Mkdir { at, mode } => fs::mkdirat(self.start(at), &at.text, Mode::from_raw_mode(*mode)),
            Call::Mknod { at, kind, mode } => {
                let device = if *kind == FileType::CharacterDevice { fs::makedev(1, 3) } else { 0 };
                fs::mknodat(self.start(at), &at.text, *kind, Mode::from_raw_mode(*mode), device)
            }
            Call::Symlink { target, at } => fs::symlinkat(target, self.start(at), &at.text),
            Call::Link { from, to, follow } => {
                let flags = if *follow { AtFlags::SYMLINK_FOLLOW } else { AtFlags::empty() };
                fs::linkat(self.start(from), &from.text, self.start(to), &to.text, flags)
            }
            Call::Unlink { at } => fs::unlinkat(self.start(at), &at.text, AtFlags::empty()),
            Call::Rmdir { at } => fs::unlinkat(self.start(at), &at.text, AtFlags::REMOVEDIR),
            Call::Rename { from, to, flags } => {
                fs::renameat_with(self.start(from), &from.text, self.start(to), &to.text, *flags)
            }
            _ => Ok(()),
        }
    }

    fn look(&self, call: &Call) -> Result<Answer, Errno> {
        match call {
            Call::Stat { at, follow } => {
                fs::statat(self.start(at), &at.text, nofollow(!follow)).map(|stat| attributes(&stat))
            }
            Call::Access { at, access } => {
                fs::accessat(self.start(at), &at.text, *access, AtFlags::EACCESS).map(|()| Answer::Done)
            }
            Call::Readlink { at } => fs::readlinkat(self.start(at), &at.text, Vec::new())
                .map(|text| Answer::Bytes(text.into_bytes())),
            Call::List { at } => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                names(&fs::openat(self.start(at), &at.text, flags, Mode::empty())?).map(Answer::Names)
            }
            _ => Ok(Answer::Nothing),
        }
    }

    fn change(&self, call: &Call) -> Result<(), Errno> {
        match call {
            Call::Chmod { at, mode } => {
                fs::chmodat(self.start(at), &at.text, Mode::from_raw_mode(*mode), AtFlags::empty())
            }
            Call::Chown { at, uid, gid, follow } => {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                fs::chownat(self.start(at), &at.text, uid, gid, nofollow(!follow))
            }
            Call::Utimens { at, atime, mtime, follow } => {
                fs::utimensat(self.start(at), &at.text, &times(*atime, *mtime), nofollow(!follow))
            }
            _ => Ok(()),
        }
    }

    /// Calls that take a descriptor.
    fn on_slot(&self, call: &Call) -> Result<Answer, Errno> {
        let (Call::LinkSlot { slot, .. }
        | Call::Fchmod { slot, .. }
        | Call::Fchown { slot, .. }
        | Call::Futimens { slot, .. }
        | Call::Ftruncate { slot, .. }
        | Call::Read { slot, .. }
        | Call::Pread { slot, .. }
        | Call::Write { slot, .. }
        | Call::Pwrite { slot, .. }
        | Call::Seek { slot, .. }
        | Call::Fallocate { slot, .. }
        | Call::CopyRange { from: slot, .. }
        | Call::Fsync { slot }
        | Call::SetXattr { slot, .. }
        | Call::GetXattr { slot, .. }
        | Call::ListXattr { slot }
        | Call::RemoveXattr { slot, .. }
        | Call::SetAcl { slot, .. }) = call
        else {
            return Ok(Answer::Nothing);
        };
        let Some(file) = self.slot(*slot) else { return Ok(Answer::Nothing) };
        match call {
            Call::LinkSlot { to, .. } => {
                fs::linkat(file, "", self.start(to), &to.text, AtFlags::EMPTY_PATH).map(|()| Answer::Done)
            }
            Call::Fchmod { mode, .. } => fs::fchmod(file, Mode::from_raw_mode(*mode)).map(|()| Answer::Done),
            Call::Fchown { uid, gid, .. } => {
                fs::fchown(file, uid.map(Uid::from_raw), gid.map(Gid::from_raw)).map(|()| Answer::Done)
            }
            Call::Futimens { atime, mtime, .. } => {
                fs::futimens(file, &times(*atime, *mtime)).map(|()| Answer::Done)
            }
            Call::SetXattr { .. }
            | Call::GetXattr { .. }
            | Call::ListXattr { .. }
            | Call::RemoveXattr { .. }
            | Call::SetAcl { .. } => extended(file, call),
            _ => self.content(file, call),
        }
    }

    fn content(&self, file: BorrowedFd<'_>, call: &Call) -> Result<Answer, Errno> {
        let count = |count: usize| Answer::Count(count as u64);
        match call {
            Call::Ftruncate { size, .. } => fs::ftruncate(file, *size).map(|()| Answer::Done),
            Call::Read { len, .. } => {
                let mut buffer = vec![0; *len];
                let got = rustix::io::read(file, &mut buffer[..])?;
                Ok(Answer::Bytes(buffer[..got].to_vec()))
            }
            Call::Pread { offset, len, .. } => {
                let mut buffer = vec![0; *len];
                let got = rustix::io::pread(file, &mut buffer[..], *offset)?;
                Ok(Answer::Bytes(buffer[..got].to_vec()))
            }
            Call::Write { seed, len, .. } => {
                rustix::io::write(file, &Data { seed: *seed, len: *len }.bytes()).map(count)
            }
            Call::Pwrite { offset, seed, len, .. } => {
                rustix::io::pwrite(file, &Data { seed: *seed, len: *len }.bytes(), *offset).map(count)
            }
            Call::Seek { whence, offset, .. } => {
                let place = match whence {
                    0 => SeekFrom::Start(offset.unsigned_abs()),
                    1 => SeekFrom::Current(*offset),
                    _ => SeekFrom::End(*offset),
                };
                // What the end of a directory is, each file system says for itself.
                if *whence == 2 && fs::fstat(file)?.st_mode & 0o170_000 == 0o040_000 {
                    return Ok(Answer::Nothing);
                }
                fs::seek(file, place).map(Answer::Count)
            }
            Call::Fallocate { mode, offset, len, .. } => {
                fs::fallocate(file, allocation(*mode), *offset, *len).map(|()| Answer::Done)
            }
            Call::CopyRange { from_offset, to, to_offset, len, .. } => {
                let Some(to) = self.slot(*to) else { return Ok(Answer::Nothing) };
                let (mut from_offset, mut to_offset) = (*from_offset, *to_offset);
                fs::copy_file_range(file, Some(&mut from_offset), to, Some(&mut to_offset), *len).map(count)
            }
            Call::Fsync { .. } => fs::fsync(file).map(|()| Answer::Done),
            _ => Ok(Answer::Nothing),
        }
    }
}

fn extended(file: BorrowedFd<'_>, call: &Call) -> Result<Answer, Errno> {
    match call {
        Call::SetXattr { name, value, len, flags, .. } => {
            let flags = [XattrFlags::empty(), XattrFlags::CREATE, XattrFlags::REPLACE][usize::from(*flags)];
            let value = [&value.to_le_bytes()[..], &Data { seed: *name, len: *len }.bytes()].concat();
            fs::fsetxattr(file, xattr(*name), &value, flags).map(|()| Answer::Done)
        }
        Call::GetXattr { name, .. } => {
            let mut value = vec![0; 4096];
            let got = fs::fgetxattr(file, xattr(*name), &mut value[..])?;
            Ok(Answer::Bytes(value[..got].to_vec()))
        }
        Call::ListXattr { .. } => {
            let mut all = vec![0; 4096];
            let got = fs::flistxattr(file, &mut all[..])?;
            let names = all[..got].split(|byte| *byte == 0).filter(|name| !name.is_empty());
            Ok(Answer::Names(names.map(|name| (name.to_vec(), 0)).collect()))
        }
        Call::RemoveXattr { name, .. } => fs::fremovexattr(file, xattr(*name)).map(|()| Answer::Done),
        Call::SetAcl { default, acl, .. } => {
            let name = if *default { "system.posix_acl_default" } else { "system.posix_acl_access" };
            fs::fsetxattr(file, name, &acl.bytes(), XattrFlags::empty()).map(|()| Answer::Done)
        }
        _ => Ok(Answer::Nothing),
    }
}

impl Acl {
    /// As the kernel takes it (linux/posix_acl_xattr.h, version 2).
    fn bytes(&self) -> Vec<u8> {
        let nobody = u32::MAX;
        let ids = [nobody, USERS[usize::from(self.user)].uid, nobody, 2000, nobody, nobody];
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for ((tag, bits), id) in [1_u16, 2, 4, 8, 16, 32].into_iter().zip(self.bits).zip(ids) {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(bits.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }
}

fn xattr(name: u8) -> &'static str {
    ["user.one", "user.two", "user.three"][usize::from(name)]
}

/// Names and kinds of a directory, which is read to the end.
pub(super) fn names(dir: &OwnedFd) -> Result<BTreeSet<(Vec<u8>, u32)>, Errno> {
    let mut all = BTreeSet::new();
    for entry in fs::Dir::read_from(dir)? {
        let entry = entry?;
        let listed = (entry.file_name().to_bytes().to_vec(), entry.file_type().as_raw_mode());
        if !all.insert(listed) {
            // Twice in one listing: never right, so not equal to anything.
            return Err(Errno::UCLEAN);
        }
    }
    Ok(all)
}

/// What of attributes is the same on file systems that do the same.
pub(super) fn attributes(stat: &Stat) -> Answer {
    let is_dir = stat.st_mode & 0o170_000 == 0o040_000;
    let size = if is_dir { 0 } else { stat.st_size as u64 };
    let owner = [u64::from(stat.st_uid), u64::from(stat.st_gid)];
    Answer::Attributes([stat.st_mode.into(), stat.st_nlink, owner[0], owner[1], size, stat.st_rdev])
}

fn nofollow(yes: bool) -> AtFlags {
    if yes { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() }
}

fn times(atime: Moment, mtime: Moment) -> Timestamps {
    let time = |moment| match moment {
        Moment::Now => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW },
        Moment::Keep => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        Moment::At(secs, nanos) => Timespec { tv_sec: secs, tv_nsec: nanos.into() },
    };
    Timestamps { last_access: time(atime), last_modification: time(mtime) }
}

fn allocation(mode: u8) -> FallocateFlags {
    match mode {
        0 => FallocateFlags::empty(),
        1 => FallocateFlags::KEEP_SIZE,
        2 => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        3 => FallocateFlags::ZERO_RANGE,
        _ => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
    }
}
