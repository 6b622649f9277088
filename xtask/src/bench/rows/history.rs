//! Snapshots and what is made of them: times must not grow with what a workspace holds.

use super::{Bench, Measured, Sample, Target, alone, beside, text};
use crate::bench::loops::{SMALL_FILE_BYTES, create_all, many_paths, unlink_all};
use crate::bench::measure::in_turn;
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time of a snapshot, in milliseconds.
const SNAPSHOT_MS_MAX: f64 = 5.0;

/// Files changed before a restore, and its longest time in milliseconds.
const RESTORED_FILES: usize = 1000;
const RESTORE_MS_MAX: f64 = 100.0;

/// Changes between two snapshots that are compared, and the longest time of that in milliseconds.
const DIFFERENCES: usize = 100;
const DIFF_MS_MAX: f64 = 20.0;

/// Longest times with many snapshots, in milliseconds.
const HISTORY_MS_MAX: f64 = 50.0;
const PLAN_MS_MAX: f64 = 1000.0;

/// The sparse file, its snapshots, what changes between two of them, and the most each may take, in kilobytes.
const SPARSE_FILE_BYTES: u64 = 20_000_000_000;
const SPARSE_SNAPSHOTS: u64 = 50;
const BLOCK_BYTES: u64 = 4096;
const SPARSE_KB_MAX: f64 = 8.0;

/// Most bytes of log for a new file beside its content.
const LOG_BYTES_MAX: f64 = 200.0;

/// A workspace with much of its own, beside one with ten files.
pub(super) fn snapshot(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("snapshot")?;
    let empty = bench.dir("snapshot/source")?;
    weald.run(&["create", text(&empty)?, "small"])?;
    weald.create(text(&bench.repositories.medium.path)?, "full")?;
    create_all(&many_paths(&weald.path("small").join("private"), 10)?, SMALL_FILE_BYTES)?;
    let (files, bytes) = (bench.scale.private_files, bench.scale.private_file_bytes);
    create_all(&many_paths(&weald.path("full").join("private"), files)?, bytes)?;
    // One of each before: it makes all of that durable, which is not the cost of a snapshot.
    weald.run(&["snapshot", "full", "first"])?;
    weald.run(&["snapshot", "small", "first"])?;
    let touch = |workspace: &str, round: usize| append(&weald.path(workspace).join("touched"), round);
    let (full, small) = in_turn(
        bench.scale.runs * 3,
        |round| touch("full", round).and_then(|()| weald.run(&["snapshot", "full", "next"])),
        |round| touch("small", round).and_then(|()| weald.run(&["snapshot", "small", "next"])),
    )?;
    let gigabytes = (files * bytes) as f64 / 1e9;
    let what = format!("`snapshot` of a workspace with {files} private files, {gigabytes:.2} GB");
    Ok(vec![beside(what, full, "`snapshot` of one with 10", small, Target::AtMost(SNAPSHOT_MS_MAX))])
}

/// Going back, and telling what differs.
pub(super) fn restore(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("restore")?;
    let repository = bench.largest();
    weald.create(text(&repository.path)?, "ws")?;
    let root = weald.path("ws");
    let files = repository.files.iter().map(|file| root.join(file));
    let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    let files: Vec<PathBuf> = files.filter(is_file).take(RESTORED_FILES).collect();
    weald.run(&["snapshot", "ws", "--tag", "start"])?;
    let (mut restored, mut compared) = (Vec::new(), Vec::new());
    for round in 0..bench.scale.runs {
        for file in files.iter().take(DIFFERENCES) {
            append(file, round)?;
        }
        let tag = format!("round-{round}");
        weald.run(&["snapshot", "ws", "--tag", &tag])?;
        compared.push(weald.run(&["diff", "ws@start", &format!("ws@{tag}")])?);
        for file in &files {
            append(file, round)?;
        }
        restored.push(weald.run(&["restore", "ws@start"])?);
    }
    let of = |what: String, values: &[Duration], most| -> Result<Measured> {
        Ok(alone(what, "ms", Sample::millis(values)?, Target::AtMost(most)))
    };
    let title = &repository.title;
    Ok(vec![
        of(format!("`restore` after {} changed files, {title}", files.len()), &restored, RESTORE_MS_MAX)?,
        of(format!("`diff` of snapshots {DIFFERENCES} changes apart, {title}"), &compared, DIFF_MS_MAX)?,
    ])
}

