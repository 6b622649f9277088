//! `weald rules`.

use super::now;
use crate::args::{RulesArgs, RulesCommand, WorkspaceArg};
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use weald_daemon::protocol::{Request, RulesEdit, RulesRequest};
use weald_daemon::report::{Bytes, RulesReport};
use weald_model::{Code, Fault};

pub(super) fn run(context: &Context, args: RulesArgs) -> Result<Outcome, Fault> {
    let bytes = |paths: Vec<PathBuf>| -> Vec<Bytes> {
        paths.into_iter().map(|path| Bytes(path.into_os_string().into_vec())).collect()
    };
    let (workspace, edit) = match args.command {
        None => (args.shown.workspace, RulesEdit::Show),
        Some(RulesCommand::List(WorkspaceArg { workspace })) => (workspace, RulesEdit::Show),
        Some(RulesCommand::Add { workspace, read_only, masked, max_bytes, max_files, max_deletions }) => {
            let (read_only, masked) = (bytes(read_only), bytes(masked));
            (workspace, RulesEdit::Add { read_only, masked, max_bytes, max_files, max_deletions })
        }
        Some(RulesCommand::Remove { workspace, paths, max_bytes, max_files, max_deletions, all }) => {
            let paths = bytes(paths);
            (workspace, RulesEdit::Remove { paths, max_bytes, max_files, max_deletions, all })
        }
        Some(RulesCommand::Confirm { workspace, span }) => (workspace, RulesEdit::Confirm { span }),
    };
    if is_nothing(&edit) {
        return Err(Fault::new(Code::BadRequest, "no rule was named")
            .hint("for example: --read-only vendor, --mask .env, --max-bytes 2GB, --max-deletions 200/10s; or --all"));
    }
    let directory = std::env::current_dir().ok().map(|path| Bytes(path.into_os_string().into_vec()));
    let request = Request::Rules(RulesRequest { target: context.target(workspace), directory, edit });
    let rules: RulesReport = context.ask(request)?;
    if context.json {
        output::json(&rules);
    } else {
        show(&rules);
    }
    Ok(Outcome::Yes)
}

/// True when there is nothing to be done, which nobody means.
fn is_nothing(edit: &RulesEdit) -> bool {
    match edit {
        RulesEdit::Add { read_only, masked, max_bytes, max_files, max_deletions } => {
            read_only.is_empty()
                && masked.is_empty()
                && max_bytes.is_none()
                && max_files.is_none()
                && max_deletions.is_none()
        }
        RulesEdit::Remove { paths, max_bytes, max_files, max_deletions, all } => {
            paths.is_empty() && !max_bytes && !max_files && !max_deletions && !all
        }
        RulesEdit::Show | RulesEdit::Confirm { .. } => false,
    }
}

fn show(rules: &RulesReport) {
    let name = &rules.workspace;
    for rule in &rules.paths {
        let path = String::from_utf8_lossy(&rule.path.0);
        let path = if path.is_empty() { ".".into() } else { words::harmless(&path) };
        output::text_line(&format!("{:<10} {path}", rule.rule));
    }
    if let Some(max) = rules.max_bytes {
        output::text_line(&format!("{:<10} {} of {}", "bytes", words::size(rules.bytes), words::size(max)));
    }
    if let Some(max) = rules.max_files {
        output::text_line(&format!(
            "{:<10} {} of {}",
            "files",
            words::grouped(rules.files),
            words::grouped(max)
        ));
    }
    if let Some(max) = rules.max_deletions {
        let now = words::grouped(u64::from(rules.deletions.unwrap_or(0)));
        let most = words::grouped(u64::from(max.count));
        output::text_line(&format!("{:<10} {now} of {most} in {} s", "deletions", max.seconds));
    }
    if rules.paths.is_empty()
        && rules.max_bytes.is_none()
        && rules.max_files.is_none()
        && rules.max_deletions.is_none()
    {
        output::text_line(&format!("`{name}` has no rules"));
    }
    if let Some(at) = rules.stopped_at {
        let when = words::ago(now() - at.0);
        output::text_line(&output::alarming(&format!("deletions were stopped {when}: there were too many")));
        output::text_line(&format!("who it was: weald log {name} --op rules-stop"));
        output::text_line(&format!(
            "bring back what is gone: weald undo {name}; or let it go on: weald rules confirm {name}"
        ));
    }
    if let Some(until) = rules.confirmed_until {
        output::text_line(&format!("deletions do not count for {} s", (until.0 - now()).max(0)));
    }
    if let Some(who) = &rules.in_use_by {
        output::text_line(&format!(
            "files can still be opened for writing until the next mount, though not written, since {who}"
        ));
        output::text_line(&format!("leave it, then: weald unmount {name} && weald mount {name}"));
    }
}
