//! What a file's bytes are, without a log: ranges of the base, stored files, and chunks of what was written here.
//!
//! A recipe says nothing of how the bytes came to be: neighbouring extents are one, and written bytes are cut by
//! content. So equal content has equal recipes. Gaps are holes.
//! Invariant: a recipe made from an older one is the one that would be made from nothing; what is read for it are the
//! chunks that changed, to where old and new cuts meet again. Read next: `cut`.

use super::cut::{CUT_BYTES_MAX, first_cut};
use super::object::{Objects, SealError};
use super::tree;
use crate::Shared;
use crate::base::Base;
use crate::content::{Content, Extent, Origin};
use crate::record::{Malformed, Reader, Writer};
use std::sync::Arc;
use weald_model::{Errno, Ino};
use weald_store::cas::Hash;

/// A run of written bytes up to this length lies in the recipe itself.
const BYTES_MAX: u64 = 256;
/// A recipe that takes more is a tree of its own.
const INLINE_BYTES_MAX: usize = 512;
/// Bytes at hand at most while a run is cut: they stay in the processor's cache.
const READ_BYTES_MAX: u64 = 1 << 20;

/// A recipe: where each item is in the file, ascending.
pub(crate) type Recipe = Vec<(u64, Item)>;

/// A run of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Allocated and never written: zeros.
    Zero { len: u64 },
    /// A part of a base node's blob.
    Base { ino: Ino, skip: u64, len: u64 },
    /// A part of an immutable file of the store.
    Stored { hash: Hash, skip: u64, len: u64 },
    /// The bytes themselves: a whole run.
    Bytes(Vec<u8>),
    /// A chunk.
    Chunk { hash: Hash, len: u32 },
}

/// Where written bytes are read from, and what was made of them before.
pub(crate) struct Kitchen<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) base: &'a Base,
    pub(crate) objects: &'a dyn Objects,
    /// Asked between chunks; says when to stop.
    pub(crate) proceed: &'a dyn Fn(u64) -> bool,
}

/// What a file was, and its recipe then.
pub(crate) struct Before<'a> {
    pub(crate) content: &'a Content,
    pub(crate) recipe: &'a Recipe,
}

/// A range of bytes.
type Span = std::ops::Range<u64>;

/// What neighbouring extents of one kind are together.
enum Stretch {
    Written(Span),
    Other(u64, Item),
}

impl Item {
    /// Bytes of the file that it is.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Item::Zero { len } | Item::Base { len, .. } | Item::Stored { len, .. } => *len,
            Item::Bytes(bytes) => bytes.len() as u64,
            Item::Chunk { len, .. } => u64::from(*len),
        }
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Item::Zero { len } => {
                w.tag(1);
                w.number(*len);
            }
            Item::Base { ino, skip, len } => {
                w.tag(2);
                w.number(ino.0);
                w.number(*skip);
                w.number(*len);
            }
            Item::Stored { hash, skip, len } => {
                w.tag(3);
                w.raw(hash);
                w.number(*skip);
                w.number(*len);
            }
            Item::Bytes(bytes) => {
                w.tag(4);
                w.bytes(bytes);
            }
            Item::Chunk { hash, len } => {
                w.tag(5);
                w.raw(hash);
                w.number(u64::from(*len));
            }
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let item = match r.tag()? {
            1 => Item::Zero { len: r.number()? },
            2 => Item::Base { ino: Ino(r.number()?), skip: r.number()?, len: r.number()? },
            3 => Item::Stored { hash: r.raw()?, skip: r.number()?, len: r.number()? },
            4 => Item::Bytes(r.bytes()?.to_vec()),
            5 => Item::Chunk { hash: r.raw()?, len: r.small()? },
            _ => return Err(Malformed("unknown item")),
        };
        if item.len() == 0 { Err(Malformed("an empty item")) } else { Ok(item) }
    }
}

/// Encodes a recipe; `old` is the encoding of the one it came from.
pub(crate) fn encode(
    objects: &dyn Objects,
    recipe: &Recipe,
    old: Option<(&[u8], &Recipe)>,
    w: &mut Writer<'_>,
) -> Result<(), SealError> {
    let mut inline = Vec::new();
    for (offset, item) in recipe {
        Writer(&mut inline).number(*offset);
        item.encode(&mut Writer(&mut inline));
        if inline.len() > INLINE_BYTES_MAX {
            break;
        }
    }
    if inline.len() <= INLINE_BYTES_MAX {
        w.tag(0);
        w.bytes(&inline);
        return Ok(());
    }
    let none = Recipe::new();
    let (root, old) = match old.map(|(encoded, recipe)| (tree_root(encoded), recipe)) {
        Some((Some(root), recipe)) => (Some(root), recipe),
        _ => (None, &none),
    };
    let root = tree::update(objects, root.as_ref(), changes(old, recipe).map(Ok))?;
    w.tag(1);
    w.raw(&root);
    Ok(())
}

