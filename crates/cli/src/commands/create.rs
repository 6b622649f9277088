//! `weald create`.

use super::now;
use crate::args::CreateArgs;
use crate::context::{Context, absolute_text};
use crate::failure::Outcome;
use crate::{output, words};
use std::path::Path;
use weald_daemon::protocol::{CreateRequest, Request};
use weald_daemon::report::{BaseReport, Created, Moment};
use weald_model::{Code, Fault};

/// News so old need not be told.
const JUST_NOW_SECS: i64 = 10;

pub(super) fn run(context: &Context, args: CreateArgs) -> Result<Outcome, Fault> {
    if let Some(dir) = &args.git_file {
        return Err(git_file(dir.as_deref()));
    }
    let request = CreateRequest {
        source: source(&args.source)?,
        name: args.name,
        rev: args.rev,
        branch: args.branch,
        depth: args.depth,
        update: args.update,
        at: args.at.as_deref().map(absolute_text).transpose()?,
        mount_root: context.mount_root()?,
        allow_other: args.allow_other,
    };
    let created: Created = context.ask(Request::Create(request))?;
    if context.json {
        output::json(&created);
    } else {
        show(&created);
    }
    Ok(Outcome::Yes)
}

/// Why a workspace begins with its git directory inside: docs/decisions/0010-git-directory-inside.md.
fn git_file(dir: Option<&Path>) -> Fault {
    let dir = dir.map_or_else(|| "/DIR".into(), |dir| dir.to_string_lossy());
    let why = "a workspace has its git directory inside, where it is forked, snapshotted and restored with the rest";
    Fault::new(Code::UnsupportedSource, why).hint(format!(
        "to do without that, move it out of the workspace: mv .git {dir} && echo gitdir: {dir} > .git"
    ))
}

/// Local paths become absolute, since the daemon stands elsewhere; URLs stay.
fn source(given: &str) -> Result<String, Fault> {
    if given.contains("://") || (is_scp_like(given) && !Path::new(given).exists()) {
        return Ok(given.to_owned());
    }
    absolute_text(Path::new(given))
}

/// `host:path` and `user@host:path`, as git reads them: a colon before any slash.
fn is_scp_like(given: &str) -> bool {
    given.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'))
}

fn show(created: &Created) {
    output::text_line(&format!(
        "{} is at {}",
        output::strong(&created.name),
        output::strong(&words::tilde(&created.path))
    ));
    let mut facts = Vec::new();
    match &created.base {
        Some(base) => {
            facts.push(("base", commit_line(base)));
            facts.push(("branch", base.branch.clone().unwrap_or_else(|| "none (detached)".to_owned())));
            facts.push(("behind", behind(base)));
            facts.push(("asked", created.asked_at.map(asked).unwrap_or_default()));
        }
        None => facts.push(("base", format!("the files of {}", words::tilde(&created.repo)))),
    }
    let size = words::size(created.size_bytes);
    facts.push(("files", format!("{}, {size}", words::count(created.files, "file"))));
    output::facts(&facts);
    for note in &created.notes {
        output::text_line(&format!("  {} {}", output::alarming("note:"), words::harmless(note)));
    }
}

/// `3f2a9c1b4d5e  3 days ago  Fix the parser`.
pub(super) fn commit_line(base: &BaseReport) -> String {
    let short: String = base.commit.chars().take(12).collect();
    let subject = base.subject.as_deref().map(words::harmless).unwrap_or_default();
    format!("{short}  {}  {subject}", words::ago(now() - base.time.0)).trim_end().to_owned()
}

/// When the remote was asked for news.
fn asked(when: Moment) -> String {
    match now() - when.0 {
        secs if secs < JUST_NOW_SECS => String::new(),
        secs => format!("for news {}; --update asks again", words::ago(secs)),
    }
}

fn behind(base: &BaseReport) -> String {
    match (base.behind, &base.upstream) {
        (Some(0), Some(upstream)) => format!("up to date with {upstream}"),
        (Some(number), Some(upstream)) => {
            output::alarming(&format!("{} behind {upstream}", words::count(number, "commit")))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_stay_and_paths_become_absolute() {
        for url in ["https://h/r.git", "file:///r", "git@h:r.git", "ssh://h/r"] {
            assert_eq!(source(url).unwrap(), url);
        }
        assert!(source("repo").unwrap().ends_with("/repo"));
        assert!(source("./a:b").unwrap().starts_with('/'));
    }
}
