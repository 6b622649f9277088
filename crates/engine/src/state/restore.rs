//! What a restore does to a state: a function of the two states, the paths, the time and nothing else, so that a replay
//! comes to the same.
//!
//! Restoring everything takes the state of then and carries over what a tree cannot lose: the numbers given out, the
//! history, and inodes that then had no name but may be held open now. Restoring paths takes away what is there now
//! and puts there what was there then; nothing else in the tree changes, but for the times and link counts of the
//! directories those paths are in. What is the same in both is not touched.

use super::{Body, Dent, Dirty, Inode, State, entries_of};
use crate::base::Base;
use crate::history::{Changed, Point};
use crate::record::{Path, Why};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use weald_model::{Errno, FileKind, Ino, Name, Result, Timestamp};

impl State {
    /// The state after a restore of everything, or of `paths`, to what it was in `target`. ENOENT for a path that is
    /// in neither state, ENOTDIR for one whose way is blocked by what is no directory.
    pub(crate) fn restored(
        &self,
        base: &Base,
        target: &State,
        paths: &[Path],
        time: Timestamp,
    ) -> Result<State> {
        let mut next = match is_whole(paths) {
            true => self.restore_all(base, target, time)?,
            false => PathRestore::new(base, self, target, time)?.run(&outermost(paths))?,
        };
        // Ruled paths may lead elsewhere, and other files lie below them.
        next.guard = OnceLock::new();
        Ok(next)
    }

    /// Notes in the history what [`State::restored`] did, once its record has a number.
    pub(crate) fn note_restore(&mut self, target: &State, paths: &[Path], why: Why, at: Point) -> Result<()> {
        self.feed.lose(at.seq);
        self.history.restored(at, is_whole(paths).then_some(&target.history), why)
    }

    /// What became another in `after`, for those who cache this state.
    pub(crate) fn changed(&self, base: &Base, after: &State) -> Result<Changed> {
        let mut inodes = BTreeSet::new();
        for ino in self.changed_inodes(base, after)? {
            if self.inode(base, ino)?.is_some() {
                inodes.insert(ino);
            }
        }
        let mut entries = BTreeSet::new();
        for (dir, name) in self.changed_names(base, after)? {
            // A reader of the directory may keep its entries, whatever its times say.
            if self.inode(base, dir)?.is_some() {
                inodes.insert(dir);
                entries.insert((dir, name.as_bytes().to_vec()));
            }
        }
        Ok(Changed { inodes: inodes.into_iter().collect(), entries: entries.into_iter().collect() })
    }

    fn restore_all(&self, base: &Base, target: &State, time: Timestamp) -> Result<State> {
        let mut next = target.clone();
        next.history = self.history.clone();
        next.feed = self.feed.clone();
        next.next_ino = self.next_ino.max(target.next_ino);
        next.next_cookie = self.next_cookie.max(target.next_cookie);
        for ino in target.orphans() {
            next.purge(ino)?;
        }
        let mut candidates: BTreeSet<Ino> = self.orphans().into_iter().collect();
        self.inodes.unshared(&target.inodes, &mut |ino, _, _| {
            candidates.insert(*ino);
            true
        });
        for ino in candidates {
            if target.is_named(base, ino)? {
                continue;
            }
            if let Some(inode) = self.inode(base, ino)? {
                next.keep_as_orphan(ino, inode, time);
            }
        }
        next.keep_places_in_streams(self, target);
        Ok(next)
    }

    /// Takes over an inode that has no name here: somebody may hold it open.
    fn keep_as_orphan(&mut self, ino: Ino, mut inode: Arc<Inode>, time: Timestamp) {
        if inode.nlink > 0 {
            let inode = Arc::make_mut(&mut inode);
            inode.nlink = 0;
            inode.ctime = time;
        }
        self.private_bytes += inode.private();
        self.inodes.insert(ino, Some(inode));
        self.orphans.insert(ino, ());
    }

