//! Objects in the store of chunks, while a snapshot is sealed or read.
//!
//! What is put cannot be read before [`Store::finish`], which makes it durable; sealing reads only what an earlier one
//! left. Pages that were read are kept for a while: a seal reads the paths to neighbours again and again.

use super::object::{Objects, SealError};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use weald_store::cas::Hash;
use weald_store::chunks::{Added, Chunks, Writer};

/// Bytes of pages that are kept.
const PAGES_BYTES_MAX: usize = 16 << 20;

/// The store of chunks as objects.
pub struct Store<'a> {
    chunks: &'a Chunks,
    inner: Mutex<Inner<'a>>,
}

struct Inner<'a> {
    writer: Option<Writer<'a>>,
    pages: HashMap<Hash, Vec<u8>>,
    pages_bytes: usize,
}

impl<'a> Store<'a> {
    /// Takes the store.
    pub fn new(chunks: &'a Chunks) -> Self {
        let inner = Inner { writer: None, pages: HashMap::new(), pages_bytes: 0 };
        Self { chunks, inner: Mutex::new(inner) }
    }

    /// Makes durable what was put. Dropped without it, nothing was, but for whole packs.
    pub fn finish(self) -> Result<Added, SealError> {
        let inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        inner.writer.map_or(Ok(Added::default()), |writer| Ok(writer.finish()?))
    }

    /// A chunk of content, or a page, that is not kept.
    pub(crate) fn chunk(&self, hash: &Hash) -> Result<Vec<u8>, SealError> {
        Ok(self.chunks.read(hash)?)
    }

    fn inner(&self) -> MutexGuard<'_, Inner<'a>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objects for Store<'_> {
    fn put(&self, bytes: &[u8]) -> Result<Hash, SealError> {
        let mut inner = self.inner();
        Ok(inner.writer.get_or_insert_with(|| self.chunks.writer()).put(bytes)?)
    }

    fn get(&self, hash: &Hash) -> Result<Vec<u8>, SealError> {
        if let Some(bytes) = self.inner().pages.get(hash) {
            return Ok(bytes.clone());
        }
        let bytes = self.chunks.read(hash)?;
        let mut inner = self.inner();
        if inner.pages_bytes + bytes.len() > PAGES_BYTES_MAX {
            inner.pages.clear();
            inner.pages_bytes = 0;
        }
        inner.pages_bytes += bytes.len();
        inner.pages.insert(*hash, bytes.clone());
        Ok(bytes)
    }
}
