//! Inodes of the base whose size is not known, because their content is elsewhere.
//!
//! Invariant: what a state holds never depends on what was learnt of sizes beside it, so that a replay gives the same
//! state at any time. A size gets into it by a record, which is there before anything is done to the content.

use super::{Body, Inode, State, Target};
use crate::base::Base;
use crate::content::{Content, Origin};
use weald_model::attr::SIZE_UNKNOWN;
use weald_model::{Errno, FileKind, Ino, Result, Wait};

impl Inode {
    /// True when its size is part of the state.
    pub(crate) fn is_sized(&self) -> bool {
        self.size != SIZE_UNKNOWN
    }

    /// Its size in the figures of a workspace, where one that is not known is none.
    pub(crate) fn counted_size(&self) -> u64 {
        if self.is_sized() { self.size } else { 0 }
    }

    /// Its size, as far as it is known by now.
    pub(crate) fn known_size(&self, base: &Base) -> Option<u64> {
        match self.is_sized() {
            true => Some(self.size),
            false => self.unsized_base().and_then(|ino| base.known_size(ino)),
        }
    }

    /// Its size; EAGAIN inside Weald when it must be fetched first.
    pub(crate) fn size_here(&self, base: &Base) -> Result<u64> {
        self.known_size(base).ok_or(Errno::Unfetched)
    }

    /// The base node whose content it has and whose size is not part of the state.
    fn unsized_base(&self) -> Option<Ino> {
        match &self.body {
            _ if self.is_sized() => None,
            Body::Target(Target::Base(ino)) => Some(*ino),
            Body::File(content) => match content.iter().next()?.1.origin {
                Origin::Base(ino) => Some(ino),
                _ => None,
            },
            _ => None,
        }
    }

    /// The base node whose content, all of it and nothing else, it has for certain.
    pub(crate) fn whole_base(&self, base: &Base) -> Option<Ino> {
        if !self.is_sized() {
            return self.unsized_base();
        }
        match &self.body {
            Body::Target(Target::Base(ino)) => Some(*ino),
            Body::File(content) => {
                let mut extents = content.iter();
                let (_, first) = extents.next().filter(|(offset, _)| *offset == 0)?;
                let Origin::Base(ino) = first.origin else { return None };
                let is_all = first.skip == 0 && first.len == self.size && extents.next().is_none();
                (is_all && base.known_size(ino) == Some(self.size)).then_some(ino)
            }
            _ => None,
        }
    }

    /// True when nobody can see a difference: also when one has its size from a record, and the other beside the state.
    /// Whether that size is known here does not matter, or a replay could come to something else: whoever cut the file
    /// to another size left another time of change.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        match (self.is_sized(), other.is_sized()) {
            (false, true) => self.with_size(other.size).is_some_and(|sized| sized.is_same(other)),
            (true, false) => other.with_size(self.size).is_some_and(|sized| sized.is_same(self)),
            _ => self.is_same(other),
        }
    }

    /// The same with its size as part of it.
    fn with_size(&self, size: u64) -> Option<Inode> {
        let from = self.unsized_base()?;
        let body = match &self.body {
            Body::File(_) => Body::File(Content::whole(size, Origin::Base(from))),
            body => body.clone(),
        };
        Some(Inode { size, body, ..self.clone() })
    }

    /// The base nodes whose content is part of its own.
    pub(crate) fn base_parts(&self) -> Vec<Ino> {
        match &self.body {
            Body::Target(Target::Base(ino)) => vec![*ino],
            Body::File(content) => {
                let base = |(_, extent): (u64, crate::content::Extent)| match extent.origin {
                    Origin::Base(ino) => Some(ino),
                    _ => None,
                };
                let mut all: Vec<Ino> = content.iter().filter_map(base).collect();
                all.sort_unstable();
                all.dedup();
                all
            }
            _ => Vec::new(),
        }
    }
}

impl State {
    /// Says whether the content of a regular file can be changed; EAGAIN inside Weald when its size must be recorded
    /// first.
    pub(crate) fn must_be_editable(&self, base: &Base, ino: Ino) -> Result<()> {
        self.with(base, ino, |inode| {
            inode.content()?;
            if inode.is_sized() { Ok(()) } else { Err(Errno::Unfetched) }
        })
    }

    /// Takes a size into the state.
    pub(super) fn learn_size(&mut self, base: &Base, ino: Ino, size: u64) -> Result<()> {
        let inode = self.inode_mut(base, ino)?;
        let Some(from) = inode.unsized_base() else { return Ok(()) };
        inode.size = size;
        if let Body::File(content) = &mut inode.body {
            *content = Content::whole(size, Origin::Base(from));
        }
        let is_named = inode.nlink > 0;
        if is_named {
            self.count(FileKind::File, size as i64, 0);
        }
        Ok(())
    }

    /// Before a record changes content. There is none of an unknown size then, unless the base was listed anew from a
    /// source that has become lazy since: the content is what it was, so its size is asked for.
    pub(super) fn must_be_sized(&mut self, base: &Base, ino: Ino) -> Result<()> {
        let unknown = self.with(base, ino, |inode| Ok(inode.unsized_base()))?;
        let Some(from) = unknown else { return Ok(()) };
        if base.known_size(from).is_none() {
            base.fetch(from, &|| base.time(), &Wait::default())?;
        }
        let size = base.known_size(from).ok_or(Errno::Io)?;
        self.learn_size(base, ino, size)
    }
}
