//! Verifying log segments: headers, frames, numbers, chain, and what heads kept elsewhere say.
//!
//! Invariant: after damage the scan goes on at the next right frame; frames carry where they belong, so none is
//! found by chance. Numbers and chain are unknown from there until a header or frame tells them again.

use super::{Amount, Examine, Expected, Problem, Report, Verified};
use crate::log::begin;
use crate::log::chain::Chain;
use crate::log::files::Files;
use crate::log::format::{
    ALIGN, Commit, FRAME_HEADER_BYTES, Frame, FrameKind, HEADER_BYTES, HeaderFault, Place, Position, Salt,
    SegmentHeader,
};
use crate::log::walk::Window;
use crate::log::{Head, LogError, Record};
use std::path::PathBuf;
use std::sync::PoisonError;
use weald_model::WorkspaceId;

/// How often the end of a log in use is looked at again when a frame there is half written.
const LOOKS_AT_ONE_END_MAX: u32 = 100;
/// How often it is followed when more was appended meanwhile; then what comes is left to the next verification.
const LOOKS_MAX: u32 = 10_000;

pub(super) fn verify(
    files: &Files,
    id: WorkspaceId,
    expected: &Expected<'_>,
    examine: &mut Examine<'_>,
    report: &mut Report<'_>,
) -> Result<Verified, LogError> {
    // First: what is appended later than this head may be missed, what came before may not.
    let live = expected.live.map(|live| (live(), "the daemon that has it open".to_owned()));
    let mut heads: Vec<(Head, String)> = expected.heads.iter().cloned().chain(live).collect();
    heads.retain(|(head, _)| expected.until.is_none_or(|until| head.seq <= until));
    heads.sort_by_key(|(head, _)| std::cmp::Reverse(head.seq));
    let _stay = files.reading.read().unwrap_or_else(PoisonError::into_inner);
    let begin = match begin::read(files, id) {
        Err(LogError::Damaged { file, offset, why }) => {
            report(Problem { file, offset, what: why.to_owned() });
            None
        }
        begin => begin?,
    };
    let before = begin.as_ref().map_or(Head { seq: 0, chain: [0; 32] }, |begin| begin.head);
    // What was before the records that are left cannot be compared with anything.
    heads.retain(|(head, _)| begin.is_none() || head.seq > before.seq);
    let mut scan = Scan {
        files,
        id,
        expected,
        examine,
        report,
        heads,
        doubt: None,
        last_segment: files.numbers(id)?.into_iter().filter(|n| n & Place::DATA == 0).max().unwrap_or(0),
        file: PathBuf::new(),
        seq: Some(before.seq),
        last: before.seq,
        chain: None,
        first: Some(before.chain),
        end_before: Some(begin.as_ref().map_or(0, |begin| begin.end_before)),
        durable_log: Position::default(),
        data_end: Position::default(),
        amount: Amount::default(),
        is_done: false,
    };
    let mut number = begin.map_or(0, |begin| begin.segment);
    while !scan.is_done && scan.segment(number)? == Next::Segment {
        number += 1;
    }
    scan.settle_doubt();
    scan.report_missing_heads();
    let chain = scan.chain.as_mut().map(Chain::hash);
    Ok(Verified { last: scan.last, chain, data_end: scan.data_end.to_u64(), amount: scan.amount })
}

/// What comes after a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Segment,
    End,
}

struct Scan<'a, 'r> {
    files: &'a Files,
    id: WorkspaceId,
    expected: &'a Expected<'r>,
    examine: &'a mut Examine<'r>,
    report: &'a mut Report<'r>,
    /// Heads to compare with, the lowest number last.
    heads: Vec<(Head, String)>,
    /// A head that the chain at its record does not equal. One made just after a new segment was begun has the
    /// chain that begins with that segment's header.
    doubt: Option<(Head, String, PathBuf, u64)>,
    last_segment: u32,
    /// The file at hand.
    file: PathBuf,
    /// The last record, unless damage hides it.
    seq: Option<u64>,
    /// The last record that was seen.
    last: u64,
    /// The chain up to there, unless damage hides it.
    chain: Option<Chain>,
    /// The chain where the log begins, before its first segment.
    first: Option<[u8; 32]>,
    end_before: Option<u64>,
    durable_log: Position,
    data_end: Position,
    amount: Amount,
    is_done: bool,
}

impl Scan<'_, '_> {
    fn tell(&mut self, offset: u64, what: impl Into<String>) {
        (self.report)(Problem { file: self.file.clone(), offset, what: what.into() });
    }

