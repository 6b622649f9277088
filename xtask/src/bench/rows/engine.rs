//! The engine alone, without command, kernel and fsync: what a snapshot and a fork cost by themselves.

use super::{Bench, Measured, Sample, Target, text};
use crate::run::{cargo, output};
use anyhow::{Context, Result};

/// Files of the workspace, rounds, and the longest time of one in microseconds.
const FILES: &str = "10000";
const ROUNDS: &str = "1000";
const MICROS_MAX: f64 = 50.0;

/// A snapshot and a fork, with one small write before each.
pub(super) fn snapshot_and_fork(bench: &Bench) -> Result<Vec<Measured>> {
    let dir = bench.dir("engine")?;
    let mut run = cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--release",
        "-p",
        "weald-engine",
        "--example",
        "snapshot_and_fork",
    ]);
    let times = output(run.args(["--", text(&dir)?, FILES, ROUNDS]))?;
    let times = serde_json::from_str(&times).context("the example said something else than times")?;
    Ok(vec![Measured {
        what: format!("engine: snapshot and fork without fsync, {FILES} private files"),
        unit: "µs",
        weald: Sample::new(times)?,
        peer: None,
        target: Target::AtMost(MICROS_MAX),
    }])
}
