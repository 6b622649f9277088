//! Reading on in a log: each record once, in order, also while it grows.
//!
//! Invariant: a record is read once; going on after new ones were appended costs only those.

use super::files::Files;
use super::format::Position;
use super::walk::{Step, Walk};
use super::{LogError, Record, Visit, begin};
use std::sync::{Arc, PoisonError};
use weald_model::WorkspaceId;

/// A place in a log, and the way on from there.
pub struct LogReader {
    files: Arc<Files>,
    id: WorkspaceId,
    at: Position,
    seq: u64,
    end_before: u64,
}

impl LogReader {
    pub(super) fn new(files: Arc<Files>, id: WorkspaceId) -> Self {
        Self { files, id, at: Position::default(), seq: 0, end_before: 0 }
    }

    /// The last record that was read; 0 at the start.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Visits the records up to `last`, or fewer when the log ends before. When the visitor stops it, the reader
    /// stands behind the record it was stopped at.
    pub fn read_until(&mut self, last: u64, visit: &mut Visit<'_>) -> Result<(), LogError> {
        let _stay = self.files.reading.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(begin) =
            begin::read(&self.files, self.id)?.filter(|begin| begin.segment > self.at.segment)
        {
            // What it was about to read was given up.
            self.at = Position { segment: begin.segment, offset: 0 };
            (self.seq, self.end_before) = (begin.head.seq, begin.end_before);
        }
        let mut walk = Walk::resumed(&self.files, self.id, self.at, self.seq, self.end_before)?;
        let mut outcome = Ok(());
        while outcome.is_ok() && walk.seq < last {
            match walk.step()? {
                Step::Record { frame, at } => {
                    outcome = visit(Record::of(self.id, &frame, at)).map_err(LogError::Refused);
                }
                Step::Commit { .. } => {}
                Step::Stop(_) => break,
            }
        }
        (self.at, self.seq, self.end_before) = (walk.at, walk.seq, walk.end_before);
        outcome
    }
}
