//! What would be lost with a workspace: commits that are in its git directory and nowhere else.
//!
//! Invariant: reading only, no process; whatever a program in the workspace wrote into `.git` can make the answer
//! fail, never run anything, and never hold the caller longer than [`DEADLINE`].

use crate::fault::detail;
use crate::hash::{ObjectFormat, to_gix};
use crate::place;
use crate::repo::{open_isolated, read_small};
use crate::submodule::{Module, modules};
use crate::walk::count_missing;
use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use std::path::Path;
use std::time::Duration;
use weald_model::{Code, Fault, Oid};

/// Commits read at most per branch; beyond that the count is given as this number.
const VISITS_MAX: u64 = 100_000;

/// A FIFO planted where git has a file would block a reader for ever.
const DEADLINE: Duration = Duration::from_secs(10);

/// A branch, HEAD or stash with commits that are nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpushedBranch {
    /// The submodule it is in; `None` for the workspace's own.
    pub module: Option<Module>,
    /// Branch name, `HEAD` when detached, or `stash`.
    pub branch: String,
    /// Commits reachable from it and neither from a remote-tracking branch nor from the base.
    pub commits: u64,
}

/// The branch a workspace is on; `None` when detached or unreadable. One small read.
pub fn current_branch(workspace: &Path) -> Option<String> {
    let head = read_small(&place::git_dir(workspace)?.join("HEAD"))?;
    let name = head.strip_prefix(b"ref: refs/heads/")?;
    let name = name.split(|byte| *byte == b'\n').next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// Lists what holds commits that exist only in the workspace. `elsewhere` are commits that others have, such as its base.
///
/// Errors: `GitFailed` when its `.git` is damaged or does not answer in time. No `.git` holds nothing.
pub fn unpushed(workspace: &Path, elsewhere: &[Oid]) -> Result<Vec<UnpushedBranch>, Fault> {
    if workspace.join(".git").symlink_metadata().is_err() {
        return Ok(Vec::new());
    }
    let elsewhere = elsewhere.to_vec();
    in_time(workspace, move |git_dir| {
        let mut found = read_one(git_dir, None, &elsewhere)?;
        found.extend(read_modules(git_dir)?);
        Ok(found)
    })
}

/// The same for its submodules only. Costs nothing where there are none.
pub fn unpushed_in_modules(workspace: &Path) -> Result<Vec<UnpushedBranch>, Fault> {
    match place::git_dir(workspace) {
        Some(git_dir) if git_dir.join("modules").is_dir() => in_time(workspace, read_modules),
        _ => Ok(Vec::new()),
    }
}

/// Reads in a thread of its own, for so long as anybody wants to wait.
fn in_time(
    workspace: &Path,
    read: impl FnOnce(&Path) -> Result<Vec<UnpushedBranch>, String> + Send + 'static,
) -> Result<Vec<UnpushedBranch>, Fault> {
    let (send, answer) = std::sync::mpsc::channel();
    let path = workspace.to_owned();
    let read = move || read(&place::git_dir(&path).ok_or("it leads nowhere")?);
    let failed = |why: &str| {
        Fault::new(Code::GitFailed, format!("{}/.git cannot be read: {why}", workspace.display()))
    };
    std::thread::Builder::new()
        .name("unpushed".into())
        // The answer is not wanted any more when the deadline has passed.
        .spawn(move || drop(send.send(read())))
        .map_err(|error| failed(&error.to_string()))?;
    match answer.recv_timeout(DEADLINE) {
        Ok(result) => result.map_err(|why| failed(&why)),
        Err(_) => Err(failed("it does not answer")),
    }
}

fn read_modules(git_dir: &Path) -> Result<Vec<UnpushedBranch>, String> {
    let mut found = Vec::new();
    for module in modules(git_dir) {
        let lost = read_one(&git_dir.join(&module.below), Some(&module), &[]);
        found.extend(lost.map_err(|why| format!("the submodule {}: {why}", module.name))?);
    }
    Ok(found)
}

fn read_one(
    git_dir: &Path,
    module: Option<&Module>,
    elsewhere: &[Oid],
) -> Result<Vec<UnpushedBranch>, String> {
    refuse_odd_files(git_dir)?;
    let mut git = open_isolated(git_dir).map_err(|error| detail(&error))?.to_thread_local();
    if crate::repo::ref_storage(&git).is_some() {
        return Err("its refs are in a storage that Weald cannot read".into());
    }
    git.objects.ignore_replacements = true;
    let format = ObjectFormat::from_kind(git.object_hash()).ok_or("unknown object format")?;
    let mut tips: Vec<(String, ObjectId)> = Vec::new();
    let fits = |oid: &&Oid| ObjectFormat::of(oid) == format;
    let mut known: Vec<ObjectId> = elsewhere.iter().filter(fits).map(to_gix).collect();
    // What was pruned there cannot be read here either.
    known.retain(|id| git.has_object(*id));
    if let (Ok(None), Ok(id)) = (git.head_name(), git.head_id()) {
        tips.push(("HEAD".into(), id.detach()));
    }
    let references = git.references().map_err(|error| detail(&error))?;
    for mut reference in references.all().map_err(|error| detail(&error))?.flatten() {
        let name = reference.name().as_bstr().to_str_lossy().into_owned();
        let Ok(id) = reference.follow_to_object().map(|id| id.detach()) else { continue };
        match name.split_once('/') {
            Some((_, below)) if below.starts_with("remotes/") => known.push(id),
            Some((_, "stash")) => tips.push(("stash".into(), id)),
            Some((_, below)) => {
                if let Some(branch) = below.strip_prefix("heads/") {
                    tips.push((branch.to_owned(), id));
                }
            }
            None => {}
        }
    }
    for id in older_stashes(git_dir, format) {
        tips.push(("stash".into(), id));
    }
    known.sort();
    known.dedup();
    Ok(count_all(&git, module, tips, &known))
}

/// One line per name; several tips of one name (stashes) are counted together.
fn count_all(
    git: &gix::Repository,
    module: Option<&Module>,
    mut tips: Vec<(String, ObjectId)>,
    known: &[ObjectId],
) -> Vec<UnpushedBranch> {
    let Some(format) = ObjectFormat::from_kind(git.object_hash()) else { return Vec::new() };
    tips.sort();
    tips.dedup();
    let mut found = Vec::new();
    for same in tips.chunk_by(|a, b| a.0 == b.0) {
        let ids: Vec<ObjectId> = same.iter().map(|(_, id)| *id).filter(|id| !known.contains(id)).collect();
        if ids.is_empty() {
            continue;
        }
        let commits = count_missing(&git.objects, format, &ids, known, VISITS_MAX).unwrap_or(VISITS_MAX);
        if commits > 0 {
            let (module, branch) = (module.cloned(), same[0].0.clone());
            found.push(UnpushedBranch { module, branch, commits });
        }
    }
    found
}

/// Stashes but the newest live only in the reflog of `refs/stash`.
fn older_stashes(git_dir: &Path, format: ObjectFormat) -> Vec<ObjectId> {
    let log = read_small(&git_dir.join("logs/refs/stash")).unwrap_or_default();
    let digits = format.oid_bytes() * 2;
    let new_id =
        |line: &[u8]| line.get(digits + 1..2 * digits + 1).and_then(|hex| ObjectId::from_hex(hex).ok());
    log.split(|byte| *byte == b'\n').filter_map(new_id).filter(|id| !id.is_null()).collect()
}

/// Files git reads first must be files: a FIFO there is refused at once rather than at the deadline.
fn refuse_odd_files(git_dir: &Path) -> Result<(), String> {
    for name in [
        "HEAD",
        "config",
        "config.worktree",
        "commondir",
        "packed-refs",
        "shallow",
        "objects/info/alternates",
    ] {
        let path = git_dir.join(name);
        if path.metadata().is_ok_and(|data| !data.is_file()) {
            return Err(format!("{name} is no file"));
        }
    }
    Ok(())
}
