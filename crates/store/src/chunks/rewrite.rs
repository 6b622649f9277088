//! Dropping chunks, and joining small packs: packs are written anew without what is not needed.
//!
//! Order: the new packs are durable and can be read before the old ones go, so at any crash, and for any reader, every
//! chunk that is needed is in one of both. A pack with a damaged chunk that is needed stays as it is.
//! Invariant: chunks are dropped only by [`Alone`], while nobody adds any.

use super::known::Pack;
use super::pack::{Index, Slot};
use super::{ChunkError, Chunks, read_slot};
use crate::NOT_POISONED;
use crate::cas::Hash;
use crate::disk::DiskFile;
use crate::sync::RwLockWriteGuard;
use std::sync::{Arc, PoisonError, TryLockError};

/// A pack below this is small.
const SMALL_BYTES: u64 = 4 << 20;
/// So many small packs are joined.
const SMALL_MAX: usize = 64;

/// Nobody adds chunks while it lives, so what is needed can be found out, and the rest dropped.
pub struct Alone<'a> {
    chunks: &'a Chunks,
    _none_is_added: RwLockWriteGuard<'a, ()>,
}

/// What of a pack is needed.
struct Looked {
    pack: Arc<Pack>,
    file: Arc<dyn DiskFile>,
    kept: Vec<Slot>,
    /// Bytes of these in the pack.
    kept_bytes: u64,
    is_whole: bool,
}

impl Looked {
    /// True when writing it anew gives back at least half of it.
    fn is_mostly_dead(&self) -> bool {
        let all = self.pack.index_at;
        !self.is_whole && self.kept_bytes * 2 <= all
    }

    /// What writing it anew gives back.
    fn freed_bytes(&self) -> u64 {
        self.pack.bytes.saturating_sub(self.kept_bytes)
    }
}

impl Chunks {
    /// Keeps everybody from adding chunks. None when somebody is about to.
    pub fn alone(&self) -> Option<Alone<'_>> {
        let _none_is_added = match self.dropping.try_write() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Alone { chunks: self, _none_is_added })
    }

    /// Bytes that [`Alone::retain`] would give back. Cost: reading all indices.
    pub fn droppable_bytes(&self, live: &dyn Fn(&Hash) -> bool) -> Result<u64, ChunkError> {
        let looked = self.look(live, &|_| true)?;
        Ok(looked.iter().filter(|pack| pack.is_mostly_dead()).map(Looked::freed_bytes).sum())
    }

    /// Joins small packs, if there are many. Nothing is dropped.
    pub fn join_small(&self) -> Result<(), ChunkError> {
        let is_small = |pack: &Pack| pack.bytes < SMALL_BYTES;
        if self.with(|known| known.packs.values().filter(|pack| is_small(pack)).count())? <= SMALL_MAX {
            return Ok(());
        }
        let _one_at_a_time = self.rewriting.lock().unwrap_or_else(PoisonError::into_inner);
        let small = self.look(&|_| true, &is_small)?;
        self.rewrite(small).map(drop)
    }

    /// Joins all packs.
    #[cfg(test)]
    pub(super) fn join_all(&self) -> Result<(), ChunkError> {
        let _one_at_a_time = self.rewriting.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.look(&|_| true, &|_| true)?;
        self.rewrite(all).map(drop)
    }

    /// What is needed of the packs that `wanted` names. A chunk that is in two packs is needed in one of them.
    fn look(
        &self,
        live: &dyn Fn(&Hash) -> bool,
        wanted: &dyn Fn(&Pack) -> bool,
    ) -> Result<Vec<Looked>, ChunkError> {
        let packs: Vec<Arc<Pack>> = self.with(|known| known.packs.values().cloned().collect())?;
        let mut looked = Vec::new();
        for pack in packs.into_iter().filter(|pack| wanted(pack)) {
            let (file, _, index) = match self.open_pack(pack.path.clone()) {
                Ok(opened) => opened,
                // It came to be damaged since it was read first; verifying names it.
                Err(ChunkError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            looked.push(self.look_at(pack, file, &index, live)?);
        }
        Ok(looked)
    }

    fn look_at(
        &self,
        pack: Arc<Pack>,
        file: Arc<dyn DiskFile>,
        index: &Index,
        live: &dyn Fn(&Hash) -> bool,
    ) -> Result<Looked, ChunkError> {
        let slots = index.slots().iter().enumerate();
        let kept: Vec<Slot> = self.with(|known| {
            let is_needed =
                |at: usize, slot: &Slot| live(&slot.hash) && known.is_at(&slot.hash, pack.number, at as u32);
            slots.filter(|(at, slot)| is_needed(*at, slot)).map(|(_, slot)| *slot).collect()
        })?;
        let kept_bytes = kept.iter().map(|slot| u64::from(slot.stored)).sum();
        let is_whole = kept.len() == index.slots().len();
        Ok(Looked { pack, file, kept, kept_bytes, is_whole })
    }

    /// Writes what is needed of packs into new ones, and removes them. Returns the bytes given back.
    fn rewrite(&self, packs: Vec<Looked>) -> Result<u64, ChunkError> {
        let mut writer = self.copier();
        let mut old = Vec::new();
        for pack in packs {
            let copied = pack
                .kept
                .iter()
                .try_for_each(|slot| writer.put(&read_slot(&*pack.file, &pack.pack.path, slot)?).map(drop));
            match copied {
                Ok(()) => old.push(pack.pack),
                // It stays as it is, to be told.
                Err(ChunkError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let (added, paths) = writer.finish_copies()?;
        let mut new = Vec::new();
        for path in paths {
            let (_, pack, index) = self.open_pack(path)?;
            new.push((pack, index));
        }
        let numbers: Vec<u32> = old.iter().map(|pack| pack.number).collect();
        // The same chunks make the same pack, by name.
        old.retain(|pack| !new.iter().any(|(made, _)| made.path == pack.path));
        self.with(|known| known.replace(&numbers, new))?;
        self.open.lock().expect(NOT_POISONED).close(&numbers);
        let mut freed = 0;
        for pack in old {
            self.disk.remove_file(&pack.path).map_err(ChunkError::io(&pack.path))?;
            freed += pack.bytes;
        }
        self.disk.sync_dir(&self.dir).map_err(ChunkError::io(&self.dir))?;
        Ok(freed.saturating_sub(added.disk_bytes))
    }
}

impl Alone<'_> {
    /// Drops what is not `live`, as far as packs consist of it for at least half. Returns the bytes given back.
    pub fn retain(&self, live: &dyn Fn(&Hash) -> bool) -> Result<u64, ChunkError> {
        let _one_at_a_time = self.chunks.rewriting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut looked = self.chunks.look(live, &|_| true)?;
        looked.retain(Looked::is_mostly_dead);
        if looked.is_empty() { Ok(0) } else { self.chunks.rewrite(looked) }
    }
}
