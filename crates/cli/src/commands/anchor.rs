//! `weald anchor`.

use crate::args::AnchorArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output;
use weald_daemon::protocol::Request;
use weald_daemon::report::Anchored;
use weald_daemon::signing;
use weald_model::Fault;

pub(super) fn run(context: &Context, args: AnchorArgs) -> Result<Outcome, Fault> {
    let target = context.target(args.workspace);
    let mut anchored: Anchored = context.ask(Request::Anchor { target, tag: args.tag && !args.sign })?;
    if args.sign {
        anchored = signing::sign(anchored)?;
    }
    if context.json {
        output::json(&anchored);
        return Ok(Outcome::Yes);
    }
    output::text_line(&anchored.anchor);
    if let Some(tag) = &anchored.tag {
        let how = if anchored.signed { "signed and kept" } else { "kept" };
        output::text_line(&output::faint(&format!("{how} as {tag} in the source repository")));
    }
    Ok(Outcome::Yes)
}
