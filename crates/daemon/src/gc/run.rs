//! Carrying out a plan.
//!
//! Order: snapshots, content, records, logs, pins, clones, what can be made again, and last the chunks that only these needed. Each step is whole or not begun at a crash: logs are
//! renamed aside first, files go one by one after the rows that name them. A run that was cut off leaves the rest
//! for the next plan.
//! Locks: workspaces in the making and forks wait, or keep the run out, from the second look to the end.

use super::{busy, history, stale};
use crate::conversions;
use crate::faults;
use crate::forest::Forest;
use crate::protocol::FaultLine;
use crate::report::{GcItem, GcKind, GcPlan, GcRun, Refusal};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};
use weald_git::Repository;
use weald_model::{Fault, Oid, WorkspaceId};
use weald_store::cas;

/// How long forks under way are waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two tries.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

impl Forest {
    /// Takes away what a saved plan says, all of it or, when any of it is needed now, nothing.
    pub(crate) fn gc_run(&self, id: &str) -> Result<GcRun, Fault> {
        self.open_for_work()?;
        let plan = self.saved_plan(id)?;
        let _room = self.stores.spend_reserve();
        // A workspace in the making may hold on to a manifest or a clone that no row names yet.
        let _none_in_the_making = self.making.try_write().map_err(|_| busy())?;
        let _alone = self.alone()?;
        self.check_fresh(&plan)?;
        let mut run = GcRun { plan: plan.id.clone(), done: 0, freed_bytes: 0, refused: Vec::new() };
        self.take_history(&plan, &mut run);
        let rest = plan.items.iter().filter(|item| !history::is_of_family(item.kind));
        for item in rest {
            match self.take(item) {
                Ok(bytes) => {
                    run.done += 1;
                    run.freed_bytes += bytes;
                }
                Err(fault) => {
                    run.refused.push(Refusal { name: item.what.clone(), fault: FaultLine::from(&fault) });
                }
            }
        }
        if run.refused.is_empty() {
            self.drop_plan(&plan.id);
        }
        Ok(run)
    }

    /// Keeps forks, verifying and the emptying of the trash out. Waits a moment, not longer: who waits keeps forks waiting.
    fn alone(&self) -> Result<RwLockWriteGuard<'_, ()>, Fault> {
        let since = Instant::now();
        loop {
            match self.lineage.try_write() {
                Ok(guard) => return Ok(guard),
                Err(TryLockError::Poisoned(guard)) => return Ok(guard.into_inner()),
                Err(TryLockError::WouldBlock) if since.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Err(busy()),
            }
        }
    }

    /// Makes the plan once more and refuses unless everything in the saved one is in it.
    fn check_fresh(&self, plan: &GcPlan) -> Result<(), Fault> {
        let now = self.fresh_plan(&plan.options)?;
        let now: HashMap<(GcKind, &str), &GcItem> =
            now.items.iter().map(|item| ((item.kind, item.id.as_str()), item)).collect();
        let holds = |item: &&GcItem| {
            now.get(&(item.kind, item.id.as_str())).is_some_and(|now| history::covers(now, item))
        };
        let gone: Vec<&GcItem> = plan.items.iter().filter(|item| !holds(item)).collect();
        if gone.is_empty() { Ok(()) } else { Err(stale(&plan.id, &gone)) }
    }

    /// Takes one item away and returns the bytes that gives back.
    pub(super) fn take(&self, item: &GcItem) -> Result<u64, Fault> {
        let paths = self.stores.home.paths();
        match item.kind {
            GcKind::Snapshot | GcKind::Content | GcKind::Records => return Ok(0),
            GcKind::Log => return self.delete(&*self.doomed(&item.id)?),
            GcKind::Pin => self.take_pin(&item.id)?,
            GcKind::Clone => self.take_clone(&item.id)?,
            GcKind::Manifest => {
                if let Some(tree) = Oid::from_hex(&item.id) {
                    self.stores.forget_manifest(&tree);
                    remove_file(&paths.sizes(&tree))?;
                }
                remove_file(&paths.manifests().join(format!("{}.wm", item.id)))?;
                self.forget_that_nothing_is_converted(&item.id)?;
            }
            GcKind::Stored => self.take_stored(&item.id)?,
            GcKind::ContentPack => {
                let removed = self.stores.home.content().remove(&paths.content().join(&item.id));
                removed.map_err(|error| faults::content_pack(&error))?;
            }
            GcKind::Chunk => return self.take_chunks(),
            GcKind::Temporary => {
                let path = paths.root().join(&item.id);
                if path.is_dir() { remove_dir(&path)? } else { remove_file(&path)? }
            }
        }
        Ok(item.bytes)
    }

    fn take_pin(&self, id: &str) -> Result<(), Fault> {
        let Some((clone, workspace)) = id.split_once(' ') else { return Ok(()) };
        let Some(workspace) = WorkspaceId::from_hex(workspace) else { return Ok(()) };
        let path = self.stores.home.paths().repos().join(format!("{clone}.git"));
        weald_git::pin::unpin(&Repository::open(&path)?, workspace)
    }

    /// The row goes first: without it nobody takes the clone for whole. What a crash leaves is in the next plan.
    fn take_clone(&self, id: &str) -> Result<(), Fault> {
        use weald_store::registry::RegistryError;
        match self.stores.home.registry().delete_repo(id) {
            Ok(()) | Err(RegistryError::Missing) => {}
            Err(error) => return Err(super::registry(error)),
        }
        let path = self.stores.home.paths().repos().join(format!("{id}.git"));
        self.stores.forget_source(&path);
        let aside = path.with_extension("git.part");
        let host = |error: std::io::Error| Fault::host(&format!("removing {}", path.display()), &error);
        std::fs::rename(&path, &aside).map_err(host)?;
        remove_dir(&aside)
    }

    fn forget_that_nothing_is_converted(&self, tree: &str) -> Result<(), Fault> {
        let registry = self.stores.home.registry();
        let artifacts = registry.artifacts().map_err(super::registry)?;
        for row in artifacts.iter().filter(|row| row.tree == tree && row.hash == conversions::NOTHING) {
            registry.delete_artifact(&row.tree, &row.kind).map_err(super::registry)?;
        }
        Ok(())
    }

    fn take_stored(&self, id: &str) -> Result<(), Fault> {
        let registry = self.stores.home.registry();
        for file in registry.artifacts().map_err(super::registry)? {
            if file.hash == id {
                registry.delete_artifact(&file.tree, &file.kind).map_err(super::registry)?;
            }
        }
        let Some(hash) = cas::from_hex(id) else { return Ok(()) };
        self.stores.home.cas().remove(&hash).map_err(|error| faults::cas(&error))?;
        self.stores.shared.forget_stored(&hash);
        Ok(())
    }
}

fn remove_file(path: &Path) -> Result<(), Fault> {
    gone(path, std::fs::remove_file(path))
}

fn remove_dir(path: &Path) -> Result<(), Fault> {
    gone(path, std::fs::remove_dir_all(path))
}

fn gone(path: &Path, removed: std::io::Result<()>) -> Result<(), Fault> {
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::host(&format!("removing {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}
