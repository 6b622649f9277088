//! `weald trash list|restore|empty`.

use super::{list, now};
use crate::args::TrashCommand;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{self, Align};
use crate::words;
use weald_daemon::protocol::Request;
use weald_daemon::report::{Emptied, Restored, TrashRow};
use weald_model::Fault;

const HEADINGS: [(&str, Align); 8] = [
    ("NAME", Align::Left),
    ("REMOVED", Align::Left),
    ("BRANCH", Align::Left),
    ("FILES", Align::Right),
    ("PRIVATE", Align::Right),
    ("DISK", Align::Right),
    ("ID", Align::Left),
    ("REPO", Align::Left),
];

pub(super) fn run(context: &Context, command: TrashCommand) -> Result<Outcome, Fault> {
    match command {
        TrashCommand::List => show_list(context),
        TrashCommand::Restore { name, new_name } => restore(context, name, new_name),
        TrashCommand::Empty { older_than } => empty(context, older_than),
    }
}

fn show_list(context: &Context) -> Result<Outcome, Fault> {
    let rows: Vec<TrashRow> = context.ask(Request::TrashList)?;
    if context.json {
        output::json(&rows);
    } else if rows.is_empty() {
        output::text_line("The trash is empty.");
    } else {
        output::table(&HEADINGS, rows.iter().map(line).collect());
    }
    Ok(Outcome::Yes)
}

fn line(row: &TrashRow) -> Vec<String> {
    vec![
        row.name.clone(),
        row.removed_at.map_or_else(|| "-".to_owned(), |at| words::ago(now() - at.0)),
        list::branch(row.branch.as_deref(), None),
        row.files.map_or_else(|| "?".to_owned(), words::grouped),
        row.private_bytes.map_or_else(|| "?".to_owned(), words::size),
        words::size(row.disk_bytes),
        row.id.clone(),
        words::tilde(&row.repo),
    ]
}

fn restore(context: &Context, name: String, new_name: Option<String>) -> Result<Outcome, Fault> {
    let request = Request::TrashRestore { name, new_name, mount_root: context.mount_root()? };
    let restored: Restored = context.ask(request)?;
    if context.json {
        output::json(&restored);
    } else {
        let path = output::strong(&words::tilde(&restored.path));
        output::text_line(&format!("{} is back at {path}", output::strong(&restored.name)));
    }
    Ok(Outcome::Yes)
}

fn empty(context: &Context, older_than_secs: Option<u64>) -> Result<Outcome, Fault> {
    let emptied: Emptied = context.ask(Request::TrashEmpty { older_than_secs })?;
    if context.json {
        output::json(&emptied);
        return Ok(Outcome::Yes);
    }
    let number = emptied.removed.len() as u64;
    let freed = words::size(emptied.freed_bytes);
    output::text_line(&format!("Deleted {} for good, {freed} freed", words::count(number, "workspace")));
    if emptied.kept_for_pins > 0 {
        let kept = words::count(emptied.kept_for_pins, "workspace");
        output::text_line(&format!(
            "  {kept} stay in the trash, since states of them are pinned: weald pin --list"
        ));
    }
    if emptied.kept_for_forks > 0 {
        let kept = words::count(emptied.kept_for_forks, "log");
        output::text_line(&format!("  {kept} kept, since forks build on what is in there"));
    }
    Ok(Outcome::Yes)
}
