//! What a file's bytes are: extents over a hole. Written bytes are never overwritten, only hidden.
//!
//! Invariant: extents do not overlap and are not empty. Cost of a change follows the extents it touches. How they are kept
//! in memory is in [`runs`].

use crate::persistent_map::Map;
use runs::Run;
use std::ops::Range;
use std::sync::Arc;
use weald_model::Ino;
use weald_store::log::Place;

mod runs;

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// By where they start. They do not overlap, also not in the holes within them.
    runs: Map<u64, Run>,
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
        let before = before.map_or(&none, |before| &before.runs);
        before.unshared(&self.runs, &mut |start, _, new| {
            new.into_iter().flat_map(|run| run.extents(*start)).for_each(|(_, extent)| each(&extent));
            true
        });
    }

    /// All extents and where they are, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Extent)> {
        self.runs.iter().flat_map(|(start, run)| run.extents(*start))
    }

    /// Where the bytes of `other` are not those of this, by where they come from. Ascending, apart from each other. Cost:
    /// the extents that are not shared.
    pub(crate) fn differences(&self, other: &Content) -> Vec<Range<u64>> {
        let mut spans: Vec<Range<u64>> = Vec::new();
        self.runs.unshared(&other.runs, &mut |offset, mine, theirs| {
            if mine != theirs {
                let len = mine.map_or(0, Run::span).max(theirs.map_or(0, Run::span));
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
        if (self.allocated, self.private) != (other.allocated, other.private) {
            return false;
        }
        let mut are_runs_same = true;
        self.runs.unshared(&other.runs, &mut |_, mine, theirs| {
            are_runs_same = mine == theirs;
            are_runs_same
        });
        // The same extents may be in other runs.
        are_runs_same || self.iter().eq(other.iter())
    }

    /// Puts an extent at `offset`, hiding what was there.
    pub(crate) fn put(&mut self, offset: u64, extent: Extent) {
        if extent.len == 0 {
            return;
        }
        if self.runs.is_empty() {
            self.count_in(&extent);
            self.runs = Map::one(offset, Run::One(extent));
            return;
        }
        self.replace(offset, offset + extent.len, Some(extent));
    }

    /// Frees `from..to`.
    pub(crate) fn punch(&mut self, from: u64, to: u64) {
        self.replace(from, to, None);
    }

    /// Frees `from..to`, and puts `new` there.
    fn replace(&mut self, from: u64, to: u64, new: Option<Extent>) {
        let mut extents = Vec::new();
        let joined = self.before(from, new.as_ref());
        let mut new = new.map(|extent| (from, extent));
        let mut next = joined.or_else(|| self.first_in(from, to));
        while let Some(start) = next {
            let Some(run) = self.runs.remove(&start) else { break };
            extents.reserve(run.count() + 2);
            for (start, extent) in run.extents(start) {
                self.count_out(&extent);
                let end = start + extent.len;
                if start < from {
                    extents.push((start, Extent { len: end.min(from) - start, ..extent.clone() }));
                }
                if end > from {
                    extents.extend(new.take());
                }
                if end > to {
                    let cut = to.saturating_sub(start);
                    let (len, skip) = (extent.len - cut, extent.skip + cut);
                    extents.push((start + cut, Extent { len, skip, ..extent }));
                }
            }
            next = self.first_in(from, to);
        }
        extents.extend(new);
        extents.iter().for_each(|(_, extent)| self.count_in(extent));
        runs::share_out(extents, &mut |start, run| drop(self.runs.insert(start, run)));
    }

    /// Where the last run up to `from` starts, if it reaches there, or has room for what is put there.
    fn before(&self, from: u64, new: Option<&Extent>) -> Option<u64> {
        let (start, run) = self.runs.last_at_or_before(|start| start.cmp(&from))?;
        let reaches = *start == from || start + run.span() > from;
        (reaches || new.is_some_and(|new| run.takes(new))).then_some(*start)
    }

    /// Where the first run that starts in `from..to` does.
    fn first_in(&self, from: u64, to: u64) -> Option<u64> {
        let (start, _) = self.runs.from(|start| start.cmp(&from)).next()?;
        (*start < to).then_some(*start)
    }

    /// Gives the free parts of `from..to` zeroed space.
    pub(crate) fn allocate(&mut self, from: u64, to: u64) {
        for piece in self.pieces(from, to) {
            if piece.extent.is_none() {
                self.put(piece.offset, Extent { len: piece.len, skip: 0, origin: Origin::Zero });
            }
        }
    }

    /// The parts of `from..to` in order, holes included; they cover it exactly.
    pub(crate) fn pieces(&self, from: u64, to: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = from;
        for (start, run) in self.runs_from(from).take_while(|(start, _)| **start < to) {
            for (start, extent) in run.extents(*start).take_while(|(start, _)| *start < to) {
                let end = start + extent.len;
                if end <= at {
                    continue;
                }
                if start > at {
                    pieces.push(Piece { offset: at, len: start - at, extent: None });
                    at = start;
                }
                let len = end.min(to) - at;
                let part = Extent { len, skip: extent.skip + (at - start), origin: extent.origin };
                pieces.push(Piece { offset: at, len, extent: Some(part) });
                at += len;
            }
        }
        if at < to {
            pieces.push(Piece { offset: at, len: to - at, extent: None });
        }
        pieces
    }

    /// The first offset at or after `from` that holds written bytes, below `size`.
    pub(crate) fn next_data(&self, from: u64, size: u64) -> Option<u64> {
        self.written(from)
            .find(|(_, end)| *end > from)
            .map(|(start, _)| start.max(from))
            .filter(|at| *at < size)
    }

    /// The first offset at or after `from` that holds none, at most `size`.
    pub(crate) fn next_hole(&self, from: u64, size: u64) -> u64 {
        let mut at = from;
        for (start, end) in self.written(from) {
            if start > at {
                break;
            }
            at = at.max(end);
        }
        at.min(size)
    }

    /// Where written bytes are, from the extent that `from` is in or behind.
    fn written(&self, from: u64) -> impl Iterator<Item = (u64, u64)> {
        let extents = self.runs_from(from).flat_map(|(start, run)| run.extents(*start));
        let written = extents.filter(|(_, extent)| !matches!(extent.origin, Origin::Zero));
        written.map(|(start, extent)| (start, start + extent.len))
    }

    /// All runs from the one that `from` may be in.
    fn runs_from(&self, from: u64) -> impl Iterator<Item = (&u64, &Run)> {
        let first = self.runs.last_at_or_before(|start| start.cmp(&from)).map_or(from, |(start, _)| *start);
        self.runs.from(move |start| start.cmp(&first))
    }

    fn count_out(&mut self, extent: &Extent) {
        self.allocated -= extent.len;
        if extent.origin.is_private() {
            self.private -= extent.len;
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
