//! Copies of remote repositories in Weald's home, made and updated by the `git` program.
//!
//! Invariants: a copy appears under its name complete or not at all; nothing is asked on a terminal; no transport
//! that runs a program of the URL's choice; no hook or template runs; secrets of URLs reach no message; a transfer
//! that makes no progress ends. A copy has commits and trees; content is left out (`blob:none`) and fetched when it is
//! needed ([`mod@objects`]), unless the server cannot do that.
//! Read [`crate::clone::transfer`] for how git is run and listened to, [`mod@update`] for news, [`mod@packs`] for what becomes of many small packs.

pub mod hand_on;
pub mod objects;
pub mod packs;
pub(crate) mod transfer;
pub mod update;

use crate::credential::{self, Credential};
use crate::program::Git;
use crate::url::{check_url, mask};
use crate::{ObjectFormat, Repository};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use transfer::{Failure, Transfer};
use weald_model::{Code, Fault, Oid, Progress};

/// A transfer that says nothing for this long has died; git reports every second while data flows.
pub const SILENCE_MAX: Duration = Duration::from_secs(120);

/// What to clone, and where.
#[derive(Clone, Copy, Debug)]
pub struct CloneRequest<'a> {
    /// URL; may hold a token.
    pub url: &'a str,
    /// Absolute path of the bare repository to make; must not exist.
    pub dest: &'a Path,
    /// Commits of history to fetch; `None` for all.
    pub depth: Option<u32>,
    /// Branch, tag or full commit id that must be in it.
    pub rev: Option<&'a str>,
    /// How long the transfer may be silent: [`SILENCE_MAX`].
    pub silence_max: Duration,
}

/// What a clone holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Commits and trees; content is fetched later.
    Trees,
    /// Everything: the server gives no less.
    Everything,
}

/// What git leaves out of a clone.
const LEFT_OUT: &str = "blob:none";

/// Clones into a bare repository.
///
/// Errors: `BadRequest` and `UnsupportedSource` (the URL), `UnreachableSource`, `UnknownRevision`, `DiskFull`,
/// `GitFailed` (no `git` program).
pub fn clone(request: &CloneRequest<'_>, progress: &dyn Progress) -> Result<Holds, Fault> {
    check_url(request.url)?;
    if request.depth == Some(0) {
        return Err(Fault::new(Code::BadRequest, "a depth of 0 has no commit"));
    }
    let host = |error: std::io::Error| Fault::host(&format!("making {}", request.dest.display()), &error);
    if request.dest.symlink_metadata().is_ok() {
        return Err(host(std::io::ErrorKind::AlreadyExists.into()));
    }
    let part = part_of(request.dest);
    remove_dir(&part).map_err(host)?;
    if let Some(parent) = part.parent() {
        std::fs::create_dir_all(parent).map_err(host)?;
    }
    let (url, credential) = credential::part(request.url)?;
    let request = &CloneRequest { url: &url, ..*request };
    let made = clone_into(request, credential.as_ref(), &part, progress)
        .and_then(|holds| std::fs::rename(&part, request.dest).map(|()| holds).map_err(host));
    if made.is_err() {
        // The first error is the one to tell; what stays behind is removed by the next attempt.
        let _ = remove_dir(&part);
    }
    made
}

/// Sends a commit of a clone to a branch of its remote. False when the branch there has what the commit has not.
pub fn push(repo: &Path, commit: &Oid, branch: &str, progress: &dyn Progress) -> Result<bool, Fault> {
    let url = Repository::open(repo)?.remote_url("origin").unwrap_or_default();
    let url = String::from_utf8_lossy(&url).into_owned();
    let mut args: Vec<OsString> = vec!["-C".into(), repo.into(), "push".into(), "--progress".into()];
    args.extend(["--".into(), "origin".into(), format!("{commit}:refs/heads/{branch}").into()]);
    match Transfer::new(args, SILENCE_MAX).run(progress) {
        Ok(_) => Ok(true),
        Err(Failure::Said(lines)) if lines.iter().any(|line| is_behind(line)) => Ok(false),
        Err(failure) => Err(told(&failure, &url, Some(branch))),
    }
}

/// How git says that a branch was moved by others.
fn is_behind(line: &str) -> bool {
    line.contains("(fetch first)")
        || line.contains("(non-fast-forward)")
        || line.contains("failed to update ref")
}

