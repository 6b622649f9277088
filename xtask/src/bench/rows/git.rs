//! Git in a workspace, and the way back: status, promote, merge, and many who commit at once.

use super::{Bench, EXT4, Measured, Target, alone, beside, native_tree, remove_native_tree, text};
use crate::bench::measure::{Sample, in_turn, timed};
use crate::bench::repositories::Repository;
use crate::bench::weald::{IDENTITY, Weald};
use crate::run::{command, output};
use anyhow::{Context, Result, ensure};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Most `git status` may take of native time: in the smaller and in the larger repository.
const STATUS_RATIO_MAX: [f64; 2] = [0.3, 0.15];
/// Most a status may take with very many ignored files below, of the time without.
const IGNORED_RATIO_MAX: f64 = 2.0;
/// Ignored files of that row.
const IGNORED: usize = 100_000;
/// Longest first `git status`, in milliseconds: in the smaller and in the larger repository.
const FIRST_STATUS_MS_MAX: [f64; 2] = [40.0, 120.0];
/// Longest promote of 1,000 changed files, in milliseconds.
const PROMOTE_MS_MAX: f64 = 300.0;
/// Longest merge of 10 changed files, in milliseconds.
const MERGE_MS_MAX: f64 = 150.0;
/// Most that committing in many workspaces may take of the time in as many clones.
const COMMITS_RATIO_MAX: f64 = 1.25;
/// Files changed before a status.
const CHANGED: usize = 10;

/// `git status` after a few changes, warm, beside the same in a native worktree, and the first one ever.
pub(super) fn status(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("status")?;
    let mut rows = Vec::new();
    for (at, repository) in bench.repositories().into_iter().enumerate() {
        let source = text(&repository.path)?;
        let (ws, tree) = (weald.path("ws"), bench.disk.path().join("worktree"));
        weald.create(source, "ws")?;
        native_tree(repository, &tree)?;
        for root in [&ws, &tree] {
            touch_some(root, repository, CHANGED)?;
            (0..3).try_for_each(|_| git_status(root, &[]))?;
        }
        let runs = bench.scale.runs * 2 + 1;
        let (ours, native) =
            in_turn(runs, |_| timed(|| git_status(&ws, &[])), |_| timed(|| git_status(&tree, &[])))?;
        let what = format!("`git status`, {CHANGED} changes, {}", repository.title);
        rows.push(beside(what, ours.clone(), EXT4, native, Target::Ratio(STATUS_RATIO_MAX[at])));
        let first = Sample::millis(&first_statuses(bench, &weald, source)?)?;
        let what = format!("first `git status` in a fresh workspace, {}", repository.title);
        let target = Target::AtMost(FIRST_STATUS_MS_MAX[at]);
        rows.push(alone(what, "ms", first, target));
        if at == 0 {
            rows.push(ignored(bench, &ws, ours)?);
        }
        weald.run(&["remove", "--force", "ws"])?;
        remove_native_tree(repository, &tree)?;
    }
    Ok(rows)
}

fn first_statuses(bench: &Bench, weald: &Weald, source: &str) -> Result<Vec<std::time::Duration>> {
    let measure = |round| {
        let name = format!("fresh-{round}");
        weald.run(&["create", source, &name])?;
        let took = timed(|| git_status(&weald.path(&name), &[]))?;
        weald.run(&["remove", "--force", &name])?;
        Ok(took)
    };
    (0..bench.scale.runs).map(measure).collect()
}

/// The same with `-uall` over a directory of very many ignored files, beside the time without.
fn ignored(bench: &Bench, ws: &Path, without: Sample) -> Result<Measured> {
    let count = if bench.scale.large { IGNORED } else { IGNORED / 100 };
    append(&ws.join(".gitignore"), "/ignored/\n")?;
    for number in 0..count {
        let dir = ws.join(format!("ignored/{}", number / 1000));
        if number % 1000 == 0 {
            std::fs::create_dir_all(&dir)?;
        }
        std::fs::write(dir.join(number.to_string()), "")?;
    }
    (0..3).try_for_each(|_| git_status(ws, &["-uall"]))?;
    let measure = |_| timed(|| git_status(ws, &["-uall"]));
    let took: Vec<_> = (0..bench.scale.runs * 2 + 1).map(measure).collect::<Result<_>>()?;
    let what = format!("`git status -uall` over {count} ignored files");
    let target = Target::Ratio(IGNORED_RATIO_MAX);
    Ok(beside(what, Sample::millis(&took)?, "`git status` without them", without, target))
}

