//! Does a state fit together? Counts everything again, for tests and for whoever verifies a workspace.

use super::{Body, FIRST_OWN_COOKIE, State};
use crate::base::Base;
use std::collections::BTreeMap;
use weald_model::{FileKind, Ino, Result};

/// What a walk over the tree found of an inode.
#[derive(Default)]
struct Found {
    names: u32,
    subdirs: u32,
}

impl State {
    /// Says what does not fit: links, parents, orphans, streams, counters. Cost: the whole tree.
    pub(crate) fn check(&self, base: &Base) -> Result<std::result::Result<(), String>> {
        let mut faults = Vec::new();
        let found = self.walk(base, &mut faults)?;
        let (mut files, mut size_bytes) = (0, 0);
        for (ino, found) in &found {
            let Some(inode) = self.inode(base, *ino)? else {
                faults.push(format!("{ino:?} has a name and does not exist"));
                continue;
            };
            let links = if inode.kind == FileKind::Dir { 2 + found.subdirs } else { found.names };
            if inode.nlink != links {
                faults.push(format!("{ino:?} has {} links, not {links}", inode.nlink));
            }
            if matches!(inode.kind, FileKind::File | FileKind::Symlink) {
                files += 1;
                size_bytes += inode.counted_size();
            }
        }
        let mut private = 0;
        for (ino, inode) in self.inodes.iter() {
            let Some(inode) = inode else { continue };
            private += inode.private();
            let is_named = found.contains_key(ino);
            if is_named == self.is_orphan(*ino) || is_named != (inode.nlink > 0) {
                faults
                    .push(format!("{ino:?}: named {is_named}, {} links, orphan {}", inode.nlink, !is_named));
            }
            if !ino.is_base() && ino.0 >= self.next_ino {
                faults.push(format!("{ino:?} was not given out yet"));
            }
        }
        let counted = (files, size_bytes, private);
        let stored = (self.files, self.size_bytes, self.private_bytes);
        if counted != stored {
            faults.push(format!("files, bytes, private bytes are {counted:?}, not {stored:?}"));
        }
        self.check_streams(&mut faults);
        Ok(if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) })
    }

    fn walk(&self, base: &Base, faults: &mut Vec<String>) -> Result<BTreeMap<Ino, Found>> {
        let mut found = BTreeMap::from([(Ino::ROOT, Found { names: 1, subdirs: 0 })]);
        let mut open = vec![Ino::ROOT];
        while let Some(dir) = open.pop() {
            let mut below = Vec::new();
            self.read_dir(base, dir, 0, &mut |_, dent| {
                below.push(dent);
                true
            })?;
            for dent in below {
                let entry = found.entry(dent.ino).or_default();
                entry.names += 1;
                let is_new = entry.names == 1;
                match self.inode(base, dent.ino)?.as_deref() {
                    Some(inode) if inode.kind != dent.kind => {
                        faults.push(format!("{:?} in {dir:?} is of another type", dent.ino));
                    }
                    Some(inode) => {
                        if let Body::Dir { parent } = inode.body {
                            if parent != dir || !is_new {
                                faults.push(format!("{:?} is in {dir:?} and in {parent:?}", dent.ino));
                            }
                            found.entry(dir).or_default().subdirs += 1;
                            open.extend(is_new.then_some(dent.ino));
                        }
                    }
                    None => {}
                }
            }
        }
        Ok(found)
    }

    fn check_streams(&self, faults: &mut Vec<String>) {
        let mut own = 0;
        for ((dir, name), dent) in self.names.iter() {
            let Some(dent) = dent.filter(|dent| dent.cookie >= FIRST_OWN_COOKIE) else { continue };
            own += 1;
            if self.order.get(&(*dir, dent.cookie)) != Some(&dent.listed(name))
                || dent.cookie >= self.next_cookie
            {
                faults.push(format!("{name:?} in {dir:?} is not at its place in the stream"));
            }
        }
        if own != self.order.len() {
            faults.push(format!("{} places in streams for {own} names", self.order.len()));
        }
    }
}