    /// Damage: from here on nobody knows which record is next, nor the chain.
    fn lose_track(&mut self) {
        self.seq = None;
        self.chain = None;
    }

    fn segment(&mut self, number: u32) -> Result<Next, LogError> {
        self.file = self.files.path(self.id, number);
        let Some(file) = self.files.open_if_there(self.id, number)? else {
            if number > self.last_segment {
                return Ok(Next::End);
            }
            self.tell(0, "the segment is missing");
            self.lose_track();
            self.end_before = None;
            return Ok(Next::Segment);
        };
        let mut window = Window::new(file, self.file.clone())?;
        self.header(number, &mut window)?;
        let next = self.frames(number, &mut window)?;
        self.first = None;
        Ok(next)
    }

    fn header(&mut self, number: u32, window: &mut Window) -> Result<(), LogError> {
        self.amount += Amount { objects: 1, bytes: HEADER_BYTES as u64 };
        let header = match window.get(0, HEADER_BYTES)? {
            Some(bytes) => {
                SegmentHeader::decode(bytes.first_chunk().expect("asked for as many"), self.id, number)
            }
            None => Err(HeaderFault::Damaged("the segment has no whole header")),
        };
        let header = match header {
            Ok(header) => header,
            Err(HeaderFault::Version(version)) => {
                return Err(LogError::Version { file: self.file.clone(), version });
            }
            Err(HeaderFault::Damaged(why)) => {
                self.tell(0, why);
                self.chain = None;
                return Ok(());
            }
        };
        if self.seq.is_some_and(|seq| seq != header.seq_before) {
            self.tell(24, "the segment does not go on with the record after the last of the segment before");
        }
        if self.end_before.is_some_and(|end| end != header.end_before) {
            self.tell(32, "the segment before did not end where this one says");
        }
        let before = match self.chain.as_mut() {
            Some(chain) => Some(chain.hash()),
            None => self.first,
        };
        if before.is_some_and(|chain| chain != header.chain_before) {
            self.tell(40, "the segment does not carry on the hash over the records before it");
        }
        self.seq = Some(header.seq_before);
        let mut chain = Chain::begin(&header);
        self.dispel_doubt(&mut chain);
        self.chain = Some(chain);
        Ok(())
    }

    fn frames(&mut self, number: u32, window: &mut Window) -> Result<Next, LogError> {
        let salt = Salt::new(self.id, number);
        let mut offset = HEADER_BYTES as u64;
        let (mut looks, mut looks_here) = (0, 0);
        while !self.is_done {
            let why = match frame_at(window, salt, offset)? {
                Ok((frame, bytes)) => {
                    let at = Position { segment: number, offset: offset as u32 };
                    self.amount += Amount { objects: 1, bytes: bytes.len() as u64 };
                    self.frame(&frame, bytes, at);
                    offset += bytes.len() as u64;
                    looks_here = 0;
                    if frame.kind == FrameKind::Last {
                        self.end_before = Some(offset);
                        self.must_be_zero(window, offset)?;
                        return Ok(Next::Segment);
                    }
                    continue;
                }
                Err(why) => why,
            };
            if let Some(next) = next_frame(window, salt, offset + ALIGN)? {
                self.tell(offset, why);
                self.lose_track();
                offset = next;
                continue;
            }
            // Half a frame at the end of a log in use is one being written: it is whole once the head can be taken.
            let is_blank = first_used(window, offset)?.is_none();
            if let Some(live) = self.expected.live
                && looks_here < LOOKS_AT_ONE_END_MAX
                && (!is_blank || self.seq.is_some_and(|seq| live().seq > seq))
            {
                if looks == LOOKS_MAX {
                    return Ok(Next::End);
                }
                live();
                window.refresh()?;
                looks += 1;
                looks_here += 1;
                continue;
            }
            self.end_before = None;
            return self.end(number, window, offset);
        }
        Ok(Next::End)
    }

    /// Nothing right follows in this segment.
    fn end(&mut self, number: u32, window: &mut Window, offset: u64) -> Result<Next, LogError> {
        self.must_be_zero(window, offset)?;
        if number < self.last_segment {
            self.tell(offset, "the segment was not ended, and another follows");
            self.chain = None;
            return Ok(Next::Segment);
        }
        Ok(Next::End)
    }

