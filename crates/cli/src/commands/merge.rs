//! `weald merge`: the work of workspaces comes into a branch of their source repository, one after the other.
//!
//! Invariants: the branch moves only to what has it as an ancestor; a workspace changes only when it is merged alone and has
//! conflicts, after a snapshot; what fails leaves everything as it was. Git runs here, as the user.

use super::promote::Work;
use super::run::fork;
use crate::args::MergeArgs;
use crate::context::Context;
use crate::failure::{Outcome, tell_line};
use crate::{output, words};
use serde::Serialize;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use weald_daemon::protocol::{Before, FaultLine, Request, RestoreRequest, SnapshotRequest, Target};
use weald_daemon::refs::{Reference, Spot};
use weald_daemon::report::{RestoreReport, SnapshotReport, WorkspaceRow};
use weald_git::merge::conflict::{self, Pending};
use weald_git::merge::{Branch, Merge};
use weald_model::{Code, Fault, Oid, Silent};

/// Attempts when the branch of a remote moves meanwhile.
const ATTEMPTS_MAX: u32 = 5;
/// Paths in conflict shown to people.
const SHOWN: usize = 20;

/// How it went with one workspace.
#[derive(Debug, Default, Serialize)]
struct Row {
    workspace: String,
    /// The branch it was to go into.
    branch: Option<String>,
    /// `merged`, `fast_forward`, `up_to_date`, `conflicts`, `test_failed`, `refused`.
    outcome: &'static str,
    /// Where the branch was.
    before: Option<String>,
    /// Where it is now.
    commit: Option<String>,
    conflicts: Vec<String>,
    /// The fork a test was run in, when it is still there.
    fork: Option<String>,
    fault: Option<FaultLine>,
}

/// What to do with each.
struct Order<'a> {
    into: Option<&'a str>,
    message: Option<&'a str>,
    test: Option<&'a str>,
    /// Conflicts become the state of the workspace.
    keeps_conflicts: bool,
}

pub(super) fn run(context: &Context, args: MergeArgs) -> Result<Outcome, Fault> {
    if args.abort {
        return abort(context, args.workspaces);
    }
    let targets = match args.all {
        true => all(context)?,
        false => context.targets_or_here(args.workspaces),
    };
    let order = Order {
        into: args.into.as_deref(),
        message: args.message.as_deref(),
        test: args.test.as_deref(),
        keeps_conflicts: targets.len() == 1 && !args.all,
    };
    if let ([target], false) = (targets.as_slice(), args.all) {
        let work = Work::find(context, target.clone())?;
        let row = if args.resume { resume(context, &work, &order)? } else { merge(context, &work, &order)? };
        return Ok(tell(context, vec![row]));
    }
    if args.resume {
        return Err(Fault::new(Code::BadRequest, "a merge goes on in one workspace at a time"));
    }
    let rows = targets.into_iter().map(|target| {
        let name = target.name.clone().unwrap_or_default();
        let merged = Work::find(context, target).and_then(|work| merge(context, &work, &order));
        merged.unwrap_or_else(|fault| Row {
            workspace: name,
            outcome: "refused",
            fault: Some(FaultLine::from(&fault)),
            ..Row::default()
        })
    });
    let rows = rows.collect();
    Ok(tell(context, rows))
}

/// Mounted workspaces that come from a repository, by name.
fn all(context: &Context) -> Result<Vec<Target>, Fault> {
    let rows: Vec<WorkspaceRow> = context.ask(Request::List)?;
    let wanted = rows.into_iter().filter(|row| row.commit.is_some());
    Ok(context.targets(wanted.map(|row| row.name).collect()))
}

/// Promotes and merges one.
fn merge(context: &Context, work: &Work, order: &Order<'_>) -> Result<Row, Fault> {
    if conflict::pending(&work.path)?.is_some() {
        let name = &work.name;
        let why = format!("a merge is under way in `{name}`");
        let hint = format!("weald merge {name} --continue, or give it up: weald merge {name} --abort");
        return Err(Fault::new(Code::UnfinishedMerge, why).hint(hint));
    }
    let branch = branch_of(work, order.into)?;
    let promoted = work.promote(&work.reference(), None, &[], Some(&branch))?;
    bring_in(context, work, &promoted.commit, order)
}

