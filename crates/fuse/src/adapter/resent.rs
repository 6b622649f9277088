//! Requests that the kernel sends again to the process that took a mount over (FUSE_NOTIFY_RESEND, Linux 6.9).
//!
//! Whoever served the mount before may have carried a request out and ended before it answered. What it did is in the log
//! with the request's number, so it is answered from there. What the log does not have was not done, and is
//! carried out now. So are reads, and changes that can be made twice (write, truncate, set times): the program still
//! waits for them, so nobody can have relied on their order.

use super::Adapter;
use crate::reply::Reply;
use crate::request::{Operation, Request};
use weald_engine::{Done, Requests};
use weald_model::{Errno, Ino, Result};

/// What is known of the process before.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) requests: Requests,
    pub(super) gives_up: bool,
}

impl Adapter {
    /// The answer to a request that was carried out already; None when it is to be carried out.
    pub(super) fn answer_again(&self, request: &Request<'_>, reply: &mut Reply) -> Option<Result<()>> {
        let before = self.before.as_ref().filter(|_| request.header.is_resent())?;
        if before.gives_up {
            return Some(Err(Errno::Io));
        }
        let done = before.requests.get(request.header.request)?;
        match (&request.operation, done) {
            (
                Operation::Mknod { .. } | Operation::Mkdir { .. } | Operation::Symlink { .. },
                Done::Made(ino),
            ) => Some(self.made_again(ino, false, reply)),
            (Operation::Create { .. } | Operation::Tmpfile { .. }, Done::Made(ino)) => {
                Some(self.made_again(ino, true, reply))
            }
            (Operation::Link { target, .. }, Done::Changed) => {
                Some(self.made_again(Ino(*target), false, reply))
            }
            (Operation::CopyFileRange { wide, .. }, Done::Copied(len)) => {
                match *wide {
                    true => reply.u64(len),
                    false => reply.written(u32::try_from(len).unwrap_or(u32::MAX)),
                }
                Some(Ok(()))
            }
            (
                Operation::Unlink { .. }
                | Operation::Rmdir { .. }
                | Operation::Rename { .. }
                | Operation::Setxattr { .. }
                | Operation::Removexattr { .. },
                Done::Changed,
            ) => Some(Ok(())),
            _ => None,
        }
    }

    fn made_again(&self, ino: Ino, opened: bool, reply: &mut Reply) -> Result<()> {
        let _entering = self.entering();
        let attr = self.workspace.attr(ino)?;
        self.entry(&attr, reply);
        if opened {
            reply.opened();
        }
        Ok(())
    }
}
