//! `weald restore`, `weald undo` and `weald redo`.

use crate::args::{RestoreArgs, WorkspaceArg};
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use std::os::unix::ffi::OsStringExt;
use weald_daemon::protocol::{Request, RestoreRequest};
use weald_daemon::report::{Bytes, RestoreReport, Totals, UndoReport};
use weald_model::Fault;

pub(super) fn run(context: &Context, args: RestoreArgs) -> Result<Outcome, Fault> {
    let request = RestoreRequest {
        state: context.spot(&args.state)?,
        paths: args.paths.into_iter().map(|path| Bytes(path.into_os_string().into_vec())).collect(),
        directory: std::env::current_dir().ok().map(|path| Bytes(path.into_os_string().into_vec())),
    };
    let report: RestoreReport = context.ask(Request::Restore(request))?;
    if context.json {
        output::json(&report);
        return Ok(Outcome::Yes);
    }
    let name = output::strong(&report.workspace);
    let Some(before) = &report.before else {
        output::text_line(&format!("{name} is as it was at {} already", words::harmless(&report.state.name)));
        return Ok(Outcome::Yes);
    };
    let state = words::harmless(&report.state.name);
    output::text_line(&format!("{name} is back at {state}: {}", came_back(&report.totals)));
    let id = output::strong(&before.id);
    let back = output::faint(&format!("(back with: weald undo {})", report.workspace));
    output::text_line(&format!("  as it was before: snapshot {id} {back}"));
    Ok(Outcome::Yes)
}

pub(super) fn undo(context: &Context, args: WorkspaceArg) -> Result<Outcome, Fault> {
    let report = context.ask(Request::Undo { target: context.target(args.workspace) })?;
    tell(context, &report, "undone", "redo");
    Ok(Outcome::Yes)
}

pub(super) fn redo(context: &Context, args: WorkspaceArg) -> Result<Outcome, Fault> {
    let report = context.ask(Request::Redo { target: context.target(args.workspace) })?;
    tell(context, &report, "redone", "undo");
    Ok(Outcome::Yes)
}

fn tell(context: &Context, report: &UndoReport, done: &str, back: &str) {
    if context.json {
        output::json(report);
        return;
    }
    let back = output::faint(&format!("(back with: weald {back} {})", report.workspace));
    output::text_line(&format!(
        "{done} in {}: {} {back}",
        output::strong(&report.workspace),
        came_back(&report.totals)
    ));
}

/// `3 files changed back, 2 are there again, 1 is gone`, counted over files and directories.
fn came_back(totals: &Totals) -> String {
    let mut parts = Vec::new();
    for (count, what) in
        [(totals.modified, "changed back"), (totals.added, "there again"), (totals.removed, "gone")]
    {
        if count > 0 {
            parts.push(format!("{} {what}", words::grouped(count)));
        }
    }
    if parts.is_empty() { "nothing differs".to_owned() } else { parts.join(", ") }
}
