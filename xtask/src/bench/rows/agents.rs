//! What people come for: many who each take a copy, change a little, build, commit, and go; and a build in a fork of a built tree.

use super::build::in_forks;
use super::{Bench, Measured, Target, beside, native_tree, remove_native_tree, text};
use crate::bench::hollow::{Hollow, Kind};
use crate::bench::measure::{Sample, timed};
use crate::bench::repositories::Repository;
use crate::bench::weald::IDENTITY;
use crate::run::{command, output};
use anyhow::{Context, Result, anyhow, ensure};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Most a round may take of one with `git worktree`.
const ROUND_RATIO_MAX: f64 = 0.33;
/// Agents at work at once.
const AT_ONCE: usize = 4;
/// Agents with `git worktree`, each of which builds what the unit needs: enough to tell what one costs.
const NATIVE_AGENTS: usize = 8;
/// Files that an agent changes.
const CHANGED: usize = 5;

/// Prepares a build of the smallest configuration and builds one unit; in a fork of a tree where that was done, only what changed.
const BUILD: &str = "[ -e build/.config ] || make -s O=build tinyconfig; make -s O=build lib/ctype.o";

/// Rounds of agents with forks, beside rounds with `git worktree`.
pub(super) fn rounds(bench: &Bench) -> Result<Vec<Measured>> {
    let Some(repository) = &bench.repositories.large else {
        eprintln!("not measured at this scale");
        return Ok(Vec::new());
    };
    let weald = bench.weald("agents")?;
    weald.create(text(&repository.path)?, "base")?;
    shell(&weald.path("base"), BUILD)?;
    let before = weald.disk_bytes()?;
    let ours = all(bench.scale.workspaces, &|number| {
        let name = format!("agent-{number}");
        weald.run(&["fork", "base", &name])?;
        work(&weald.path(&name), repository, number)?;
        weald.run(&["remove", "--force", &name]).map(drop)
    })?;
    let disk = weald.disk_bytes()? - before;
    let trees = bench.dir("trees")?;
    let native = all(NATIVE_AGENTS, &|number| {
        let tree = trees.join(number.to_string());
        native_tree(repository, &tree)?;
        work(&tree, repository, number)?;
        remove_native_tree(repository, &tree)
    })?;
    let one = trees.join("one");
    native_tree(repository, &one)?;
    shell(&one, BUILD)?;
    let tree_bytes: f64 = output(command("du", &["-s", "-B1"]).arg(&one))?
        .split_whitespace()
        .next()
        .context("du said nothing")?
        .parse()?;
    remove_native_tree(repository, &one)?;
    let what = format!(
        "a round of an agent, {AT_ONCE} at once: fork, {CHANGED} edits, status, build of a unit, commit, remove; {}",
        repository.title
    );
    let count = bench.scale.workspaces as f64;
    Ok(vec![
        beside(what, ours, "git worktree on ext4", native, Target::Ratio(ROUND_RATIO_MAX)),
        Measured {
            what: "disk of what such an agent did, removed and still to be had back".to_owned(),
            unit: "MB",
            weald: Sample::new(vec![disk / count / 1e6])?,
            peers: vec![("a built worktree".to_owned(), Sample::new(vec![tree_bytes / 1e6])?)],
            hollow: None,
            target: Target::Ratio(0.02),
        },
    ])
}

/// A build with nothing to do in a fork of a built workspace, beside the same in a built tree on ext4.
pub(super) fn fork_of_built(bench: &Bench) -> Result<Vec<Measured>> {
    const ALL: &str = "make -s -j2 O=build tinyconfig && make -s -j2 O=build kernel/ lib/";
    let Some(repository) = &bench.repositories.large else {
        eprintln!("not measured at this scale");
        return Ok(Vec::new());
    };
    let weald = bench.weald("fork-built")?;
    weald.create(text(&repository.path)?, "built")?;
    shell(&weald.path("built"), ALL)?;
    let native = native_tree(repository, &bench.disk.path().join("built"))?;
    // The tree without what is built in it, which knows where it was built.
    let hollow = Hollow::start(bench, "fork-built", Kind { tree: Some(&native), ..Kind::default() })?;
    shell(&native, ALL)?;
    hollow.iter().try_for_each(|hollow| shell(hollow.path(), ALL))?;
    let again = |tree: &Path| {
        timed(|| {
            let said = output(command("make", &["-j2", "O=build", "kernel/", "lib/"]).current_dir(tree))?;
            ensure!(!said.contains("  CC "), "something was compiled again: {said}");
            Ok(())
        })
    };
    again(&native)?;
    let what = "make with nothing to do, in a fork of a built workspace (Linux, tinyconfig, kernel/ lib/)";
    let row = in_forks(bench, &weald, &native, hollow, what.to_owned(), again)?;
    remove_native_tree(repository, &native)?;
    Ok(vec![row])
}

/// What an agent does in its copy.
fn work(tree: &Path, repository: &Repository, number: usize) -> Result<()> {
    let sources = repository.files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "c"));
    let mut line = String::new();
    for file in sources.skip(number * CHANGED).take(CHANGED) {
        line.push_str(&format!("echo '/* {number} */' >> '{}'; ", file.display()));
    }
    line.push_str("echo '/* changed */' >> lib/ctype.c; git status --short > /dev/null; ");
    shell(tree, &format!("{line} {BUILD}; git commit -q -a -m 'work of {number}'"))
}

fn shell(tree: &Path, line: &str) -> Result<()> {
    output(command("sh", &["-ec", line]).current_dir(tree).envs(IDENTITY)).map(drop)
}

/// Has so many agents do a round, some at once. Gives the time for each, as one value.
fn all(count: usize, round: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<Sample> {
    let next = AtomicUsize::new(0);
    let agent = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            round(number)?;
        }
    };
    let took: Duration = timed(|| {
        std::thread::scope(|scope| {
            let agents: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(agent)).collect();
            agents.into_iter().try_for_each(|agent| agent.join().map_err(|_| anyhow!("an agent panicked"))?)
        })
    })?;
    Sample::millis(&[took / u32::try_from(count)?])
}
