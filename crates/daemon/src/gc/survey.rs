//! What nobody needs: logs of the departed, manifests, stored content, clones and their pins, files left half written.
//!
//! Invariant: reads only. What it cannot account for it leaves alone; only files whose names are Weald's own count.

use super::{Found, registry};
use crate::faults;
use crate::forest::Forest;
use crate::report::{GcItem, GcKind, GcOptions};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use weald_git::Repository;
use weald_model::{Fault, Oid, WorkspaceId};
use weald_store::cas;
use weald_store::publish::TEMPORARY_PREFIX;
use weald_store::registry::{State, WorkspaceRow};

/// End of the name of a clone in the making.
const PART_SUFFIX: &str = ".git.part";

impl Forest {
    /// Everything that could be taken away now.
    pub(super) fn survey(&self, options: &GcOptions) -> Result<Found, Fault> {
        let mut found = Found::default();
        let mut rows: Vec<WorkspaceRow> = self.all().iter().map(|entry| entry.row()).collect();
        self.logs(&mut rows, &mut found);
        // From here on `rows` are those that stay.
        let stay = rows.iter().map(|row| row.id).collect();
        let needs = self.survey_history(options, &stay, &mut found)?;
        self.survey_chunks(&needs, &mut found);
        self.manifests(&rows, &mut found)?;
        self.content(&rows, &mut found)?;
        self.content_packs(&rows, "no workspace is on the tree it was written for", &mut found)?;
        self.clones(&rows, &mut found)?;
        Ok(found)
    }

    /// Logs of emptied workspaces that no fork reads; without the first, the next one up may be such a one.
    fn logs(&self, rows: &mut Vec<WorkspaceRow>, found: &mut Found) {
        loop {
            let parents: HashSet<WorkspaceId> =
                rows.iter().filter_map(|row| row.origin).map(|origin| origin.parent).collect();
            let unread = |row: &WorkspaceRow| row.state == State::Lineage && !parents.contains(&row.id);
            let Some(at) = rows.iter().position(unread) else { return };
            let row = rows.swap_remove(at);
            found.items.push(GcItem {
                kind: GcKind::Log,
                id: row.id.to_string(),
                what: format!("the log of `{}`", row.name),
                why: "it was emptied from the trash, and no fork reads from it".to_owned(),
                bytes: self.stores.home.logs().bytes(row.id).unwrap_or(0),
                pieces: Vec::new(),
            });
        }
    }

    pub(super) fn manifests(&self, rows: &[WorkspaceRow], found: &mut Found) -> Result<(), Fault> {
        let used: HashSet<&str> = rows.iter().map(|row| row.tree.as_str()).collect();
        let dir = self.stores.home.paths().manifests();
        for (name, bytes) in files(&dir)? {
            let Some(tree) = name.strip_suffix(".wm").filter(|tree| Oid::from_hex(tree).is_some()) else {
                found.items.extend(temporary("manifests", &name, bytes));
                continue;
            };
            if !used.contains(tree) {
                found.items.push(GcItem {
                    kind: GcKind::Manifest,
                    id: tree.to_owned(),
                    what: format!("the manifest of tree {}", short(tree)),
                    why: "no workspace is on this tree; it is made again when one is".to_owned(),
                    bytes,
                    pieces: Vec::new(),
                });
            }
        }
        Ok(())
    }

