//! The state of a workspace: its overlay, and how a record changes it.
//!
//! Flat maps keyed by inode number, so renaming a directory moves one entry however much is below it. A clone is
//! O(1); that is what fork and snapshot are. `apply` is the only way to change a state, live and in replay.

use crate::base::Base;
use crate::content::{Content, Origin};
use crate::history::History;
use crate::persistent_map::Map;
use crate::record::XattrList;
use crate::rules::Guard;
use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};
use weald_model::attr::SIZE_UNKNOWN;
use weald_model::{Attr, Errno, FileKind, Ino, Name, Result, Timestamp};

mod apply;
mod check;
mod compare;
mod extents;
mod far;
mod feed;
mod parts;
mod restore;

pub(crate) use apply::At;
pub(crate) use compare::{Dirty, entries_of};
use feed::Feed;
pub(crate) use feed::{Moment, Subject};
pub(crate) use parts::{Counters, InodeChange};

/// Size of a directory in bytes: one block, as ext4 reports for small ones.
pub(crate) const DIR_BYTES: u64 = 4096;
/// Unit in which `st_blocks` is rounded, in bytes.
const BLOCK_BYTES: u64 = 4096;
/// Cookies of own names start here, above every cookie of a base name.
const FIRST_OWN_COOKIE: u64 = 1 << 32;

/// An overlay and its counters.
#[derive(Clone)]
pub(crate) struct State {
    /// Changed and new inodes; None is a base inode that is gone.
    inodes: Map<Ino, Option<Arc<Inode>>>,
    /// Changed and new names; None hides a base name.
    names: Map<(Ino, Name), Option<Dent>>,
    /// Names the base does not have, in the order they were made: what readdir goes by.
    order: Map<(Ino, u64), Listed>,
    /// Inodes without a name that the kernel may still use.
    orphans: Map<Ino, ()>,
    next_ino: u64,
    next_cookie: u64,
    pub(crate) files: u64,
    pub(crate) size_bytes: u64,
    pub(crate) private_bytes: u64,
    pub(crate) history: History,
    feed: Feed,
    /// What the ruled paths lead to, once it was asked for.
    pub(crate) guard: OnceLock<Arc<Guard>>,
}

/// A name at its place in the order, with where it leads: as [`State::names`] has it, so that listing looks nothing up there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: Name,
    pub(crate) ino: Ino,
    pub(crate) kind: FileKind,
}

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dent {
    pub(crate) ino: Ino,
    pub(crate) kind: FileKind,
    /// Place in the directory's stream: a base name has its node's number for ever.
    pub(crate) cookie: u64,
}

impl Dent {
    /// What is listed at its place.
    fn listed(self, name: &Name) -> Listed {
        Listed { name: name.clone(), ino: self.ino, kind: self.kind }
    }
}

/// An inode.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) kind: FileKind,
    pub(crate) perm: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) nlink: u32,
    pub(crate) rdev: u32,
    /// [`SIZE_UNKNOWN`] for a base node whose size the manifest does not have: then its body is the whole of that, and
    /// nothing was done to its content.
    pub(crate) size: u64,
    pub(crate) atime: Timestamp,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
    pub(crate) btime: Timestamp,
    pub(crate) body: Body,
    pub(crate) xattrs: Option<Arc<XattrList>>,
}

/// What an inode holds.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Nothing: devices, sockets, FIFOs.
    Plain,
    /// A directory and the one above it.
    Dir { parent: Ino },
    /// A regular file.
    File(Content),
    /// A symbolic link.
    Target(Target),
}

/// Where a symbolic link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// It was made here.
    Own(Arc<[u8]>),
    /// The source has it as the content of a base node.
    Base(Ino),
}

impl Inode {
    /// The value of an extended attribute.
    pub(crate) fn xattr(&self, name: &[u8]) -> Option<&[u8]> {
        let list = self.xattrs.as_deref()?;
        list.iter().find(|(stored, _)| stored == name).map(|(_, value)| value.as_slice())
    }

    /// The names of all extended attributes, each followed by NUL.
    pub(crate) fn xattr_names(&self) -> Vec<u8> {
        let mut names = Vec::new();
        for (name, _) in self.xattrs.iter().flat_map(|list| list.iter()) {
            names.extend_from_slice(name);
            names.push(0);
        }
        names
    }

