//! Where the past of a log begins whose first records were given up.
//!
//! The log's segments begin somewhere, its past at the **floor**: a sealed snapshot behind that place, whose checkpoint is
//! the state that replays begin with. States before the floor are there only where a listed snapshot was sealed; any other
//! point before it is told as given up (ESTALE), never shown. The file `begin` of the log keeps the floor and the log's
//! first record. Invariant: the floor's checkpoint is needed as long as the log is.
//! Read next: `shortening` (how it comes to be), the store's `log/begin.rs`, docs/decisions/0007-records-given-up.md.

use crate::Shared;
use crate::base::Base;
use crate::history::{Point, Seal};
use crate::programs::ProgramName;
use crate::record::{Malformed, Reader, Record, Writer};
use crate::seal::{Aside, Header, SealError, Store, checkpointed_state};
use crate::state::State;
use weald_model::{Errno, Result, Timestamp, WorkspaceId};
use weald_store::log::{Head, LogError};

/// Version of what the file has of ours.
const VERSION: u8 = 1;

/// Where the past of a log begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    /// The record of the sealed snapshot.
    pub(crate) seq: u64,
    /// What it was sealed as.
    pub(crate) seal: Seal,
    /// When it was taken.
    pub(crate) time: Timestamp,
    /// The body of the log's first record.
    pub(crate) first: Vec<u8>,
}

/// The state at the floor, and what the log said before.
pub(crate) struct Ground {
    pub(crate) state: State,
    pub(crate) lineage: Vec<Point>,
    pub(crate) aside: Aside,
}

impl Floor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let mut w = Writer(&mut bytes);
        w.number(self.seq);
        w.raw(&self.seal.root);
        w.raw(&self.seal.checkpoint);
        w.time(self.time);
        w.bytes(&self.first);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<Self, Malformed> {
        let mut r = Reader(bytes);
        if r.raw()? != [VERSION] {
            return Err(Malformed("a newer weald wrote it"));
        }
        let (seq, root, checkpoint) = (r.number()?, r.raw()?, r.raw()?);
        let floor =
            Self { seq, seal: Seal { root, checkpoint }, time: r.time()?, first: r.bytes()?.to_vec() };
        if r.0.is_empty() { Ok(floor) } else { Err(Malformed("bytes behind a floor")) }
    }

    /// When the log was begun.
    pub(crate) fn born(&self) -> Timestamp {
        Record::decode(&self.first).map_or(self.time, |record| record.time)
    }

    /// The state there. ENOENT and the like when its objects are not there: then nothing of the log can be replayed.
    pub(crate) fn ground(
        &self,
        shared: &Shared,
        log: WorkspaceId,
        base: &Base,
    ) -> std::result::Result<Ground, SealError> {
        let store = Store::new(&shared.chunks);
        let (Header { point, lineage, .. }, checkpoint, state) =
            checkpointed_state(&store, base, &self.seal.checkpoint)?;
        let wrong = SealError::Malformed(self.seal.checkpoint, "it is not where the log's past begins");
        match checkpoint.aside {
            Some(aside) if point == (Point { log, seq: self.seq }) => {
                Ok(Ground { state, lineage, aside: Aside::read(&store, &aside)? })
            }
            _ => Err(wrong),
        }
    }
}

impl Shared {
    /// Where the past of a log begins; None when it has all its records. Cost: opening a file that is not there.
    pub(crate) fn floor(&self, log: WorkspaceId) -> std::result::Result<Option<Floor>, LogError> {
        let Some(begin) = self.logs.begin(log)? else { return Ok(None) };
        Floor::decode(&begin.user).map(Some).map_err(|Malformed(why)| LogError::Damaged {
            file: self.logs.begin_path(log),
            offset: 0,
            why,
        })
    }

    /// What a log says that is part of no state, of before its floor.
    pub(crate) fn aside_of_floor(&self, log: WorkspaceId) -> Result<Option<Aside>> {
        let Some(floor) = self.floor(log).map_err(|error| error.errno())? else { return Ok(None) };
        let store = Store::new(&self.chunks);
        let read = crate::seal::Checkpoint::read(&store, &floor.seal.checkpoint)
            .and_then(|checkpoint| Aside::read(&store, &checkpoint.aside.ok_or(Errno::Io)?));
        read.map(Some).map_err(|error| error.errno())
    }

    /// The record at which the past of a log begins; 0 when it has all its records.
    pub(crate) fn floor_seq(&self, log: WorkspaceId) -> Result<u64> {
        Ok(self.floor(log).map_err(|error| error.errno())?.map_or(0, |floor| floor.seq))
    }

    /// The sealed snapshot at which the past of a log begins; None when it has all its records.
    pub fn floor_seal(&self, log: WorkspaceId) -> Result<Option<Seal>> {
        Ok(self.floor(log).map_err(|error| error.errno())?.map(|floor| floor.seal))
    }

    /// Records of a log that were given up: how many, and what the chain was behind them.
    pub fn given_up(&self, log: WorkspaceId) -> Result<Option<Head>> {
        Ok(self.logs.begin(log).map_err(|error| error.errno())?.map(|begin| begin.head))
    }

    /// The names that programs had before the floor.
    pub(crate) fn programs_of_floor(&self, log: WorkspaceId) -> Result<Vec<(u32, ProgramName)>> {
        Ok(self.aside_of_floor(log)?.map(|aside| aside.programs).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_read_as_written_and_nothing_else_is() {
        let floor = Floor {
            seq: 70_000,
            seal: Seal { root: [1; 32], checkpoint: [2; 32] },
            time: Timestamp { secs: 3, nanos: 4 },
            first: b"the first record".to_vec(),
        };
        let bytes = floor.encode();
        assert_eq!(Floor::decode(&bytes), Ok(floor));
        for end in 0..bytes.len() {
            assert!(Floor::decode(&bytes[..end]).is_err());
        }
        assert!(Floor::decode(&[&bytes[..], b"x"].concat()).is_err());
    }
}
