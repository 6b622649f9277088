//! JuiceFS with everything on this machine: names in SQLite, content in files; its defaults otherwise.
//!
//! Invariant: its processes end with the value, whose mount is taken away first.

use crate::run::{command, output};
use crate::tools;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for the mount, and for the end after it is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mounted volume.
pub(super) struct Juicefs {
    program: PathBuf,
    mount: PathBuf,
    process: Child,
}

impl Juicefs {
    /// Makes and mounts a volume that is kept in a directory.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let program = tools::juicefs()?;
        let names = format!("sqlite3://{}", dir.join("names.db").display());
        let mount = dir.join("mount");
        std::fs::create_dir_all(&mount)?;
        let quiet = |arguments: &[&str]| {
            let mut command = command(&program, arguments);
            // What is removed here is removed.
            command.current_dir(dir).stdout(Stdio::null());
            command
        };
        let format = ["format", "--no-color", "--trash-days", "0", "--storage", "file", "--bucket"];
        output(quiet(&format).arg(dir.join("content")).args([&names, "bench"]))?;
        let log = std::fs::File::create(dir.join("log"))?;
        let process = quiet(&["mount", "--no-usage-report", "--metrics", "127.0.0.1:0", "--cache-dir"])
            .arg(dir.join("cache"))
            .arg(&names)
            .arg(&mount)
            .stderr(log)
            .spawn()
            .context("cannot run juicefs")?;
        let juicefs = Self { program, mount, process };
        let start = Instant::now();
        while !juicefs.is_mounted()? {
            if start.elapsed() > PATIENCE {
                bail!("juicefs does not mount; see {}", dir.join("log").display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(juicefs)
    }

    /// Where the tree is that copies are made of.
    pub(super) fn base(&self) -> PathBuf {
        self.path("base")
    }

    /// Where a copy is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    /// Makes a copy that shares its content with the tree.
    pub(super) fn copy(&self, name: &str) -> Result<()> {
        output(command(&self.program, &["clone"]).arg(self.base()).arg(self.path(name))).map(drop)
    }

    /// Removes a copy.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        output(command(&self.program, &["rmr"]).arg(self.path(name))).map(drop)
    }

    fn is_mounted(&self) -> Result<bool> {
        Ok(super::disk::mounts_below(&self.mount)?.contains(&self.mount))
    }

    fn end(&mut self) -> Result<()> {
        if self.is_mounted()? {
            output(command("umount", &["--lazy"]).arg(&self.mount))?;
        }
        let start = Instant::now();
        while self.process.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                self.process.kill()?;
                self.process.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Juicefs {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("warning: juicefs is left behind: {error:#}");
        }
    }
}
