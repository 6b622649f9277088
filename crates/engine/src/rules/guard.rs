//! What ruled paths lead to now, and whether an operation may touch it.
//!
//! Rules name paths, operations name inodes. So paths are looked up once, and again when a name on the way of one changes.
//! That is enough, since what lies below a ruled path does not change while the rule holds, nor can it be moved away: a
//! directory on the way cannot be renamed (EBUSY), as a mount point cannot, and none can be renamed onto the way. Only a
//! restore comes past all this, and drops the guard. A file with several names that has one in a ruled place is ruled
//! under all of them.

use super::{PathRule, Rules, names};
use crate::base::Base;
use crate::history::Changed;
use crate::state::{Body, Dent, State};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use weald_model::{Errno, FileKind, Ino, Name, Result};

/// Ruled paths, looked up in a state.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// What they lead to.
    roots: BTreeMap<Ino, PathRule>,
    /// Files below them that lie there under a name the base does not have.
    files: HashMap<Ino, PathRule>,
    /// The names on their ways, the last included, as far as the ways go.
    ways: BTreeMap<Ino, BTreeMap<Vec<u8>, Way>>,
    has_masks: bool,
}

/// What a name on the way of a ruled path is. The later one is the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// On a way that leads to nothing now.
    Open,
    /// On a way that leads to something.
    Through,
    /// The ruled path itself, also when nothing is there.
    End(PathRule),
}

impl Guard {
    fn new(state: &State, base: &Base, rules: &Rules) -> Result<Self> {
        let has_masks = rules.paths.values().any(|rule| *rule == PathRule::Masked);
        let mut guard = Self { has_masks, ..Self::default() };
        for (path, rule) in &rules.paths {
            guard.add(state, base, path, *rule)?;
        }
        let mut known: HashMap<Ino, Option<PathRule>> = HashMap::new();
        for ((dir, _), dent) in state.own_names() {
            let Some(dent) = dent.filter(|dent| dent.kind != FileKind::Dir) else { continue };
            let rule = match known.get(dir) {
                Some(rule) => *rule,
                None => {
                    let rule = guard.rule_of_dir(state, base, *dir)?;
                    known.insert(*dir, rule);
                    rule
                }
            };
            if let Some(rule) = rule {
                let stronger = guard.files.entry(dent.ino).or_insert(rule);
                *stronger = rule.max(*stronger);
            }
        }
        Ok(guard)
    }

    /// Looks one path up.
    fn add(&mut self, state: &State, base: &Base, path: &[u8], rule: PathRule) -> Result<()> {
        if path.is_empty() {
            self.roots.insert(Ino::ROOT, rule);
            return Ok(());
        }
        let (mut dir, mut way, mut end) = (Some(Ino::ROOT), Vec::new(), None);
        for name in names(path) {
            let Some(at) = dir else { break };
            way.push((at, name));
            end = state.entry(base, at, name)?;
            dir = end.filter(|dent| dent.kind == FileKind::Dir).map(|dent| dent.ino);
        }
        let is_whole = way.len() == names(path).count();
        let last = way.len() - 1;
        for (number, (at, name)) in way.into_iter().enumerate() {
            let what = match (is_whole, number == last) {
                (true, true) => Way::End(rule),
                (true, false) if end.is_some() => Way::Through,
                _ => Way::Open,
            };
            let stronger = self.ways.entry(at).or_default().entry(name.to_vec()).or_insert(what);
            *stronger = what.max(*stronger);
        }
        if let Some(dent) = end.filter(|_| is_whole) {
            let stronger = self.roots.entry(dent.ino).or_insert(rule);
            *stronger = rule.max(*stronger);
        }
        Ok(())
    }

    fn way(&self, dir: Ino, name: &[u8]) -> Option<Way> {
        self.ways.get(&dir)?.get(name).copied()
    }

