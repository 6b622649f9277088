//! Restore in the reference file system: everything, or some paths, becomes what it was in an earlier one.
//!
//! Invariant: a number that a name led to once leads to the same file again, unless a name outside of the restored
//! paths leads to it now; then it gets a new one. What loses its last name stays for those who hold it.

use super::{Inode, Reference};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weald_model::{Errno, FileKind, Ino, Result};

/// A name in a directory and what it leads to.
type Named = (Ino, Vec<u8>, Ino);

/// What has to be done for the restored paths.
#[derive(Default)]
struct Plan {
    drops: Vec<Named>,
    puts: Vec<Named>,
    /// Directories that stay and get the attributes of then.
    kept: Vec<Ino>,
    /// Directories that paths are in: then, and the path to them.
    containers: BTreeSet<Ino>,
}

impl Reference {
    /// Restores everything that was in `then`, an earlier state of this file system; only `paths` if there are any.
    pub fn restore(&mut self, then: &Reference, paths: &[Vec<Vec<u8>>]) -> Result<()> {
        if paths.is_empty() || paths.iter().any(Vec::is_empty) {
            self.restore_all(then);
            return Ok(());
        }
        let before = self.clone();
        self.restore_paths(then, paths).inspect_err(|_| *self = before)
    }

    fn restore_all(&mut self, then: &Reference) {
        let named = then.inodes.iter().filter(|(_, inode)| inode.nlink > 0);
        let restored: BTreeMap<Ino, Inode> = named.map(|(ino, inode)| (*ino, inode.clone())).collect();
        let present = std::mem::replace(&mut self.inodes, restored);
        for (ino, inode) in present {
            if let Entry::Vacant(free) = self.inodes.entry(ino) {
                free.insert(inode);
                self.lose_name(ino);
            }
        }
    }

    /// What has no name any more changes only if it had one.
    fn lose_name(&mut self, ino: Ino) {
        let now = self.now;
        let inode = self.known(ino);
        if inode.nlink > 0 {
            inode.nlink = 0;
            inode.ctime = now;
            inode.entries.clear();
        }
    }

    fn restore_paths(&mut self, then: &Reference, paths: &[Vec<Vec<u8>>]) -> Result<()> {
        let is_below =
            |path: &Vec<Vec<u8>>| paths.iter().any(|other| other != path && path.starts_with(other));
        let paths: BTreeSet<&Vec<Vec<u8>>> = paths.iter().filter(|path| !is_below(path)).collect();
        let before = self.clone();
        let mut plan = Plan::default();
        let mut containers = Vec::new();
        for path in &paths {
            let (now, was) = (before.find(path), then.find(path));
            if now.is_none() && was.is_none() {
                return Err(Errno::NotFound);
            }
            containers.extend(now.as_ref().map(|(dir, ..)| *dir));
            plan.containers.extend(was.as_ref().map(|(dir, ..)| *dir));
            plan.compare(&before, then, now, was, true);
        }
        self.take_away(&plan, &containers);
        self.put_back(then, &plan, &paths)?;
        for dir in plan.kept {
            let entries = std::mem::take(&mut self.known(dir).entries);
            let parent = self.known(dir).parent;
            *self.known(dir) = Inode { entries, parent, ..then.inodes[&dir].clone() };
        }
        Ok(())
    }

    fn take_away(&mut self, plan: &Plan, containers: &[Ino]) {
        for (dir, name, ino) in &plan.drops {
            let is_dir = self.inodes[ino].kind == FileKind::Dir;
            let now = self.now;
            let inode = self.known(*ino);
            inode.nlink = if is_dir { 0 } else { inode.nlink - 1 };
            inode.ctime = now;
            self.known(*dir).entries.remove(name);
            if containers.contains(dir) {
                let dir = self.known(*dir);
                dir.nlink -= u32::from(is_dir);
                dir.touch(now);
            }
        }
    }

    fn put_back(&mut self, then: &Reference, plan: &Plan, paths: &BTreeSet<&Vec<Vec<u8>>>) -> Result<()> {
        let mut home: BTreeMap<Ino, Ino> = plan.kept.iter().map(|dir| (*dir, *dir)).collect();
        let mut files = BTreeMap::new();
        for (dir, name, ino) in &plan.puts {
            let is_outer = plan.containers.contains(dir);
            let parent = match home.get(dir) {
                Some(dir) => *dir,
                None => self.make_way(then, *dir, paths)?,
            };
            let was = &then.inodes[ino];
            let is_dir = was.kind == FileKind::Dir;
            let number = match files.get(ino) {
                Some(number) => *number,
                None => {
                    let number = self.free_number(*ino);
                    let mut made = Inode { parent, ..was.clone() };
                    made.nlink = if is_dir { made.nlink } else { 0 };
                    if is_dir {
                        // What stays in a directory that moved is still there.
                        let there = self.inodes.get(&number).map(|inode| inode.entries.clone());
                        made.entries = there.unwrap_or_default();
                        home.insert(*ino, number);
                    } else {
                        files.insert(*ino, number);
                    }
                    self.inodes.insert(number, made);
                    number
                }
            };
            self.known(number).nlink += u32::from(!is_dir);
            self.known(parent).entries.insert(name.clone(), number);
            if is_outer {
                let now = self.now;
                let dir = self.known(parent);
                dir.nlink += u32::from(is_dir);
                dir.touch(now);
            }
        }
        for (was, number) in files {
            if was != number || self.inodes[&number].nlink != then.inodes[&was].nlink {
                let now = self.now;
                self.known(number).ctime = now;
            }
        }
        Ok(())
    }

