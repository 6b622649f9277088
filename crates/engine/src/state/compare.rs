//! Where two states differ: the directories and names one has to look at, found from what their maps do not share.
//!
//! Invariant: a name that leads to the same inode in both states, which is the same in both with everything below,
//! need not be looked at if [`Dirty`] does not say so. Cost: what the maps do not share, and, if what changed is not where
//! the base has it nor named since, one pass over the names of the overlay to find where it is.

use super::{Body, Dent, Inode, State};
use crate::base::Base;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use weald_model::{FileKind, Ino, Name, Result};

/// The names to look at, by directory. For a directory that both states have under one number.
pub(crate) struct Dirty {
    names: BTreeMap<Ino, BTreeSet<Name>>,
}

/// Where inodes are named in two states.
struct Places<'a> {
    base: &'a Base,
    states: [&'a State; 2],
    asked: &'a BTreeSet<Ino>,
    /// What the overlays' names that are not shared say, by state.
    unshared: [HashMap<Ino, Vec<Place>>; 2],
    unshared_keys: HashSet<&'a Place>,
    /// What all names of the overlays say of directories and of inodes asked about, once that is needed.
    all: OnceCell<[HashMap<Ino, Vec<Place>>; 2]>,
}

/// A directory and a name in it.
type Place = (Ino, Name);

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
                (Some(mine), Some(theirs)) => mine.looks_like(&theirs),
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
        let mut dirty = Self { names: BTreeMap::new() };
        let places = Places::new(base, [one, other], &inodes);
        for (dir, name) in one.changed_names(base, other)? {
            dirty.mark(&places, dir, name)?;
        }
        for ino in &inodes {
            for (dir, name) in places.of(*ino)? {
                dirty.mark(&places, dir, name)?;
            }
        }
        Ok(dirty)
    }

    /// The names to look at in a directory that both states have, in order.
    pub(crate) fn names(&self, dir: Ino) -> impl Iterator<Item = &Name> {
        self.names.get(&dir).into_iter().flatten()
    }

    /// Marks a name, and the way to it in either state.
    fn mark(&mut self, places: &Places<'_>, dir: Ino, name: Name) -> Result<()> {
        let mut ways = vec![(dir, name)];
        while let Some((dir, name)) = ways.pop() {
            let is_new = !self.names.contains_key(&dir);
            self.names.entry(dir).or_default().insert(name);
            if is_new {
                ways.extend(places.of(dir)?);
            }
        }
        Ok(())
    }
}

impl<'a> Places<'a> {
    fn new(base: &'a Base, states: [&'a State; 2], asked: &'a BTreeSet<Ino>) -> Self {
        let mut unshared: [HashMap<Ino, Vec<Place>>; 2] = Default::default();
        let mut unshared_keys = HashSet::new();
        states[0].names.unshared(&states[1].names, &mut |key, mine, theirs| {
            for (found, dent) in unshared.iter_mut().zip([mine, theirs]) {
                if let Some(Some(dent)) = dent {
                    found.entry(dent.ino).or_default().push(key.clone());
                }
            }
            unshared_keys.insert(key);
            true
        });
        Self { base, states, asked, unshared, unshared_keys, all: OnceCell::new() }
    }

    /// All places where a directory, or an inode asked about, is named in either state.
    fn of(&self, ino: Ino) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for side in 0..2 {
            self.of_side(side, ino, &mut places)?;
        }
        Ok(places)
    }

    fn of_side(&self, side: usize, ino: Ino, places: &mut Vec<Place>) -> Result<()> {
        let inode = self.states[side].inode(self.base, ino)?;
        let Some(inode) = inode.filter(|inode| inode.nlink > 0) else { return Ok(()) };
        let wanted = if inode.kind == FileKind::Dir { 1 } else { inode.nlink as usize };
        let mut found = Vec::new();
        if let Some(place) = self.base.place(ino)?
            && self.states[side].names.get(&place).is_none()
        {
            found.push(place);
        }
        let own = |map: &HashMap<Ino, Vec<Place>>| map.get(&ino).cloned().unwrap_or_default();
        let unshared = own(&self.unshared[side]);
        // Most often all is known by now, and the overlays' names need not be gone through.
        match found.len() + unshared.len() >= wanted || ino == Ino::ROOT {
            true => found.extend(unshared),
            false => found.extend(own(&self.all.get_or_init(|| self.go_through())[side])),
        }
        places.extend(found);
        Ok(())
    }

    fn go_through(&self) -> [HashMap<Ino, Vec<Place>>; 2] {
        let mut all = self.unshared.clone();
        for (key, dent) in self.states[0].names.iter() {
            let Some(dent) = dent else { continue };
            let is_asked = dent.kind == FileKind::Dir || self.asked.contains(&dent.ino);
            if is_asked && !self.unshared_keys.contains(key) {
                all.iter_mut().for_each(|all| all.entry(dent.ino).or_default().push(key.clone()));
            }
        }
        all
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
