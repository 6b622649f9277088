//! The groups of rows of the table, by name. A row prepares what it needs, measures, and removes what it made.

mod agents;
mod build;
mod create;
mod crowd;
mod daemon;
mod engine;
mod fork;
mod git;
mod git_work;
mod history;
mod io_uring;
mod lazy;
mod packages;
mod side_by_side;
mod size;
mod tree;
mod writes;

pub(super) use tree::search;

use super::Bench;
use super::measure::{Measured, Sample, Sides, Target};
use super::repositories::Repository;
use crate::run::{command, output};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Rows that are measured together, by name.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) rows: fn(&Bench) -> Result<Vec<Measured>>,
    /// Depends on the file system below: it is measured on the host's own, too.
    pub(super) on_host_too: bool,
}

const fn once(name: &'static str, rows: fn(&Bench) -> Result<Vec<Measured>>) -> Group {
    Group { name, rows, on_host_too: false }
}

const fn twice(name: &'static str, rows: fn(&Bench) -> Result<Vec<Measured>>) -> Group {
    Group { name, rows, on_host_too: true }
}

/// All groups, in the order of the table.
pub(super) const ALL: &[Group] = &[
    once("create", create::known_commit),
    once("first-create", create::first),
    once("fork", fork::time),
    once("fork-disk", fork::disk),
    once("snapshot", history::snapshot),
    once("restore", history::restore),
    once("snapshots", history::many),
    once("sparse", history::sparse),
    once("engine", engine::snapshot_and_fork),
    once("seal", engine::seal_and_verify),
    once("log", history::log),
    once("status", git::status),
    once("back", git::back),
    once("commits", git::commits),
    once("lazy", lazy::first_look),
    once("lazy-disk", lazy::disk),
    twice("cold", tree::cold),
    twice("warm", tree::warm),
    twice("churn", tree::churn),
    twice("io-uring", io_uring::rows),
    twice("git-work", git_work::many_files),
    twice("stream", writes::stream),
    twice("blocks", writes::blocks),
    twice("database", writes::database),
    twice("make", build::make),
    twice("cargo", build::cargo),
    twice("npm", packages::npm),
    once("history-cost", build::history_cost),
    twice("agents", agents::rounds),
    twice("fork-built", agents::fork_of_built),
    twice("cargo-built", build::cargo_again),
    once("memory", daemon::memory),
    once("start", daemon::start),
    once("crowd", crowd::all),
    once("million", size::generated),
    once("wide", size::wide),
    once("peers", side_by_side::rows),
];

const EXT4: &str = "ext4";

/// A row without a peer.
fn alone(what: String, unit: &'static str, weald: Sample, target: Target) -> Measured {
    Measured { what, unit, weald, peers: Vec::new(), hollow: None, target }
}

/// A row in milliseconds beside a peer.
fn beside(what: String, weald: Sample, peer: &str, other: Sample, target: Target) -> Measured {
    Measured { what, unit: "ms", weald, peers: vec![(peer.to_owned(), other)], hollow: None, target }
}

/// The same with what it costs the kernel.
fn over_hollow(what: String, sides: Sides, most: f64) -> Measured {
    Measured { hollow: sides.hollow, ..beside(what, sides.weald, EXT4, sides.native, Target::Ratio(most)) }
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

pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| anyhow::anyhow!("{} is not UTF-8", path.display()))
}
