//! Walking the frames of a log in order, over its segments.
//!
//! Invariant: a step gives a frame only if it is whole, right and next in number; else it says where and why not.
//! Memory is bounded by one window, whatever lengths the bytes claim. Read next: `recovery`.

use super::chain::Chain;
use super::files::Files;
use super::format::{
    Commit, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Frame, FrameKind, HEADER_BYTES, HeaderFault, Place,
    Position, Salt, SegmentHeader,
};
use super::recovery::segment_header;
use super::{LogError, begin};
use crate::disk::{DiskFile, OpenMode, read_exact_at};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use weald_model::WorkspaceId;

/// Bytes read at a time; any frame fits.
const WINDOW_BYTES: usize = FRAME_BYTES_MAX.next_multiple_of(64 << 10);

/// A file read through a window that only moves on.
pub(super) struct Window {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    pub(super) file_len: u64,
    bytes: Vec<u8>,
    at: u64,
}

impl Window {
    pub(super) fn new(file: Arc<dyn DiskFile>, path: PathBuf) -> Result<Self, LogError> {
        // Nothing Weald writes is longer than a position can say.
        let file_len = file.len().map_err(LogError::io("reading", &path))?.min(u64::from(u32::MAX));
        Ok(Self { file, path, file_len, bytes: Vec::new(), at: 0 })
    }

    /// Forgets what was read, and takes the length anew: the file may have grown.
    pub(super) fn refresh(&mut self) -> Result<(), LogError> {
        self.bytes.clear();
        self.file_len =
            self.file.len().map_err(LogError::io("reading", &self.path))?.min(u64::from(u32::MAX));
        Ok(())
    }

    /// The `len` bytes at `offset`, or `None` when the file ends before. `len` is at most [`WINDOW_BYTES`].
    pub(super) fn get(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, LogError> {
        if offset + len as u64 > self.file_len {
            return Ok(None);
        }
        if offset < self.at || offset + len as u64 > self.at + self.bytes.len() as u64 {
            let count = (self.file_len - offset).min(WINDOW_BYTES as u64);
            self.bytes.resize(count as usize, 0);
            self.at = offset;
            match read_exact_at(&*self.file, &mut self.bytes, offset) {
                Ok(()) => {}
                Err(error) => {
                    self.bytes.clear();
                    return match error.kind() {
                        // Somebody cut the file since its length was taken.
                        io::ErrorKind::UnexpectedEof => Ok(None),
                        _ => Err(LogError::io("reading", &self.path)(error)),
                    };
                }
            }
        }
        let start = (offset - self.at) as usize;
        Ok(Some(&self.bytes[start..start + len]))
    }
}

/// One step of a walk.
pub(super) enum Step<'w> {
    /// A record and where it begins.
    Record { frame: Frame<'w>, at: Position },
    /// A commit, where it begins, its frame, and whether its chain is that over the records, if they are hashed.
    Commit { commit: Commit, at: Position, bytes: &'w [u8], has_chain: bool },
    /// No right frame is at [`Walk::at`].
    Stop(&'static str),
}

/// Whether a walk hashes the records; it is half of its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkChain {
    Check,
    Skip,
}

/// A walk over the frames of a log.
pub(super) struct Walk<'f> {
    files: &'f Files,
    id: WorkspaceId,
    /// Where the next frame is; offset 0 when the header of the segment is to be read first.
    pub(super) at: Position,
    /// The last record.
    pub(super) seq: u64,
    /// The chain so far, when it is wanted.
    pub(super) chain: Option<Chain>,
    wants_chain: bool,
    /// True when the segment before `at` was ended in order.
    pub(super) is_ended: bool,
    /// Where the segment before `at` ended.
    pub(super) end_before: u64,
    /// The chain where it begins, if that is known and not the log's first record.
    chain_before: Option<[u8; 32]>,
    window: Option<Window>,
}

impl<'f> Walk<'f> {
    fn new(files: &'f Files, id: WorkspaceId, chain: WalkChain) -> Self {
        Self {
            files,
            id,
            at: Position::default(),
            seq: 0,
            chain: None,
            wants_chain: chain == WalkChain::Check,
            is_ended: false,
            end_before: 0,
            chain_before: None,
            window: None,
        }
    }

