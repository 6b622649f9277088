//! Chunks that nobody needs: of snapshots that were dropped, of content that was moved and then given back.
//!
//! Chunks are shared by all workspaces, so what is needed is known only when all of them were asked; as long as one
//! cannot be, none is dropped. Needed are: what sealed snapshots that are listed are made of, and what logs name that
//! stay. Before chunks go, everything that made them needless is durable in every log.
//! Read next: the engine's `needed`, the store's `chunks/rewrite.rs`.

use super::Found;
use super::history::{Dropped, Family};
use super::run::{PATIENCE, PAUSE};
use crate::entry::Entry;
use crate::faults;
use crate::forest::Forest;
use crate::report::{GcItem, GcKind};
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;
use weald_engine::needed::{NeededChunks, is_missing};
use weald_engine::{Seal, Shared, Snapshot, Workspace};
use weald_model::{Code, Fault, WorkspaceId};
use weald_store::chunks::{Alone, ChunkError};
use weald_store::log::reclaim::Pieces;

/// What is needed.
pub(super) struct Needs {
    chunks: NeededChunks,
    /// All could be asked.
    pub(super) is_known: bool,
}

/// What a plan takes away before chunks.
#[derive(Default)]
pub(super) struct Going {
    pub(super) dropped: Dropped,
    pub(super) pieces: Option<BTreeMap<WorkspaceId, Pieces>>,
}

impl Default for Needs {
    fn default() -> Self {
        Self { chunks: NeededChunks::default(), is_known: true }
    }
}

impl Needs {
    /// Adds what a family needs without what is going. Of its logs only those in `stay` are read on.
    pub(super) fn family(
        &mut self,
        family: &Family,
        stay: &HashSet<WorkspaceId>,
        going: &Going,
        found: &mut Found,
    ) {
        for (entry, workspace) in family.kept() {
            for snapshot in workspace.snapshots() {
                if let Some(seal) = snapshot.seal
                    && !going.dropped.contains(&(entry.id, snapshot.id))
                    && let Err(fault) = self.sealed(family, workspace, &snapshot, &seal)
                {
                    self.is_known = false;
                    found.skip(&entry.name(), &fault);
                }
            }
        }
        for (entry, workspace) in family.members.iter().filter(|(entry, _)| stay.contains(&entry.id)) {
            if let Err(fault) = self.moved(entry, workspace.shared(), going) {
                self.is_known = false;
                found.skip(&entry.name(), &fault);
            }
        }
    }

    fn sealed(
        &mut self,
        family: &Family,
        workspace: &Workspace,
        snapshot: &Snapshot,
        seal: &Seal,
    ) -> Result<(), Fault> {
        match self.chunks.sealed(workspace.shared(), seal) {
            Ok(()) => Ok(()),
            // A fork of a past lists the snapshots of then, also those whose chunks were dropped since.
            Err(error) if is_missing(&error) && !is_listed_by_owner(family, snapshot) => Ok(()),
            Err(error) => {
                let what = format!("the sealed snapshot {} cannot be read: {error}", snapshot.id);
                Err(Fault::new(Code::StoreDamaged, what).hint("weald verify"))
            }
        }
    }

    fn moved(&mut self, entry: &Entry, shared: &Shared, going: &Going) -> Result<(), Fault> {
        let failed = |error| faults::errno("looking for content that was moved", error);
        let gone = shared.given_back_of(entry.id).map_err(failed)?;
        match going.pieces.as_ref().and_then(|pieces| pieces.get(&entry.id)) {
            None => self.chunks.moved(shared, entry.id, &gone).map_err(failed),
            Some(pieces) => {
                let all = gone.iter().chain(pieces.iter()).collect();
                self.chunks.moved(shared, entry.id, &all).map_err(failed)
            }
        }
    }

    pub(super) fn has(&self, hash: &weald_store::cas::Hash) -> bool {
        self.chunks.has(hash)
    }
}

/// True when the workspace in which a snapshot was taken has it still.
fn is_listed_by_owner(family: &Family, snapshot: &Snapshot) -> bool {
    let owner = family.kept().find(|(entry, _)| entry.id == snapshot.point.log);
    owner.is_some_and(|(_, owner)| owner.snapshots().iter().any(|own| own.id == snapshot.id))
}

impl Forest {
    /// Finds chunks that can go.
    pub(super) fn survey_chunks(&self, needs: &Needs, found: &mut Found) {
        if !needs.is_known {
            return;
        }
        match self.stores.home.chunks().droppable_bytes(&|hash| needs.has(hash)) {
            Ok(0) => {}
            Ok(bytes) => found.items.push(GcItem {
                kind: GcKind::Chunk,
                id: "chunks".to_owned(),
                what: "chunks of content".to_owned(),
                why: "no sealed snapshot and no log that stays names them".to_owned(),
                bytes,
                pieces: Vec::new(),
            }),
            Err(error) => found.skip("chunks", &fault(&error)),
        }
    }

    /// Drops all chunks that are not needed now. The caller keeps forks and the emptying of the trash away.
    pub(super) fn take_chunks(&self) -> Result<u64, Fault> {
        let alone = self.alone_with_chunks()?;
        let stay = self.all().iter().map(|entry| entry.id).collect();
        let (mut needs, mut found) = (Needs::default(), Found::default());
        for entries in self.families() {
            let looked = self.with_family(entries, &mut found, |family, found| {
                let synced = family.members.iter().try_for_each(|(_, workspace)| workspace.sync());
                needs.family(family, &stay, &Going::default(), found);
                synced
            });
            match looked {
                Some(synced) => synced.map_err(|error| faults::errno("making a log durable", error))?,
                None => needs.is_known = false,
            }
        }
        if !needs.is_known {
            let named: Vec<&str> = found.skipped.iter().map(|skipped| skipped.name.as_str()).collect();
            let what = format!("what is needed of chunks is not known: {} cannot be read", named.join(", "));
            return Err(Fault::new(Code::StoreDamaged, what).hint("weald verify"));
        }
        alone.retain(&|hash| needs.has(hash)).map_err(|error| fault(&error))
    }

    /// Keeps snapshots from being sealed. Waits a moment for one that is.
    fn alone_with_chunks(&self) -> Result<Alone<'_>, Fault> {
        let since = Instant::now();
        loop {
            match self.stores.home.chunks().alone() {
                Some(alone) => return Ok(alone),
                None if since.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                None => {
                    return Err(Fault::new(Code::WorkspaceInUse, "a snapshot is being sealed")
                        .hint("run it again when `weald status` says that none is"));
                }
            }
        }
    }
}

pub(super) fn fault(error: &ChunkError) -> Fault {
    match error {
        ChunkError::Io { path, error } => Fault::host(&format!("using {}", path.display()), error),
        error => Fault::new(Code::StoreDamaged, error.to_string()).hint("weald verify"),
    }
}
