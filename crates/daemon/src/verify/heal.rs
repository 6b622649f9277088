//! Healing: what was made from the source is made from it again.
//!
//! Manifests, git indexes and unpacked blobs can be; logs and data cannot, they are the user's own work.
//! Invariants: what is written is known to be right before: a manifest follows from tree and time, stored content has
//! its hash. What was right stays untouched, and who uses a damaged file sees it right without being mounted anew.

use super::Round;
use crate::entry::Entry;
use crate::faults;
use crate::forest::Forest;
use crate::stores::Stores;
use std::path::{Path, PathBuf};
use weald_git::Repository;
use weald_model::{Code, Fault, Oid, Silent};
use weald_store::cas;
use weald_store::manifest::Manifest;
use weald_store::registry::{State, WorkspaceRow};

/// What can be made anew.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    /// A stored file.
    Stored(cas::Hash),
    /// The manifest of a tree.
    Manifest(Oid),
    /// A copy of what a source has.
    ContentPack(PathBuf),
}

impl Round<'_> {
    /// Names the command that heals. `entry` is what the user asked about.
    pub(super) fn tell_how_to_heal(&mut self, entry: Option<&Entry>) {
        let active = entry.filter(|entry| entry.state() == State::Active);
        let what = active.map_or("--all".to_owned(), Entry::name);
        for (problem, _) in &self.damages {
            self.report.problems[*problem].fix = Some(format!("weald verify {what} --heal"));
        }
    }

    /// Heals what can be.
    pub(super) fn heal(&mut self) {
        let mut damages = std::mem::take(&mut self.damages);
        // Indexes are made from manifests.
        damages.sort_by_key(|(_, damage)| matches!(damage, Damage::Stored(_)));
        for (number, damage) in damages {
            let is_spare = matches!(&damage, Damage::Stored(hash) if self.spare.contains(hash));
            let healed = self.forest.make_anew(damage, is_spare);
            let problem = &mut self.report.problems[number];
            match healed {
                Ok(()) => problem.is_healed = true,
                Err(fault) => problem.what.push_str(&format!("; it could not be healed: {fault}")),
            }
        }
    }
}

impl Forest {
    fn make_anew(&self, damage: Damage, is_spare: bool) -> Result<(), Fault> {
        let rows: Vec<WorkspaceRow> = self.all().iter().map(|entry| entry.row()).collect();
        match damage {
            Damage::Manifest(tree) => {
                let of_tree = |row: &&WorkspaceRow| Oid::from_hex(&row.tree) == Some(tree);
                let users: Vec<&WorkspaceRow> = rows.iter().filter(of_tree).collect();
                match users.is_empty() {
                    true => self.stores.drop_manifest(&tree),
                    false => first_that_can(&users, |row| self.stores.manifest_anew(&tree, row)),
                }
            }
            // The source is read instead.
            Damage::ContentPack(path) => {
                self.stores.home.content().remove(&path).map_err(|error| faults::content_pack(&error))
            }
            Damage::Stored(hash) => {
                let name = cas::hex(&hash);
                let of_hash = |row: &&WorkspaceRow| row.index_hash.as_ref() == Some(&name);
                let users: Vec<&WorkspaceRow> = rows.iter().filter(of_hash).collect();
                let converted = self.stores.who_has_converted(&hash, &rows)?;
                if !converted.is_empty() {
                    return first_that_can(&converted, |row| self.stores.converted_anew(Some(&hash), row));
                }
                match users.is_empty() && is_spare {
                    // It is made again when it is wanted.
                    true => self.stores.drop_stored(&hash),
                    false => first_that_can(&users, |row| self.stores.index_anew(&hash, row)),
                }
            }
        }
    }
}

/// Tries with each of those who need it: one source may be gone, another there.
fn first_that_can(
    rows: &[&WorkspaceRow],
    make: impl Fn(&WorkspaceRow) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut last = Fault::new(Code::StoreDamaged, "no workspace tells what it was made from");
    for row in rows {
        match make(row) {
            Ok(()) => return Ok(()),
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

impl Stores {
    fn manifest_anew(&self, tree: &Oid, row: &WorkspaceRow) -> Result<(), Fault> {
        let source = self.source_of(tree, repo_path(row)?)?;
        let bytes = Manifest::build(&*source, tree, row.base_time, &Silent);
        let bytes = bytes.map_err(|error| faults::built(&error))?;
        self.home.heal_manifest(tree, &bytes).map_err(|error| faults::manifest(&error))?;
        self.forget_manifest(tree);
        Ok(())
    }

    fn index_anew(&self, hash: &cas::Hash, row: &WorkspaceRow) -> Result<(), Fault> {
        let repo = Repository::open(repo_path(row)?)?;
        let tree = Oid::from_hex(&row.tree).ok_or_else(|| strange(row))?;
        let manifest =
            self.manifest(&tree, &*self.source_of(&tree, repo_path(row)?)?, row.base_time, &Silent)?;
        let bytes = self.index_of(&manifest, &repo, row.uid, row.gid)?;
        if cas::hash(&bytes) != *hash {
            return Err(strange(row));
        }
        self.home.cas().heal(hash, &bytes).map_err(|error| faults::cas(&error))
    }

    fn drop_manifest(&self, tree: &Oid) -> Result<(), Fault> {
        self.forget_manifest(tree);
        let path = self.home.paths().manifest(tree);
        removed(&path, self.home.disk().remove_file(&path))
    }

    fn drop_stored(&self, hash: &cas::Hash) -> Result<(), Fault> {
        self.shared.forget_stored(hash);
        self.home.cas().remove(hash).map_err(|error| faults::cas(&error))
    }
}

fn repo_path(row: &WorkspaceRow) -> Result<&Path, Fault> {
    row.repo_path.as_deref().ok_or_else(|| strange(row))
}

fn strange(row: &WorkspaceRow) -> Fault {
    Fault::new(Code::StoreDamaged, format!("what the source of `{}` gives is something else", row.name))
}

fn removed(path: &Path, done: std::io::Result<()>) -> Result<(), Fault> {
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::host(&format!("removing {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}
