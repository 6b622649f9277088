//! Which paths inodes have, while records are read.
//!
//! Holds what differs from the base: where changed names lead, and which names each inode of theirs has. Invariant:
//! fed with every change of a name in order, a path is the one at that moment; an inode without names keeps its last.

use crate::base::Base;
use crate::state::Dent;
use std::collections::HashMap;
use weald_model::{FileKind, Ino, Name};

/// Deepest path that is put together: paths are at most 4,096 bytes long for programs (PATH_MAX).
const DEPTH_MAX: usize = 4096;

/// A directory and a name in it.
type Home = (Ino, Name);

pub(super) struct Names {
    base: Base,
    changed: HashMap<Home, Option<(Ino, FileKind)>>,
    /// Names of inodes that are not, or not only, where the base has them; the newest last.
    homes: HashMap<Ino, Vec<Home>>,
    /// Where inodes without a name were last.
    last_homes: HashMap<Ino, Home>,
}

impl Names {
    pub(super) fn new(base: &Base, changed: impl IntoIterator<Item = (Home, Option<Dent>)>) -> Self {
        let (mut all, mut homes): (HashMap<_, _>, HashMap<Ino, Vec<Home>>) = Default::default();
        for (home, dent) in changed {
            if let Some(dent) = dent {
                homes.entry(dent.ino).or_default().push(home.clone());
            }
            all.insert(home, dent.map(|dent| (dent.ino, dent.kind)));
        }
        Self { base: base.clone(), changed: all, homes, last_homes: HashMap::new() }
    }

    /// Where a name leads.
    pub(super) fn find(&self, parent: Ino, name: &Name) -> Option<(Ino, FileKind)> {
        match self.changed.get(&(parent, name.clone())) {
            Some(changed) => *changed,
            None => {
                let dent = self.base.entry(parent, name.as_bytes()).ok().flatten()?;
                Some((dent.ino, dent.kind))
            }
        }
    }

    pub(super) fn add(&mut self, parent: Ino, name: &Name, ino: Ino, kind: FileKind) {
        let home = (parent, name.clone());
        self.remove(parent, name);
        self.homes.entry(ino).or_default().push(home.clone());
        self.changed.insert(home, Some((ino, kind)));
    }

    pub(super) fn remove(&mut self, parent: Ino, name: &Name) -> Option<(Ino, FileKind)> {
        let (ino, kind) = self.find(parent, name)?;
        let home = (parent, name.clone());
        if let Some(homes) = self.homes.get_mut(&ino) {
            homes.retain(|old| *old != home);
            if homes.is_empty() {
                self.homes.remove(&ino);
            }
        }
        match self.base.entry(parent, name.as_bytes()) {
            Ok(Some(_)) => self.changed.insert(home.clone(), None),
            _ => self.changed.remove(&home),
        };
        self.last_homes.insert(ino, home);
        Some((ino, kind))
    }

    /// An inode is gone for good.
    pub(super) fn forget(&mut self, ino: Ino) {
        self.homes.remove(&ino);
        self.last_homes.remove(&ino);
    }

    /// The path of an inode; None when it never had a name.
    pub(super) fn path(&self, ino: Ino) -> Option<Vec<u8>> {
        let mut parts: Vec<Name> = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT {
            if parts.len() == DEPTH_MAX {
                return None;
            }
            let (parent, name) = self.home(at)?;
            parts.push(name);
            at = parent;
        }
        parts.reverse();
        Some(parts.iter().map(Name::as_bytes).collect::<Vec<_>>().join(&b'/'))
    }

    /// The path of a name in a directory.
    pub(super) fn path_of(&self, parent: Ino, name: &Name) -> Option<Vec<u8>> {
        let mut path = self.path(parent)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        Some(path)
    }

    fn home(&self, ino: Ino) -> Option<Home> {
        if let Some(home) = self.homes.get(&ino).and_then(|homes| homes.last()) {
            return Some(home.clone());
        }
        let base = self.base.home(ino);
        let is_there = base.as_ref().is_some_and(|home| !self.changed.contains_key(home));
        if is_there { base } else { self.last_homes.get(&ino).cloned().or(base) }
    }
}
