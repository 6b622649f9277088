//! Is a sealed snapshot what it says? Its root is computed again, from its objects and from the log.
//!
//! From its objects: each is read once, whatever number of snapshots it is in, and its hash is that of its bytes; so
//! the root covers all of them. From the log: the state is replayed and sealed in memory, which reads all content.
//! Invariant: nothing that sealing remembers is believed; only what an earlier snapshot of the same check computed is.

use super::entry;
use super::header::{Checkpoint, Header};
use super::make::Earlier;
use super::memory::Memory;
use super::object::{Objects, SealError, hex};
use super::read::checkpointed_state;
use super::recipe::{Item, Kitchen};
use super::store::Store;
use super::tree;
use crate::Shared;
use crate::base::Base;
use crate::history::{Point, Snapshot};
use crate::past::Past;
use crate::replay::Replay;
use crate::workspace::OpenError;
use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use weald_model::{Errno, WorkspaceId};
use weald_store::cas::Hash;
use weald_store::chunks::ChunkError;
use weald_store::log::LogError;

/// Sees the hash of an object, and of a chunk of content its length.
type EachObject<'a> = dyn FnMut(&Hash, Option<u32>) -> Result<(), SealError> + 'a;

/// A check of many sealed snapshots, which does not look at the same twice.
#[derive(Default)]
pub struct SealCheck {
    memory: Memory,
    before: Option<Earlier>,
    seen: HashSet<Hash>,
    packs_are_right: bool,
    /// Bytes of content whose chunks were computed again.
    pub content_bytes: u64,
    /// Bytes of objects, chunks of content included, that were read.
    pub object_bytes: u64,
}

impl SealCheck {
    /// A check for which all packs were verified by [`weald_store::chunks::Chunks::verify`] already: chunks of content that
    /// are there need not be read again.
    pub fn with_packs_verified() -> Self {
        Self { packs_are_right: true, ..Self::default() }
    }

    /// Checks one: `past` is what the log says it shows. Cost: what differs from the one checked before. Tells what is
    /// wrong, or that it could not be found out.
    pub fn check(&mut self, past: &Past, snapshot: &Snapshot) -> Result<(), String> {
        let seal = snapshot.seal.ok_or("it is not sealed")?;
        let tell = |error: SealError| error.to_string();
        self.objects(past, &seal.root, &seal.checkpoint).map_err(tell)?;
        let (root, state) = self.computed(past, snapshot).map_err(tell)?;
        if root != seal.root {
            return Err(format!("its root is {}, its content has {}", hex(&seal.root), hex(&root)));
        }
        let store = Store::new(&past.shared.chunks);
        let (_, checkpoint, opened) =
            checkpointed_state(&store, &past.base, &seal.checkpoint).map_err(tell)?;
        if checkpoint.root != root {
            return Err("its checkpoint is of another snapshot".to_owned());
        }
        match opened.discrepancy(&state) {
            Some(what) => Err(format!("its checkpoint is not the state behind its record: {what}")),
            None => Ok(()),
        }
    }

    /// Seals the state again, in memory.
    fn computed(
        &mut self,
        past: &Past,
        snapshot: &Snapshot,
    ) -> Result<(Hash, crate::state::State), SealError> {
        let bytes = Cell::new(0);
        let proceed = |more| {
            bytes.set(bytes.get() + more);
            true
        };
        let kitchen =
            Kitchen { shared: &past.shared, base: &past.base, objects: &self.memory, proceed: &proceed };
        let store = Store::new(&past.shared.chunks);
        let lineage = Header::read(&store, &snapshot.seal.ok_or(Errno::NotFound)?.root)?.lineage;
        let state = past.state().clone();
        let (header, root) = kitchen.seal(&state, (past.point(), &lineage), self.before.as_ref())?;
        self.before = Some(Earlier { state: state.clone(), header, checkpoint: None });
        self.content_bytes += bytes.get();
        Ok((root, state))
    }

    /// Reads every object of a sealed snapshot that was not read yet.
    fn objects(&mut self, past: &Past, root: &Hash, checkpoint: &Hash) -> Result<(), SealError> {
        let store = Store::new(&past.shared.chunks);
        let mut bytes = 0;
        let packs_are_right = self.packs_are_right;
        let mut content = |hash: &Hash, len: Option<u32>| {
            let found = match len {
                Some(_) if packs_are_right => past.shared.chunks.content_bytes(hash)?,
                _ => {
                    let chunk = store.chunk(hash)?;
                    bytes += chunk.len() as u64;
                    Some(chunk.len() as u32)
                }
            };
            let found = found.ok_or(SealError::Store(ChunkError::Missing(*hash)))?;
            let is_right = len.is_none_or(|len| found == len);
            is_right.then_some(()).ok_or(SealError::Malformed(*hash, "a chunk has another length"))
        };
        reach(&store, root, checkpoint, &mut self.seen, &mut content)?;
        self.object_bytes += bytes;
        Ok(())
    }
}

