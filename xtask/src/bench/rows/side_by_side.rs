//! The same work in copies of the same tree, by several ways to make copies, in turn in one run.

use super::{Bench, Measured, Target};
use crate::bench::loops::{SMALL_FILE_BYTES, create_all, many_paths, read_all, stat_all, unlink_all};
use crate::bench::measure::{Sample, Side, all_in_turn, timed};
use crate::bench::peers::{self, Peer};
use crate::run::{command, output};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The copy that work is done in.
const COPY: &str = "copy";

/// What is done in a copy; the files are those of the tree.
type Work = (&'static str, fn(&Path, &[PathBuf]) -> Result<()>);

const WORK: &[Work] = &[
    ("warm stat all", |_, files| stat_all(files)),
    ("warm read all", |_, files| read_all(files)),
    ("warm rg", |root, _| super::tree::search(root)),
    ("`git status`", |root, _| output(command("git", &["status", "--short"]).current_dir(root)).map(drop)),
];

/// All work, on all of them.
pub(super) fn rows(bench: &Bench) -> Result<Vec<Measured>> {
    let peers = peers::all(bench)?;
    let title = &bench.repositories.medium.title;
    let mut rows = vec![row(format!("make a copy, {title}"), &peers, copies(bench, &peers)?)?];
    let trees: Vec<Tree> = peers.iter().map(|peer| Tree::new(bench, peer)).collect::<Result<_>>()?;
    for (what, work) in WORK {
        // Before, to fill the caches, and since git looks closer at what has just been made.
        for _ in 0..2 {
            trees.iter().try_for_each(|tree| work(&tree.root, &tree.files))?;
        }
        let samples =
            in_all(bench.scale.build_runs, &trees, |tree, _| timed(|| work(&tree.root, &tree.files)))?;
        rows.push(row(format!("{what}, {title}"), &peers, samples)?);
    }
    let count = bench.scale.churned_files;
    let mut unlinks = vec![Vec::new(); trees.len()];
    let creates = in_all(bench.scale.build_runs, &trees, |tree, at| {
        let paths = many_paths(&tree.root.join("churn"), count)?;
        let took = timed(|| create_all(&paths, SMALL_FILE_BYTES))?;
        unlinks[at].push(timed(|| unlink_all(&paths))?);
        output(&mut command::<&str>("sync", &[]))?;
        Ok(took)
    })?;
    rows.push(row(format!("create, write 4 KiB, close {count} files"), &peers, creates)?);
    let unlinks = unlinks.iter().map(|took| Sample::millis(took)).collect::<Result<_>>()?;
    rows.push(row(format!("unlink {count} files"), &peers, unlinks)?);
    peers.iter().try_for_each(|peer| peer.remove(COPY))?;
    Ok(rows)
}

/// A copy and the files in it.
struct Tree {
    root: PathBuf,
    files: Vec<PathBuf>,
}

impl Tree {
    fn new(bench: &Bench, peer: &Peer) -> Result<Self> {
        let root = peer.copy(COPY).with_context(|| format!("no copy by {}", peer.name))?;
        let files = bench.repositories.medium.files.iter().map(|file| root.join(file));
        let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_file());
        Ok(Self { files: files.filter(is_file).collect(), root })
    }
}

/// How long a copy takes each of them; it is removed again.
fn copies(bench: &Bench, peers: &[Peer]) -> Result<Vec<Sample>> {
    in_all(bench.scale.build_runs, peers, |peer, _| {
        let took = timed(|| peer.copy("timed").map(drop)).with_context(|| peer.name)?;
        peer.remove("timed").with_context(|| peer.name)?;
        output(&mut command::<&str>("sync", &[]))?;
        Ok(took)
    })
}

/// Measures all in turn; the work gets its side and the number of it.
fn in_all<S>(
    rounds: usize,
    sides: &[S],
    work: impl FnMut(&S, usize) -> Result<Duration>,
) -> Result<Vec<Sample>> {
    let work = std::cell::RefCell::new(work);
    let mut closures: Vec<_> = sides
        .iter()
        .enumerate()
        .map(|(at, side)| {
            let work = &work;
            move |_: usize| (work.borrow_mut())(side, at)
        })
        .collect();
    let mut each: Vec<Side> = closures.iter_mut().map(|closure| closure as Side).collect();
    all_in_turn(rounds, &mut each)
}

/// Weald's sample, and the others' with plain ext4 first.
fn row(what: String, peers: &[Peer], samples: Vec<Sample>) -> Result<Measured> {
    let named = peers.iter().map(|peer| peer.name.to_owned()).zip(samples);
    let (mut ours, others): (Vec<_>, Vec<_>) = named.partition(|(name, _)| name == "Weald");
    let (_, weald) = ours.pop().context("Weald is one of them")?;
    Ok(Measured { what, unit: "ms", weald, peers: others, hollow: None, target: Target::Told })
}
