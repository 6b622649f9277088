//! Sealing the snapshots of a workspace, and looking at sealed ones.
//!
//! Steps, in this order: the state is taken; its objects are put and made durable; then, under the workspace's lock and
//! only if the snapshot is still listed, the record says so. A crash before the record leaves objects nobody names, which
//! the next try finds and a collection takes. Nothing here blocks who works in the workspace.
//! Read next: `seal`, docs/format.md ("Sealed snapshots").

use crate::Shared;
use crate::base::Base;
use crate::content::{Content, Extent, Origin};
use crate::history::{Seal, Snapshot};
use crate::past::Past;
use crate::record::Change;
use crate::replay::state_at;
use crate::seal::{Aside, Earlier, Header, Item, Kitchen, SealError, Store, reach};
use crate::state::State;
use crate::workspace::Workspace;
use std::collections::HashSet;
use weald_model::{Caller, Errno, SnapshotId};
use weald_store::cas::Hash;
use weald_store::chunks::{Added, ChunkError, Kept};
use weald_store::log::Place;

/// What sealing a snapshot did.
#[derive(Clone, Copy, Debug)]
pub struct Sealed {
    /// What it was sealed as.
    pub seal: Seal,
    /// What the store of chunks did not have yet.
    pub added: Added,
}

/// A snapshot being sealed.
pub struct SealJob<'a> {
    workspace: &'a Workspace,
    id: SnapshotId,
    past: Past,
    aside: Aside,
    /// The sealed snapshot that differs least, as far as order tells.
    nearest: Option<Snapshot>,
    _kept: Kept<'a>,
}

/// Bytes in a data segment that a sealed snapshot has in a chunk, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What one write put there.
    pub place: Place,
    /// Offset in that of the first byte.
    pub skip: u64,
    /// Number of bytes.
    pub len: u64,
    /// The chunk.
    pub chunk: Hash,
    /// Offset in the chunk of the first byte.
    pub offset: u64,
}

impl Workspace {
    /// The snapshots that this workspace can seal and that are not: the oldest first. Those it has from the workspaces
    /// it was forked from are theirs to seal.
    pub fn unsealed(&self) -> Vec<Snapshot> {
        let mut snapshots = self.snapshots();
        snapshots.retain(|snapshot| snapshot.point.log == self.id() && snapshot.seal.is_none());
        snapshots
    }

    /// Begins to seal a snapshot. None when it is not listed any more, is sealed, or was taken in another workspace.
    /// No chunk is collected until the job is dropped.
    pub fn begin_sealing(&self, id: SnapshotId) -> Result<Option<SealJob<'_>>, SealError> {
        // What an earlier one was sealed as is made use of, so it must not be dropped before the record.
        let kept = self.shared.chunks.keep_all();
        let snapshots = self.snapshots();
        let Some(at) = snapshots.iter().position(|one| one.id == id) else { return Ok(None) };
        let snapshot = &snapshots[at];
        if snapshot.seal.is_some() || snapshot.point.log != self.id() {
            return Ok(None);
        }
        let past = self.past(snapshot.point)?;
        let aside = self.aside()?;
        let (before, behind) = snapshots.split_at(at);
        let nearest = before.iter().rev().chain(behind).find(|one| one.seal.is_some());
        Ok(Some(SealJob { workspace: self, id, past, aside, nearest: nearest.cloned(), _kept: kept }))
    }

    /// What the log says so far that is part of no state.
    fn aside(&self) -> Result<Aside, Errno> {
        let given_back = self.shared.given_back_of(self.id())?.iter().collect();
        let moved = self.shared.moved_of(self.id())?.told().collect();
        Ok(Aside { given_back, moved, programs: self.program_numbers() })
    }

    /// Seals a snapshot, all at once. `proceed` is asked again and again with the bytes of content that were cut since,
    /// and says whether to go on. None as for [`Workspace::begin_sealing`].
    pub fn seal(&self, id: SnapshotId, proceed: &dyn Fn(u64) -> bool) -> Result<Option<Sealed>, SealError> {
        let Some(job) = self.begin_sealing(id)? else { return Ok(None) };
        let sealed = job.put(proceed)?;
        Ok(job.record(&sealed)?.then_some(sealed))
    }

    /// A sealed snapshot, read from its objects alone. What was open without a name then is not in it, and history is
    /// empty. ENOENT when it is not sealed.
    pub fn sealed_past(&self, id: SnapshotId) -> Result<Past, SealError> {
        let snapshot = self.read_state().history.find(id).ok_or(Errno::NotFound)?.1;
        let seal = snapshot.seal.ok_or(Errno::NotFound)?;
        let store = Store::new(&self.shared.chunks);
        let (header, state) = crate::seal::sealed_state(&store, &self.base, &seal.root)?;
        Ok(Past::new(self.shared.clone(), self.base.clone(), header.point, state))
    }

    /// Shows what a sealed snapshot shows that lies in data segments, of whatever log, and where its chunks have it. A
    /// place may be shown more than once. ENOENT when it is not sealed. Cost: the overlay of then.
    pub fn sealed_places(&self, id: SnapshotId, each: &mut dyn FnMut(Placed)) -> Result<(), SealError> {
        let snapshot = self.read_state().history.find(id).ok_or(Errno::NotFound)?.1;
        let seal = snapshot.seal.ok_or(Errno::NotFound)?;
        let past = self.past(snapshot.point)?;
        let store = Store::new(&self.shared.chunks);
        crate::seal::recipes(&store, &seal.root, &mut |ino, recipe| {
            let inode = past.state().inode(&self.base, ino)?.ok_or(Errno::Io)?;
            let content = inode.content()?;
            for (at, item) in recipe {
                if let Item::Chunk { hash, len } = item {
                    show_places(content, at, (hash, u64::from(len)), each);
                }
            }
            Ok(())
        })
    }
}

