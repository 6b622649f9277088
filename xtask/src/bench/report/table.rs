//! The tables of docs/benchmarks.md: rows beside native work, then the comparison with other file systems.

use super::super::measure::Target;
use super::{Line, Reached, Record, Summary};
use anyhow::{Context, Result};
use std::fmt::Write;

const HEAD: &str = "\
| what | Weald | peer | ratio | kernel's share | on the host's ext4 | target | reached | commit |
|---|--:|--:|--:|--:|--:|--:|---|---|
";
const BEGIN: &str = "<!-- measured: written by `cargo xtask bench` -->\n";
const END: &str = "<!-- end of what is measured -->\n";

/// Both tables with their conditions.
pub(super) fn text(record: &Record) -> String {
    let (many, rows): (Vec<&Line>, Vec<&Line>) = record.lines.iter().partition(|line| line.is_of_many());
    let mut text = format!("{}\n", record.conditions);
    if !rows.is_empty() {
        write!(text, "\n{HEAD}").expect("strings take everything");
        rows.iter().for_each(|line| row(&mut text, &cells(line), &line.commit));
    }
    if !many.is_empty() {
        let _ = write!(text, "\n{}", beside_others(&many));
    }
    text
}

fn row(text: &mut String, cells: &[String], last: &str) {
    let _ = writeln!(text, "| {} | {last} |", cells.join(" | "));
}

/// A row, but for its commit.
pub(super) fn cells(line: &Line) -> [String; 8] {
    let peer = line.peers.first().map(|(name, summary)| format!("{name}: {}", summary.text(&line.unit)));
    let target = match line.target {
        Target::Ratio(most) => format!("ratio ≤ {most}"),
        Target::AtMost(most) => format!("≤ {most} {}", line.unit).trim_end().to_owned(),
        Target::Told => none(),
    };
    let reached = match line.reached() {
        Some(Reached::Yes) => "yes".to_owned(),
        Some(Reached::No) => "**no**".to_owned(),
        Some(Reached::OutOfReach) => "out of reach".to_owned(),
        None => none(),
    };
    let host = line.host.as_ref().zip(line.host_ratio()).map(|((weald, peer), ratio)| {
        format!("{ratio:.2} ({} : {})", short(weald, &line.unit), short(peer, &line.unit))
    });
    let hollow = line.hollow.as_ref().zip(line.hollow_ratio());
    let hollow = hollow.map(|(hollow, ratio)| format!("{ratio:.2} ({})", short(hollow, &line.unit)));
    [
        line.what.clone(),
        line.weald.text(&line.unit),
        peer.unwrap_or_else(none),
        line.ratio().map_or_else(none, |ratio| format!("{ratio:.2}")),
        hollow.unwrap_or_else(none),
        host.unwrap_or_else(none),
        target,
        reached,
    ]
}

fn none() -> String {
    "–".to_owned()
}

/// The median alone.
fn short(summary: &Summary, unit: &str) -> String {
    Summary { low: summary.median, high: summary.median, ..summary.clone() }.text(unit)
}

/// One column for each file system, in the order they are first named.
fn beside_others(lines: &[&Line]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in lines.iter().flat_map(|line| &line.peers) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut text = format!("| what | Weald | {} | commit |\n|---|--:|", names.join(" | "));
    let _ = writeln!(text, "{}---|", "--:|".repeat(names.len()));
    for line in lines {
        let mut cells = vec![line.what.clone(), line.weald.text(&line.unit)];
        for name in &names {
            let found = line.peers.iter().find(|(peer, _)| peer == name);
            cells.push(found.map_or_else(none, |(_, summary)| summary.text(&line.unit)));
        }
        row(&mut text, &cells, &line.commit);
    }
    text
}

/// Puts the tables between the markers of a document.
pub(super) fn replaced(document: &str, tables: &str) -> Result<String> {
    let (before, rest) =
        document.split_once(BEGIN).context("docs/benchmarks.md has lost its first marker")?;
    let (_, after) = rest.split_once(END).context("docs/benchmarks.md has lost its last marker")?;
    Ok(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}
