//! Where two states differ: the directories and names one has to look at, found from what their maps do not share.
//!
//! Invariant: a name that leads to the same inode in both states, which is the same in both with everything below,
//! need not be looked at if [`Dirty`] does not say so. Cost: what the maps do not share, and one pass over the names of
//! the overlay to find where changed inodes are.

use super::{Body, Dent, Inode, State};
use crate::base::Base;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use weald_model::{FileKind, Ino, Name, Result};

/// The names to look at, by directory. For a directory that both states have under one number.
pub(crate) struct Dirty {
    names: BTreeMap<Ino, BTreeSet<Name>>,
}

/// Where inodes are named in one state.
struct Places<'a> {
    base: &'a Base,
    state: &'a State,
    /// Of the directories and the inodes asked about, the places that the overlay says.
    own: HashMap<Ino, Vec<(Ino, Name)>>,
}

impl Inode {
    /// True when both are the same in every respect; of directories, the entries are another matter.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let plain = |inode: &Self| {
            let Inode { kind, perm, uid, gid, nlink, rdev, size, atime, mtime, ctime, btime, .. } = *inode;
            (kind, perm, uid, gid, nlink, rdev, size, atime, mtime, ctime, btime)
        };
        let same_body = || match (&self.body, &other.body) {
            (Body::Plain, Body::Plain) => true,
            (Body::Dir { parent }, Body::Dir { parent: other }) => parent == other,
            (Body::File(content), Body::File(other)) => content.is_same(other),
            (Body::Target(target), Body::Target(other)) => target == other,
            _ => false,
        };
        std::ptr::eq(self, other) || plain(self) == plain(other) && self.xattrs == other.xattrs && same_body()
    }
}

impl State {
    /// The inodes that are not the same in both states.
    pub(crate) fn changed_inodes(&self, base: &Base, other: &State) -> Result<BTreeSet<Ino>> {
        let mut candidates = Vec::new();
        self.inodes.unshared(&other.inodes, &mut |ino, mine, theirs| {
            if !matches!((mine, theirs), (Some(Some(mine)), Some(Some(theirs))) if Arc::ptr_eq(mine, theirs))
            {
                candidates.push(*ino);
            }
            true
        });
        let mut changed = BTreeSet::new();
        for ino in candidates {
            let same = match (self.inode(base, ino)?, other.inode(base, ino)?) {
                (Some(mine), Some(theirs)) => mine.is_same(&theirs),
                (None, None) => true,
                _ => false,
            };
            if !same {
                changed.insert(ino);
            }
        }
        Ok(changed)
    }

    /// The names that do not lead to the same inode in both states.
    pub(crate) fn changed_names(&self, base: &Base, other: &State) -> Result<Vec<(Ino, Name)>> {
        let mut candidates = Vec::new();
        self.names.unshared(&other.names, &mut |key, mine, theirs| {
            if mine != theirs {
                candidates.push(key);
            }
            true
        });
        let mut changed = Vec::new();
        for key @ (dir, name) in candidates {
            let mine = self.entry(base, *dir, name.as_bytes())?.map(|dent| dent.ino);
            let theirs = other.entry(base, *dir, name.as_bytes())?.map(|dent| dent.ino);
            if mine != theirs {
                changed.push(key.clone());
            }
        }
        Ok(changed)
    }
}

impl Dirty {
    /// Compares two states on one base.
    pub(crate) fn new(base: &Base, one: &State, other: &State) -> Result<Self> {
        let inodes = one.changed_inodes(base, other)?;
        let names = one.changed_names(base, other)?;
        let mut dirty = Self { names: BTreeMap::new() };
        let places = [Places::new(base, one, &inodes), Places::new(base, other, &inodes)];
        for (dir, name) in names {
            dirty.mark(&places, dir, name)?;
        }
        for places_of in &places {
            for ino in &inodes {
                for (dir, name) in places_of.of(*ino)? {
                    dirty.mark(&places, dir, name)?;
                }
            }
        }
        Ok(dirty)
    }

    /// The names to look at in a directory that both states have, in order.
    pub(crate) fn names(&self, dir: Ino) -> impl Iterator<Item = &Name> {
        self.names.get(&dir).into_iter().flatten()
    }

    /// Marks a name, and the way to it in either state.
    fn mark(&mut self, places: &[Places<'_>; 2], dir: Ino, name: Name) -> Result<()> {
        let mut ways = vec![(dir, name)];
        while let Some((dir, name)) = ways.pop() {
            let is_new = !self.names.contains_key(&dir);
            self.names.entry(dir).or_default().insert(name);
            if is_new {
                for places in places {
                    ways.extend(places.of(dir)?);
                }
            }
        }
        Ok(())
    }
}

impl<'a> Places<'a> {
    fn new(base: &'a Base, state: &'a State, asked: &BTreeSet<Ino>) -> Self {
        let mut own: HashMap<Ino, Vec<(Ino, Name)>> = HashMap::new();
        for ((dir, name), dent) in state.names.iter() {
            if let Some(dent) = dent
                && (dent.kind == FileKind::Dir || asked.contains(&dent.ino))
            {
                own.entry(dent.ino).or_default().push((*dir, name.clone()));
            }
        }
        Self { base, state, own }
    }

    /// All places where a directory, or an inode asked about, is named.
    fn of(&self, ino: Ino) -> Result<Vec<(Ino, Name)>> {
        let mut places = self.own.get(&ino).cloned().unwrap_or_default();
        if ino.is_base()
            && let Some(place) = self.base.place(ino)?
            && self.state.names.get(&place).is_none()
        {
            places.push(place);
        }
        Ok(places)
    }
}

/// All entries of a directory, by name.
pub(crate) fn entries_of(base: &Base, state: &State, dir: Ino) -> Result<BTreeMap<Vec<u8>, Dent>> {
    let mut entries = BTreeMap::new();
    state.read_dir(base, dir, 0, &mut |name, dent| {
        entries.insert(name.to_vec(), dent);
        true
    })?;
    Ok(entries)
}
