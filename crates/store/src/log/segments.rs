//! Beginning in the middle of a log: what segments there are, and reading only the later ones.
//!
//! Invariant: a segment is begun with only if its header is right and, before anything is cut, the segment before it says
//! that it was ended there; whoever cannot begin so begins at the first segment. Damage in segments that are not read is
//! not seen here, but by `verify`. Read next: `walk`, `recovery`.

use super::files::Files;
use super::format::{COMMIT_BYTES, Commit, Frame, FrameKind, Place, Salt, SegmentHeader, frame_bytes};
use super::recovery::{self, segment_header};
use super::walk::{Step, Walk};
use super::{Log, LogError, Logs, Record, Recovery, Visit, begin};
use crate::disk::read_exact_at;
use std::sync::PoisonError;
use weald_model::{Errno, WorkspaceId};

/// Where a segment of a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentStart {
    /// Its number.
    pub number: u32,
    /// Number of the last record before it.
    pub seq_before: u64,
}

impl Logs {
    /// The log segments of a log, the first first, as far as they follow one another and their headers are right.
    pub fn segments(&self, id: WorkspaceId) -> Result<Vec<SegmentStart>, LogError> {
        let mut starts: Vec<SegmentStart> = Vec::new();
        let first = begin::read(&self.files, id)?.map_or(0, |begin| begin.segment);
        let numbers = self.files.numbers(id)?.into_iter();
        for number in numbers.filter(|number| number & Place::DATA == 0 && *number >= first) {
            let Some(header) = segment_header(&self.files, id, number)? else { break };
            if starts.last().is_some_and(|last| last.number + 1 != number) {
                break;
            }
            starts.push(SegmentStart { number, seq_before: header.seq_before });
        }
        Ok(starts)
    }

    /// Visits the records of one segment, up to the first frame that is not right. They may be cut when the log is opened.
    pub fn peek(&self, id: WorkspaceId, number: u32, visit: &mut Visit<'_>) -> Result<(), LogError> {
        let _stay = self.files.reading.read().unwrap_or_else(PoisonError::into_inner);
        let Some(mut walk) = Walk::begin_at(&self.files, id, number, super::walk::WalkChain::Skip)? else {
            return Ok(());
        };
        while walk.at.segment == number {
            match walk.step()? {
                Step::Record { frame, at } => {
                    visit(Record::of(id, &frame, at)).map_err(LogError::Refused)?;
                }
                Step::Commit { .. } => {}
                Step::Stop(_) => break,
            }
        }
        Ok(())
    }

    /// Opens a log as [`Logs::open`] does, but reads and visits only what is in the segment `number` and behind it. None,
    /// and nothing is changed, when the log cannot be begun there.
    pub fn open_at(
        &self,
        id: WorkspaceId,
        number: u32,
        visit: &mut Visit<'_>,
    ) -> Result<Option<(Log, Recovery)>, LogError> {
        let Some(header) = segment_header(&self.files, id, number)? else { return Ok(None) };
        let Some(ended) = last_commit(&self.files, id, &header)? else { return Ok(None) };
        recovery::open_at(&self.files, id, (number, &ended), visit)
    }

    /// Replays the records behind `after` up to `seq`, as [`Logs::replay_until`] does. Segments that end before are not
    /// read. ESTALE when some of them were given up; with 0 they are the first there are.
    pub fn replay_between(
        &self,
        id: WorkspaceId,
        after: u64,
        seq: u64,
        visit: &mut Visit<'_>,
    ) -> Result<(), LogError> {
        let begin = begin::read(&self.files, id)?.map_or(0, |begin| begin.head.seq);
        if after > 0 && after < begin {
            return Err(LogError::Refused(Errno::Stale));
        }
        let first = self.segment_of(id, after)?;
        recovery::replay_from(&self.files, id, (first, seq), &mut |record| {
            if record.seq > after { visit(record) } else { Ok(()) }
        })
    }

    /// The last segment before which record `after` is the last or a later one: what follows that record is in it or behind.
    fn segment_of(&self, id: WorkspaceId, after: u64) -> Result<u32, LogError> {
        if after == 0 {
            // The first there is.
            return Ok(0);
        }
        let starts = self.segments(id)?;
        let last = starts.iter().rev().find(|start| start.seq_before <= after);
        Ok(last.map_or(0, |start| start.number))
    }
}

/// The commit that ended the segment before the one with this header; None when it is not what the header says.
pub(super) fn last_commit(
    files: &Files,
    id: WorkspaceId,
    header: &SegmentHeader,
) -> Result<Option<Commit>, LogError> {
    const BYTES: usize = frame_bytes(COMMIT_BYTES, 0);
    if let Some(begin) = begin::read(files, id)?.filter(|begin| begin.segment >= header.file) {
        let is_it = begin.segment == header.file && begin.head.seq == header.seq_before;
        return Ok(Some(begin.commit()).filter(|commit| is_it && commit.chain == header.chain_before));
    }
    let Some(before) = header.file.checked_sub(1) else { return Ok(None) };
    let Some(offset) = header.end_before.checked_sub(BYTES as u64) else { return Ok(None) };
    let Some(file) = files.open_if_there(id, before)? else { return Ok(None) };
    let mut bytes = [0; BYTES];
    if read_exact_at(&*file, &mut bytes, offset).is_err() {
        return Ok(None);
    }
    let Ok(frame) = Frame::decode(&bytes, Salt::new(id, before), offset) else { return Ok(None) };
    let is_last = frame.kind == FrameKind::Last && frame.seq == header.seq_before;
    let commit = Commit::decode(frame.body).filter(|commit| commit.chain == header.chain_before);
    Ok(commit.filter(|_| is_last))
}
