//! What a file's bytes are: extents over a hole. Written bytes are never overwritten, only hidden.
//!
//! Invariant: extents do not overlap and are not empty. Cost of a change follows the extents it touches.

use crate::persistent_map::Map;
use std::ops::Range;
use std::sync::Arc;
use weald_model::Ino;
use weald_store::log::Place;

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    extents: Map<u64, Extent>,
    /// Bytes in extents.
    allocated: u64,
    /// Bytes in extents that were written here.
    private: u64,
}

/// A run of bytes: `len` of them, from `skip` bytes into their origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) len: u64,
    pub(crate) skip: u64,
    pub(crate) origin: Origin,
}

/// Where bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Allocated and never written: zeros.
    Zero,
    /// Written through a front end.
    Log(Place),
    /// The blob of a base node.
    Base(Ino),
    /// An immutable file of the store.
    Cas(Arc<[u8; 32]>),
    /// A chunk of the store: content of a sealed snapshot that is looked at without its log.
    Chunk(Arc<[u8; 32]>),
    /// The bytes themselves, from a sealed snapshot.
    Bytes(Arc<[u8]>),
}

impl Origin {
    /// True for what was written here, wherever it is kept.
    pub(crate) fn is_private(&self) -> bool {
        matches!(self, Origin::Log(_) | Origin::Chunk(_) | Origin::Bytes(_))
    }
}

/// A part of a range asked for: where it starts in the file, and its bytes; None is a hole.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) extent: Option<Extent>,
}

impl Content {
    /// One extent from the start.
    pub(crate) fn whole(len: u64, origin: Origin) -> Self {
        let mut content = Self::default();
        content.put(0, Extent { len, skip: 0, origin });
        content
    }

    /// Shows every extent; with `before`, those that are the same there may be left out.
    pub(crate) fn extents_since(&self, before: Option<&Content>, each: &mut dyn FnMut(&Extent)) {
        let none = Map::default();
        let before = before.map_or(&none, |before| &before.extents);
        before.unshared(&self.extents, &mut |_, _, new| {
            if let Some(extent) = new {
                each(extent);
            }
            true
        });
    }

