//! A node that a mount has and its workspace has not: the socket over which git asks what changed.
//!
//! It is bound through the mount, as bind(2) goes; the MKNOD that comes of it is answered here. Invariants: only the process
//! that the daemon started for it makes it; it has one name, in one directory, is in no listing, and is in nothing that is kept; every request about it ends
//! here. Its number is that of the request that made it, which no other request of the connection ever had, over all that
//! the engine gives. Read next: [`crate::ipc`].

use std::io;
use std::process::Child;
use std::sync::{Mutex, MutexGuard};
use weald_fuse::reply::Reply;
use weald_fuse::request::{Operation, Request};
use weald_model::{Attr, Errno, FileKind, Ino, Timestamp};

/// Its name.
pub(crate) const NAME: &str = "fsmonitor--daemon.ipc";
/// Set in its number and in no number of the engine.
const OURS: u64 = 1 << 63;

/// The node of one mount, once it was made.
#[derive(Default)]
pub(crate) struct IpcNode {
    made: Mutex<Option<Made>>,
    /// The process that may make it; held until it is known who that is.
    maker: Mutex<Option<u32>>,
}

#[derive(Clone, Copy)]
struct Made {
    parent: u64,
    ino: u64,
    now: Timestamp,
}

impl IpcNode {
    /// Starts the process that is to make it.
    pub(crate) fn let_make(&self, start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        let mut maker = crate::locked(&self.maker);
        let child = start()?;
        *maker = Some(child.id());
        Ok(child)
    }

    /// Answers what is asked about it; None for every other request.
    pub(crate) fn answer(
        &self,
        request: &Request<'_>,
        now: impl FnOnce() -> Timestamp,
        reply: &mut Reply,
    ) -> Option<Result<(), Errno>> {
        let header = &request.header;
        if header.node & OURS != 0 {
            return Some(self.about(request, reply));
        }
        let is_its = |made: &Made, name: &[u8]| header.node == made.parent && name == NAME.as_bytes();
        match request.operation {
            Operation::Mknod { name, mode, .. }
                if name == NAME.as_bytes()
                    && FileKind::from_mode(mode) == Some(FileKind::Socket)
                    && *crate::locked(&self.maker) == Some(header.pid) =>
            {
                let made = Made { parent: header.node, ino: OURS | header.unique, now: now() };
                *self.made() = Some(made);
                reply.entry(&attr(&made));
                Some(Ok(()))
            }
            Operation::Lookup { name } => {
                let made = (*self.made()).filter(|made| is_its(made, name))?;
                reply.entry(&attr(&made));
                Some(Ok(()))
            }
            Operation::Unlink { name } => {
                let mut made = self.made();
                made.filter(|made| is_its(made, name))?;
                *made = None;
                Some(Ok(()))
            }
            Operation::Rename { name, to, new_name, .. } => {
                let made = (*self.made())?;
                let is_new = to == made.parent && new_name == NAME.as_bytes();
                (is_its(&made, name) || is_new).then_some(Err(Errno::Busy))
            }
            Operation::Link { target, .. } => (target & OURS != 0).then_some(Err(Errno::NotPermitted)),
            _ => None,
        }
    }

    fn about(&self, request: &Request<'_>, reply: &mut Reply) -> Result<(), Errno> {
        let made = (*self.made()).filter(|made| made.ino == request.header.node);
        match request.operation {
            Operation::Forget { .. } => Ok(()),
            Operation::Getattr => {
                reply.attr(&attr(&made.ok_or(Errno::Stale)?));
                Ok(())
            }
            Operation::Statx { .. } => {
                reply.statx(&attr(&made.ok_or(Errno::Stale)?));
                Ok(())
            }
            Operation::Getxattr { .. } => Err(Errno::NoData),
            _ => Err(Errno::NotPermitted),
        }
    }

    fn made(&self) -> MutexGuard<'_, Option<Made>> {
        crate::locked(&self.made)
    }
}

fn attr(made: &Made) -> Attr {
    Attr {
        ino: Ino(made.ino),
        kind: FileKind::Socket,
        // Who may not change the workspace learns nothing of it either.
        perm: 0o600,
        nlink: 1,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        size: 0,
        blocks: 0,
        atime: made.now,
        mtime: made.now,
        ctime: made.now,
        btime: made.now,
    }
}