/// Checks the sealed snapshots that a log lists at record `last`, or at its end, and that were taken in it. Each is compared
/// with what a replay from the first record there is shows, or with itself where that is behind it; `each` is told how it is. Nothing is loaded or changed. Cost: two
/// replays, and the content that snapshots show.
pub fn check_seals(
    shared: &Arc<Shared>,
    (log, base): (WorkspaceId, &Base),
    last: Option<u64>,
    check: &mut SealCheck,
    each: &mut dyn FnMut(&Snapshot, Result<(), String>),
) -> Result<(), OpenError> {
    let mut replay = Replay::new(shared, log, base);
    let visited = shared.logs.replay_until(log, last.unwrap_or(u64::MAX), &mut |record| replay.visit(record));
    match visited {
        Ok(()) | Err(LogError::Short { .. }) => {}
        Err(error) => return replay.failed(error),
    }
    let listed = replay.finish()?.0.history.snapshots().into_iter();
    let listed = listed.filter(|one| one.point.log == log && one.seal.is_some());
    let listed: BTreeMap<u64, Snapshot> = listed.map(|snapshot| (snapshot.point.seq, snapshot)).collect();
    let floor = shared.floor(log)?.map_or(0, |floor| floor.seq);
    for snapshot in listed.values().filter(|snapshot| snapshot.point.seq < floor) {
        each(snapshot, check_alone(shared, base, snapshot, check));
    }
    let Some((last, _)) = listed.range(floor..).next_back() else { return Ok(()) };
    let mut replay = Replay::new(shared, log, base);
    let visited = shared.logs.replay_until(log, *last, &mut |record| {
        let point = Point { log, seq: record.seq };
        replay.visit(record)?;
        let snapshot = listed.get(&point.seq).filter(|snapshot| snapshot.point.seq >= floor);
        if let (Some(snapshot), Some(state)) = (snapshot, replay.state()) {
            let past = Past::new(shared.clone(), base.clone(), point, state.clone());
            each(snapshot, check.check(&past, snapshot));
        }
        Ok(())
    });
    visited.or_else(|error| replay.failed(error))
}

/// Checks a snapshot whose record was given up: the root is computed again from the state that its checkpoint has.
fn check_alone(
    shared: &Arc<Shared>,
    base: &Base,
    snapshot: &Snapshot,
    check: &mut SealCheck,
) -> Result<(), String> {
    let seal = snapshot.seal.ok_or("it is not sealed")?;
    let opened = checkpointed_state(&Store::new(&shared.chunks), base, &seal.checkpoint);
    let (_, _, state) = opened.map_err(|error| error.to_string())?;
    check.check(&Past::new(shared.clone(), base.clone(), snapshot.point, state), snapshot)
}

/// Shows the hash of every object of a sealed snapshot that is not in `seen`: pages with None, chunks of content with
/// their length. All are in `seen` then. After an error `seen` is as before: what is behind a page that was looked at is
/// shown only at the end, and who comes upon that page in another snapshot must not take it for done.
pub(crate) fn reach(
    objects: &dyn Objects,
    root: &Hash,
    checkpoint: &Hash,
    seen: &mut HashSet<Hash>,
    each: &mut EachObject<'_>,
) -> Result<(), SealError> {
    let mut found = Vec::new();
    let reached = reach_on(objects, (root, checkpoint), seen, &mut found, each);
    if reached.is_err() {
        found.iter().for_each(|hash| _ = seen.remove(hash));
    }
    reached
}

/// The same; `found` is what was put into `seen`.
fn reach_on(
    objects: &dyn Objects,
    (root, checkpoint): (&Hash, &Hash),
    seen: &mut HashSet<Hash>,
    found: &mut Vec<Hash>,
    each: &mut EachObject<'_>,
) -> Result<(), SealError> {
    let header = Header::read(objects, root)?;
    let Checkpoint { orphans, extents, history, aside, .. } = Checkpoint::read(objects, checkpoint)?;
    found.extend([*root, *checkpoint].into_iter().filter(|hash| seen.insert(*hash)));
    for tree in [header.trees.names, orphans, extents, history].into_iter().chain(aside) {
        let mut part = |hash: &Hash| {
            let is_new = seen.insert(*hash);
            found.extend(is_new.then_some(*hash));
            is_new
        };
        tree::walk_parts(objects, &tree, &mut part, &mut |_, _| Ok(true))?;
    }
    // Parts of an entry are told while the walk holds `seen`, so pages are gathered first.
    let mut entries = Vec::new();
    let mut part = |hash: &Hash| {
        let is_new = seen.insert(*hash);
        found.extend(is_new.then_some(*hash));
        is_new
    };
    tree::walk_parts(objects, &header.trees.inodes, &mut part, &mut |_, value| {
        entries.push(value.to_vec());
        Ok(true)
    })?;
    let mut chunks = Vec::new();
    for value in entries {
        let decoded = entry::decode_inode(objects, &value, &mut part)?;
        for (_, item) in decoded.into_iter().flat_map(|decoded| decoded.recipe) {
            if let Item::Chunk { hash, len } = item {
                chunks.push((hash, len));
            }
        }
    }
    for hash in found.iter() {
        each(hash, None)?;
    }
    for (hash, len) in chunks {
        if seen.insert(hash) {
            found.push(hash);
            each(&hash, Some(len))?;
        }
    }
    Ok(())
}
