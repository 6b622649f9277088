//! Making a workspace, beside `git worktree add`.

use super::{Bench, Measured, Target, beside, native_tree, remove_native_tree, text};
use crate::bench::measure::{in_turn, timed};
use crate::run::{command, output};
use anyhow::Result;

/// Longest time of a create on a commit seen before, in milliseconds.
const KNOWN_MS_MAX: f64 = 8.0;

/// Longest time of a first create, in milliseconds.
const FIRST_MS_MAX: f64 = 1000.0;

/// A commit seen before.
pub(super) fn known_commit(bench: &Bench) -> Result<Vec<Measured>> {
    let weald = bench.weald("create")?;
    let mut rows = Vec::new();
    for repository in bench.repositories() {
        let source = text(&repository.path)?;
        weald.create(source, "first")?;
        let tree = bench.disk.path().join("worktree");
        // Both differ much from run to run.
        let runs = 2 * bench.scale.runs;
        let (ours, native) = in_turn(
            runs,
            |round| weald.run(&["create", source, &format!("next-{round}")]),
            |_| {
                let took = timed(|| native_tree(repository, &tree).map(drop))?;
                remove_native_tree(repository, &tree)?;
                // What it left to be written is not written beside the next one.
                output(&mut command::<&str>("sync", &[]))?;
                Ok(took)
            },
        )?;
        for round in 0..runs {
            weald.run(&["remove", "--force", &format!("next-{round}")])?;
        }
        weald.run(&["remove", "--force", "first"])?;
        let what = format!("`create` on a known commit, {}", repository.title);
        rows.push(beside(what, ours, "git worktree add", native, Target::AtMost(KNOWN_MS_MAX)));
    }
    Ok(rows)
}

/// A repository this home has never seen.
pub(super) fn first(bench: &Bench) -> Result<Vec<Measured>> {
    let repository = bench.largest();
    let source = text(&repository.path)?;
    let tree = bench.disk.path().join("worktree");
    let (ours, native) = in_turn(
        bench.scale.build_runs,
        |round| bench.weald(&format!("first-{round}"))?.run(&["create", source, "ws"]),
        |_| {
            let took = timed(|| native_tree(repository, &tree).map(drop))?;
            remove_native_tree(repository, &tree)?;
            Ok(took)
        },
    )?;
    let what = format!("first `create`, {}", repository.title);
    Ok(vec![beside(what, ours, "git worktree add", native, Target::AtMost(FIRST_MS_MAX))])
}
