//! Making the trees of a sealed state, and of its checkpoint, from those of an earlier one.
//!
//! Invariant: the roots are those that would be made from nothing; `before` only spares work.

use super::aside::Aside;
use super::entry;
use super::header::{BaseId, Checkpoint, Header, Trees};
use super::object::{self, SealError};
use super::recipe::{Before, Kitchen, Recipe};
use super::tree;
use crate::content::{Content, Extent, Origin};
use crate::history::Point;
use crate::record::{Malformed, Reader, Writer};
use crate::state::{Inode, InodeChange, State};
use std::sync::Arc;
use weald_model::Ino;
use weald_store::cas::Hash;
use weald_store::log::Place;

/// An earlier state and what it was sealed as.
#[derive(Clone)]
pub(crate) struct Earlier {
    pub(crate) state: State,
    pub(crate) header: Header,
    pub(crate) checkpoint: Option<Checkpoint>,
}

/// What a state has of an inode, as it is sealed.
enum Shown<'a> {
    /// Nothing: the base's inode, or none.
    Nothing,
    /// The base's inode is gone.
    Gone,
    Inode(&'a Inode),
}

impl Kitchen<'_> {
    /// Seals a state: makes its trees and its header, and returns that and its hash.
    pub(crate) fn seal(
        &self,
        state: &State,
        (point, lineage): (Point, &[Point]),
        before: Option<&Earlier>,
    ) -> Result<(Header, Hash), SealError> {
        let empty = State::empty(self.base);
        let earlier = before.map_or(&empty, |before| &before.state);
        let roots = before.map(|before| before.header.trees);
        let trees = Trees {
            inodes: self.inodes(state, earlier, roots.map(|roots| roots.inodes).as_ref())?,
            names: self.names(state, earlier, roots.map(|roots| roots.names).as_ref())?,
        };
        let header = Header {
            base: BaseId::of(self.base),
            point,
            lineage: lineage.to_vec(),
            counters: state.counters(),
            trees,
        };
        let root = object::put(self.objects, &header.encode())?;
        Ok((header, root))
    }

    /// Makes the checkpoint of a sealed state.
    pub(crate) fn checkpoint(
        &self,
        (state, aside): (&State, &Aside),
        root: Hash,
        before: Option<&Earlier>,
    ) -> Result<(Checkpoint, Hash), SealError> {
        let (empty, none) = (State::empty(self.base), Recipe::new());
        let known = before.and_then(|before| Some((&before.state, before.checkpoint.as_ref()?.extents)));
        let earlier = known.map_or(&empty, |(state, _)| state);
        let extents = extent_changes(&state.inode_changes(earlier), (earlier, state));
        let extents =
            tree::update(self.objects, known.map(|(_, root)| root).as_ref(), extents.into_iter().map(Ok))?;
        let orphans = state.orphan_inodes().map(|(ino, inode)| {
            let inode = inode.ok_or(SealError::Malformed(root, "an inode that is gone has no name"))?;
            Ok((entry::ino_key(ino), Some(entry::encode_inode(self.objects, inode, &none, None)?)))
        });
        let orphans = tree::update(self.objects, None, orphans)?;
        let history = state.history.entries().into_iter().map(|(key, value)| Ok((key, Some(value))));
        let history = tree::update(self.objects, None, history)?;
        let aside = Some(aside.put(self.objects)?);
        let checkpoint = Checkpoint { root, orphans, extents, history, aside };
        let hash = object::put(self.objects, &checkpoint.encode())?;
        Ok((checkpoint, hash))
    }

    fn inodes(&self, state: &State, before: &State, root: Option<&Hash>) -> Result<Hash, SealError> {
        let changes = state.inode_changes(before);
        let changes = changes.iter().filter_map(|change| {
            let key = || entry::ino_key(change.ino);
            let old = shown(before, change.ino, change.old);
            match (shown(state, change.ino, change.new), old) {
                (Shown::Inode(new), Shown::Inode(old)) if new.is_same(old) => None,
                (Shown::Inode(new), old) => {
                    let old = if let Shown::Inode(old) = old { Some(old) } else { None };
                    Some(self.inode(change.ino, new, old.zip(root)).map(|value| (key(), Some(value))))
                }
                (Shown::Gone, _) => Some(Ok((key(), Some(entry::gone())))),
                (Shown::Nothing, _) => Some(Ok((key(), None))),
            }
        });
        tree::update(self.objects, root, changes)
    }

    /// The entry of an inode; `old` is what it was, and the tree that has that.
    fn inode(&self, ino: Ino, new: &Inode, old: Option<(&Inode, &Hash)>) -> Result<Vec<u8>, SealError> {
        if !(self.proceed)(0) {
            return Err(SealError::Stopped);
        }
        let Some(content) = new.own_content() else {
            return entry::encode_inode(self.objects, new, &Recipe::new(), None);
        };
        let old = old.and_then(|(inode, root)| Some((inode.own_content()?, root)));
        let stored = match old {
            Some((_, root)) => tree::get(self.objects, root, &entry::ino_key(ino))?,
            None => None,
        };
        let decoded = match &stored {
            Some(stored) => entry::decode_inode(self.objects, stored, &mut |_| true)?,
            None => None,
        };
        let before = old.zip(decoded.as_ref());
        let before = before.map(|((content, _), decoded)| Before { content, recipe: &decoded.recipe });
        let recipe = self.recipe(content, before)?;
        let old = decoded.as_ref().map(|decoded| (decoded.encoded, &decoded.recipe));
        entry::encode_inode(self.objects, new, &recipe, old)
    }

    fn names(&self, state: &State, before: &State, root: Option<&Hash>) -> Result<Hash, SealError> {
        let changes = state.name_changes(before);
        let changes = changes.iter().map(|change| {
            let (dir, name) = change.key;
            Ok((entry::name_key(*dir, name), change.new.map(|dent| entry::encode_dent(*dent))))
        });
        tree::update(self.objects, root, changes)
    }
}