    /// The content of a regular file.
    pub(crate) fn content(&self) -> Result<&Content> {
        match &self.body {
            Body::File(content) => Ok(content),
            Body::Dir { .. } => Err(Errno::IsDir),
            Body::Plain | Body::Target(_) => Err(Errno::Invalid),
        }
    }

    /// The bytes of its content that are in logs.
    pub(crate) fn private(&self) -> u64 {
        if let Body::File(content) = &self.body { content.private() } else { 0 }
    }

    /// What stat(2) tells; the size is [`SIZE_UNKNOWN`] as long as it is not known.
    pub(crate) fn attr(&self, base: &Base, ino: Ino) -> Attr {
        let known = self.known_size(base);
        let allocated = match &self.body {
            Body::File(_) if !self.is_sized() => known.unwrap_or(0),
            Body::File(content) => content.allocated(),
            Body::Dir { .. } => DIR_BYTES,
            Body::Plain | Body::Target(_) => 0,
        };
        Attr {
            ino,
            kind: self.kind,
            perm: self.perm,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size: known.unwrap_or(SIZE_UNKNOWN),
            blocks: allocated.div_ceil(BLOCK_BYTES) * (BLOCK_BYTES / 512),
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: self.btime,
        }
    }
}

impl State {
    /// The state of a workspace nothing was done in yet.
    pub(crate) fn new(base: &Base) -> Self {
        Self {
            inodes: Map::default(),
            names: Map::default(),
            order: Map::default(),
            orphans: Map::default(),
            next_ino: Ino::FIRST_OWN.0,
            next_cookie: FIRST_OWN_COOKIE,
            files: base.file_count(),
            size_bytes: base.total_bytes(),
            private_bytes: 0,
            history: History::new(),
            feed: Feed::new(),
            guard: OnceLock::new(),
        }
    }

    /// The state that a log begins with.
    pub(crate) fn begin(mut self) -> Self {
        self.history.begin();
        self.feed.begin();
        self
    }

    /// The number the next new inode gets.
    pub(crate) fn next_ino(&self) -> Ino {
        Ino(self.next_ino)
    }

    /// Runs `f` on an inode; ENOENT (ESTALE to NFS) when it does not exist.
    pub(crate) fn with<T>(&self, base: &Base, ino: Ino, f: impl FnOnce(&Inode) -> Result<T>) -> Result<T> {
        match self.inodes.get(&ino) {
            Some(Some(inode)) => f(inode),
            Some(None) => Err(Errno::NotFound),
            None if ino.is_base() => f(&base.inode(ino)?.ok_or(Errno::NotFound)?),
            None => Err(Errno::NotFound),
        }
    }

    /// The attributes of an inode.
    pub(crate) fn attr(&self, base: &Base, ino: Ino) -> Result<Attr> {
        self.with(base, ino, |inode| Ok(inode.attr(base, ino)))
    }

    /// The inode itself; None when it does not exist.
    pub(crate) fn inode(&self, base: &Base, ino: Ino) -> Result<Option<Arc<Inode>>> {
        match self.inodes.get(&ino) {
            Some(inode) => Ok(inode.clone()),
            None if ino.is_base() => Ok(base.inode(ino)?.map(Arc::new)),
            None => Ok(None),
        }
    }

    /// True when the inode exists and has a name, or is the root.
    pub(crate) fn is_named(&self, base: &Base, ino: Ino) -> Result<bool> {
        Ok(self.inode(base, ino)?.is_some_and(|inode| inode.nlink > 0))
    }

    /// Checks that `ino` is a directory one can still make names in, and returns it.
    pub(crate) fn live_dir<T>(&self, base: &Base, ino: Ino, f: impl FnOnce(&Inode) -> T) -> Result<T> {
        self.with(base, ino, |inode| match inode.kind {
            FileKind::Dir if inode.nlink > 0 => Ok(f(inode)),
            FileKind::Dir => Err(Errno::NotFound),
            _ => Err(Errno::NotDir),
        })
    }

    /// Where a name leads, if anywhere.
    pub(crate) fn entry(&self, base: &Base, parent: Ino, name: &[u8]) -> Result<Option<Dent>> {
        match self.names.find(|(ino, stored)| ino.cmp(&parent).then_with(|| stored.as_bytes().cmp(name))) {
            Some((_, dent)) => Ok(*dent),
            None => base.entry(parent, name),
        }
    }

