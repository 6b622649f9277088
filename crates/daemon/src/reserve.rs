//! Room set aside for the way out of a full disk: what frees space must first record that it does.
//!
//! Invariant: while the disk has room, the file `reserve` in the home takes [`RESERVE_BYTES`] of it; who frees space on a
//! full disk takes it away first and has it made again afterwards. Nothing is ever read from it.
//! Danger: programs that write at that moment may take the room; then what frees space is refused, and nothing is lost.

use crate::note;
use crate::stores::Stores;
use std::path::PathBuf;
use weald_store::disk::OpenMode;

/// Enough for a plan, the records of a run, and the registry's changes.
const RESERVE_BYTES: u64 = 1 << 20;
/// With less than this the disk counts as full.
const FULL_BYTES: u64 = 2 * RESERVE_BYTES;
/// With less than this room nothing is set aside.
const ROOM_BYTES: u64 = 4 * RESERVE_BYTES;

/// Its name in a home.
const NAME: &str = "reserve";

/// The room is in use; dropping this sets it aside again.
pub(crate) struct Spent<'a>(Option<&'a Stores>);

impl Stores {
    /// Sets room aside, unless that is done or there is too little.
    pub(crate) fn keep_reserve(&self) {
        let path = self.reserve();
        let is_whole = std::fs::metadata(&path).is_ok_and(|data| data.len() >= RESERVE_BYTES);
        if is_whole || self.available().is_none_or(|bytes| bytes < ROOM_BYTES) {
            return;
        }
        let disk = self.home.disk();
        // What a crash left of it.
        let _ = disk.remove_file(&path);
        let written =
            disk.open(&path, OpenMode::CreateNew).and_then(|file| file.write_at(&[&self.noise()], 0));
        if let Err(error) = written {
            let _ = disk.remove_file(&path);
            note(format_args!("setting room aside: {error}"));
        }
    }

    /// Gives the room to what frees space, when the disk is full.
    pub(crate) fn spend_reserve(&self) -> Spent<'_> {
        if self.available().is_none_or(|bytes| bytes >= FULL_BYTES) {
            return Spent(None);
        }
        // Absent, or not to be removed: then there is no more room than before.
        let _ = self.home.disk().remove_file(&self.reserve());
        Spent(Some(self))
    }

    fn reserve(&self) -> PathBuf {
        self.home.paths().root().join(NAME)
    }

    fn available(&self) -> Option<u64> {
        self.home.disk().space().ok().map(|space| space.available)
    }

    /// Bytes that no file system stores in less space.
    fn noise(&self) -> Vec<u8> {
        // Xorshift64 (Marsaglia 2003).
        let mut state = self.env.random() | 1;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..RESERVE_BYTES / 8).flat_map(next).collect()
    }
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        if let Some(stores) = self.0 {
            stores.keep_reserve();
        }
    }
}
