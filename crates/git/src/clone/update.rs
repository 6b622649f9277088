//! News of a remote for a clone that is there: branches and tags become what they are there.
//!
//! Invariants: nothing is pruned, so what workspaces stand on stays; a branch that is gone at the remote stays as it was
//! last and is told, since workspaces may be on it.

use super::transfer::{Failure, Transfer};
use super::{SILENCE_MAX, fetch_args, fetch_commit, told, wanted_commit};
use crate::Repository;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use weald_model::{Fault, Progress};

/// Brings a clone up to date with its remote. A shallow clone keeps to the branches it has, gets what was added to
/// them, and the branch or tag `rev` where it has not. Gives what is worth telling.
pub fn fetch(
    repo: &Path,
    depth: Option<u32>,
    rev: Option<&str>,
    progress: &dyn Progress,
) -> Result<Vec<String>, Fault> {
    let source = Repository::open(repo)?;
    let url = source.remote_url("origin").unwrap_or_default();
    let update = Update { repo, depth, progress };
    let fault = |failure: Failure| told(&failure, &String::from_utf8_lossy(&url), rev);
    let mut notes = Vec::new();
    if source.shallow().is_some() {
        update.known_branches(&source, &mut notes).map_err(fault)?;
        if let Some(rev) = rev.filter(|rev| source.resolve(Some(rev), None).is_err()) {
            update.named(rev).map_err(fault)?;
        }
    } else {
        let all = ["+refs/heads/*:refs/heads/*".to_owned(), "+refs/tags/*:refs/tags/*".to_owned()];
        update.run(&["--prune"], &all).map_err(fault)?;
    }
    if let Some(commit) = wanted_commit(&source, rev) {
        fetch_commit(repo, depth, &commit, SILENCE_MAX, None, progress).map_err(fault)?;
    }
    Ok(notes)
}

/// More objects than this are no news.
const OBJECTS_MAX: u64 = 300_000;

/// Sees how many objects come.
struct Watched<'a> {
    progress: &'a dyn Progress,
    objects: AtomicU64,
}

impl Progress for Watched<'_> {
    fn stage(&self, title: &str, total: u64) {
        if title == "Receiving objects" {
            self.objects.fetch_max(total, Ordering::Relaxed);
        }
        self.progress.stage(title, total);
    }

    fn advance(&self, steps: u64) {
        self.progress.advance(steps);
    }
}

struct Update<'a> {
    repo: &'a Path,
    depth: Option<u32>,
    progress: &'a dyn Progress,
}

impl Update<'_> {
    fn run(&self, options: &[&str], refspecs: &[String]) -> Result<(), Failure> {
        Transfer::new(self.args(self.depth, options, refspecs), SILENCE_MAX).run(self.progress).map(drop)
    }

    fn args(&self, depth: Option<u32>, options: &[&str], refspecs: &[String]) -> Vec<OsString> {
        let mut args: Vec<OsString> = fetch_args(self.repo, depth);
        args.extend(options.iter().map(OsString::from));
        args.extend(["--".into(), "origin".into()]);
        args.extend(refspecs.iter().map(OsString::from));
        args
    }

    /// Brings what was added to branches, so that it can be merged with what is here. A branch that was rewritten would
    /// come with all its history; then it is cut at the depth of the clone.
    fn added(&self, refspecs: &[String]) -> Result<(), Failure> {
        let watched = Watched { progress: self.progress, objects: AtomicU64::new(0) };
        let is_too_much = || watched.objects.load(Ordering::Relaxed) > OBJECTS_MAX;
        let mut transfer = Transfer::new(self.args(None, &[], refspecs), SILENCE_MAX);
        transfer.given_up = Some(&is_too_much);
        match transfer.run(&watched) {
            Err(Failure::GivenUp) => self.run(&[], refspecs),
            other => other.map(drop),
        }
    }

    /// The branches the clone has. Those that are gone at the remote are left as they are.
    fn known_branches(&self, source: &Repository, notes: &mut Vec<String>) -> Result<(), Failure> {
        let mut names: Vec<String> =
            source.branches().iter().map(|line| String::from_utf8_lossy(&line.name).into_owned()).collect();
        loop {
            let refspecs: Vec<String> = names.iter().map(|name| branch(name)).collect();
            if refspecs.is_empty() {
                return Ok(());
            }
            let Err(failure) = self.added(&refspecs) else { return Ok(()) };
            let gone = gone_branch(&failure).filter(|gone| names.contains(gone));
            let Some(gone) = gone else { return Err(failure) };
            names.retain(|name| *name != gone);
            notes.push(format!("the branch {gone} is gone at the remote; it stays here as it was last"));
        }
    }

    /// A branch, or else a tag, that the clone does not have.
    fn named(&self, rev: &str) -> Result<(), Failure> {
        let name = rev.strip_prefix("refs/heads/").unwrap_or(rev);
        if super::full_oid(rev).is_some() || crate::resolve::check_branch(name).is_err() {
            return Ok(());
        }
        match self.run(&[], &[branch(name)]) {
            Err(failure) if gone_branch(&failure).is_some() => {
                self.run(&[], &[format!("+refs/tags/{name}:refs/tags/{name}")])
            }
            other => other,
        }
    }
}

fn branch(name: &str) -> String {
    format!("+refs/heads/{name}:refs/heads/{name}")
}

/// The branch that git says the remote does not have.
fn gone_branch(failure: &Failure) -> Option<String> {
    let Failure::Said(lines) = failure else { return None };
    let name = |line: &String| {
        line.split_once("couldn't find remote ref refs/heads/").map(|(_, name)| name.trim().to_owned())
    };
    lines.iter().find_map(name)
}
