//! Opening a log: find its end, refuse damage, cut a torn tail, replay.
//!
//! Invariant: records are visited only after it is settled that they stay. Nothing on disk changes before damage is ruled
//! out, and what is kept without being known durable is written again, for a failed fdatasync may have left it in
//! memory only. Read next: `walk`, how frames are read; docs/format.md, why the rules are as they are.

use super::chain::Chain;
use super::content::right_entry;
use super::files::Files;
use super::format::{Commit, HEADER_BYTES, HeaderFault, Place, Position, Salt, SegmentHeader, entry_bytes};
use super::walk::{Behind, Step, Walk, WalkChain, look_behind};
use super::writer::{Log, Resume};
use super::{LogError, Record, Recovery, Visit, begin};
use crate::disk::{DiskFile, OpenMode, read_exact_at};
use std::sync::{Arc, PoisonError};
use weald_model::WorkspaceId;

/// Bytes copied at a time when a tail is written again.
const COPY_BYTES: usize = 256 << 10;

/// The end of the part of a log that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    /// First byte after it.
    at: Position,
    /// Last record.
    seq: u64,
    /// End of the data its records may name.
    data: Position,
    /// The segment before `at` was ended in order, and that of `at` does not exist.
    is_ended: bool,
    /// Where the segment before `at` ended.
    end_before: u64,
    /// Where the last record begins.
    last_record: Position,
}

/// The last segments of log and data, as far as there are any.
type LastSegments = [Option<Arc<dyn DiskFile>>; 2];

/// A record after which more data is named than after the one before it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The end of the log if it is cut before this record.
    before: End,
    data: Position,
}

/// What the first walk over a log found.
struct Found {
    end: End,
    why: &'static str,
    durable_log: Position,
    durable_data: Position,
    /// Marks of records not known to be durable.
    marks: Vec<Mark>,
    /// The chain at `end`; none if there is no record.
    chain: Option<Chain>,
    commits: LastCommits,
}

/// The commits behind the last record, but for those known to be durable.
#[derive(Default)]
struct LastCommits {
    at: Position,
    bytes: Vec<u8>,
}

impl LastCommits {
    fn add(&mut self, at: Position, frame: &[u8], durable: Position) {
        if self.bytes.is_empty() || at.segment != self.at.segment {
            *self = Self { at, bytes: Vec::new() };
        }
        self.bytes.extend_from_slice(frame);
        if durable.segment == self.at.segment && durable > self.at {
            self.bytes.drain(..(durable.offset - self.at.offset) as usize);
            self.at = durable;
        }
    }
}

pub(super) fn open(
    files: &Arc<Files>,
    id: WorkspaceId,
    visit: &mut Visit<'_>,
) -> Result<(Log, Recovery), LogError> {
    let found = {
        let _stay = files.reading.read().unwrap_or_else(PoisonError::into_inner);
        find_all(files, id)?
    };
    open_found(files, id, (0, found), visit)
}

/// Opens a log from a segment on, before which a commit says what was durable. None, and nothing is changed, when more has
/// to be known: where the durable part ends, or that there is a record.
pub(super) fn open_at(
    files: &Arc<Files>,
    id: WorkspaceId,
    (segment, before): (u32, &Commit),
    visit: &mut Visit<'_>,
) -> Result<Option<(Log, Recovery)>, LogError> {
    let found = {
        let _stay = files.reading.read().unwrap_or_else(PoisonError::into_inner);
        let Some(walk) = Walk::begin_at(files, id, segment, WalkChain::Check)? else { return Ok(None) };
        find_end(files, id, walk, Some(before))?
    };
    let is_enough = found.durable_log >= Position { segment, offset: HEADER_BYTES as u32 };
    if !is_enough || found.chain.is_none() {
        return Ok(None);
    }
    open_found(files, id, (segment, found), visit).map(Some)
}

