//! OPEN: refused for good, unless the workspace logs which files are opened for reading, or has read-only paths.
//!
//! ENOSYS makes the kernel open files by itself and never ask again, which is what makes opening cheap. A workspace that
//! logs reads has to be asked, so there OPEN succeeds and is recorded; where paths are read-only, opening them for writing
//! fails, so that nobody maps what cannot be written back. Invariant: once ENOSYS was said, this mount is
//! never asked again; what needs it then needs a new mount ([`Adapter::misses_opens`]), and when nothing does any more,
//! the next OPEN gets the ENOSYS.

use super::Adapter;
use crate::reply::Reply;
use std::sync::atomic::Ordering;
use weald_model::{Caller, Errno, Ino, Result};

/// `O_ACCMODE`, `O_RDONLY` and `O_WRONLY`, open(2).
const ACCESS_MODE: u32 = 3;
const READ_ONLY: u32 = 0;
const WRITE_ONLY: u32 = 1;
/// Set by the kernel in the flags of an open for execve(2): `__FMODE_EXEC`.
const FOR_EXECUTION: u32 = 0x20;

impl Adapter {
    /// True when somebody wants to know of opens and the kernel does not ask for OPEN any more.
    pub fn misses_opens(&self) -> bool {
        self.asks_no_open.load(Ordering::SeqCst) && self.wants_opens()
    }

    fn wants_opens(&self) -> bool {
        self.workspace.logs_reads() || self.workspace.has_read_only_paths()
    }

    /// OPEN. What cannot be recorded cannot be opened.
    pub(super) fn open(&self, who: &Caller, ino: Ino, flags: u32, reply: &mut Reply) -> Result<()> {
        if !self.wants_opens() {
            self.asks_no_open.store(true, Ordering::SeqCst);
            // Who switches it on looks at the flag afterwards; one of the two sees the other.
            if !self.wants_opens() {
                return Err(Errno::NotImplemented);
            }
        }
        self.workspace.may_open(ino, flags & ACCESS_MODE != READ_ONLY)?;
        if flags & ACCESS_MODE != WRITE_ONLY {
            self.workspace.opened(who, ino, flags & FOR_EXECUTION != 0)?;
        }
        reply.opened();
        Ok(())
    }
}