impl SealJob<'_> {
    /// Puts everything the snapshot is sealed as into the store of chunks, and makes it durable. Takes no lock that a
    /// program in the workspace waits for. Cost: what changed since the sealed snapshot next to it.
    pub fn put(&self, proceed: &dyn Fn(u64) -> bool) -> Result<Sealed, SealError> {
        let Workspace { shared, base, .. } = self.workspace;
        let nearest = self.nearest.as_ref().filter(|nearest| self.is_whole(nearest));
        let before = nearest.and_then(|nearest| earlier(shared, base, nearest).ok());
        let store = Store::new(&shared.chunks);
        let kitchen = Kitchen { shared, base, objects: &store, proceed };
        let (state, lineage) = (self.past.state(), self.workspace.lineage());
        let (_, root) = kitchen.seal(state, (self.past.point(), lineage), before.as_ref())?;
        let (_, checkpoint) = kitchen.checkpoint((state, &self.aside), root, before.as_ref())?;
        let added = store.finish()?;
        Ok(Sealed { seal: Seal { root, checkpoint }, added })
    }

    /// True when all objects of a sealed snapshot are there, so that another may be made of some of them. Those of the
    /// workspace's own are kept. One it has from what it was forked from may have been dropped there, with some of its
    /// objects, before this was forked from the past. Cost for these: their pages, read.
    fn is_whole(&self, snapshot: &Snapshot) -> bool {
        let chunks = &self.workspace.shared.chunks;
        let missing = |hash: &Hash| SealError::Store(ChunkError::Missing(*hash));
        let mut is_there = |hash: &Hash, _| if chunks.has(hash)? { Ok(()) } else { Err(missing(hash)) };
        snapshot.point.log == self.workspace.id()
            || snapshot.seal.is_some_and(|Seal { root, checkpoint }| {
                reach(&Store::new(chunks), &root, &checkpoint, &mut HashSet::new(), &mut is_there).is_ok()
            })
    }

    /// Says in the log that it is sealed. False when it is not listed any more.
    pub fn record(&self, sealed: &Sealed) -> Result<bool, SealError> {
        let (uid, gid) = self.workspace.base.owner();
        let change = Change::Sealed { snapshot: self.id, seal: sealed.seal };
        let is_listed = self.workspace.change_with(&Caller::owner(uid, gid), &[], |state, _| {
            let is_listed = state.history.find(self.id).is_some();
            Ok((is_listed.then_some(change), is_listed))
        })?;
        if is_listed {
            self.workspace.shared.add_checkpoint(self.past.point(), sealed.seal.checkpoint);
        }
        Ok(is_listed)
    }
}

/// Shows which places the bytes of a chunk, `at` in a file, come from.
fn show_places(content: &Content, at: u64, (chunk, len): (Hash, u64), each: &mut dyn FnMut(Placed)) {
    for piece in content.pieces(at, at + len) {
        let Some(Extent { origin: Origin::Log(place), skip, len }) = piece.extent else { continue };
        if place.file & Place::DATA != 0 {
            each(Placed { place, skip, len, chunk, offset: piece.offset - at });
        }
    }
}

/// A sealed state to go on from.
fn earlier(shared: &Shared, base: &Base, snapshot: &Snapshot) -> Result<Earlier, SealError> {
    let seal = snapshot.seal.ok_or(Errno::NotFound)?;
    let store = Store::new(&shared.chunks);
    let header = Header::read(&store, &seal.root)?;
    let checkpoint = crate::seal::Checkpoint::read(&store, &seal.checkpoint).ok();
    let state: State = state_at(shared, base, snapshot.point).map_err(|_| Errno::Io)?;
    Ok(Earlier { state, header, checkpoint })
}