fn open_found(
    files: &Arc<Files>,
    id: WorkspaceId,
    (first, found): (u32, Found),
    visit: &mut Visit<'_>,
) -> Result<(Log, Recovery), LogError> {
    let numbers = files.numbers(id)?;
    let behind = look_behind(files, id, &numbers, found.end.at)?;
    if behind.is_durable {
        return Err(damaged(files, id, found.end.at, found.why));
    }
    if found.end.seq == 0 {
        return Err(LogError::Unborn(id));
    }
    if found.chain.is_none() {
        return Err(damaged(files, id, found.end.at, found.why));
    }
    check_durable_data(files, id, found.durable_data)?;
    let end = cut_before_lost_data(files, id, &found)?;
    let behind = if end == found.end { behind } else { look_behind(files, id, &numbers, end.at)? };
    let mending = files.mend();
    let cut_bytes = cut(files, id, &numbers, &end, behind)?;
    let is_clean = end == found.end
        && end.at.segment == found.durable_log.segment
        && end.last_record < found.durable_log
        && end.data <= found.durable_data;
    // Behind the durable part of a clean log are commits alone. They say nothing that is lost with them, but what is
    // appended behind a lost one is: the first append writes them again.
    let (commits, [file, data_file]) = match is_clean {
        true => (found.commits.bytes, [None, None]),
        false => (Vec::new(), write_again(files, id, (found.durable_log, found.durable_data), &end)?),
    };
    files.set_sure(id, true);
    drop(mending);
    let known = found.chain.filter(|_| end == found.end);
    let chain = replay(files, id, (first, &end), known, visit)?;
    let resume = Resume {
        at: end.at,
        seq: end.seq,
        chain,
        data: end.data,
        is_ended: end.is_ended,
        end_before: end.end_before,
        is_clean,
        durable_log: found.durable_log,
        durable_data: found.durable_data,
        commits,
        file,
        data_file,
    };
    Ok((Log::resume(files.clone(), id, resume), Recovery { records: end.seq, cut_bytes }))
}

/// Makes a log durable for another one that starts from it, whether it is open or not.
pub(super) fn make_durable(files: &Files, id: WorkspaceId) -> Result<(), LogError> {
    let _mending = files.mend();
    if !files.is_sure(id) {
        let _stay = files.reading.read().unwrap_or_else(PoisonError::into_inner);
        let found = find_all(files, id)?;
        if look_behind(files, id, &files.numbers(id)?, found.end.at)?.is_durable {
            return Err(damaged(files, id, found.end.at, found.why));
        }
        write_again(files, id, (found.durable_log, found.durable_data), &found.end)?;
    }
    let synced = files.sync(id);
    files.set_sure(id, synced.is_ok());
    synced
}

pub(super) fn replay_until(
    files: &Files,
    id: WorkspaceId,
    seq: u64,
    visit: &mut Visit<'_>,
) -> Result<(), LogError> {
    replay_from(files, id, (0, seq), visit)
}

/// The same from a segment on.
pub(super) fn replay_from(
    files: &Files,
    id: WorkspaceId,
    (first, seq): (u32, u64),
    visit: &mut Visit<'_>,
) -> Result<(), LogError> {
    let _stay = files.reading.read().unwrap_or_else(PoisonError::into_inner);
    let mut walk = match Walk::begin_at(files, id, first, WalkChain::Skip)? {
        Some(walk) => walk,
        None => Walk::first(files, id, WalkChain::Skip)?,
    };
    let mut looked_at = None;
    while walk.seq < seq {
        match walk.step()? {
            Step::Record { frame, at } => {
                visit(Record::of(id, &frame, at)).map_err(LogError::Refused)?;
            }
            Step::Commit { .. } => {}
            Step::Stop(why) => {
                let (at, last) = (walk.at, walk.seq);
                if !look_behind(files, id, &files.numbers(id)?, at)?.is_durable {
                    return Err(LogError::Short { id, last, wanted: seq });
                }
                // A log that is written may have grown between the two looks. What is seen to be durable was there
                // before that was written, so a third look decides.
                if looked_at.replace(at) == Some(at) {
                    return Err(damaged(files, id, at, why));
                }
                walk.refresh()?;
            }
        }
    }
    Ok(())
}

