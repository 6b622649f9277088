//! Very large trees: a repository of a million files, a directory of a hundred thousand.

use super::{
    Bench, EXT4, Measured, Sample, Target, alone, beside, native_tree, over_hollow, remove_native_tree, text,
};
use crate::bench::hollow::{Hollow, Kind};
use crate::bench::loops::{stat_all, unlink_all};
use crate::bench::measure::{Sides, in_turn, timed};
use crate::bench::repositories;
use crate::run::{command, output};
use anyhow::Result;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Longest create of a known commit, fork and start, whatever the size, in milliseconds.
const CREATE_MS_MAX: f64 = 8.0;
const FORK_MS_MAX: f64 = 5.0;
/// Most that walking the tree and asking git may take beside ext4.
const FIND_RATIO_MAX: f64 = 0.8;
const STATUS_RATIO_MAX: f64 = 0.15;
/// Most for names in one directory beside ext4.
const NAMES_RATIO_MAX: [f64; 4] = [3.0, 1.2, 0.8, 2.0];

/// A generated repository, beside a worktree of it.
pub(super) fn generated(bench: &Bench) -> Result<Vec<Measured>> {
    let repository = repositories::generated(bench.disk.path(), bench.scale.generated_files)?;
    let source = text(&repository.path)?;
    let weald = bench.weald("generated")?;
    let first = weald.run(&["create", source, "first"])?;
    let tree = bench.disk.path().join("worktree");
    let native_create = timed(|| native_tree(&repository, &tree).map(drop))?;
    weald.settled_bytes()?;
    // Else each create waits for a million files of the worktree with its first sync.
    output(&mut command::<&str>("sync", &[]))?;
    let runs = bench.scale.runs;
    let creates: Vec<Duration> = (0..runs)
        .map(|round| weald.run(&["create", source, &format!("next-{round}")]))
        .collect::<Result<_>>()?;
    let forks: Vec<Duration> = (0..runs)
        .map(|round| weald.run(&["fork", "first", &format!("fork-{round}")]))
        .collect::<Result<_>>()?;
    let ours = weald.path("first");
    let walk = |root: &Path| timed(|| output(command("find", &[root]).stdout(Stdio::null())).map(drop));
    let ask =
        |root: &Path| timed(|| output(command("git", &["status", "--short"]).current_dir(root)).map(drop));
    let few = bench.scale.build_runs;
    for root in [&ours, &tree] {
        walk(root)?;
        (0..2).try_for_each(|_| ask(root).map(drop))?;
    }
    let walks = in_turn(few, |_| walk(&ours), |_| walk(&tree))?;
    let asked = in_turn(few, |_| ask(&ours), |_| ask(&tree))?;
    let memory = Sample::new(vec![weald.memory_bytes()? / 1e6])?;
    remove_native_tree(&repository, &tree)?;
    let title = &repository.title;
    let of = |what: &str, unit, weald, target| alone(format!("{what}, {title}"), unit, weald, target);
    let pair = |what: &str, (ours, native): (Sample, Sample), most| {
        beside(format!("{what}, {title}"), ours, EXT4, native, Target::Ratio(most))
    };
    let (first, native_create) = (Sample::millis(&[first])?, Sample::millis(&[native_create])?);
    Ok(vec![
        beside(format!("first `create`, {title}"), first, "git worktree add", native_create, Target::Told),
        of("`create` on a known commit", "ms", Sample::millis(&creates)?, Target::AtMost(CREATE_MS_MAX)),
        of("`fork`", "ms", Sample::millis(&forks)?, Target::AtMost(FORK_MS_MAX)),
        pair("warm find", walks, FIND_RATIO_MAX),
        pair("`git status`", asked, STATUS_RATIO_MAX),
        of("daemon memory after all that", "MB", memory, Target::Told),
    ])
}

/// One directory with very many names.
pub(super) fn wide(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("wide")?;
    weald.run(&["create", text(&bench.dir("wide/source")?)?, "ws"])?;
    let (ours, native) = (weald.path("ws").join("wide"), bench.dir("wide/native")?);
    let count = bench.scale.wide_files;
    let hollow = Hollow::start(bench, "wide", Kind::default())?;
    let on_hollow = hollow.as_ref().map(|hollow| hollow.path().join("wide"));
    let mut times: [[Vec<Duration>; 3]; 4] = Default::default();
    for round in 0..bench.scale.build_runs {
        let mut sides: Vec<(usize, &PathBuf)> =
            [&ours, &native].into_iter().chain(&on_hollow).enumerate().collect();
        if round % 2 == 1 {
            sides.reverse();
        }
        for (side, dir) in sides {
            for (step, took) in one_directory(dir, count)?.into_iter().enumerate() {
                times[step][side].push(took);
            }
        }
    }
    let titles = ["create", "stat in another order", "list", "unlink"];
    let rows = times.iter().zip(titles).zip(NAMES_RATIO_MAX).map(|((times, title), most)| {
        let what = format!("{title}, {count} files in one directory");
        Ok(over_hollow(what, Sides::millis(times)?, most))
    });
    rows.collect()
}

/// Makes names, asks for each, lists them and removes them; how long each took.
fn one_directory(dir: &Path, count: usize) -> Result<[Duration; 4]> {
    std::fs::create_dir_all(dir)?;
    let paths: Vec<PathBuf> = (0..count).map(|number| dir.join(format!("entry-{number:07}"))).collect();
    let made =
        timed(|| paths.iter().try_for_each(|path| File::create_new(path).map(drop).map_err(Into::into)))?;
    // Neither in the order of names nor in that of their making.
    let mixed: Vec<PathBuf> = (0..count).map(|at| paths[at * STEP % count].clone()).collect();
    let asked = timed(|| stat_all(&mixed))?;
    let listed = timed(|| output(command("ls", &["-f"]).arg(dir).stdout(Stdio::null())).map(drop))?;
    let removed = timed(|| unlink_all(&mixed))?;
    output(&mut command::<&str>("sync", &[]))?;
    Ok([made, asked, listed, removed])
}

/// Divides neither number of files, so that each is met once.
const STEP: usize = 7_919;
