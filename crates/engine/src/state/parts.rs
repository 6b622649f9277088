//! A state taken apart and put together again: what sealing it, and reading it back, go by.
//!
//! Invariant: a state made from the parts of another is the same in every respect, down to the extents of its files,
//! so that records applied to both have the same effect.

use super::feed::Feed;
use super::{Body, Dent, Inode, State};
use crate::base::Base;
use crate::content::Content;
use crate::history::History;
use crate::persistent_map::Map;
use std::sync::{Arc, OnceLock};
use weald_model::{Ino, Name, Result};

/// An inode of an overlay; None is a base inode that is gone.
pub(crate) type Slot = Option<Arc<Inode>>;

/// An inode in two states, where they may differ.
pub(crate) struct InodeChange<'a> {
    pub(crate) ino: Ino,
    pub(crate) old: Option<&'a Slot>,
    pub(crate) new: Option<&'a Slot>,
}

/// A name in two states, where they differ.
pub(crate) struct NameChange<'a> {
    pub(crate) key: &'a (Ino, Name),
    pub(crate) new: Option<&'a Option<Dent>>,
}

/// The numbers of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) next_ino: u64,
    pub(crate) next_cookie: u64,
    pub(crate) files: u64,
    pub(crate) size_bytes: u64,
}

impl State {
    /// An empty overlay: what the first sealed state is compared with.
    pub(crate) fn empty(base: &Base) -> Self {
        Self::new(base)
    }

    /// The inodes of this overlay and of an earlier one that they do not share, in order.
    pub(crate) fn inode_changes<'a>(&'a self, before: &'a State) -> Vec<InodeChange<'a>> {
        let mut changes = Vec::new();
        before.inodes.unshared(&self.inodes, &mut |ino, old, new| {
            let is_same = match (old, new) {
                (Some(Some(old)), Some(Some(new))) => Arc::ptr_eq(old, new),
                _ => false,
            };
            if !is_same || before.is_orphan(*ino) != self.is_orphan(*ino) {
                changes.push(InodeChange { ino: *ino, old, new });
            }
            true
        });
        changes
    }

    /// The names that differ, in order.
    pub(crate) fn name_changes<'a>(&'a self, before: &'a State) -> Vec<NameChange<'a>> {
        let mut changes = Vec::new();
        before.names.unshared(&self.names, &mut |key, old, new| {
            if old != new {
                changes.push(NameChange { key, new });
            }
            true
        });
        changes
    }

    /// Inodes without a name, and what they are.
    pub(crate) fn orphan_inodes(&self) -> impl Iterator<Item = (Ino, Option<&Arc<Inode>>)> {
        self.orphans.iter().map(|(ino, ())| (*ino, self.inodes.get(ino).and_then(Option::as_ref)))
    }

    pub(crate) fn counters(&self) -> Counters {
        let State { next_ino, next_cookie, files, size_bytes, .. } = *self;
        Counters { next_ino, next_cookie, files, size_bytes }
    }

    /// A state without inodes and names, which [`State::put_inode`] and [`State::put_dent`] add.
    pub(crate) fn from_counters(counters: Counters, history: History) -> Self {
        let Counters { next_ino, next_cookie, files, size_bytes } = counters;
        Self {
            inodes: Map::default(),
            names: Map::default(),
            order: Map::default(),
            orphans: Map::default(),
            next_ino,
            next_cookie,
            files,
            size_bytes,
            private_bytes: 0,
            history,
            feed: Feed::unknown(),
            guard: OnceLock::new(),
        }
    }

    /// Says which record the state is behind, so that what changes from here on is known.
    pub(crate) fn begin_feed(&mut self, depth: u64, seq: u64) {
        self.feed = Feed::behind(depth, seq);
    }

    /// Adds an inode of the overlay; its content counts.
    pub(crate) fn put_inode(&mut self, ino: Ino, slot: Option<Inode>, is_orphan: bool) {
        self.private_bytes += slot.as_ref().map_or(0, Inode::private);
        self.inodes.insert(ino, slot.map(Arc::new));
        if is_orphan {
            self.orphans.insert(ino, ());
        }
    }

    /// Adds a name of the overlay, and its place in its directory's stream.
    pub(crate) fn put_dent(
        &mut self,
        base: &Base,
        (dir, name): (Ino, Name),
        dent: Option<Dent>,
    ) -> Result<()> {
        if let Some(dent) = dent
            && base.entry(dir, name.as_bytes())?.is_none()
        {
            self.order.insert((dir, dent.cookie), dent.listed(&name));
        }
        self.names.insert((dir, name), dent);
        Ok(())
    }

    /// Says what is not the same in another state; None when they are in every respect, so that records applied to
    /// both have the same effect.
    pub(crate) fn discrepancy(&self, other: &State) -> Option<String> {
        let numbers = |state: &State| (state.counters(), state.private_bytes);
        if numbers(self) != numbers(other) {
            return Some(format!("numbers are {:?} and {:?}", numbers(self), numbers(other)));
        }
        let mut found = None;
        self.inodes.unshared(&other.inodes, &mut |ino, mine, theirs| {
            let is_same = match (mine, theirs) {
                (Some(Some(mine)), Some(Some(theirs))) => mine.is_same(theirs),
                (Some(None), Some(None)) => true,
                _ => false,
            };
            if !is_same {
                found = Some(format!("inode {} is {mine:?} and {theirs:?}", ino.0));
            }
            is_same
        });
        found = found.or_else(|| differing_entry(&self.names, &other.names));
        found = found.or_else(|| differing_entry(&self.order, &other.order));
        found = found.or_else(|| differing_entry(&self.orphans, &other.orphans));
        found.or_else(|| (self.history.entries() != other.history.entries()).then(|| "history".to_owned()))
    }
}

fn differing_entry<K, V>(mine: &Map<K, V>, theirs: &Map<K, V>) -> Option<String>
where
    K: Ord + Clone + std::fmt::Debug,
    V: Clone + PartialEq + std::fmt::Debug,
{
    let mut found = None;
    mine.unshared(theirs, &mut |key, mine, theirs| {
        if mine != theirs {
            found = Some(format!("{key:?} is {mine:?} and {theirs:?}"));
        }
        mine == theirs
    });
    found
}

impl Inode {
    /// The content of a regular file.
    pub(crate) fn own_content(&self) -> Option<&Content> {
        match &self.body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }
}
