//! `weald remove`.
//!
//! What is uncommitted is named, and goes to the trash with the rest: git is asked here, as the user, and not by force.

use super::promote::Work;
use super::tell_refusals;
use crate::args::RemoveArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use serde::Serialize;
use std::collections::BTreeMap;
use weald_daemon::protocol::{Request, Target};
use weald_daemon::report::Removed;
use weald_model::Fault;

/// Paths named for each workspace.
const NAMED: usize = 5;

/// What is in no commit.
#[derive(Serialize)]
struct Uncommitted {
    /// How many paths.
    paths: usize,
    /// The first of them.
    first: Vec<String>,
}

/// What was done, and what else there was.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    removed: Removed,
    /// By workspace; those without anything are not there.
    uncommitted: BTreeMap<String, Uncommitted>,
}

pub(super) fn run(context: &Context, args: RemoveArgs) -> Result<Outcome, Fault> {
    let targets = context.targets_or_here(args.workspaces);
    let looked = targets.iter().filter(|_| !args.force).filter_map(|target| look(context, target));
    let uncommitted: BTreeMap<String, Uncommitted> = looked.collect();
    let removed: Removed = context.ask(Request::Remove { targets, force: args.force })?;
    let report = Report { removed, uncommitted };
    if context.json {
        output::json(&report);
        return Ok(tell_refusals(&report.removed.refused));
    }
    for name in &report.removed.removed {
        let back = output::faint(&format!("(back with: weald trash restore {name})"));
        output::text_line(&format!("{} is in the trash {back}", output::strong(name)));
        if let Some(left) = report.uncommitted.get(name) {
            output::text_line(&format!("  with it, in no commit: {}", sentence(left)));
        }
    }
    let outcome = tell_refusals(&report.removed.refused);
    for refusal in &report.removed.refused {
        if let Some(left) = report.uncommitted.get(&refusal.name) {
            eprintln!("`{}` also has, in no commit: {}", refusal.name, sentence(left));
        }
    }
    Ok(outcome)
}

/// What is neither committed nor promoted. Best effort: what cannot be looked at is removed, or refused, all the same.
fn look(context: &Context, target: &Target) -> Option<(String, Uncommitted)> {
    let work = Work::find(context, target.clone()).ok()?;
    let promoted = (work.source.as_path(), work.reference());
    let left = weald_git::uncommitted(&work.path, &work.name, (promoted.0, &promoted.1)).ok()?;
    if left.paths.is_empty() || left.is_promoted {
        return None;
    }
    let first = left.paths.iter().take(NAMED).map(|path| String::from_utf8_lossy(path).into_owned());
    Some((work.name, Uncommitted { paths: left.paths.len(), first: first.collect() }))
}

fn sentence(left: &Uncommitted) -> String {
    let more = match left.paths - left.first.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let paths: Vec<String> = left.first.iter().map(|path| words::harmless(path)).collect();
    format!("{}{more}", paths.join(", "))
}
