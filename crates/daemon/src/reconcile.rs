//! What start-up puts right: stale mounts, half-made workspaces, and differences between the registry and the logs.
//!
//! A workspace in the making has a marker, an empty file `making/<id>`, from before its log is begun until its row
//! is in the registry. So a log with a marker and no row was never shown to anybody and is removed; a log with
//! neither marker nor row is a workspace whose row a power cut took (the registry's commits are not waited for) and
//! gets it back from the log's first record.

use crate::entry::Entry;
use crate::forest::Forest;
use crate::protocol::FaultLine;
use crate::report::Refusal;
use crate::stores::Stores;
use crate::{card, faults, locked, mount_point, note};
use std::collections::HashSet;
use std::path::PathBuf;
use weald_engine::{OpenError, Workspace};
use weald_git::Repository;
use weald_model::{Code, Fault, WorkspaceId};
use weald_store::log::LogError;
use weald_store::registry::{State, WorkspaceRow};

/// Directory of markers in the home.
const MAKING: &str = "making";

impl Stores {
    fn marker(&self, id: WorkspaceId) -> PathBuf {
        self.home.paths().root().join(MAKING).join(id.to_string())
    }

    /// Says that a workspace is being made.
    pub(crate) fn mark(&self, id: WorkspaceId) -> Result<(), Fault> {
        let path = self.marker(id);
        std::fs::write(&path, []).map_err(|error| Fault::host(&format!("writing {}", path.display()), &error))
    }

    /// Says that it is made, or was given up.
    pub(crate) fn unmark(&self, id: WorkspaceId) {
        // One that stays behind is harmless: what has a row is never swept.
        let _ = std::fs::remove_file(self.marker(id));
    }

    pub(crate) fn marked(&self) -> Result<Vec<WorkspaceId>, Fault> {
        let dir = self.home.paths().root().join(MAKING);
        let host = |error: std::io::Error| Fault::host(&format!("reading {}", dir.display()), &error);
        std::fs::create_dir_all(&dir).map_err(host)?;
        let entries = std::fs::read_dir(&dir).map_err(host)?;
        Ok(entries.flatten().filter_map(|entry| WorkspaceId::from_hex(entry.file_name().to_str()?)).collect())
    }

    /// Removes the log, the pin and the marker of a workspace that nobody has seen.
    pub(crate) fn discard(&self, id: WorkspaceId, repo: Option<&Repository>) {
        if let Err(error) = self.home.logs().remove(id) {
            note(format_args!("removing the log {id}: {error}"));
        }
        if let Some(repo) = repo {
            self.unpin(id, repo);
        }
        self.forget_anchors(id, repo);
        self.unmark(id);
    }

    /// Removes a pin. One that stays keeps some objects in the source and does no other harm.
    pub(crate) fn unpin(&self, id: WorkspaceId, repo: &Repository) {
        let modules = weald_git::submodule::unpin_modules(repo, id);
        if let Err(fault) = modules.and_then(|()| weald_git::pin::unpin(repo, id)) {
            note(format_args!("{fault}"));
        }
    }
}

impl Forest {
    /// Fills the table from registry and logs, and takes away stale mounts, but for workspaces whose mounts are `held`:
    /// nobody serves these yet, so whoever asks them waits.
    pub(crate) fn reconcile(&self, held: &HashSet<WorkspaceId>) -> Result<(), Fault> {
        let registry = self.stores.home.registry();
        let mut rows = registry.workspaces().map_err(faults::registry)?;
        if let Some(mended) = registry.mended() {
            let why = format!(
                "the registry was damaged ({}) and was made anew from what could be read of it and the logs; the damaged one is {}",
                mended.why,
                mended.aside.display()
            );
            self.trouble("registry", &Fault::new(Code::StoreDamaged, why));
            rows = rows.into_iter().filter_map(|row| self.compared(row)).collect();
        }
        let logs = self.stores.home.logs().list().map_err(|error| faults::log("home", &error))?;
        let logs: HashSet<WorkspaceId> = logs.into_iter().collect();
        let known: HashSet<WorkspaceId> = rows.iter().map(|row| row.id).collect();
        for id in self.stores.marked()? {
            if known.contains(&id) { self.stores.unmark(id) } else { self.sweep_half_made(id) }
        }
        for row in rows {
            if let Some(origin) = row.origin {
                self.stores.shared.expect_fork(row.id, origin.parent, origin.seq);
            }
            if held.is_empty() && row.origin.is_some() && logs.contains(&row.id) && self.was_never_born(&row)
            {
                continue;
            }
            self.take_row(row, &logs);
        }
        for id in logs.difference(&known) {
            self.recover(*id);
        }
        for (path, fault) in mount_point::sweep(|id| self.by_id(id).is_some() && !held.contains(&id)) {
            self.trouble(&path.display().to_string(), &fault);
        }
        Ok(())
    }

