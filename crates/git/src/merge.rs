//! Merging a commit into a branch of the source repository, against where that branch is now.
//!
//! Invariants: the branch moves from the commit that was looked at to one that has it as an ancestor, in one step, or
//! not at all; a working tree that stands on it is moved along only when it holds nothing uncommitted; conflicts
//! change nothing. The merge itself is `git merge-tree` (git 2.38), so renames and strategies are git's.

pub mod conflict;

use crate::place;
use crate::program::{Git, split};
use crate::promote::is_signing;
use std::path::{Path, PathBuf};
use weald_model::{Code, Fault, Oid};

/// Attempts when others move the branch meanwhile.
const ATTEMPTS_MAX: u32 = 20;

/// A branch of a repository.
#[derive(Clone, Copy, Debug)]
pub struct Branch<'a> {
    /// Git directory.
    pub repo: &'a Path,
    /// Name without `refs/heads/`.
    pub name: &'a str,
}

/// How a merge came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The branch had it already.
    UpToDate {
        /// Where the branch is.
        tip: Oid,
    },
    /// There is a commit the branch can go to.
    Clean {
        /// Where the branch is.
        tip: Oid,
        /// Where it can go.
        commit: Oid,
        /// True when that is the merged commit itself.
        is_fast_forward: bool,
    },
    /// Both sides changed the same.
    Conflicts {
        /// Where the branch is.
        tip: Oid,
        /// Paths in conflict.
        paths: Vec<Vec<u8>>,
    },
}

