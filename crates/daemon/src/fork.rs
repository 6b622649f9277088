//! Forking: a new log that begins where another stands, or stood. Cost does not depend on what is in the workspace.
//!
//! Order of the steps as in `create`: marker, log, row, marker away, mount. A fork waits for no disk: like any change
//! it is durable at the first fsync in it or within the flush interval. It needs no pin of its own, since its
//! parent's log, and with it the parent's pin, stays as long as a fork reads it (`sweep_lineage`).

use crate::entry::Entry;
use crate::forest::{Claim, Forest};
use crate::history::State;
use crate::protocol::ForkRequest;
use crate::report::{ForkReport, Forked};
use crate::{card, faults, head, mount_point};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use weald_engine::Workspace;
use weald_model::{Code, Fault, Progress};
use weald_store::registry::{self, Origin, WorkspaceRow};

impl Forest {
    /// Makes one fork, or `count` of them. When one fails, those before it stay.
    pub(crate) fn fork(
        self: &Arc<Self>,
        ask: &ForkRequest,
        progress: &dyn Progress,
    ) -> Result<Forked, Fault> {
        self.open_for_work()?;
        let _growing = self.lineage.read().unwrap_or_else(PoisonError::into_inner);
        let state = self.state(&ask.from)?;
        if state.point.is_none() {
            refuse_shared_git_dir(&state)?;
        }
        let places = places(ask);
        // All names first: either all forks can be made, or none is begun.
        let claims: Result<Vec<Claim>, Fault> = places.iter().map(|(name, _)| self.claim(name)).collect();
        let claims = claims?;
        if state.point.is_none() {
            state.entry.flush();
        }
        progress.stage("forking", places.len() as u64);
        let mut forks = Vec::with_capacity(places.len());
        for (claim, (_, path)) in claims.into_iter().zip(places) {
            forks.push(self.fork_one(&state, claim, path)?);
            progress.advance(1);
        }
        let from = state.report.workspace.clone();
        Ok(Forked { from, state: state.point.map(|_| state.report), forks })
    }

    fn fork_one(&self, state: &State, claim: Claim, mount_path: PathBuf) -> Result<ForkReport, Fault> {
        mount_point::prepare(&mount_path)?;
        let mut row = WorkspaceRow {
            id: self.stores.fresh_id(),
            name: claim.name().to_owned(),
            state: registry::State::Active,
            created_at: self.stores.now(),
            trashed_at: None,
            mount_path,
            ..state.entry.row()
        };
        let undo = |row: &WorkspaceRow| {
            self.stores.discard(row.id, None);
            mount_point::discard(&row.mount_path);
        };
        let fork = self.grow_fork(state, &mut row).inspect_err(|_| undo(&row))?;
        let entry = Entry::with(row.clone(), fork);
        if let Err(fault) = self.mount(&entry) {
            let _ = self.stores.home.registry().delete_workspace(row.id);
            undo(&row);
            return Err(fault);
        }
        self.insert(entry);
        claim.keep();
        Ok(ForkReport { name: row.name, id: row.id.to_string(), path: row.mount_path.display().to_string() })
    }

    /// Makes log and row.
    fn grow_fork(&self, state: &State, row: &mut WorkspaceRow) -> Result<Arc<Workspace>, Fault> {
        self.stores.mark(row.id)?;
        let failed = |error: &_| faults::open(&row.name, error);
        let card = card::write(row);
        let fork = match state.point {
            None => state.workspace.fork(row.id, &card),
            Some(point) => state.workspace.fork_at(point, row.id, &card),
        };
        let fork = fork.map_err(|error| failed(&error))?;
        let origin = Workspace::origin(&self.stores.shared, row.id).map_err(|error| failed(&error))?;
        row.origin = origin.parent.map(|(parent, seq)| Origin { parent, seq });
        self.stores.home.registry().insert_workspace(row).map_err(faults::registry)?;
        self.stores.unmark(row.id);
        Ok(fork)
    }
}

/// A git directory out there would be that of the fork, too: two working trees with one index and one `HEAD`.
fn refuse_shared_git_dir(state: &State) -> Result<(), Fault> {
    let Some(path) = head::outside(&state.workspace) else { return Ok(()) };
    let (name, path) = (state.entry.name(), path.display());
    let why = format!("the git directory of `{name}` lies outside of it, at {path}, so it cannot be forked");
    Err(Fault::new(Code::UnsupportedSource, why)
        .hint(format!("bring it back first: rm .git && mv {path} .git")))
}

/// Names and mount points of the forks.
fn places(ask: &ForkRequest) -> Vec<(String, PathBuf)> {
    let root = Path::new(&ask.mount_root);
    match (ask.count, &ask.at) {
        (None, Some(at)) => vec![(ask.name.clone(), PathBuf::from(at))],
        (None, None) => vec![(ask.name.clone(), root.join(&ask.name))],
        (Some(count), at) => {
            let dir = at.as_deref().map_or(root, Path::new);
            (1..=count)
                .map(|number| format!("{}-{number}", ask.name))
                .map(|name| (name.clone(), dir.join(name)))
                .collect()
        }
    }
}

/// Refuses a count that makes no sense before anything is begun.
pub(crate) fn check_count(count: Option<u32>) -> Result<(), Fault> {
    match count {
        Some(0 | 10_001..) => Err(Fault::new(Code::BadRequest, "--count is 1 to 10,000")),
        _ => Ok(()),
    }
}
