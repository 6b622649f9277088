//! The directories of the crashing disk.
//!
//! Invariant: what is seen = durable entries + all changes in order. A change is durable once a directory it
//! touches was synced; a rename is one change, so a crash leaves the old name or the new one, never none.

use super::Fate;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

const ROOT: u64 = 0;

/// Entries of one directory: the inode of each name.
type Entries = BTreeMap<OsString, u64>;

/// A name in a directory.
type Spot = (u64, OsString);

/// One change: a name leaves a spot, or comes to one, or both.
#[derive(Clone)]
struct Change {
    clock: u64,
    ino: u64,
    from: Option<Spot>,
    to: Option<Spot>,
}

/// All directories.
#[derive(Clone)]
pub(super) struct Names {
    seen: BTreeMap<u64, Entries>,
    durable: BTreeMap<u64, Entries>,
    changes: Vec<Change>,
    next: u64,
}

impl Default for Names {
    fn default() -> Self {
        let root = BTreeMap::from([(ROOT, Entries::new())]);
        Self { seen: root.clone(), durable: root, changes: Vec::new(), next: ROOT + 1 }
    }
}

impl Names {
    pub(super) fn crash(&self, fate: &Fate) -> Names {
        let mut durable = self.durable.clone();
        for change in self.changes.iter().filter(|change| fate.of(change.clock) > 0) {
            apply(&mut durable, change);
        }
        Names { seen: durable.clone(), durable, changes: Vec::new(), next: self.next }
    }

    pub(super) fn dir(&self, path: &Path) -> io::Result<u64> {
        let ino = self.find(path)?;
        if self.seen.contains_key(&ino) { Ok(ino) } else { Err(error(20)) }
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        let ino = self.find(path)?;
        if self.seen.contains_key(&ino) { Err(error(21)) } else { Ok(ino) }
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        Ok(self.seen[&self.dir(path)?].keys().cloned().collect())
    }

    /// Every file with its inode.
    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, dir)) = open.pop() {
            for (name, ino) in &self.seen[&dir] {
                let path = path.join(name);
                if self.seen.contains_key(ino) {
                    open.push((path, *ino));
                } else {
                    found.push((path, *ino));
                }
            }
        }
        found
    }

    pub(super) fn make_dir(&mut self, path: &Path, clock: u64) -> io::Result<()> {
        let ino = self.make(path, clock)?;
        self.seen.insert(ino, Entries::new());
        self.durable.insert(ino, Entries::new());
        Ok(())
    }

    pub(super) fn make_file(&mut self, path: &Path, clock: u64) -> io::Result<u64> {
        self.make(path, clock)
    }

    fn make(&mut self, path: &Path, clock: u64) -> io::Result<u64> {
        let spot = self.spot(path)?;
        if self.seen[&spot.0].contains_key(&spot.1) {
            return Err(error(17));
        }
        let ino = self.next;
        self.next += 1;
        self.push(Change { clock, ino, from: None, to: Some(spot) });
        Ok(ino)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, clock: u64) -> io::Result<()> {
        let ino = self.find(from)?;
        let change = Change { clock, ino, from: Some(self.spot(from)?), to: Some(self.spot(to)?) };
        if let Ok(replaced) = self.find(to)
            && self.seen.get(&replaced).is_some_and(|entries| !entries.is_empty())
        {
            return Err(error(39));
        }
        self.push(change);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path, clock: u64) -> io::Result<()> {
        let change = Change { clock, ino: self.find(path)?, from: Some(self.spot(path)?), to: None };
        self.push(change);
        Ok(())
    }

    pub(super) fn sync(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir(path)?;
        let touches = |spot: &Option<Spot>| spot.as_ref().is_some_and(|spot| spot.0 == dir);
        let changes = std::mem::take(&mut self.changes);
        let (done, left) =
            changes.into_iter().partition(|change| touches(&change.from) || touches(&change.to));
        self.changes = left;
        let done: Vec<Change> = done;
        done.iter().for_each(|change| apply(&mut self.durable, change));
        Ok(())
    }

    fn push(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.changes.push(change);
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut ino = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                let dir = self.seen.get(&ino).ok_or_else(|| error(20))?;
                ino = *dir.get(name).ok_or_else(|| error(2))?;
            }
        }
        Ok(ino)
    }

    fn spot(&self, path: &Path) -> io::Result<Spot> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(error(22));
        };
        Ok((self.dir(parent)?, name.to_owned()))
    }
}

/// Applies a change as far as it makes sense: after a crash an earlier one may be missing.
fn apply(dirs: &mut BTreeMap<u64, Entries>, change: &Change) {
    if let Some((dir, name)) = &change.from
        && let Some(entries) = dirs.get_mut(dir)
        && entries.get(name) == Some(&change.ino)
    {
        entries.remove(name);
    }
    if let Some((dir, name)) = &change.to
        && let Some(entries) = dirs.get_mut(dir)
    {
        entries.insert(name.clone(), change.ino);
    }
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
