//! Appending to a log.
//!
//! Invariant: a record is whole in the file before it has a number, and a write that failed is cut away before the next, so
//! the file never holds a frame that nobody was told of with others behind it. What cannot be cut stops the log.
//! Read next: `group`, how it becomes durable.

use super::chain::Chain;
use super::files::Files;
use super::format::{
    BODY_BYTES_MAX, COMMIT_BYTES, Commit, DATA_BYTES_MAX, Frame, FrameKind, HEADER_BYTES, INLINE_BYTES_MAX,
    Place, Position, Salt, SegmentHeader, block_sums, encode_entry_header, entry_bytes, frame_bytes,
};
use super::group::{Group, write_ahead_of_append};
use super::{Appended, Durability, Head, LogError};
use crate::NOT_POISONED;
use crate::disk::{DiskFile, OpenMode};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use std::io;
use std::sync::Arc;
use weald_model::WorkspaceId;

/// Buffers larger than this are given back when a log comes to rest, so that idle logs cost little.
const IDLE_BUFFER_BYTES: usize = 16 << 10;

const COMMIT_FRAME_BYTES: u64 = frame_bytes(COMMIT_BYTES, 0) as u64;

/// One open log. All methods may be called from many threads; appends and puts each take turns.
pub struct Log {
    pub(super) files: Arc<Files>,
    pub(super) id: WorkspaceId,
    pub(super) tail: Mutex<Tail>,
    pub(super) data: Mutex<DataTail>,
    /// End of the complete data, as [`Position::to_u64`].
    data_end: AtomicU64,
    /// Counts appends and puts; a sync covers those counted before it began.
    pub(super) writes: AtomicU64,
    /// Set for good by a failed sync, or a failed write that could not be cut away.
    pub(super) is_stopped: AtomicBool,
    pub(super) group: Group,
}

/// Where a log that was opened goes on.
pub(super) struct Resume {
    pub(super) at: Position,
    pub(super) seq: u64,
    pub(super) chain: Chain,
    pub(super) data: Position,
    pub(super) is_ended: bool,
    pub(super) end_before: u64,
    pub(super) is_clean: bool,
    pub(super) durable_log: Position,
    pub(super) durable_data: Position,
    /// Commits before `at` that may be in memory only.
    pub(super) commits: Vec<u8>,
    /// The segments at `at` and `data`, when what is in them was written again.
    pub(super) file: Option<Arc<dyn DiskFile>>,
    pub(super) data_file: Option<Arc<dyn DiskFile>>,
}

/// The end of the log.
pub(super) struct Tail {
    /// The segment at `at`, once it was written to.
    pub(super) file: Option<Arc<dyn DiskFile>>,
    /// What is before `at` and to be written again before anything else is.
    commits: Vec<u8>,
    /// Where the next frame goes. Offset 0: the segment is yet to be made.
    pub(super) at: Position,
    /// Where the segment before ended; known only while offset is 0.
    end_before: u64,
    /// The file is zeros from `at` to here.
    pub(super) zeroed_to: u64,
    pub(super) seq: u64,
    chain: Chain,
    frame: Vec<u8>,
    pub(super) durable_log: Position,
    pub(super) durable_data: Position,
    /// What the last commit says is durable: log and data.
    told: (Position, Position),
    pub(super) unsynced: Unsynced,
    /// Syncs so far, to tell busy logs.
    pub(super) syncs: u64,
}

/// The end of the data.
pub(super) struct DataTail {
    pub(super) file: Option<Arc<dyn DiskFile>>,
    pub(super) at: Position,
    pub(super) unsynced: Unsynced,
}

/// What the next sync must reach.
#[derive(Default)]
pub(super) struct Unsynced {
    /// The current file.
    pub(super) current: bool,
    /// Files before it.
    pub(super) ended: Vec<Arc<dyn DiskFile>>,
    /// Entries in the log's own directory.
    pub(super) dir: bool,
    /// The log's entry in the directory of logs.
    pub(super) parent: bool,
}

