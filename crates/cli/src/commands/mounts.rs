//! `weald mount` and `weald unmount`.

use super::tell_refusals;
use crate::args::{MountArgs, UnmountArgs};
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use weald_daemon::protocol::Request;
use weald_daemon::report::Mounted;
use weald_model::Fault;

pub(super) fn mount(context: &Context, args: MountArgs) -> Result<Outcome, Fault> {
    let mounted: Mounted = context.ask(Request::Mount { targets: context.targets(args.workspaces) })?;
    Ok(show(context, &mounted))
}

pub(super) fn unmount(context: &Context, args: UnmountArgs) -> Result<Outcome, Fault> {
    let request = Request::Unmount { targets: context.targets(args.workspaces), force: args.force };
    let unmounted: Mounted = context.ask(request)?;
    Ok(show(context, &unmounted))
}

fn show(context: &Context, mounted: &Mounted) -> Outcome {
    if context.json {
        output::json(mounted);
    } else if mounted.workspaces.is_empty() && mounted.refused.is_empty() {
        output::text_line("Nothing to do");
    }
    for workspace in mounted.workspaces.iter().filter(|_| !context.json) {
        let text = if workspace.mounted {
            format!("{} is at {}", output::strong(&workspace.name), words::tilde(&workspace.path))
        } else {
            format!("{} is not mounted any more, and kept", output::strong(&workspace.name))
        };
        output::text_line(&text);
    }
    tell_refusals(&mounted.refused)
}
