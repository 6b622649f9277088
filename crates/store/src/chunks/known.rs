//! Where each chunk is: in which pack, and at which place of its index.
//!
//! Invariant: a place leads to a slot, and only the slot has the whole hash; it is compared with every look.

use super::pack::{Index, Slot};
use crate::cas::Hash;
use crate::disk::DiskFile;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// Packs that are open at once.
const OPEN_MAX: usize = 32;

/// The packs there are, and where each chunk is.
#[derive(Default)]
pub(super) struct Known {
    pub(super) packs: BTreeMap<u32, Arc<Pack>>,
    /// By the first eight bytes of the hash: pack and place in its index. A pair of equal keys, which nobody makes
    /// by chance, is told apart by the index; the second is then stored again.
    places: HashMap<u64, (u32, u32)>,
    next: u32,
}

/// A pack.
pub(super) struct Pack {
    /// Given out once.
    pub(super) number: u32,
    pub(super) path: PathBuf,
    /// Bytes of disk.
    pub(super) bytes: u64,
    /// Bytes of its chunks, uncompressed.
    pub(super) content: u64,
    /// Offset of its index.
    pub(super) index_at: u64,
}

/// A chunk that was found.
pub(super) struct Found {
    pub(super) pack: Arc<Pack>,
    pub(super) slot: Slot,
}

/// Packs open for reading, by number.
#[derive(Default)]
pub(super) struct OpenPacks {
    files: HashMap<u32, (Arc<dyn DiskFile>, u64)>,
    /// Counts uses, to find the one unused for longest.
    uses: u64,
}

impl Known {
    /// Adds a pack. Chunks that are in others, too, stay where they are.
    pub(super) fn add(&mut self, mut pack: Pack, index: &Index) {
        pack.number = self.next;
        self.next += 1;
        for (at, slot) in index.slots().iter().enumerate() {
            self.places.entry(key(&slot.hash)).or_insert((pack.number, at as u32));
        }
        self.packs.insert(pack.number, Arc::new(pack));
    }

    /// Where a chunk may be.
    pub(super) fn place(&self, hash: &Hash) -> Option<(Arc<Pack>, u32)> {
        let (pack, at) = *self.places.get(&key(hash))?;
        Some((self.packs.get(&pack)?.clone(), at))
    }

    /// True when this is where the chunk is looked for.
    pub(super) fn is_at(&self, hash: &Hash, pack: u32, at: u32) -> bool {
        self.places.get(&key(hash)) == Some(&(pack, at))
    }

    /// Adds packs in the place of others.
    pub(super) fn replace(&mut self, old: &[u32], new: Vec<(Pack, Index)>) {
        for number in old {
            self.packs.remove(number);
        }
        self.places.retain(|_, (pack, _)| !old.contains(pack));
        for (pack, index) in new {
            self.add(pack, &index);
        }
    }
}

impl OpenPacks {
    pub(super) fn get(&mut self, number: u32) -> Option<Arc<dyn DiskFile>> {
        self.uses += 1;
        let (file, used) = self.files.get_mut(&number)?;
        *used = self.uses;
        Some(file.clone())
    }

    pub(super) fn put(&mut self, number: u32, file: Arc<dyn DiskFile>) {
        if self.files.len() >= OPEN_MAX {
            let oldest = self.files.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number);
            oldest.map(|number| self.files.remove(&number));
        }
        self.files.insert(number, (file, self.uses));
    }

    pub(super) fn close(&mut self, numbers: &[u32]) {
        self.files.retain(|number, _| !numbers.contains(number));
    }
}

fn key(hash: &Hash) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(bytes)
}
