//! Reading a sealed state back: as anybody can who has the objects, or exactly as its log has it.

use super::entry::{self, Decoded};
use super::header::{BaseId, Checkpoint, Header};
use super::make::decode_extent;
use super::object::{Objects, SealError};
use super::recipe::{self, Recipe};
use super::tree;
use crate::base::Base;
use crate::content::Content;
use crate::history::History;
use crate::record::Malformed;
use crate::state::{Body, Inode, State};
use std::collections::{HashMap, HashSet};
use weald_model::{FileKind, Ino};
use weald_store::cas::Hash;

/// The state that was sealed, without history and without inodes that had no name. Its content is read from chunks.
pub(crate) fn sealed_state(
    objects: &dyn Objects,
    base: &Base,
    root: &Hash,
) -> Result<(Header, State), SealError> {
    let header = Header::read(objects, root)?;
    must_be_on(base, &header, root)?;
    let mut state = State::from_counters(header.counters, History::new());
    put_inodes(objects, &header.trees.inodes, &mut |ino, decoded| {
        state.put_inode(ino, decoded.map(|decoded| with_content(decoded, None)), false);
    })?;
    put_names(objects, base, &header, &mut state)?;
    Ok((header, state))
}

/// The state behind the record of a sealed snapshot, the same in every respect as that which a replay makes.
pub(crate) fn checkpointed_state(
    objects: &dyn Objects,
    base: &Base,
    hash: &Hash,
) -> Result<(Header, Checkpoint, State), SealError> {
    let checkpoint = Checkpoint::read(objects, hash)?;
    let header = Header::read(objects, &checkpoint.root)?;
    must_be_on(base, &header, &checkpoint.root)?;
    let mut history = History::new();
    tree::walk(objects, &checkpoint.history, &[], &mut |key, value| {
        history.put_entry(key, value).map_err(malformed(&checkpoint.history))?;
        Ok(true)
    })?;
    let mut extents = extents(objects, &checkpoint.extents)?;
    let mut state = State::from_counters(header.counters, history);
    state.begin_feed(header.lineage.len() as u64 + 1, header.point.seq);
    let mut put = |state: &mut State, ino: Ino, decoded: Option<Decoded<'_>>, is_orphan| {
        let inode = decoded.map(|decoded| with_content(decoded, extents.remove(&ino)));
        state.put_inode(ino, inode, is_orphan);
    };
    let mut orphans = HashSet::new();
    put_inodes(objects, &checkpoint.orphans, &mut |ino, decoded| {
        orphans.insert(ino);
        put(&mut state, ino, decoded, true);
    })?;
    put_inodes(objects, &header.trees.inodes, &mut |ino, decoded| {
        // Of one that was open without a name the snapshot says that it is gone.
        if !orphans.contains(&ino) {
            put(&mut state, ino, decoded, false);
        }
    })?;
    put_names(objects, base, &header, &mut state)?;
    Ok((header, checkpoint, state))
}

/// Shows the recipes of all regular files of a sealed snapshot that are not as the base has them.
pub(crate) fn recipes(
    objects: &dyn Objects,
    root: &Hash,
    each: &mut dyn FnMut(Ino, Recipe) -> Result<(), SealError>,
) -> Result<(), SealError> {
    let trees = Header::read(objects, root)?.trees;
    tree::walk(objects, &trees.inodes, &[], &mut |key, value| {
        let ino = entry::ino_of(key).map_err(malformed(&trees.inodes))?;
        match entry::decode_inode(objects, value, &mut |_| true)? {
            Some(decoded) if decoded.inode.kind == FileKind::File => each(ino, decoded.recipe)?,
            _ => {}
        }
        Ok(true)
    })
    .map(drop)
}

fn must_be_on(base: &Base, header: &Header, root: &Hash) -> Result<(), SealError> {
    let is_same = header.base == BaseId::of(base);
    is_same.then_some(()).ok_or(SealError::Malformed(*root, "it is of another base"))
}

fn put_inodes(
    objects: &dyn Objects,
    root: &Hash,
    put: &mut dyn FnMut(Ino, Option<Decoded<'_>>),
) -> Result<(), SealError> {
    tree::walk(objects, root, &[], &mut |key, value| {
        let ino = entry::ino_of(key).map_err(malformed(root))?;
        put(ino, entry::decode_inode(objects, value, &mut |_| true)?);
        Ok(true)
    })
    .map(drop)
}

fn put_names(
    objects: &dyn Objects,
    base: &Base,
    header: &Header,
    state: &mut State,
) -> Result<(), SealError> {
    let root = &header.trees.names;
    tree::walk(objects, root, &[], &mut |key, value| {
        let name = entry::name_of(key).map_err(malformed(root))?;
        let dent = entry::decode_dent(value).map_err(malformed(root))?;
        state.put_dent(base, name, dent)?;
        Ok(true)
    })
    .map(drop)
}

fn with_content(decoded: Decoded<'_>, exact: Option<Content>) -> Inode {
    let mut inode = decoded.inode;
    if let Body::File(content) = &mut inode.body {
        *content = exact.unwrap_or_else(|| recipe::content(decoded.recipe));
    }
    inode
}

/// The extents of all files that the tree tells.
fn extents(objects: &dyn Objects, root: &Hash) -> Result<HashMap<Ino, Content>, SealError> {
    let mut all: HashMap<Ino, Content> = HashMap::new();
    tree::walk(objects, root, &[], &mut |key, value| {
        let (ino, offset) = key.split_at_checked(8).ok_or(SealError::Malformed(*root, "an extent's key"))?;
        let ino = entry::ino_of(ino).map_err(malformed(root))?;
        let offset = entry::ino_of(offset).map_err(malformed(root))?.0;
        let extent = decode_extent(value).map_err(malformed(root))?;
        if offset.checked_add(extent.len).is_none() {
            return Err(SealError::Malformed(*root, "an extent"));
        }
        all.entry(ino).or_default().put(offset, extent);
        Ok(true)
    })?;
    Ok(all)
}

fn malformed(root: &Hash) -> impl Fn(Malformed) -> SealError {
    move |Malformed(why)| SealError::Malformed(*root, why)
}
