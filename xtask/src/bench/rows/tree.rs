//! Everyday work in a tree beside the same tree on ext4.

use super::{Bench, Measured, native_tree, over_hollow, remove_native_tree, text};
use crate::bench::disk::drop_caches;
use crate::bench::hollow::{Hollow, Kind};
use crate::bench::loops::{
    SMALL_FILE_BYTES, create_all, many_paths, map_all, read_all, stat_all, unlink_all,
};
use crate::bench::measure::{Sides, timed, with_hollow};
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
    cold_in(bench, &bench.weald("cold")?, COLD, &By::default())
}

/// The first of that work in a home whose mounts are served that way.
pub(super) fn cold_in(bench: &Bench, weald: &Weald, works: &[ColdWork], by: &By) -> Result<Vec<Measured>> {
    let mut rows = Vec::new();
    for (index, repository) in bench.repositories().into_iter().enumerate() {
        let name = format!("cold-{index}");
        weald.create(text(&repository.path)?, &name)?;
        let (ours, native) =
            (weald.path(&name), native_tree(repository, &bench.disk.path().join("worktree"))?);
        let kind = Kind { tree: Some(&native), over_io_uring: by.over_io_uring, ..Kind::default() };
        let mut hollow = Hollow::start(bench, &name, kind)?;
        for ((title, work), most) in works.iter().zip(COLD_RATIO_MAX) {
            let on_hollow = hollow.as_mut().map(|hollow| {
                |_| {
                    drop_caches().and_then(|()| hollow.forget())?;
                    awake(hollow.path(), *work)
                }
            });
            let sides = with_hollow(
                bench.scale.build_runs + 2,
                |_| weald.forget().and_then(|()| awake(&ours, *work)),
                |_| drop_caches().and_then(|()| awake(&native, *work)),
                on_hollow,
            )?;
            let what = format!("cold {title}, {}{}", repository.title, by.with);
            rows.push(over_hollow(what, sides, most[index]));
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
        weald.create(text(&repository.path)?, &name)?;
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
    let hollow = Hollow::start(bench, name, Kind { tree: Some(native), ..Kind::default() })?;
    let (our_files, native_files) = (below(&ours), below(native));
    let hollow_files = hollow.as_ref().map(|hollow| (hollow.path(), below(hollow.path())));
    WARM.iter()
        .map(|(title, most, work)| {
            // Once before, to fill the caches.
            work(&ours, &our_files)?;
            work(native, &native_files)?;
            hollow_files.iter().try_for_each(|(root, files)| work(root, files))?;
            let on_hollow = hollow_files.as_ref().map(|(root, files)| |_| timed(|| work(root, files)));
            let sides = with_hollow(
                bench.scale.runs,
                |_| timed(|| work(&ours, &our_files)),
                |_| timed(|| work(native, &native_files)),
                on_hollow,
            )?;
            Ok(over_hollow(format!("warm {title}, {}", repository.title), sides, *most))
        })
        .collect()
}

pub(in crate::bench) fn search(root: &Path) -> Result<()> {
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
    churn_in(bench, &bench.weald("churn")?, CHURN_RATIO_MAX, &By::default())
}

/// The way requests take.
#[derive(Default)]
pub(super) struct By {
    pub(super) over_io_uring: bool,
    /// Put behind the names of the rows.
    pub(super) with: &'static str,
}

/// The same in a home whose mounts are served that way.
pub(super) fn churn_in(bench: &Bench, weald: &Weald, most: [f64; 2], by: &By) -> Result<Vec<Measured>> {
    weald.create(text(&bench.repositories.medium.path)?, "churn")?;
    let files = bench.scale.churned_files;
    let ours = many_paths(&weald.path("churn").join("many"), files)?;
    let native = many_paths(&bench.dir("churn-native")?, files)?;
    let kind = Kind { over_io_uring: by.over_io_uring, ..Kind::default() };
    let hollow = Hollow::start(bench, "churn", kind)?;
    let on_hollow =
        hollow.as_ref().map(|hollow| many_paths(&hollow.path().join("many"), files)).transpose()?;
    let mut unlinks: [Vec<Duration>; 3] = Default::default();
    let [our_unlinks, native_unlinks, hollow_unlinks] = &mut unlinks;
    let created = with_hollow(
        2 * bench.scale.runs,
        |_| created_then_unlinked(&ours, our_unlinks),
        |_| created_then_unlinked(&native, native_unlinks),
        on_hollow.map(|paths| move |_| created_then_unlinked(&paths, hollow_unlinks)),
    )?;
    let title = |what: &str| format!("{what} {files} files{}", by.with);
    Ok(vec![
        over_hollow(title("create, write 4 KiB, close"), created, most[0]),
        over_hollow(title("unlink"), Sides::millis(&unlinks)?, most[1]),
    ])
}

fn created_then_unlinked(paths: &[PathBuf], unlinks: &mut Vec<Duration>) -> Result<Duration> {
    let took = timed(|| create_all(paths, SMALL_FILE_BYTES))?;
    unlinks.push(timed(|| unlink_all(paths))?);
    // What the kernel still has to write must not run into the other side's turn.
    output(&mut command::<&str>("sync", &[]))?;
    Ok(took)
}
