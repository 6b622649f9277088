//! Under which generation the kernel knows a directory.
//!
//! The kernel marks a directory dead when it removes it: nothing can be made or listed in that node ever again, and it
//! keeps the node as long as somebody stands in it. A restore brings the directory back under the same number. So the
//! kernel is then told another generation, takes it for another node, and lets the dead one go. Files need none of this.
//! Invariant: empty, and of no cost, in a mount where nobody stands in removed directories.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use weald_model::{Attr, FileKind, Ino};

/// The directories of one mount that were removed while the kernel knew them, and may be back.
#[derive(Debug, Default)]
pub(super) struct Generations {
    /// False while the table is empty.
    some: AtomicBool,
    table: Mutex<HashMap<Ino, Generation>>,
}

#[derive(Clone, Copy, Debug)]
struct Generation {
    number: u64,
    is_dead: bool,
}

impl Generations {
    /// The kernel has removed this directory.
    pub(super) fn removed(&self, dir: Ino) {
        let mut table = self.table();
        table.entry(dir).or_insert(Generation { number: 0, is_dead: true }).is_dead = true;
        self.some.store(true, Ordering::Release);
    }

    /// The generation under which an entry is answered. A dead directory that has a name again begins a new one.
    pub(super) fn of(&self, attr: &Attr) -> u64 {
        if attr.kind != FileKind::Dir || !self.some.load(Ordering::Acquire) {
            return 0;
        }
        let mut table = self.table();
        let Some(known) = table.get_mut(&attr.ino) else { return 0 };
        if known.is_dead && attr.nlink > 0 {
            *known = Generation { number: known.number + 1, is_dead: false };
        }
        known.number
    }

    /// The kernel knows the node no more, under no generation.
    pub(super) fn forgotten(&self, ino: Ino) {
        if self.some.load(Ordering::Acquire) {
            let mut table = self.table();
            table.remove(&ino);
            self.some.store(!table.is_empty(), Ordering::Release);
        }
    }

    /// The mount is gone.
    pub(super) fn clear(&self) {
        self.table().clear();
        self.some.store(false, Ordering::Release);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Ino, Generation>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weald_model::Timestamp;

    fn attr(kind: FileKind, nlink: u32) -> Attr {
        let time = Timestamp::default();
        Attr {
            ino: Ino(7),
            kind,
            perm: 0,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
        }
    }

    #[test]
    fn a_removed_directory_that_is_back_has_the_next_generation() {
        let generations = Generations::default();
        let (back, gone) = (attr(FileKind::Dir, 2), attr(FileKind::Dir, 0));
        assert_eq!(generations.of(&back), 0);
        for round in 0..3 {
            generations.removed(Ino(7));
            assert_eq!(generations.of(&gone), round, "still removed");
            assert_eq!((generations.of(&back), generations.of(&back)), (round + 1, round + 1));
        }
        assert_eq!(generations.of(&attr(FileKind::File, 1)), 0);
        generations.forgotten(Ino(7));
        assert_eq!(generations.of(&back), 0);
        assert!(!generations.some.load(Ordering::Relaxed));
    }
}
