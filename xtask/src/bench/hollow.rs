//! What the kernel and the way there and back cost by themselves: a file system in memory behind Weald's own protocol layer,
//! whose answers cost next to nothing (`crates/fuse/examples/hollow`), measured in turn with Weald and native work.
//!
//! Invariant: it ends, and is unmounted, when it is dropped; its process ends with this one's end of the pipe, too.

use super::Bench;
use super::loops::write_stream;
use crate::run::{cargo, command, show, target};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// What it is to serve, and how.
#[derive(Clone, Copy, Default)]
pub(super) struct Kind<'a> {
    /// Taken into memory first.
    pub(super) tree: Option<&'a Path>,
    /// fsync(2) waits for as many bytes as were written, in a file of this size.
    pub(super) durable_bytes: Option<u64>,
    pub(super) over_io_uring: bool,
}

/// The file system, mounted.
pub(super) struct Hollow {
    child: Child,
    /// None once it is to end.
    tell: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
    mount: PathBuf,
}

/// Builds its program.
pub(super) fn build() -> Result<()> {
    show(&mut cargo(&["build", "--locked", "--release", "-p", "weald-fuse", "--example", "hollow"]))
}

impl Hollow {
    /// Mounts one on the disk under test, beside the directory of the row. None on the host, where it would be the same.
    pub(super) fn start(bench: &Bench, name: &str, kind: Kind) -> Result<Option<Self>> {
        if !bench.with_hollow {
            return Ok(None);
        }
        let mount = bench.dir(&format!("hollow/{name}"))?;
        // A session of its own, as the daemon has: the kernel may give each session a share of the processors.
        let mut program = command("setsid", &[target().join("release/examples/hollow"), mount.clone()]);
        if let Some(tree) = kind.tree {
            program.arg("--tree").arg(tree);
        }
        if let Some(bytes) = kind.durable_bytes {
            let file = bench.disk.path().join("hollow/durable");
            if file.exists() {
                std::fs::remove_file(&file)?;
            }
            write_stream(&file, bytes)?;
            program.arg("--durable").arg(file);
        }
        if kind.over_io_uring {
            program.arg("--io-uring");
        }
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let tell = child.stdin.take();
        let said = BufReader::new(child.stdout.take().context("it has an output")?);
        let mut hollow = Self { child, tell, said, mount };
        hollow.wait_ready()?;
        Ok(Some(hollow))
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    /// Mounts it anew: the kernel knows nothing of it.
    pub(super) fn forget(&mut self) -> Result<()> {
        self.tell.as_mut().context("it was not ended")?.write_all(b"\n")?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(line == "ready\n", "the file system in memory ended");
        Ok(())
    }
}

impl Drop for Hollow {
    fn drop(&mut self) {
        self.tell = None;
        match self.child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("warning: the file system in memory failed ({status})"),
            Err(error) => eprintln!("warning: {error}"),
        }
    }
}