    /// A name that was there all the time keeps its place in its directory's stream, for those who are reading it.
    fn keep_places_in_streams(&mut self, before: &State, target: &State) {
        let mut moved = Vec::new();
        before.names.unshared(&target.names, &mut |key, mine, theirs| {
            if let (Some(Some(mine)), Some(Some(theirs))) = (mine, theirs)
                && mine.cookie != theirs.cookie
            {
                moved.push((key, mine.cookie, theirs.cookie));
            }
            true
        });
        for (key @ (dir, name), cookie, other) in moved {
            self.order.remove(&(*dir, other));
            if let Some(Some(dent)) = self.names.get_mut(key) {
                dent.cookie = cookie;
                self.order.insert((*dir, cookie), dent.listed(name));
            }
        }
    }
}

/// True when the root is restored, with all below it.
fn is_whole(paths: &[Path]) -> bool {
    paths.is_empty() || paths.iter().any(Vec::is_empty)
}

/// The paths without those below others, in order.
fn outermost(paths: &[Path]) -> Vec<Path> {
    let mut sorted = paths.to_vec();
    sorted.sort();
    let mut kept: Vec<Path> = Vec::new();
    for path in sorted {
        if kept.last().is_none_or(|last| !path.starts_with(last)) {
            kept.push(path);
        }
    }
    kept
}

/// The restore of some paths on its way.
struct PathRestore<'a> {
    base: &'a Base,
    before: &'a State,
    target: &'a State,
    dirty: Dirty,
    time: Timestamp,
    next: State,
    /// Names to take away.
    drops: Vec<(Ino, Name, Dent)>,
    /// Names to put, by the directory they were in then, in an order in which directories come before what is in them.
    puts: Vec<(Ino, Name, Dent)>,
    /// Directories that stay and get the attributes of then.
    kept: Vec<Ino>,
    /// The number now of each directory of then that was put or stayed, and of each file that was put.
    home: BTreeMap<Ino, Ino>,
    /// Files put: number then and now.
    files: Vec<(Ino, Ino)>,
}

impl<'a> PathRestore<'a> {
    fn new(base: &'a Base, before: &'a State, target: &'a State, time: Timestamp) -> Result<Self> {
        Ok(Self {
            base,
            before,
            target,
            dirty: Dirty::new(base, before, target)?,
            time,
            next: before.clone(),
            drops: Vec::new(),
            puts: Vec::new(),
            kept: Vec::new(),
            home: BTreeMap::new(),
            files: Vec::new(),
        })
    }

    fn run(mut self, paths: &[Path]) -> Result<State> {
        let mut later = Vec::new();
        for path in paths {
            let (now, then) = (self.find(self.before, path)?, self.find(self.target, path)?);
            if now.is_none() && then.is_none() {
                return Err(Errno::NotFound);
            }
            let dir_of = |side: &Option<(Ino, Name, Dent)>| side.as_ref().map(|(dir, ..)| *dir);
            let (container, container_then) = (dir_of(&now), dir_of(&then));
            self.compare(now, then, true)?;
            later.push((path, std::mem::take(&mut self.puts), container_then));
            self.take_away(container)?;
        }
        for (path, puts, container) in later {
            if let (Some(container), false) = (container, puts.is_empty()) {
                let dir = self.make_way(path)?;
                self.put_back(puts, (container, dir))?;
            }
        }
        self.settle()?;
        Ok(self.next)
    }

    /// Where a path leads, and the directory of its last name.
    fn find(&self, state: &State, path: &[Name]) -> Result<Option<(Ino, Name, Dent)>> {
        let mut dir = Ino::ROOT;
        let Some((last, way)) = path.split_last() else { return Ok(None) };
        for name in way {
            match state.entry(self.base, dir, name.as_bytes())? {
                Some(dent) if dent.kind == FileKind::Dir => dir = dent.ino,
                _ => return Ok(None),
            }
        }
        let dent = state.entry(self.base, dir, last.as_bytes())?;
        Ok(dent.map(|dent| (dir, last.clone(), dent)))
    }

