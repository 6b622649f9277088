//! Verifying sealed snapshots: their roots are computed again, from their objects and from the log.
//!
//! Read next: `weald_engine::seal::SealCheck`.

use super::Round;
use std::path::PathBuf;
use weald_engine::seal::{SealCheck, check_seals};
use weald_model::WorkspaceId;
use weald_store::chunks::ChunkError;
use weald_store::log::verify::Amount;
use weald_store::registry::State;

impl Round<'_> {
    /// The sealed snapshots of a log that is right in itself.
    pub(super) fn seals(&mut self, id: WorkspaceId, until: Option<u64>, check: &mut SealCheck) {
        let stores = &self.forest.stores;
        let Some(row) = self.forest.by_id(id).map(|entry| entry.row()) else { return };
        // Only its log is kept, for those forked from it: what its own snapshots need beside may go.
        if row.state == State::Lineage {
            return;
        }
        // A manifest that is missing or damaged is told by itself.
        let Ok(base) = stores.base(&row) else { return };
        let before = (check.content_bytes, check.object_bytes);
        let (mut checked, mut wrong) = (0, Vec::new());
        let outcome = check_seals(&stores.shared, (id, &base), until, check, &mut |snapshot, result| {
            checked += 1;
            if let Err(why) = result {
                wrong.push(format!("the sealed snapshot {} is not what it says: {why}", snapshot.id));
            }
        });
        if let Err(error) = outcome {
            wrong.push(format!("sealed snapshots cannot be checked: {error}"));
        }
        let dir = stores.home.paths().logs().join(id.to_string());
        for what in wrong {
            self.tell(Some(&row.name), &dir, None, &what);
        }
        self.report.checked_roots += checked;
        let bytes = check.content_bytes - before.0 + check.object_bytes - before.1;
        self.count(Amount { objects: checked, bytes });
    }

    /// All chunks there are, those of no sealed snapshot included. True when all are right.
    pub(super) fn packs(&mut self) -> bool {
        let known = self.report.problems.len();
        let dir = self.forest.stores.home.paths().chunks();
        match self.forest.stores.home.chunks().verify() {
            Ok(checked) => {
                self.count(Amount { objects: checked.chunks, bytes: checked.bytes });
                for problem in checked.problems {
                    let (path, offset) = place(&problem).unwrap_or((dir.clone(), None));
                    self.tell(None, &path, offset, &problem.to_string());
                }
            }
            Err(error) => self.tell(None, &dir, None, &error.to_string()),
        }
        self.report.problems.len() == known
    }
}

/// The pack that is wrong, and where.
fn place(problem: &ChunkError) -> Option<(PathBuf, Option<u64>)> {
    match problem {
        ChunkError::Damaged { path, offset, .. } => Some((path.clone(), Some(*offset))),
        ChunkError::Io { path, .. } | ChunkError::Version { path, .. } => Some((path.clone(), None)),
        ChunkError::Missing(_) | ChunkError::TooLarge(_) => None,
    }
}
