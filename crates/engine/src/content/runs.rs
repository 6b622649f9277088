//! Extents as they are kept in memory: alone, or up to [`RUN_EXTENTS_MAX`] of one log behind each other, packed into bytes.
//!
//! A file that is written in small pieces has an extent for each, so what one takes counts: some ten bytes here, sixty alone.
//! Invariants: a run holds extents of one log, in order, that do not overlap; what it expands to is exactly what was packed. How
//! extents are shared out among runs says nothing: two contents of the same extents may have different runs.

use super::{Extent, Origin};
use std::sync::Arc;
use weald_model::WorkspaceId;
use weald_store::log::Place;

/// Extents in a run at most: what a small write unpacks and packs anew.
pub(super) const RUN_EXTENTS_MAX: usize = 32;
/// Most bytes of five numbers.
const PACKED_BYTES_MAX: usize = 5 * 10;

/// Some extents behind each other. The first one's offset in the file is known to whoever has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// One extent.
    One(Extent),
    /// Several, with data in one log.
    Packed(Packed),
}

/// Extents in bytes: for each the hole before it, its length, what of its data it leaves out, and where that is, mostly as
/// differences to the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    log: WorkspaceId,
    /// Bytes of the file from the first extent's start to the last one's end.
    span: u64,
    count: u32,
    bytes: Arc<[u8]>,
}

impl Run {
    /// Bytes of the file it is about, holes between its extents included.
    pub(super) fn span(&self) -> u64 {
        match self {
            Run::One(extent) => extent.len,
            Run::Packed(packed) => packed.span,
        }
    }

    /// Number of extents.
    pub(super) fn count(&self) -> usize {
        match self {
            Run::One(_) => 1,
            Run::Packed(packed) => packed.count as usize,
        }
    }

    /// True when there is room in it for an extent behind it, and that can be packed with it.
    pub(super) fn takes(&self, extent: &Extent) -> bool {
        let log = match self {
            Run::One(own) => log_of(own),
            Run::Packed(packed) => Some(packed.log),
        };
        log.is_some() && log == log_of(extent) && self.count() < RUN_EXTENTS_MAX
    }

    /// Its extents; the first is at `start`.
    pub(super) fn extents(&self, start: u64) -> Extents<'_> {
        match self {
            Run::One(extent) => Extents::One(Some((start, extent))),
            Run::Packed(packed) => Extents::Packed(Unpacking {
                log: packed.log,
                left: &packed.bytes,
                at: start,
                file: 0,
                offset: 0,
            }),
        }
    }
}

/// Shares extents out among runs, in order; each with where it starts.
pub(super) fn share_out(mut extents: Vec<(u64, Extent)>, each: &mut dyn FnMut(u64, Run)) {
    if extents.len() == 1 {
        return extents.drain(..).for_each(|(start, extent)| each(start, Run::One(extent)));
    }
    for group in extents.chunk_by(|(_, one), (_, next)| log_of(one).is_some() && log_of(one) == log_of(next))
    {
        // All about as long, so that each has room for what comes between.
        let runs = group.len().div_ceil(RUN_EXTENTS_MAX);
        for some in group.chunks(group.len().div_ceil(runs)) {
            each(some[0].0, pack(some));
        }
    }
}

fn pack(extents: &[(u64, Extent)]) -> Run {
    let (first, last) = (&extents[0], &extents[extents.len() - 1]);
    let Some(log) = log_of(&first.1).filter(|_| extents.len() > 1) else { return Run::One(first.1.clone()) };
    let mut buffer = [0; RUN_EXTENTS_MAX * PACKED_BYTES_MAX];
    let mut left = &mut buffer[..];
    let (mut at, mut file, mut offset) = (first.0, 0, 0);
    for (start, extent) in extents {
        let Origin::Log(place) = &extent.origin else { unreachable!("a run is of one log") };
        let place_file = file_number(place.file);
        put(&mut left, start - at);
        put(&mut left, extent.len);
        put(&mut left, extent.skip);
        put(&mut left, signed(place_file.wrapping_sub(file)));
        put(&mut left, signed(place.offset.wrapping_sub(offset)));
        (at, file, offset) = (start + extent.len, place_file, place.offset);
    }
    let unused = left.len();
    let bytes = &buffer[..buffer.len() - unused];
    let span = last.0 + last.1.len - first.0;
    Run::Packed(Packed { log, span, count: extents.len() as u32, bytes: bytes.into() })
}

fn log_of(extent: &Extent) -> Option<WorkspaceId> {
    if let Origin::Log(place) = &extent.origin { Some(place.log) } else { None }
}

/// The number of a file with the bit for data last, where it costs little.
fn file_number(file: u32) -> u64 {
    u64::from(file.rotate_left(1))
}

/// A difference that wraps around, so that small ones of either sign are small numbers.
fn signed(difference: u64) -> u64 {
    (difference << 1) ^ ((difference as i64) >> 63) as u64
}

fn unsigned(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Seven bits to a byte, the lowest first; the top bit says that more follow.
fn put(left: &mut &mut [u8], mut value: u64) {
    let mut at = 0;
    while value >= 0x80 {
        left[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    left[at] = value as u8;
    *left = &mut std::mem::take(left)[at + 1..];
}

fn take(left: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    while let Some((byte, rest)) = left.split_first() {
        *left = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    value
}

/// The extents of a run, in order.
pub(super) enum Extents<'a> {
    One(Option<(u64, &'a Extent)>),
    Packed(Unpacking<'a>),
}

pub(super) struct Unpacking<'a> {
    log: WorkspaceId,
    left: &'a [u8],
    at: u64,
    file: u64,
    offset: u64,
}

impl Iterator for Extents<'_> {
    type Item = (u64, Extent);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Extents::One(one) => one.take().map(|(start, extent)| (start, extent.clone())),
            Extents::Packed(unpacking) => unpacking.next(),
        }
    }
}

impl Unpacking<'_> {
    fn next(&mut self) -> Option<(u64, Extent)> {
        if self.left.is_empty() {
            return None;
        }
        let start = self.at + take(&mut self.left);
        let (len, skip) = (take(&mut self.left), take(&mut self.left));
        self.file = self.file.wrapping_add(unsigned(take(&mut self.left)));
        self.offset = self.offset.wrapping_add(unsigned(take(&mut self.left)));
        self.at = start + len;
        let file = (self.file as u32).rotate_right(1);
        let place = Place { log: self.log, file, offset: self.offset };
        Some((start, Extent { len, skip, origin: Origin::Log(place) }))
    }
}
