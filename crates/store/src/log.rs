//! The log: one append-only, checksummed, hash-chained record of everything that changed in a workspace.
//!
//! Invariant: what is replayed is a prefix of what was appended, and contains everything a returned `sync` covered.
//! A torn tail is cut; damage before a point that was durable refuses to open.
//! Locks, in order: the mending of logs, the group, the tail, the data tail, the cache of open files, the logs that are
//! sure; none but the first is held across fdatasync. Read next: [`mod@format`] (bytes), `writer` (append, put), `group`
//! (sync), `recovery` (open).

use crate::disk::Disk;
use files::Files;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weald_model::{Errno, WorkspaceId};

pub mod begin;
mod chain;
mod content;
mod files;
pub mod format;
mod group;
mod reader;
pub mod reclaim;
mod recovery;
pub mod segments;
pub mod verify;
mod walk;
mod writer;

#[cfg(test)]
mod faulty_disk;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use format::{DATA_BYTES_MAX, INLINE_BYTES_MAX, Place};

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The host refused a read or write.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "writing".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// Bytes that were durable once are not what was written.
    #[error("{} is damaged at byte {offset}: {why}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// A newer Weald wrote it.
    #[error("{} has version {version}, which this weald does not know", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
    /// There is no such log.
    #[error("there is no log {0}")]
    Missing(WorkspaceId),
    /// The log was being created when the host crashed; no record of it was ever acknowledged.
    #[error("log {0} was never completed")]
    Unborn(WorkspaceId),
    /// A log of this id exists.
    #[error("log {0} exists already")]
    Exists(WorkspaceId),
    /// An earlier sync failed, so what is on disk is unknown until the log is opened again.
    #[error("log {0} stopped after the disk failed")]
    Poisoned(WorkspaceId),
    /// A record or piece of data over its limit.
    #[error("{what} of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The log has fewer records than asked for.
    #[error("log {id} ends at record {last}, before record {wanted}")]
    Short {
        /// The log.
        id: WorkspaceId,
        /// Its last record.
        last: u64,
        /// The record asked for.
        wanted: u64,
    },
    /// The visitor of the records failed.
    #[error("a record was refused: {0}")]
    Refused(Errno),
}

impl LogError {
    /// Makes the error of a host call, for `map_err`.
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_owned();
        move |source| LogError::Io { doing, path, source }
    }

    /// What a program that asked for a file operation is told.
    pub fn errno(&self) -> Errno {
        match self {
            LogError::Io { source, .. } => Errno::from_host(source),
            LogError::Missing(_) => Errno::NotFound,
            LogError::Exists(_) => Errno::Exists,
            LogError::TooLarge { .. } => Errno::TooBig,
            LogError::Refused(errno) => *errno,
            LogError::Damaged { .. }
            | LogError::Version { .. }
            | LogError::Unborn(_)
            | LogError::Poisoned(_)
            | LogError::Short { .. } => Errno::Io,
        }
    }
}

/// What is durable when [`Logs::create`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The first record and the directories that lead to it.
    Durable,
    /// Nothing until the first [`Log::sync`].
    Later,
}

/// A record on its way from the log.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its number; the first is 1.
    pub seq: u64,
    /// The bytes of the log's user.
    pub body: &'a [u8],
    /// Small data kept with the record.
    pub inline: &'a [u8],
    /// Where the inline data lies.
    pub inline_place: Place,
}

impl<'a> Record<'a> {
    /// The record of a frame.
    fn of(log: WorkspaceId, frame: &format::Frame<'a>, at: format::Position) -> Self {
        let inline_place = Place { log, file: at.segment, offset: u64::from(at.offset) };
        Self { seq: frame.seq, body: frame.body, inline: frame.inline, inline_place }
    }
}

/// Receives records in order; an error ends the replay with [`LogError::Refused`].
pub type Visit<'a> = dyn FnMut(Record<'_>) -> Result<(), Errno> + 'a;

