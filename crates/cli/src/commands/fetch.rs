//! `weald fetch`.

use crate::args::FetchArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use serde::Serialize;
use std::path::Path;
use weald_daemon::protocol::Request;
use weald_daemon::report::{CloneNews, Moment};
use weald_git::clone::hand_on::{Moved, hand_on};
use weald_model::Fault;

/// What `--json` prints.
#[derive(Serialize)]
struct Fetched {
    url: String,
    clone: String,
    asked_at: Moment,
    workspace: Option<String>,
    branches: Vec<Branch>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Branch {
    name: String,
    before: Option<String>,
    now: String,
}

pub(super) fn run(context: &Context, args: FetchArgs) -> Result<Outcome, Fault> {
    let url = args.from.clone().filter(|from| weald_git::url::is_url(from));
    let target = if url.is_some() { None } else { Some(context.target(args.from)) };
    let news: CloneNews = context.ask(Request::Fetch { target, url })?;
    let moved = match &news.path {
        Some(path) => hand_on(Path::new(&news.clone), Path::new(path))?,
        None => Vec::new(),
    };
    if context.json {
        output::json(&fetched(news, moved));
    } else {
        show(&news, &moved);
    }
    Ok(Outcome::Yes)
}

fn fetched(news: CloneNews, moved: Vec<Moved>) -> Fetched {
    let branch = |moved: Moved| Branch {
        name: moved.name,
        before: moved.before.map(|commit| commit.to_string()),
        now: moved.now.to_string(),
    };
    Fetched {
        url: news.url,
        clone: news.clone,
        asked_at: news.asked_at,
        workspace: news.workspace,
        branches: moved.into_iter().map(branch).collect(),
        notes: news.notes,
    }
}

fn show(news: &CloneNews, moved: &[Moved]) {
    match &news.workspace {
        None => output::text_line(&format!("{} was asked for news", words::harmless(&news.url))),
        Some(name) if moved.is_empty() => {
            output::text_line(&format!("{name}: nothing new at {}", words::harmless(&news.url)));
        }
        Some(name) => {
            output::text_line(&format!("{name}: news from {}", words::harmless(&news.url)));
            for one in moved {
                let short =
                    |commit: &weald_model::Oid| commit.to_string().chars().take(12).collect::<String>();
                let before = one.before.as_ref().map_or_else(|| "new".to_owned(), short);
                let name = words::harmless(&one.name);
                output::text_line(&format!("  origin/{name}  {before} -> {}", short(&one.now)));
            }
            output::text_line("  take them up with git, as after `git fetch`");
        }
    }
    for note in &news.notes {
        output::text_line(&format!("  {} {}", output::alarming("note:"), words::harmless(note)));
    }
}
