//! Sorted trees of pages whose shape depends on nothing but their entries: a Merkle search tree.
//!
//! A page of level 0 holds entries, a page above holds the last key and the hash of each page below. A page ends
//! behind a key whose hash says so, six bits of it for each level, so pages have about 64 entries, and a page is the
//! same whatever was done before it came to be. So equal maps have equal roots, and a change makes new pages only on
//! its paths. Read next: `object` (how pages are kept), docs/format.md.

use super::object::{self, Objects, SealError};
use crate::record::{Malformed, Reader, Writer};
use std::iter::Peekable;
use weald_model::Errno;
use weald_store::cas::Hash;

/// Bits of a key's hash that end a page of each level.
const BITS_PER_LEVEL: u32 = 6;
/// Highest level: by then all bits are used up.
const LEVELS_MAX: u8 = 10;
/// Longer values are objects of their own.
const VALUE_BYTES_MAX: usize = 1024;
/// First byte of such an object.
const VALUE: u8 = 0xfe;

type Key = Vec<u8>;

/// Sees an entry, and says whether to go on.
type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, SealError> + 'a;

/// A page as the one above knows it.
#[derive(Clone)]
struct Ref {
    last: Key,
    hash: Hash,
}

/// A page, opened.
enum Page {
    Leaf(Vec<(Key, Vec<u8>)>),
    Inner(u8, Vec<Ref>),
}

/// Makes the tree that `root` becomes by `changes`, whose keys ascend; None takes an entry away. Returns its root.
/// Cost: the pages on the paths to what changes.
pub(crate) fn update(
    objects: &dyn Objects,
    root: Option<&Hash>,
    changes: impl Iterator<Item = Result<(Key, Option<Vec<u8>>), SealError>>,
) -> Result<Hash, SealError> {
    let mut build = Build { objects, leaf: Vec::new(), above: Vec::new() };
    let mut changes = changes.peekable();
    if let Some(root) = root {
        match read_page(objects, root, &mut |_| true)? {
            Page::Leaf(entries) => build.merge(entries, &mut changes)?,
            Page::Inner(level, pages) => build.take_all(level - 1, pages, &mut changes)?,
        }
    }
    for change in changes {
        let (key, value) = change?;
        if let Some(value) = value {
            let stored = build.store(&value)?;
            build.push(key, stored)?;
        }
    }
    build.finish()
}

/// Shows the entries from `from` on, in order, until `each` says false. Tells whether it never did.
pub(crate) fn walk(
    objects: &dyn Objects,
    root: &Hash,
    from: &[u8],
    each: &mut Each<'_>,
) -> Result<bool, SealError> {
    Walk { objects, from, part: &mut |_| true, each }.page(root, None)
}

/// Shows all entries. `part` sees the hash of every object first and says whether to look at it: one that another
/// tree has, too, need not be read again.
pub(crate) fn walk_parts(
    objects: &dyn Objects,
    root: &Hash,
    part: &mut dyn FnMut(&Hash) -> bool,
    each: &mut Each<'_>,
) -> Result<bool, SealError> {
    Walk { objects, from: &[], part, each }.page(root, None)
}

/// The value of a key.
pub(crate) fn get(objects: &dyn Objects, root: &Hash, key: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
    let mut found = None;
    walk(objects, root, key, &mut |at, value| {
        found = (at == key).then(|| value.to_vec());
        Ok(false)
    })?;
    Ok(found)
}

/// A walk over a tree.
struct Walk<'a, 'e> {
    objects: &'a dyn Objects,
    from: &'a [u8],
    part: &'a mut dyn FnMut(&Hash) -> bool,
    each: &'a mut Each<'e>,
}

