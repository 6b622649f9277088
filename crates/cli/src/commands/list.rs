//! `weald list`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{self, Align};
use crate::words;
use weald_daemon::protocol::Request;
use weald_daemon::report::{StatusWord, WorkspaceRow};
use weald_model::Fault;

const HEADINGS: [(&str, Align); 8] = [
    ("NAME", Align::Left),
    ("STATUS", Align::Left),
    ("BRANCH", Align::Left),
    ("FILES", Align::Right),
    ("SIZE", Align::Right),
    ("PRIVATE", Align::Right),
    ("PATH", Align::Left),
    ("REPO", Align::Left),
];

pub(super) fn run(context: &Context) -> Result<Outcome, Fault> {
    let rows: Vec<WorkspaceRow> = context.ask(Request::List)?;
    if context.json {
        output::json(&rows);
        return Ok(Outcome::Yes);
    }
    if rows.is_empty() {
        output::text_line("No workspaces yet. Make one: weald create SOURCE");
        return Ok(Outcome::Yes);
    }
    output::table(&HEADINGS, rows.iter().map(line).collect());
    for row in &rows {
        if let Some(fault) = &row.fault {
            output::text_line(&format!(
                "{} {}: {} [{}]",
                output::alarming("!"),
                row.name,
                fault.message,
                fault.code
            ));
        }
    }
    Ok(Outcome::Yes)
}

fn line(row: &WorkspaceRow) -> Vec<String> {
    vec![
        row.name.clone(),
        status(row.status).to_owned(),
        branch(row.branch.as_deref(), row.commit.as_deref()),
        row.files.map_or_else(unknown, words::grouped),
        row.size_bytes.map_or_else(unknown, words::size),
        row.private_bytes.map_or_else(unknown, words::size),
        words::tilde(&row.path),
        words::tilde(&row.repo),
    ]
}

pub(super) fn status(word: StatusWord) -> &'static str {
    match word {
        StatusWord::Mounted => "mounted",
        StatusWord::Idle => "idle",
        StatusWord::Trashed => "trashed",
        StatusWord::Damaged => "damaged",
    }
}

/// The branch, or the commit when HEAD stands on none.
pub(super) fn branch(branch: Option<&str>, commit: Option<&str>) -> String {
    match (branch, commit) {
        (Some(branch), _) => words::harmless(branch),
        (None, Some(commit)) => format!("({})", commit.chars().take(12).collect::<String>()),
        (None, None) => "-".to_owned(),
    }
}

fn unknown() -> String {
    "?".to_owned()
}
