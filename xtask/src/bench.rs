//! `cargo xtask bench`: Weald beside native work, in the same run, on the same fresh disk.
//!
//! Absolute figures of one machine say little; ratios to what the machine does natively travel. So each row runs
//! Weald and its peer in turn, several times, on one ext4 made for this run, and tells medians and spreads. Rows that
//! depend on the file system below are measured once more on the host's own. Rows come in groups, which run by name.
//! Invariant: nothing is left behind, also after a failure: see `disk.rs`. The rows are in `rows/`.

mod disk;
mod flame;
mod hollow;
mod juicefs;
mod loops;
mod measure;
mod peers;
mod profile;
mod report;
mod repositories;
mod rows;
#[path = "../../crates/testkit/src/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "the server of the tests, which use all of it")]
mod server;
mod setting;
pub(crate) mod weald;

pub(crate) use profile::profile;

use crate::run::{cargo, command, output, show, target};
use crate::tools::{self, Packaged};
use anyhow::{Result, bail};
use disk::{Disk, Kind};
use report::Finished;
use repositories::Repositories;
use rows::Group;
use std::path::PathBuf;
use std::time::Instant;
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
    ("setsid", "util-linux"),
    ("sqlite3", "sqlite3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("tar", "tar"),
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
    /// Workspaces of the rows about very many, and how many of them are worked in at once.
    crowd: usize,
    active: usize,
    /// Files of the repository with very many, and of the directory with very many.
    generated_files: usize,
    wide_files: usize,
    /// Bytes of the file that is written and read in one go.
    stream_bytes: u64,
    /// Single writes and transactions of the rows about them.
    small_writes: u64,
    inserts: usize,
    synced_inserts: usize,
    /// Bytes of the disk, and of each peer's.
    disk_bytes: u64,
    peer_disk_bytes: u64,
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
    crowd: 1_000,
    active: 100,
    generated_files: 1_000_000,
    wide_files: 100_000,
    stream_bytes: 1 << 30,
    small_writes: 16_384,
    inserts: 20_000,
    synced_inserts: 500,
    disk_bytes: 24 << 30,
    peer_disk_bytes: 4 << 30,
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
    crowd: 50,
    active: 10,
    generated_files: 20_000,
    wide_files: 5_000,
    stream_bytes: 64 << 20,
    small_writes: 1_024,
    inserts: 1_000,
    synced_inserts: 50,
    disk_bytes: 4 << 30,
    peer_disk_bytes: 2 << 30,
    large: false,
};

/// What a row works with: one place, and what was put there.
pub(crate) struct Bench {
    scale: Scale,
    disk: Disk,
    repositories: Repositories,
    program: PathBuf,
    /// What the kernel costs by itself is measured, too.
    with_hollow: bool,
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

/// Runs the named groups, all when none is named. What is measured at full scale is put into docs/benchmarks.md;
/// `--write` only makes that anew from the values kept.
pub(crate) fn bench(words: &[&str]) -> Result<()> {
    let (flags, names): (Vec<&str>, Vec<&str>) =
        words.iter().copied().partition(|word| word.starts_with('-'));
    let mut scale = FULL;
    let mut on_host = true;
    for flag in flags {
        match flag {
            "--write" => return report::write(),
            "--small" => scale = SMALL,
            "--no-host" => on_host = false,
            _ => bail!("unknown option `{flag}`; there are: --small --no-host --write"),
        }
    }
    let known: Vec<&str> = rows::ALL.iter().map(|group| group.name).collect();
    if names == ["list"] {
        println!("{}", known.join("\n"));
        return Ok(());
    }
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!("no group `{unknown}`; there are: {}", known.join(" "));
    }
    if output(&mut command("id", &["-u"]))?.trim() != "0" {
        bail!("the benchmarks make a file system of their own; hint: run them as root");
    }
    let groups: Vec<&Group> =
        rows::ALL.iter().filter(|group| names.is_empty() || names.contains(&group.name)).collect();
    tools::system_packages(PROGRAMS)?;
    show(&mut cargo(&["build", "--locked", "--release", "-p", "weald-cli"]))?;
    hollow::build()?;
    let (mut finished, mut failed) =
        on(Disk::make("disk", Kind::Ext4, scale.disk_bytes)?, scale, &groups, true)?;
    let again: Vec<&Group> = groups.into_iter().filter(|group| on_host && group.on_host_too).collect();
    if !again.is_empty() {
        eprintln!("== the same on the host's own file system");
        let (there, failed_there) = on(Disk::of_host()?, scale, &again, false)?;
        finished.iter_mut().for_each(|row| row.add_host(&there));
        failed.extend(failed_there);
    }
    report::tell(&finished, scale.large)?;
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(" "));
    }
    Ok(())
}

/// Measures groups in a place and returns the rows, with the names of the groups that failed: hours of work do not go
/// with one of them.
fn on(
    disk: Disk,
    scale: Scale,
    groups: &[&'static Group],
    with_hollow: bool,
) -> Result<(Vec<Finished>, Vec<&'static str>)> {
    let repositories = Repositories::prepare(disk.path(), scale.large)?;
    let bench = Bench { scale, disk, repositories, program: target().join("release/weald"), with_hollow };
    let kept = bench.disk.names()?;
    let (mut finished, mut failed) = (Vec::new(), Vec::new());
    for group in groups {
        let begin = Instant::now();
        eprintln!("== {}", group.name);
        match (group.rows)(&bench) {
            Ok(rows) => {
                let rows = rows.into_iter().map(|row| Finished::new(group.name, row));
                let rows: Vec<Finished> = rows.collect();
                rows.iter().for_each(|row| eprintln!("{}", row.line()));
                finished.extend(rows);
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                failed.push(group.name);
            }
        }
        // The next one finds the disk as this one did.
        bench.disk.clear_but(&kept)?;
        bench.repositories().into_iter().chain([&bench.repositories.own]).try_for_each(|one| one.prune())?;
        eprintln!("   ({:.0} s)", begin.elapsed().as_secs_f64());
    }
    Ok((finished, failed))
}