    /// All extents and where they are, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Extent)> {
        self.extents.iter().map(|(offset, extent)| (*offset, extent))
    }

    /// Where the bytes of `other` are not those of this, by where they come from. Ascending, apart from each other. Cost:
    /// the extents that are not shared.
    pub(crate) fn differences(&self, other: &Content) -> Vec<Range<u64>> {
        let mut spans: Vec<Range<u64>> = Vec::new();
        self.extents.unshared(&other.extents, &mut |offset, mine, theirs| {
            if mine != theirs {
                let len = mine.map_or(0, |extent| extent.len).max(theirs.map_or(0, |extent| extent.len));
                match spans.last_mut() {
                    Some(last) if last.end >= *offset => last.end = last.end.max(offset + len),
                    _ => spans.push(*offset..offset + len),
                }
            }
            true
        });
        let mut found: Vec<Range<u64>> = Vec::new();
        for span in spans {
            let (mine, theirs) = (self.pieces(span.start, span.end), other.pieces(span.start, span.end));
            for different in differing(&mine, &theirs) {
                match found.last_mut() {
                    Some(last) if last.end == different.start => last.end = different.end,
                    _ => found.push(different),
                }
            }
        }
        found
    }

    /// Bytes that take space, for `st_blocks`.
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Bytes that were written here.
    pub(crate) fn private(&self) -> u64 {
        self.private
    }

    /// True when both are made of the same extents, and so of the same bytes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let mut same = (self.allocated, self.private) == (other.allocated, other.private);
        if same && !self.extents.is_shared(&other.extents) {
            self.extents.unshared(&other.extents, &mut |_, mine, theirs| {
                same = mine == theirs;
                same
            });
        }
        same
    }

    /// Puts an extent at `offset`, hiding what was there.
    pub(crate) fn put(&mut self, offset: u64, extent: Extent) {
        if extent.len == 0 {
            return;
        }
        self.punch(offset, offset + extent.len);
        self.count_in(&extent);
        self.extents.insert(offset, extent);
    }

    /// Frees `from..to`.
    pub(crate) fn punch(&mut self, from: u64, to: u64) {
        let before = self
            .extents
            .last_at_or_before(|start| start.cmp(&from))
            .map(|(start, extent)| (*start, extent.clone()));
        if let Some((start, extent)) = before
            && start < from
            && start + extent.len > from
        {
            self.take(start);
            self.add(start, Extent { len: from - start, ..extent.clone() });
            self.add_tail(start, &extent, to);
        }
        let inside: Vec<(u64, Extent)> = self
            .extents
            .from(|start| start.cmp(&from))
            .take_while(|(start, _)| **start < to)
            .map(|(start, extent)| (*start, extent.clone()))
            .collect();
        for (start, extent) in inside {
            self.take(start);
            self.add_tail(start, &extent, to);
        }
    }

    /// Gives the free parts of `from..to` zeroed space.
    pub(crate) fn allocate(&mut self, from: u64, to: u64) {
        for piece in self.pieces(from, to) {
            if piece.extent.is_none() {
                self.add(piece.offset, Extent { len: piece.len, skip: 0, origin: Origin::Zero });
            }
        }
    }

    /// The parts of `from..to` in order, holes included; they cover it exactly.
    pub(crate) fn pieces(&self, from: u64, to: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = from;
        let start =
            self.extents.last_at_or_before(|start| start.cmp(&from)).map_or(from, |(start, _)| *start);
        for (start, extent) in self.extents.from(|key| key.cmp(&start)).take_while(|(start, _)| **start < to)
        {
            let end = start + extent.len;
            if end <= at {
                continue;
            }
            if *start > at {
                pieces.push(Piece { offset: at, len: start - at, extent: None });
                at = *start;
            }
            let len = end.min(to) - at;
            let part = Extent { len, skip: extent.skip + (at - start), origin: extent.origin.clone() };
            pieces.push(Piece { offset: at, len, extent: Some(part) });
            at += len;
        }
        if at < to {
            pieces.push(Piece { offset: at, len: to - at, extent: None });
        }
        pieces
    }

    /// The first offset at or after `from` that holds written bytes, below `size`.
    pub(crate) fn next_data(&self, from: u64, size: u64) -> Option<u64> {
        self.runs(from).find(|(_, end)| *end > from).map(|(start, _)| start.max(from)).filter(|at| *at < size)
    }

    /// The first offset at or after `from` that holds none, at most `size`.
    pub(crate) fn next_hole(&self, from: u64, size: u64) -> u64 {
        let mut at = from;
        for (start, end) in self.runs(from) {
            if start > at {
                break;
            }
            at = at.max(end);
        }
        at.min(size)
    }

    fn runs(&self, from: u64) -> impl Iterator<Item = (u64, u64)> {
        let start =
            self.extents.last_at_or_before(|start| start.cmp(&from)).map_or(from, |(start, _)| *start);
        self.extents
            .from(move |key| key.cmp(&start))
            .filter(|(_, extent)| !matches!(extent.origin, Origin::Zero))
            .map(|(start, extent)| (*start, start + extent.len))
    }

    fn add(&mut self, start: u64, extent: Extent) {
        self.count_in(&extent);
        self.extents.insert(start, extent);
    }

    /// Puts back what of an extent taken from `start` lies behind `to`.
    fn add_tail(&mut self, start: u64, extent: &Extent, to: u64) {
        let end = start + extent.len;
        if end > to {
            let cut = to - start;
            self.add(to, Extent { len: end - to, skip: extent.skip + cut, origin: extent.origin.clone() });
        }
    }

    fn take(&mut self, start: u64) {
        if let Some(extent) = self.extents.remove(&start) {
            self.allocated -= extent.len;
            if extent.origin.is_private() {
                self.private -= extent.len;
            }
        }
    }

    fn count_in(&mut self, extent: &Extent) {
        self.allocated += extent.len;
        if extent.origin.is_private() {
            self.private += extent.len;
        }
    }
}

/// Where the pieces of one range are not the same as those of another content.
fn differing(mine: &[Piece], theirs: &[Piece]) -> Vec<Range<u64>> {
    let (mut a, mut b) = (mine.iter().peekable(), theirs.iter().peekable());
    let mut found = Vec::new();
    let mut at = mine.first().map_or(0, |piece| piece.offset);
    while let (Some(one), Some(other)) = (a.peek(), b.peek()) {
        let (one_end, other_end) = (one.offset + one.len, other.offset + other.len);
        let end = one_end.min(other_end);
        let from = |piece: &Piece| {
            piece.extent.as_ref().map(|extent| (extent.origin.clone(), extent.skip + (at - piece.offset)))
        };
        let is_zero =
            |piece: &Piece| piece.extent.as_ref().is_some_and(|extent| extent.origin == Origin::Zero);
        if from(one) != from(other) && !(is_zero(one) && is_zero(other)) {
            found.push(at..end);
        }
        at = end;
        if one_end == end {
            a.next();
        }
        if other_end == end {
            b.next();
        }
    }
    found
}

#[cfg(test)]
mod tests;
