//! What many workspaces cost while nobody works in them.

use super::{Bench, Measured, Sample, Target, alone, text};
use crate::bench::measure::timed;
use crate::bench::weald::Weald;
use anyhow::Result;

/// Most memory of the daemon, in megabytes.
const MEMORY_MB_MAX: f64 = 100.0;

/// Longest start, in milliseconds.
const START_MS_MAX: f64 = 300.0;

/// Memory of the daemon with many idle workspaces.
pub(super) fn memory(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = many(bench, "memory")?;
    let megabytes = weald.memory_bytes()? / 1e6;
    let what = format!("daemon memory, {}", title(bench));
    let weald = Sample::new(vec![megabytes])?;
    Ok(vec![alone(what, "MB", weald, Target::AtMost(MEMORY_MB_MAX))])
}

/// From the start of the daemon until all its workspaces are mounted.
pub(super) fn start(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = many(bench, "start")?;
    let mut values = Vec::new();
    for _ in 0..bench.scale.runs {
        weald.run(&["daemon", "stop"])?;
        values.push(timed(|| {
            weald.run(&["daemon", "start"])?;
            weald.wait_mounted(bench.scale.workspaces)
        })?);
    }
    let what = format!("start of the daemon, {}", title(bench));
    let weald = Sample::millis(&values)?;
    Ok(vec![alone(what, "ms", weald, Target::AtMost(START_MS_MAX))])
}

fn many(bench: &Bench, name: &str) -> Result<Weald> {
    let weald = bench.weald(name)?;
    for index in 0..bench.scale.workspaces {
        weald.run(&["create", text(&bench.largest().path)?, &format!("ws-{index}")])?;
    }
    weald.wait_mounted(bench.scale.workspaces)?;
    Ok(weald)
}

fn title(bench: &Bench) -> String {
    format!("{} idle workspaces of {}", bench.scale.workspaces, bench.largest().title)
}
