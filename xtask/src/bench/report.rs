//! What was measured: every single value as JSON in `target/bench`; medians and spreads in docs/benchmarks.json, and from
//! those the tables of docs/benchmarks.md and the picture beside it.
//!
//! Invariant: a group that was measured takes the place of all its former rows; the others stay as they are, each with the
//! commit it was measured at.

mod plot;
mod table;

use super::measure::{Measured, Sample, Target};
use super::rows;
use crate::run::{command, output, root, target};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

const RECORD: &str = "docs/benchmarks.json";
const DOCUMENT: &str = "docs/benchmarks.md";
const PICTURE: &str = "docs/benchmarks.svg";

/// A measured row, with what was measured for it on the host's own file system.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finished {
    group: &'static str,
    row: Measured,
    host: Option<Measured>,
}

impl Finished {
    /// A row of a group, so far measured in one place.
    pub(super) fn new(group: &'static str, row: Measured) -> Self {
        Self { group, row, host: None }
    }

    /// Takes what was measured on the host, when this row is among it.
    pub(super) fn add_host(&mut self, rows: &[Finished]) {
        self.host = rows.iter().find(|there| there.row.what == self.row.what).map(|there| there.row.clone());
    }

    /// For the eye.
    pub(super) fn line(&self) -> String {
        let line = Line::new(self, "");
        let peers: Vec<String> = line.peers[line.peers.len().min(1)..]
            .iter()
            .map(|(name, summary)| format!("{name}: {}", summary.text(&line.unit)))
            .collect();
        [table::cells(&line).join("  "), peers.join("  ")].join("  ").trim_end().to_owned()
    }
}

/// The middle and the spread of a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Summary {
    median: f64,
    low: f64,
    high: f64,
    /// What a quarter of the values is below, of so many that it says more than the lowest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quarter: Option<f64>,
}

impl From<&Sample> for Summary {
    fn from(sample: &Sample) -> Self {
        let (low, high) = sample.spread();
        Self { median: sample.median(), low, high, quarter: sample.lower_quarter() }
    }
}

impl Summary {
    /// What noise disturbs least, without the luck of a single run where there are enough of them.
    fn undisturbed(&self) -> f64 {
        self.quarter.unwrap_or(self.low)
    }

    fn text(&self, unit: &str) -> String {
        let digits = usize::from(self.median < 100.0);
        let (median, low, high) = (self.median, self.low, self.high);
        if low == high {
            return format!("{low:.digits$} {unit}").trim_end().to_owned();
        }
        format!("{median:.digits$} {unit} ({low:.digits$}–{high:.digits$})")
    }
}

/// A row as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    group: String,
    what: String,
    unit: String,
    weald: Summary,
    /// What it is compared with; the ratio is to the first.
    peers: Vec<(String, Summary)>,
    /// The same two on the host's own file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<(Summary, Summary)>,
    /// The same work on the file system whose answers cost nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hollow: Option<Summary>,
    target: Target,
    commit: String,
}

impl Line {
    fn new(finished: &Finished, commit: &str) -> Self {
        let row = &finished.row;
        let host = finished.host.as_ref().and_then(|there| {
            there.peers.first().map(|(_, peer)| (Summary::from(&there.weald), Summary::from(peer)))
        });
        Self {
            group: finished.group.to_owned(),
            what: row.what.clone(),
            unit: row.unit.to_owned(),
            weald: Summary::from(&row.weald),
            peers: row.peers.iter().map(|(name, sample)| (name.clone(), Summary::from(sample))).collect(),
            host,
            hollow: row.hollow.as_ref().map(Summary::from),
            target: row.target,
            commit: commit.to_owned(),
        }
    }

    /// Weald's median divided by the first peer's.
    fn ratio(&self) -> Option<f64> {
        self.peers.first().map(|(_, peer)| self.weald.median / peer.median)
    }

    /// The same on the host's own file system.
    fn host_ratio(&self) -> Option<f64> {
        self.host.as_ref().map(|(weald, peer)| weald.median / peer.median)
    }

    /// The kernel's share, divided by the first peer's.
    fn hollow_ratio(&self) -> Option<f64> {
        self.hollow.as_ref().zip(self.peers.first()).map(|(hollow, (_, peer))| hollow.median / peer.median)
    }

