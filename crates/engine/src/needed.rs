//! Which chunks are needed: what sealed snapshots that stay are made of, and what was moved out of logs.
//!
//! Invariant: who cannot be asked (an object is missing or damaged) is an error, since what lies behind it is unknown:
//! nothing may be dropped then. Memory: 32 bytes for each chunk and object.
//! Read next: `seal/check` (objects of a sealed snapshot), `moved` (tables), the store's `chunks/rewrite.rs` (dropping).

use crate::Shared;
use crate::history::Seal;
use crate::seal::{SealError, Store, reach};
use std::collections::HashSet;
use weald_model::{Result, WorkspaceId};
use weald_store::cas::Hash;
use weald_store::chunks::ChunkError;
use weald_store::log::reclaim::Pieces;

/// Chunks that are needed, as far as was found out.
#[derive(Default)]
pub struct NeededChunks(HashSet<Hash>);

impl NeededChunks {
    /// All of a sealed snapshot. Cost: the objects that no other one had, read.
    pub fn sealed(&mut self, shared: &Shared, seal: &Seal) -> std::result::Result<(), SealError> {
        let store = Store::new(&shared.chunks);
        // Their bytes are not looked at; of what is gone that is a leaf, nobody needs to know.
        reach(&store, &seal.root, &seal.checkpoint, &mut self.0, &mut |_, _| Ok(()))
    }

    /// All that was moved out of a log, but for entries in `gone`, and what the log begins with. Cost: reading the tables.
    pub fn moved(&mut self, shared: &Shared, log: WorkspaceId, gone: &Pieces) -> Result<()> {
        if let Some(seal) = shared.floor_seal(log)? {
            self.sealed(shared, &seal).map_err(|error| error.errno())?;
        }
        shared.moved_entries(log, gone, &mut |table, entry| {
            self.0.insert(*table);
            self.0.extend(entry.parts.iter().map(|part| part.chunk));
        })
    }

    /// True for a chunk that is needed.
    pub fn has(&self, hash: &Hash) -> bool {
        self.0.contains(hash)
    }
}

/// True when an object is not there, as after it was dropped.
pub fn is_missing(error: &SealError) -> bool {
    matches!(error, SealError::Store(ChunkError::Missing(_)))
}
