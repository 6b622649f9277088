//! The log of reads, switched on and off for a workspace.
//!
//! Invariant: what is asked is in the log first. Off holds at once. On needs the kernel to ask for each open, which it does
//! not on a mount where it was told that nobody is interested: such a mount is made anew, but never under somebody's feet.

use crate::entry::Entry;
use crate::forest::Forest;
use crate::protocol::Target;
use crate::report::ReadsLogged;
use std::sync::Arc;
use weald_fuse::Unmount;
use weald_model::{Caller, Code, Fault};

impl Forest {
    /// Switches it.
    pub(crate) fn log_reads(&self, who: &Caller, target: &Target, on: bool) -> Result<ReadsLogged, Fault> {
        self.open_for_work()?;
        let entry = self.find(target)?;
        let failed = |error| crate::faults::errno("changing what is logged", error);
        let is_changed = entry.load(&self.stores)?.log_reads(who, on).map_err(failed)?;
        let in_use_by = self.ask_for_opens(&entry)?;
        Ok(ReadsLogged {
            name: entry.name(),
            id: entry.id.to_string(),
            logs_reads: on,
            is_changed,
            in_force: in_use_by.is_none(),
            in_use_by,
        })
    }

    /// Mounts a workspace anew when the kernel has to be told to ask for opens. Tells who prevents it.
    pub(crate) fn ask_for_opens(&self, entry: &Arc<Entry>) -> Result<Option<String>, Fault> {
        let mut life = entry.life();
        let adapter = life.mount.as_ref().and_then(|live| live.handler.loaded());
        if !adapter.is_some_and(weald_fuse::Adapter::misses_opens) {
            return Ok(None);
        }
        match self.unmount_locked(entry, &mut life, Unmount::Normal) {
            Ok(()) => self.mount_locked(entry, &mut life).map(|()| None),
            Err(fault) if fault.code == Code::WorkspaceInUse => Ok(Some(fault.message)),
            Err(fault) => Err(fault),
        }
    }
}