    /// Notes what has to be done for one name. `is_in_place`: its directory stays what it is.
    fn compare(
        &mut self,
        now: Option<(Ino, Name, Dent)>,
        then: Option<(Ino, Name, Dent)>,
        is_in_place: bool,
    ) -> Result<()> {
        let is_dir = |side: &Option<(Ino, Name, Dent)>| {
            side.as_ref().filter(|(.., dent)| dent.kind == FileKind::Dir).map(|(.., dent)| dent.ino)
        };
        let (now_dir, then_dir) = (is_dir(&now), is_dir(&then));
        let is_one = now.as_ref().map(|(.., dent)| dent.ino) == then.as_ref().map(|(.., dent)| dent.ino);
        let stays = is_one && is_in_place && (now_dir.is_some() || !self.differs(now.as_ref())?);
        if !stays {
            self.drops.extend(now);
            self.puts.extend(then);
        } else if let Some(dir) = now_dir {
            self.home.insert(dir, dir);
            self.kept.push(dir);
        }
        match (now_dir, then_dir) {
            (Some(dir), Some(_)) if is_one => {
                let names: Vec<Name> = self.dirty.names(dir).cloned().collect();
                for name in names {
                    let now = self.child(self.before, dir, &name)?;
                    let then = self.child(self.target, dir, &name)?;
                    self.compare(now, then, true)?;
                }
                Ok(())
            }
            _ => self.compare_listed(now_dir, then_dir),
        }
    }

    /// The same for all that is in two different directories, or in one.
    fn compare_listed(&mut self, now: Option<Ino>, then: Option<Ino>) -> Result<()> {
        let list = |state: &State, dir: Option<Ino>| match dir {
            Some(dir) => entries_of(self.base, state, dir).map(|entries| (dir, entries)),
            None => Ok((Ino::ROOT, BTreeMap::new())),
        };
        let (now_dir, now) = list(self.before, now)?;
        let (then_dir, then) = list(self.target, then)?;
        let names: BTreeSet<&Vec<u8>> = now.keys().chain(then.keys()).collect();
        for bytes in names {
            let name = Name::new(bytes).map_err(|_| Errno::Io)?;
            let side = |dir: Ino, entries: &BTreeMap<Vec<u8>, Dent>| {
                entries.get(bytes).map(|dent| (dir, name.clone(), *dent))
            };
            self.compare(side(now_dir, &now), side(then_dir, &then), false)?;
        }
        Ok(())
    }

    fn child(&self, state: &State, dir: Ino, name: &Name) -> Result<Option<(Ino, Name, Dent)>> {
        Ok(state.entry(self.base, dir, name.as_bytes())?.map(|dent| (dir, name.clone(), dent)))
    }

    /// True when the inode is not the same in both states.
    fn differs(&self, side: Option<&(Ino, Name, Dent)>) -> Result<bool> {
        let Some((.., Dent { ino, .. })) = side else { return Ok(false) };
        Ok(match (self.before.inode(self.base, *ino)?, self.target.inode(self.base, *ino)?) {
            (Some(now), Some(then)) => !now.looks_like(&then),
            _ => true,
        })
    }

    /// Takes away the noted names. The directory `container` is told if one of its own is among them.
    fn take_away(&mut self, container: Option<Ino>) -> Result<()> {
        for (dir, name, dent) in std::mem::take(&mut self.drops) {
            self.next.drop_name(self.base, dir, &name)?;
            self.next.drop_link(self.base, dent, self.time)?;
            if Some(dir) == container {
                let subdirs = i64::from(dent.kind == FileKind::Dir);
                self.next.touch_dir(self.base, dir, self.time, -subdirs)?;
            }
        }
        Ok(())
    }

    /// The directory now that a path's last name belongs into. Those on the way that are missing are made as they were
    /// then, without what was in them.
    fn make_way(&mut self, path: &[Name]) -> Result<Ino> {
        let (mut now, mut then) = (Ino::ROOT, Ino::ROOT);
        for name in &path[..path.len() - 1] {
            then = self.target.entry(self.base, then, name.as_bytes())?.ok_or(Errno::Io)?.ino;
            now = match self.next.entry(self.base, now, name.as_bytes())? {
                Some(dent) if dent.kind == FileKind::Dir => dent.ino,
                Some(_) => return Err(Errno::NotDir),
                None => self.make_dir_on_way(now, name, then)?,
            };
        }
        Ok(now)
    }

