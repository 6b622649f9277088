//! `weald snapshot` and `weald history`.

use super::now;
use crate::args::{HistoryArgs, SnapshotArgs};
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{self, Align};
use crate::words;
use weald_daemon::protocol::{HistoryRequest, Request, SnapshotRequest};
use weald_daemon::report::SnapshotReport;
use weald_model::Fault;

/// Lines that people are shown unless they ask for more.
const SHOWN: u64 = 40;

const HEADINGS: [(&str, Align); 7] = [
    ("@", Align::Right),
    ("ID", Align::Left),
    ("WHEN", Align::Left),
    ("WHY", Align::Left),
    ("STATE", Align::Left),
    ("TAGS", Align::Left),
    ("NOTE", Align::Left),
];

/// Prints the id alone, for `id=$(weald snapshot)`; on a terminal also what it is.
pub(super) fn run(context: &Context, args: SnapshotArgs) -> Result<Outcome, Fault> {
    let request = SnapshotRequest {
        target: context.target(args.workspace),
        here: context.target(None),
        note: args.note,
        tags: args.tags,
        before: None,
    };
    let report: SnapshotReport = context.ask(Request::Snapshot(request))?;
    if context.json {
        output::json(&report);
    } else if output::is_terminal() {
        let back = format!("(back with: weald restore {}@{})", report.workspace, report.id);
        output::text_line(&format!("{}  {}", output::strong(&report.id), output::faint(&back)));
    } else {
        output::text_line(&report.id);
    }
    Ok(Outcome::Yes)
}

pub(super) fn history(context: &Context, args: HistoryArgs) -> Result<Outcome, Fault> {
    // One line more than is shown tells whether there are more.
    let limit = match args.limit {
        Some(limit) => Some(limit),
        None if context.json => None,
        None => Some(SHOWN + 1),
    };
    let all = args.all;
    let filtered = args.grep.is_some() || args.tag.is_some();
    let request = HistoryRequest {
        target: (!all).then(|| context.target(args.workspace)),
        limit,
        grep: args.grep,
        tag: args.tag,
    };
    let mut snapshots: Vec<SnapshotReport> = context.ask(Request::History(request))?;
    if context.json {
        output::json(&snapshots);
        return Ok(Outcome::Yes);
    }
    if snapshots.is_empty() {
        output::text_line(match filtered {
            true => "No snapshot fits.",
            false => {
                "No snapshots yet. Take one: weald snapshot. Any moment can be had back all the same: @{5m ago}"
            }
        });
        return Ok(Outcome::Yes);
    }
    let more = args.limit.is_none() && snapshots.len() as u64 > SHOWN;
    snapshots.truncate(if more { SHOWN as usize } else { usize::MAX });
    show(&snapshots, all);
    if more {
        output::text_line(&output::faint("There are older ones: weald history --limit N"));
    }
    Ok(Outcome::Yes)
}

fn show(snapshots: &[SnapshotReport], all: bool) {
    let mut headings = HEADINGS.to_vec();
    if all {
        headings.insert(0, ("WORKSPACE", Align::Left));
    }
    let rows = snapshots.iter().map(|snapshot| {
        let mut line = line(snapshot);
        if all {
            line.insert(0, snapshot.workspace.clone());
        }
        line
    });
    output::table(&headings, rows.collect());
}

fn line(snapshot: &SnapshotReport) -> Vec<String> {
    let first_line = snapshot.note.lines().next().unwrap_or_default();
    vec![
        snapshot.back.to_string(),
        snapshot.id.clone(),
        words::ago(now() - snapshot.created_at.0),
        snapshot.occasion.replace('-', " "),
        snapshot.state.clone(),
        words::harmless(&snapshot.tags.join(", ")),
        words::harmless(first_line),
    ]
}
