//! Requests of the kernel, answered from the tree.
//!
//! Invariant: what a workspace refuses for good is refused here, too; see [`weald_fuse::adapter`], which answers for it.

use super::durable::Durable;
use super::tree::{Owner, Tree};
use std::io;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use weald_fuse::connection::{Handler, WRITE_BYTES_MAX};
use weald_fuse::reply::{Reply, StatFs};
use weald_fuse::request::{Header, Operation, Request};
use weald_model::{Attr, Errno, FileKind, Ino, Result};

/// The file system.
pub(crate) struct Hollow {
    tree: RwLock<Tree>,
    durable: Option<Durable>,
}

impl Hollow {
    /// An empty one. With a file, fsync(2) is honest.
    pub(crate) fn new(owner: Owner, durable: Option<&Path>) -> io::Result<Self> {
        let durable = durable.map(Durable::new).transpose()?;
        Ok(Self { tree: RwLock::new(Tree::new(owner)), durable })
    }

    /// Takes what lies in a directory into the root.
    pub(crate) fn load(&self, from: &Path) -> io::Result<()> {
        self.change().load(Ino::ROOT.0, from)
    }

    fn look(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Tree> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lookup(&self, node: u64, name: &[u8], reply: &mut Reply) -> Result<()> {
        let tree = self.look();
        let found = match name {
            b"." => Some(tree.attr(node)?),
            b".." => Some(tree.attr(tree.parent_of(node)?)?),
            _ => tree.lookup(node, name)?,
        };
        match found {
            Some(attr) => reply.entry(&attr),
            None => reply.negative_entry(),
        }
        Ok(())
    }

    fn forget(&self, node: u64) {
        if self.look().is_nameless(node) {
            self.change().forget(node);
        }
    }

    /// What makes a node, or gives one a name.
    fn make(&self, header: &Header, operation: &Operation<'_>) -> Result<Attr> {
        let (owner, parent) = ((header.uid, header.gid), header.node);
        let mut tree = self.change();
        match *operation {
            Operation::Mknod { name, mode, rdev, umask } => {
                tree.make(owner, parent, name, mode & !umask, rdev)
            }
            Operation::Mkdir { name, mode, umask } => {
                tree.make(owner, parent, name, mode & 0o7777 & !umask | FileKind::Dir.mode_bits(), 0)
            }
            Operation::Create { name, mode, umask, .. } => tree.make(owner, parent, name, mode & !umask, 0),
            Operation::Symlink { name, target } => tree.make_link(owner, parent, name, target),
            Operation::Link { target, name } => tree.link(target, parent, name),
            _ => Err(Errno::NotImplemented),
        }
    }

    /// What changes the tree.
    fn answer_change(&self, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
        let node = request.header.node;
        match request.operation {
            Operation::Setattr(ref set) => reply.attr(&self.change().set_attr(node, set)?),
            Operation::Write { offset, data, .. } => {
                self.change().write(node, offset, data)?;
                reply.written(data.len() as u32);
            }
            Operation::Unlink { name } | Operation::Rmdir { name } => self.change().remove(node, name)?,
            Operation::Rename { name, to, new_name, flags } => {
                self.change().rename((node, name), (to, new_name), flags)?;
            }
            _ => {
                reply.entry(&self.make(&request.header, &request.operation)?);
                if matches!(request.operation, Operation::Create { .. }) {
                    reply.opened();
                }
            }
        }
        if let Some(durable) = &self.durable {
            let data = if let Operation::Write { data, .. } = request.operation { data } else { &[] };
            durable.changed(data.len() as u64);
        }
        Ok(())
    }

    /// Where data or a hole is: a file has but the one at its end (lseek(2)). `grep` asks for one in each larger file.
    fn seek(&self, node: u64, offset: u64, whence: u32) -> Result<u64> {
        const SEEK_HOLE: u32 = 4;
        let size = self.look().attr(node)?.size;
        match (offset < size, whence == SEEK_HOLE) {
            (false, _) => Err(Errno::NoAddress),
            (true, true) => Ok(size),
            (true, false) => Ok(offset),
        }
    }

    fn sync(&self) -> Result<()> {
        self.durable.as_ref().map_or(Ok(()), |durable| durable.sync().map_err(|_| Errno::Io))
    }
}

impl Handler for Hollow {
    fn answer(&self, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
        let node = request.header.node;
        match request.operation {
            Operation::Lookup { name } => self.lookup(node, name, reply)?,
            Operation::Getattr => reply.attr(&self.look().attr(node)?),
            Operation::Readlink => reply.data().extend_from_slice(self.look().link_target(node)?),
            Operation::Read { offset, size } => {
                self.look().read(node, offset, size.min(WRITE_BYTES_MAX), reply.data())?;
            }
            Operation::Readdir { offset, size, plus } => {
                let limit = size.min(WRITE_BYTES_MAX) as usize;
                self.look().read_dir(node, offset, plus, limit, reply)?;
            }
            Operation::Forget { .. } => self.forget(node),
            Operation::BatchForget { list } => list.iter().for_each(|(node, _)| self.forget(node)),
            Operation::Setattr(_)
            | Operation::Write { .. }
            | Operation::Unlink { .. }
            | Operation::Rmdir { .. }
            | Operation::Rename { .. }
            | Operation::Mknod { .. }
            | Operation::Mkdir { .. }
            | Operation::Create { .. }
            | Operation::Symlink { .. }
            | Operation::Link { .. } => self.answer_change(request, reply)?,
            Operation::Lseek { offset, whence } => reply.u64(self.seek(node, offset, whence)?),
            Operation::Fsync { .. } | Operation::Fsyncdir { .. } | Operation::Syncfs => self.sync()?,
            // Not ENOSYS, after which the kernel would ask no more.
            Operation::Getxattr { .. } => return Err(Errno::NoData),
            Operation::Listxattr { size: 0 } => reply.xattr_size(0),
            Operation::Listxattr { .. }
            | Operation::Release
            | Operation::Releasedir
            | Operation::NotifyReply => {}
            Operation::Statfs => reply.statfs(&StatFs {
                block_bytes: 4096,
                blocks: 1 << 30,
                blocks_free: 1 << 29,
                blocks_available: 1 << 29,
                files: 1 << 30,
                files_free: 1 << 29,
                name_max: 255,
            }),
            _ => return Err(Errno::NotImplemented),
        }
        Ok(())
    }

    fn ended(&self) {}
}
