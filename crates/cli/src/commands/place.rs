//! `weald path` and `weald rename`.

use crate::args::{RenameArgs, WorkspaceArg};
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use weald_daemon::protocol::Request;
use weald_daemon::report::{Located, Renamed};
use weald_model::Fault;

/// Prints the mount point alone, for `cd "$(weald path x)"`.
pub(super) fn path(context: &Context, args: WorkspaceArg) -> Result<Outcome, Fault> {
    let located: Located = context.ask(Request::Path { target: context.target(args.workspace) })?;
    if context.json {
        output::json(&located);
    } else {
        output::text_line(&located.path);
    }
    Ok(Outcome::Yes)
}

pub(super) fn rename(context: &Context, args: RenameArgs) -> Result<Outcome, Fault> {
    let target = context.target(args.workspace);
    let renamed: Renamed = context.ask(Request::Rename { target, name: args.name })?;
    if context.json {
        output::json(&renamed);
    } else {
        let path = output::strong(&words::tilde(&renamed.path));
        output::text_line(&format!("{} is now {}, at {path}", renamed.from, output::strong(&renamed.name)));
    }
    Ok(Outcome::Yes)
}
