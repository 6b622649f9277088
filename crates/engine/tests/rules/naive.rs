//! What rules should do, as simply as it can be said: paths, files by number, and every question asked of all paths.

use std::collections::{BTreeMap, BTreeSet};
use weald_engine::{DeletionLimit, PathRule, Rules};
use weald_model::Errno;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Dir,
    File(u64),
}

/// A tree and its rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Naive {
    /// Without the root.
    pub(crate) tree: BTreeMap<Vec<u8>, What>,
    /// Bytes of each file, and how many of them, from the first on, are not the base's.
    pub(crate) files: BTreeMap<u64, (u64, u64)>,
    pub(crate) next: u64,
    pub(crate) rules: Rules,
    /// Moments of deletions, in seconds.
    pub(crate) deletions: Vec<i64>,
    pub(crate) stopped: bool,
    pub(crate) free_until: i64,
}

pub(crate) fn above(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at])
}

pub(crate) fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() && !path.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}

fn refused(rule: Option<PathRule>) -> Result<(), Errno> {
    match rule {
        None => Ok(()),
        Some(PathRule::ReadOnly) => Err(Errno::ReadOnly),
        Some(PathRule::Masked) => Err(Errno::Access),
    }
}

impl Naive {
    pub(crate) fn dirs(&self) -> Vec<Vec<u8>> {
        let dirs = self.tree.iter().filter(|(_, what)| **what == What::Dir);
        [Vec::new()].into_iter().chain(dirs.map(|(path, _)| path.clone())).collect()
    }

    fn rule_of_path(&self, path: &[u8]) -> Option<PathRule> {
        let on_way = |ruled: &[u8]| ruled == path || is_below(path, ruled);
        self.rules.paths.iter().filter(|(ruled, _)| on_way(ruled)).map(|(_, rule)| *rule).max()
    }

    pub(crate) fn rule(&self, path: &[u8]) -> Option<PathRule> {
        match self.tree.get(path) {
            Some(What::File(file)) => {
                let names = self.tree.iter().filter(|(_, what)| **what == What::File(*file));
                names.map(|(path, _)| self.rule_of_path(path)).max().flatten()
            }
            _ => self.rule_of_path(path),
        }
    }

    /// Every path that can be seen.
    pub(crate) fn seen(&self) -> BTreeSet<Vec<u8>> {
        let seen = self.tree.keys().filter(|path| {
            self.rule(path) != Some(PathRule::Masked) && self.rule_of_path(path) != Some(PathRule::Masked)
        });
        seen.cloned().collect()
    }

    fn may_make(&self, path: &[u8]) -> Result<(), Errno> {
        refused(self.rule_of_path(above(path)))?;
        refused(self.rules.paths.get(path).copied())
    }

    fn may_take(&self, path: &[u8]) -> Result<(), Errno> {
        self.may_make(path)?;
        let is_through =
            self.rules.paths.keys().any(|ruled| is_below(ruled, path) && self.tree.contains_key(ruled));
        if is_through { Err(Errno::Busy) } else { Ok(()) }
    }

    fn may_get(&self, path: &[u8], is_dir: bool) -> Result<(), Errno> {
        self.may_make(path)?;
        let is_on_way = self.rules.paths.keys().any(|ruled| is_below(ruled, path) || ruled == path);
        if is_dir && is_on_way { Err(Errno::Busy) } else { Ok(()) }
    }

    fn file_room(&self) -> Result<(), Errno> {
        let files: BTreeSet<u64> = self.files_named();
        match self.rules.max_files {
            Some(max) if files.len() as u64 >= max => Err(Errno::Quota),
            _ => Ok(()),
        }
    }

    fn files_named(&self) -> BTreeSet<u64> {
        self.tree
            .values()
            .filter_map(|what| if let What::File(file) = what { Some(*file) } else { None })
            .collect()
    }

    fn private(&self) -> u64 {
        self.files_named().iter().map(|file| self.files[file].1).sum()
    }

    pub(crate) fn make(&mut self, path: &[u8], is_dir: bool) -> Result<(), Errno> {
        self.may_make(path)?;
        if self.tree.contains_key(path) {
            return Err(Errno::Exists);
        }
        self.file_room()?;
        let what = match is_dir {
            true => What::Dir,
            false => {
                self.next += 1;
                self.files.insert(self.next, (0, 0));
                What::File(self.next)
            }
        };
        self.tree.insert(path.to_vec(), what);
        Ok(())
    }