/// Decodes a recipe.
pub(crate) fn decode(
    objects: &dyn Objects,
    r: &mut Reader<'_>,
    part: &mut dyn FnMut(&Hash) -> bool,
) -> Result<Recipe, SealError> {
    let malformed = |Malformed(why)| SealError::Malformed([0; 32], why);
    let mut recipe = Recipe::new();
    match r.tag().map_err(malformed)? {
        0 => {
            let mut inline = Reader(r.bytes().map_err(malformed)?);
            while !inline.0.is_empty() {
                let item = inline.number().and_then(|offset| Ok((offset, Item::decode(&mut inline)?)));
                push(&mut recipe, item.map_err(malformed)?).map_err(malformed)?;
            }
        }
        1 => {
            let root = r.raw().map_err(malformed)?;
            tree::walk_parts(objects, &root, part, &mut |key, value| {
                let malformed = |Malformed(why)| SealError::Malformed(root, why);
                let offset = key.try_into().map(u64::from_be_bytes);
                let offset = offset.map_err(|_| SealError::Malformed(root, "an offset"))?;
                let mut value = Reader(value);
                let item = Item::decode(&mut value).map_err(malformed)?;
                push(&mut recipe, (offset, item)).map_err(malformed)?;
                Ok(true)
            })?;
        }
        _ => return Err(SealError::Malformed([0; 32], "unknown recipe")),
    }
    Ok(recipe)
}

/// The content that a recipe describes.
pub(crate) fn content(recipe: Recipe) -> Content {
    let mut content = Content::default();
    for (offset, item) in recipe {
        let len = item.len();
        let (skip, origin) = match item {
            Item::Zero { .. } => (0, Origin::Zero),
            Item::Base { ino, skip, .. } => (skip, Origin::Base(ino)),
            Item::Stored { hash, skip, .. } => (skip, Origin::Cas(Arc::new(hash))),
            Item::Bytes(bytes) => (0, Origin::Bytes(bytes.into())),
            Item::Chunk { hash, .. } => (0, Origin::Chunk(Arc::new(hash))),
        };
        content.put(offset, Extent { len, skip, origin });
    }
    content
}

fn push(recipe: &mut Recipe, (offset, item): (u64, Item)) -> Result<(), Malformed> {
    let end = recipe.last().map_or(0, |(offset, item)| offset + item.len());
    if offset < end || offset.checked_add(item.len()).is_none() {
        return Err(Malformed("items that overlap"));
    }
    recipe.push((offset, item));
    Ok(())
}

fn tree_root(encoded: &[u8]) -> Option<Hash> {
    let mut r = Reader(encoded);
    if r.tag().ok()? == 1 { r.raw().ok() } else { None }
}

/// What changes in the tree of a recipe.
fn changes(old: &Recipe, new: &Recipe) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
    let mut changes = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let (before, after) = (old.peek().map(|(at, _)| *at), new.peek().map(|(at, _)| *at));
        let at = match (before, after) {
            (Some(before), Some(after)) => before.min(after),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => break,
        };
        let before = old.next_if(|(offset, _)| *offset == at).map(|(_, item)| item);
        let after = new.next_if(|(offset, _)| *offset == at).map(|(_, item)| item);
        if before != after {
            let value = after.map(|item| {
                let mut value = Vec::new();
                item.encode(&mut Writer(&mut value));
                value
            });
            changes.push((at.to_be_bytes().to_vec(), value));
        }
    }
    changes.into_iter()
}

impl Kitchen<'_> {
    /// The recipe of a content. Chunks are put as they are found.
    pub(crate) fn recipe(&self, content: &Content, before: Option<Before<'_>>) -> Result<Recipe, SealError> {
        let dirty = before.as_ref().map(|before| before.content.differences(content)).unwrap_or_default();
        let none = Recipe::new();
        let old = before.as_ref().map_or(&none, |before| before.recipe);
        let mut recipe = Recipe::new();
        for stretch in stretches(content)? {
            match stretch {
                Stretch::Other(offset, item) => recipe.push((offset, item)),
                Stretch::Written(run) if run.end - run.start <= BYTES_MAX => {
                    let mut bytes = Vec::new();
                    self.read(content, &run, &mut bytes)?;
                    recipe.push((run.start, Item::Bytes(bytes)));
                }
                Stretch::Written(run) => {
                    Cutting { kitchen: self, content, old, dirty: &dirty, run }.run(&mut recipe)?
                }
            }
        }
        Ok(recipe)
    }

    fn read(&self, content: &Content, span: &Span, bytes: &mut Vec<u8>) -> Result<(), SealError> {
        Ok(self.shared.read_pieces(self.base, &content.pieces(span.start, span.end), bytes)?)
    }
}