    /// A row of a registry that was damaged, with all that its log says put right. None for one that goes, so that it comes back from its
    /// log.
    fn compared(&self, row: WorkspaceRow) -> Option<WorkspaceRow> {
        let registry = self.stores.home.registry();
        let origin = Workspace::origin(&self.stores.shared, row.id).ok();
        let Some(card) = origin.and_then(|origin| card::read(row.id, &origin)) else { return Some(row) };
        let right = card::put_right(&row, card);
        if let Some(right) = &right
            && (*right == row || registry.update_workspace(right).is_ok())
        {
            return Some(right.clone());
        }
        let _ = registry.delete_workspace(row.id);
        None
    }

    fn sweep_half_made(&self, id: WorkspaceId) {
        let origin = Workspace::origin(&self.stores.shared, id).ok();
        let row = origin.and_then(|origin| card::read(id, &origin));
        let repo = row.and_then(|row| Repository::open(&row.repo_path?).ok());
        self.stores.discard(id, repo.as_ref());
    }

    /// Takes away a fork whose log was lost with the power before anything in it was durable, though its row was not.
    fn was_never_born(&self, row: &WorkspaceRow) -> bool {
        let origin = Workspace::origin(&self.stores.shared, row.id);
        let is_unborn = matches!(origin, Err(OpenError::Log(LogError::Unborn(_))));
        if !is_unborn || self.stores.was_durable(row.id) {
            return false;
        }
        note(format_args!("`{}` was not durable yet when the power was cut", row.name));
        let repo = row.repo_path.as_ref().and_then(|path| Repository::open(path).ok());
        self.stores.discard(row.id, repo.as_ref());
        // One that stays is told as a workspace whose log is missing.
        self.stores.home.registry().delete_workspace(row.id).is_ok()
    }

    fn take_row(&self, row: WorkspaceRow, logs: &HashSet<WorkspaceId>) {
        let has_log = logs.contains(&row.id);
        if !has_log && row.state != State::Active {
            // Emptying the trash removes the log first, then the row.
            let _ = self.stores.home.registry().delete_workspace(row.id);
            return;
        }
        let (id, name) = (row.id, row.name.clone());
        let entry = Entry::new(row);
        if !has_log {
            let path = self.stores.home.paths().logs().join(id.to_string());
            entry.set_fault(Some(
                Fault::new(Code::LogDamaged, format!("the log of `{name}` is missing: {}", path.display()))
                    .hint(format!(
                        "bring it back from a copy, or put it away with: weald remove {name} --force"
                    )),
            ));
        }
        self.insert(entry);
    }

    /// Gives a log its row back.
    pub(crate) fn recover(&self, id: WorkspaceId) {
        if self.by_id(id).is_some() {
            return;
        }
        let origin = match Workspace::origin(&self.stores.shared, id) {
            Ok(origin) => origin,
            Err(OpenError::Log(LogError::Unborn(_))) if !self.stores.was_durable(id) => {
                return self.stores.discard(id, None);
            }
            Err(error) => return self.trouble(&id.to_string(), &faults::open(&id.to_string(), &error)),
        };
        let Some(mut row) = card::read(id, &origin) else {
            let why = format!("the log {id} does not say which workspace it is");
            return self.trouble(&id.to_string(), &Fault::new(Code::LogDamaged, why));
        };
        let taken = self.in_state(State::Active).iter().any(|entry| entry.name() == row.name);
        if taken {
            row.state = State::Trashed;
            row.trashed_at = Some(self.stores.now());
        }
        match self.stores.home.registry().insert_workspace(&row) {
            Ok(()) => {
                note(format_args!("`{}` was missing from the registry and is back from its log", row.name));
                self.insert(Entry::new(row));
            }
            Err(error) => self.trouble(&row.name, &faults::registry(error)),
        }
    }

    fn trouble(&self, name: &str, fault: &Fault) {
        note(format_args!("{name}: {fault} [{}]", fault.code));
        locked(&self.troubles).push(Refusal { name: name.to_owned(), fault: FaultLine::from(fault) });
    }
}