/// Work on its way back into the largest repository.
pub(super) fn back(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("back")?;
    let repository = bench.largest();
    let source = text(&repository.path)?;
    let changed = repository.files.len().min(1000);
    let mut promotes = Vec::new();
    for round in 0..bench.scale.build_runs {
        let name = format!("promote-{round}");
        weald.run(&["create", source, &name])?;
        touch_some(&weald.path(&name), repository, changed)?;
        promotes.push(weald.run(&["promote", &name])?);
        weald.run(&["remove", "--force", &name])?;
    }
    let mut merges = Vec::new();
    let branch = "weald-bench";
    output(&mut command("git", &["-C", source, "branch", "--force", branch, "HEAD"]))?;
    for round in 0..bench.scale.build_runs {
        let (one, two) = (format!("merge-{round}-a"), format!("merge-{round}-b"));
        for (name, skip) in [(&one, 0), (&two, 20)] {
            weald.run(&["create", source, name, "--rev", branch])?;
            let files: Vec<_> = repository.files.iter().skip(skip * (round + 1)).take(CHANGED).collect();
            files
                .into_iter()
                .try_for_each(|file| append(&weald.path(name).join(file), &format!("{name}\n")))?;
        }
        weald.run(&["merge", &one, "--into", branch])?;
        merges.push(weald.run(&["merge", &two, "--into", branch])?);
        weald.run(&["remove", "--force", &one, &two])?;
    }
    output(&mut command("git", &["-C", source, "branch", "-D", branch]))?;
    let row = |what: String, took: &[std::time::Duration], most| -> Result<Measured> {
        Ok(alone(what, "ms", Sample::millis(took)?, Target::AtMost(most)))
    };
    Ok(vec![
        row(
            format!("`promote` of {changed} changed files, {}", repository.title),
            &promotes,
            PROMOTE_MS_MAX,
        )?,
        row(format!("`merge` of {CHANGED} changed files, {}", repository.title), &merges, MERGE_MS_MAX)?,
    ])
}

/// Many who commit at once, beside as many clones.
pub(super) fn commits(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("commits")?;
    let repository = &bench.repositories.medium;
    let source = text(&repository.path)?;
    let count = bench.scale.workspaces;
    weald.run(&["create", source, "agent"])?;
    weald.run(&["fork", "agent", "agent", "--count", &count.to_string()])?;
    let clones = bench.dir("clones")?;
    for number in 1..=count {
        let to = clones.join(format!("agent-{number}"));
        output(command("git", &["clone", "--quiet", "--shared", source]).arg(&to))?;
    }
    let all = |round: usize, root: &dyn Fn(usize) -> std::path::PathBuf| {
        timed(|| {
            let mut running = Vec::new();
            for number in 1..=count {
                let line = format!("echo {round} >> Makefile && git commit -q -a -m {round}");
                running.push(commit_command(&root(number), &line).spawn().context("cannot run sh")?);
            }
            for mut child in running {
                ensure!(child.wait()?.success(), "a commit failed");
            }
            Ok(())
        })
    };
    let (ours, native) = in_turn(
        bench.scale.build_runs,
        |round| all(round, &|number| weald.path(&format!("agent-{number}"))),
        |round| all(round, &|number| clones.join(format!("agent-{number}"))),
    )?;
    std::fs::remove_dir_all(&clones)?;
    let what = format!("a commit in each of {count} workspaces at once, {}", repository.title);
    Ok(vec![beside(what, ours, "clones on ext4", native, Target::Ratio(COMMITS_RATIO_MAX))])
}

fn commit_command(root: &Path, line: &str) -> std::process::Command {
    let mut command = command("sh", &["-c", line]);
    command.current_dir(root);
    command.envs(IDENTITY);
    command
}

fn git_status(root: &Path, arguments: &[&str]) -> Result<()> {
    output(command("git", &["status", "--short"]).args(arguments).current_dir(root)).map(drop)
}

/// Appends to so many files, spread over the tree.
fn touch_some(root: &Path, repository: &Repository, count: usize) -> Result<()> {
    let step = repository.files.len() / count;
    let files = repository.files.iter().step_by(step.max(1)).take(count);
    // A symbolic link may lead anywhere.
    let files = files.map(|file| root.join(file)).filter(|path| !path.is_symlink());
    files.into_iter().try_for_each(|path| append(&path, "changed\n"))
}

fn append(path: &Path, line: &str) -> Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    Ok(file.write_all(line.as_bytes())?)
}