impl Walk<'_, '_> {
    /// Walks a page, as the one above knows it unless it is the root.
    fn page(&mut self, hash: &Hash, wanted: Option<(u8, &[u8])>) -> Result<bool, SealError> {
        if !(self.part)(hash) {
            return Ok(true);
        }
        let page = read_page(self.objects, hash, self.part)?;
        if wanted.is_some_and(|wanted| wanted != (page.level(), page.last())) {
            return Err(SealError::Malformed(*hash, "it is not the page that the one above means"));
        }
        match page {
            Page::Leaf(entries) => {
                let start = entries.partition_point(|(key, _)| key.as_slice() < self.from);
                for (key, stored) in &entries[start..] {
                    let value = self.load(hash, stored)?;
                    if !(self.each)(key, &value)? {
                        return Ok(false);
                    }
                }
            }
            Page::Inner(level, pages) => {
                let start = pages.partition_point(|page| page.last.as_slice() < self.from);
                for page in &pages[start..] {
                    if !self.page(&page.hash, Some((level - 1, &page.last)))? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// The value that a page holds as `stored`.
    fn load(&mut self, page: &Hash, stored: &[u8]) -> Result<Vec<u8>, SealError> {
        match stored.split_first() {
            Some((0, value)) => Ok(value.to_vec()),
            Some((1, hash)) => {
                let hash = hash.try_into().map_err(|_| SealError::Malformed(*page, "a value's hash"))?;
                let mut own = object::get(self.objects, &hash, &mut |part| {
                    (self.part)(part);
                })?;
                match own.first() {
                    Some(&VALUE) => Ok(own.split_off(1)),
                    _ => Err(SealError::Malformed(hash, "it is no value")),
                }
            }
            _ => Err(SealError::Malformed(*page, "a value")),
        }
    }
}

/// A tree being made from left to right.
struct Build<'a> {
    objects: &'a dyn Objects,
    /// Entries of the page of level 0 that is open.
    leaf: Vec<(Key, Vec<u8>)>,
    /// The pages of each level that no page above holds yet.
    above: Vec<Vec<Ref>>,
}

type Changes<'a, I> = &'a mut Peekable<I>;

impl Build<'_> {
    /// Takes the pages of a level, changed where there are changes for them.
    fn take_all<I>(&mut self, level: u8, pages: Vec<Ref>, changes: Changes<'_, I>) -> Result<(), SealError>
    where
        I: Iterator<Item = Result<(Key, Option<Vec<u8>>), SealError>>,
    {
        for page in pages {
            let is_touched = match changes.peek() {
                Some(Ok((key, _))) => *key <= page.last,
                Some(Err(_)) => true,
                None => false,
            };
            if !is_touched && self.is_aligned(level) && levels_ended(&page.last) > level {
                self.push_page(level, page)?;
                continue;
            }
            match read_page(self.objects, &page.hash, &mut |_| true)? {
                Page::Leaf(entries) if level == 0 => self.merge(entries, changes)?,
                Page::Inner(own, pages) if own == level => self.take_all(level - 1, pages, changes)?,
                _ => return Err(SealError::Malformed(page.hash, "a page of another level")),
            }
        }
        Ok(())
    }

    /// Takes the entries of a page, changed.
    fn merge<I>(&mut self, entries: Vec<(Key, Vec<u8>)>, changes: Changes<'_, I>) -> Result<(), SealError>
    where
        I: Iterator<Item = Result<(Key, Option<Vec<u8>>), SealError>>,
    {
        for (key, stored) in entries {
            let mut is_replaced = false;
            while let Some(change) = changes.next_if(|change| match change {
                Ok((changed, _)) => *changed <= key,
                Err(_) => true,
            }) {
                let (changed, value) = change?;
                is_replaced = changed == key;
                if let Some(value) = value {
                    let stored = self.store(&value)?;
                    self.push(changed, stored)?;
                }
            }
            if !is_replaced {
                self.push(key, stored)?;
            }
        }
        Ok(())
    }

    /// What a page holds of a value.
    fn store(&self, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut stored = Vec::with_capacity(value.len() + 1);
        if value.len() <= VALUE_BYTES_MAX {
            stored.push(0);
            stored.extend_from_slice(value);
        } else {
            let own: Vec<u8> = [&[VALUE], value].concat();
            stored.push(1);
            stored.extend_from_slice(&object::put(self.objects, &own)?);
        }
        Ok(stored)
    }

    fn push(&mut self, key: Key, stored: Vec<u8>) -> Result<(), SealError> {
        let ended = levels_ended(&key);
        self.leaf.push((key, stored));
        if ended > 0 { self.end_levels(ended) } else { Ok(()) }
    }

    /// Takes a page of `level` as it is. It begins where one ends, and ends itself.
    fn push_page(&mut self, level: u8, page: Ref) -> Result<(), SealError> {
        let ended = levels_ended(&page.last);
        self.level(level).push(page);
        for above in level + 1..ended {
            self.end_level(above)?;
        }
        Ok(())
    }

    /// True when no page of `level` or below is open.
    fn is_aligned(&self, level: u8) -> bool {
        self.leaf.is_empty() && self.above.iter().take(usize::from(level)).all(Vec::is_empty)
    }

    fn end_levels(&mut self, count: u8) -> Result<(), SealError> {
        (0..count).try_for_each(|level| self.end_level(level))
    }

    /// Writes the open page of a level and tells the level above.
    fn end_level(&mut self, level: u8) -> Result<(), SealError> {
        let mut bytes = vec![level];
        let mut w = Writer(&mut bytes);
        let last = match level.checked_sub(1) {
            None => {
                let entries = std::mem::take(&mut self.leaf);
                w.number(entries.len() as u64);
                for (key, stored) in &entries {
                    w.bytes(key);
                    w.bytes(stored);
                }
                entries.into_iter().next_back().map(|(key, _)| key)
            }
            Some(below) => {
                let mut pages = std::mem::take(self.level(below));
                w.number(pages.len() as u64);
                for page in &pages {
                    w.bytes(&page.last);
                    w.raw(&page.hash);
                }
                pages.pop().map(|page| page.last)
            }
        };
        let hash = object::put(self.objects, &bytes)?;
        self.level(level).push(Ref { last: last.unwrap_or_default(), hash });
        Ok(())
    }

    /// The finished pages of a level.
    fn level(&mut self, level: u8) -> &mut Vec<Ref> {
        let level = usize::from(level);
        if self.above.len() <= level {
            self.above.resize_with(level + 1, Vec::new);
        }
        &mut self.above[level]
    }

    fn finish(mut self) -> Result<Hash, SealError> {
        if !self.leaf.is_empty() || self.above.iter().all(Vec::is_empty) {
            self.end_level(0)?;
        }
        for level in 0..=LEVELS_MAX {
            let is_top = self.above.iter().skip(usize::from(level) + 1).all(Vec::is_empty);
            match self.level(level).as_slice() {
                [only] if is_top => return Ok(only.hash),
                [] => {}
                _ => self.end_level(level + 1)?,
            }
        }
        Err(Errno::TooBig.into())
    }
}

/// How many levels have a page that ends behind this key.
fn levels_ended(key: &[u8]) -> u8 {
    let hash = blake3::hash(key);
    let mut low = [0; 8];
    low.copy_from_slice(&hash.as_bytes()[..8]);
    let zeros = u64::from_le_bytes(low).trailing_zeros();
    (zeros / BITS_PER_LEVEL).min(u32::from(LEVELS_MAX)) as u8
}

fn read_page(
    objects: &dyn Objects,
    hash: &Hash,
    part: &mut dyn FnMut(&Hash) -> bool,
) -> Result<Page, SealError> {
    let bytes = object::get(objects, hash, &mut |hash| {
        part(hash);
    })?;
    decode_page(&bytes).map_err(|Malformed(why)| SealError::Malformed(*hash, why))
}

/// Decodes a page. Its keys ascend, and it ends where it must, unless it is the last of its level.
fn decode_page(bytes: &[u8]) -> Result<Page, Malformed> {
    let mut r = Reader(bytes);
    let level = r.tag()?;
    let count = r.number()?;
    let mut last: Option<Key> = None;
    let mut next = |r: &mut Reader<'_>| {
        let key = r.bytes()?.to_vec();
        if last.as_ref().is_some_and(|last| *last >= key) {
            return Err(Malformed("a page whose keys do not ascend"));
        }
        last = Some(key.clone());
        Ok(key)
    };
    let page = match level {
        0 => {
            let mut entries = Vec::new();
            for _ in 0..count {
                entries.push((next(&mut r)?, r.bytes()?.to_vec()));
            }
            Page::Leaf(entries)
        }
        1..=LEVELS_MAX => {
            let mut pages = Vec::new();
            for _ in 0..count {
                pages.push(Ref { last: next(&mut r)?, hash: r.raw()? });
            }
            Page::Inner(level, pages)
        }
        _ => return Err(Malformed("it is no page")),
    };
    if r.0.is_empty() { Ok(page) } else { Err(Malformed("bytes behind a page")) }
}

impl Page {
    fn level(&self) -> u8 {
        match self {
            Page::Leaf(_) => 0,
            Page::Inner(level, _) => *level,
        }
    }

    fn last(&self) -> &[u8] {
        match self {
            Page::Leaf(entries) => entries.last().map_or(&[], |(key, _)| key),
            Page::Inner(_, pages) => pages.last().map_or(&[], |page| &page.last),
        }
    }
}

#[cfg(test)]
mod tests;