/// Walks over the whole log.
fn find_all(files: &Files, id: WorkspaceId) -> Result<Found, LogError> {
    let before = begin::read(files, id)?.map(|begin| begin.commit());
    find_end(files, id, Walk::first(files, id, WalkChain::Check)?, before.as_ref())
}

/// Walks to the end of the log, checking every frame and the chain. `before` is the commit before where it begins.
fn find_end(
    files: &Files,
    id: WorkspaceId,
    mut walk: Walk<'_>,
    before: Option<&Commit>,
) -> Result<Found, LogError> {
    let durable_data = before.map_or(Position::default(), |commit| commit.durable_data);
    let mut found = Found {
        end: End {
            at: walk.at,
            seq: walk.seq,
            data: durable_data,
            is_ended: before.is_some(),
            end_before: walk.end_before,
            last_record: walk.at,
        },
        why: "",
        durable_log: before.map_or(Position::default(), |commit| commit.durable_log),
        durable_data,
        marks: Vec::new(),
        chain: None,
        commits: LastCommits::default(),
    };
    loop {
        match walk.step()? {
            Step::Record { frame, at, .. } => {
                let data = frame.data_end;
                if data < found.end.data {
                    return Err(damaged(files, id, at, "a record names an earlier end of data"));
                }
                if data > found.end.data {
                    found.marks.push(Mark { before: End { at, is_ended: false, ..found.end }, data });
                }
                found.end.data = data;
                found.end.last_record = at;
                found.commits.bytes.clear();
            }
            Step::Commit { commit, at, bytes, has_chain } => {
                if !has_chain {
                    return Err(damaged(files, id, at, "the hash over the records is not the one written"));
                }
                if commit.durable_log > at || commit.durable_log < found.durable_log {
                    return Err(damaged(files, id, at, "a commit speaks of what is not there"));
                }
                found.durable_log = commit.durable_log;
                found.durable_data = found.durable_data.max(commit.durable_data);
                let durable = found.durable_log;
                found.marks.retain(|mark| mark.before.at >= durable);
                found.commits.add(at, bytes, durable);
            }
            Step::Stop(why) => {
                found.why = why;
                break;
            }
        }
        found.end.seq = walk.seq;
        found.end.at = walk.at;
        found.end.is_ended = walk.is_ended;
        found.end.end_before = walk.end_before;
    }
    // A segment that was begun but whose first frame is torn is kept; its header is right.
    found.end.at = walk.at;
    found.end.is_ended = walk.is_ended;
    found.end.data = found.end.data.max(found.durable_data);
    found.chain = walk.chain;
    Ok(found)
}

/// Checks that the data segments are as long as a commit says they durably were.
fn check_durable_data(files: &Files, id: WorkspaceId, durable: Position) -> Result<(), LogError> {
    if durable == Position::default() {
        return Ok(());
    }
    for segment in 0..=durable.segment {
        let number = segment | Place::DATA;
        let wanted = if segment == durable.segment { u64::from(durable.offset) } else { HEADER_BYTES as u64 };
        let path = files.path(id, number);
        let len = match files.open_if_there(id, number)? {
            Some(file) => file.len().map_err(LogError::io("reading", &path))?,
            None => 0,
        };
        if len < wanted {
            let why = "the file ends before data that was durable";
            return Err(LogError::Damaged { file: path, offset: len, why });
        }
    }
    Ok(())
}

/// Drops the records from the first on that names data a crash lost. Such records were never synced.
fn cut_before_lost_data(files: &Files, id: WorkspaceId, found: &Found) -> Result<End, LogError> {
    let Some(last) = found.marks.last() else { return Ok(found.end) };
    let right = right_data(files, id, found.durable_data, last.data)?;
    let lost = found.marks.iter().find(|mark| mark.data > right);
    Ok(lost.map_or(found.end, |mark| End { data: mark.before.data.max(found.durable_data), ..mark.before }))
}

