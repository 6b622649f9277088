//! A full disk: what takes something away can still be done, with room that was set aside for it.
//!
//! Invariants: the room is asked for only by a record that could not be appended for want of it, and that adds nothing; from
//! then on nothing is added until it is set aside again, or who writes would have it all at once.

use crate::record::Change;
use crate::shared::Shared;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use weald_model::{Errno, Result};

/// Who sets room aside. He is asked with a workspace's lock held.
pub trait Reserve: Send + Sync {
    /// Gives it up; false when there is none.
    fn spend(&self) -> bool;
    /// Sets it aside again where there is room enough; true when it is there.
    fn restore(&self) -> bool;
}

/// The room of a home.
#[derive(Default)]
pub(crate) struct Room {
    reserve: OnceLock<Box<dyn Reserve>>,
    is_spent: AtomicBool,
}

impl Shared {
    /// Sets who gives room to what takes away on a full disk; once. Without it nothing is set aside.
    pub fn set_reserve(&self, reserve: Box<dyn Reserve>) {
        let _ = self.room.reserve.set(reserve);
    }

    /// Whether a change that failed is worth another try, now that there is room.
    pub(crate) fn made_room_for(&self, change: &Change, error: Errno) -> bool {
        let is_full = matches!(error, Errno::NoSpace | Errno::Quota);
        let made = is_full && takes_away(change) && self.room.reserve.get().is_some_and(|room| room.spend());
        self.room.is_spent.fetch_or(made, Ordering::SeqCst);
        made
    }

    /// ENOSPC while the room that was set aside is in use.
    pub(crate) fn must_have_room(&self) -> Result<()> {
        if !self.room.is_spent.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !self.room.reserve.get().is_some_and(|room| room.restore()) {
            return Err(Errno::NoSpace);
        }
        self.room.is_spent.store(false, Ordering::SeqCst);
        Ok(())
    }
}

/// A name or a snapshot goes; or a program is named that is about to do so.
fn takes_away(change: &Change) -> bool {
    matches!(
        change,
        Change::Remove { .. } | Change::Purge { .. } | Change::DropSnapshot { .. } | Change::Program { .. }
    )
}

/// It is there to have more afterwards than before.
pub(crate) fn adds(change: &Change) -> bool {
    matches!(
        change,
        Change::Make(_)
            | Change::Link { .. }
            | Change::Write { .. }
            | Change::Attach { .. }
            | Change::Allocate { .. }
            | Change::Copy { .. }
            | Change::SetXattr { .. }
    )
}
