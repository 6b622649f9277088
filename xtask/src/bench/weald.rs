//! A home of Weald on the disk under test, used through the command as a user would.
//!
//! Invariant: its daemon ends when it is dropped, so that the disk can be unmounted.

use super::disk::{drop_caches, mounts_below};
use crate::run::output;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Who commits in a benchmark.
pub(super) const IDENTITY: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "bench"),
    ("GIT_AUTHOR_EMAIL", "bench@example.org"),
    ("GIT_COMMITTER_NAME", "bench"),
    ("GIT_COMMITTER_EMAIL", "bench@example.org"),
];

/// A home is settled when its size has not changed for so long.
const SETTLED: Duration = Duration::from_secs(10);
/// Longest wait for all mounts.
const MOUNTED_WITHIN: Duration = Duration::from_secs(60);

/// The home and its mount root.
pub(crate) struct Weald {
    program: PathBuf,
    home: PathBuf,
    mounts: PathBuf,
}

impl Weald {
    /// Starts the daemon of a home in a directory.
    pub(crate) fn start(program: &Path, dir: &Path) -> Result<Self> {
        let weald = Self { program: program.to_owned(), home: dir.join("home"), mounts: dir.join("mounts") };
        weald.run(&["daemon", "start"])?;
        Ok(weald)
    }

    /// Runs a command and returns how long it took from start to end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Duration> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = command.status().context("cannot run weald")?;
        let took = start.elapsed();
        if !status.success() {
            bail!("`weald {}` failed ({status})", arguments.join(" "));
        }
        Ok(took)
    }

    /// What a command prints as JSON.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&output(&mut self.command(arguments))?)?)
    }

    /// Where a workspace is mounted.
    pub(crate) fn path(&self, workspace: &str) -> PathBuf {
        self.mounts.join(workspace)
    }

    /// Number of workspaces the kernel has mounted.
    fn mounted(&self) -> Result<usize> {
        Ok(mounts_below(&self.mounts)?.len())
    }

    /// Makes a workspace, and waits until its content was copied into packs: what is measured next has no such work beside it.
    pub(super) fn create(&self, source: &str, name: &str) -> Result<()> {
        self.run(&["create", source, name])?;
        self.settled_bytes().map(drop)
    }

    /// Ends the daemon, drops what the kernel has cached, and starts it again: nothing is known any more.
    pub(super) fn forget(&self) -> Result<()> {
        let mounted = self.mounted()?;
        self.run(&["daemon", "stop"])?;
        drop_caches()?;
        self.run(&["daemon", "start"])?;
        self.wait_mounted(mounted)
    }

    /// Waits until so many workspaces are mounted.
    pub(super) fn wait_mounted(&self, count: usize) -> Result<()> {
        let start = Instant::now();
        while self.mounted()? < count {
            if start.elapsed() > MOUNTED_WITHIN {
                bail!("only {} of {count} workspaces are mounted", self.mounted()?);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Bytes the home takes on the disk.
    pub(super) fn disk_bytes(&self) -> Result<f64> {
        let text = output(Command::new("du").args(["-s", "-B1"]).arg(&self.home))?;
        Ok(text.split_whitespace().next().context("du said nothing")?.parse()?)
    }

    /// The same once nothing is written any more: content is copied into packs a while after it came.
    pub(super) fn settled_bytes(&self) -> Result<f64> {
        let mut last = (self.disk_bytes()?, Instant::now());
        while last.1.elapsed() < SETTLED {
            std::thread::sleep(Duration::from_millis(100));
            let bytes = self.disk_bytes()?;
            if bytes != last.0 {
                last = (bytes, Instant::now());
            }
        }
        Ok(last.0)
    }

    /// Bytes in the logs' record files, without the zeros written ahead.
    pub(super) fn log_bytes(&self) -> Result<f64> {
        let mut sum = 0;
        for log in std::fs::read_dir(self.home.join("logs"))? {
            for file in std::fs::read_dir(log?.path())? {
                let file = file?;
                if file.file_name().to_string_lossy().starts_with("log-") {
                    let bytes = std::fs::read(file.path())?;
                    sum += bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
                }
            }
        }
        Ok(sum as f64)
    }

    /// The daemon's share of memory in bytes (PSS: shared pages count by the number of sharers).
    pub(super) fn memory_bytes(&self) -> Result<f64> {
        let pid = self.daemon()?;
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let pss =
            rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss in smaps_rollup")?;
        let kib: f64 = pss.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024.0)
    }

    /// The daemon's process.
    pub(super) fn daemon(&self) -> Result<u64> {
        self.json(&["status", "--json"])?["pid"].as_u64().context("status has no pid")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("WEALD_HOME", &self.home).env("WEALD_MOUNT", &self.mounts);
        command.envs(IDENTITY).stdin(Stdio::null());
        command
    }
}

impl Drop for Weald {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["daemon", "stop"]) {
            eprintln!("warning: {error:#}");
        }
    }
}