/// A run of written bytes being cut.
struct Cutting<'a> {
    kitchen: &'a Kitchen<'a>,
    content: &'a Content,
    old: &'a Recipe,
    /// Where the old content differs.
    dirty: &'a [Span],
    run: Span,
}

impl Cutting<'_> {
    fn run(&self, recipe: &mut Recipe) -> Result<(), SealError> {
        let mut at = self.run.start;
        while at < self.run.end {
            match self.reusable(at) {
                Some(item) => {
                    recipe.push((at, item.clone()));
                    at += item.len();
                }
                None => at = self.cut(at, recipe)?,
            }
        }
        Ok(())
    }

    /// Cuts from `at` on, until the run ends or an old chunk can be taken; returns where that is.
    fn cut(&self, mut at: u64, recipe: &mut Recipe) -> Result<u64, SealError> {
        let mut bytes = Vec::new();
        let mut read_to = at;
        // A change is small most often, so it begins with little.
        let mut wanted = CUT_BYTES_MAX as u64;
        loop {
            let end = self.run.end.min(at + wanted);
            self.kitchen.read(self.content, &(read_to..end), &mut bytes)?;
            read_to = end;
            let mut done = 0;
            while at < self.run.end {
                let data = &bytes[done..];
                if data.len() < CUT_BYTES_MAX && read_to < self.run.end {
                    break;
                }
                if !(self.kitchen.proceed)(0) {
                    return Err(SealError::Stopped);
                }
                let chunk = &data[..first_cut(data)];
                let hash = self.kitchen.objects.put_content(chunk)?;
                recipe.push((at, Item::Chunk { hash, len: chunk.len() as u32 }));
                (self.kitchen.proceed)(chunk.len() as u64);
                at += chunk.len() as u64;
                done += chunk.len();
                if at == self.run.end || self.reusable(at).is_some() {
                    return Ok(at);
                }
            }
            bytes.drain(..done);
            wanted = READ_BYTES_MAX;
        }
    }

    /// The old chunk that begins here, if it would be cut again: its bytes are the same, and it ended at the end of
    /// its run only if this one ends there, too.
    fn reusable(&self, at: u64) -> Option<&Item> {
        let found = self.old.binary_search_by_key(&at, |(offset, _)| *offset).ok()?;
        let item = &self.old[found].1;
        let end = at + item.len();
        if !matches!(item, Item::Chunk { .. }) || end > self.run.end {
            return None;
        }
        let next = self.old.get(found + 1);
        let is_last =
            !next.is_some_and(|(offset, next)| *offset == end && matches!(next, Item::Chunk { .. }));
        if is_last && end != self.run.end {
            return None;
        }
        let first_dirty = self.dirty.partition_point(|dirty| dirty.end <= at);
        let is_clean = self.dirty.get(first_dirty).is_none_or(|dirty| dirty.start >= end);
        is_clean.then_some(item)
    }
}

/// What neighbouring extents are together, in order.
fn stretches(content: &Content) -> Result<Vec<Stretch>, SealError> {
    let mut all: Vec<Stretch> = Vec::new();
    for (offset, extent) in content.iter() {
        let next = match &extent.origin {
            Origin::Log(_) | Origin::Chunk(_) | Origin::Bytes(_) => {
                Stretch::Written(offset..offset + extent.len)
            }
            Origin::Zero => Stretch::Other(offset, Item::Zero { len: extent.len }),
            Origin::Base(ino) => {
                Stretch::Other(offset, Item::Base { ino: *ino, skip: extent.skip, len: extent.len })
            }
            Origin::Cas(hash) => {
                Stretch::Other(offset, Item::Stored { hash: **hash, skip: extent.skip, len: extent.len })
            }
        };
        if extent.len == 0 || offset.checked_add(extent.len).is_none() {
            return Err(Errno::Io.into());
        }
        if !all.last_mut().is_some_and(|last| last.join(&next)) {
            all.push(next);
        }
    }
    Ok(all)
}

impl Stretch {
    /// Takes what follows in, if both are one.
    fn join(&mut self, next: &Stretch) -> bool {
        match (self, next) {
            (Stretch::Written(span), Stretch::Written(next)) if span.end == next.start => {
                span.end = next.end;
                true
            }
            (Stretch::Other(offset, item), Stretch::Other(at, next)) if *offset + item.len() == *at => {
                match (item, next) {
                    (Item::Zero { len }, Item::Zero { len: more }) => *len += more,
                    (Item::Base { ino, skip, len }, Item::Base { ino: same, skip: from, len: more })
                        if ino == same && *skip + *len == *from =>
                    {
                        *len += more;
                    }
                    (
                        Item::Stored { hash, skip, len },
                        Item::Stored { hash: same, skip: from, len: more },
                    ) if hash == same && *skip + *len == *from => {
                        *len += more;
                    }
                    _ => return false,
                }
                true
            }
            _ => false,
        }
    }
}
