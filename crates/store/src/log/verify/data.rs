//! Verifying data segments: headers, every entry, and what the records say of the data they name.
//!
//! Invariant: entries that no record names (of a write that failed, or a crash cut off) are checked as well, since the
//! way to the next leads over them; behind the end of the named data nothing counts.

use super::{Amount, Gone, Named, Problem, Report};
use crate::disk::DiskFile;
use crate::log::LogError;
use crate::log::content::right_entry;
use crate::log::files::Files;
use crate::log::format::{
    ENTRY_HEADER_BYTES, HEADER_BYTES, HeaderFault, Place, Position, Salt, SegmentHeader, entry_bytes,
};
use std::path::{Path, PathBuf};
use weald_model::WorkspaceId;

pub(super) fn verify(
    files: &Files,
    id: WorkspaceId,
    named: &[Named],
    end: u64,
    gone: &[Gone],
    report: &mut Report<'_>,
) -> Result<Amount, LogError> {
    let end = Position::from_u64(end);
    let mut amount = Amount::default();
    if end == Position::default() {
        return Ok(amount);
    }
    let mut buf = Vec::new();
    let mut end_before = 0;
    for segment in 0..=end.segment {
        let number = segment | Place::DATA;
        let path = files.path(id, number);
        let Some(file) = files.open_if_there(id, number)? else {
            report(Problem { file: path, offset: 0, what: "the segment is missing".into() });
            continue;
        };
        let next = match segment < end.segment {
            true => header(files, id, number + 1)?.ok().map(|header| header.end_before),
            false => Some(u64::from(end.offset)),
        };
        let from = named.partition_point(|named| named.place.file < number);
        let to = named.partition_point(|named| named.place.file <= number);
        let mut gone: Vec<_> =
            gone.iter().filter(|(file, _)| *file == number).map(|(_, range)| range).collect();
        gone.sort_unstable_by_key(|range| (*range.start(), *range.end()));
        let mut scan = Scan {
            file: &*file,
            path: &path,
            salt: Salt::new(id, number),
            gone,
            report,
            amount: &mut amount,
            buf,
        };
        match header(files, id, number)? {
            Err(why) => scan.tell(0, why),
            Ok(header) if segment > 0 && header.end_before != end_before => {
                scan.tell(32, "the segment before did not end where this one says");
            }
            Ok(_) => {}
        }
        scan.amount_of(HEADER_BYTES as u64);
        let reached = scan.segment(&named[from..to], next)?;
        end_before = next.unwrap_or(reached);
        buf = scan.buf;
    }
    Ok(amount)
}

/// The header of a data segment, or why it is none; a missing file counts as damaged.
fn header(
    files: &Files,
    id: WorkspaceId,
    number: u32,
) -> Result<Result<SegmentHeader, &'static str>, LogError> {
    let Some(file) = files.open_if_there(id, number)? else { return Ok(Err("the segment is missing")) };
    let path = files.path(id, number);
    let mut bytes = [0; HEADER_BYTES];
    if file.read_at(&mut bytes, 0).map_err(LogError::io("reading", &path))? < HEADER_BYTES {
        return Ok(Err("the segment has no whole header"));
    }
    match SegmentHeader::decode(&bytes, id, number) {
        Ok(header) => Ok(Ok(header)),
        Err(HeaderFault::Damaged(why)) => Ok(Err(why)),
        Err(HeaderFault::Version(version)) => Err(LogError::Version { file: path, version }),
    }
}

struct Scan<'a, 'r> {
    file: &'a dyn DiskFile,
    path: &'a Path,
    salt: Salt,
    gone: Vec<&'a std::ops::RangeInclusive<u64>>,
    report: &'a mut Report<'r>,
    amount: &'a mut Amount,
    buf: Vec<u8>,
}

impl Scan<'_, '_> {
    fn tell(&mut self, offset: u64, what: impl Into<String>) {
        (self.report)(Problem { file: PathBuf::from(self.path), offset, what: what.into() });
    }

    fn amount_of(&mut self, bytes: u64) {
        *self.amount += Amount { objects: 1, bytes };
    }

    /// Checks one segment up to `end` and returns how far it went.
    fn segment(&mut self, named: &[Named], end: Option<u64>) -> Result<u64, LogError> {
        let mut at = HEADER_BYTES as u64;
        for named in named {
            let start = named.place.offset.saturating_sub(ENTRY_HEADER_BYTES as u64);
            at = self.gap(at, start)?;
            self.named(start, named)?;
            at = at.max(start + entry_bytes(named.len as usize));
        }
        match end {
            Some(end) => self.gap(at, end),
            None => Ok(at),
        }
    }

    fn is_gone(&self, offset: u64) -> Option<u64> {
        // Sorted, and none overlaps another.
        let last = self.gone.partition_point(|range| *range.start() <= offset).checked_sub(1)?;
        self.gone[last].contains(&offset).then(|| *self.gone[last].end() + 1)
    }

    /// Checks what no record names, from `at` to `to`.
    fn gap(&mut self, mut at: u64, to: u64) -> Result<u64, LogError> {
        while at < to {
            if let Some(behind) = self.is_gone(at) {
                at = behind;
                continue;
            }
            match right_entry(self.file, self.salt, at, &mut self.buf)
                .map_err(LogError::io("reading", self.path))?
            {
                Some(entry) => {
                    if !entry.is_padded_with_zeros {
                        self.tell(at, "what fills up behind data is not zero");
                    }
                    self.amount_of(entry_bytes(entry.len));
                    at += entry_bytes(entry.len);
                }
                None => {
                    self.tell(at, "data is damaged here; no record names it");
                    return Ok(to);
                }
            }
        }
        Ok(at)
    }

    fn named(&mut self, start: u64, named: &Named) -> Result<(), LogError> {
        if self.is_gone(start).is_some() {
            return Ok(());
        }
        let entry = right_entry(self.file, self.salt, start, &mut self.buf)
            .map_err(LogError::io("reading", self.path))?;
        self.amount_of(entry_bytes(named.len as usize));
        let seq = named.seq;
        match entry {
            None => self.tell(start, format!("the checksum of data that record {seq} names is wrong")),
            Some(entry) => {
                let is_same =
                    entry.len == named.len as usize && blake3::hash(&self.buf[..entry.len]) == named.hash;
                if !is_same {
                    self.tell(start, format!("the data is not what record {seq} wrote"));
                }
                if !entry.is_padded_with_zeros {
                    self.tell(start, "what fills up behind data is not zero");
                }
            }
        }
        Ok(())
    }
}