/// Checks entries of data from `from` to `to` and returns how far they are right.
fn right_data(files: &Files, id: WorkspaceId, from: Position, to: Position) -> Result<Position, LogError> {
    let mut at = from;
    let mut buf = Vec::new();
    while at < to {
        let number = at.segment | Place::DATA;
        let Some(file) = files.open_if_there(id, number)? else { return Ok(at) };
        if at.offset == 0 {
            if data_header(files, id, at.segment)?.is_none() {
                return Ok(at);
            }
            at.offset = HEADER_BYTES as u32;
        }
        let end = if at.segment == to.segment {
            u64::from(to.offset)
        } else {
            // Without the next segment nobody says where this one ends, but what is in it may be right.
            data_header(files, id, at.segment + 1)?.map_or(u64::MAX, |next| next.end_before)
        };
        while u64::from(at.offset) < end {
            match right_entry(&*file, Salt::new(id, number), u64::from(at.offset), &mut buf) {
                Ok(Some(entry)) => match at.offset.checked_add(entry_bytes(entry.len) as u32) {
                    Some(next) => at.offset = next,
                    None => return Ok(at),
                },
                Ok(None) => return Ok(at),
                Err(error) => return Err(LogError::io("reading", &files.path(id, number))(error)),
            }
        }
        if at.segment == to.segment {
            break;
        }
        at = Position { segment: at.segment + 1, offset: 0 };
    }
    Ok(at)
}

pub(super) fn data_header(
    files: &Files,
    id: WorkspaceId,
    segment: u32,
) -> Result<Option<SegmentHeader>, LogError> {
    segment_header(files, id, segment | Place::DATA)
}

/// The header of a segment, numbered as in [`Place::file`]; None when there is none that is right.
pub(super) fn segment_header(
    files: &Files,
    id: WorkspaceId,
    number: u32,
) -> Result<Option<SegmentHeader>, LogError> {
    let Some(file) = files.open_if_there(id, number)? else { return Ok(None) };
    let path = files.path(id, number);
    let mut bytes = [0; HEADER_BYTES];
    if file.read_at(&mut bytes, 0).map_err(LogError::io("reading", &path))? < HEADER_BYTES {
        return Ok(None);
    }
    match SegmentHeader::decode(&bytes, id, number) {
        Ok(header) => Ok(Some(header)),
        Err(HeaderFault::Damaged(_)) => Ok(None),
        Err(HeaderFault::Version(version)) => Err(LogError::Version { file: path, version }),
    }
}

/// Cuts everything behind the end and returns how many bytes of it had been written.
fn cut(files: &Files, id: WorkspaceId, numbers: &[u32], end: &End, behind: Behind) -> Result<u64, LogError> {
    let mut cut_bytes = 0;
    let mut is_removed = false;
    for number in numbers.iter().copied() {
        let segment = number & !Place::DATA;
        let (keep, is_torn) =
            if number & Place::DATA == 0 { (end.at, behind.bytes > 0) } else { (end.data, true) };
        if segment > keep.segment || (segment == keep.segment && keep.offset == 0) {
            let path = files.path(id, number);
            let file = files.open(id, number, OpenMode::Read)?;
            cut_bytes += file.len().map_err(LogError::io("reading", &path))?;
            files.disk.remove_file(&path).map_err(LogError::io("removing", &path))?;
            is_removed = true;
        } else if segment == keep.segment && is_torn {
            cut_bytes += cut_file(files, id, number, keep.offset, behind)?;
        }
    }
    if is_removed {
        let dir = files.log_dir(id);
        files.disk.sync_dir(&dir).map_err(LogError::io("syncing", &dir))?;
    }
    files.forget(id);
    Ok(cut_bytes)
}

