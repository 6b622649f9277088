//! `weald conflicts`: which workspaces change the same lines, and which change what their branch has changed since.
//!
//! With `--watch` a workspace is looked at again when its log says that something changed, and not before.

use super::merge::branch_of;
use super::promote::Work;
use crate::args::ConflictsArgs;
use crate::context::Context;
use crate::failure::{Outcome, tell_line};
use crate::output::{self, Align};
use crate::words;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use weald_daemon::launch;
use weald_daemon::protocol::{FaultLine, Line, LogRequest, Request, Target};
use weald_daemon::report::{LogEnd, Refusal, WorkspaceRow};
use weald_git::merge::Branch;
use weald_git::radar::{Meeting, Sighting};
use weald_model::{Fault, Oid};

/// Paths of one pair that people are shown.
const SHOWN: usize = 5;
/// How long nothing must happen before workspaces are looked at again.
const QUIET: Duration = Duration::from_millis(300);

const HEADINGS: [(&str, Align); 3] =
    [("WORKSPACE", Align::Left), ("AND", Align::Left), ("CHANGE THE SAME LINES OF", Align::Left)];

/// Two that meet.
#[derive(Debug, Serialize)]
struct Pair {
    one: String,
    /// A workspace; null when it is the branch.
    other: Option<String>,
    /// The branch both, or the one, would go into.
    branch: String,
    /// Paths both changed.
    shared: Vec<String>,
    /// Those where they cannot be merged.
    conflicts: Vec<String>,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    workspaces: Vec<String>,
    pairs: Vec<Pair>,
    /// What could not be looked at.
    skipped: Vec<Refusal>,
}

/// A workspace that was looked at, until it changes.
struct Seen {
    source: PathBuf,
    branch: String,
    tip: Oid,
    own: Sighting,
    against_branch: Meeting,
}

pub(super) fn run(context: &Context, args: ConflictsArgs) -> Result<Outcome, Fault> {
    let mut seen = BTreeMap::new();
    let (report, names) = look(context, &args, &mut seen)?;
    let has_conflicts = report.pairs.iter().any(|pair| !pair.conflicts.is_empty());
    tell(context, &report);
    if args.watch {
        return watch(context, &args, seen, names).map(|()| Outcome::Yes);
    }
    Ok(if has_conflicts { Outcome::No } else { Outcome::Yes })
}

/// Looks at every workspace that is not in `seen`, or whose branch moved, and compares all.
fn look(
    context: &Context,
    args: &ConflictsArgs,
    seen: &mut BTreeMap<String, Seen>,
) -> Result<(Report, BTreeSet<String>), Fault> {
    let rows: Vec<WorkspaceRow> = context.ask(Request::List)?;
    let names: BTreeSet<String> =
        rows.into_iter().filter(|row| row.commit.is_some()).map(|row| row.name).collect();
    seen.retain(|name, _| names.contains(name));
    let mut report = Report::default();
    for name in &names {
        match look_at(context, args, name, seen.get(name)) {
            Ok(None) => {}
            Ok(Some(found)) => drop(seen.insert(name.clone(), found)),
            Err(fault) => {
                seen.remove(name);
                report.skipped.push(Refusal { name: name.clone(), fault: FaultLine::from(&fault) });
            }
        }
    }
    report.workspaces = seen.keys().cloned().collect();
    report.pairs = compare(seen)?;
    Ok((report, names))
}

/// None when what is known still holds.
fn look_at(
    context: &Context,
    args: &ConflictsArgs,
    name: &str,
    known: Option<&Seen>,
) -> Result<Option<Seen>, Fault> {
    let target = Target { name: Some(name.to_owned()), directory: None, device: None };
    let work = Work::find(context, target)?;
    let branch = branch_of(&work, args.into.as_deref())?;
    let tip = Branch { repo: &work.source, name: &branch }.tip()?;
    if known.is_some_and(|known| (&known.branch, known.tip) == (&branch, tip)) {
        return Ok(None);
    }
    let own = Sighting::of_workspace(&work.path, name, &tip)?;
    let theirs = Sighting::of_branch(&work.source, &tip, &own)?;
    let against_branch = own.meets(&theirs)?;
    Ok(Some(Seen { source: work.source, branch, tip, own, against_branch }))
}