/// Many snapshots of one workspace.
pub(super) fn many(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("snapshots")?;
    weald.create(text(&bench.repositories.medium.path)?, "ws")?;
    let touched = weald.path("ws").join("touched");
    for number in 0..bench.scale.snapshots {
        append(&touched, number)?;
        weald.run(&["snapshot", "ws", "one of many"])?;
    }
    let (mut history, mut plan) = (Vec::new(), Vec::new());
    for _ in 0..bench.scale.runs {
        history.push(weald.run(&["history", "ws"])?);
        plan.push(weald.run(&["gc", "plan"])?);
    }
    let of = |what: &str, values: &[Duration], most| -> Result<Measured> {
        let what = format!("{what} with {} snapshots", bench.scale.snapshots);
        Ok(alone(what, "ms", Sample::millis(values)?, Target::AtMost(most)))
    };
    Ok(vec![of("`history`", &history, HISTORY_MS_MAX)?, of("`gc plan`", &plan, PLAN_MS_MAX)?])
}

/// A large sparse file that changes a little between snapshots.
pub(super) fn sparse(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("sparse")?;
    weald.run(&["create", text(&bench.dir("sparse/source")?)?, "ws"])?;
    let image = OpenOptions::new().write(true).create_new(true).open(weald.path("ws").join("image"))?;
    image.set_len(SPARSE_FILE_BYTES)?;
    weald.run(&["snapshot", "ws", "empty"])?;
    let before = weald.disk_bytes()?;
    let mut took = Vec::new();
    for number in 0..SPARSE_SNAPSHOTS {
        // Far apart, and never in the same block.
        let offset = number * 7_919 % (SPARSE_FILE_BYTES / BLOCK_BYTES) * BLOCK_BYTES;
        let content: Vec<u8> = (0..BLOCK_BYTES).map(|at| (at * 31 + number * 7) as u8).collect();
        image.write_all_at(&content, offset)?;
        took.push(weald.run(&["snapshot", "ws", "next"])?);
    }
    let kilobytes = (weald.disk_bytes()? - before) / SPARSE_SNAPSHOTS as f64 / 1e3;
    let of = |what: &str, unit, weald, most| {
        alone(
            format!("{what}, a file of {} GB, 4 KiB changed", SPARSE_FILE_BYTES / 1_000_000_000),
            unit,
            weald,
            Target::AtMost(most),
        )
    };
    Ok(vec![
        of("`snapshot`", "ms", Sample::millis(&took)?, SNAPSHOT_MS_MAX),
        of("disk of a snapshot", "kB", Sample::new(vec![kilobytes])?, SPARSE_KB_MAX),
    ])
}

/// What the log takes for new files, beside their content.
pub(super) fn log(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("log")?;
    weald.run(&["create", text(&bench.dir("log/source")?)?, "ws"])?;
    let count = bench.scale.churned_files;
    let paths = many_paths(&weald.path("ws").join("files"), count)?;
    let before = weald.log_bytes()?;
    create_all(&paths, SMALL_FILE_BYTES)?;
    let content = (count * SMALL_FILE_BYTES) as f64;
    let each = (weald.log_bytes()? - before - content) / count as f64;
    unlink_all(&paths)?;
    Ok(vec![alone(
        format!("log of a new file beside its content, {count} files"),
        "bytes",
        Sample::new(vec![each])?,
        Target::AtMost(LOG_BYTES_MAX),
    )])
}

fn append(path: &Path, round: usize) -> Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    writeln!(file, "round {round}").with_context(|| format!("cannot append to {}", path.display()))
}