fn cut_file(files: &Files, id: WorkspaceId, number: u32, keep: u32, behind: Behind) -> Result<u64, LogError> {
    let path = files.path(id, number);
    let file = files.open(id, number, OpenMode::ReadWrite)?;
    let len = file.len().map_err(LogError::io("reading", &path))?;
    if len <= u64::from(keep) {
        return Ok(0);
    }
    file.set_len(u64::from(keep)).map_err(LogError::io("cutting", &path))?;
    // Durable before anything is appended: old frames behind new ones would be right in every respect.
    file.sync().map_err(LogError::io("syncing", &path))?;
    let written = if number & Place::DATA == 0 { behind.bytes } else { u64::MAX };
    Ok(written.min(len - u64::from(keep)))
}

/// Writes what is kept but not known to be durable over itself, so that the next fdatasync covers it for certain.
/// Returns the last segments of log and data, which are yet to be synced: these descriptors learn of a sync that fails
/// for somebody else.
fn write_again(
    files: &Files,
    id: WorkspaceId,
    durable: (Position, Position),
    end: &End,
) -> Result<LastSegments, LogError> {
    let mut last = [None, None];
    let ranges = [(durable.0, end.at, 0), (durable.1, end.data, Place::DATA)];
    for (last, (from, to, kind)) in last.iter_mut().zip(ranges) {
        for segment in from.segment..=to.segment {
            let number = segment | kind;
            if files.open_if_there(id, number)?.is_none() {
                continue;
            }
            let file = files.open(id, number, OpenMode::ReadWrite)?;
            let path = files.path(id, number);
            let start = if segment == from.segment { u64::from(from.offset) } else { 0 };
            let len = file.len().map_err(LogError::io("reading", &path))?;
            let stop = if segment == to.segment { len.min(u64::from(to.offset)) } else { len };
            copy_over_itself(&*file, start, stop).map_err(LogError::io("writing", &path))?;
            if segment < to.segment {
                // The next sync reaches the last segments only.
                file.sync().map_err(LogError::io("syncing", &path))?;
            } else {
                *last = Some(file);
            }
        }
    }
    Ok(last)
}

fn copy_over_itself(file: &dyn DiskFile, start: u64, stop: u64) -> std::io::Result<()> {
    let mut buf = vec![0; COPY_BYTES.min(stop.saturating_sub(start) as usize)];
    let mut at = start;
    while at < stop {
        let count = buf.len().min((stop - at) as usize);
        read_exact_at(file, &mut buf[..count], at)?;
        file.write_at(&[&buf[..count]], at)?;
        at += count as u64;
    }
    Ok(())
}

/// Walks again, up to the end that was settled, and hands out the records. Returns the chain there, which it need
/// not hash again when it is known.
fn replay(
    files: &Files,
    id: WorkspaceId,
    (first, end): (u32, &End),
    known: Option<Chain>,
    visit: &mut Visit<'_>,
) -> Result<Chain, LogError> {
    let hashing = if known.is_some() { WalkChain::Skip } else { WalkChain::Check };
    let _stay = files.reading.read().unwrap_or_else(PoisonError::into_inner);
    let mut walk = match Walk::begin_at(files, id, first, hashing)? {
        Some(walk) => walk,
        None => Walk::first(files, id, hashing)?,
    };
    while walk.at < end.at {
        match walk.step()? {
            Step::Record { frame, at } => {
                visit(Record::of(id, &frame, at)).map_err(LogError::Refused)?;
            }
            Step::Commit { .. } => {}
            Step::Stop(why) => {
                let at = walk.at;
                // The header of a segment without frames is read by the step that stops.
                if at == end.at {
                    break;
                }
                return Err(damaged(files, id, at, why));
            }
        }
    }
    debug_assert_eq!(walk.seq, end.seq, "the second walk sees what the first saw");
    Ok(known.or(walk.chain).expect("a log with a record has a segment, whose chain was begun"))
}

fn damaged(files: &Files, id: WorkspaceId, at: Position, why: &'static str) -> LogError {
    LogError::Damaged { file: files.path(id, at.segment), offset: u64::from(at.offset), why }
}
