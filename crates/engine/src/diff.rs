//! What differs between two pasts, by path.
//!
//! Two pasts on one base are compared by what their maps do not share, so that cost follows the difference; others by
//! walking both. A rename is a removal and an addition. Read next: `state/compare`.

use crate::content::{Origin, Piece};
use crate::past::Past;
use crate::state::{Dent, Dirty, Inode, entries_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weald_model::{Attr, Errno, FileKind, Ino, Name, Result};

/// Bytes compared at a time.
const COMPARE_BYTES: usize = 1 << 20;

/// One path that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Path from the root; empty for the root itself.
    pub path: Vec<u8>,
    /// Its attributes in the first; None when it is not there.
    pub old: Option<Attr>,
    /// Its attributes in the second.
    pub new: Option<Attr>,
    /// The bytes of the file, or the target of the symbolic link, differ. True when only one of both has any.
    pub content: bool,
}

/// Tells `each` what differs from `a` to `b`, until it says false. In the order of a walk: names of a directory by
/// their bytes, a directory before what is in it. What differs is existence, type, permissions, owner, device number,
/// extended attributes, and of everything but directories size, content and modification time. Cost: the difference
/// when both have the same base, else both trees. Reads content where it was written twice.
pub fn diff(a: &Past, b: &Past, each: &mut dyn FnMut(Difference) -> bool) -> Result<()> {
    let dirty = match a.base.is_same(&b.base) {
        true => Some(Dirty::new(&a.base, a.state(), b.state())?),
        false => None,
    };
    let mut walk = Walk { a, b, dirty, each, path: Vec::new() };
    let root = Some(Dent { ino: Ino::ROOT, kind: FileKind::Dir, cookie: 0 });
    if walk.compare(root, root)? {
        walk.dirs(Some(Ino::ROOT), Some(Ino::ROOT))?;
    }
    Ok(())
}

struct Walk<'a> {
    a: &'a Past,
    b: &'a Past,
    /// Where to look in directories that both have; None: everywhere.
    dirty: Option<Dirty>,
    each: &'a mut dyn FnMut(Difference) -> bool,
    path: Vec<u8>,
}

