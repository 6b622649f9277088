//! Room set aside for the way out of a full disk: what frees space must first record that it does.
//!
//! Invariant: while the disk has room, the file `reserve` in the home takes [`RESERVE_BYTES`] of it; who frees space on a
//! full disk takes it away first and has it made again afterwards. So does what takes away in a workspace, when its log
//! cannot grow; then nothing is added in any workspace until there is room to make it again. Nothing is ever read from it.
//! Danger: programs that write at that moment may take the room; then what frees space is refused, and nothing is lost.

use crate::note;
use crate::stores::Stores;
use std::path::PathBuf;
use std::sync::Arc;
use weald_engine::room::Reserve;
use weald_model::Env;
use weald_store::disk::{Disk, OpenMode};

/// Enough for a plan, the records of a run, and the registry's changes.
const RESERVE_BYTES: u64 = 1 << 20;
/// With less than this the disk counts as full.
const FULL_BYTES: u64 = 2 * RESERVE_BYTES;
/// With less than this room nothing is set aside.
const ROOM_BYTES: u64 = 4 * RESERVE_BYTES;

/// Its name in a home.
const NAME: &str = "reserve";

/// The file, and what it takes to make it.
struct ReserveFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    env: Arc<dyn Env>,
}

/// The room is in use; dropping this sets it aside again.
pub(crate) struct Spent<'a>(Option<&'a Stores>);

impl Stores {
    /// Sets room aside, unless that is done or there is too little.
    pub(crate) fn keep_reserve(&self) {
        self.reserve().restore();
    }

    /// The room, for what takes away when a log cannot grow.
    pub(crate) fn room(&self) -> Box<dyn Reserve> {
        Box::new(self.reserve())
    }

    /// Gives the room to what frees space, when the disk is full.
    pub(crate) fn spend_reserve(&self) -> Spent<'_> {
        let reserve = self.reserve();
        if reserve.available().is_none_or(|bytes| bytes >= FULL_BYTES) {
            return Spent(None);
        }
        // Absent, or not to be removed: then there is no more room than before.
        reserve.spend();
        Spent(Some(self))
    }

    fn reserve(&self) -> ReserveFile {
        let path = self.home.paths().root().join(NAME);
        ReserveFile { disk: self.home.disk().clone(), path, env: self.env.clone() }
    }
}

impl Reserve for ReserveFile {
    fn spend(&self) -> bool {
        self.disk.remove_file(&self.path).is_ok()
    }

    fn restore(&self) -> bool {
        if std::fs::metadata(&self.path).is_ok_and(|data| data.len() >= RESERVE_BYTES) {
            return true;
        }
        if self.available().is_none_or(|bytes| bytes < ROOM_BYTES) {
            return false;
        }
        // What a crash left of it.
        let _ = self.disk.remove_file(&self.path);
        let made = self.disk.open(&self.path, OpenMode::CreateNew);
        let written = made.and_then(|file| file.write_at(&[&self.noise()], 0));
        if let Err(error) = &written {
            let _ = self.disk.remove_file(&self.path);
            note(format_args!("setting room aside: {error}"));
        }
        written.is_ok()
    }
}

impl ReserveFile {
    fn available(&self) -> Option<u64> {
        self.disk.space().ok().map(|space| space.available)
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
