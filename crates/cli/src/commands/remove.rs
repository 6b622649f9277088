//! `weald remove`.

use super::tell_refusals;
use crate::args::RemoveArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output;
use weald_daemon::protocol::Request;
use weald_daemon::report::Removed;
use weald_model::Fault;

pub(super) fn run(context: &Context, args: RemoveArgs) -> Result<Outcome, Fault> {
    let targets = context.targets_or_here(args.workspaces);
    let removed: Removed = context.ask(Request::Remove { targets, force: args.force })?;
    if context.json {
        output::json(&removed);
    } else {
        for name in &removed.removed {
            let back = output::faint(&format!("(back with: weald trash restore {name})"));
            output::text_line(&format!("{} is in the trash {back}", output::strong(name)));
        }
    }
    Ok(tell_refusals(&removed.refused))
}
