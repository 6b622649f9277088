//! Objects in memory: when only a root is to be known.

use super::object::{Objects, SealError};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use weald_store::cas::Hash;

/// Keeps pages, and of content the hash alone.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<Hash, Vec<u8>>>);

impl Objects for Memory {
    fn put(&self, bytes: &[u8]) -> Result<Hash, SealError> {
        let hash = *blake3::hash(bytes).as_bytes();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(hash).or_insert_with(|| bytes.to_vec());
        Ok(hash)
    }

    fn put_content(&self, bytes: &[u8]) -> Result<Hash, SealError> {
        Ok(*blake3::hash(bytes).as_bytes())
    }

    fn get(&self, hash: &Hash) -> Result<Vec<u8>, SealError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(hash).cloned().ok_or(SealError::Store(weald_store::chunks::ChunkError::Missing(*hash)))
    }
}

#[cfg(test)]
impl Memory {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
