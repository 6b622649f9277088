//! Everyday work in a tree beside the same tree on ext4.

use super::{Bench, EXT4, Measured, Target, beside, native_tree, remove_native_tree, text};
use crate::bench::disk::drop_caches;
use crate::bench::loops::{
    SMALL_FILE_BYTES, create_all, many_paths, map_all, read_all, stat_all, unlink_all,
};
use crate::bench::measure::{in_turn, timed};
use crate::bench::repositories::Repository;
use crate::bench::weald::Weald;
use crate::run::{command, output};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// What is done with a whole tree, and the ratio it must reach.
type Work = (&'static str, f64, fn(&Path, &[PathBuf]) -> Result<()>);

const WARM: &[Work] = &[
    ("stat all", 1.2, |_, paths| stat_all(paths)),
    ("read all", 1.2, |_, paths| read_all(paths)),
    ("mmap all", 1.15, |_, paths| map_all(paths)),
    ("find", 0.8, |root, _| quietly("find", &[], root)),
    ("rg", 1.05, |root, _| search(root)),
    ("grep", 1.05, |root, _| quietly("grep", &["-r", "-c", "--exclude-dir=.git", "mutex_lock"], root)),
    ("tar", 0.95, |root, _| archive(root)),
];

/// The same from the disk.
pub(super) type ColdWork = (&'static str, fn(&Path) -> Result<()>);

pub(super) const COLD: &[ColdWork] = &[
    ("rg", search),
    ("find", |root| quietly("find", &[], root)),
    ("find and stat", |root| quietly("find", &["-printf", "%s %T@\\n"], root)),
];
/// Most that takes beside ext4 in the smaller and in the larger repository.
const COLD_RATIO_MAX: [[f64; 2]; 3] = [[0.25, 0.15], [0.4, 0.4], [0.5, 0.5]];

/// Most that creating, and removing, small files may take beside ext4 through `/dev/fuse`.
const CHURN_RATIO_MAX: [f64; 2] = [3.0, 2.0];

/// Nothing is in any cache: neither in the kernel's nor in the daemon's memory.
pub(super) fn cold(bench: &Bench) -> Result<Vec<Measured>> {
    cold_in(bench, &bench.weald("cold")?, COLD, "")
}

/// The first of that work in a home; what sets this home apart from others is put behind the names of the rows.
pub(super) fn cold_in(bench: &Bench, weald: &Weald, works: &[ColdWork], with: &str) -> Result<Vec<Measured>> {
    let mut rows = Vec::new();
    for (index, repository) in bench.repositories().into_iter().enumerate() {
        let name = format!("cold-{index}");
        weald.run(&["create", text(&repository.path)?, &name])?;
        let (ours, native) =
            (weald.path(&name), native_tree(repository, &bench.disk.path().join("worktree"))?);
        // Its content pack is there.
        weald.settled_bytes()?;
        for ((title, work), most) in works.iter().zip(COLD_RATIO_MAX) {
            let (weald, ext4) = in_turn(
                bench.scale.build_runs + 2,
                |_| weald.forget().and_then(|()| awake(&ours, *work)),
                |_| drop_caches().and_then(|()| awake(&native, *work)),
            )?;
            let what = format!("cold {title}, {}{with}", repository.title);
            rows.push(beside(what, weald, EXT4, ext4, Target::Ratio(most[index])));
        }
        remove_native_tree(repository, &native)?;
    }
    Ok(rows)
}

/// Times work with a program that is itself in the caches.
fn awake(root: &Path, work: fn(&Path) -> Result<()>) -> Result<Duration> {
    work(tempfile::tempdir()?.path())?;
    timed(|| work(root))
}

/// Reading, everything in the caches.
pub(super) fn warm(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("warm")?;
    let mut rows = Vec::new();
    for (index, repository) in bench.repositories().into_iter().enumerate() {
        let name = format!("ws-{index}");
        weald.run(&["create", text(&repository.path)?, &name])?;
        let native = native_tree(repository, &bench.disk.path().join("worktree"))?;
        rows.extend(warm_rows(bench, &weald, &name, repository, &native)?);
        remove_native_tree(repository, &native)?;
    }
    Ok(rows)
}

fn warm_rows(
    bench: &Bench,
    weald: &Weald,
    name: &str,
    repository: &Repository,
    native: &Path,
) -> Result<Vec<Measured>> {
    let ours = weald.path(name);
    let below = |root: &Path| -> Vec<PathBuf> {
        let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_file());
        repository.files.iter().map(|file| root.join(file)).filter(is_file).collect()
    };
    let (our_files, native_files) = (below(&ours), below(native));
    WARM.iter()
        .map(|(title, most, work)| {
            // Once before, to fill the caches.
            work(&ours, &our_files)?;
            work(native, &native_files)?;
            let (weald, ext4) = in_turn(
                bench.scale.runs,
                |_| timed(|| work(&ours, &our_files)),
                |_| timed(|| work(native, &native_files)),
            )?;
            Ok(beside(format!("warm {title}, {}", repository.title), weald, EXT4, ext4, Target::Ratio(*most)))
        })
        .collect()
}

pub(super) fn search(root: &Path) -> Result<()> {
    quietly("rg", &["--no-ignore", "--count", "--threads=2", "static inline [a-z]+_unlikely"], root)
}

fn quietly(program: &str, arguments: &[&str], root: &Path) -> Result<()> {
    let mut command = command(program, &[] as &[&str]);
    // `find` wants its place first, the others last.
    let (before, after): (&[&str], &[&str]) =
        if program == "find" { (&[], arguments) } else { (arguments, &[]) };
    command.args(before).arg(root).args(after).stdout(Stdio::null());
    let status = command.status()?;
    // rg and grep answer 1 when nothing matches: they have read everything all the same.
    anyhow::ensure!(matches!(status.code(), Some(0 | 1)), "{program} failed ({status})");
    Ok(())
}

/// Through a pipe: when its output is /dev/null, `tar` reads nothing.
fn archive(root: &Path) -> Result<()> {
    let mut tar = command("tar", &["--create", "--exclude=./.git", "--directory"])
        .args([root, Path::new(".")])
        .stdout(Stdio::piped())
        .spawn()?;
    let taken = std::io::copy(&mut tar.stdout.take().context("it has an output")?, &mut std::io::sink());
    let status = tar.wait()?;
    taken?;
    anyhow::ensure!(status.success(), "tar failed ({status})");
    Ok(())
}

/// Creating, writing and removing small files.
pub(super) fn churn(bench: &Bench) -> Result<Vec<Measured>> {
    churn_in(bench, &bench.weald("churn")?, CHURN_RATIO_MAX, "")
}

/// The same in a home, which is told of as in `cold_in`.
pub(super) fn churn_in(bench: &Bench, weald: &Weald, most: [f64; 2], with: &str) -> Result<Vec<Measured>> {
    weald.run(&["create", text(&bench.repositories.medium.path)?, "churn"])?;
    let files = bench.scale.churned_files;
    let ours = many_paths(&weald.path("churn").join("many"), files)?;
    let native = many_paths(&bench.dir("churn-native")?, files)?;
    let (mut our_unlinks, mut native_unlinks) = (Vec::new(), Vec::new());
    let (created, created_natively) = in_turn(
        bench.scale.runs,
        |_| created_then_unlinked(&ours, &mut our_unlinks),
        |_| created_then_unlinked(&native, &mut native_unlinks),
    )?;
    let (unlinked, unlinked_natively) = (sample(&our_unlinks)?, sample(&native_unlinks)?);
    let row = |what: &str, ours, native, most| {
        beside(format!("{what} {files} files{with}"), ours, EXT4, native, Target::Ratio(most))
    };
    Ok(vec![
        row("create, write 4 KiB, close", created, created_natively, most[0]),
        row("unlink", unlinked, unlinked_natively, most[1]),
    ])
}

fn created_then_unlinked(paths: &[PathBuf], unlinks: &mut Vec<Duration>) -> Result<Duration> {
    let took = timed(|| create_all(paths, SMALL_FILE_BYTES))?;
    unlinks.push(timed(|| unlink_all(paths))?);
    // What the kernel still has to write must not run into the other side's turn.
    output(&mut command::<&str>("sync", &[]))?;
    Ok(took)
}

fn sample(durations: &[Duration]) -> Result<super::Sample> {
    super::Sample::millis(durations)
}