    /// The strongest rule of a directory and those above it.
    fn rule_of_dir(&self, state: &State, base: &Base, dir: Ino) -> Result<Option<PathRule>> {
        let (mut at, mut found) = (dir, None);
        loop {
            found = found.max(self.roots.get(&at).copied());
            if at == Ino::ROOT || found == Some(PathRule::Masked) {
                return Ok(found);
            }
            at = state.parent_of(base, at)?;
        }
    }

    fn rule_of(&self, state: &State, base: &Base, ino: Ino) -> Result<Option<PathRule>> {
        let is_dir = match state.with(base, ino, |inode| Ok(matches!(inode.body, Body::Dir { .. }))) {
            Ok(is_dir) => is_dir,
            // The operation itself will tell.
            Err(Errno::NotFound) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        if is_dir {
            return self.rule_of_dir(state, base, ino);
        }
        let own = self.files.get(&ino).copied().max(self.roots.get(&ino).copied());
        let at_home = match base.place(ino)? {
            Some((dir, name)) if leads_to(state, base, dir, &name, ino)? => {
                self.rule_of_dir(state, base, dir)?
            }
            _ => None,
        };
        Ok(own.max(at_home))
    }
}

fn leads_to(state: &State, base: &Base, dir: Ino, name: &Name, ino: Ino) -> Result<bool> {
    Ok(state.entry(base, dir, name.as_bytes())?.is_some_and(|dent| dent.ino == ino))
}

fn refusal(rule: PathRule) -> Errno {
    match rule {
        PathRule::ReadOnly => Errno::ReadOnly,
        PathRule::Masked => Errno::Access,
    }
}

impl State {
    fn guard(&self, base: &Base) -> Result<Option<&Guard>> {
        let Some(rules) = self.history.rules.as_ref().filter(|rules| !rules.paths.is_empty()) else {
            return Ok(None);
        };
        if let Some(guard) = self.guard.get() {
            return Ok(Some(guard));
        }
        let made = Arc::new(Guard::new(self, base, rules)?);
        Ok(Some(self.guard.get_or_init(|| made)))
    }

    /// A name changed: what was looked up by it is looked up again.
    pub(crate) fn unguard(&mut self, dir: Ino, name: &Name) {
        if self.guard.get().is_some_and(|guard| guard.way(dir, name.as_bytes()).is_some()) {
            self.guard = std::sync::OnceLock::new();
        }
    }

    fn rule(&self, base: &Base, ino: Ino) -> Result<Option<PathRule>> {
        self.guard(base)?.map_or(Ok(None), |guard| guard.rule_of(self, base, ino))
    }

