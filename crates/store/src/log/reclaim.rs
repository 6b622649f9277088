//! Giving back the space of data that nobody will read again, in the middle of data segments.
//!
//! Invariants: the length of a file and every byte that is not given back stay as they are; only whole blocks within the
//! pieces become holes. Who asks has recorded the pieces first, and made that record and everything that made them
//! needless durable ([`Log::settle`]): the data of a piece is below the log's durable end, so no recovery looks at it.
//! Read next: docs/format.md, "Data that was given back".

use super::content::right_entry;
use super::format::{ENTRY_HEADER_BYTES, HEADER_BYTES, Place, Position, Salt, entry_bytes, entry_data_bytes};
use super::recovery::data_header;
use super::{Log, LogError, Logs};
use crate::NOT_POISONED;
use crate::disk::{OpenMode, read_exact_at};
use crate::publish::TEMPORARY_PREFIX;
use std::collections::BTreeMap;
use weald_model::WorkspaceId;

/// The unit in which hosts give space back.
pub const BLOCK_BYTES: u64 = 4096;

/// Whole entries of a data segment, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Piece {
    /// The file, as in [`Place::file`].
    pub file: u32,
    /// Offset of the first entry.
    pub from: u64,
    /// Offset behind the last.
    pub to: u64,
}

impl Piece {
    /// Bytes of the whole blocks in it: what the host gives back.
    pub fn block_bytes(&self) -> u64 {
        self.blocks().map_or(0, |(from, to)| to - from)
    }

    fn blocks(&self) -> Option<(u64, u64)> {
        let (from, to) =
            (self.from.checked_next_multiple_of(BLOCK_BYTES)?, self.to / BLOCK_BYTES * BLOCK_BYTES);
        (from < to).then_some((from, to))
    }
}

/// Pieces of one log that do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    by_start: BTreeMap<(u32, u64), u64>,
}

impl Pieces {
    /// Adds a piece. One that overlaps others swallows them.
    pub fn add(&mut self, piece: Piece) {
        let (mut from, mut to) = (piece.from, piece.to);
        while let Some(other) = self.touching(piece.file, from, to) {
            self.by_start.remove(&(other.file, other.from));
            (from, to) = (from.min(other.from), to.max(other.to));
        }
        self.by_start.insert((piece.file, from), to);
    }

    /// True when a byte of `from..to` is in one.
    pub fn overlaps(&self, file: u32, from: u64, to: u64) -> bool {
        from < to && self.overlapping(file, from, to).is_some()
    }

    /// The piece that holds `offset`, if any.
    pub fn at(&self, file: u32, offset: u64) -> Option<Piece> {
        self.overlapping(file, offset, offset.saturating_add(1))
    }

