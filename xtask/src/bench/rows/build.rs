//! Real builds in a workspace beside the same builds on ext4.

use super::{Bench, EXT4, Measured, Target, beside, native_tree, remove_native_tree, text};
use crate::bench::measure::{in_turn, timed};
use crate::bench::repositories::Repository;
use crate::run;
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

/// Most a build may take beside ext4.
const BUILD_RATIO_MAX: f64 = 1.1;

/// Most a build may take with automatic snapshots beside one without.
const HISTORY_RATIO_MAX: f64 = 1.03;

/// A build in a directory; what it makes is in `build` there, and not there before.
type Build = fn(&Path) -> Result<()>;

/// A part of the kernel for the smallest configuration: preparation, host programs and the core's objects.
pub(super) fn make(bench: &Bench) -> Result<Vec<Measured>> {
    let Some(repository) = &bench.repositories.large else {
        eprintln!("not measured at this scale");
        return Ok(Vec::new());
    };
    both(bench, repository, MAKE, make_build)
}

const MAKE: &str = "make -j2 (Linux, tinyconfig, kernel/ lib/)";

fn make_build(tree: &Path) -> Result<()> {
    for target in ["tinyconfig", "kernel/", "lib/"] {
        run::output(run::command("make", &["-s", "-j2", "O=build", target]).current_dir(tree))?;
    }
    Ok(())
}

/// A build with automatic snapshots beside the same build in a workspace without any. They come six times as often as
/// each minute, so that each build has some.
pub(super) fn history_cost(bench: &Bench) -> Result<Vec<Measured>> {
    let Some(repository) = &bench.repositories.large else {
        eprintln!("not measured at this scale");
        return Ok(Vec::new());
    };
    let weald = bench.weald("history-cost")?;
    weald.run(&["create", text(&repository.path)?, "ws"])?;
    weald.run(&["config", "snapshots.every", "10s"])?;
    weald.run(&["config", "snapshots.quiet", "10s"])?;
    let tree = weald.path("ws");
    built(&tree, make_build)?;
    let side = |switch: &str| -> Result<Duration> {
        weald.run(&["config", "snapshots.automatic", switch])?;
        built(&tree, make_build)
    };
    let (with, without) = in_turn(bench.scale.build_runs + 2, |_| side("on"), |_| side("off"))?;
    let what = format!("{MAKE}, a snapshot each 10 s");
    Ok(vec![beside(what, with, "no snapshots", without, Target::Ratio(HISTORY_RATIO_MAX))])
}

/// The crate of this repository that has most dependencies; their sources are fetched beforehand.
pub(super) fn cargo(bench: &Bench) -> Result<Vec<Measured>> {
    run::output(&mut run::cargo(&["fetch", "--locked"]))?;
    let (title, build): (&str, Build) = if bench.scale.large {
        ("cargo build (weald-git and what it needs)", |tree| cargo_build(tree, "weald-git"))
    } else {
        ("cargo build (xtask and what it needs)", |tree| cargo_build(tree, "xtask"))
    };
    both(bench, &bench.repositories.own, title, build)
}

fn cargo_build(tree: &Path, package: &str) -> Result<()> {
    let quick = ["--config", "profile.dev.package.\"*\".opt-level=0"];
    let mut cargo =
        run::cargo(&["build", "--quiet", "--offline", "--locked", "--target-dir", "build", "-p", package]);
    run::output(cargo.args(quick).current_dir(tree)).map(drop)
}

fn both(bench: &Bench, repository: &Repository, what: &str, build: Build) -> Result<Vec<Measured>> {
    let weald = bench.weald("build")?;
    let name =
        repository.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    weald.run(&["create", text(&repository.path)?, &name])?;
    let ours = weald.path(&name);
    let native = native_tree(repository, &bench.disk.path().join("worktree"))?;
    // Once natively, so that compilers and what lies outside the trees are in the caches for both.
    built(&native, build)?;
    let (weald, ext4) = in_turn(bench.scale.build_runs, |_| built(&ours, build), |_| built(&native, build))?;
    remove_native_tree(repository, &native)?;
    Ok(vec![beside(what.to_owned(), weald, EXT4, ext4, Target::Ratio(BUILD_RATIO_MAX))])
}

fn built(tree: &Path, build: Build) -> Result<Duration> {
    let took = timed(|| build(tree))?;
    std::fs::remove_dir_all(tree.join("build"))?;
    run::output(&mut run::command::<&str>("sync", &[]))?;
    Ok(took)
}