    fn make_dir_on_way(&mut self, parent: Ino, name: &Name, then: Ino) -> Result<Ino> {
        let ino = self.free_number(then)?;
        let mut inode = self.target.inode(self.base, then)?.ok_or(Errno::Io)?;
        let made = Arc::make_mut(&mut inode);
        (made.nlink, made.body) = (2, Body::Dir { parent });
        (made.mtime, made.ctime) = (self.time, self.time);
        self.next.replace(ino, inode);
        self.next.put_name(self.base, parent, name, ino, FileKind::Dir)?;
        self.next.touch_dir(self.base, parent, self.time, 1)?;
        Ok(ino)
    }

    /// Puts the noted names. The directory that holds the restored path, then and now, is told of its own.
    fn put_back(&mut self, puts: Vec<(Ino, Name, Dent)>, container: (Ino, Ino)) -> Result<()> {
        for (dir_then, name, dent) in puts {
            let is_outermost = dir_then == container.0;
            let dir = match is_outermost {
                true => container.1,
                false => *self.home.get(&dir_then).ok_or(Errno::Io)?,
            };
            let ino = match self.home.get(&dent.ino) {
                Some(ino) if dent.kind != FileKind::Dir => {
                    self.next.inode_mut(self.base, *ino)?.nlink += 1;
                    *ino
                }
                _ => self.put_inode(dent, dir)?,
            };
            self.next.put_name(self.base, dir, &name, ino, dent.kind)?;
            if is_outermost {
                let subdirs = i64::from(dent.kind == FileKind::Dir);
                self.next.touch_dir(self.base, dir, self.time, subdirs)?;
            }
        }
        Ok(())
    }

    /// Brings an inode of then back, for its first name, under its number if nothing else in the tree has it now.
    fn put_inode(&mut self, dent: Dent, parent: Ino) -> Result<Ino> {
        let ino = self.free_number(dent.ino)?;
        let mut inode = self.target.inode(self.base, dent.ino)?.ok_or(Errno::Io)?;
        let made = Arc::make_mut(&mut inode);
        match &mut made.body {
            Body::Dir { parent: above } => *above = parent,
            _ => made.nlink = 1,
        }
        let (kind, size) = (made.kind, made.counted_size());
        self.next.replace(ino, inode);
        self.next.count(kind, size as i64, 1);
        self.home.insert(dent.ino, ino);
        if kind != FileKind::Dir {
            self.files.push((dent.ino, ino));
        }
        Ok(ino)
    }

    /// The number of then, or a new one if a name that stays leads to the old.
    fn free_number(&mut self, then: Ino) -> Result<Ino> {
        if !self.next.is_named(self.base, then)? {
            return Ok(then);
        }
        let fresh = self.next.next_ino();
        self.next.next_ino += 1;
        Ok(fresh)
    }

    /// Gives what stayed or was put its last attributes.
    fn settle(&mut self) -> Result<()> {
        for dir in std::mem::take(&mut self.kept) {
            let mut inode = self.target.inode(self.base, dir)?.ok_or(Errno::Io)?;
            let parent = self.next.parent_of(self.base, dir)?;
            if let Body::Dir { parent: then } = inode.body
                && then != parent
            {
                Arc::make_mut(&mut inode).body = Body::Dir { parent };
            }
            if self.next.inode(self.base, dir)?.is_none_or(|now| !now.looks_like(&inode)) {
                self.next.replace(dir, inode);
            }
        }
        for (then, now) in std::mem::take(&mut self.files) {
            let nlink = self.target.inode(self.base, then)?.ok_or(Errno::Io)?.nlink;
            let put = self.next.inode_mut(self.base, now)?;
            if then != now || put.nlink != nlink {
                put.ctime = self.time;
            }
        }
        Ok(())
    }
}

impl State {
    /// Puts an inode in place of what had its number, which had no name or is a directory that stays.
    fn replace(&mut self, ino: Ino, inode: Arc<Inode>) {
        self.private_bytes += inode.private();
        if let Some(Some(old)) = self.inodes.insert(ino, Some(inode)) {
            self.private_bytes -= old.private();
        }
        self.orphans.remove(&ino);
    }
}