fn compare(seen: &BTreeMap<String, Seen>) -> Result<Vec<Pair>, Fault> {
    let mut pairs = Vec::new();
    let mut add = |one: &str, other: Option<&str>, branch: &str, meeting: &Meeting| {
        let texts =
            |paths: &[Vec<u8>]| paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        if !meeting.shared.is_empty() {
            pairs.push(Pair {
                one: one.to_owned(),
                other: other.map(str::to_owned),
                branch: branch.to_owned(),
                shared: texts(&meeting.shared),
                conflicts: texts(&meeting.conflicts),
            });
        }
    };
    for (at, (name, one)) in seen.iter().enumerate() {
        add(name, None, &one.branch, &one.against_branch);
        for (other_name, other) in seen.iter().skip(at + 1).filter(|(_, other)| other.source == one.source) {
            add(name, Some(other_name), &one.branch, &one.own.meets(&other.own)?);
        }
    }
    Ok(pairs)
}

fn tell(context: &Context, report: &Report) {
    if context.json {
        output::json(report);
        return;
    }
    for refusal in &report.skipped {
        tell_line(&Fault::from(refusal.fault.clone()));
    }
    let row = |pair: &Pair| {
        let mut paths: Vec<String> =
            pair.conflicts.iter().take(SHOWN).map(|path| words::harmless(path)).collect();
        if pair.conflicts.len() > SHOWN {
            paths.push(format!("and {} more", pair.conflicts.len() - SHOWN));
        }
        let other = pair.other.clone().unwrap_or_else(|| format!("branch {}", pair.branch));
        vec![pair.one.clone(), words::harmless(&other), paths.join(", ")]
    };
    let rows: Vec<_> = report.pairs.iter().filter(|pair| !pair.conflicts.is_empty()).map(row).collect();
    let near = report.pairs.len() - rows.len();
    if rows.is_empty() {
        output::text_line(&format!("No two of {} workspaces change the same lines", report.workspaces.len()));
    } else {
        output::table(&HEADINGS, rows);
    }
    if near > 0 {
        let pairs = if near == 1 { "pair changes" } else { "pairs change" };
        output::text_line(&output::faint(&format!("{near} more {pairs} the same files, and can be merged")));
    }
}

/// Looks again whenever something changed, until a signal ends it or nobody reads any more.
fn watch(
    context: &Context,
    args: &ConflictsArgs,
    mut seen: BTreeMap<String, Seen>,
    mut names: BTreeSet<String>,
) -> Result<(), Fault> {
    let (changed, news) = channel();
    end_by_signal(changed.clone())?;
    let mut followed = BTreeSet::new();
    while output::is_read() {
        for name in names.difference(&followed) {
            follow(context, name, changed.clone());
        }
        followed = names;
        let Some((dirty, ended)) = wait(&news) else { break };
        followed.retain(|name| !ended.contains(name));
        seen.retain(|name, _| !dirty.contains(name));
        let report;
        (report, names) = look(context, args, &mut seen)?;
        tell(context, &report);
    }
    Ok(())
}

/// What is at hand of workspaces lies in temporary files, which are to go.
fn end_by_signal(news: Sender<News>) -> Result<(), Fault> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Fault::host("waiting for signals", &error))?;
    std::thread::spawn(move || signals.forever().next().map(|_| news.send(News::Enough)));
    Ok(())
}

/// Something a workspace's log said, or the user.
enum News {
    Enough,
    Changed(String),
    Ended(String),
}

/// Follows the log of a workspace on a thread.
fn follow(context: &Context, name: &str, changed: Sender<News>) {
    let (home, name) = (context.home.clone(), name.to_owned());
    std::thread::spawn(move || {
        let target = Target { name: Some(name.clone()), directory: None, device: None };
        let request = LogRequest { target, follow: true, limit: Some(1), ..LogRequest::default() };
        // The last record there was is told first, so that nothing done before it is missed.
        let _ = launch::converse::<LogEnd>(&home, &Request::Log(request), &mut |line| {
            let Line::Log { lines } = line else { return true };
            let is_new = lines.iter().any(|line| line.path.as_deref().is_none_or(is_work));
            !is_new || changed.send(News::Changed(name.clone())).is_ok()
        });
        // The receiver may be gone, too.
        let _ = changed.send(News::Ended(name));
    });
}

/// Git's own files of the moment say nothing.
fn is_work(path: &str) -> bool {
    !path.starts_with(".git/index") && !path.ends_with(".lock")
}

/// Waits for news, and until there is none for a moment: which workspaces changed, and whose log ended. None: enough.
fn wait(news: &Receiver<News>) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut dirty, mut ended) = (BTreeSet::new(), BTreeSet::new());
    let mut next = news.recv().ok();
    while let Some(one) = next {
        match one {
            News::Enough => return None,
            News::Changed(name) => drop(dirty.insert(name)),
            News::Ended(name) => {
                dirty.insert(name.clone());
                ended.insert(name);
            }
        }
        next = news.recv_timeout(QUIET).ok();
    }
    Some((dirty, ended))
}