    /// The directory now where `dir` was then; made where it is missing.
    fn make_way(&mut self, then: &Reference, dir: Ino, paths: &BTreeSet<&Vec<Vec<u8>>>) -> Result<Ino> {
        let leads_there =
            |path: &&&Vec<Vec<u8>>| then.find(path).is_some_and(|(container, ..)| container == dir);
        let path = paths.iter().find(leads_there).expect("a container has a path in it");
        let (mut at, mut was) = (Ino::ROOT, Ino::ROOT);
        for name in &path[..path.len() - 1] {
            was = then.inodes[&was].entries[name];
            at = match self.inodes[&at].entries.get(name).copied() {
                Some(ino) if self.inodes[&ino].kind == FileKind::Dir => ino,
                Some(_) => return Err(Errno::NotDir),
                None => {
                    let number = self.free_number(was);
                    let (mtime, ctime) = (self.now, self.now);
                    let old = then.inodes[&was].clone();
                    let made = Inode { parent: at, nlink: 2, entries: BTreeMap::new(), mtime, ctime, ..old };
                    self.inodes.insert(number, made);
                    let above = self.known(at);
                    above.entries.insert(name.clone(), number);
                    above.nlink += 1;
                    above.touch(mtime);
                    number
                }
            };
        }
        Ok(at)
    }

    fn free_number(&mut self, then: Ino) -> Ino {
        if self.inodes.get(&then).is_none_or(|inode| inode.nlink == 0) {
            return then;
        }
        self.next += 1;
        Ino(self.next - 1)
    }

    fn find(&self, path: &[Vec<u8>]) -> Option<Named> {
        let (last, way) = path.split_last()?;
        let mut dir = Ino::ROOT;
        for name in way {
            dir = *self.inodes[&dir].entries.get(name)?;
        }
        let ino = self.inodes[&dir].entries.get(last)?;
        Some((dir, last.clone(), *ino))
    }

    fn is_dir(&self, ino: Ino) -> bool {
        self.inodes[&ino].kind == FileKind::Dir
    }
}

impl Plan {
    /// Notes what has to be done for one name and all below it.
    fn compare(
        &mut self,
        before: &Reference,
        then: &Reference,
        now: Option<Named>,
        was: Option<Named>,
        is_in_place: bool,
    ) {
        let now_dir = now.as_ref().map(|(.., ino)| *ino).filter(|ino| before.is_dir(*ino));
        let was_dir = was.as_ref().map(|(.., ino)| *ino).filter(|ino| then.is_dir(*ino));
        let is_one = now.as_ref().map(|(.., ino)| *ino) == was.as_ref().map(|(.., ino)| *ino);
        let is_same = |entry: &Named| is_same(&before.inodes[&entry.2], &then.inodes[&entry.2]);
        let stays = is_one && is_in_place && (now_dir.is_some() || now.as_ref().is_none_or(is_same));
        if !stays {
            self.drops.extend(now);
            self.puts.extend(was);
        } else if let Some(dir) = now_dir {
            self.kept.push(dir);
        }
        let list = |reference: &Reference, dir: Option<Ino>| {
            dir.map(|dir| reference.inodes[&dir].entries.clone()).unwrap_or_default()
        };
        let (now, was) = (list(before, now_dir), list(then, was_dir));
        let names: BTreeSet<&Vec<u8>> = now.keys().chain(was.keys()).collect();
        for name in names {
            let side = |dir: Option<Ino>, entries: &BTreeMap<Vec<u8>, Ino>| {
                dir.zip(entries.get(name)).map(|(dir, ino)| (dir, name.clone(), *ino))
            };
            self.compare(before, then, side(now_dir, &now), side(was_dir, &was), is_one);
        }
    }
}

/// Everything but the entries of a directory.
fn is_same(one: &Inode, other: &Inode) -> bool {
    let plain = |inode: &Inode| {
        let &Inode { kind, perm, uid, gid, rdev, nlink, atime, mtime, ctime, btime, .. } = inode;
        (kind, perm, uid, gid, rdev, nlink, atime, mtime, ctime, btime)
    };
    let same_content = Arc::ptr_eq(&one.content, &other.content) || one.content == other.content;
    plain(one) == plain(other) && one.xattrs == other.xattrs && same_content
}
