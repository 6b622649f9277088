//! Making a log durable: callers that come while a sync runs share the next one.
//!
//! Invariant: a sync that returned covers every append and put that had returned before it was called. Appends go on
//! during fdatasync. After a failed fdatasync the host may have dropped the pages, so nothing is claimed any more.
//! Read next: `writer`.

use super::LogError;
use super::format::{HEADER_BYTES, Place, Position};
use super::writer::{Log, Tail, Unsynced, current};
use crate::NOT_POISONED;
use crate::disk::DiskFile;
use crate::sync::atomic::Ordering;
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;

/// Syncs after which a log counts as busy and gets zeros written ahead: an untouched fork has had one.
const SYNCS_UNTIL_BUSY: u64 = 3;
/// Zeros written ahead, at least: four pages.
const AHEAD_BYTES_MIN: u64 = 16 << 10;
/// Zeros written ahead, at most: appends wait while they are written, some 50 us.
const AHEAD_BYTES_MAX: u64 = 256 << 10;
/// A segment that grew to this gets zeros written ahead without a sync, too.
const LARGE_BYTES: u64 = 1 << 20;
/// So many at a time: some 10 us.
const AHEAD_OF_APPEND_BYTES: u64 = 64 << 10;

/// Callers of sync.
#[derive(Default)]
pub(super) struct Group {
    state: Mutex<GroupState>,
    done: Condvar,
}

#[derive(Default)]
struct GroupState {
    is_running: bool,
    /// As many writes are durable.
    durable: u64,
}

/// What a sync has to reach, taken together at one moment.
struct Work {
    writes: u64,
    log_end: Position,
    data_end: Position,
    files: Vec<(Arc<dyn DiskFile>, u32)>,
    dir: bool,
    parent: bool,
}

impl Log {
    /// Makes everything appended and put before durable. Callers at the same time share one fdatasync. When it fails, the
    /// log takes nothing more until it is opened again.
    pub fn sync(&self) -> Result<(), LogError> {
        let wanted = self.writes.load(Ordering::SeqCst);
        let mut state = self.group.state.lock().expect(NOT_POISONED);
        loop {
            self.check_running()?;
            if state.durable >= wanted {
                return Ok(());
            }
            if !state.is_running {
                break;
            }
            state = self.group.done.wait(state).expect(NOT_POISONED);
        }
        state.is_running = true;
        drop(state);
        let synced = self.sync_now();
        let mut state = self.group.state.lock().expect(NOT_POISONED);
        state.is_running = false;
        match &synced {
            Ok(writes) => state.durable = state.durable.max(*writes),
            Err(_) => self.stop_unsure(),
        }
        self.group.done.notify_all();
        synced.map(|_| ())
    }

    /// Makes everything durable, and also that it is: damage to any of it will be told from a torn tail. For the end of
    /// a daemon, or a log at rest; costs a second fdatasync.
    pub fn settle(&self) -> Result<(), LogError> {
        self.sync()?;
        self.tell_durable()?;
        // Not only the segment at hand: the commit may be in one that was ended meanwhile.
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.sync()
    }

    /// After a failed sync nobody knows what of this log is on the disk.
    fn stop_unsure(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.files.set_sure(self.id, false);
    }

    /// Syncs once and returns how many writes that covers.
    fn sync_now(&self) -> Result<u64, LogError> {
        let work = self.collect_work()?;
        for (file, number) in &work.files {
            file.sync().map_err(LogError::io("syncing", &self.files.path(self.id, *number)))?;
        }
        let disk = &*self.files.disk;
        if work.dir {
            let dir = self.files.log_dir(self.id);
            disk.sync_dir(&dir).map_err(LogError::io("syncing", &dir))?;
        }
        if work.parent {
            disk.sync_dir(&self.files.dir).map_err(LogError::io("syncing", &self.files.dir))?;
        }
        let mut tail = self.lock_tail();
        tail.durable_log = work.log_end;
        tail.durable_data = work.data_end;
        tail.syncs += 1;
        self.append_commit(&mut tail);
        tail.rest();
        Ok(work.writes)
    }

    /// Takes what is unsynced. The log first, then the data: so the data includes all that the records name.
    fn collect_work(&self) -> Result<Work, LogError> {
        let mut tail = self.lock_tail();
        let mut work = Work {
            writes: self.writes.load(Ordering::SeqCst),
            log_end: tail.at,
            data_end: Position::default(),
            files: Vec::new(),
            dir: false,
            parent: false,
        };
        let unsynced = std::mem::take(&mut tail.unsynced);
        if tail.at.offset != 0 && unsynced.current {
            let file = self.current_segment(&mut tail)?;
            write_ahead(&mut tail, &*file, self.files.limits.segment_bytes);
            work.files.push((file, tail.at.segment));
        }
        work.add(unsynced, tail.at.segment);
        drop(tail);
        let mut data = self.data.lock().expect(NOT_POISONED);
        let unsynced = std::mem::take(&mut data.unsynced);
        let number = data.at.segment | Place::DATA;
        if data.at.offset != 0 && unsynced.current {
            let file = current(&mut data.file, &self.files, self.id, number)?;
            work.files.push((file, number));
        }
        work.add(unsynced, number);
        work.data_end = data.at;
        Ok(work)
    }
}

impl Work {
    fn add(&mut self, unsynced: Unsynced, number: u32) {
        self.files.extend(unsynced.ended.into_iter().map(|file| (file, number)));
        self.dir |= unsynced.dir;
        self.parent |= unsynced.parent;
    }
}

/// Writes zeros behind the end of a log that is often synced, so that fdatasync of what is appended next finds its blocks in
/// place and commits no journal. It is an economy: a failure changes nothing.
fn write_ahead(tail: &mut Tail, file: &dyn DiskFile, segment_bytes: u32) {
    let end = u64::from(tail.at.offset);
    if tail.syncs < SYNCS_UNTIL_BUSY || tail.zeroed_to >= end + AHEAD_BYTES_MIN / 4 {
        return;
    }
    debug_assert!(end >= HEADER_BYTES as u64, "a segment begins with its header");
    zero_to(tail, file, end + (end / 2).clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX), segment_bytes);
}

/// Writes zeros where the next frames of a large segment come. Measured on ext4: a frame of 4 KiB that finds its pages there takes
/// 2.0 us, zeros included, one that has the file grow page by page 4.2.
pub(super) fn write_ahead_of_append(tail: &mut Tail, file: &dyn DiskFile, bytes: u64, segment_bytes: u32) {
    let end = u64::from(tail.at.offset);
    if end >= LARGE_BYTES && end + bytes > tail.zeroed_to {
        zero_to(tail, file, end + bytes + AHEAD_OF_APPEND_BYTES, segment_bytes);
    }
}

fn zero_to(tail: &mut Tail, file: &dyn DiskFile, to: u64, segment_bytes: u32) {
    let from = tail.zeroed_to.max(tail.at.offset.into());
    let to = to.next_multiple_of(4096).min(u64::from(segment_bytes));
    if to > from && file.allocate(from, to - from).is_ok() {
        tail.zeroed_to = to;
    }
}
