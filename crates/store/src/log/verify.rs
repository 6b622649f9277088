//! Verifying a log from its bytes: everything is recomputed, nothing is believed, nothing is changed.
//!
//! Invariant: a problem is told where it is, and what lies behind it is looked at all the same, so that one report
//! names all there is. The log may be in use: what is appended meanwhile is looked at or left, never taken for damage.
//! Read next: [`frames`] (log segments), [`data`] (data segments).

use super::format::Place;
use super::{Head, LogError, Logs, Record};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use weald_model::WorkspaceId;

mod data;
mod frames;

#[cfg(test)]
mod tests;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

/// Takes problems as they are found.
pub type Report<'a> = dyn FnMut(Problem) + 'a;

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Headers, frames and pieces of data.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

/// What a log is compared with besides itself.
#[derive(Default)]
pub struct Expected<'a> {
    /// Records up to this number are looked at; all when None.
    pub until: Option<u64>,
    /// Heads the log once had, as somebody kept them: each with a word on where from.
    pub heads: Vec<(Head, String)>,
    /// For a log in use, its head now. Taking it waits until no append is half done.
    pub live: Option<&'a dyn Fn() -> Head>,
}

/// What a verified log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The last record, and the chain there; None when damage before it leaves the chain unknown.
    pub last: u64,
    /// The chain at `last`.
    pub chain: Option<[u8; 32]>,
    /// The end of the data that its records may name.
    pub data_end: u64,
    /// How much was looked at.
    pub amount: Amount,
}

/// Data that a record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Where; of this log, in a data segment.
    pub place: Place,
    /// Bytes.
    pub len: u32,
    /// BLAKE3 hash of the data.
    pub hash: [u8; 32],
    /// The record.
    pub seq: u64,
}

/// Bytes of a data segment that were given back on purpose.
pub type Gone = (u32, RangeInclusive<u64>);

/// Takes a record; the error says why it is none.
pub type Examine<'a> = dyn FnMut(Record<'_>) -> Result<(), String> + 'a;

impl Logs {
    /// Reads every frame of a log, recomputes checksums and chain, and compares heads. Hands each right record to
    /// `examine`. Cost: one read of the log segments.
    pub fn verify_frames(
        &self,
        id: WorkspaceId,
        expected: &Expected<'_>,
        examine: &mut Examine<'_>,
        report: &mut Report<'_>,
    ) -> Result<Verified, LogError> {
        frames::verify(&self.files, id, expected, examine, report)
    }

    /// Reads the data that records name, and what lies between, up to `end` as [`Verified`] has it. Cost: one read of
    /// the data segments.
    pub fn verify_data(
        &self,
        id: WorkspaceId,
        named: &mut [Named],
        end: u64,
        gone: &[Gone],
        report: &mut Report<'_>,
    ) -> Result<Amount, LogError> {
        named.sort_unstable();
        data::verify(&self.files, id, named, end, gone, report)
    }
}
