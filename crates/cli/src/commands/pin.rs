//! `weald pin`.

use super::now;
use crate::args::PinArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{self, Align};
use crate::words;
use weald_daemon::protocol::Request;
use weald_daemon::report::PinRow;
use weald_model::Fault;

const HEADINGS: [(&str, Align); 4] =
    [("PIN", Align::Left), ("STATE", Align::Left), ("PINNED", Align::Left), ("NOTE", Align::Left)];

pub(super) fn run(context: &Context, args: PinArgs) -> Result<Outcome, Fault> {
    match (args.state, args.remove) {
        (Some(state), _) => pin(context, &state, args.note.unwrap_or_default()),
        (None, Some(id)) => remove(context, id),
        (None, None) => list(context),
    }
}

fn pin(context: &Context, state: &str, note: String) -> Result<Outcome, Fault> {
    let spot = context.spot(state)?;
    let pin: PinRow = context.ask(Request::Pin { spot, note })?;
    if context.json {
        output::json(&pin);
    } else {
        output::text_line(&format!("{} keeps {}", output::strong(&pin.id), name(&pin)));
    }
    Ok(Outcome::Yes)
}

fn remove(context: &Context, id: String) -> Result<Outcome, Fault> {
    let pin: PinRow = context.ask(Request::Unpin { id })?;
    if context.json {
        output::json(&pin);
    } else {
        output::text_line(&format!("{} is no pin any more", pin.id));
    }
    Ok(Outcome::Yes)
}

fn list(context: &Context) -> Result<Outcome, Fault> {
    let pins: Vec<PinRow> = context.ask(Request::PinList)?;
    if context.json {
        output::json(&pins);
    } else if pins.is_empty() {
        output::text_line("Nothing is pinned.");
    } else {
        output::table(&HEADINGS, pins.iter().map(line).collect());
    }
    Ok(Outcome::Yes)
}

/// As other commands take it.
fn name(pin: &PinRow) -> String {
    format!("{}@{{op {}}}", pin.workspace, pin.record)
}

fn line(pin: &PinRow) -> Vec<String> {
    vec![pin.id.clone(), name(pin), words::ago(now() - pin.created_at.0), words::harmless(&pin.note)]
}