/// Concludes a merge that had conflicts, then merges what came of it.
fn resume(context: &Context, work: &Work, order: &Order<'_>) -> Result<Row, Fault> {
    let pending = conflict::pending(&work.path)?.ok_or_else(|| no_merge(&work.name))?;
    conflict::conclude(&work.path, &work.name)?;
    let into = order.into.unwrap_or(&pending.branch);
    let promoted = work.promote(&work.reference(), None, &[], Some(into))?;
    conflict::forget(&work.path)?;
    bring_in(context, work, &promoted.commit, &Order { into: Some(into), ..*order })
}

fn no_merge(name: &str) -> Fault {
    Fault::new(Code::NoMerge, format!("no merge is under way in `{name}`"))
        .hint(format!("weald merge {name}"))
}

/// Gives merges up: the workspaces come back as they were before.
fn abort(context: &Context, names: Vec<String>) -> Result<Outcome, Fault> {
    for target in context.targets_or_here(names) {
        let work = Work::find(context, target)?;
        let pending = conflict::pending(&work.path)?.ok_or_else(|| no_merge(&work.name))?;
        let reference = Reference::parse(&pending.snapshot, &jiff::Zoned::now())?;
        let state = Spot { target: named(&work.name), reference: Some(reference) };
        let request = RestoreRequest { state, paths: Vec::new(), directory: None };
        let report: RestoreReport = context.ask(Request::Restore(request))?;
        if context.json {
            output::json(&report);
        } else {
            let back = output::faint(&format!("(back with: weald undo {})", work.name));
            let name = output::strong(&work.name);
            output::text_line(&format!("{name} is as it was before the merge {back}"));
        }
    }
    Ok(Outcome::Yes)
}

fn named(name: &str) -> Target {
    Target { name: Some(name.to_owned()), directory: None, device: None }
}

/// Merges a commit of a workspace into its branch.
fn bring_in(context: &Context, work: &Work, commit: &Oid, order: &Order<'_>) -> Result<Row, Fault> {
    let mut row = Row { workspace: work.name.clone(), ..Row::default() };
    for _ in 0..ATTEMPTS_MAX {
        if work.is_clone {
            weald_git::fetch(&work.source, None, None, &Silent)?;
        }
        let name = branch_of(work, order.into)?;
        let branch = Branch { repo: &work.source, name: &name };
        row.branch = Some(name.clone());
        let message = match order.message {
            Some(message) => format!("{}\n", message.trim_end()),
            None => format!("Merge workspace '{}' into {name}\n", work.name),
        };
        let (tip, to, is_fast_forward) = match branch.merge(commit, &message)? {
            Merge::UpToDate { tip } => {
                row.outcome = "up_to_date";
                row.before = Some(tip.to_string());
                row.commit = row.before.clone();
                return Ok(row);
            }
            Merge::Conflicts { tip, paths } => {
                row.outcome = "conflicts";
                row.before = Some(tip.to_string());
                row.conflicts = paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
                if order.keeps_conflicts {
                    keep_conflicts(context, work, commit, &tip, &name)?;
                }
                return Ok(row);
            }
            Merge::Clean { tip, commit, is_fast_forward } => (tip, commit, is_fast_forward),
        };
        row.before = Some(tip.to_string());
        if let Some(test) = order.test
            && let Some(fork) = failed_in(context, work, &to, test)?
        {
            row.outcome = "test_failed";
            row.fork = Some(fork);
            return Ok(row);
        }
        let reason = format!("weald merge: {}", work.name);
        let is_done = match work.is_clone {
            true => weald_git::clone::push(&work.source, &to, &name, &Silent)?,
            false => branch.advance(&tip, &to, &reason)?,
        };
        if is_done {
            row.outcome = if is_fast_forward { "fast_forward" } else { "merged" };
            row.commit = Some(to.to_string());
            return Ok(row);
        }
    }
    let why =
        format!("the branch was moved by others, {ATTEMPTS_MAX} times while `{}` was merged", work.name);
    Err(Fault::new(Code::GitFailed, why).hint(format!("weald merge {}", work.name)))
}

/// The branch that is meant: named, else the one the workspace was created on, else the one its source stands on.
pub(super) fn branch_of(work: &Work, into: Option<&str>) -> Result<String, Fault> {
    if let Some(name) = into {
        let name = name.strip_prefix("refs/heads/").unwrap_or(name);
        let branch = Branch { repo: &work.source, name };
        return branch.tip().map(|_| name.to_owned());
    }
    if let Some(name) = &work.branch
        && (Branch { repo: &work.source, name }).tip().is_ok()
    {
        return Ok(name.clone());
    }
    let head = weald_git::Repository::open(&work.source)?.head_branch();
    head.map(|name| String::from_utf8_lossy(&name).into_owned()).ok_or_else(|| {
        let why = format!("`{}` was created on no branch of its source", work.name);
        Fault::new(Code::UnknownRevision, why).hint(format!("weald merge {} --into BRANCH", work.name))
    })
}

