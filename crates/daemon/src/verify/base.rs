//! Verifying bases: the manifests, and on demand every git object they name.
//!
//! Invariant: an object is read once however many trees hold it. Reading one checks it against its id.

use super::{Damage, Round};
use crate::sources::LateSource;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use weald_model::{Ino, Oid, Progress, Source, SourceError, TreeKind};
use weald_store::log::verify::Amount;
use weald_store::manifest::{Manifest, ManifestError};
use weald_store::registry::WorkspaceRow;

impl Round<'_> {
    /// Recomputes manifests from their bytes; with `objects`, also what they list in the source.
    pub(super) fn manifests(
        &mut self,
        trees: &BTreeMap<Oid, Option<&WorkspaceRow>>,
        objects: bool,
        progress: &dyn Progress,
    ) {
        progress.stage("verifying manifests", trees.len() as u64);
        let mut seen = HashSet::new();
        for (tree, row) in trees {
            let path = self.forest.stores.home.paths().manifest(tree);
            let name = row.map(|row| row.name.as_str());
            match self.forest.stores.home.manifest(tree) {
                // It is built anew from the source when it is needed.
                Ok(None) => {}
                Ok(Some(manifest)) => {
                    let bytes = std::fs::metadata(&path).map_or(0, |data| data.len());
                    self.count(Amount { objects: 1, bytes });
                    if let Err(error) = manifest.verify() {
                        self.tell_damage(name, &path, &error.to_string(), Damage::Manifest(*tree));
                    } else if let Some(row) = row.filter(|_| objects) {
                        self.objects(&manifest, row, &mut seen, progress);
                    }
                }
                Err(error) => self.tell_damage(name, &path, &error.to_string(), Damage::Manifest(*tree)),
            }
            progress.advance(1);
        }
    }

    /// Every copy of what sources have, against the ids of its blobs.
    pub(super) fn content_packs(&mut self) {
        let home = &self.forest.stores.home;
        let checked = match home.content().verify(&weald_git::is_blob) {
            Ok(checked) => checked,
            Err(error) => return self.tell(None, &home.paths().content(), None, &error.to_string()),
        };
        self.count(Amount { objects: checked.blobs, bytes: checked.bytes });
        for problem in checked.problems {
            let pack = problem.path().to_owned();
            self.tell_damage(None, &pack, &problem.to_string(), Damage::ContentPack(pack.clone()));
        }
    }

    fn objects(
        &mut self,
        manifest: &Manifest,
        row: &WorkspaceRow,
        seen: &mut HashSet<Oid>,
        progress: &dyn Progress,
    ) {
        let Some(path) = &row.repo_path else { return };
        let Ok(source) = self.forest.stores.source_of(&manifest.tree(), path) else { return };
        let repository = self.forest.stores.source(path);
        progress.stage("verifying git objects", manifest.len());
        for ino in 1..=manifest.len() {
            progress.advance(1);
            let node = match manifest.node(Ino(ino)) {
                Ok(node) => node,
                Err(error) => return self.unlisted(row, path, &error),
            };
            if node.kind == TreeKind::Gitlink || !seen.insert(node.oid) {
                continue;
            }
            let read = match node.kind {
                TreeKind::Dir => source.tree(&node.oid).map(|entries| entries.len() as u64),
                _ => blob(&repository, &*source, &node.oid).map(|bytes| bytes.len() as u64),
            };
            match read {
                Ok(bytes) => {
                    let bytes = if node.kind == TreeKind::Dir { 0 } else { bytes };
                    self.count(Amount { objects: 1, bytes });
                }
                // It is elsewhere, which is no damage.
                Err(SourceError::Unfetched(_)) => {}
                Err(error @ SourceError::Unavailable(_)) => {
                    return self.tell(Some(&row.name), path, None, &error.to_string());
                }
                Err(error) => self.tell(Some(&row.name), path, None, &error.to_string()),
            }
        }
    }

    fn unlisted(&mut self, row: &WorkspaceRow, path: &Path, error: &ManifestError) {
        self.tell(Some(&row.name), path, None, &error.to_string());
    }
}

/// A blob as the repository has it, whatever copies there are; one that is shown converted from where that is kept.
fn blob(repository: &LateSource, source: &dyn Source, id: &Oid) -> Result<Vec<u8>, SourceError> {
    match repository.checked_blob(id) {
        Err(SourceError::Missing(_)) => source.blob(id),
        other => other,
    }
}
