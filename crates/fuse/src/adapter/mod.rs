//! Requests of the kernel, carried out on a workspace.
//!
//! One adapter per mount. Node ids are inode numbers, which are never used twice, so generations are 0 but for what
//! a restore brought back ([`generations`]). Invariants:
//! each entry in a reply adds one to [`Lookups`], so does nothing else; the engine is told to forget a node when its
//! count falls to 0. Permissions are the kernel's (`default_permissions`); umask, ACL inheritance and suid rules are
//! the engine's. Directories are in [`dirs`], extended attributes in [`xattrs`], what happens to the kernel's caches
//! when a workspace goes back to another state in [`refresh`], the log of reads in [`opens`], mounts taken over in [`resent`].

mod dirs;
mod generations;
mod lookups;
mod opens;
mod refresh;
mod resent;
mod xattrs;

pub use lookups::Lookups;

use crate::abi::{self, fattr};
use crate::connection::{Handler, WRITE_BYTES_MAX};
use crate::reply::{Reply, StatFs};
use crate::request::{CopyRange, Header, Operation, Request, Setattr};
use generations::Generations;
use resent::Before;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use weald_engine::{AllocateMode, RenameMode, Seek, Workspace};
use weald_model::attr::SIZE_UNKNOWN;
use weald_model::{Attr, Caller, Errno, FileKind, Ino, Result, SetAttr, SetTime, Timestamp, Wait};

/// Whether CREATE is answered. Refusing it once (ENOSYS) makes the kernel use MKNOD and a silent open for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreateAnswer {
    /// Makes and opens in one request.
    #[default]
    Create,
    /// ENOSYS.
    Mknod,
}

/// A workspace as a FUSE file system.
pub struct Adapter {
    workspace: Arc<Workspace>,
    lookups: Lookups,
    generations: Generations,
    /// Shared from looking up what an entry says until its reference is counted; see [`refresh`].
    entering: RwLock<()>,
    create_answer: CreateAnswer,
    /// The kernel has been told never to ask for OPEN; see [`opens`].
    asks_no_open: AtomicBool,
    tells_birth: bool,
    /// What was done by the process whose mount this one took over.
    before: Option<Before>,
}

impl Adapter {
    /// Makes the adapter of a fresh mount. Nothing of an earlier mount is open any more, so unlinked files that it
    /// left behind are purged.
    pub fn new(workspace: Arc<Workspace>) -> Result<Self> {
        Self::with_create_answer(workspace, CreateAnswer::default())
    }

    /// As [`Adapter::new`], with a choice that is otherwise made by measurement.
    pub fn with_create_answer(workspace: Arc<Workspace>, create_answer: CreateAnswer) -> Result<Self> {
        workspace.purge_orphans()?;
        drop(workspace.take_requests());
        Ok(Self {
            workspace,
            lookups: Lookups::default(),
            generations: Generations::default(),
            entering: RwLock::default(),
            create_answer,
            asks_no_open: AtomicBool::new(false),
            tells_birth: true,
            before: None,
        })
    }

    /// Makes the adapter of a mount that another process served. What is open stays open. With `gives_up`, requests
    /// that are sent again fail: one of them may be what ended the processes before.
    pub fn continued(workspace: Arc<Workspace>, gives_up: bool) -> Self {
        let before = Some(Before { requests: workspace.take_requests(), gives_up });
        Self {
            workspace,
            lookups: Lookups::continued(),
            generations: Generations::default(),
            entering: RwLock::default(),
            create_answer: CreateAnswer::default(),
            // Not known; "yes" is the answer that promises less.
            asks_no_open: AtomicBool::new(true),
            tells_birth: true,
            before,
        }
    }

    /// Tells no birth times. The first STATX is answered with ENOSYS, and the kernel never asks again: else it asks once
    /// for each inode of which a program wants to know it (fuse_update_get_attr in fs/fuse/dir.c), and keeps all other
    /// attributes of its own.
    #[must_use]
    pub fn without_birth_times(self) -> Self {
        Self { tells_birth: false, ..self }
    }

    /// The references the kernel holds.
    pub fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    fn entry(&self, attr: &Attr, reply: &mut Reply) {
        self.lookups.add(attr.ino.0);
        reply.entry_of(attr, self.generations.of(attr));
    }

    /// Attributes for who asks for them: with a size. The kernel asks before it makes use of one that it was not told.
    fn whole_attr(&self, ino: Ino) -> Result<Attr> {
        let attr = self.workspace.attr(ino)?;
        if attr.size == SIZE_UNKNOWN { Err(Errno::Unfetched) } else { Ok(attr) }
    }

