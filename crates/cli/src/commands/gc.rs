//! `weald gc plan|run`.

use super::tell_refusals;
use crate::args::GcCommand;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{self, Align};
use crate::words;
use weald_daemon::protocol::Request;
use weald_daemon::report::{GcItem, GcOptions, GcPlan, GcRun};
use weald_model::Fault;

const HEADINGS: [(&str, Align); 3] =
    [("GIVES BACK", Align::Right), ("WHAT", Align::Left), ("WHY", Align::Left)];
/// Lines of a plan shown; `--json` has all.
const LINES_MAX: usize = 200;

pub(super) fn run(context: &Context, command: GcCommand) -> Result<Outcome, Fault> {
    match command {
        GcCommand::Plan { keep_last, keep_days, keep_tags } => {
            plan(context, GcOptions { keep_last, keep_days, keep_tags })
        }
        GcCommand::Run { plan } => carry_out(context, plan),
    }
}

fn plan(context: &Context, options: GcOptions) -> Result<Outcome, Fault> {
    let plan: GcPlan = context.ask(Request::GcPlan { options })?;
    if context.json {
        output::json(&plan);
        return Ok(Outcome::Yes);
    }
    if plan.items.is_empty() {
        output::text_line("There is nothing to take away.");
        let hint =
            "What listed snapshots show stays, and so does every moment of `weald config history.window`.";
        output::text_line(&output::faint(hint));
    } else {
        output::table(&HEADINGS, plan.items.iter().take(LINES_MAX).map(line).collect());
        if plan.items.len() > LINES_MAX {
            output::text_line(&format!(
                "  … and {} more",
                words::grouped((plan.items.len() - LINES_MAX) as u64)
            ));
        }
        output::text_line(&format!(
            "{}, {} of disk. Nothing has been changed; to take them away:\n  weald gc run {}",
            words::count(plan.items.len() as u64, "item"),
            output::strong(&words::size(plan.freed_bytes)),
            plan.id
        ));
    }
    tell_refusals(&plan.skipped);
    Ok(Outcome::Yes)
}

fn line(item: &GcItem) -> Vec<String> {
    vec![words::size(item.bytes), words::harmless(&item.what), words::harmless(&item.why)]
}

fn carry_out(context: &Context, plan: String) -> Result<Outcome, Fault> {
    let run: GcRun = context.ask(Request::GcRun { plan })?;
    if context.json {
        output::json(&run);
    } else {
        let freed = output::strong(&words::size(run.freed_bytes));
        output::text_line(&format!("Took away {}, {freed} of disk", words::count(run.done, "item")));
    }
    Ok(tell_refusals(&run.refused))
}
