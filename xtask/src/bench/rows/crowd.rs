//! Very many workspaces: what they cost while nobody works in them, and whether who works in some notices the others.

use super::{Bench, Measured, Sample, Target, alone, text};
use crate::bench::measure::{in_turn, timed};
use crate::bench::weald::Weald;
use crate::run::{command, output};
use anyhow::{Context, Result, anyhow};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Wake-ups of all threads together while nothing happens, and for how long that is watched.
const WAKE_UPS_MAX: f64 = 0.0;
const WATCHED: Duration = Duration::from_secs(10);
/// What is still going on after the start has ended by then.
const CALM_AFTER: Duration = Duration::from_secs(10);

/// Most memory of the daemon, in megabytes.
const MEMORY_MB_MAX: f64 = 200.0;

/// Most that work may take with all others mounted, of the same without them.
const CROWD_RATIO_MAX: f64 = 1.1;

/// Threads that work, as many as there are processors here.
const AT_ONCE: usize = 2;

/// Files that are changed in each before a status.
const CHANGED: usize = 5;

/// Idle ones, then some at work among them.
pub(super) fn all(bench: &Bench) -> Result<Vec<Measured>> {
    let (weald, few) =
        (crowd(bench, "crowd", bench.scale.crowd)?, crowd(bench, "few", bench.scale.active + 1)?);
    let count = bench.scale.crowd;
    let title = format!("{count} mounted workspaces of {}", bench.repositories.medium.title);
    let mut starts = Vec::new();
    for _ in 0..bench.scale.build_runs {
        weald.run(&["daemon", "stop"])?;
        starts.push(timed(|| {
            weald.run(&["daemon", "start"])?;
            weald.wait_mounted(count)
        })?);
    }
    let daemon = weald.daemon()?;
    std::thread::sleep(CALM_AFTER);
    let (wake_ups, busy) = watched(daemon)?;
    let idle_memory = weald.memory_bytes()? / 1e6;
    let (working, without) = in_turn(
        bench.scale.build_runs + 2,
        |round| work_in(bench, &weald, round),
        |round| work_in(bench, &few, round),
    )?;
    let row = |what: &str, unit, weald, target| alone(format!("{what}, {title}"), unit, weald, target);
    let of = |value: f64| Sample::new(vec![value]);
    let mut rows = vec![
        row("start of the daemon", "ms", Sample::millis(&starts)?, Target::Told),
        row("wake-ups of the idle daemon in 10 s", "", of(wake_ups)?, Target::AtMost(WAKE_UPS_MAX)),
        row("processor time of the idle daemon in 10 s", "ms", of(busy)?, Target::AtMost(0.0)),
        row("memory of the idle daemon", "MB", of(idle_memory)?, Target::AtMost(MEMORY_MB_MAX)),
        row("memory after work", "MB", of(weald.memory_bytes()? / 1e6)?, Target::AtMost(MEMORY_MB_MAX)),
    ];
    let what = format!("{CHANGED} edits and `git status` in each of {}", bench.scale.active);
    let mut working = row(&what, "ms", working, Target::Ratio(CROWD_RATIO_MAX));
    working.peers = vec![("no others mounted".to_owned(), without)];
    rows.push(working);
    Ok(rows)
}

/// A home with so many, one of which is only there to be forked.
fn crowd(bench: &Bench, name: &str, count: usize) -> Result<Weald> {
    let weald = bench.weald(name)?;
    weald.create(text(&bench.repositories.medium.path)?, "base")?;
    weald.run(&["fork", "base", "ws", "--count", &(count - 1).to_string()])?;
    weald.wait_mounted(count)?;
    Ok(weald)
}

/// Wake-ups and milliseconds of processor time of a process and all that it watches over, in the time watched.
fn watched(daemon: u64) -> Result<(f64, f64)> {
    let (switches, ticks) = counted(daemon)?;
    std::thread::sleep(WATCHED);
    let (switches_after, ticks_after) = counted(daemon)?;
    const MILLIS_OF_A_TICK: f64 = 10.0;
    // A thread that has ended takes its numbers along.
    let (switches, ticks) = (switches_after.saturating_sub(switches), ticks_after.saturating_sub(ticks));
    Ok((switches as f64, ticks as f64 * MILLIS_OF_A_TICK))
}

/// Voluntary switches and ticks of all threads of the daemon and of its supervisor so far: whoever wakes up will
/// switch again.
fn counted(daemon: u64) -> Result<(u64, u64)> {
    let (mut switches, mut ticks) = (0, 0);
    let status = std::fs::read_to_string(format!("/proc/{daemon}/status"))?;
    let supervisor = field(&status, "PPid:")?;
    for process in [daemon, supervisor].into_iter().filter(|process| *process > 1) {
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?.path();
            let status = std::fs::read_to_string(task.join("status"))?;
            switches += field(&status, "voluntary_ctxt_switches:")?;
            let stat = std::fs::read_to_string(task.join("stat"))?;
            let after_name = stat.rsplit_once(')').context("a stat has a name")?.1;
            // User and system time are the fields 14 and 15 of the whole line.
            ticks += after_name
                .split(' ')
                .skip(12)
                .take(2)
                .map_while(|word| word.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    Ok((switches, ticks))
}

fn field(status: &str, name: &str) -> Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)).context("a status lacks a field")?;
    Ok(value.trim().parse()?)
}

/// Edits and asks for the status in those that are worked in, two at a time, spread over all.
fn work_in(bench: &Bench, weald: &Weald, round: usize) -> Result<Duration> {
    let roots: Vec<PathBuf> = (1..=bench.scale.active).map(|number| place(weald, number)).collect();
    let next = AtomicUsize::new(0);
    let worker = || -> Result<()> {
        while let Some(root) = roots.get(next.fetch_add(1, Ordering::Relaxed)) {
            edit_and_ask(bench, root, round)?;
        }
        Ok(())
    };
    timed(|| {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a thread panicked"))?)
        })
    })
}

fn place(weald: &Weald, number: usize) -> PathBuf {
    weald.path(&format!("ws-{number}"))
}

fn edit_and_ask(bench: &Bench, root: &Path, round: usize) -> Result<()> {
    let files = bench.repositories.medium.files.iter().map(|file| root.join(file));
    for path in files.filter(|path| !path.is_symlink()).take(CHANGED) {
        writeln!(OpenOptions::new().append(true).open(path)?, "round {round}")?;
    }
    output(command("git", &["status", "--short"]).current_dir(root)).map(drop)
}
