//! Forking: its time must not grow with what is in the workspace, its space must be next to nothing.

use super::{Bench, Measured, Sample, Target, alone, beside, text};
use crate::bench::loops::{create_all, many_paths};
use crate::bench::measure::in_turn;
use anyhow::Result;

/// Longest time of a fork, in milliseconds.
const FORK_MS_MAX: f64 = 5.0;

/// Forks whose space is measured, and the most they may take together, in megabytes.
const FORKS: usize = 50;
const FORKS_MB_MAX: f64 = 1.0;

/// A workspace with much of its own, beside one with nothing of its own.
pub(super) fn time(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("fork")?;
    let source = text(&bench.repositories.medium.path)?;
    weald.create(source, "empty")?;
    weald.create(source, "full")?;
    let (files, bytes) = (bench.scale.private_files, bench.scale.private_file_bytes);
    create_all(&many_paths(&weald.path("full").join("private"), files)?, bytes)?;
    // One of each before, so that no side pays for what both need once.
    weald.run(&["fork", "full", "full-warm"])?;
    weald.run(&["fork", "empty", "empty-warm"])?;
    let (full, empty) = in_turn(
        bench.scale.runs * 3,
        |round| weald.run(&["fork", "full", &format!("full-{round}")]),
        |round| weald.run(&["fork", "empty", &format!("empty-{round}")]),
    )?;
    let gigabytes = (files * bytes) as f64 / 1e9;
    let what = format!("`fork` of a workspace with {files} private files, {gigabytes:.2} GB");
    Ok(vec![beside(what, full, "`fork` of an unchanged one", empty, Target::AtMost(FORK_MS_MAX))])
}

/// Space of many forks of an unchanged workspace.
pub(super) fn disk(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("fork-disk")?;
    let repository = bench.largest();
    weald.create(text(&repository.path)?, "ws")?;
    let before = weald.disk_bytes()?;
    weald.run(&["fork", "ws", "fork", "--count", &FORKS.to_string()])?;
    let megabytes = (weald.disk_bytes()? - before) / 1e6;
    Ok(vec![alone(
        format!("disk of {FORKS} forks of an unchanged workspace, {}", repository.title),
        "MB",
        Sample::new(vec![megabytes])?,
        Target::AtMost(FORKS_MB_MAX),
    )])
}