    /// Every name that is not as the base has it.
    pub(crate) fn own_names(&self) -> impl Iterator<Item = (&(Ino, Name), &Option<Dent>)> {
        self.names.iter()
    }

    /// The last changes.
    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The name of a directory in the one above it. Cost: one look for a base directory where the base has it, else the
    /// own names there.
    pub(crate) fn name_in(&self, base: &Base, parent: Ino, dir: Ino) -> Result<Option<Name>> {
        if let Some((home, name)) = base.place(dir)?
            && home == parent
            && self.entry(base, parent, name.as_bytes())?.is_some_and(|dent| dent.ino == dir)
        {
            return Ok(Some(name));
        }
        let own = self.names.from(|(at, name)| at.cmp(&parent).then_with(|| name.as_bytes().cmp(b"")));
        let mut own = own.take_while(|((at, _), _)| *at == parent);
        Ok(own.find(|(_, dent)| dent.is_some_and(|dent| dent.ino == dir)).map(|((_, name), _)| name.clone()))
    }

    /// The directory above.
    pub(crate) fn parent_of(&self, base: &Base, dir: Ino) -> Result<Ino> {
        self.with(base, dir, |inode| match inode.body {
            Body::Dir { parent } if parent.0 != 0 => Ok(parent),
            Body::Dir { .. } => Ok(Ino::ROOT),
            _ => Err(Errno::NotDir),
        })
    }

    /// True when `ino` is `ancestor` or below it.
    pub(crate) fn is_within(&self, base: &Base, ino: Ino, ancestor: Ino) -> Result<bool> {
        let mut at = ino;
        loop {
            if at == ancestor {
                return Ok(true);
            }
            if at == Ino::ROOT {
                return Ok(false);
            }
            at = self.parent_of(base, at)?;
        }
    }

    /// True when a directory has no entry. Cost: entries removed since the base, in the worst case.
    pub(crate) fn is_empty(&self, base: &Base, dir: Ino) -> Result<bool> {
        let mut empty = true;
        self.read_dir(base, dir, 0, &mut |_, _| {
            empty = false;
            false
        })?;
        Ok(empty)
    }

    /// Walks a directory's stream from behind cookie `after`, until `each` says false.
    /// Base names come first in name order, then own names in the order they were made.
    pub(crate) fn read_dir(
        &self,
        base: &Base,
        dir: Ino,
        after: u64,
        each: &mut dyn FnMut(&[u8], Dent) -> bool,
    ) -> Result<()> {
        if after < FIRST_OWN_COOKIE {
            let children = base.children(dir)?;
            let changed = self.names.from(by_parent(dir)).next().is_some_and(|((ino, _), _)| *ino == dir);
            for ino in children.start.max(after + 1)..children.end {
                let name = base.name(Ino(ino))?;
                let dent = if changed {
                    self.entry(base, dir, name)?
                } else {
                    Some(Dent { ino: Ino(ino), kind: base.kind(Ino(ino))?, cookie: ino })
                };
                if dent.is_some_and(|dent| !each(name, dent)) {
                    return Ok(());
                }
            }
        }
        let own = self.order.from(|(ino, cookie)| ino.cmp(&dir).then(cookie.cmp(&(after + 1))));
        for (&(_, cookie), listed) in own.take_while(|((ino, _), _)| *ino == dir) {
            let Listed { ref name, ino, kind } = *listed;
            if !each(name.as_bytes(), Dent { ino, kind, cookie }) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Inodes without a name.
    pub(crate) fn orphans(&self) -> Vec<Ino> {
        self.orphans.iter().map(|(ino, ())| *ino).collect()
    }

    /// True when the inode has no name and waits to be forgotten.
    pub(crate) fn is_orphan(&self, ino: Ino) -> bool {
        self.orphans.get(&ino).is_some()
    }
}

/// Orders names by their directory alone: Equal for every name in `dir`.
fn by_parent(dir: Ino) -> impl Fn(&(Ino, Name)) -> Ordering {
    move |(ino, _)| ino.cmp(&dir)
}

/// Content of an inode given as one stored file.
pub(crate) fn stored_content(hash: [u8; 32], len: u64) -> Content {
    Content::whole(len, Origin::Cas(Arc::new(hash)))
}
