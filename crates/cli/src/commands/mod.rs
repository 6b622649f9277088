//! One file per command: arguments to request, answer to text.

mod anchor;
mod config;
mod conflicts;
mod create;
mod daemon;
mod diff;
mod doctor;
mod fetch;
mod fork;
mod gc;
mod info;
mod list;
mod log;
mod merge;
mod mounts;
mod pin;
mod place;
mod promote;
mod remove;
mod restore;
mod rules;
mod run;
mod shell;
mod snapshot;
mod status;
mod trash;
mod verify;

use crate::args::Command;
use crate::context::Context;
use crate::failure::{Outcome, tell_line};
use weald_daemon::report::Refusal;
use weald_model::Fault;

/// Runs one command.
pub(crate) fn run(context: &Context, command: Command) -> Result<Outcome, Fault> {
    match command {
        Command::Create(args) => create::run(context, args),
        Command::Fetch(args) => fetch::run(context, args),
        Command::Fork(args) => fork::run(context, args),
        Command::List => list::run(context),
        Command::Info(args) => info::run(context, args),
        Command::Path(args) => place::path(context, args),
        Command::Rename(args) => place::rename(context, args),
        Command::Remove(args) => remove::run(context, args),
        Command::Snapshot(args) => snapshot::run(context, args),
        Command::History(args) => snapshot::history(context, args),
        Command::Diff(args) => diff::run(context, args),
        Command::Restore(args) => restore::run(context, args),
        Command::Undo(args) => restore::undo(context, args),
        Command::Redo(args) => restore::redo(context, args),
        Command::Rules(args) => rules::run(context, args),
        Command::Run(args) => run::run(context, args),
        Command::Trash(command) => trash::run(context, command),
        Command::Pin(args) => pin::run(context, args),
        Command::Doctor(args) => doctor::run(context, args),
        Command::Gc(command) => gc::run(context, command),
        Command::Config(args) => config::run(context, args),
        Command::Log(args) => log::run(context, args),
        Command::Verify(args) => verify::run(context, args),
        Command::Anchor(args) => anchor::run(context, args),
        Command::Promote(args) => promote::run(context, args),
        Command::Merge(args) => merge::run(context, args),
        Command::Conflicts(args) => conflicts::run(context, args),
        Command::Status => status::run(context),
        Command::Daemon(command) => daemon::run(context, command),
        Command::Mount(args) => mounts::mount(context, args),
        Command::Unmount(args) => mounts::unmount(context, args),
        Command::Explain(args) => shell::explain(context, args),
        Command::Completion(args) => shell::completion(args),
        Command::Man(args) => shell::man(args),
    }
}

/// Tells what was refused; the outcome is No when there was anything.
fn tell_refusals(refusals: &[Refusal]) -> Outcome {
    for refusal in refusals {
        tell_line(&Fault::from(refusal.fault.clone()));
    }
    if refusals.is_empty() { Outcome::Yes } else { Outcome::No }
}

/// Seconds since 1970, now.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
