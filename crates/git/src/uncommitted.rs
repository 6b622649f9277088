//! What a workspace has that no commit has: told before it is removed.
//!
//! Invariant: nothing changes, the index included. Read next: [`mod@crate::unpushed`], for commits that are nowhere else.

use crate::program::Git;
use crate::scratch::Scratch;
use std::path::Path;
use weald_model::Fault;

/// Paths that are not as in HEAD: changed, staged, untracked and not ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncommitted {
    /// All of them; a directory in which nothing is tracked counts once, and ends with a slash.
    pub paths: Vec<Vec<u8>>,
    /// True when the state as it is was promoted.
    pub is_promoted: bool,
}

/// Looks at the workspace `name`. `promoted` is the repository and the ref that its work is promoted to.
///
/// Errors: `GitFailed`. No git directory has nothing uncommitted.
pub fn uncommitted(workspace: &Path, name: &str, promoted: (&Path, &str)) -> Result<Uncommitted, Fault> {
    let none = Uncommitted { paths: Vec::new(), is_promoted: false };
    if workspace.join(".git").symlink_metadata().is_err() {
        return Ok(none);
    }
    let git = Git::new(workspace).with("GIT_OPTIONAL_LOCKS", "0");
    let lines = git.paths(&["status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal"])?;
    // Two letters and a space come before the path.
    let paths: Vec<Vec<u8>> = lines.iter().filter_map(|line| line.get(3..).map(<[u8]>::to_vec)).collect();
    if paths.is_empty() {
        return Ok(none);
    }
    let (source, reference) = promoted;
    let is_promoted = match Git::new(source).commit(reference)? {
        Some(commit) => {
            let taken = Scratch::new(workspace, name)?.take();
            // Paths in conflict were not promoted as they are.
            taken.is_ok_and(|taken| Git::new(source).tree(&commit).is_ok_and(|tree| tree == taken.tree))
        }
        None => false,
    };
    Ok(Uncommitted { paths, is_promoted })
}
