//! Whether syncs are asked for by one program at a time, or by several.
//!
//! Programs that sync at once are to share one flush of the disk, so others are let in before a thread stays away with a sync. That
//! costs a thread that is fetched and parks again, and the next requests are answered by another one, on another CPU: about as
//! much as the flush of a quick disk. A program that syncs alone, as a database does, is spared that: its thread stays. Invariant: it is
//! a guess and decides about time only; whoever turns out to wait for such a sync has others let in before those that follow,
//! and one that takes long is the watchman's affair. Read next: `worker`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Syncs for which others are let in before, once several were found to ask: one in so many is tried alone again.
const TOGETHER: u32 = 64;

/// What the last syncs were like, over all mounts. Lost counts do no harm.
#[derive(Default)]
pub(super) struct Syncs {
    /// Syncs to come that others are let in for.
    together: AtomicU32,
    /// The mount of the last.
    mount: AtomicU64,
}

impl Syncs {
    /// A sync of a mount begins. True when others are to be let in before.
    pub(super) fn begin(&self, mount: u64) -> bool {
        if self.mount.swap(mount, Ordering::Relaxed) != mount {
            self.met();
        }
        let left = self.together.load(Ordering::Relaxed);
        self.together.store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }

    /// Somebody waited for a sync that another program asked for, or one took long.
    pub(super) fn met(&self) {
        self.together.store(TOGETHER, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_let_in_for_syncs_unless_one_mount_had_many_and_nobody_waited() {
        let syncs = Syncs::default();
        let alone_after = |mount| (0..1000).position(|_| !syncs.begin(mount));
        // A mount that is new here may be one of several.
        assert_eq!(alone_after(1), Some(TOGETHER as usize));
        assert!((0..1000).all(|_| !syncs.begin(1)));
        syncs.met();
        assert_eq!(alone_after(1), Some(TOGETHER as usize));
        assert!((0..1000).all(|number| syncs.begin(number % 2)));
        assert_eq!(alone_after(1), Some(TOGETHER as usize - 1));
    }
}
