//! Which paths changed since a moment: what git's fsmonitor wants to know (githooks(5), fsmonitor-watchman, version 2).
//!
//! Cost: what changed, not what there is; but for inodes made here that were changed under an old name, whose names are
//! looked for among all own ones. Invariant: a path is told, or one above it that is told as a directory, if anything
//! about it differs that `lstat` or reading would tell.

use crate::base::Base;
use crate::state::{Moment, State, Subject};
use crate::workspace::Workspace;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use weald_model::{FileKind, Ino, Name, Result, WorkspaceId};

/// A moment of a workspace, to ask from later; survives forks and restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// How the workspace, or the one it was forked from at first, began.
    Base,
    /// Behind a record of a log.
    Record(WorkspaceId, u64),
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Where to ask from the next time.
    pub now: Since,
    /// Paths from the root; those that end with a slash stand for all below them. None: anything may have.
    pub paths: Option<Vec<Vec<u8>>>,
}

impl Workspace {
    /// The paths that changed since a moment. Those below `skipped`, a name in the root, are left out.
    pub fn changes(&self, since: Since, skipped: &[u8]) -> Result<Changes> {
        let (state, seq) = {
            let state = self.read_state();
            (state.clone(), self.log.seq())
        };
        let now = Since::Record(self.id(), seq);
        let Some(moment) = self.moment(since, seq) else { return Ok(Changes { now, paths: None }) };
        let Some(subjects) = state.feed().since(moment) else { return Ok(Changes { now, paths: None }) };
        let mut finder = Finder { base: &self.base, state: &state, skipped, paths: BTreeSet::new() };
        let mut inodes = BTreeSet::new();
        // A subject may be told more than once.
        for subject in subjects.collect::<HashSet<_>>() {
            match subject {
                Subject::Inode(ino) => {
                    inodes.insert(*ino);
                }
                Subject::Entry(parent, name) => finder.entry(*parent, name)?,
            }
        }
        finder.inodes(inodes)?;
        Ok(Changes { now, paths: Some(finder.paths.into_iter().collect()) })
    }

    /// The moment that is meant; None when it is none of this workspace's past.
    fn moment(&self, since: Since, present: u64) -> Option<Moment> {
        let Since::Record(log, seq) = since else { return Some(Moment::BASE) };
        let lineage = self.lineage();
        let (depth, end) = match lineage.iter().position(|point| point.log == log) {
            Some(at) => (at, lineage[at].seq),
            None if log == self.id() => (lineage.len(), present),
            None => return None,
        };
        (seq <= end).then(|| Moment::new(depth as u64 + 1, seq))
    }
}

/// Finds the paths of what changed, in one state.
struct Finder<'a> {
    base: &'a Base,
    state: &'a State,
    skipped: &'a [u8],
    paths: BTreeSet<Vec<u8>>,
}

impl Finder<'_> {
    /// A name was made or taken away. When its directory has no path any more, that of a directory above it is told.
    fn entry(&mut self, parent: Ino, name: &Name) -> Result<()> {
        let Some(path) = self.path_in(parent, name)? else { return Ok(()) };
        // Whatever it is now, it may have been a directory before.
        self.paths.insert([path.as_slice(), b"/"].concat());
        self.paths.insert(path);
        Ok(())
    }

    /// Inodes changed under the names they have.
    fn inodes(&mut self, inodes: BTreeSet<Ino>) -> Result<()> {
        let mut missing: BTreeMap<Ino, u32> = BTreeMap::new();
        for ino in inodes {
            let Some(inode) = self.state.inode(self.base, ino)?.filter(|inode| inode.kind != FileKind::Dir)
            else {
                continue;
            };
            let mut names = inode.nlink;
            if let Some((parent, name)) = self.base.place(ino)?
                && self.state.entry(self.base, parent, name.as_bytes())?.is_some_and(|dent| dent.ino == ino)
            {
                self.paths.extend(self.path_in(parent, &name)?);
                names = names.saturating_sub(1);
            }
            if names > 0 {
                missing.insert(ino, names);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut found = Vec::new();
        for ((parent, name), dent) in self.state.own_names() {
            let Some(dent) = dent else { continue };
            if dent.ino.is_base()
                && self.base.place(dent.ino)?.is_some_and(|home| home == (*parent, name.clone()))
            {
                continue;
            }
            if let Some(names) = missing.get_mut(&dent.ino) {
                found.push((*parent, name.clone()));
                *names -= 1;
                if *names == 0 {
                    missing.remove(&dent.ino);
                    if missing.is_empty() {
                        break;
                    }
                }
            }
        }
        for (parent, name) in found {
            self.paths.extend(self.path_in(parent, &name)?);
        }
        Ok(())
    }

    /// The path of a name in a directory; None when the directory has no path, or when it is skipped.
    fn path_in(&self, parent: Ino, name: &Name) -> Result<Option<Vec<u8>>> {
        let mut parts = vec![name.clone()];
        let mut dir = parent;
        while dir != Ino::ROOT {
            if !self.state.is_named(self.base, dir)? {
                return Ok(None);
            }
            let above = self.state.parent_of(self.base, dir)?;
            let Some(name) = self.state.name_in(self.base, above, dir)? else { return Ok(None) };
            parts.push(name);
            dir = above;
        }
        parts.reverse();
        if parts[0].as_bytes() == self.skipped {
            return Ok(None);
        }
        Ok(Some(parts.iter().map(Name::as_bytes).collect::<Vec<_>>().join(&b'/')))
    }
}
