//! The log of reads: a workspace may record which files are opened for reading, too, by whom and when.
//!
//! Invariants: whether it does is itself in the log, so that the absence of reads means something; it is inherited by
//! forks and not undone by a restore. A record of a read changes nothing, so it begins no step and needs no snapshot.
//! What the kernel has to be told so that it asks at all is in the front end.

use crate::record::Change;
use crate::workspace::Workspace;
use weald_model::{Caller, Ino, Result};

impl Workspace {
    /// True when files that are opened for reading are recorded.
    pub fn logs_reads(&self) -> bool {
        self.read_state().history.logs_reads
    }

    /// Begins or ends recording them; durable when it returns. False when it was so already.
    pub fn log_reads(&self, who: &Caller, on: bool) -> Result<bool> {
        let changed = self.change_with(who, &[], |state, _| {
            let changes = state.history.logs_reads != on;
            Ok((changes.then_some(Change::Reads { on }), changes))
        })?;
        if changed {
            self.sync()?;
        }
        Ok(changed)
    }

    /// Records that a file was opened for reading, or to be executed. Nothing when that is not wanted. ENOENT.
    pub fn opened(&self, who: &Caller, ino: Ino, executes: bool) -> Result<()> {
        self.change(who, |state, _| {
            state.attr(&self.base, ino)?;
            Ok(state.history.logs_reads.then_some(Change::Opened { ino, executes }))
        })
    }
}
