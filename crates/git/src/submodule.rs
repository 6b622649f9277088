//! Submodules: the repositories git keeps for them below `modules/` of a git directory.
//!
//! A workspace borrows their objects from the source's (`submodule.alternateLocation`, git-config(1)), so what a workspace
//! was given must stay alive there too: each is pinned like the source itself (see [`crate::pin`]).
//! Invariant: names come from the directories git made, never from a `.gitmodules`, which is content.

use crate::clone::transfer::Transfer;
use crate::pin;
use crate::program::Git;
use crate::repo::is_git_dir;
use crate::{ObjectFormat, Repository, hash::from_gix};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weald_model::{Fault, Oid, Silent, WorkspaceId};

/// Submodules looked at, and directories looked into to find them; what is beyond is not pinned.
const MODULES_MAX: usize = 1_000;
const DIRS_MAX: usize = 10_000;

/// How long the repository of a submodule may say nothing while it is copied. It lies on this machine.
const LENDING_MAX: Duration = Duration::from_secs(10);

/// The repository of a submodule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, which is its path unless somebody chose otherwise; those within others after a `/`.
    pub name: String,
    /// Its git directory, relative to that of the repository it belongs to.
    pub below: PathBuf,
}

/// The submodules that were initialised in a repository, and theirs.
pub(crate) fn modules(git_dir: &Path) -> Vec<Module> {
    let mut found = Vec::new();
    let mut todo = vec![(PathBuf::from("modules"), String::new())];
    let mut dirs = 0;
    while let Some((below, name)) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(git_dir.join(&below)) else { continue };
        for entry in entries.flatten() {
            dirs += 1;
            if dirs > DIRS_MAX || found.len() >= MODULES_MAX {
                return found;
            }
            // A link could lead anywhere, or around.
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let below = below.join(entry.file_name());
            let part = entry.file_name().to_string_lossy().into_owned();
            let name = if name.is_empty() { part } else { format!("{name}/{part}") };
            if is_git_dir(&git_dir.join(&below)) {
                todo.push((below.join("modules"), name.clone()));
                found.push(Module { name, below });
            } else {
                todo.push((below, name));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Keeps alive for a workspace what the source's submodules have now.
///
/// Errors: as of [`pin::pin`].
pub fn pin_modules(source: &Repository, workspace: WorkspaceId) -> Result<(), Fault> {
    for module in modules(source.common_dir()) {
        // One that does not open lends nothing either.
        let Ok(repository) = Repository::open(&source.common_dir().join(&module.below)) else { continue };
        let mut lines = repository.refs_below("refs/");
        lines.retain(|line| !line.name.starts_with(b"weald/"));
        let mut tips: Vec<Oid> = lines.into_iter().map(|line| line.target).collect();
        tips.sort();
        tips.dedup();
        let head = repository.local().head_id().ok().map(|id| from_gix(&id));
        let Some(commit) = head.or(tips.first().copied()) else { continue };
        tips.retain(|tip| *tip != commit);
        pin::pin(&repository, workspace, &commit)?;
        pin::keep(&repository, workspace, &commit, &tips)?;
    }
    Ok(())
}

/// Takes into a clone of Weald's own the submodules that a workspace of it has fetched and the clone has not, so that the next
/// workspace borrows them. Nothing is asked of the network.
///
/// `from` is the git directory of the workspace, in which whoever works there may have put anything: git's own upload-pack
/// reads it, which runs nothing that a repository names, and it has [`LENDING_MAX`] to say something. One that cannot be taken is left
/// out: it is fetched again, as without this.
pub fn lend(from: &Path, clone: &Path) {
    let Ok(format) = Repository::open(clone).map(|clone| clone.format()) else { return };
    for module in modules(from) {
        let (source, dest) = (from.join(&module.below), clone.join(&module.below));
        // Git borrows from no shallow repository. Those within others come after these, so their parents are there.
        let is_file = |name| source.join(name).symlink_metadata().is_ok_and(|data| data.is_file());
        let is_wanted = !dest.exists() && !source.join("shallow").exists();
        if is_wanted && is_file("HEAD") && is_file("config") {
            copy(&source, &dest, format);
        }
    }
}

/// Makes a bare repository with all that refs of another one lead to.
fn copy(source: &Path, dest: &Path, format: ObjectFormat) {
    let mut part = dest.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let _ = std::fs::remove_dir_all(&part);
    if fill(source, &part, format).and_then(|()| std::fs::rename(&part, dest).ok()).is_none() {
        let _ = std::fs::remove_dir_all(&part);
    }
}

fn fill(source: &Path, part: &Path, format: ObjectFormat) -> Option<()> {
    std::fs::create_dir_all(part).ok()?;
    let git = Git::new(part);
    git.run(&["init", "-q", "--bare", "--template=", &format!("--object-format={}", format.name())]).ok()?;
    // Nothing in it is ever pruned: workspaces read its objects.
    for (key, value) in [("gc.auto", "0"), ("gc.pruneExpire", "never"), ("maintenance.auto", "false")] {
        git.run(&["config", key, value]).ok()?;
    }
    let mut args: Vec<OsString> = vec!["-C".into(), part.into(), "fetch".into(), "--progress".into()];
    args.extend(["--no-auto-maintenance", "--no-write-fetch-head", "--no-tags", "--"].map(OsString::from));
    args.push(source.into());
    for spec in ["+HEAD:refs/lent/HEAD", "+refs/*:refs/lent/*"] {
        args.push(spec.into());
    }
    Transfer::new(args, LENDING_MAX).run(&Silent).ok().map(drop)
}

/// Takes back what [`pin_modules`] did.
pub fn unpin_modules(source: &Repository, workspace: WorkspaceId) -> Result<(), Fault> {
    for module in modules(source.common_dir()) {
        if let Ok(repository) = Repository::open(&source.common_dir().join(&module.below)) {
            pin::unpin(&repository, workspace)?;
        }
    }
    Ok(())
}