    /// EACCES for what is masked.
    pub(crate) fn must_see(&self, base: &Base, ino: Ino) -> Result<()> {
        match self.guard(base)? {
            Some(guard) if guard.has_masks => match guard.rule_of(self, base, ino)? {
                Some(PathRule::Masked) => Err(Errno::Access),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// EROFS for an inode that is read-only, EACCES for one that is masked.
    pub(crate) fn must_change(&self, base: &Base, ino: Ino) -> Result<()> {
        self.rule(base, ino)?.map_or(Ok(()), |rule| Err(refusal(rule)))
    }

    /// The same for a name to be made in a directory.
    pub(crate) fn must_make(&self, base: &Base, dir: Ino, name: &[u8]) -> Result<()> {
        let Some(guard) = self.guard(base)? else { return Ok(()) };
        if let Some(rule) = guard.rule_of(self, base, dir)? {
            return Err(refusal(rule));
        }
        match guard.way(dir, name) {
            Some(Way::End(rule)) => Err(refusal(rule)),
            _ => Ok(()),
        }
    }

    /// The same for a name to be taken away; EBUSY for a directory with something ruled in it.
    pub(crate) fn must_take(&self, base: &Base, dir: Ino, name: &[u8]) -> Result<()> {
        self.must_make(base, dir, name)?;
        match self.guard(base)?.and_then(|guard| guard.way(dir, name)) {
            Some(Way::Through) => Err(Errno::Busy),
            _ => Ok(()),
        }
    }

    /// The same for a name that a directory is to get by a rename: EBUSY on the way of a ruled path, where something in
    /// it would become ruled while programs have it open.
    pub(crate) fn must_get(&self, base: &Base, dir: Ino, name: &[u8], kind: FileKind) -> Result<()> {
        self.must_make(base, dir, name)?;
        let is_on_way = self.guard(base)?.is_some_and(|guard| guard.way(dir, name).is_some());
        if kind == FileKind::Dir && is_on_way { Err(Errno::Busy) } else { Ok(()) }
    }

    /// True when an entry of a directory that can be seen can be seen itself.
    pub(crate) fn shows(&self, base: &Base, dir: Ino, name: &[u8], dent: Dent) -> Result<bool> {
        let Some(guard) = self.guard(base)?.filter(|guard| guard.has_masks) else { return Ok(true) };
        let is_masked = guard.way(dir, name) == Some(Way::End(PathRule::Masked))
            || dent.kind != FileKind::Dir && guard.rule_of(self, base, dent.ino)? == Some(PathRule::Masked);
        Ok(!is_masked)
    }

    /// What those who cache names and content must forget when the masks of one of two states with equal trees become
    /// those of the other.
    pub(crate) fn masks_changed(&self, base: &Base, after: &State) -> Result<Changed> {
        let mut changed = Unseen::default();
        for (one, other) in [(self, after), (after, self)] {
            let Some(guard) = one.guard(base)?.filter(|guard| guard.has_masks) else { continue };
            for (dir, ways) in &guard.ways {
                let masks = ways.iter().filter(|(_, way)| **way == Way::End(PathRule::Masked));
                for (name, _) in masks.filter(|(name, way)| {
                    other.guard(base).ok().flatten().and_then(|guard| guard.way(*dir, name)) != Some(**way)
                }) {
                    changed.entries.insert((*dir, name.clone()));
                    changed.inodes.insert(*dir);
                    if let Some(dent) = one.entry(base, *dir, name)? {
                        changed.add_all(one, base, dent)?;
                    }
                }
            }
        }
        changed.add_other_names(self, base)?;
        let Unseen { entries, inodes } = changed;
        Ok(Changed { inodes: inodes.into_iter().collect(), entries: entries.into_iter().collect() })
    }
}

/// Names and inodes that cannot be seen any more, or again.
#[derive(Default)]
struct Unseen {
    entries: BTreeSet<(Ino, Vec<u8>)>,
    inodes: BTreeSet<Ino>,
}

impl Unseen {
    /// Adds what a name leads to, with all below it.
    fn add_all(&mut self, state: &State, base: &Base, dent: Dent) -> Result<()> {
        let mut left = vec![dent];
        while let Some(dent) = left.pop() {
            if self.inodes.insert(dent.ino) && dent.kind == FileKind::Dir {
                state.read_dir(base, dent.ino, 0, &mut |_, below| {
                    left.push(below);
                    true
                })?;
            }
        }
        Ok(())
    }

    /// Adds the names elsewhere of files that were added.
    fn add_other_names(&mut self, state: &State, base: &Base) -> Result<()> {
        if self.inodes.is_empty() {
            return Ok(());
        }
        for ((dir, name), dent) in state.own_names() {
            if dent.is_some_and(|dent| dent.kind != FileKind::Dir && self.inodes.contains(&dent.ino)) {
                self.entries.insert((*dir, name.as_bytes().to_vec()));
            }
        }
        for ino in self.inodes.clone() {
            if let Some((dir, name)) = base.place(ino)?
                && leads_to(state, base, dir, &name, ino)?
            {
                self.entries.insert((dir, name.as_bytes().to_vec()));
            }
        }
        Ok(())
    }
}
