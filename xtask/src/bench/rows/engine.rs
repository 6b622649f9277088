//! The engine alone, without command, kernel and fsync: what a snapshot and a fork cost by themselves.

use super::{Bench, Measured, Sample, Target, alone, text};
use crate::run::{cargo, output};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::process::Command;

/// Files of the workspace, rounds, and the longest time of one in microseconds.
const FILES: &str = "10000";
const ROUNDS: &str = "1000";
const MICROS_MAX: f64 = 50.0;

/// Content that is sealed and verified, and the longest processor times for each 10^9 bytes: 1 and 1.5 GB/s.
const SEALED_MEBIBYTES: &str = "1024";
const SEAL_MS_MAX: f64 = 1000.0;
const VERIFY_MS_MAX: f64 = 667.0;

/// A snapshot and a fork, with one small write before each.
pub(super) fn snapshot_and_fork(bench: &Bench) -> Result<Vec<Measured>> {
    let dir = bench.dir("engine")?;
    let times = output(example("snapshot_and_fork").args([text(&dir)?, FILES, ROUNDS]))?;
    let times = serde_json::from_str(&times).context("the example said something else than times")?;
    Ok(vec![alone(
        format!("engine: snapshot and fork without fsync, {FILES} private files"),
        "µs",
        Sample::new(times)?,
        Target::AtMost(MICROS_MAX),
    )])
}

/// What is sealed of a workspace, and is verified of a sealed snapshot, by one processor.
pub(super) fn seal_and_verify(bench: &Bench) -> Result<Vec<Measured>> {
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 0..bench.scale.build_runs {
        let dir = bench.dir(&format!("seal-{round}"))?;
        let said = output(example("seal_and_verify").args([text(&dir)?, SEALED_MEBIBYTES]))?;
        let said: BTreeMap<String, Vec<f64>> =
            serde_json::from_str(&said).context("the example said something else than times")?;
        said.into_iter().for_each(|(what, values)| times.entry(what).or_default().extend(values));
        std::fs::remove_dir_all(&dir)?;
    }
    let rows = [
        ("seal", "engine: seal, processor time per GB in cache", SEAL_MS_MAX),
        ("seal_compressible", "engine: seal, content that shrinks to half", SEAL_MS_MAX),
        (
            "verify",
            "engine: verify a sealed snapshot, processor time per GB read, in chunks and in the log",
            VERIFY_MS_MAX,
        ),
        ("verify_compressible", "engine: verify, content that shrinks to half", VERIFY_MS_MAX),
    ];
    let mut row = |(key, what, most): (&str, &str, f64)| {
        let weald = Sample::new(times.remove(key).unwrap_or_default())?;
        Ok(alone(what.to_owned(), "ms", weald, Target::AtMost(most)))
    };
    rows.into_iter().map(&mut row).collect()
}

/// An example of the engine, built to be measured; its arguments follow.
fn example(name: &str) -> Command {
    let run = ["run", "--quiet", "--locked", "--release", "-p", "weald-engine", "--example", name, "--"];
    cargo(&run)
}
