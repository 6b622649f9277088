//! `weald fork`.

use crate::args::ForkArgs;
use crate::context::{Context, absolute_text};
use crate::failure::Outcome;
use crate::{output, words};
use weald_daemon::protocol::{ForkRequest, Request};
use weald_daemon::refs::Spot;
use weald_daemon::report::Forked;
use weald_model::Fault;

pub(super) fn run(context: &Context, args: ForkArgs) -> Result<Outcome, Fault> {
    let request = ForkRequest {
        from: match args.workspace {
            Some(text) => context.spot(&text)?,
            None => Spot { target: context.target(None), reference: None },
        },
        name: args.name,
        count: args.count,
        at: args.at.as_deref().map(absolute_text).transpose()?,
        mount_root: context.mount_root()?,
    };
    let forked: Forked = context.ask(Request::Fork(request))?;
    if context.json {
        output::json(&forked);
        return Ok(Outcome::Yes);
    }
    let from = forked.state.as_ref().map_or(&forked.from, |state| &state.name);
    for fork in &forked.forks {
        let path = output::strong(&words::tilde(&fork.path));
        output::text_line(&format!(
            "{}, a fork of {}, is at {path}",
            output::strong(&fork.name),
            words::harmless(from)
        ));
    }
    Ok(Outcome::Yes)
}
