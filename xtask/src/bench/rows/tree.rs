//! Everyday work in a tree beside the same tree on ext4.

use super::{Bench, EXT4, Measured, Target, beside, native_tree, remove_native_tree, text};
use crate::bench::loops::{SMALL_FILE_BYTES, create_all, many_paths, read_all, stat_all, unlink_all};
use crate::bench::measure::{in_turn, timed};
use crate::bench::repositories::Repository;
use crate::bench::weald::Weald;
use crate::run::{command, output};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// What is done with a whole tree, and the ratio it must reach.
type Work = (&'static str, f64, fn(&Path, &[PathBuf]) -> Result<()>);

const WORK: &[Work] = &[
    ("stat all", 1.3, |_, paths| stat_all(paths)),
    ("read all", 1.4, |_, paths| read_all(paths)),
    ("find", 1.0, |root, _| quietly("find", &[], root)),
    ("rg", 1.3, |root, _| {
        quietly("rg", &["--no-ignore", "--count", "--threads=2", "static inline [a-z]+_unlikely"], root)
    }),
];

/// Most that creating, and removing, small files may take beside ext4.
const CHURN_RATIO_MAX: f64 = 3.5;

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
    WORK.iter()
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

fn quietly(program: &str, arguments: &[&str], root: &Path) -> Result<()> {
    let mut command = command(program, arguments);
    command.arg(root).stdout(std::process::Stdio::null());
    let status = command.status()?;
    // rg answers 1 when nothing matches: it has read everything all the same.
    anyhow::ensure!(matches!(status.code(), Some(0 | 1)), "{program} failed ({status})");
    Ok(())
}

/// Creating, writing and removing small files.
pub(super) fn churn(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("churn")?;
    weald.run(&["create", text(&bench.repositories.medium.path)?, "ws"])?;
    let files = bench.scale.churned_files;
    let ours = many_paths(&weald.path("ws").join("churn"), files)?;
    let native = many_paths(&bench.dir("churn-native")?, files)?;
    let (mut our_unlinks, mut native_unlinks) = (Vec::new(), Vec::new());
    let (created, created_natively) = in_turn(
        bench.scale.runs,
        |_| created_then_unlinked(&ours, &mut our_unlinks),
        |_| created_then_unlinked(&native, &mut native_unlinks),
    )?;
    let (unlinked, unlinked_natively) = (sample(&our_unlinks)?, sample(&native_unlinks)?);
    let target = Target::Ratio(CHURN_RATIO_MAX);
    Ok(vec![
        beside(format!("create, write 4 KiB, close {files} files"), created, EXT4, created_natively, target),
        beside(format!("unlink {files} files"), unlinked, EXT4, unlinked_natively, target),
    ])
}

fn created_then_unlinked(
    paths: &[PathBuf],
    unlinks: &mut Vec<std::time::Duration>,
) -> Result<std::time::Duration> {
    let took = timed(|| create_all(paths, SMALL_FILE_BYTES))?;
    unlinks.push(timed(|| unlink_all(paths))?);
    // What the kernel still has to write must not run into the other side's turn.
    output(&mut command::<&str>("sync", &[]))?;
    Ok(took)
}

fn sample(durations: &[std::time::Duration]) -> Result<super::Sample> {
    super::Sample::millis(durations)
}
