//! Conflicts as state of a workspace: an ordinary merge under way in it, resolved with ordinary git.
//!
//! Invariant: the file `weald-merge` in the git directory says that Weald began it, and for which branch; it goes when
//! the merge is done or given up. Everything else is git's own state (`MERGE_HEAD`, stages of the index).

use crate::program::Git;
use crate::promote::{conflicts as conflicts_of, refuse_conflicts};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use weald_model::{Code, Fault, Oid};

/// A merge that Weald began in a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The branch of the source it is for.
    pub branch: String,
    /// The snapshot of the workspace before it.
    pub snapshot: String,
}

fn mark(workspace: &Path) -> PathBuf {
    workspace.join(".git/weald-merge")
}

/// The merge that is under way, if Weald began one.
pub fn pending(workspace: &Path) -> Result<Option<Pending>, Fault> {
    let text = match std::fs::read_to_string(mark(workspace)) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Fault::host("reading .git/weald-merge", &error)),
    };
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned)
    };
    match (field("branch"), field("snapshot")) {
        (Some(branch), Some(snapshot)) => Ok(Some(Pending { branch, snapshot })),
        _ => {
            Err(Fault::new(Code::NoMerge, format!("{} is not as Weald wrote it", mark(workspace).display()))
                .hint("remove that file, and finish the merge with git"))
        }
    }
}

/// Begins a merge of `tip` in a workspace whose content is that of `commit`, and tells the paths in conflict. The
/// workspace's branch comes to stand on `commit` first. None when there were none after all: the merge is committed.
pub fn begin(workspace: &Path, commit: &Oid, tip: &Oid, pending: &Pending) -> Result<Vec<Vec<u8>>, Fault> {
    let git = Git::new(workspace).with("GIT_REFLOG_ACTION", "weald merge");
    git.run(&["reset", "--quiet", "--mixed", &commit.to_string(), "--"])?;
    let text = format!("branch {}\nsnapshot {}\n", pending.branch, pending.snapshot);
    std::fs::write(mark(workspace), text).map_err(|error| Fault::host("writing .git/weald-merge", &error))?;
    let message = format!("Merge branch '{}'", pending.branch);
    let args = ["merge", "--quiet", "--no-edit", "--no-autostash", "-m", &message, &tip.to_string()];
    let said = git.said(&args, &[])?;
    let conflicts = conflicts_of(&git)?;
    match (said.code, conflicts.is_empty()) {
        (0, _) | (1, false) => Ok(conflicts),
        _ => Err(git.fault(&args, &said)),
    }
}

/// Commits what was resolved, unless somebody did already.
///
/// Errors: `UnfinishedMerge` while paths are in conflict, `GitFailed` (a hook refused).
pub fn conclude(workspace: &Path, name: &str) -> Result<(), Fault> {
    let git = Git::new(workspace);
    refuse_conflicts(&git, name)?;
    if git.commit("MERGE_HEAD")?.is_some() {
        git.run(&["commit", "--quiet", "--no-edit"])?;
    }
    Ok(())
}

/// Nothing is under way any more.
pub fn forget(workspace: &Path) -> Result<(), Fault> {
    match std::fs::remove_file(mark(workspace)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Fault::host("removing .git/weald-merge", &error))
        }
        _ => Ok(()),
    }
}

/// Whether a merge of any kind is under way.
pub fn is_merging(workspace: &Path) -> Result<bool, Fault> {
    Ok(Git::new(workspace).commit("MERGE_HEAD")?.is_some())
}

/// Brings the working tree of a fork to a commit, keeping what git ignores: to test what a merge gives.
pub fn stand_on(workspace: &Path, commit: &Oid) -> Result<(), Fault> {
    let git = Git::new(workspace).with("GIT_REFLOG_ACTION", "weald merge --test");
    git.run(&["checkout", "--quiet", "--force", "--detach", &commit.to_string()]).map(|_| ())
}