    /// True when all of `piece` is in one.
    pub fn covers(&self, piece: &Piece) -> bool {
        self.at(piece.file, piece.from).is_some_and(|own| own.to >= piece.to)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Piece> {
        self.by_start.iter().map(|((file, from), to)| Piece { file: *file, from: *from, to: *to })
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// What of these is in none of `others`.
    #[must_use]
    pub fn without(&self, others: &Pieces) -> Pieces {
        let mut left = Pieces::default();
        for piece in self.iter() {
            let mut at = piece.from;
            while at < piece.to {
                match others.at(piece.file, at) {
                    Some(other) => at = other.to,
                    None => {
                        let next = others.by_start.range((piece.file, at)..(piece.file, piece.to)).next();
                        let to = next.map_or(piece.to, |((_, from), _)| *from);
                        left.add(Piece { from: at, to, ..piece });
                        at = to;
                    }
                }
            }
        }
        left
    }

    /// Bytes of the whole blocks in them.
    pub fn block_bytes(&self) -> u64 {
        self.iter().map(|piece| piece.block_bytes()).sum()
    }

    fn overlapping(&self, file: u32, from: u64, to: u64) -> Option<Piece> {
        // They do not overlap, so only the last that begins before `to` can reach beyond `from`.
        let last = self.by_start.range((file, 0)..(file, to)).next_back();
        last.map(|((file, from), to)| Piece { file: *file, from: *from, to: *to })
            .filter(|piece| piece.to > from)
    }

    fn touching(&self, file: u32, from: u64, to: u64) -> Option<Piece> {
        self.overlapping(file, from.saturating_sub(1), to.saturating_add(1))
    }
}

impl FromIterator<Piece> for Pieces {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Self {
        let mut all = Self::default();
        pieces.into_iter().for_each(|piece| all.add(piece));
        all
    }
}

impl Log {
    /// Where the next data goes: all that was put so far lies before it.
    pub fn data_end(&self) -> Position {
        self.data.lock().expect(NOT_POISONED).at
    }
}

impl Logs {
    /// Visits the entries of data before `end`, in order, but for those in `gone`. Reads their headers only, unchecked: a
    /// wrong length is told as damage where the next header makes no sense, so a caller must not believe that
    /// nothing it knows of lies within an entry.
    pub fn entries(
        &self,
        id: WorkspaceId,
        end: Position,
        gone: &Pieces,
        visit: &mut dyn FnMut(Piece),
    ) -> Result<(), LogError> {
        let files = &*self.files;
        for number in files.numbers(id)? {
            let segment = number & !Place::DATA;
            if number & Place::DATA == 0 || segment > end.segment {
                continue;
            }
            let stop = if segment == end.segment {
                u64::from(end.offset)
            } else {
                let next = data_header(files, id, segment + 1)?;
                next.ok_or_else(|| self.damage(id, number, 0, "the data segment after it is missing"))?
                    .end_before
            };
            self.segment_entries(id, number, stop, gone, visit)?;
        }
        Ok(())
    }

    fn segment_entries(
        &self,
        id: WorkspaceId,
        number: u32,
        stop: u64,
        gone: &Pieces,
        visit: &mut dyn FnMut(Piece),
    ) -> Result<(), LogError> {
        let path = self.files.path(id, number);
        let file = self.files.open(id, number, OpenMode::Read)?;
        let mut at = HEADER_BYTES as u64;
        while at < stop {
            if let Some(piece) = gone.at(number, at) {
                at = piece.to;
                continue;
            }
            let mut header = [0; ENTRY_HEADER_BYTES];
            read_exact_at(&*file, &mut header, at).map_err(LogError::io("reading", &path))?;
            let damage = || self.damage(id, number, at, "an entry of data has no length");
            let to = at + entry_bytes(entry_data_bytes(&header).ok_or_else(damage)?);
            if to > stop {
                return Err(self.damage(
                    id,
                    number,
                    at,
                    "an entry of data reaches over the end of its segment",
                ));
            }
            visit(Piece { file: number, from: at, to });
            at = to;
        }
        Ok(())
    }

    /// The file that a place is in.
    pub fn path(&self, place: Place) -> std::path::PathBuf {
        self.files.path(place.log, place.file)
    }

    /// Reads all data of the entry at `place` to the start of `buf`, and tells how much it is. What is not as it was
    /// written is [`LogError::Damaged`].
    pub fn entry(&self, place: Place, buf: &mut Vec<u8>) -> Result<usize, LogError> {
        let start = place.offset.saturating_sub(ENTRY_HEADER_BYTES as u64);
        let file = self.files.cached(place.log, place.file)?;
        let path = self.files.path(place.log, place.file);
        let entry = right_entry(&*file, Salt::new(place.log, place.file), start, buf)
            .map_err(LogError::io("reading", &path))?;
        let damage = || self.damage(place.log, place.file, start, "the checksum of data is wrong");
        Ok(entry.ok_or_else(damage)?.len)
    }

    /// True when the host's file system can make holes in files.
    pub fn can_give_back(&self) -> bool {
        let files = &*self.files;
        let path = files.dir.join(format!("{TEMPORARY_PREFIX}{}-holes", std::process::id()));
        let probed = files.disk.open(&path, OpenMode::CreateNew).and_then(|file| {
            file.write_at(&[&[1; BLOCK_BYTES as usize], &[1; BLOCK_BYTES as usize]], 0)?;
            file.punch(0, BLOCK_BYTES)
        });
        // What stays of it goes at the next start.
        let _ = files.disk.remove_file(&path);
        probed.is_ok()
    }

    /// Makes holes of the whole blocks in pieces of a log. Doing so twice is harmless. Not durable before the host
    /// writes it, which does not matter: nobody will read them.
    pub fn give_back(
        &self,
        id: WorkspaceId,
        pieces: &mut dyn Iterator<Item = Piece>,
    ) -> Result<(), LogError> {
        let mut open: Option<(u32, std::sync::Arc<dyn crate::disk::DiskFile>)> = None;
        for piece in pieces {
            // In segments of records there are no holes: they go as a whole.
            let blocks = piece.blocks().filter(|_| piece.file & Place::DATA != 0);
            let Some((from, to)) = blocks else { continue };
            let file = match &open {
                Some((number, file)) if *number == piece.file => file.clone(),
                _ => {
                    let file = self.files.open(id, piece.file, OpenMode::ReadWrite)?;
                    open.insert((piece.file, file)).1.clone()
                }
            };
            let path = self.files.path(id, piece.file);
            file.punch(from, to - from).map_err(LogError::io("giving back space of", &path))?;
        }
        Ok(())
    }

    fn damage(&self, id: WorkspaceId, file: u32, offset: u64, why: &'static str) -> LogError {
        LogError::Damaged { file: self.files.path(id, file), offset, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(from: u64, to: u64) -> Piece {
        Piece { file: Place::DATA, from, to }
    }

    #[test]
    fn pieces_that_touch_become_one() {
        let pieces: Pieces = [piece(100, 200), piece(300, 400), piece(200, 300)].into_iter().collect();
        assert_eq!(pieces.iter().collect::<Vec<_>>(), [piece(100, 400)]);
        assert!(pieces.covers(&piece(150, 400)) && !pieces.covers(&piece(150, 401)));
        assert!(pieces.overlaps(Place::DATA, 399, 500) && !pieces.overlaps(Place::DATA, 400, 500));
        assert!(!pieces.overlaps(0, 100, 200));
        let others: Pieces = [piece(50, 150), piece(200, 210), piece(390, 500)].into_iter().collect();
        let left: Vec<_> = pieces.without(&others).iter().collect();
        assert_eq!(left, [piece(150, 200), piece(210, 390)]);
    }

    #[test]
    fn only_whole_blocks_count() {
        assert_eq!(piece(80, 8192).block_bytes(), 4096);
        assert_eq!(piece(4096, 8192).block_bytes(), 4096);
        assert_eq!(piece(4097, 8191).block_bytes(), 0);
    }
}
