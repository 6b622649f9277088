//! `weald promote`: what a workspace holds becomes a commit in its source repository.
//!
//! Git runs here and not in the daemon: as the user, with his settings, his keys and his terminal.

use crate::args::PromoteArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use weald_daemon::protocol::{Line, LogRequest, Request, Target};
use weald_daemon::report::{Info, LogEnd};
use weald_git::promote::{PromoteRequest, Promoted, promote};
use weald_model::{Code, Fault};

/// Programs named in a message, at most.
const PROGRAMS_MAX: usize = 10;

/// A workspace on its way back to git.
pub(super) struct Work {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Git directory of the source, or of Weald's clone of it.
    pub(super) source: PathBuf,
    pub(super) is_clone: bool,
    pub(super) location: String,
    /// The branch it was created on.
    pub(super) branch: Option<String>,
}

impl Work {
    /// Looks a workspace up. It must be mounted, since git works in it.
    pub(super) fn find(context: &Context, target: Target) -> Result<Self, Fault> {
        let info: Info = context.ask(Request::Info { target })?;
        let name = info.row.name;
        let Some(source) = info.source.git_dir else {
            let why = format!(
                "`{name}` comes from a plain directory: there is no repository to bring work back to"
            );
            return Err(Fault::new(Code::UnsupportedSource, why));
        };
        if !info.mount.mounted {
            let why = format!("`{name}` is not mounted");
            return Err(Fault::new(Code::NotMounted, why).hint(format!("weald mount {name}")));
        }
        Ok(Self {
            name,
            path: info.mount.path.into(),
            source: source.into(),
            is_clone: info.source.is_clone,
            location: info.source.location,
            branch: info.source.branch,
        })
    }

    /// The ref it is promoted to unless another is asked for.
    pub(super) fn reference(&self) -> String {
        format!("refs/weald/{}", self.name)
    }

    /// Promotes what it holds.
    pub(super) fn promote(
        &self,
        reference: &str,
        message: Option<&str>,
        trailers: &[String],
        branch: Option<&str>,
    ) -> Result<Promoted, Fault> {
        promote(&PromoteRequest {
            workspace: &self.path,
            name: &self.name,
            source: &self.source,
            reference,
            message,
            trailers,
            branch,
        })
    }
}

pub(super) fn run(context: &Context, args: PromoteArgs) -> Result<Outcome, Fault> {
    let work = Work::find(context, context.target(args.workspace))?;
    let reference = args.reference.unwrap_or_else(|| work.reference());
    let trailers = if args.provenance { written_by(context, &work.name)? } else { Vec::new() };
    let branch = work.branch.as_deref();
    let promoted = work.promote(&reference, args.message.as_deref(), &trailers, branch)?;
    let notes = lost_submodules(&work);
    if context.json {
        output::json(&json!({
            "workspace": work.name, "repo": work.source, "ref": reference,
            "commit": promoted.commit.to_string(),
            "before": promoted.before.map(|commit| commit.to_string()),
            "head": promoted.head.map(|commit| commit.to_string()),
            "is_new": promoted.is_new, "notes": notes,
        }));
    } else {
        tell(&work, &reference, &promoted);
        for note in &notes {
            output::text_line(&format!("  {} {}", output::alarming("note:"), words::harmless(note)));
        }
    }
    Ok(Outcome::Yes)
}

/// A commit names commits of submodules, and brings none of them along.
fn lost_submodules(work: &Work) -> Vec<String> {
    let found = match weald_git::unpushed_in_modules(&work.path) {
        Ok(found) => found,
        Err(fault) => return vec![format!("its submodules could not be looked at: {fault}")],
    };
    let mut names: Vec<String> = found.into_iter().filter_map(|branch| Some(branch.module?.name)).collect();
    names.dedup();
    let told = |name: &String| {
        format!("the submodule {name} has commits that are only in this workspace: push them from there")
    };
    names.iter().map(told).collect()
}

fn tell(work: &Work, reference: &str, promoted: &Promoted) {
    let commit = output::strong(&promoted.commit.to_string()[..12]);
    let what = match (promoted.before == Some(promoted.commit), promoted.is_new) {
        (true, _) => "is as it was promoted before",
        (false, true) => "is promoted, uncommitted work included",
        (false, false) => "is promoted: all of it was committed",
    };
    output::text_line(&format!("{} {what}", output::strong(&work.name)));
    let place = if work.is_clone { &work.location } else { &work.source.display().to_string() };
    let place = words::harmless(&words::tilde(place));
    let kept = if work.is_clone { format!("Weald's copy of {place}") } else { place };
    output::facts(&[
        ("commit", commit),
        ("ref", format!("{} in {kept}", words::harmless(reference))),
        ("next", output::faint(&format!("weald merge {}", work.name))),
    ]);
}

/// Lines for the end of a commit message: which programs changed how many paths, from the log of the workspace.
fn written_by(context: &Context, name: &str) -> Result<Vec<String>, Fault> {
    let target = Target { name: Some(name.to_owned()), directory: None, device: None };
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let request = Request::Log(LogRequest { target, ..LogRequest::default() });
    context.converse::<LogEnd>(request, &mut |line| {
        if let Line::Log { lines } = line {
            for line in lines {
                let Some(program) = line.program else { continue };
                // Of a copy or link only the target is written.
                let path = if line.to.is_some() { line.to } else { line.path };
                let path = path.filter(|path| path != ".git" && !path.starts_with(".git/"));
                paths.entry(program).or_default().extend(path);
            }
        }
        true
    })?;
    paths.retain(|_, paths| !paths.is_empty());
    let mut programs: Vec<_> = paths.into_iter().map(|(program, paths)| (paths.len(), program)).collect();
    programs.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    programs.truncate(PROGRAMS_MAX);
    let line = |(count, program): (usize, String)| {
        let noun = if count == 1 { "path" } else { "paths" };
        format!("Weald-Written-By: {} ({count} {noun})", words::harmless(&program))
    };
    Ok(programs.into_iter().map(line).collect())
}