    fn entering(&self) -> RwLockReadGuard<'_, ()> {
        self.entering.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// LOOKUP. "." and ".." come from open_by_handle_at(2): a number that means nothing any more is ESTALE there.
    fn lookup(&self, parent: Ino, name: &[u8], reply: &mut Reply) -> Result<()> {
        let stale = |error| if error == Errno::NotFound { Errno::Stale } else { error };
        let found = match name {
            b"." => self.workspace.attr(parent).map_err(stale),
            b".." => self.workspace.parent_of(parent).and_then(|ino| self.workspace.attr(ino)).map_err(stale),
            _ => self.workspace.lookup(parent, name),
        };
        match found {
            Ok(attr) => self.entry(&attr, reply),
            Err(Errno::NotFound) => reply.negative_entry(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn forget(&self, node: u64, count: u64) {
        if self.lookups.take(node, count) {
            self.generations.forgotten(Ino(node));
            self.workspace.forget(Ino(node));
        }
    }

    fn make(&self, who: &Caller, parent: Ino, name: &[u8], mode: u32, rdev: u32) -> Result<Attr> {
        let kind = FileKind::from_mode(mode).ok_or(Errno::Invalid)?;
        self.workspace.make_node(who, parent, name, kind, mode & 0o7777, rdev)
    }

    fn create(&self, who: &Caller, parent: Ino, name: &[u8], mode: u32, reply: &mut Reply) -> Result<()> {
        if self.create_answer == CreateAnswer::Mknod {
            return Err(Errno::NotImplemented);
        }
        let perm = mode & 0o7777;
        let attr = self.workspace.make_node(who, parent, name, FileKind::File, perm, 0)?;
        self.entry(&attr, reply);
        reply.opened();
        Ok(())
    }

    fn tmpfile(&self, who: &Caller, parent: Ino, mode: u32, reply: &mut Reply) -> Result<()> {
        let attr = self.workspace.make_tmpfile(who, parent, mode & 0o7777)?;
        self.entry(&attr, reply);
        reply.opened();
        Ok(())
    }

    fn remove(&self, who: &Caller, parent: Ino, name: &[u8], kind: FileKind) -> Result<()> {
        let removed = match kind {
            FileKind::Dir => {
                let removed = self.workspace.rmdir(who, parent, name)?;
                self.generations.removed(removed.ino);
                removed
            }
            _ => self.workspace.unlink(who, parent, name)?,
        };
        // The kernel looks a name up before it removes it, so this is rare: nobody will ever send the FORGET.
        if removed.orphan && self.lookups.count(removed.ino.0) == 0 {
            self.generations.forgotten(removed.ino);
            self.workspace.forget(removed.ino);
        }
        Ok(())
    }

    fn rename(&self, header: &Header, from: (Ino, &[u8]), to: (Ino, &[u8]), flags: u32) -> Result<()> {
        let mode = RenameMode::from_flags(flags)?;
        // An empty directory that is renamed over is removed by it.
        let replaced = match mode {
            RenameMode::Replace => self.workspace.lookup(to.0, to.1).ok(),
            _ => None,
        };
        self.workspace.rename(&caller(header, 0), from.0, from.1, to.0, to.1, mode)?;
        if let Some(dir) = replaced.filter(|attr| attr.kind == FileKind::Dir) {
            self.generations.removed(dir.ino);
        }
        Ok(())
    }

    fn read(&self, ino: Ino, offset: u64, size: u32, reply: &mut Reply) -> Result<()> {
        let size = size.min(WRITE_BYTES_MAX) as usize;
        self.workspace.read(ino, offset, size, reply.data())
    }

    fn write(&self, header: &Header, offset: u64, flags: u32, data: &[u8], reply: &mut Reply) -> Result<()> {
        let mut who = caller(header, 0);
        who.kill_privileges = flags & abi::WRITE_KILL_SUIDGID != 0;
        if flags & abi::WRITE_CACHE != 0 {
            who.pid = 0;
        }
        self.workspace.write(&who, Ino(header.node), offset, data)?;
        reply.written(u32::try_from(data.len()).map_err(|_| Errno::TooBig)?);
        Ok(())
    }

    fn copy_range(&self, header: &Header, range: &CopyRange, wide: bool, reply: &mut Reply) -> Result<()> {
        // The short answer counts in 32 bits; the program asks again for the rest.
        let len = if wide { range.len } else { range.len.min(1 << 30) };
        let (from, to) = (Ino(header.node), Ino(range.to_node));
        let who = editor(header);
        let copied = self.workspace.copy_range(&who, from, range.from_offset, to, range.to_offset, len)?;
        if wide {
            reply.u64(copied);
        } else {
            reply.written(u32::try_from(copied).map_err(|_| Errno::TooBig)?);
        }
        Ok(())
    }

    fn set_attr(&self, header: &Header, set: &Setattr, reply: &mut Reply) -> Result<()> {
        let mut who = caller(header, 0);
        who.kill_privileges = set.valid & fattr::KILL_SUIDGID != 0;
        let attr = self.workspace.set_attr(&who, Ino(header.node), &changes(set)?)?;
        reply.attr(&attr);
        Ok(())
    }

    fn seek(&self, ino: Ino, offset: u64, whence: u32, reply: &mut Reply) -> Result<()> {
        let what = match whence {
            3 => Seek::Data,
            4 => Seek::Hole,
            _ => return Err(Errno::Invalid),
        };
        reply.u64(self.workspace.seek(ino, offset, what)?);
        Ok(())
    }

    /// Operations that make a node.
    fn answer_new(&self, header: &Header, operation: &Operation<'_>, reply: &mut Reply) -> Result<()> {
        let parent = Ino(header.node);
        let attr = match *operation {
            Operation::Mknod { name, mode, rdev, umask } => {
                self.make(&caller(header, umask), parent, name, mode, rdev)?
            }
            Operation::Mkdir { name, mode, umask } => {
                let who = caller(header, umask);
                self.workspace.make_node(&who, parent, name, FileKind::Dir, mode & 0o7777, 0)?
            }
            Operation::Symlink { name, target } => {
                self.workspace.make_symlink(&caller(header, 0), parent, name, target)?
            }
            Operation::Link { target, name } => {
                self.workspace.link(&caller(header, 0), Ino(target), parent, name)?
            }
            Operation::Create { name, mode, umask, .. } => {
                return self.create(&caller(header, umask), parent, name, mode, reply);
            }
            Operation::Tmpfile { mode, umask, .. } => {
                return self.tmpfile(&caller(header, umask), parent, mode, reply);
            }
            _ => return Err(Errno::NotImplemented),
        };
        self.entry(&attr, reply);
        Ok(())
    }
}

impl Handler for Adapter {
    fn answer(&self, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
        let header = &request.header;
        if let Some(outcome) = self.answer_again(request, reply) {
            return outcome;
        }
        let ino = Ino(header.node);
        match request.operation {
            Operation::Lookup { name } => {
                let _entering = self.entering();
                self.lookup(ino, name, reply)
            }
            Operation::Getattr => self.whole_attr(ino).map(|attr| reply.attr(&attr)),
            Operation::Statx { .. } if !self.tells_birth => Err(Errno::NotImplemented),
            Operation::Statx { .. } => self.whole_attr(ino).map(|attr| reply.statx(&attr)),
            Operation::Forget { count } => {
                self.forget(header.node, count);
                Ok(())
            }
            Operation::BatchForget { list } => {
                list.iter().for_each(|(node, count)| self.forget(node, count));
                Ok(())
            }
            Operation::Setattr(ref set) => self.set_attr(header, set, reply),
            Operation::Readlink => {
                reply.data().extend_from_slice(&self.workspace.read_link(ino)?);
                Ok(())
            }
            Operation::Unlink { name } => self.remove(&caller(header, 0), ino, name, FileKind::File),
            Operation::Rmdir { name } => self.remove(&caller(header, 0), ino, name, FileKind::Dir),
            Operation::Rename { name, to, new_name, flags } => {
                self.rename(header, (ino, name), (Ino(to), new_name), flags)
            }
            Operation::Read { offset, size } => self.read(ino, offset, size, reply),
            Operation::Write { offset, flags, data } => self.write(header, offset, flags, data, reply),
            Operation::Statfs => stat_fs(&self.workspace.stat_fs()?, reply),
            Operation::Fsync { .. } | Operation::Fsyncdir { .. } | Operation::Syncfs => self.workspace.sync(),
            Operation::Setxattr { name, value, flags, setxattr_flags } => {
                self.set_xattr(header, name, value, flags, setxattr_flags)
            }
            Operation::Getxattr { name, size } => self.get_xattr(ino, name, size, reply),
            Operation::Listxattr { size } => self.list_xattr(ino, size, reply),
            Operation::Removexattr { name } => self.workspace.remove_xattr(&caller(header, 0), ino, name),
            Operation::Readdir { offset, size, plus } => {
                let _entering = self.entering();
                self.read_dir(ino, offset, size, plus, reply)
            }
            Operation::Fallocate { offset, len, mode } => {
                let mode = AllocateMode::from_flags(mode)?;
                self.workspace.allocate(&editor(header), ino, offset, len, mode)
            }
            Operation::Lseek { offset, whence } => self.seek(ino, offset, whence, reply),
            Operation::CopyFileRange { ref range, wide } => self.copy_range(header, range, wide, reply),
            Operation::Mknod { .. }
            | Operation::Mkdir { .. }
            | Operation::Symlink { .. }
            | Operation::Link { .. }
            | Operation::Create { .. }
            | Operation::Tmpfile { .. } => {
                let _entering = self.entering();
                self.answer_new(header, &request.operation, reply)
            }
            Operation::Open { flags } => self.open(&caller(header, 0), ino, flags, reply),
            // Of what was opened while OPEN was answered, or by CREATE before the kernel has learnt that it is not needed.
            Operation::Release | Operation::Releasedir | Operation::NotifyReply => Ok(()),
            Operation::Init(_)
            | Operation::Destroy
            | Operation::Interrupt { .. }
            // ENOSYS here makes the kernel say ENOTTY to the program.
            | Operation::Ioctl { .. }
            | Operation::Unsupported => Err(Errno::NotImplemented),
        }
    }

    fn fetch(&self, request: &Request<'_>, wait: &Wait) -> Result<()> {
        self.workspace.fetch(Ino(request.header.node), wait)?;
        match &request.operation {
            Operation::CopyFileRange { range, .. } => self.workspace.fetch(Ino(range.to_node), wait),
            _ => Ok(()),
        }
    }

    fn ended(&self) {
        self.lookups.clear();
        self.generations.clear();
        // What stays behind is purged by the next mount.
        let _ = self.workspace.purge_orphans();
    }
}

/// Answers STATFS, which needs no workspace.
pub fn stat_fs(stat: &weald_engine::StatFs, reply: &mut Reply) -> Result<()> {
    reply.statfs(&StatFs {
        block_bytes: stat.block_bytes,
        blocks: stat.blocks,
        blocks_free: stat.blocks_free,
        blocks_available: stat.blocks_available,
        files: stat.files,
        files_free: stat.files_free,
        name_max: stat.name_max,
    });
    Ok(())
}

/// Who changes content by FALLOCATE or COPY_FILE_RANGE: with these the kernel leaves it to us to drop suid and sgid, and does
/// not tell whether the caller may keep them (CAP_FSETID), which root may.
fn editor(header: &Header) -> Caller {
    Caller { kill_privileges: header.uid != 0, ..caller(header, 0) }
}

fn caller(header: &Header, umask: u32) -> Caller {
    let Header { uid, gid, pid, request, .. } = *header;
    Caller { uid, gid, pid, umask, kill_privileges: false, request }
}

fn changes(set: &Setattr) -> Result<SetAttr> {
    let given = |bit, value| (set.valid & bit != 0).then_some(value);
    let time = |bit, now, value| match (set.valid & bit != 0, set.valid & now != 0) {
        (false, _) => Ok(None),
        (true, true) => Ok(Some(SetTime::Now)),
        (true, false) => timestamp(value).map(|at| Some(SetTime::At(at))),
    };
    Ok(SetAttr {
        perm: given(fattr::MODE, set.mode & 0o7777),
        uid: given(fattr::UID, set.uid),
        gid: given(fattr::GID, set.gid),
        size: (set.valid & fattr::SIZE != 0).then_some(set.size),
        atime: time(fattr::ATIME, fattr::ATIME_NOW, set.atime)?,
        mtime: time(fattr::MTIME, fattr::MTIME_NOW, set.mtime)?,
        ctime: if set.valid & fattr::CTIME != 0 { Some(timestamp(set.ctime)?) } else { None },
    })
}

fn timestamp((secs, nanos): (u64, u32)) -> Result<Timestamp> {
    if nanos >= 1_000_000_000 {
        return Err(Errno::Invalid);
    }
    Ok(Timestamp { secs: secs as i64, nanos })
}

#[cfg(test)]
mod tests;