/// Makes conflicts the state of the workspace, after a snapshot of it.
fn keep_conflicts(
    context: &Context,
    work: &Work,
    commit: &Oid,
    tip: &Oid,
    branch: &str,
) -> Result<(), Fault> {
    let target = named(&work.name);
    let request = SnapshotRequest {
        here: target.clone(),
        target,
        note: Some(format!("before the merge into {branch}")),
        tags: Vec::new(),
        before: Some(Before::Merge),
    };
    let snapshot: SnapshotReport = context.ask(Request::Snapshot(request))?;
    let pending = Pending { branch: branch.to_owned(), snapshot: snapshot.id };
    conflict::begin(&work.path, commit, tip, &pending).map(|_| ())
}

/// Runs a command in a fork that stands on a commit. None when it succeeded, and the fork is gone; else its name.
fn failed_in(context: &Context, work: &Work, commit: &Oid, line: &str) -> Result<Option<String>, Fault> {
    let (name, path) = fork(context, &work.name, &named(&work.name), "test")?;
    let tried = conflict::stand_on(&path, commit).and_then(|()| succeeds(&path, line, &name));
    if !matches!(tried, Ok(true)) {
        return tried.map(|_| Some(name));
    }
    let removed: weald_daemon::report::Removed =
        context.ask(Request::Remove { targets: vec![named(&name)], force: true })?;
    for refusal in removed.refused {
        tell_line(&Fault::from(refusal.fault));
    }
    Ok(None)
}

fn succeeds(path: &PathBuf, line: &str, name: &str) -> Result<bool, Fault> {
    let failed = |why: String| Fault::new(Code::BadRequest, format!("running `{line}` in {name}: {why}"));
    let stderr = rustix::io::dup(rustix::stdio::stderr()).map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(path).env("PWD", path).env("WEALD_WORKSPACE", name);
    // Standard output is for what the merge has to say.
    let status = command.stdin(Stdio::null()).stdout(Stdio::from(stderr)).status();
    status.map(|status| status.success()).map_err(|error| failed(error.to_string()))
}

fn tell(context: &Context, rows: Vec<Row>) -> Outcome {
    let is_done = |row: &Row| matches!(row.outcome, "merged" | "fast_forward" | "up_to_date");
    let outcome = if rows.iter().all(is_done) { Outcome::Yes } else { Outcome::No };
    if context.json {
        output::json(&rows);
        return outcome;
    }
    let is_alone = rows.len() == 1;
    for row in &rows {
        tell_row(row, is_alone);
    }
    outcome
}

fn tell_row(row: &Row, is_alone: bool) {
    let name = output::strong(&row.workspace);
    let branch = words::harmless(row.branch.as_deref().unwrap_or_default());
    let commit: String = row.commit.as_deref().unwrap_or_default().chars().take(12).collect();
    let plain = &row.workspace;
    match row.outcome {
        "merged" => output::text_line(&format!("{name} is merged into {branch}, which is at {commit}")),
        "fast_forward" => {
            output::text_line(&format!("{name} is in {branch}, which went forward to {commit}"))
        }
        "up_to_date" => output::text_line(&format!("{name} has nothing that {branch} has not")),
        "conflicts" => {
            let count = row.conflicts.len();
            let files = if count == 1 { "file" } else { "files" };
            output::text_line(&output::alarming(&format!(
                "{plain} and {branch} changed the same in {count} {files}:"
            )));
            for path in row.conflicts.iter().take(SHOWN) {
                output::text_line(&format!("  {}", words::harmless(path)));
            }
            if count > SHOWN {
                output::text_line(&format!("  and {} more", count - SHOWN));
            }
            let next = match is_alone {
                true => {
                    format!("resolve them in {plain}, `git add` them, then: weald merge {plain} --continue")
                }
                false => format!("resolve them with: weald merge {plain}"),
            };
            output::text_line(&output::faint(&next));
        }
        "test_failed" => {
            let fork = row.fork.as_deref().unwrap_or_default();
            let text = format!("{plain} is not merged: the test failed, in {fork}, which is kept");
            output::text_line(&output::alarming(&text));
        }
        _ => {
            if let Some(fault) = &row.fault {
                output::text_line(&output::alarming(&format!("{plain} is not merged")));
                tell_line(&Fault::from(fault.clone()));
            }
        }
    }
}