    pub(super) fn content(&self, rows: &[WorkspaceRow], found: &mut Found) -> Result<(), Fault> {
        let trees: HashSet<&str> = rows.iter().map(|row| row.tree.as_str()).collect();
        let mut used: HashSet<String> = rows.iter().filter_map(|row| row.index_hash.clone()).collect();
        let derived = self.stores.home.registry().artifacts().map_err(registry)?;
        used.extend(
            derived.into_iter().filter(|file| trees.contains(file.tree.as_str())).map(|file| file.hash),
        );
        used.extend(self.stores.shared.unpacked().iter().map(cas::hex));
        let root = self.stores.home.paths().cas();
        for (name, bytes) in files(&root)? {
            found.items.extend(temporary("cas", &name, bytes));
        }
        for dir in directories(&root)? {
            for (name, bytes) in files(&root.join(&dir))? {
                let ours = cas::from_hex(&name).is_some() && name.starts_with(&dir);
                if ours && !used.contains(&name) {
                    found.items.push(GcItem {
                        kind: GcKind::Stored,
                        what: format!("stored content {}", short(&name)),
                        id: name,
                        why: "derived from a source, and no workspace has it; it is made again when needed"
                            .to_owned(),
                        bytes,
                        pieces: Vec::new(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Copies of what sources have, but for those of trees that `rows` are on.
    pub(super) fn content_packs(
        &self,
        rows: &[WorkspaceRow],
        why: &str,
        found: &mut Found,
    ) -> Result<(), Fault> {
        let content = self.stores.home.content();
        let used: HashSet<Oid> = rows.iter().filter_map(|row| Oid::from_hex(&row.tree)).collect();
        let dir = self.stores.home.paths().content();
        for (name, bytes) in files(&dir)? {
            found.items.extend(temporary("content", &name, bytes));
        }
        for pack in content.list().map_err(|error| faults::content_pack(&error))? {
            let Some(name) = pack.path.file_name().and_then(std::ffi::OsStr::to_str) else { continue };
            if pack.tree.is_none_or(|tree| !used.contains(&tree)) {
                found.items.push(GcItem {
                    kind: GcKind::ContentPack,
                    id: name.to_owned(),
                    what: format!("the content pack {}", short(name)),
                    why: format!("{why}; its source has all that is in it"),
                    bytes: pack.disk_bytes,
                    pieces: Vec::new(),
                });
            }
        }
        Ok(())
    }

    pub(super) fn clones(&self, rows: &[WorkspaceRow], found: &mut Found) -> Result<(), Fault> {
        let used: HashSet<&Path> = rows.iter().filter_map(|row| row.repo_path.as_deref()).collect();
        let known = self.stores.home.registry().repos().map_err(registry)?;
        let root = self.stores.home.paths().repos();
        for name in directories(&root)? {
            let path = root.join(&name);
            if name.ends_with(PART_SUFFIX) {
                found.items.push(GcItem {
                    kind: GcKind::Temporary,
                    id: format!("repos/{name}"),
                    what: format!("repos/{name}"),
                    why: "a clone that was never finished".to_owned(),
                    bytes: tree_bytes(&path),
                    pieces: Vec::new(),
                });
            } else if let Some(id) =
                name.strip_suffix(".git").filter(|id| WorkspaceId::from_hex(id).is_some())
            {
                if used.contains(path.as_path()) {
                    self.git_pins(id, &path, rows, found);
                    continue;
                }
                let url = known.iter().find(|row| row.id == id).map(|row| weald_git::url::mask(&row.url));
                found.items.push(GcItem {
                    kind: GcKind::Clone,
                    id: id.to_owned(),
                    what: format!(
                        "the clone of {}",
                        url.as_deref().unwrap_or("a source nobody knows any more")
                    ),
                    why: "no workspace reads from it; it is cloned again when one does".to_owned(),
                    bytes: tree_bytes(&path),
                    pieces: Vec::new(),
                });
            }
        }
        Ok(())
    }

    /// Pins of workspaces that are gone, in Weald's own clones only: in a source of the user's they may belong to
    /// another home.
    fn git_pins(&self, clone: &str, path: &Path, rows: &[WorkspaceRow], found: &mut Found) {
        let repo = match Repository::open(path) {
            Ok(repo) => repo,
            Err(fault) => return found.skip(&format!("repos/{clone}.git"), &fault),
        };
        for id in weald_git::pin::pins(&repo) {
            if !rows.iter().any(|row| row.id == id) {
                found.items.push(GcItem {
                    kind: GcKind::Pin,
                    id: format!("{clone} {id}"),
                    what: format!("the pin {} in repos/{clone}.git", weald_git::pin::pin_name(id)),
                    why: "its workspace is gone".to_owned(),
                    bytes: 0,
                    pieces: Vec::new(),
                });
            }
        }
    }
}

/// A file that a writer which is gone left half written. Those of this process are in use.
fn temporary(dir: &str, name: &str, bytes: u64) -> Option<GcItem> {
    let writer = name.strip_prefix(TEMPORARY_PREFIX)?.split('-').next()?;
    let left = writer.parse() != Ok(std::process::id());
    left.then(|| GcItem {
        kind: GcKind::Temporary,
        id: format!("{dir}/{name}"),
        what: format!("{dir}/{name}"),
        why: "half written by a daemon that is gone".to_owned(),
        bytes,
        pieces: Vec::new(),
    })
}

/// Names and disk space of the files in a directory.
fn files(dir: &Path) -> Result<Vec<(String, u64)>, Fault> {
    named(dir, |data| data.is_file()).map(|found| found.into_iter().collect())
}

fn directories(dir: &Path) -> Result<Vec<String>, Fault> {
    Ok(named(dir, std::fs::Metadata::is_dir)?.into_iter().map(|(name, _)| name).collect())
}

fn named(dir: &Path, wanted: impl Fn(&std::fs::Metadata) -> bool) -> Result<Vec<(String, u64)>, Fault> {
    let host = |error: std::io::Error| Fault::host(&format!("reading {}", dir.display()), &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(host)? {
        let entry = entry.map_err(host)?;
        // What vanishes meanwhile is somebody's temporary file.
        let Ok(data) = entry.metadata() else { continue };
        if let (true, Ok(name)) = (wanted(&data), entry.file_name().into_string()) {
            found.push((name, data.blocks() * 512));
        }
    }
    Ok(found)
}

/// Disk space of everything below a directory.
pub(super) fn tree_bytes(root: &Path) -> u64 {
    crate::survey::disk_bytes(root)
}

fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

impl Forest {
    /// Refuses when a log that is to be removed cannot be: told before anything is begun.
    pub(super) fn doomed(&self, id: &str) -> Result<std::sync::Arc<crate::entry::Entry>, Fault> {
        let entry = WorkspaceId::from_hex(id).and_then(|id| self.by_id(id));
        entry.ok_or_else(|| faults::errno("finding a log", weald_model::Errno::NotFound))
    }
}
