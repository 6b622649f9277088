//! The rows of the table, by name. A row prepares what it needs, measures, and removes what it made.

mod agents;
mod build;
mod create;
mod daemon;
mod engine;
mod fork;
mod git;
mod history;
mod lazy;
mod tree;

use super::Bench;
use super::measure::{Measured, Sample, Target};
use super::repositories::Repository;
use crate::run::{command, output};
use anyhow::Result;
use std::path::{Path, PathBuf};

type Row = fn(&Bench) -> Result<Vec<Measured>>;

/// All rows.
pub(super) const ALL: &[(&str, Row)] = &[
    ("create", create::known_commit),
    ("first-create", create::first),
    ("fork", fork::time),
    ("fork-disk", fork::disk),
    ("snapshot", history::snapshot),
    ("restore", history::restore),
    ("snapshots", history::many),
    ("sparse", history::sparse),
    ("engine", engine::snapshot_and_fork),
    ("seal", engine::seal_and_verify),
    ("log", history::log),
    ("status", git::status),
    ("back", git::back),
    ("commits", git::commits),
    ("lazy", lazy::first_look),
    ("lazy-disk", lazy::disk),
    ("warm", tree::warm),
    ("churn", tree::churn),
    ("make", build::make),
    ("cargo", build::cargo),
    ("history-cost", build::history_cost),
    ("agents", agents::rounds),
    ("fork-built", agents::fork_of_built),
    ("memory", daemon::memory),
    ("start", daemon::start),
];

const EXT4: &str = "ext4";

/// A row in milliseconds beside a peer.
fn beside(what: String, weald: Sample, peer: &str, other: Sample, target: Target) -> Measured {
    Measured { what, unit: "ms", weald, peer: Some((peer.to_owned(), other)), target }
}

/// A native worktree of a repository.
fn native_tree(repository: &Repository, at: &Path) -> Result<PathBuf> {
    let add = ["worktree", "add", "--quiet", "--detach"];
    output(command("git", &["-C"]).arg(&repository.path).args(add).arg(at))?;
    Ok(at.to_owned())
}

/// Removes a native worktree again.
fn remove_native_tree(repository: &Repository, at: &Path) -> Result<()> {
    output(command("git", &["-C"]).arg(&repository.path).args(["worktree", "remove", "--force"]).arg(at))?;
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| anyhow::anyhow!("{} is not UTF-8", path.display()))
}
