//! How many references the kernel holds to each node of a mount.
//!
//! Each entry reply adds one; FORGET takes many away. Invariant: counts are exact, so an unlinked file is purged
//! when its last user closes it and not before. Nodes are numbered densely, so counts lie in pages of one byte each
//! (79,000 nodes seen cost 80 kB); the few that outgrow a byte move to a map.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shards: more than the threads that usually run.
const SHARDS: usize = 16;
const PAGE_NODES: u64 = 1024;
/// The byte that says "see `large`".
const LARGE: u8 = u8::MAX;

/// The table of one mount.
#[derive(Debug, Default)]
pub struct Lookups {
    shards: [Mutex<Shard>; SHARDS],
    /// The kernel holds references that were counted by a process before this one.
    continues: bool,
}

#[derive(Debug, Default)]
struct Shard {
    pages: HashMap<u64, Page>,
    large: HashMap<u64, u64>,
}

#[derive(Debug)]
struct Page {
    /// Nodes whose byte is not 0; a page of none is dropped.
    held: u32,
    counts: Box<[u8; PAGE_NODES as usize]>,
}

impl Lookups {
    /// The table of a mount that was taken over. What was counted before is not known, so every node counts as held, and a
    /// FORGET of more references than were counted since as the last one: the kernel forgets a node whole.
    pub fn continued() -> Self {
        Self { continues: true, ..Self::default() }
    }

    /// Counts one reference more.
    pub fn add(&self, node: u64) {
        let mut shard = self.shard(node);
        let shard = &mut *shard;
        let page = shard
            .pages
            .entry(node / PAGE_NODES)
            .or_insert_with(|| Page { held: 0, counts: Box::new([0; PAGE_NODES as usize]) });
        let count = &mut page.counts[(node % PAGE_NODES) as usize];
        match *count {
            LARGE => *shard.large.entry(node).or_default() += 1,
            small => {
                page.held += u32::from(small == 0);
                *count = small + 1;
                if *count == LARGE {
                    shard.large.insert(node, u64::from(LARGE));
                }
            }
        }
    }

    /// Takes `count` references away. True when none is left now and some were before.
    pub fn take(&self, node: u64, count: u64) -> bool {
        let mut shard = self.shard(node);
        let shard = &mut *shard;
        let Entry::Occupied(mut page) = shard.pages.entry(node / PAGE_NODES) else { return self.continues };
        let place = (node % PAGE_NODES) as usize;
        let byte = page.get().counts[place];
        let before =
            if byte == LARGE { shard.large.get(&node).copied().unwrap_or_default() } else { byte.into() };
        let after = before.saturating_sub(count);
        let small = u8::try_from(after).unwrap_or(LARGE);
        if small == LARGE {
            shard.large.insert(node, after);
        } else if byte == LARGE {
            shard.large.remove(&node);
        }
        page.get_mut().counts[place] = small;
        if byte == 0 {
            return self.continues;
        }
        if small != 0 {
            return false;
        }
        page.get_mut().held -= 1;
        if page.get().held == 0 {
            page.remove();
        }
        true
    }

    /// The references held to a node.
    pub fn count(&self, node: u64) -> u64 {
        let shard = self.shard(node);
        let byte =
            shard.pages.get(&(node / PAGE_NODES)).map_or(0, |page| page.counts[(node % PAGE_NODES) as usize]);
        let counted =
            if byte == LARGE { shard.large.get(&node).copied().unwrap_or_default() } else { byte.into() };
        counted.max(self.continues.into())
    }

    /// Drops all counts.
    pub fn clear(&self) {
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Shard::default();
        }
    }

    fn shard(&self, node: u64) -> MutexGuard<'_, Shard> {
        // Multiplied so that neighbouring pages of one directory spread.
        let mixed = (node / PAGE_NODES).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
        self.shards[mixed as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "lookups_tests.rs"]
mod tests;
