//! Work with git on many files: add, commit, switch.

use super::{Bench, EXT4, Measured, Target, beside, native_tree, remove_native_tree, text};
use crate::bench::loops::{SMALL_FILE_BYTES, create_all, many_paths};
use crate::bench::measure::{Sample, in_turn, timed};
use crate::bench::repositories::Repository;
use crate::bench::weald::IDENTITY;
use crate::run::{command, output};
use anyhow::Result;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Most either may take beside ext4.
const RATIO_MAX: f64 = 1.2;

/// Files that are new, or differ between two branches.
const FILES: usize = 1_000;

/// Adding and committing many new files; going from one branch to another and back.
pub(super) fn many_files(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("git-work")?;
    let repository = bench.largest();
    weald.create(text(&repository.path)?, "ws")?;
    let ours = weald.path("ws");
    let native = native_tree(repository, &bench.disk.path().join("worktree"))?;
    let runs = bench.scale.runs;
    let commits = in_turn(runs, |round| committed(&ours, round), |round| committed(&native, round))?;
    for root in [&ours, &native] {
        two_branches(root, repository)?;
    }
    let switches = in_turn(runs, |_| switched(&ours), |_| switched(&native))?;
    git(&native, &["switch", "--quiet", "--detach"])?;
    git(&native, &["branch", "--quiet", "-D", "bench-one", "bench-two"])?;
    remove_native_tree(repository, &native)?;
    let row = |what: String, (ours, native): (Sample, Sample)| {
        beside(format!("{what}, {}", repository.title), ours, EXT4, native, Target::Ratio(RATIO_MAX))
    };
    Ok(vec![
        row(format!("git add and commit of {FILES} new files"), commits),
        row(format!("git switch over {FILES} changed files and back"), switches),
    ])
}

fn committed(root: &Path, round: usize) -> Result<Duration> {
    let new = format!("new-{round}");
    create_all(&many_paths(&root.join(&new), FILES)?, SMALL_FILE_BYTES)?;
    let took = timed(|| {
        // Linux ignores what it does not know at the top of its tree.
        git(root, &["add", "--force", &new])?;
        git(root, &["commit", "--quiet", "--message=many"])
    })?;
    settled(took)
}

/// Leaves the tree on the second of two branches that differ in many files.
fn two_branches(root: &Path, repository: &Repository) -> Result<()> {
    git(root, &["switch", "--quiet", "--create", "bench-one"])?;
    git(root, &["switch", "--quiet", "--create", "bench-two"])?;
    let step = (repository.files.len() / FILES).max(1);
    let files = repository.files.iter().map(|file| root.join(file)).step_by(step);
    // A symbolic link may lead anywhere.
    for path in files.filter(|path| !path.is_symlink()).take(FILES) {
        OpenOptions::new().append(true).open(path)?.write_all(b"changed\n")?;
    }
    git(root, &["commit", "--quiet", "--all", "--message=changed"])
}

fn switched(root: &Path) -> Result<Duration> {
    let took = timed(|| {
        git(root, &["switch", "--quiet", "bench-one"])?;
        git(root, &["switch", "--quiet", "bench-two"])
    })?;
    settled(took)
}

/// What the kernel still has to write must not run into the other side's turn.
fn settled(took: Duration) -> Result<Duration> {
    output(&mut command::<&str>("sync", &[]))?;
    Ok(took)
}

fn git(root: &Path, arguments: &[&str]) -> Result<()> {
    output(command("git", arguments).current_dir(root).envs(IDENTITY)).map(drop)
}
