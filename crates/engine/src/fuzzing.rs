//! Ways in for `crates/fuzz`, to what reads bytes and is no part of the interface.
//!
//! Invariant: nothing here is part of the program, and each function says what must hold of what was read by a panic.

use crate::acl::Acl;
use crate::base::Base;
use crate::floor::Floor;
use crate::history::{History, Point};
use crate::moved::Table;
use crate::past::Past;
use crate::record::Record;
use crate::seal::fuzzing::{self as seal, Memory};
use crate::seal::{Aside, checkpointed_state};
use crate::shared::Shared;
use std::sync::Arc;
use weald_model::WorkspaceId;

pub use weald_store::cas::Hash;

/// Reads a record; what is one is written and read again as the same.
pub fn record(bytes: &[u8]) {
    // The short cuts must not say less than the whole.
    let cuts = (Record::is_aside(bytes), Record::is_restore(bytes), Record::request(bytes));
    if let Ok(record) = Record::decode(bytes) {
        assert!(cuts.0.is_ok() && cuts.1.is_ok());
        assert_eq!(cuts.2.ok(), Some(record.request));
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(Record::decode(&again).as_ref(), Ok(&record));
    }
}

/// The entries of a checkpoint that is in the store (of which tree, key, value), and the bytes of its header and its own.
pub fn parts(shared: &Shared, checkpoint: &Hash) -> Option<(seal::Parts, Vec<u8>, Vec<u8>)> {
    seal::parts(shared, checkpoint)
}

/// Reads an object of the kind that the first byte says.
pub fn sealed(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind {
        0..=5 => seal::object(*kind, bytes),
        6 => {
            let Some((len, bytes)) = bytes.split_first() else { return };
            let (key, value) = bytes.split_at(bytes.len().min(usize::from(*len)));
            let _ = History::new().put_entry(key, value);
        }
        7 => {
            if let Ok(table) = Table::decode(bytes) {
                let mut again = Vec::new();
                table.entries.iter().for_each(|entry| Table::encode(entry, &mut again));
                assert_eq!(Table::decode(&again), Ok(table));
            }
        }
        8 => {
            if let Ok(floor) = Floor::decode(bytes) {
                let _ = floor.born();
                assert!(Floor::decode(&floor.encode()).is_ok());
            }
        }
        _ => {
            if let Ok(acl) = Acl::decode(bytes) {
                assert_eq!(acl.encode(), bytes);
                let _ = acl.mode();
            }
        }
    }
}

/// The state of a checkpoint with these entries: of which tree, key and value of each.
pub fn checkpointed(shared: &Arc<Shared>, base: Base, parts: &[(u8, Vec<u8>, Vec<u8>)]) -> Option<Past> {
    let memory = Memory::default();
    let hash = seal::checkpoint(&memory, &base, parts).ok()?;
    let (_, checkpoint, state) = checkpointed_state(&memory, &base, &hash).ok()?;
    if let Some(aside) = checkpoint.aside {
        let _ = Aside::read(&memory, &aside).map(|aside| aside.changes().count());
    }
    Some(Past::new(shared.clone(), base, Point { log: WorkspaceId(1), seq: 5 }, state))
}
