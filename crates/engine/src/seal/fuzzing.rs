//! Ways in for `crates/fuzz` to the objects of sealed snapshots.

use super::entry;
use super::header::{BaseId, Checkpoint, Header, Trees};
use super::make::decode_extent;
use super::object::{Objects, SealError};
use super::store::Store;
use super::tree;
use crate::base::Base;
use crate::history::Point;
use crate::shared::Shared;
use crate::state::Counters;
use std::collections::BTreeMap;
use weald_model::{Ino, WorkspaceId};
use weald_store::cas::Hash;

pub(crate) use super::memory::Memory;

/// Entries of checkpoints: of which tree, key, value.
pub(crate) type Parts = Vec<(u8, Vec<u8>, Vec<u8>)>;

/// Reads an object of a kind below 6.
pub(crate) fn object(kind: u8, bytes: &[u8]) {
    let memory = Memory::default();
    let Ok(hash) = memory.put(bytes) else { return };
    match kind {
        0 => {
            if let Ok(header) = Header::read(&memory, &hash) {
                let again =
                    memory.put(&header.encode()).ok().and_then(|hash| Header::read(&memory, &hash).ok());
                assert_eq!(again, Some(header));
            }
        }
        1 => {
            if let Ok(checkpoint) = Checkpoint::read(&memory, &hash) {
                assert_eq!(checkpoint.encode(), bytes);
            }
        }
        2 => {
            let _ = tree::walk(&memory, &hash, &[], &mut |_, _| Ok(true));
            let change = (b"key".to_vec(), Some(b"value".to_vec()));
            let _ = tree::update(&memory, Some(&hash), [Ok(change)].into_iter());
        }
        3 => {
            if let Ok(dent) = entry::decode_dent(bytes) {
                assert!(entry::decode_dent(&entry::encode_dent(dent)).is_ok());
            }
        }
        4 => {
            if let Ok(Some(decoded)) = entry::decode_inode(&memory, bytes, &mut |_| true) {
                let again = entry::encode_inode(&memory, &decoded.inode, &decoded.recipe, None);
                let again = again.expect("memory takes everything");
                assert!(entry::decode_inode(&memory, &again, &mut |_| true).is_ok());
            }
        }
        _ => drop(decode_extent(bytes)),
    }
}

/// Puts a checkpoint whose trees have these entries.
pub(crate) fn checkpoint(
    memory: &Memory,
    base: &Base,
    parts: &[(u8, Vec<u8>, Vec<u8>)],
) -> Result<Hash, SealError> {
    let mut roots: [Hash; 6] = [[0; 32]; 6];
    for (number, root) in roots.iter_mut().enumerate() {
        let entries: BTreeMap<_, _> = parts
            .iter()
            .filter(|(of, ..)| usize::from(*of) == number)
            .map(|(_, key, value)| (key.clone(), Some(value.clone())))
            .collect();
        *root = tree::update(memory, None, entries.into_iter().map(Ok))?;
    }
    let [inodes, names, orphans, extents, history, aside] = roots;
    let header = Header {
        base: BaseId::of(base),
        point: Point { log: WorkspaceId(1), seq: 5 },
        lineage: Vec::new(),
        counters: Counters { next_ino: Ino::FIRST_OWN.0 + 9, next_cookie: 100, files: 2, size_bytes: 9 },
        trees: Trees { inodes, names },
    };
    let root = memory.put(&header.encode())?;
    memory.put(&Checkpoint { root, orphans, extents, history, aside: Some(aside) }.encode())
}

/// The entries of a checkpoint that is in the store, and the bytes of header and checkpoint.
pub(crate) fn parts(shared: &Shared, checkpoint: &Hash) -> Option<(Parts, Vec<u8>, Vec<u8>)> {
    let store = Store::new(shared.chunks());
    let read = Checkpoint::read(&store, checkpoint).ok()?;
    let header = Header::read(&store, &read.root).ok()?;
    let Trees { inodes, names } = header.trees;
    let roots = [inodes, names, read.orphans, read.extents, read.history, read.aside?];
    let mut parts = Vec::new();
    for (of, root) in roots.iter().enumerate() {
        let mut each = |key: &[u8], value: &[u8]| {
            parts.push((of as u8, key.to_vec(), value.to_vec()));
            Ok(true)
        };
        tree::walk(&store, root, &[], &mut each).ok()?;
    }
    Some((parts, header.encode(), read.encode()))
}
