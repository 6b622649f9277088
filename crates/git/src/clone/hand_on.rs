//! News of a clone, handed on to a workspace that reads its objects: remote-tracking branches and tags.
//!
//! Nothing is transferred, the objects are there by way of alternates. Invariants: local branches, HEAD and the index are
//! not touched; a tag the workspace has stays; a branch that is gone at the remote stays.

use crate::Repository;
use crate::program::Git;
use crate::repo::read_small;
use std::collections::BTreeSet;
use std::path::Path;
use weald_model::{Fault, Oid};

/// A branch that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Name without `refs/heads/`.
    pub name: String,
    /// Where it was; None for a new one.
    pub before: Option<Oid>,
    /// Where it is.
    pub now: Oid,
}

/// Sets `refs/remotes/origin/*` and new tags of a workspace to what they are in the clone. Gives the branches that moved.
pub fn hand_on(clone: &Path, workspace: &Path) -> Result<Vec<Moved>, Fault> {
    let source = Repository::open(clone)?;
    let git = Git::new(workspace);
    let mut git_dir = git.run(&["rev-parse", "--absolute-git-dir"])?;
    git_dir.truncate(git_dir.trim_ascii_end().len());
    let git_dir =
        Path::new(std::ffi::OsStr::new(std::str::from_utf8(&git_dir).unwrap_or_default())).to_owned();
    join_shallow(&source, &git_dir)?;
    let (mut lines, mut moved) = (Vec::new(), Vec::new());
    for branch in source.branches() {
        let name = String::from_utf8_lossy(&branch.name).into_owned();
        let reference = format!("refs/remotes/origin/{name}");
        let before = git.oid(&["rev-parse", "--quiet", "--verify", &reference])?;
        if before != Some(branch.target) {
            lines.push(format!("update {reference}\0{}\0\0", branch.target));
            moved.push(Moved { name, before, now: branch.target });
        }
    }
    for tag in source.tags() {
        let reference = format!("refs/tags/{}", String::from_utf8_lossy(&tag.name));
        if git.oid(&["rev-parse", "--quiet", "--verify", &reference])?.is_none() {
            lines.push(format!("create {reference}\0{}\0", tag.target));
        }
    }
    if !lines.is_empty() {
        git.run_with(&["update-ref", "-m", "weald fetch", "-z", "--stdin"], lines.concat().as_bytes())?;
    }
    Ok(moved)
}

/// Where history ends in the clone, it ends in the workspace, too.
fn join_shallow(source: &Repository, git_dir: &Path) -> Result<(), Fault> {
    let Some(theirs) = source.shallow() else { return Ok(()) };
    let path = git_dir.join("shallow");
    let ours = read_small(&path).unwrap_or_default();
    let lines = |text: &[u8]| -> BTreeSet<Vec<u8>> {
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let (before, theirs) = (lines(&ours), lines(&theirs));
    if theirs.is_subset(&before) {
        return Ok(());
    }
    let all: Vec<u8> = before.union(&theirs).flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
    let new = git_dir.join("shallow.weald");
    std::fs::write(&new, all)
        .and_then(|()| std::fs::rename(&new, &path))
        .map_err(|error| Fault::host(&format!("writing {}", path.display()), &error))
}
