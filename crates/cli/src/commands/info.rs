//! `weald info`.

use super::{list, now};
use crate::args::WorkspaceArg;
use crate::context::Context;
use crate::failure::{Outcome, tell_line};
use crate::{output, words};
use weald_daemon::protocol::Request;
use weald_daemon::report::{AheadWord, FetchedReport, Info, StatusWord};
use weald_model::Fault;

pub(super) fn run(context: &Context, args: WorkspaceArg) -> Result<Outcome, Fault> {
    let info: Info = context.ask(Request::Info { target: context.target(args.workspace) })?;
    if context.json {
        output::json(&info);
    } else {
        show(&info);
    }
    if let Some(fault) = &info.row.fault {
        tell_line(&Fault::from(fault.clone()));
    }
    Ok(if info.row.status == StatusWord::Damaged { Outcome::No } else { Outcome::Yes })
}

fn show(info: &Info) {
    let row = &info.row;
    output::text_line(&format!("{}  {}", output::strong(&row.name), list::status(row.status)));
    let parent = row.parent.clone().unwrap_or_default();
    let created = words::ago(now() - row.created_at.0);
    output::facts(&[
        ("path", words::tilde(&row.path)),
        ("mount", mount(info)),
        ("created", if parent.is_empty() { created } else { format!("{created}, forked from {parent}") }),
        ("source", format!("{} ({})", words::tilde(&info.source.location), info.source.kind)),
        ("git objects", info.source.git_dir.as_deref().map(words::tilde).unwrap_or_default()),
        ("branch", list::branch(row.branch.as_deref(), row.commit.as_deref())),
        ("commit", row.commit.clone().unwrap_or_default()),
        ("base", base(info)),
        (
            "asked",
            info.source
                .asked_at
                .map(|when| format!("for news {}", words::ago(now() - when.0)))
                .unwrap_or_default(),
        ),
        ("fetched", info.source.fetched.as_ref().map(fetched).unwrap_or_default()),
        ("pin", info.source.pin.clone().unwrap_or_default()),
        ("files", figures(row.files, row.size_bytes)),
        ("private", row.private_bytes.map(words::size).unwrap_or_default()),
        ("snapshots", snapshots(info)),
        ("on disk", on_disk(info)),
        ("log", log(info)),
        ("shared by", words::count(info.store.shared_by, "other workspace")),
        ("dedup", format!("{:.2}×", info.store.dedup_ratio)),
        ("compression", format!("{:.2}×", info.store.compression_ratio)),
        ("id", row.id.clone()),
    ]);
}

fn mount(info: &Info) -> String {
    match (info.mount.mounted, info.mount.allow_other) {
        (false, _) => "not mounted".to_owned(),
        (true, false) => format!("{}, for user {} only", info.mount.kind, info.mount.uid),
        (true, true) => format!("{}, open to other users", info.mount.kind),
    }
}

fn base(info: &Info) -> String {
    let Some(commit) = &info.source.base_commit else { return String::new() };
    let age = info.source.base_time.map(|time| words::ago(now() - time.0)).unwrap_or_default();
    format!("{commit}, {age}")
}

fn fetched(fetched: &FetchedReport) -> String {
    let rest = match fetched.ahead {
        AheadWord::Running => "; the rest is being fetched",
        AheadWord::Waiting => "; the rest will be fetched",
        AheadWord::Done => "",
        AheadWord::Off => "; the rest comes when it is read (fetch.prefetch is off)",
        AheadWord::Limit => "; the rest comes when it is read (fetch.prefetch_max)",
        AheadWord::Offline => "; the remote cannot be reached: weald status",
    };
    format!("{} of {} files{rest}", words::grouped(fetched.here), words::grouped(fetched.total))
}

fn figures(files: Option<u64>, size: Option<u64>) -> String {
    match (files, size) {
        (Some(files), Some(size)) => format!("{}, {}", words::grouped(files), words::size(size)),
        _ => String::new(),
    }
}

fn snapshots(info: &Info) -> String {
    let Some(last) = info.snapshots.first() else { return "none".to_owned() };
    let when = words::ago(now() - last.created_at.0);
    format!("{}, the last {when}", words::grouped(info.snapshots.len() as u64))
}

fn log(info: &Info) -> String {
    let records = info.store.records.map(|records| words::count(records, "record")).unwrap_or_default();
    match info.logs_reads {
        Some(true) => format!("{records}, reads included"),
        _ => records,
    }
}

fn on_disk(info: &Info) -> String {
    let own = words::size(info.store.disk_bytes);
    let chunks = info.store.chunk_bytes.filter(|bytes| *bytes > 0);
    let chunks = chunks.map(|bytes| format!("{} of content in chunks", words::size(bytes)));
    let manifest = info.store.manifest_bytes;
    let manifest = manifest.map(|bytes| format!("a manifest of {}", words::size(bytes)));
    let shared: Vec<String> = chunks.into_iter().chain(manifest).collect();
    match shared.is_empty() {
        true => format!("{own} of its own"),
        false => format!("{own} of its own; shared with whoever has the same: {}", shared.join(", ")),
    }
}
