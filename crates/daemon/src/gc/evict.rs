//! Making room by itself: what can be made again and nobody uses goes when the disk gets full.
//!
//! Only what a plan would list as well, and of that only what is derived: manifests of no workspace, stored content made
//! from a source, copies of what a source has, clones that nothing reads from, files left half written. Never logs, snapshots or content of
//! workspaces, whatever the disk says. Invariants: the least recently used goes first, until there is room; each is told
//! in the daemon's log; nobody waits for this: when a workspace is in the making, or a fork, it is left for later.

use crate::forest::Forest;
use crate::note;
use crate::report::{GcItem, GcKind};
use std::path::PathBuf;
use std::time::SystemTime;
use weald_model::{Fault, Oid};
use weald_store::cas;

use super::Found;

impl Forest {
    /// Bytes that are to stay free on the home's disk; the default when the settings cannot be read.
    pub(crate) fn free_bytes_min(&self) -> u64 {
        self.stores.config.read().map_or(crate::config::FREE_BYTES_MIN, |config| config.free_bytes_min)
    }

    /// True when less than that is free.
    pub(crate) fn is_disk_low(&self) -> bool {
        let space = self.stores.home.disk().space();
        space.is_ok_and(|space| space.available < self.free_bytes_min())
    }

    /// Gives back what nobody uses, until enough is free. Cost when enough is: one statfs(2).
    pub(crate) fn make_room(&self) {
        if !self.is_disk_low() {
            return;
        }
        let (Ok(_none_in_the_making), Ok(_alone)) = (self.making.try_write(), self.lineage.try_write())
        else {
            return;
        };
        match self.unused() {
            Ok(unused) => self.evict(unused),
            Err(fault) => note(format_args!("making room: {fault}")),
        }
    }

    fn evict(&self, unused: Vec<GcItem>) {
        for item in unused {
            match self.take(&item) {
                Ok(bytes) => note(format_args!(
                    "the disk has less than {} MB free: {} went ({} KB; {})",
                    self.free_bytes_min() / 1_000_000,
                    item.what,
                    bytes / 1_000,
                    item.why
                )),
                Err(fault) => note(format_args!("making room: {}: {fault}", item.what)),
            }
            if !self.is_disk_low() {
                return;
            }
        }
    }

    /// What can be made again and nobody uses, the least recently used first.
    fn unused(&self) -> Result<Vec<GcItem>, Fault> {
        let rows: Vec<_> = self.all().iter().map(|entry| entry.row()).collect();
        let mut found = Found::default();
        self.manifests(&rows, &mut found)?;
        self.content(&rows, &mut found)?;
        // Also those of workspaces in use: they save time, and cost space that is needed more.
        self.content_packs(&[], "it is a copy", &mut found)?;
        self.clones(&rows, &mut found)?;
        let mut items = found.items;
        items.retain(|item| item.kind != GcKind::Pin);
        items.sort_by_cached_key(|item| self.last_used(item));
        Ok(items)
    }

    /// When its file was last read or written, as far as the host's file system tells.
    fn last_used(&self, item: &GcItem) -> SystemTime {
        let paths = self.stores.home.paths();
        let path: Option<PathBuf> = match item.kind {
            GcKind::Manifest => Oid::from_hex(&item.id).map(|tree| paths.manifest(&tree)),
            GcKind::Stored => cas::from_hex(&item.id).map(|hash| self.stores.home.cas().path(&hash)),
            GcKind::ContentPack => Some(paths.content().join(&item.id)),
            GcKind::Clone => Some(paths.repos().join(format!("{}.git", item.id))),
            _ => Some(paths.root().join(&item.id)),
        };
        let data = path.and_then(|path| std::fs::metadata(path).ok());
        let times = data.map(|data| [data.accessed(), data.modified()]);
        times.into_iter().flatten().flatten().max().unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