impl Log {
    pub(super) fn create(
        files: Arc<Files>,
        id: WorkspaceId,
        genesis: &[u8],
        durability: Durability,
    ) -> Result<Log, LogError> {
        check_size("a record", genesis.len(), BODY_BYTES_MAX)?;
        let dir = files.log_dir(id);
        files.disk.make_dir(&dir).map_err(LogError::io("making", &dir))?;
        let path = files.path(id, 0);
        let file = match files.disk.open(&path, OpenMode::CreateNew) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(LogError::Exists(id)),
            Err(error) => {
                // Told is why it failed; what stays is an empty directory, which the next attempt takes.
                let _ = files.disk.remove_dir(&dir);
                return Err(LogError::io("making", &path)(error));
            }
        };
        let made = Self::begin(files.clone(), id, file, genesis, durability);
        if made.is_err() {
            // The same: what stays of it opens as a log that was never completed.
            let _ = files.empty(&dir);
        }
        made
    }

    fn begin(
        files: Arc<Files>,
        id: WorkspaceId,
        file: Arc<dyn DiskFile>,
        genesis: &[u8],
        durability: Durability,
    ) -> Result<Log, LogError> {
        let header = SegmentHeader { file: 0, log: id, seq_before: 0, end_before: 0, chain_before: [0; 32] };
        let at = Position { segment: 0, offset: HEADER_BYTES as u32 };
        let mut bytes = Vec::new();
        let frame = Frame {
            kind: FrameKind::Record,
            seq: 1,
            data_end: Position::default(),
            body: genesis,
            inline: &[],
        };
        frame.encode(Salt::new(id, 0), u64::from(at.offset), &mut bytes);
        file.write_at(&[&header.encode(), &bytes], 0).map_err(LogError::io("writing", &files.path(id, 0)))?;
        let mut chain = Chain::begin(&header);
        chain.add(&bytes);
        let resume = Resume {
            at: Position { offset: at.offset + bytes.len() as u32, ..at },
            seq: 1,
            chain,
            data: Position::default(),
            is_ended: false,
            end_before: 0,
            is_clean: false,
            durable_log: Position::default(),
            durable_data: Position::default(),
            commits: Vec::new(),
            file: Some(file),
            data_file: None,
        };
        files.set_sure(id, true);
        let log = Self::resume(files, id, resume);
        if durability == Durability::Durable {
            log.sync()?;
        }
        Ok(log)
    }

    pub(super) fn resume(files: Arc<Files>, id: WorkspaceId, mut from: Resume) -> Log {
        from.chain.rest(IDLE_BUFFER_BYTES);
        let unsynced =
            |current| Unsynced { current, dir: !from.is_clean, parent: !from.is_clean, ended: Vec::new() };
        let tail = Tail {
            file: from.file,
            commits: from.commits,
            at: from.at,
            end_before: from.end_before,
            zeroed_to: 0,
            seq: from.seq,
            chain: from.chain,
            frame: Vec::new(),
            durable_log: from.durable_log,
            durable_data: from.durable_data,
            told: (from.durable_log, from.durable_data),
            // Even of a clean log the last commit may not be durable.
            unsynced: unsynced(true),
            syncs: 0,
        };
        debug_assert_eq!(from.is_ended, from.at.offset == 0, "only an ended segment has none after it");
        let data = DataTail { file: from.data_file, at: from.data, unsynced: unsynced(!from.is_clean) };
        Log {
            files,
            id,
            tail: Mutex::new(tail),
            data: Mutex::new(data),
            data_end: AtomicU64::new(from.data.to_u64()),
            writes: AtomicU64::new(u64::from(!from.is_clean)),
            is_stopped: AtomicBool::new(false),
            group: Group::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> WorkspaceId {
        self.id
    }

    /// Puts data into a data segment, for a record to name. In the host's page cache when it returns. At most
    /// [`DATA_BYTES_MAX`] bytes.
    pub fn put_data(&self, data: &[u8]) -> Result<Place, LogError> {
        check_size("data", data.len(), DATA_BYTES_MAX)?;
        let sums = block_sums(data);
        let mut tail = self.data.lock().expect(NOT_POISONED);
        self.check_running()?;
        let bytes = entry_bytes(data.len());
        let is_full = u64::from(tail.at.offset) + bytes > u64::from(self.files.limits.data_segment_bytes);
        if tail.at.offset == 0 || (is_full && tail.at.offset as usize > HEADER_BYTES) {
            self.begin_data_segment(&mut tail)?;
        }
        let number = tail.at.segment | Place::DATA;
        let file = current(&mut tail.file, &self.files, self.id, number)?;
        let offset = u64::from(tail.at.offset);
        let header = encode_entry_header(Salt::new(self.id, number), offset, data, &sums);
        let padding = bytes as usize - header.len() - data.len() - sums.len();
        if let Err(error) = file.write_at(&[&header, data, &sums, &[0; 8][..padding]], offset) {
            // Nothing names it, so it may stay; but on a full disk its space is wanted back.
            let _ = file.set_len(offset);
            return Err(LogError::io("writing", &self.files.path(self.id, number))(error));
        }
        tail.at.offset += bytes as u32;
        tail.unsynced.current = true;
        self.data_end.store(tail.at.to_u64(), Ordering::Release);
        self.writes.fetch_add(1, Ordering::SeqCst);
        Ok(Place { log: self.id, file: number, offset: offset + header.len() as u64 })
    }

    /// Appends a record: `body` as its user has it, and up to [`INLINE_BYTES_MAX`] bytes of data that are kept with it.
    /// In the host's page cache when it returns; on error nothing is appended. One write, no allocation.
    pub fn append(&self, body: &[u8], inline: &[u8]) -> Result<Appended, LogError> {
        check_size("a record", body.len(), BODY_BYTES_MAX)?;
        check_size("inline data", inline.len(), INLINE_BYTES_MAX)?;
        let mut tail = self.lock_tail();
        self.check_running()?;
        let bytes = frame_bytes(body.len(), inline.len()) as u64 + COMMIT_FRAME_BYTES;
        let is_full = u64::from(tail.at.offset) + bytes > u64::from(self.files.limits.segment_bytes);
        if tail.at.offset == 0 || (is_full && tail.at.offset as usize > HEADER_BYTES) {
            self.begin_segment(&mut tail)?;
        }
        let seq = tail.seq + 1;
        let at = tail.at;
        self.write_frame(&mut tail, FrameKind::Record, seq, body, inline)?;
        tail.seq = seq;
        let Tail { chain, frame, .. } = &mut *tail;
        chain.add(frame);
        self.writes.fetch_add(1, Ordering::SeqCst);
        let offset = u64::from(at.offset);
        Ok(Appended { seq, inline_place: Place { log: self.id, file: at.segment, offset } })
    }

    /// The number of the last record.
    pub fn seq(&self) -> u64 {
        self.lock_tail().seq
    }

    /// The end of the log and the hash of everything up to it.
    pub fn head(&self) -> Head {
        let mut tail = self.lock_tail();
        Head { seq: tail.seq, chain: tail.chain.hash() }
    }

    pub(super) fn lock_tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().expect(NOT_POISONED)
    }

    pub(super) fn check_running(&self) -> Result<(), LogError> {
        match self.is_stopped.load(Ordering::SeqCst) {
            true => Err(LogError::Poisoned(self.id)),
            false => Ok(()),
        }
    }

    /// Appends a commit that tells what is durable. Failure loses nothing but the telling.
    pub(super) fn append_commit(&self, tail: &mut Tail) {
        if tail.at.offset != 0 {
            // The error is dropped on purpose: the records it speaks of are durable, and the next commit tells.
            let _ = self.write_commit(tail, FrameKind::Commit);
        }
    }

    fn write_commit(&self, tail: &mut Tail, kind: FrameKind) -> Result<(), LogError> {
        let commit = Commit {
            durable_log: tail.durable_log,
            durable_data: tail.durable_data,
            chain: tail.chain.hash(),
        };
        let seq = tail.seq;
        self.write_frame(tail, kind, seq, &commit.encode(), &[])?;
        tail.told = (commit.durable_log, commit.durable_data);
        Ok(())
    }

    /// Has a commit say all that is durable, if the last one does not: writing it may have failed.
    pub(super) fn tell_durable(&self) -> Result<(), LogError> {
        let mut tail = self.lock_tail();
        if tail.told == (tail.durable_log, tail.durable_data) {
            return Ok(());
        }
        if tail.at.offset == 0 {
            self.begin_segment(&mut tail)?;
        }
        self.write_commit(&mut tail, FrameKind::Commit)
    }

    /// Writes a frame at the end, and cuts it away again when that fails.
    fn write_frame(
        &self,
        tail: &mut Tail,
        kind: FrameKind,
        seq: u64,
        body: &[u8],
        inline: &[u8],
    ) -> Result<(), LogError> {
        let (segment, offset) = (tail.at.segment, u64::from(tail.at.offset));
        let file = self.current_segment(tail)?;
        let data_end = Position::from_u64(self.data_end.load(Ordering::Acquire));
        let frame = Frame { kind, seq, data_end, body, inline };
        // Commits too: the next commit says that everything before its claim is durable, and they lie before it.
        tail.unsynced.current = true;
        frame.encode(Salt::new(self.id, segment), offset, &mut tail.frame);
        write_ahead_of_append(tail, &*file, tail.frame.len() as u64, self.files.limits.segment_bytes);
        if let Err(error) = file.write_at(&[&tail.frame], offset) {
            if file.set_len(offset).is_err() {
                self.is_stopped.store(true, Ordering::SeqCst);
            }
            tail.zeroed_to = offset;
            return Err(LogError::io("writing", &self.files.path(self.id, segment))(error));
        }
        tail.at.offset += tail.frame.len() as u32;
        Ok(())
    }

    /// The file of the segment being written. When the log was opened on a clean end, the commits there come first: a
    /// failed fdatasync may have left them in memory only, in a page that nothing makes dirty again.
    pub(super) fn current_segment(&self, tail: &mut Tail) -> Result<Arc<dyn DiskFile>, LogError> {
        let is_open = tail.file.is_some();
        let file = current(&mut tail.file, &self.files, self.id, tail.at.segment)?;
        if !is_open {
            let path = self.files.path(self.id, tail.at.segment);
            tail.zeroed_to = file.len().map_err(LogError::io("reading", &path))?;
        }
        if !tail.commits.is_empty() {
            let offset = u64::from(tail.at.offset) - tail.commits.len() as u64;
            let written = file.write_at(&[&tail.commits], offset);
            written.map_err(LogError::io("writing", &self.files.path(self.id, tail.at.segment)))?;
            tail.commits = Vec::new();
        }
        Ok(file)
    }

    /// Ends the segment, if there is one, and begins the next. On error the old one is gone on with.
    fn begin_segment(&self, tail: &mut Tail) -> Result<(), LogError> {
        let has_segment = tail.at.offset != 0;
        let header = SegmentHeader {
            file: tail.at.segment + u32::from(has_segment),
            log: self.id,
            seq_before: tail.seq,
            end_before: match has_segment {
                true => u64::from(tail.at.offset) + COMMIT_FRAME_BYTES,
                false => tail.end_before,
            },
            chain_before: tail.chain.hash(),
        };
        let file = self.make_segment(&header)?;
        if has_segment {
            // Only now: after this frame nothing may follow in the old segment.
            if let Err(error) = self.write_commit(tail, FrameKind::Last) {
                // A new segment behind one that was not ended is cut at the next opening, or made anew.
                let _ = self.files.disk.remove_file(&self.files.path(self.id, header.file));
                return Err(error);
            }
            if let Some(ended) = tail.file.take() {
                // Gives back zeros that were written ahead; a failure only wastes them.
                let _ = ended.set_len(u64::from(tail.at.offset));
                tail.unsynced.ended.push(ended);
            }
        }
        tail.file = Some(file);
        tail.at = Position { segment: header.file, offset: HEADER_BYTES as u32 };
        tail.zeroed_to = HEADER_BYTES as u64;
        tail.chain.begin_next(&header);
        tail.unsynced.dir = true;
        tail.unsynced.current = true;
        Ok(())
    }

    fn begin_data_segment(&self, tail: &mut DataTail) -> Result<(), LogError> {
        let has_segment = tail.at.offset != 0;
        let segment = tail.at.segment + u32::from(has_segment);
        let header = SegmentHeader {
            file: segment | Place::DATA,
            log: self.id,
            seq_before: 0,
            end_before: u64::from(tail.at.offset),
            chain_before: [0; 32],
        };
        let file = self.make_segment(&header)?;
        if has_segment && tail.unsynced.current {
            let ended = current(&mut tail.file, &self.files, self.id, tail.at.segment | Place::DATA)?;
            tail.unsynced.ended.push(ended);
        }
        tail.file = Some(file);
        tail.at = Position { segment, offset: HEADER_BYTES as u32 };
        tail.unsynced.dir = true;
        tail.unsynced.current = true;
        Ok(())
    }

    fn make_segment(&self, header: &SegmentHeader) -> Result<Arc<dyn DiskFile>, LogError> {
        let path = self.files.path(self.id, header.file);
        let disk = &*self.files.disk;
        let file = match disk.open(&path, OpenMode::CreateNew) {
            // Left by an attempt that failed after this step; nothing in it counts.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove_file(&path).and_then(|()| disk.open(&path, OpenMode::CreateNew))
            }
            other => other,
        }
        .map_err(LogError::io("making", &path))?;
        if let Err(error) = file.write_at(&[&header.encode()], 0) {
            let _ = disk.remove_file(&path);
            return Err(LogError::io("writing", &path)(error));
        }
        Ok(file)
    }
}

impl Tail {
    /// Gives large buffers back.
    pub(super) fn rest(&mut self) {
        self.chain.rest(IDLE_BUFFER_BYTES);
        self.frame.clear();
        self.frame.shrink_to(IDLE_BUFFER_BYTES);
    }
}

/// The file being written, opened when it is not.
pub(super) fn current(
    file: &mut Option<Arc<dyn DiskFile>>,
    files: &Files,
    id: WorkspaceId,
    number: u32,
) -> Result<Arc<dyn DiskFile>, LogError> {
    if let Some(file) = file {
        return Ok(file.clone());
    }
    let opened = files.open(id, number, OpenMode::ReadWrite)?;
    *file = Some(opened.clone());
    Ok(opened)
}

fn check_size(what: &'static str, bytes: usize, limit: usize) -> Result<(), LogError> {
    match bytes > limit {
        true => Err(LogError::TooLarge { what, bytes, limit }),
        false => Ok(()),
    }
}
