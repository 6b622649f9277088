//! `weald status`.

use super::{now, tell_refusals};
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use weald_daemon::protocol::Request;
use weald_daemon::report::{PacksReport, ReclaimedReport, RemoteReport, Status};
use weald_model::Fault;

pub(super) fn run(context: &Context) -> Result<Outcome, Fault> {
    let status: Status = context.ask(Request::Status)?;
    if context.json {
        output::json(&status);
        return Ok(Outcome::Yes);
    }
    let since = words::ago(now() - status.started_at.0);
    output::text_line(&format!(
        "{} {}, process {}, started {since}",
        output::strong("weald"),
        status.version,
        status.pid
    ));
    output::facts(&[
        ("workspaces", workspaces(&status)),
        ("home", words::tilde(&status.home)),
        (
            "disk",
            format!("{} used, {} free", words::size(status.disk_bytes), words::size(status.disk_free_bytes)),
        ),
        ("memory", words::size(status.memory_bytes)),
    ]);
    if let Some(packs) = &status.content_packs {
        output::facts(&[("packs", self::packs(packs))]);
    }
    if let Some(count) = status.over_io_uring {
        output::facts(&[("io_uring", words::count(count, "busy workspace"))]);
    }
    if let Some(sealing) = &status.sealing {
        let what = format!("snapshot {} of {}", sealing.snapshot, words::harmless(&sealing.workspace));
        output::facts(&[("sealing", format!("{what}, {} so far", words::size(sealing.bytes)))]);
    }
    if let Some(reclaimed) = &status.reclaimed {
        output::facts(&[("given back", self::reclaimed(reclaimed))]);
    }
    status.remotes.iter().for_each(remote);
    if status.is_disk_low {
        let free = words::size(status.disk_free_bytes);
        output::text_line(&format!("{}: only {free} are free on the disk", output::alarming("warning")));
        output::text_line("  fix: weald gc plan, then weald gc run PLAN; weald trash empty takes more");
    }
    if let Some(at) = &status.crashed_at {
        let times = words::count(status.crashes, "time");
        let ago = words::ago(now() - at.0);
        output::text_line(&format!("The daemon crashed {times}, last {ago}; mounts and programs went on"));
        output::text_line(&format!("  look at: {}/daemon.log", words::tilde(&status.home)));
    }
    if !status.is_supervised {
        output::text_line("The daemon has no supervisor: if it crashed, its mounts would end");
        output::text_line("  fix: weald daemon restart");
    }
    tell_refusals(&status.faults);
    Ok(Outcome::Yes)
}

fn packs(packs: &PacksReport) -> String {
    let mut parts = vec![format!("{} of content, read faster", words::size(packs.disk_bytes))];
    if let Some(repo) = &packs.copying {
        parts.push(format!("copying {}", words::harmless(&words::tilde(repo))));
    }
    if let Some(setting) = &packs.held_back {
        parts.push(format!("not all: {setting} is reached"));
    }
    parts.join(", ")
}

fn reclaimed(reclaimed: &ReclaimedReport) -> String {
    let mut parts = Vec::new();
    if let Some(at) = &reclaimed.last_at {
        parts.push(format!("{} by itself, last {}", words::size(reclaimed.bytes), words::ago(now() - at.0)));
    }
    if let Some(workspace) = &reclaimed.looking_at {
        parts.push(format!("looking at {}", words::harmless(workspace)));
    }
    parts.join(", ")
}

/// What is to be known of a remote: content comes from it, or cannot.
fn remote(remote: &RemoteReport) {
    if let (Some(since), Some(fault)) = (remote.unreachable_since, &remote.fault) {
        let since = words::ago(now() - since.0);
        let why = words::harmless(&fault.message);
        output::text_line(&format!("{}: since {since}: {why}", output::alarming("offline")));
        output::text_line(&format!(
            "  what was read before stays readable; other content of {} fails (EIO) until it can be reached",
            words::harmless(&remote.url)
        ));
        if let Some(hint) = &fault.hint {
            output::text_line(&format!("  fix: {}", words::harmless(hint)));
        }
    } else if remote.wanted > 0 {
        let wanted = words::count(remote.wanted, "object");
        output::facts(&[("fetching", format!("{wanted} from {}", words::harmless(&remote.url)))]);
    }
}

fn workspaces(status: &Status) -> String {
    let mut parts = vec![format!("{} mounted", status.mounted)];
    for (number, word) in
        [(status.idle, "idle"), (status.trashed, "in the trash"), (status.damaged, "damaged")]
    {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    parts.join(", ")
}
