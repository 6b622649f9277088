//! `cargo xtask bench`: Weald beside native work, in the same run, on the same fresh disk.
//!
//! Absolute figures of one machine say little; ratios to what the machine does natively travel. So each row runs
//! Weald and its peer in turn, several times, on one ext4 made for this run, and tells medians and spreads.
//! Invariant: nothing is left behind, also after a failure: see `disk.rs`. The rows are in `rows/`.

mod disk;
mod loops;
mod measure;
mod report;
mod repositories;
mod rows;
#[path = "../../crates/testkit/src/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "the server of the tests, which use all of it")]
mod server;
pub(crate) mod weald;

use crate::run::{cargo, command, output, root, show};
use crate::tools::{self, Packaged};
use anyhow::{Result, bail};
use disk::Disk;
use measure::Measured;
use repositories::Repositories;
use std::path::PathBuf;
use weald::Weald;

/// Programs the rows use.
const PROGRAMS: &[Packaged] = &[
    ("git", "git"),
    ("gcc", "gcc"),
    ("make", "make"),
    ("bc", "bc"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("xz", "xz-utils"),
    ("rg", "ripgrep"),
    ("find", "findutils"),
    ("mkfs.ext4", "e2fsprogs"),
    ("losetup", "mount"),
];

/// How much work a run does.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Times each side of a row is measured.
    runs: usize,
    /// Times a build is measured.
    build_runs: usize,
    /// Private files of the workspace that is forked, and the bytes of each.
    private_files: usize,
    private_file_bytes: usize,
    /// Workspaces of the rows about the daemon.
    workspaces: usize,
    /// Files made and removed.
    churned_files: usize,
    /// Snapshots of the row about many.
    snapshots: usize,
    /// Bytes of the disk.
    disk_bytes: u64,
    /// Uses the large repository, and builds something large.
    large: bool,
}

const FULL: Scale = Scale {
    runs: 7,
    build_runs: 3,
    private_files: 50_000,
    private_file_bytes: 100_000,
    workspaces: 100,
    churned_files: 10_000,
    snapshots: 10_000,
    disk_bytes: 24 << 30,
    large: true,
};

/// For a quick look, and to try a change of the benchmarks themselves.
const SMALL: Scale = Scale {
    runs: 3,
    build_runs: 1,
    private_files: 1_000,
    private_file_bytes: 10_000,
    workspaces: 10,
    churned_files: 1_000,
    snapshots: 100,
    disk_bytes: 4 << 30,
    large: false,
};

/// What a row works with.
pub(crate) struct Bench {
    scale: Scale,
    disk: Disk,
    repositories: Repositories,
    program: PathBuf,
}

impl Bench {
    /// Makes a directory on the disk under test.
    fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.disk.path().join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Makes a home on the disk under test, with its daemon started.
    fn weald(&self, name: &str) -> Result<Weald> {
        Weald::start(&self.program, &self.dir(name)?)
    }

    /// The repositories to measure with: name, path, whether it is the large one.
    fn repositories(&self) -> Vec<&repositories::Repository> {
        let mut all = vec![&self.repositories.medium];
        all.extend(self.repositories.large.as_ref());
        all
    }

    /// The largest repository of this scale.
    fn largest(&self) -> &repositories::Repository {
        self.repositories.large.as_ref().unwrap_or(&self.repositories.medium)
    }
}

/// Runs the named rows, all when none is named. What is measured at full scale is put into docs/benchmarks.md.
pub(crate) fn bench(words: &[&str]) -> Result<()> {
    let (flags, names): (Vec<&str>, Vec<&str>) =
        words.iter().copied().partition(|word| word.starts_with('-'));
    let scale = match flags[..] {
        [] => FULL,
        ["--small"] => SMALL,
        _ => bail!("unknown option; there is: --small"),
    };
    let known: Vec<&str> = rows::ALL.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!("no row `{unknown}`; there are: {}", known.join(" "));
    }
    if output(&mut command("id", &["-u"]))?.trim() != "0" {
        bail!("the benchmarks make a file system of their own; hint: run them as root");
    }
    tools::system_packages(PROGRAMS)?;
    show(&mut cargo(&["build", "--locked", "--release", "-p", "weald-cli"]))?;
    let disk = Disk::make(scale.disk_bytes)?;
    let repositories = Repositories::prepare(disk.path(), scale.large)?;
    let bench = Bench { scale, disk, repositories, program: root().join("target/release/weald") };
    let (measured, failed) = run(&bench, &names);
    report::tell(&measured, scale.large)?;
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(" "));
    }
    Ok(())
}

/// Measures the rows and returns them, with the names of those that failed: hours of work do not go with one row.
fn run(bench: &Bench, names: &[&str]) -> (Vec<Measured>, Vec<&'static str>) {
    let (mut measured, mut failed) = (Vec::new(), Vec::new());
    for (name, row) in rows::ALL.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        eprintln!("== {name}");
        match row(bench) {
            Ok(rows) => {
                rows.iter().for_each(|row| eprintln!("{}", report::line(row)));
                measured.extend(rows);
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                failed.push(*name);
            }
        }
    }
    (measured, failed)
}
