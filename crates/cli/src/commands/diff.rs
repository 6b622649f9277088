//! `weald diff`.

use crate::args::DiffArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use weald_daemon::protocol::{Detail, DiffRequest, Request};
use weald_daemon::report::{DiffEntry, DiffReport, StateReport};
use weald_model::Fault;

/// Widest bar of `--stat`.
const BAR_MAX: u64 = 40;

pub(super) fn run(context: &Context, args: DiffArgs) -> Result<Outcome, Fault> {
    let detail = match (args.patch, args.stat) {
        (true, _) => Detail::Patch,
        (false, true) => Detail::Stat,
        (false, false) => Detail::Paths,
    };
    let request = DiffRequest {
        from: args.from.as_deref().map(|text| context.spot(text)).transpose()?,
        to: args.to.as_deref().map(|text| context.spot(text)).transpose()?,
        here: context.target(None),
        detail,
    };
    let report: DiffReport = context.ask(Request::Diff(request))?;
    if context.json {
        output::json(&report);
        return Ok(Outcome::Yes);
    }
    match detail {
        Detail::Patch => patches(&report, args.stat),
        Detail::Stat => stat(&report),
        Detail::Paths => paths(&report),
    }
    if report.truncated {
        let more = "more differs than is shown; compare states that are closer";
        eprintln!("{} {more}", output::alarming("!"));
    }
    Ok(Outcome::Yes)
}

/// All entries with their letter, by path.
fn entries(report: &DiffReport) -> Vec<(char, &DiffEntry)> {
    let added = report.added.iter().map(|entry| ('A', entry));
    let removed = report.removed.iter().map(|entry| ('D', entry));
    let mut all: Vec<_> =
        added.chain(removed).chain(report.modified.iter().map(|entry| ('M', entry))).collect();
    all.sort_by(|a, b| a.1.path.cmp(&b.1.path));
    all
}

/// Git's own files change with every command of it; people are told how many.
fn is_gits(entry: &DiffEntry) -> bool {
    entry.path.0 == b".git" || entry.path.0.starts_with(b".git/")
}

fn paths(report: &DiffReport) {
    title(report);
    let all = entries(report);
    let (gits, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, entry)| is_gits(entry));
    for (letter, entry) in others {
        output::text_line(&format!("{letter} {}{}", shown(entry), output::faint(&remark(entry))));
    }
    if !gits.is_empty() {
        let count = words::count(gits.len() as u64, "path");
        output::text_line(&format!("M .git/{}", output::faint(&format!("  {count} (--json lists them)"))));
    }
    output::text_line(&totals(report));
}

fn title(report: &DiffReport) {
    output::text_line(&output::faint(&format!("{} → {}", state(&report.from), state(&report.to))));
}

fn state(state: &StateReport) -> String {
    let name = words::harmless(&state.name);
    match &state.snapshot {
        Some(id) if !state.name.ends_with(id) => format!("{name} ({id})"),
        Some(_) => name,
        None if state.name == state.workspace => format!("{name} (now)"),
        None => name,
    }
}

fn shown(entry: &DiffEntry) -> String {
    let path = words::harmless(&String::from_utf8_lossy(&entry.path.0));
    if entry.kind == "directory" { format!("{path}/") } else { path }
}

/// What is worth saying beyond the letter.
fn remark(entry: &DiffEntry) -> String {
    let mut parts = Vec::new();
    if let Some(old) = &entry.old_mode {
        parts.push(format!("mode {old} → {}", entry.mode));
    }
    if let Some((old, new)) = entry.old_size_bytes.zip(entry.size_bytes).filter(|_| entry.kind == "file") {
        parts.push(format!("{} → {}", words::size(old), words::size(new)));
    }
    if entry.content == Some(false) && entry.old_mode.is_none() {
        parts.push("same content, other time or attributes".to_owned());
    }
    if entry.kind == "symlink" {
        parts.push("symbolic link".to_owned());
    }
    if parts.is_empty() { String::new() } else { format!("  {}", parts.join(", ")) }
}

fn totals(report: &DiffReport) -> String {
    let totals = &report.totals;
    if totals.is_empty() {
        return "Nothing differs.".to_owned();
    }
    let grouped = words::grouped;
    let mut text = format!(
        "{} added, {} removed, {} modified",
        grouped(totals.added),
        grouped(totals.removed),
        grouped(totals.modified)
    );
    if let (Some(added), Some(removed)) = (totals.lines_added, totals.lines_removed) {
        text.push_str(&format!("; {}(+), {}(-)", words::count(added, "line"), words::count(removed, "line")));
    }
    text
}

/// As `git diff --stat`.
fn stat(report: &DiffReport) {
    let all = entries(report);
    let (gits, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, entry)| is_gits(entry));
    let others: Vec<_> = others.iter().filter(|(_, entry)| entry.kind != "directory").collect();
    let width = others.iter().map(|(_, entry)| shown(entry).chars().count()).max().unwrap_or(0);
    let lines = |entry: &DiffEntry| entry.lines.map_or(0, |lines| lines.added + lines.removed);
    let most = others.iter().map(|(_, entry)| lines(entry)).max().unwrap_or(0).max(1);
    for (_, entry) in others {
        let text = match entry.lines {
            Some(count) => {
                let scaled = |lines: u64| match most > BAR_MAX {
                    true => (lines * BAR_MAX).div_ceil(most),
                    false => lines,
                } as usize;
                let (added, removed) = ("+".repeat(scaled(count.added)), "-".repeat(scaled(count.removed)));
                format!("{:>5} {added}{removed}", lines(entry))
            }
            None => {
                let (old, new) = (entry.old_size_bytes.unwrap_or(0), entry.size_bytes.unwrap_or(0));
                format!("  Bin {old} → {new} bytes")
            }
        };
        output::text_line(&format!(" {:width$} | {}", shown(entry), text.trim_end()));
    }
    if !gits.is_empty() {
        output::text_line(&format!(" .git/ | {}", words::count(gits.len() as u64, "path")));
    }
    output::text_line(&format!(" {}", totals(report)));
}

/// Patches as git writes them, its own directory left out.
fn patches(report: &DiffReport, with_stat: bool) {
    if with_stat {
        stat(report);
        output::text_line("");
    }
    for (_, entry) in entries(report) {
        if let Some(patch) = entry.patch.as_ref().filter(|_| !is_gits(entry)) {
            output::bytes(&patch.0);
        }
    }
}