impl Walk<'_> {
    /// Compares what is in two directories. False when the walk ends.
    fn dirs(&mut self, a: Option<Ino>, b: Option<Ino>) -> Result<bool> {
        if let (Some(dirty), true) = (&self.dirty, a == b)
            && let Some(dir) = a
        {
            let names: Vec<Name> = dirty.names(dir).cloned().collect();
            for name in names {
                let old = self.a.state().entry(&self.a.base, dir, name.as_bytes())?;
                let new = self.b.state().entry(&self.b.base, dir, name.as_bytes())?;
                if !self.entry(name.as_bytes(), old, new)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let list = |past: &Past, dir: Option<Ino>| match dir {
            Some(dir) => entries_of(&past.base, past.state(), dir),
            None => Ok(BTreeMap::new()),
        };
        let (old, new) = (list(self.a, a)?, list(self.b, b)?);
        let names: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
        for name in names {
            if !self.entry(name, old.get(name).copied(), new.get(name).copied())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entry(&mut self, name: &[u8], old: Option<Dent>, new: Option<Dent>) -> Result<bool> {
        let len = self.path.len();
        if len > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        let go_on = self.compare(old, new)?;
        let is_dir = |dent: &Dent| dent.kind == FileKind::Dir;
        let (a, b) = (old.filter(is_dir), new.filter(is_dir));
        let go_on = go_on
            && ((a.is_none() && b.is_none()) || self.dirs(a.map(|dir| dir.ino), b.map(|dir| dir.ino))?);
        self.path.truncate(len);
        Ok(go_on)
    }

    /// Tells of the inodes of one path.
    fn compare(&mut self, old: Option<Dent>, new: Option<Dent>) -> Result<bool> {
        let inode = |past: &Past, dent: Option<Dent>| match dent {
            Some(dent) => past.state().inode(&past.base, dent.ino)?.ok_or(Errno::Io).map(Some),
            None => Ok(None),
        };
        let (a, b) = (inode(self.a, old)?, inode(self.b, new)?);
        let content = match (&a, &b) {
            (Some(a), Some(b)) if a.kind == b.kind => {
                let inos = (old.map_or(Ino::ROOT, |dent| dent.ino), new.map_or(Ino::ROOT, |dent| dent.ino));
                let content = self.content_differs((inos.0, a), (inos.1, b))?;
                if !content && is_alike(a, b) {
                    return Ok(true);
                }
                content
            }
            (None, None) => return Ok(true),
            _ => has_content(self.a, a.as_ref()) || has_content(self.b, b.as_ref()),
        };
        let attr = |past: &Past, inode: Option<Arc<Inode>>, dent: Option<Dent>| {
            inode.zip(dent).map(|(inode, dent)| inode.attr(&past.base, dent.ino))
        };
        let (old, new) = (attr(self.a, a, old), attr(self.b, b, new));
        Ok((self.each)(Difference { path: self.path.clone(), old, new, content }))
    }

    fn content_differs(&self, (a_ino, a): (Ino, &Inode), (b_ino, b): (Ino, &Inode)) -> Result<bool> {
        if !has_content_kind(a.kind) {
            return Ok(false);
        }
        if !a.is_sized() || !b.is_sized() {
            // What the source has under two ids is not the same, and under one it is.
            if let (Some(a), Some(b)) = (a.whole_base(&self.a.base), b.whole_base(&self.b.base)) {
                return Ok(self.a.base.blob(a)?.0 != self.b.base.blob(b)?.0);
            }
        }
        let size = self.a.size(a_ino)?;
        match a.kind {
            _ if size != self.b.size(b_ino)? => Ok(true),
            FileKind::Symlink => Ok(self.a.read_link(a_ino)? != self.b.read_link(b_ino)?),
            _ if self.dirty.is_some() && a.content()?.is_same(b.content()?) => Ok(false),
            _ => self.bytes_differ(a_ino, b_ino, size),
        }
    }

    /// Compares bytes where they do not come from one place.
    fn bytes_differ(&self, a: Ino, b: Ino, size: u64) -> Result<bool> {
        let mut at = 0;
        while at < size {
            let old = self.a.pieces(a, at, COMPARE_BYTES)?;
            let new = self.b.pieces(b, at, COMPARE_BYTES)?;
            if !self.is_same_place(&old, &new)? {
                let (mut one, mut other) = (Vec::new(), Vec::new());
                self.a.read(a, at, COMPARE_BYTES, &mut one)?;
                self.b.read(b, at, COMPARE_BYTES, &mut other)?;
                if one != other {
                    return Ok(true);
                }
            }
            at += COMPARE_BYTES as u64;
        }
        Ok(false)
    }

    /// True when two ranges show the same bytes of the same places, or zeros.
    fn is_same_place(&self, old: &[Piece], new: &[Piece]) -> Result<bool> {
        if old.len() != new.len() {
            return Ok(false);
        }
        for (old, new) in old.iter().zip(new) {
            let same = (old.offset, old.len) == (new.offset, new.len)
                && match (&old.extent, &new.extent) {
                    (None, None) => true,
                    (Some(one), Some(other)) => match (&one.origin, &other.origin) {
                        (Origin::Base(a), Origin::Base(b)) => {
                            one.skip == other.skip && self.a.base.blob(*a)?.0 == self.b.base.blob(*b)?.0
                        }
                        _ => one == other,
                    },
                    _ => false,
                };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// True when all that is told of an inode beside its content, which is the same, is the same.
fn is_alike(a: &Inode, b: &Inode) -> bool {
    let plain = |inode: &Inode| (inode.kind, inode.perm, inode.uid, inode.gid, inode.rdev);
    let is_dir = a.kind == FileKind::Dir;
    let same_size = a.size == b.size || !a.is_sized() || !b.is_sized();
    plain(a) == plain(b) && a.xattrs == b.xattrs && (is_dir || same_size && a.mtime == b.mtime)
}

fn has_content(past: &Past, inode: Option<&Arc<Inode>>) -> bool {
    let is_empty = |inode: &Inode| inode.known_size(&past.base) == Some(0);
    inode.is_some_and(|inode| has_content_kind(inode.kind) && !is_empty(inode))
}

fn has_content_kind(kind: FileKind) -> bool {
    matches!(kind, FileKind::File | FileKind::Symlink)
}