    /// Writes so many bytes at the file's beginning.
    pub(crate) fn write(&mut self, path: &[u8], len: u64) -> Result<(), Errno> {
        let Some(What::File(file)) = self.tree.get(path).copied() else { return Err(Errno::IsDir) };
        refused(self.rule(path))?;
        let (size, private) = self.files[&file];
        let more = len.saturating_sub(private);
        if more > 0 && self.rules.max_bytes.is_some_and(|max| self.private() + more > max) {
            return Err(Errno::Quota);
        }
        self.files.insert(file, (size.max(len), private.max(len)));
        Ok(())
    }

    pub(crate) fn read(&self, path: &[u8]) -> Result<u64, Errno> {
        let Some(What::File(file)) = self.tree.get(path) else { return Err(Errno::IsDir) };
        match self.rule(path) {
            Some(PathRule::Masked) => Err(Errno::Access),
            _ => Ok(self.files[file].0),
        }
    }

    pub(crate) fn link(&mut self, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        let Some(what @ What::File(_)) = self.tree.get(from).copied() else {
            return Err(Errno::NotPermitted);
        };
        refused(self.rule(from))?;
        self.may_make(to)?;
        if self.tree.contains_key(to) {
            return Err(Errno::Exists);
        }
        self.tree.insert(to.to_vec(), what);
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &[u8], is_rmdir: bool, now: i64) -> Result<(), Errno> {
        self.may_take(path)?;
        match (self.tree[path], is_rmdir) {
            (What::Dir, false) => return Err(Errno::IsDir),
            (What::File(_), true) => return Err(Errno::NotDir),
            (What::Dir, true) if self.has_entries(path) => return Err(Errno::NotEmpty),
            _ => {}
        }
        self.may_delete(now)?;
        self.tree.remove(path);
        Ok(())
    }

    fn has_entries(&self, dir: &[u8]) -> bool {
        self.tree.keys().any(|path| is_below(path, dir))
    }

    fn may_delete(&mut self, now: i64) -> Result<(), Errno> {
        let Some(DeletionLimit { count, seconds }) = self.rules.max_deletions else { return Ok(()) };
        if self.stopped {
            return Err(Errno::NotPermitted);
        }
        if now < self.free_until {
            return Ok(());
        }
        let recent = self.deletions.iter().filter(|then| now - **then < i64::from(seconds)).count();
        if recent >= count as usize {
            self.stopped = true;
            return Err(Errno::NotPermitted);
        }
        self.deletions.push(now);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: &[u8], to: &[u8], exchange: bool) -> Result<(), Errno> {
        let moved = self.tree[from];
        let target = self.tree.get(to).copied();
        self.may_take(from)?;
        self.may_get(to, moved == What::Dir)?;
        if let Some(target) = target {
            self.may_take(to)?;
            if exchange {
                self.may_get(from, target == What::Dir)?;
            }
        } else if exchange {
            return Err(Errno::NotFound);
        }
        if moved == What::Dir && is_below(to, from) {
            return Err(Errno::Invalid);
        }
        if let Some(target) = target {
            if is_below(from, to) {
                return Err(if exchange { Errno::Invalid } else { Errno::NotEmpty });
            }
            if from == to || moved == target && moved != What::Dir {
                return Ok(());
            }
            match (moved, target) {
                _ if exchange => {}
                (What::Dir, What::File(_)) => return Err(Errno::NotDir),
                (What::File(_), What::Dir) => return Err(Errno::IsDir),
                (What::Dir, What::Dir) if self.has_entries(to) => return Err(Errno::NotEmpty),
                _ => {}
            }
        }
        let one = self.cut(from);
        let other = self.cut(to);
        self.paste(one, to);
        if exchange {
            self.paste(other, from);
        }
        Ok(())
    }

    /// Takes a path out, with all below it, which are named by what is behind it.
    fn cut(&mut self, path: &[u8]) -> Vec<(Vec<u8>, What)> {
        let all: Vec<Vec<u8>> =
            self.tree.keys().filter(|other| *other == path || is_below(other, path)).cloned().collect();
        let rest = |whole: &[u8]| whole[path.len()..].to_vec();
        all.iter().filter_map(|whole| self.tree.remove(whole).map(|what| (rest(whole), what))).collect()
    }

    fn paste(&mut self, all: Vec<(Vec<u8>, What)>, at: &[u8]) {
        self.tree.extend(all.into_iter().map(|(rest, what)| ([at, &rest].concat(), what)));
    }
}
