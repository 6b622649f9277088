//! The trash: what was removed and can be had back.
//!
//! Emptying removes the log, then the row, so that a crash between leaves a row without a log, which start-up
//! drops. A log that forks read from stays, as lineage, until the last of them is gone.

use crate::entry::Entry;
use crate::forest::Forest;
use crate::mount_point;
use crate::report::{Emptied, Moment, Restored, TrashRow};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use weald_git::Repository;
use weald_model::{Code, Fault};
use weald_store::registry::{State, WorkspaceRow};

impl Forest {
    /// What is in the trash, removed last first.
    pub(crate) fn trash_list(&self) -> Vec<TrashRow> {
        let mut trashed = self.in_state(State::Trashed);
        trashed.sort_by_key(|entry| std::cmp::Reverse(entry.row().trashed_at));
        trashed.iter().map(|entry| self.trash_row(entry)).collect()
    }

    fn trash_row(&self, entry: &Entry) -> TrashRow {
        let row = entry.row();
        TrashRow {
            id: row.id.to_string(),
            removed_at: row.trashed_at.map(Moment),
            branch: entry.figures(&self.stores).ok().and_then(|figures| figures.head.branch),
            files: Some(row.files),
            size_bytes: Some(row.size_bytes),
            private_bytes: Some(row.private_bytes),
            disk_bytes: self.stores.home.logs().bytes(row.id).unwrap_or(0),
            path: row.mount_path.display().to_string(),
            repo: row.source,
            name: row.name,
        }
    }

    /// Takes a workspace out of the trash and mounts it: at its old place, or in the mount root when that is taken.
    pub(crate) fn restore(
        self: &Arc<Self>,
        name: &str,
        new_name: Option<&str>,
        mount_root: &str,
    ) -> Result<Restored, Fault> {
        self.open_for_work()?;
        // Whoever empties the trash must not have chosen it before and delete it afterwards.
        let _stays = self.lineage.read().unwrap_or_else(PoisonError::into_inner);
        let entry = self.trashed(name)?;
        let old = entry.row();
        let claim = self.claim(new_name.unwrap_or(&old.name)).map_err(|fault| match fault.code {
            Code::NameTaken => fault.hint(format!("give it another name: weald trash restore {name} NEW")),
            _ => fault,
        })?;
        let mut row = old.clone();
        row.name = claim.name().to_owned();
        row.state = State::Active;
        row.trashed_at = None;
        let named_after = old.mount_path.file_name().is_some_and(|last| last == old.name.as_str());
        if named_after {
            row.mount_path = old.mount_path.with_file_name(&row.name);
        }
        if mount_point::prepare(&row.mount_path).is_err() {
            row.mount_path = Path::new(mount_root).join(&row.name);
        }
        // A damaged one stays where it is.
        entry.load(&self.stores)?;
        self.take_out(&entry, row.clone())?;
        if let Err(fault) = self.mount(&entry) {
            self.save(&entry, old)?;
            entry.unload(&self.stores);
            return Err(fault);
        }
        self.insert(entry);
        claim.keep();
        Ok(Restored { name: row.name, id: row.id.to_string(), path: row.mount_path.display().to_string() })
    }

    /// Makes it active, unless somebody else did so since it was chosen.
    fn take_out(&self, entry: &Entry, row: WorkspaceRow) -> Result<(), Fault> {
        let _life = entry.life();
        match entry.state() {
            State::Trashed => self.save(entry, row),
            _ => Err(Fault::new(
                Code::UnknownWorkspace,
                format!("`{}` was taken out of the trash by somebody else just now", entry.name()),
            )
            .hint("weald list")),
        }
    }

    fn trashed(&self, name: &str) -> Result<Arc<Entry>, Fault> {
        let fits = |entry: &Arc<Entry>| entry.name() == name || entry.id.to_string() == name;
        let found = self.in_state(State::Trashed).into_iter().filter(fits);
        found.max_by_key(|entry| entry.row().trashed_at).ok_or_else(|| {
            Fault::new(Code::UnknownWorkspace, format!("there is no `{}` in the trash", name.escape_debug()))
                .hint("weald trash list")
        })
    }

    /// Deletes for good what was removed long enough ago.
    pub(crate) fn trash_empty(&self, older_than_secs: Option<u64>) -> Result<Emptied, Fault> {
        self.open_for_work()?;
        let _room = self.stores.spend_reserve();
        let _alone = self.lineage.write().unwrap_or_else(PoisonError::into_inner);
        // Of several of one name that were removed in one second, the last count as removed a moment later.
        let latest = older_than_secs.map_or(i64::MAX, |age| self.stores.now().saturating_sub_unsigned(age));
        let mut emptied =
            Emptied { removed: Vec::new(), kept_for_forks: 0, kept_for_pins: 0, freed_bytes: 0 };
        let pins = self.pins()?;
        let is_pinned = |entry: &Arc<Entry>| pins.iter().any(|pin| pin.workspace == entry.id);
        let mut doomed = self.in_state(State::Trashed);
        doomed.retain(|entry| entry.row().trashed_at.is_none_or(|at| at <= latest));
        let before = doomed.len();
        doomed.retain(|entry| !is_pinned(entry));
        emptied.kept_for_pins = (before - doomed.len()) as u64;
        for entry in &doomed {
            let mut row = entry.row();
            row.state = State::Lineage;
            emptied.removed.push(row.name.clone());
            self.save(entry, row)?;
            entry.unload(&self.stores);
        }
        emptied.freed_bytes = self.sweep_lineage()?;
        self.reclaimer.dropped();
        emptied.kept_for_forks = doomed.iter().filter(|entry| self.by_id(entry.id).is_some()).count() as u64;
        Ok(emptied)
    }

    /// Deletes the logs of the departed that no fork reads from any more; returns the bytes freed.
    fn sweep_lineage(&self) -> Result<u64, Fault> {
        let mut freed = 0;
        loop {
            let parents: Vec<_> = self
                .all()
                .iter()
                .filter_map(|entry| entry.row().origin)
                .map(|origin| origin.parent)
                .collect();
            let mut idle = self.in_state(State::Lineage);
            idle.retain(|entry| !parents.contains(&entry.id));
            if idle.is_empty() {
                return Ok(freed);
            }
            for entry in idle {
                freed += self.delete(&entry)?;
            }
        }
    }

    /// Deletes a log that nobody reads, with all that is only its own; returns the bytes freed.
    pub(crate) fn delete(&self, entry: &Entry) -> Result<u64, Fault> {
        let row = entry.row();
        let logs = self.stores.home.logs();
        let bytes = logs.bytes(row.id).unwrap_or(0);
        logs.remove(row.id).map_err(|error| crate::faults::log(&row.name, &error))?;
        self.stores.shared.forget_fork(row.id);
        let repo = row.repo_path.as_deref().and_then(|path| Repository::open(path).ok());
        if let Some(repo) = &repo {
            self.stores.unpin(row.id, repo);
        }
        self.stores.forget_anchors(row.id, repo.as_ref());
        self.stores.home.registry().delete_workspace(row.id).map_err(crate::faults::registry)?;
        self.forget(row.id);
        Ok(bytes)
    }
}