    /// Whether the target is reached, where there is one.
    fn reached(&self) -> Option<Reached> {
        let is_reached = self.target.reached(self.weald.median, self.ratio())?;
        Some(match (is_reached, self.target) {
            (true, _) => Reached::Yes,
            (false, Target::Ratio(most)) if self.kernel_takes_more_than(most) => Reached::OutOfReach,
            (false, _) => Reached::No,
        })
    }

    /// Whether the kernel takes more than so much of the peer's time by itself: in the median and in the quicker runs, which noise
    /// disturbs least. Work that was slower on the hollow file system than here proves nothing.
    fn kernel_takes_more_than(&self, most: f64) -> bool {
        /// What medians of the same work differ by.
        const NOISE: f64 = 1.1;
        let Some((hollow, (_, peer))) = self.hollow.as_ref().zip(self.peers.first()) else { return false };
        let all: [fn(&Summary) -> f64; 2] = [|summary| summary.median, Summary::undisturbed];
        all.iter().all(|of| of(hollow) <= NOISE * of(&self.weald) && most < of(hollow) / of(peer))
    }

    /// One of the comparison with other file systems, which has a table of its own.
    fn is_of_many(&self) -> bool {
        self.peers.len() > 1
    }
}

/// Whether a row is as fast as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Yes,
    No,
    /// Not, and what the kernel takes by itself is more than the target.
    OutOfReach,
}

/// All rows, and what the last ones were measured on.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    conditions: String,
    lines: Vec<Line>,
}

impl Record {
    /// Puts lines in place of all those of their groups, in the order of the groups.
    fn take(&mut self, conditions: String, new: Vec<Line>) {
        self.conditions = conditions;
        self.lines.retain(|old| new.iter().all(|line| line.group != old.group));
        self.lines.extend(new);
        let place = |line: &Line| rows::ALL.iter().position(|group| group.name == line.group);
        self.lines.sort_by_key(|line| place(line).unwrap_or(usize::MAX));
    }
}

/// Writes the JSON, prints the tables, and keeps the rows and rewrites the documents when they are at full scale.
pub(super) fn tell(rows: &[Finished], is_full: bool) -> Result<()> {
    let dir = target().join("bench");
    std::fs::create_dir_all(&dir)?;
    let (conditions, commit) =
        (conditions()?, output(&mut command("git", &["describe", "--always", "--dirty"]))?);
    let commit = commit.trim();
    let json = serde_json::json!({ "conditions": conditions, "commit": commit, "rows": rows });
    std::fs::write(dir.join("last.json"), serde_json::to_string_pretty(&json)?)?;
    let lines: Vec<Line> = rows.iter().map(|row| Line::new(row, commit)).collect();
    let mut latest = Record::default();
    latest.take(conditions.clone(), lines.clone());
    println!("{}", table::text(&latest));
    std::fs::write(dir.join("last.svg"), plot::picture(&latest.lines))?;
    if is_full {
        keep(conditions, lines)?;
    }
    Ok(())
}

fn keep(conditions: String, lines: Vec<Line>) -> Result<()> {
    let mut record = kept()?;
    record.take(conditions, lines);
    std::fs::write(root().join(RECORD), serde_json::to_string_pretty(&record)? + "\n")?;
    write()
}

/// Makes the tables and the picture from what is kept.
pub(super) fn write() -> Result<()> {
    let record = kept()?;
    let path = root().join(DOCUMENT);
    let document = std::fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    std::fs::write(&path, table::replaced(&document, &table::text(&record))?)?;
    std::fs::write(root().join(PICTURE), plot::picture(&record.lines))?;
    Ok(())
}

fn kept() -> Result<Record> {
    let text =
        std::fs::read_to_string(root().join(RECORD)).with_context(|| format!("cannot read {RECORD}"))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {RECORD}"))
}

/// Where and on what it was measured.
fn conditions() -> Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let kernel = output(&mut command("uname", &["-r"]))?;
    let date = output(&mut command("date", &["-u", "+%Y-%m-%d"]))?;
    let model = model.trim_start_matches([':', ' ', '\t']);
    Ok(format!(
        "Last on {}, {cores} cores ({model}), Linux {}. Median (lowest–highest).",
        date.trim(),
        kernel.trim()
    ))
}

#[cfg(test)]
mod tests;
