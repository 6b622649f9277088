//! Promoting: what a workspace holds becomes a commit in its source repository.
//!
//! Invariants: nothing in the workspace changes, its index, branches and objects included; the source gets the commit and all
//! that it needs, or nothing; an unchanged state is the same commit again. Everything is done by the user's own
//! `git`, so filters, attributes, ignore rules and signing are git's. Objects are made in a directory of their own
//! (`scratch`) and brought to the source from there (`delivery`); hooks of the source count (githooks(5): pre-receive, update), those
//! of a commit and of a push in the workspace do not run.

use crate::delivery::{Delivery, Tips};
use crate::program::Git;
use crate::scratch::Scratch;
use std::path::Path;
use weald_model::{Code, Fault, Oid};

/// What to promote, and where to.
#[derive(Clone, Copy, Debug)]
pub struct PromoteRequest<'a> {
    /// Root of the working tree.
    pub workspace: &'a Path,
    /// Its name.
    pub name: &'a str,
    /// Git directory of the source.
    pub source: &'a Path,
    /// Full name of the ref to set, like `refs/weald/NAME`.
    pub reference: &'a str,
    /// Message for a new commit; Weald's own when missing.
    pub message: Option<&'a str>,
    /// Lines for the end of the message of a new commit.
    pub trailers: &'a [String],
    /// The branch of the source that the work goes into: what is in it already is an ancestor of the commit, so that
    /// it is not merged against itself.
    pub branch: Option<&'a str>,
}

/// What was promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// What the ref names now.
    pub commit: Oid,
    /// What it named before.
    pub before: Option<Oid>,
    /// HEAD of the workspace.
    pub head: Option<Oid>,
    /// True when there was work that no commit of the workspace has, so that one was made.
    pub is_new: bool,
}

/// Promotes. Cost: that of `git add --all`, and of writing what is new.
///
/// Errors: `UnfinishedMerge` (paths in conflict), `UnsupportedSource` (no git directory), `GitFailed`, `DiskFull`.
pub fn promote(request: &PromoteRequest<'_>) -> Result<Promoted, Fault> {
    let scratch = Scratch::new(request.workspace, request.name)?;
    let git = scratch.git();
    let taken = scratch.take()?;
    let (tree, mut objects) = (taken.tree, Vec::new());
    let head = scratch.head()?;
    let source = Git::new(request.source);
    let tips = Tips::of(&source)?;
    let before = tips.get(request.reference);
    let parents = parents(&scratch, &tips, request, head, before)?;
    let commit = match (parents.as_slice(), before) {
        ([parent], _) if scratch.tree_of(parent)? == tree => *parent,
        (_, Some(before))
            if request.message.is_none() && is_commit_of(&source, &before, &tree, &parents)? =>
        {
            before
        }
        _ => {
            scratch.keep_root(&taken)?;
            let commit = make_commit(&git, request, &tree, &parents)?;
            objects = taken.objects;
            commit
        }
    };
    if before != Some(commit) {
        if let Some(git_dir) = crate::place::git_dir(request.workspace) {
            crate::lfs::bring(&git_dir, request.source)?;
        }
        let (reference, source, parents) = (request.reference, request.source, parents.as_slice());
        let delivery =
            Delivery { scratch: &scratch, source, tips: &tips, reference, before, commit, parents, objects };
        delivery.bring()?;
    }
    Ok(Promoted { commit, before, head, is_new: head != Some(commit) })
}

/// What the state comes after: HEAD, a merge under way, and what was promoted before and is in the branch since. The
/// last holds because that was an earlier state of the same workspace.
fn parents(
    scratch: &Scratch,
    tips: &Tips,
    request: &PromoteRequest<'_>,
    head: Option<Oid>,
    before: Option<Oid>,
) -> Result<Vec<Oid>, Fault> {
    let git = scratch.git();
    let mut parents: Vec<Oid> = head.into_iter().chain(scratch.merge_head()?).collect();
    let tip = request.branch.and_then(|branch| tips.get(&format!("refs/heads/{branch}")));
    let (Some(before), Some(tip)) = (before, tip) else { return Ok(parents) };
    if !Git::new(request.source).is_ancestor(&before, &tip)? {
        return Ok(parents);
    }
    for parent in &parents {
        if git.is_ancestor(&before, parent)? {
            return Ok(parents);
        }
    }
    if let [head] = parents.as_slice()
        && git.is_ancestor(head, &before)?
    {
        parents.clear();
    }
    parents.push(before);
    Ok(parents)
}

/// Paths that have stages in the index (git-ls-files(1)).
pub(crate) fn conflicts(git: &Git) -> Result<Vec<Vec<u8>>, Fault> {
    let stages = git.paths(&["ls-files", "--unmerged", "-z"])?;
    let path =
        |line: &Vec<u8>| line.iter().position(|byte| *byte == b'\t').map(|tab| line[tab + 1..].to_vec());
    let mut paths: Vec<Vec<u8>> = stages.iter().filter_map(path).collect();
    paths.dedup();
    Ok(paths)
}

/// Refuses while paths are in conflict: nobody has said yet what they should be.
pub(crate) fn refuse_conflicts(git: &Git, name: &str) -> Result<(), Fault> {
    refuse(&conflicts(git)?, name)
}

/// Refuses when there are paths in conflict.
pub(crate) fn refuse(paths: &[Vec<u8>], name: &str) -> Result<(), Fault> {
    let Some(first) = paths.first() else { return Ok(()) };
    let more = if paths.len() > 1 { format!(" and {} more", paths.len() - 1) } else { String::new() };
    let first = String::from_utf8_lossy(first);
    let why = format!("`{name}` has conflicts that are not resolved: {first}{more}");
    Err(Fault::new(Code::UnfinishedMerge, why).hint("resolve them, then: git add PATH"))
}

/// Whether a commit has this tree and these parents.
fn is_commit_of(git: &Git, commit: &Oid, tree: &Oid, parents: &[Oid]) -> Result<bool, Fault> {
    let said = git.run(&["log", "-1", "--format=%T %P", &commit.to_string()])?;
    let wanted: Vec<String> = std::iter::once(tree).chain(parents).map(Oid::to_string).collect();
    Ok(String::from_utf8_lossy(&said).split_whitespace().eq(wanted.iter().map(String::as_str)))
}

fn make_commit(git: &Git, request: &PromoteRequest<'_>, tree: &Oid, parents: &[Oid]) -> Result<Oid, Fault> {
    let mut args = vec!["commit-tree".to_owned()];
    if is_signing(git)? {
        args.push("-S".into());
    }
    for parent in parents {
        args.extend(["-p".into(), parent.to_string()]);
    }
    args.push(tree.to_string());
    let mut message = request.message.map_or_else(|| format!("Work in {}", request.name), str::to_owned);
    message.truncate(message.trim_end().len());
    if !request.trailers.is_empty() {
        message.push_str("\n\n");
        message.push_str(&request.trailers.join("\n"));
    }
    message.push('\n');
    let said = git.run_with(&args, message.as_bytes())?;
    let text = String::from_utf8_lossy(&said);
    Oid::from_hex(text.trim()).ok_or_else(|| Fault::new(Code::GitFailed, "git made no commit"))
}

/// Whether the user wants commits signed: `git commit-tree` does not look by itself.
pub(crate) fn is_signing(git: &Git) -> Result<bool, Fault> {
    let said = git.said(&["config", "--type=bool", "--get", "commit.gpgSign"], &[])?;
    Ok(said.code == 0 && said.out.starts_with(b"true"))
}