    fn must_be_zero(&mut self, window: &mut Window, offset: u64) -> Result<(), LogError> {
        if let Some(at) = first_used(window, offset)? {
            self.tell(at, "what is here is no frame: damage, or a write that a crash cut off");
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame<'_>, bytes: &[u8], at: Position) {
        let offset = u64::from(at.offset);
        if frame.kind != FrameKind::Record {
            return self.commit(frame, at);
        }
        if self.seq.is_some_and(|seq| seq.checked_add(1) != Some(frame.seq)) {
            self.tell(offset, "a record has the wrong number");
        }
        self.settle_doubt();
        if frame.data_end < self.data_end {
            self.tell(offset, "a record names an earlier end of data");
        }
        self.data_end = self.data_end.max(frame.data_end);
        self.seq = Some(frame.seq);
        self.last = frame.seq;
        if let Some(chain) = &mut self.chain {
            chain.add(bytes);
        }
        if let Err(why) = (self.examine)(Record::of(self.id, frame, at)) {
            self.tell(offset, why);
        }
        self.compare_heads(frame.seq, offset);
        self.is_done = self.expected.until.is_some_and(|until| frame.seq >= until);
    }

    fn commit(&mut self, frame: &Frame<'_>, at: Position) {
        let offset = u64::from(at.offset);
        let commit = Commit::decode(frame.body).filter(|_| self.seq.is_none_or(|seq| seq == frame.seq));
        let Some(commit) = commit else {
            return self.tell(offset, "a commit does not fit the records before it");
        };
        if let Some(chain) = &mut self.chain
            && chain.hash() != commit.chain
        {
            self.tell(offset, "the hash over the records is not the one written: a record was changed");
        }
        if commit.durable_log > at || commit.durable_log < self.durable_log {
            self.tell(offset, "a commit speaks of what is not there");
        }
        self.durable_log = self.durable_log.max(commit.durable_log.min(at));
        self.seq = Some(frame.seq);
    }

    fn compare_heads(&mut self, seq: u64, offset: u64) {
        while self.heads.last().is_some_and(|(head, _)| head.seq <= seq) {
            let Some((head, from)) = self.heads.pop() else { return };
            let Some(chain) = &mut self.chain else { continue };
            if head.seq == seq && chain.hash() != head.chain {
                self.doubt = Some((head, from, self.file.clone(), offset));
            }
        }
    }

    fn dispel_doubt(&mut self, chain: &mut Chain) {
        if self.doubt.as_ref().is_some_and(|(head, ..)| head.chain == chain.hash()) {
            self.doubt = None;
        }
    }

    fn settle_doubt(&mut self) {
        if let Some((head, from, file, offset)) = self.doubt.take() {
            let what = format!(
                "the records up to {} are not those that {from} has the hash of: rewritten",
                head.seq
            );
            (self.report)(Problem { file, offset, what });
        }
    }

    fn report_missing_heads(&mut self) {
        for (head, from) in std::mem::take(&mut self.heads) {
            let what = format!(
                "the log ends with record {}, and had record {} according to {from}: it was cut",
                self.last, head.seq
            );
            let offset = 0;
            (self.report)(Problem { file: self.files.path(self.id, self.last_segment), offset, what });
        }
    }
}

type Found<'w> = Result<(Frame<'w>, &'w [u8]), &'static str>;

/// The frame at an offset and all its bytes, or why there is none.
fn frame_at(window: &mut Window, salt: Salt, offset: u64) -> Result<Found<'_>, LogError> {
    let Some(header) = window.get(offset, FRAME_HEADER_BYTES)? else { return Ok(Err("the file ends")) };
    let padded = match Frame::padded_bytes(header.first_chunk().expect("asked for as many bytes")) {
        Ok(padded) => padded,
        Err(why) => return Ok(Err(why)),
    };
    let Some(bytes) = window.get(offset, padded)? else { return Ok(Err("the file ends within a frame")) };
    Ok(Frame::decode(bytes, salt, offset).map(|frame| (frame, bytes)))
}

/// The first right frame at or behind an offset.
fn next_frame(window: &mut Window, salt: Salt, offset: u64) -> Result<Option<u64>, LogError> {
    let mut at = offset;
    while at + FRAME_HEADER_BYTES as u64 <= window.file_len {
        if frame_at(window, salt, at)?.is_ok() {
            return Ok(Some(at));
        }
        at += ALIGN;
    }
    Ok(None)
}

/// The first byte from an offset on that is not zero.
fn first_used(window: &mut Window, offset: u64) -> Result<Option<u64>, LogError> {
    let mut at = offset;
    while at < window.file_len {
        let len = (window.file_len - at).min(4096) as usize;
        let Some(bytes) = window.get(at, len)? else { return Ok(None) };
        if let Some(used) = bytes.iter().position(|byte| *byte != 0) {
            return Ok(Some(at + used as u64));
        }
        at += len as u64;
    }
    Ok(None)
}