impl Branch<'_> {
    fn reference(&self) -> String {
        format!("refs/heads/{}", self.name)
    }

    /// Where it is.
    ///
    /// Errors: `UnknownRevision` when there is none of that name.
    pub fn tip(&self) -> Result<Oid, Fault> {
        let git = Git::new(self.repo);
        git.commit(&self.reference())?.ok_or_else(|| {
            Fault::new(
                Code::UnknownRevision,
                format!("{} has no branch `{}`", self.repo.display(), self.name),
            )
            .hint("name one of its branches: --into BRANCH")
        })
    }

    /// Merges a commit with where the branch is, and moves nothing: a new commit is there, unnamed.
    ///
    /// Errors: `UnknownRevision`, `GitFailed` (also for unrelated histories).
    pub fn merge(&self, commit: &Oid, message: &str) -> Result<Merge, Fault> {
        let git = Git::new(self.repo);
        let tip = self.tip()?;
        let (ours, theirs) = (tip.to_string(), commit.to_string());
        match git.oid(&["merge-base", &ours, &theirs])? {
            Some(base) if base == *commit => return Ok(Merge::UpToDate { tip }),
            Some(base) if base == tip => {
                return Ok(Merge::Clean { tip, commit: *commit, is_fast_forward: true });
            }
            _ => {}
        }
        let args = ["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", &ours, &theirs];
        let said = git.said(&args, &[])?;
        let mut parts = split(&said.out).into_iter();
        let tree = parts.next().and_then(|hex| Oid::from_hex(&String::from_utf8_lossy(&hex)));
        let tree = match (said.code, tree) {
            (0, Some(tree)) => tree,
            (1, Some(_)) => return Ok(Merge::Conflicts { tip, paths: parts.collect() }),
            _ => return Err(git.fault(&args, &said).hint("merging needs git 2.38 or newer: git --version")),
        };
        let mut args = vec!["commit-tree".to_owned()];
        if is_signing(&git)? {
            args.push("-S".into());
        }
        args.extend(["-p".into(), ours, "-p".into(), theirs, tree.to_string()]);
        let said = git.run_with(&args, message.as_bytes())?;
        let made = Oid::from_hex(String::from_utf8_lossy(&said).trim());
        let made = made.ok_or_else(|| Fault::new(Code::GitFailed, "git made no commit"))?;
        Ok(Merge::Clean { tip, commit: made, is_fast_forward: false })
    }

    /// Moves the branch, and the working tree that stands on it. False when the branch is no longer at `from`: nothing
    /// was done then.
    ///
    /// Errors: `DirtyBranch` (uncommitted changes in that working tree), `GitFailed`.
    pub fn advance(&self, from: &Oid, to: &Oid, reason: &str) -> Result<bool, Fault> {
        let git = Git::new(self.repo);
        let trees = self.working_trees()?;
        if let [_, _, ..] = trees.as_slice() {
            let why = format!("the branch `{}` is checked out in {} working trees", self.name, trees.len());
            return Err(Fault::new(Code::DirtyBranch, why).hint("git worktree list"));
        }
        let Some(tree) = trees.first() else {
            let args = ["update-ref", "-m", reason, &self.reference(), &to.to_string(), &from.to_string()];
            let said = git.said(&args, &[])?;
            return match said.code {
                0 => Ok(true),
                _ if self.tip()? != *from => Ok(false),
                _ => Err(git.fault(&args, &said)),
            };
        };
        let there = Git::new(tree);
        let dirty = there.paths(&["status", "--porcelain", "-z", "--untracked-files=no"])?;
        if !dirty.is_empty() {
            return Err(dirty_tree(tree, self.name, &dirty));
        }
        if self.tip()? != *from {
            return Ok(false);
        }
        // Refuses by itself, before it changes anything, to overwrite files that are not tracked.
        let args =
            ["-c", "merge.ff=only", "merge", "--ff-only", "--quiet", "--no-autostash", &to.to_string()];
        let said = there.with("GIT_REFLOG_ACTION", reason).said(&args, &[])?;
        match said.code {
            0 => Ok(true),
            _ if self.tip()? != *from => Ok(false),
            _ if said.err.contains("would be overwritten") => {
                let why = format!("untracked files in {} are in the way of the merge", tree.display());
                let listed: String = said
                    .err
                    .lines()
                    .filter(|line| line.starts_with('\t'))
                    .map(|line| format!("\n{}", line.trim()))
                    .collect();
                Err(Fault::new(Code::DirtyBranch, why + &listed).hint("move them away, then merge again"))
            }
            _ => Err(Git::new(tree).fault(&args, &said)),
        }
    }

    /// Merges and moves the branch, again when others move it meanwhile.
    ///
    /// Errors: those of [`Branch::merge`] and [`Branch::advance`].
    pub fn take_in(&self, commit: &Oid, message: &str, reason: &str) -> Result<Merge, Fault> {
        for _ in 0..ATTEMPTS_MAX {
            let merge = self.merge(commit, message)?;
            let Merge::Clean { tip, commit: to, .. } = &merge else { return Ok(merge) };
            if self.advance(tip, to, reason)? {
                return Ok(merge);
            }
        }
        let why =
            format!("the branch `{}` was moved by others, {ATTEMPTS_MAX} times while merging", self.name);
        Err(Fault::new(Code::GitFailed, why).hint("try again"))
    }

    /// Working trees that stand on the branch (git-worktree(1), porcelain format).
    fn working_trees(&self) -> Result<Vec<PathBuf>, Fault> {
        let list = Git::new(self.repo).run(&["worktree", "list", "--porcelain", "-z"])?;
        let branch = format!("branch {}", self.reference());
        let mut trees = Vec::new();
        let mut at = None;
        for line in list.split(|byte| *byte == 0) {
            if let Some(path) = line.strip_prefix(b"worktree ") {
                at = Some(PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path)));
            } else if line == branch.as_bytes() {
                trees.extend(at.take());
            }
        }
        trees.retain(|tree| tree.exists());
        // Of a tree behind a `.git` file git may tell the git directory instead.
        if let Some(git_dir) = place::git_dir(self.repo).and_then(|dir| dir.canonicalize().ok()) {
            trees.iter_mut().filter(|tree| **tree == git_dir).for_each(|tree| *tree = self.repo.to_owned());
        }
        Ok(trees)
    }
}

fn dirty_tree(tree: &Path, branch: &str, entries: &[Vec<u8>]) -> Fault {
    let first =
        entries.first().map(|entry| String::from_utf8_lossy(entry.get(3..).unwrap_or_default()).into_owned());
    let more = if entries.len() > 1 { format!(" and {} more", entries.len() - 1) } else { String::new() };
    let first = first.unwrap_or_default();
    let why =
        format!("`{branch}` is checked out in {} with uncommitted changes: {first}{more}", tree.display());
    Fault::new(Code::DirtyBranch, why)
        .hint(format!("git -C {} stash, then merge again", crate::fault::quote(tree)))
}