fn clone_into(
    request: &CloneRequest<'_>,
    credential: Option<&Credential>,
    part: &Path,
    progress: &dyn Progress,
) -> Result<Holds, Fault> {
    let mut args: Vec<OsString> =
        vec!["clone".into(), "--bare".into(), "--progress".into(), "--template=".into()];
    args.push(format!("--filter={LEFT_OUT}").into());
    // Nothing in Weald's own copy is ever pruned: workspaces read its objects.
    for setting in ["gc.auto=0", "gc.pruneExpire=never", "maintenance.auto=false"] {
        args.extend(["--config".into(), setting.into()]);
    }
    if let Some(depth) = request.depth {
        args.push(format!("--depth={depth}").into());
        if let Some(rev) = request.rev.filter(|rev| full_oid(rev).is_none() && *rev != "HEAD") {
            args.push(format!("--branch={}", rev.strip_prefix("refs/heads/").unwrap_or(rev)).into());
        }
    }
    args.extend(["--".into(), request.url.into(), part.into()]);
    let fault = |failure: Failure| told(&failure, request.url, request.rev);
    let mut transfer = Transfer::new(args, request.silence_max);
    transfer.credential = credential;
    let said = transfer.run(progress).map_err(fault)?;
    if let Some(credential) = credential {
        // Where it is read from when the clone has its name.
        credential.keep(part, request.dest)?;
    }
    // Git's own words since 2.17; it goes on and clones everything.
    let holds = match said.iter().any(|line| line.contains("filtering not recognized by server")) {
        true => Holds::Everything,
        false => Holds::Trees,
    };
    if holds == Holds::Everything {
        promise_nothing(part)?;
    }
    let source = Repository::open(part)?;
    if let Some(commit) = wanted_commit(&source, request.rev) {
        fetch_commit(part, request.depth, &commit, request.silence_max, credential, progress)
            .map_err(fault)?;
    }
    Ok(holds)
}

/// Takes the setting away that says that objects may be missing.
fn promise_nothing(repo: &Path) -> Result<(), Fault> {
    let git = Git::new(repo);
    for name in ["promisor", "partialclonefilter"] {
        git.run(&["config", "--unset-all", &format!("remote.origin.{name}")])?;
    }
    Ok(())
}

/// The commit id the user asked for, when no ref brought it along.
fn wanted_commit(source: &Repository, rev: Option<&str>) -> Option<Oid> {
    let oid = full_oid(rev?)?;
    let there = source.kind_of(&source.local(), &oid).is_some();
    (!there && ObjectFormat::of(&oid) == source.format()).then_some(oid)
}

/// Servers give commits by id when asked (uploadpack.allowAnySHA1InWant); a ref keeps it afterwards.
fn fetch_commit(
    repo: &Path,
    depth: Option<u32>,
    commit: &Oid,
    silence_max: Duration,
    credential: Option<&Credential>,
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let mut args = fetch_args(repo, depth);
    args.extend(["--".into(), "origin".into(), format!("+{commit}:refs/weald/asked/{commit}").into()]);
    let mut transfer = Transfer::new(args, silence_max);
    transfer.credential = credential;
    transfer.run(progress).map(drop)
}

fn fetch_args(repo: &Path, depth: Option<u32>) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["-C".into(), repo.into(), "fetch".into(), "--progress".into()];
    for option in
        ["--no-auto-maintenance", "--no-write-fetch-head", "--no-recurse-submodules", "--update-head-ok"]
    {
        args.push(option.into());
    }
    if let Some(depth) = depth {
        args.push(format!("--depth={depth}").into());
    }
    args
}

fn full_oid(rev: &str) -> Option<Oid> {
    Oid::from_hex(rev)
}

fn part_of(dest: &Path) -> PathBuf {
    let mut part = dest.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

fn remove_dir(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Tells a failed transfer in the words of git, with the code that fits.
fn told(failure: &Failure, url: &str, rev: Option<&str>) -> Fault {
    let shown = mask(url);
    let said = match failure {
        Failure::NoGit(error) => {
            return Fault::new(Code::GitFailed, format!("the program `git` could not be run: {error}"))
                .hint("install git, it fetches from URLs: apt install git");
        }
        Failure::Silent(silence) => {
            let seconds = silence.as_secs_f32().round();
            return Fault::new(
                Code::UnreachableSource,
                format!("the transfer from {shown} made no progress for {seconds} s and was ended"),
            )
            .hint("try again, or try with less history: --depth 1");
        }
        Failure::GivenUp => return Fault::new(Code::UnreachableSource, "the transfer was ended"),
        Failure::Said(lines) => lines,
    };
    let has = |needle: &str| said.iter().any(|line| line.contains(needle));
    // What ssh says comes before git's own word, which tells less.
    let refused = said.iter().find(|line| {
        line.contains("Permission denied")
            || line.contains("Host key verification failed")
            || line.starts_with("ssh: ")
    });
    let last = said.iter().rev().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let words = refused.or(last).or(said.last()).cloned().unwrap_or_else(|| "git gave no reason".into());
    if has("No space left on device") || has("Disk quota exceeded") {
        return Fault::new(Code::DiskFull, format!("the clone of {shown} did not fit on the disk: {words}"));
    }
    if has("not found in upstream") || has("couldn't find remote ref") || has("not our ref") {
        return Fault::new(Code::UnknownRevision, format!("`{}` is not in {shown}", rev.unwrap_or("HEAD")))
            .hint(format!("git ls-remote {shown}"));
    }
    let hint = if has("Host key verification failed") {
        format!("ssh does not know this host's key: look at it and accept it with git ls-remote {shown}")
    } else if has("could not read Username") || has("Authentication failed") || has("Permission denied") {
        "Weald never asks for passwords: set up a git credential helper or an ssh agent, then try again"
            .to_owned()
    } else {
        format!("git ls-remote {shown}")
    };
    Fault::new(Code::UnreachableSource, format!("{shown} could not be fetched: {words}")).hint(hint)
}
