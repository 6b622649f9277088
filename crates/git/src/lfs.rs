//! Content of Git LFS that was added in a workspace, on its way back with the commits that point to it.
//!
//! Git LFS keeps content below `lfs/objects` of a git directory, under its SHA-256 (git-lfs's specification); what it
//! does not find there it asks its server for. Invariant: content is there whole under its name or not at all.

use crate::Repository;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use weald_model::{Fault, Oid};

/// Brings content that a workspace has and its source has not. Costs nothing where Git LFS is not used.
///
/// Errors: `HostIo`, `DiskFull`, `HomeReadOnly`.
pub(crate) fn bring(workspace_git_dir: &Path, source: &Path) -> Result<(), Fault> {
    let here = workspace_git_dir.join("lfs/objects");
    if !here.is_dir() {
        return Ok(());
    }
    let source = Repository::open(source)?;
    let there = source.common_dir().join("lfs");
    let failed = |error: std::io::Error| Fault::host("bringing content of Git LFS into the source", &error);
    for below in objects(&here).map_err(failed)? {
        copy(&here.join(&below), &there, &below).map_err(failed)?;
    }
    Ok(())
}

/// Paths of all content, like `ab/cd/abcd…`.
fn objects(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = todo.pop() {
        for entry in std::fs::read_dir(dir.join(&below))? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            let is_name = |name: &str| name.len() == 64 && Oid::from_hex(name).is_some();
            if kind.is_dir() && depth < 2 {
                todo.push((below.join(name), depth + 1));
            } else if kind.is_file() && depth == 2 && name.to_str().is_some_and(is_name) {
                found.push(below.join(name));
            }
        }
    }
    Ok(found)
}

fn copy(from: &Path, lfs: &Path, below: &Path) -> std::io::Result<()> {
    let to = lfs.join("objects").join(below);
    if to.exists() {
        return Ok(());
    }
    let part = lfs.join("tmp").join(format!("weald-{}", std::process::id()));
    for dir in [&part, &to] {
        std::fs::create_dir_all(dir.parent().ok_or(ErrorKind::NotFound)?)?;
    }
    let copied = std::fs::copy(from, &part)
        .and_then(|_| std::fs::File::open(&part)?.sync_all())
        .and_then(|()| std::fs::rename(&part, &to));
    if copied.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&part);
    }
    copied
}
