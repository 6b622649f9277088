//! Real builds in a workspace beside the same builds on ext4.

use super::{Bench, Measured, Target, beside, native_tree, over_hollow, remove_native_tree, text};
use crate::bench::hollow::{Hollow, Kind};
use crate::bench::measure::{in_turn, timed, with_hollow};
use crate::bench::repositories::Repository;
use crate::bench::weald::Weald;
use crate::run;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most a build may take beside ext4.
const MAKE_RATIO_MAX: f64 = 0.95;
const CARGO_RATIO_MAX: f64 = 0.98;

/// Most a build that has nothing to do may take beside the same on ext4.
const NOTHING_RATIO_MAX: f64 = 1.05;

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
    both(bench, repository, MAKE, make_build, MAKE_RATIO_MAX)
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
    weald.create(text(&repository.path)?, "ws")?;
    weald.run(&["config", "snapshots.every", "10s"])?;
    weald.run(&["config", "snapshots.quiet", "10s"])?;
    let tree = weald.path("ws");
    built(&tree, make_build)?;
    let side = |switch: &str| -> Result<Duration> {
        weald.run(&["config", "snapshots.automatic", switch])?;
        built(&tree, make_build)
    };
    let (with, without) = in_turn(bench.scale.build_runs, |_| side("on"), |_| side("off"))?;
    let what = format!("{MAKE}, a snapshot each 10 s");
    Ok(vec![beside(what, with, "no snapshots", without, Target::Ratio(HISTORY_RATIO_MAX))])
}

/// The crate of this repository that has most dependencies; their sources are fetched beforehand.
pub(super) fn cargo(bench: &Bench) -> Result<Vec<Measured>> {
    let (package, title) = cargo_package(bench)?;
    let build: Build = if package == LARGE_PACKAGE {
        |tree| cargo_build(tree, LARGE_PACKAGE)
    } else {
        |tree| cargo_build(tree, SMALL_PACKAGE)
    };
    both(bench, &bench.repositories.own, &title, build, CARGO_RATIO_MAX)
}

const LARGE_PACKAGE: &str = "weald-git";
const SMALL_PACKAGE: &str = "xtask";

/// What is built at this scale, and what to call that.
fn cargo_package(bench: &Bench) -> Result<(&'static str, String)> {
    run::output(&mut run::cargo(&["fetch", "--locked"]))?;
    let package = if bench.scale.large { LARGE_PACKAGE } else { SMALL_PACKAGE };
    Ok((package, format!("cargo build ({package} and what it needs)")))
}

/// The same with nothing to do in a fork of a built workspace, beside a built tree on ext4.
pub(super) fn cargo_again(bench: &Bench) -> Result<Vec<Measured>> {
    let (package, title) = cargo_package(bench)?;
    let repository = &bench.repositories.own;
    let weald = bench.weald("cargo-again")?;
    weald.create(text(&repository.path)?, "built")?;
    let native = native_tree(repository, &bench.disk.path().join("worktree"))?;
    let hollow = Hollow::start(bench, "cargo-again", Kind { tree: Some(&native), ..Kind::default() })?;
    let trees = [&weald.path("built"), &native];
    for tree in trees.into_iter().map(PathBuf::as_path).chain(hollow.as_ref().map(Hollow::path)) {
        cargo_build(tree, package)?;
        cargo_build(tree, package)?;
    }
    let again = |tree: &Path| {
        timed(|| {
            let said = cargo_says(tree, package)?;
            ensure!(!said.contains("\"fresh\":false"), "something was compiled again");
            Ok(())
        })
    };
    let what = format!("{title} with nothing to do, in a fork of a built workspace");
    let row = in_forks(bench, &weald, &native, hollow, what, again)?;
    remove_native_tree(repository, &native)?;
    Ok(vec![row])
}

/// A build that has nothing to do, in a new fork of the workspace `built` each time, beside the same in a built tree on ext4,
/// and in one whose mount is new each time.
pub(super) fn in_forks(
    bench: &Bench,
    weald: &Weald,
    native: &Path,
    mut hollow: Option<Hollow>,
    what: String,
    again: impl Fn(&Path) -> Result<Duration>,
) -> Result<Measured> {
    let in_fork = |round: usize| {
        let name = format!("fork-{round}");
        weald.run(&["fork", "built", &name])?;
        again(&weald.path(&name))
    };
    let on_hollow = hollow.as_mut().map(|hollow| {
        |_| {
            hollow.forget()?;
            again(hollow.path())
        }
    });
    let sides = with_hollow(bench.scale.runs, in_fork, |_| again(native), on_hollow)?;
    Ok(over_hollow(what, sides, NOTHING_RATIO_MAX))
}

fn cargo_build(tree: &Path, package: &str) -> Result<()> {
    cargo_says(tree, package).map(drop)
}

/// Builds and returns what cargo says of each unit.
fn cargo_says(tree: &Path, package: &str) -> Result<String> {
    let quick = ["--config", "profile.dev.package.\"*\".opt-level=0", "--message-format", "json"];
    let mut cargo =
        run::cargo(&["build", "--quiet", "--offline", "--locked", "--target-dir", "build", "-p", package]);
    run::output(cargo.args(quick).current_dir(tree))
}

fn both(
    bench: &Bench,
    repository: &Repository,
    what: &str,
    build: Build,
    most: f64,
) -> Result<Vec<Measured>> {
    let weald = bench.weald("build")?;
    let name =
        repository.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    weald.create(text(&repository.path)?, &name)?;
    let ours = weald.path(&name);
    let native = native_tree(repository, &bench.disk.path().join("worktree"))?;
    let hollow = Hollow::start(bench, "build", Kind { tree: Some(&native), ..Kind::default() })?;
    let on_hollow = hollow.as_ref().map(|hollow| |_| built(hollow.path(), build));
    // Once natively, so that compilers and what lies outside the trees are in the caches for both.
    built(&native, build)?;
    let sides =
        with_hollow(bench.scale.build_runs, |_| built(&ours, build), |_| built(&native, build), on_hollow)?;
    remove_native_tree(repository, &native)?;
    Ok(vec![over_hollow(what.to_owned(), sides, most)])
}

fn built(tree: &Path, build: Build) -> Result<Duration> {
    let took = timed(|| build(tree))?;
    std::fs::remove_dir_all(tree.join("build"))?;
    run::output(&mut run::command::<&str>("sync", &[]))?;
    Ok(took)
}