    /// A walk that begins where the log does.
    pub(super) fn first(files: &'f Files, id: WorkspaceId, chain: WalkChain) -> Result<Self, LogError> {
        let walk = Self::new(files, id, chain);
        Ok(match begin::read(files, id)? {
            None => walk,
            Some(begin) => Self {
                at: Position { segment: begin.segment, offset: 0 },
                seq: begin.head.seq,
                end_before: begin.end_before,
                chain_before: Some(begin.head.chain),
                ..walk
            },
        })
    }

    /// A walk that begins with a segment; None when that has no right header. What it says of the segments before is
    /// believed.
    pub(super) fn begin_at(
        files: &'f Files,
        id: WorkspaceId,
        number: u32,
        chain: WalkChain,
    ) -> Result<Option<Self>, LogError> {
        let walk = Self::first(files, id, chain)?;
        if number <= walk.at.segment {
            return Ok(Some(walk));
        }
        let header = segment_header(files, id, number)?;
        Ok(header.map(|header| Self {
            at: Position { segment: number, offset: 0 },
            seq: header.seq_before,
            end_before: header.end_before,
            chain_before: None,
            ..walk
        }))
    }

    /// A walk that goes on behind record `seq`, at a place where another one stood. It hashes nothing.
    pub(super) fn resumed(
        files: &'f Files,
        id: WorkspaceId,
        at: Position,
        seq: u64,
        end_before: u64,
    ) -> Result<Self, LogError> {
        let mut walk = Self { at, seq, end_before, ..Self::new(files, id, WalkChain::Skip) };
        if at.offset != 0 {
            let file = files.open(id, at.segment, OpenMode::Read)?;
            walk.window = Some(Window::new(file, files.path(id, at.segment))?);
        }
        Ok(walk)
    }

    /// Forgets what was read of the segment at hand: it may have grown.
    pub(super) fn refresh(&mut self) -> Result<(), LogError> {
        self.window.as_mut().map_or(Ok(()), Window::refresh)
    }

    /// Takes the next frame.
    pub(super) fn step(&mut self) -> Result<Step<'_>, LogError> {
        if self.at.offset == 0
            && let Err(why) = self.enter()?
        {
            return Ok(Step::Stop(why));
        }
        let (at, salt) = (self.at, Salt::new(self.id, self.at.segment));
        let offset = u64::from(at.offset);
        let Some(window) = &mut self.window else { return Ok(Step::Stop("the segment is not open")) };
        let Some(header) = window.get(offset, FRAME_HEADER_BYTES)? else {
            return Ok(Step::Stop("the file ends"));
        };
        let padded = match Frame::padded_bytes(header.first_chunk().expect("asked for as many bytes")) {
            Ok(padded) => padded,
            Err(why) => return Ok(Step::Stop(why)),
        };
        let Some(bytes) = window.get(offset, padded)? else {
            return Ok(Step::Stop("the file ends within a frame"));
        };
        let frame = match Frame::decode(bytes, salt, offset) {
            Ok(frame) => frame,
            Err(why) => return Ok(Step::Stop(why)),
        };
        let next = at.offset + padded as u32;
        if frame.kind == FrameKind::Record {
            if self.seq.checked_add(1) != Some(frame.seq) {
                return Ok(Step::Stop("a record has the wrong number"));
            }
            self.seq = frame.seq;
            if let Some(chain) = &mut self.chain {
                chain.add(bytes);
            }
            self.at.offset = next;
            return Ok(Step::Record { frame, at });
        }
        let Some(commit) = Commit::decode(frame.body).filter(|_| frame.seq == self.seq) else {
            return Ok(Step::Stop("a commit does not fit the records before it"));
        };
        if frame.kind == FrameKind::Last {
            self.end_before = u64::from(next);
            self.is_ended = true;
            self.at = Position { segment: at.segment + 1, offset: 0 };
        } else {
            self.at.offset = next;
        }
        let has_chain = self.chain.as_mut().is_some_and(|chain| chain.hash() == commit.chain);
        Ok(Step::Commit { commit, at, bytes, has_chain })
    }

