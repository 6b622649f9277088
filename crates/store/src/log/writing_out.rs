//! Begins to write long streams of data to the disk before anybody waits for it.
//!
//! What was put into data segments goes to the disk at the next sync, which comes within seconds whoever asks for it. After
//! much was put since the last, a thread of its own has the host begin with it, so that the sync waits for the rest only.
//! Invariant: a hint and nothing else. It makes nothing durable, nobody waits for it, what it cannot keep up with is left to
//! the sync; an error of the disk stays with the file and is told by its next sync (fdatasync(2)). The thread is there
//! while there is something to do and a moment longer, so a home at rest has none. Read next: `writer`.

use super::format::HEADER_BYTES;
use crate::NOT_POISONED;
use crate::disk::{BLOCK_BYTES, DiskFile};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A stream is what puts more than this between two syncs: far over what an edit, a small build or a package writes.
const STREAM_BYTES: u64 = 32 << 20;
/// Begun with at a time: a few milliseconds of a disk's work.
const PIECE_BYTES: u32 = 8 << 20;
/// Pieces that wait, at most: a disk that is this far behind is busy enough.
const WAITING_MAX: usize = 8;
/// How long the thread waits for more before it ends.
const REST: Duration = Duration::from_millis(500);

/// How far a log's data was handed to the disk: part of its data tail.
#[derive(Default)]
pub(super) struct WrittenOut {
    /// Bytes put since the last sync began.
    put: u64,
    /// Of the current segment, what lies before this is with the disk or on its way.
    upto: u32,
}

impl WrittenOut {
    /// A sync begins that covers all of the current segment up to `end`.
    pub(super) fn synced(&mut self, end: u32) {
        *self = Self { put: 0, upto: end };
    }

    /// `bytes` were put into the current segment, which now ends at `end`: what to begin with, as offset and length.
    pub(super) fn put(&mut self, bytes: u64, end: u32) -> Option<(u64, u64)> {
        self.put += bytes;
        // A page that is still being filled would be written twice.
        let whole = end - end % BLOCK_BYTES as u32;
        self.take(whole, PIECE_BYTES)
    }

    /// The current segment ended at `end` and another follows: what to begin with.
    pub(super) fn ended(&mut self, end: u32) -> Option<(u64, u64)> {
        let rest = self.take(end, 1);
        self.upto = HEADER_BYTES as u32;
        rest
    }

    fn take(&mut self, end: u32, least: u32) -> Option<(u64, u64)> {
        let len = end.saturating_sub(self.upto);
        if self.put < STREAM_BYTES || len < least {
            return None;
        }
        let from = std::mem::replace(&mut self.upto, end);
        Some((from.into(), len.into()))
    }
}

/// Pieces to begin with, and the thread that does so, for all logs of a home.
#[derive(Default)]
pub(super) struct WritingOut {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    is_running: bool,
}

struct Piece {
    file: Arc<dyn DiskFile>,
    offset: u64,
    len: u64,
}

impl WritingOut {
    /// Has the disk begin with a piece of a file soon, unless too many wait already.
    pub(super) fn begin(self: &Arc<Self>, file: Arc<dyn DiskFile>, (offset, len): (u64, u64)) {
        let mut queue = self.queue.lock().expect(NOT_POISONED);
        if queue.pieces.len() >= WAITING_MAX {
            return;
        }
        queue.pieces.push_back(Piece { file, offset, len });
        if queue.is_running {
            return self.more.notify_one();
        }
        let here = self.clone();
        let run = move || while here.round() {};
        match std::thread::Builder::new().name("write-out".to_owned()).spawn(run) {
            Ok(_) => queue.is_running = true,
            // The sync does it all, as without this.
            Err(_) => queue.pieces.clear(),
        }
    }

    /// Begins with one piece. False when there was none for a while.
    fn round(&self) -> bool {
        let queue = self.queue.lock().expect(NOT_POISONED);
        let is_idle = |queue: &mut Queue| queue.pieces.is_empty();
        let (mut queue, _) = self.more.wait_timeout_while(queue, REST, is_idle).expect(NOT_POISONED);
        let Some(piece) = queue.pieces.pop_front() else {
            queue.is_running = false;
            return false;
        };
        drop(queue);
        piece.file.write_out(piece.offset, piece.len);
        true
    }
}

#[cfg(test)]
mod tests;
