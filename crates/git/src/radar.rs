//! Which workspaces change the same lines: each taken as a commit, then merged in pairs by `git merge-tree`, and nobody
//! touched.
//!
//! Invariant: nothing in a workspace or its source changes. Cost: that of `git add --all` for each workspace, and
//! of a merge for each pair that changes a file in common.

use crate::program::{Git, split};
use crate::scratch::Scratch;
use std::collections::BTreeSet;
use std::path::Path;
use weald_model::{Code, Fault, Oid};

/// What a workspace, or a branch, has changed since both had the same.
pub struct Sighting {
    /// None for a branch.
    scratch: Option<Scratch>,
    git: Git,
    commit: Oid,
    /// Paths it changed of its own.
    paths: BTreeSet<Vec<u8>>,
}

/// Where two meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meeting {
    /// Paths both changed.
    pub shared: Vec<Vec<u8>>,
    /// Those of them that git could not merge.
    pub conflicts: Vec<Vec<u8>>,
}

impl Sighting {
    /// Takes a workspace as it is, beside a branch that is at `tip`.
    ///
    /// Errors: `UnfinishedMerge` (paths in conflict), `UnsupportedSource`, `GitFailed`.
    pub fn of_workspace(workspace: &Path, name: &str, tip: &Oid) -> Result<Self, Fault> {
        let scratch = Scratch::new(workspace, name)?;
        let git = scratch.git();
        let tree = scratch.take_whole()?;
        let head = scratch.head()?;
        let commit = match head {
            Some(head) if git.tree(&head)? == tree => head,
            _ => {
                let mut args = vec!["commit-tree".to_owned(), "-m".into(), name.to_owned()];
                args.extend(head.iter().flat_map(|head| ["-p".to_owned(), head.to_string()]));
                args.push(tree.to_string());
                let made = git.oid(&args)?;
                made.ok_or_else(|| Fault::new(Code::GitFailed, "git made no commit"))?
            }
        };
        let paths = own_paths(&git, &commit, tip)?;
        Ok(Self { scratch: Some(scratch), git, commit, paths })
    }

    /// What the branch has that a workspace has not.
    pub fn of_branch(repo: &Path, tip: &Oid, workspace: &Sighting) -> Result<Self, Fault> {
        let paths = own_paths(&workspace.git, tip, &workspace.commit)?;
        Ok(Self { scratch: None, git: Git::new(repo), commit: *tip, paths })
    }

    /// Where it meets another. `self` is that of a workspace.
    pub fn meets(&self, other: &Sighting) -> Result<Meeting, Fault> {
        let shared: Vec<Vec<u8>> = self.paths.intersection(&other.paths).cloned().collect();
        if shared.is_empty() || self.commit == other.commit {
            return Ok(Meeting::default());
        }
        let mut git = self.git.clone();
        if let Some(scratch) = &other.scratch {
            git = git.with("GIT_ALTERNATE_OBJECT_DIRECTORIES", scratch.objects());
        }
        let (ours, theirs) = (self.commit.to_string(), other.commit.to_string());
        let args = ["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", &ours, &theirs];
        let said = git.said(&args, &[])?;
        match said.code {
            0 => Ok(Meeting { shared, conflicts: Vec::new() }),
            1 => Ok(Meeting { shared, conflicts: split(&said.out).into_iter().skip(1).collect() }),
            _ => Err(git.fault(&args, &said)),
        }
    }
}

/// Paths that differ between a commit and what it has in common with another.
fn own_paths(git: &Git, commit: &Oid, other: &Oid) -> Result<BTreeSet<Vec<u8>>, Fault> {
    let base = git.oid(&["merge-base", &commit.to_string(), &other.to_string()])?;
    let Some(base) = base else { return Ok(BTreeSet::new()) };
    let args =
        ["diff-tree", "-r", "-z", "--name-only", "--no-renames", &base.to_string(), &commit.to_string()];
    Ok(git.paths(&args)?.into_iter().collect())
}