/// What is sealed of an inode. One without a name is not there any more.
fn shown<'a>(state: &State, ino: Ino, slot: Option<&'a Option<Arc<Inode>>>) -> Shown<'a> {
    match slot {
        None => Shown::Nothing,
        Some(Some(inode)) if !state.is_orphan(ino) => Shown::Inode(inode),
        Some(_) if ino.is_base() => Shown::Gone,
        Some(_) => Shown::Nothing,
    }
}

/// What changes in the tree of extents.
fn extent_changes(
    changes: &[InodeChange<'_>],
    (before, after): (&State, &State),
) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for change in changes {
        let old = extents_of(before, change.ino, change.old);
        let new = extents_of(after, change.ino, change.new);
        let (mut old, mut new) = (old.peekable(), new.peekable());
        loop {
            let at = match (old.peek().map(|(at, _)| *at), new.peek().map(|(at, _)| *at)) {
                (Some(old), Some(new)) => old.min(new),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => break,
            };
            let was = old.next_if(|(offset, _)| *offset == at).map(|(_, extent)| extent);
            let is = new.next_if(|(offset, _)| *offset == at).map(|(_, extent)| extent);
            if was != is {
                let key = [change.ino.0.to_be_bytes(), at.to_be_bytes()].concat();
                all.push((key, is.as_ref().map(encode_extent)));
            }
        }
    }
    all
}

/// The extents of an inode that its recipe does not tell.
fn extents_of(
    state: &State,
    ino: Ino,
    slot: Option<&Option<Arc<Inode>>>,
) -> impl Iterator<Item = (u64, Extent)> {
    let content = slot.and_then(Option::as_ref).and_then(|inode| inode.own_content());
    let is_told = |content: &Content| !state.is_orphan(ino) && is_told_by_recipe(content);
    content.filter(|content| !is_told(content)).into_iter().flat_map(Content::iter)
}

/// True for a content that is one item of a recipe at most: one that was never written to.
fn is_told_by_recipe(content: &Content) -> bool {
    let mut extents = content.iter();
    let first = extents.next();
    let is_one = extents.next().is_none();
    let is_written =
        |extent: &Extent| matches!(extent.origin, Origin::Log(_) | Origin::Chunk(_) | Origin::Bytes(_));
    is_one && first.is_none_or(|(_, extent)| !is_written(&extent))
}

fn encode_extent(extent: &Extent) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut w = Writer(&mut bytes);
    w.number(extent.len);
    w.number(extent.skip);
    match &extent.origin {
        Origin::Zero => w.tag(0),
        Origin::Log(place) => {
            w.tag(1);
            w.raw(&place.to_bytes());
        }
        Origin::Base(ino) => {
            w.tag(2);
            w.number(ino.0);
        }
        Origin::Cas(hash) => {
            w.tag(3);
            w.raw(&**hash);
        }
        Origin::Chunk(hash) => {
            w.tag(4);
            w.raw(&**hash);
        }
        Origin::Bytes(bytes) => {
            w.tag(5);
            w.bytes(bytes);
        }
    }
    bytes
}

pub(super) fn decode_extent(bytes: &[u8]) -> Result<Extent, Malformed> {
    let mut r = Reader(bytes);
    let (len, skip) = (r.number()?, r.number()?);
    let origin = match r.tag()? {
        0 => Origin::Zero,
        1 => Origin::Log(Place::from_bytes(&r.raw()?)),
        2 => Origin::Base(Ino(r.number()?)),
        3 => Origin::Cas(Arc::new(r.raw()?)),
        4 => Origin::Chunk(Arc::new(r.raw()?)),
        5 => Origin::Bytes(r.bytes()?.into()),
        _ => return Err(Malformed("extent")),
    };
    match r.0.is_empty() && len > 0 && skip.checked_add(len).is_some() {
        true => Ok(Extent { len, skip, origin }),
        false => Err(Malformed("extent")),
    }
}