    /// Opens the segment at `at` and reads its header. The inner error says why it is not the next segment.
    fn enter(&mut self) -> Result<Result<(), &'static str>, LogError> {
        let (id, number) = (self.id, self.at.segment);
        let Some(file) = self.files.open_if_there(id, number)? else {
            return Ok(Err("the segment is missing"));
        };
        let path = self.files.path(id, number);
        let mut window = Window::new(file, path.clone())?;
        let Some(bytes) = window.get(0, HEADER_BYTES)? else {
            return Ok(Err("the segment has no whole header"));
        };
        let header = bytes.first_chunk().expect("asked for as many bytes");
        let header = match SegmentHeader::decode(header, id, number) {
            Ok(header) => header,
            Err(HeaderFault::Version(version)) => return Err(LogError::Version { file: path, version }),
            Err(HeaderFault::Damaged(why)) => return Ok(Err(why)),
        };
        let chain_before = match &mut self.chain {
            Some(chain) => chain.hash(),
            None if number == 0 => [0; 32],
            None => self.chain_before.take().unwrap_or(header.chain_before),
        };
        if (header.seq_before, header.end_before, header.chain_before)
            != (self.seq, self.end_before, chain_before)
        {
            return Ok(Err("the segment does not go on where the one before ended"));
        }
        match &mut self.chain {
            Some(chain) => chain.begin_next(&header),
            None => self.chain = self.wants_chain.then(|| Chain::begin(&header)),
        }
        self.window = Some(window);
        self.is_ended = false;
        self.at.offset = HEADER_BYTES as u32;
        Ok(Ok(()))
    }
}

/// What lies behind a place where a walk stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// A commit there says that more than what the walk gave was durable once.
    pub(super) is_durable: bool,
    /// Bytes up to the last that is not zero, over all segments.
    pub(super) bytes: u64,
}

/// Looks at everything behind `stop`, in the files `numbers`.
pub(super) fn look_behind(
    files: &Files,
    id: WorkspaceId,
    numbers: &[u32],
    stop: Position,
) -> Result<Behind, LogError> {
    let mut behind = Behind::default();
    for number in numbers.iter().copied().filter(|n| n & Place::DATA == 0 && *n >= stop.segment) {
        let Some(file) = files.open_if_there(id, number)? else { continue };
        let start = if number == stop.segment { u64::from(stop.offset) } else { 0 };
        let mut window = Window::new(file, files.path(id, number))?;
        look_through(&mut window, (id, number), start, stop, &mut behind)?;
    }
    Ok(behind)
}

fn look_through(
    window: &mut Window,
    (id, number): (WorkspaceId, u32),
    start: u64,
    stop: Position,
    behind: &mut Behind,
) -> Result<(), LogError> {
    const COMMIT_FRAME_BYTES: usize = super::format::frame_bytes(super::format::COMMIT_BYTES, 0);
    let salt = Salt::new(id, number);
    let mut used = 0;
    let mut at = start;
    while at < window.file_len {
        let len = COMMIT_FRAME_BYTES.min((window.file_len - at) as usize);
        let Some(bytes) = window.get(at, len)? else { break };
        let step = bytes.len().min(8);
        if bytes[..step].iter().any(|byte| *byte != 0) {
            used = at + step as u64 - start;
            behind.is_durable |= claims_more(bytes, salt, at, stop);
        }
        at += step as u64;
    }
    behind.bytes += used;
    Ok(())
}

fn claims_more(bytes: &[u8], salt: Salt, at: u64, stop: Position) -> bool {
    match Frame::decode(bytes, salt, at) {
        Ok(frame) if frame.kind != FrameKind::Record => {
            Commit::decode(frame.body).is_some_and(|commit| commit.durable_log > stop)
        }
        _ => false,
    }
}