/// Where an appended record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub seq: u64,
    /// Where its inline data lies.
    pub inline_place: Place,
}

/// The end of a log: number of the last record, and the hash of everything up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last record.
    pub seq: u64,
    /// BLAKE3 chain over all records up to it.
    pub chain: [u8; 32],
}

/// What opening a log found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records replayed.
    pub records: u64,
    /// Bytes of a torn tail that were cut, in log and data segments.
    pub cut_bytes: u64,
}

/// Sizes at which files are ended, and how many are kept open. Tests make them small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A log segment is ended before it grows over this.
    pub segment_bytes: u32,
    /// A data segment is ended before it grows over this, unless it holds one piece of data only.
    pub data_segment_bytes: u32,
    /// Files kept open for reading, of all logs together.
    pub open_files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // 64 MiB are read in some 30 ms at the start. 512 files are half of the usual soft limit of descriptors.
        Self { segment_bytes: 64 << 20, data_segment_bytes: 256 << 20, open_files: 512 }
    }
}

/// All logs of a home. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    files: Arc<Files>,
}

impl Logs {
    /// Takes the directory that holds a directory per log. Touches nothing yet.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self::with_limits(disk, dir, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(disk: Arc<dyn Disk>, dir: PathBuf, limits: Limits) -> Self {
        Self { files: Arc::new(Files::new(disk, dir, limits)) }
    }

    /// Makes a log whose first record, number 1, is `genesis`. On error nothing is left of it.
    pub fn create(&self, id: WorkspaceId, genesis: &[u8], durability: Durability) -> Result<Log, LogError> {
        Log::create(self.files.clone(), id, genesis, durability)
    }

    /// Opens a log: cuts a torn tail, then replays every record. Reads the log and what is not known durable of its
    /// data. The caller opens a log once at a time.
    pub fn open(&self, id: WorkspaceId, visit: &mut Visit<'_>) -> Result<(Log, Recovery), LogError> {
        recovery::open(&self.files, id, visit)
    }

    /// Fills `buf` with data of any log, open or not, from `skip` bytes behind its start. What does not have the
    /// checksum it was written with is [`LogError::Damaged`], and none of it is given.
    pub fn read(&self, place: Place, skip: u64, buf: &mut [u8]) -> Result<(), LogError> {
        content::read(&self.files, place, skip, buf)
    }

    /// Replays the records up to `seq` without changing anything; the log may be in use. [`LogError::Short`] when it
    /// ends before.
    pub fn replay_until(&self, id: WorkspaceId, seq: u64, visit: &mut Visit<'_>) -> Result<(), LogError> {
        recovery::replay_until(&self.files, id, seq, visit)
    }

    /// Begins to read a log, which may be in use.
    pub fn reader(&self, id: WorkspaceId) -> LogReader {
        LogReader::new(self.files.clone(), id)
    }

    /// Makes everything written to a log durable, whether it is open or not: what was forked from it needs it. A log
    /// that this process has not opened is read for that.
    pub fn make_durable(&self, id: WorkspaceId) -> Result<(), LogError> {
        recovery::make_durable(&self.files, id)
    }

    /// Removes a log and its data. At a crash either all or nothing of it is there. The log must not be in use.
    pub fn remove(&self, id: WorkspaceId) -> Result<(), LogError> {
        self.files.remove(id)
    }

    /// Removes what a crash left of logs that were being removed. Only for the owner of the home.
    pub fn sweep(&self) -> Result<(), LogError> {
        self.files.sweep()
    }

    /// Bytes of disk a log takes.
    pub fn bytes(&self, id: WorkspaceId) -> Result<u64, LogError> {
        self.files.bytes(id)
    }

    /// The logs there are, in the order of their ids.
    pub fn list(&self) -> Result<Vec<WorkspaceId>, LogError> {
        self.files.list()
    }
}

pub use reader::LogReader;
pub use writer::Log;
