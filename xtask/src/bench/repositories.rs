//! The repositories to measure with: Debian's linux-source-6.1 whole (79,000 files), a part of it (9,000), and this one.
//!
//! The first two are made once from the Debian package and kept; each run copies their git directories onto its disk,
//! so that Weald and its peers read from the same place.

use super::disk::PLACE;
use crate::run::{command, output, root, show};
use anyhow::{Context, Result, ensure};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const PACKAGE: &str = "linux-source-6.1";

/// What the smaller repository takes of the larger one.
const PART: &[&str] = &[
    "Makefile",
    "Kbuild",
    "Kconfig",
    "README",
    "COPYING",
    "scripts",
    "kernel",
    "mm",
    "fs",
    "lib",
    "net",
    "include/linux",
    "tools/include",
    "security",
    "crypto",
    "block",
    "sound/core",
];

/// A bare repository on the disk under test.
pub(super) struct Repository {
    /// What to call it in the report.
    pub(super) title: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Files of its tree, relative.
    pub(super) files: Vec<PathBuf>,
}

impl Repository {
    /// Forgets worktrees that are no longer there.
    pub(super) fn prune(&self) -> Result<()> {
        output(command("git", &["worktree", "prune"]).current_dir(&self.path)).map(drop)
    }
}

/// All of them.
pub(super) struct Repositories {
    pub(super) medium: Repository,
    pub(super) large: Option<Repository>,
    pub(super) own: Repository,
}

impl Repositories {
    /// Copies them onto the disk, making them first where they are missing.
    pub(super) fn prepare(disk: &Path, large: bool) -> Result<Self> {
        let (whole, part) = (Path::new(PLACE).join("linux"), Path::new(PLACE).join("med"));
        if !whole.join(".git").is_dir() || !part.join(".git").is_dir() {
            make(&whole, &part)?;
        }
        Ok(Self {
            medium: copy(&part, disk, "medium")?,
            large: if large { Some(copy(&whole, disk, "large")?) } else { None },
            own: copy(&root(), disk, "own")?,
        })
    }
}

fn copy(from: &Path, disk: &Path, name: &str) -> Result<Repository> {
    let path = disk.join(format!("{name}.git"));
    // Without hard links and without a transport: the same packs in another place.
    show(command("git", &["clone", "--quiet", "--bare", "--no-hardlinks"]).arg(from).arg(&path))?;
    let names =
        output(command("git", &["-C"]).arg(&path).args(["ls-tree", "-r", "-z", "--name-only", "HEAD"]))?;
    let files: Vec<PathBuf> = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    let title = format!("{} files", thousands(files.len()));
    Ok(Repository { title, path, files })
}

/// Makes a repository of so many files on the disk: a thousand to a directory, every content another.
pub(super) fn generated(disk: &Path, count: usize) -> Result<Repository> {
    let path = disk.join("generated.git");
    output(command("git", &["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&path))?;
    let mut import =
        command("git", &["fast-import", "--quiet"]).current_dir(&path).stdin(Stdio::piped()).spawn()?;
    let written = stream(BufWriter::new(import.stdin.take().context("it has an input")?), count);
    let status = import.wait()?;
    written?;
    ensure!(status.success(), "git fast-import failed ({status})");
    Ok(Repository { title: format!("{} generated files", thousands(count)), path, files: Vec::new() })
}

fn stream(mut to: impl Write, count: usize) -> Result<()> {
    let message = "generated";
    write!(to, "commit refs/heads/main\ncommitter bench <bench@example.org> 1767225600 +0000\n")?;
    writeln!(to, "data {}\n{message}", message.len())?;
    for number in 0..count {
        let (outer, inner) = (number / 100_000, number / 1_000 % 100);
        let content = format!("/* file {number} */\nint value_{number} = {};\n", number * 7);
        writeln!(to, "M 100644 inline part-{outer}/dir-{inner:02}/file-{number:07}.c")?;
        writeln!(to, "data {}\n{content}", content.len())?;
    }
    Ok(to.flush()?)
}

/// Writes a number with a comma after each three digits.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// Makes both repositories from the Debian package.
fn make(whole: &Path, part: &Path) -> Result<()> {
    let work = tempfile::tempdir_in(made(Path::new(PLACE))?)?;
    show(command("apt-get", &["-qq", "download", PACKAGE]).current_dir(work.path()))?;
    let mut here = std::fs::read_dir(work.path())?;
    let package = here.next().context("apt-get downloaded nothing")??.path();
    show(command("dpkg-deb", &["--extract"]).arg(package).arg(work.path()))?;
    let archive = work.path().join(format!("usr/src/{PACKAGE}.tar.xz"));
    let (tree, smaller) = (made(&work.path().join("whole"))?, made(&work.path().join("part"))?);
    show(
        command("tar", &["--extract", "--strip-components=1", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(&tree),
    )?;
    show(command("cp", &["--archive", "--parents"]).args(PART).arg(&smaller).current_dir(&tree))?;
    for (from, to) in [(&tree, whole), (&smaller, part)] {
        commit(from)?;
        if to.exists() {
            std::fs::remove_dir_all(to)?;
        }
        std::fs::rename(from, to)?;
    }
    Ok(())
}

/// Makes a repository with one commit of everything in a directory; the same everywhere, so that ids are comparable.
fn commit(dir: &Path) -> Result<()> {
    let git = |arguments: &[&str]| {
        let mut git = command("git", arguments);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "bench").env(format!("GIT_{who}_EMAIL"), "bench@example.org");
            git.env(format!("GIT_{who}_DATE"), "2026-01-01T00:00:00Z");
        }
        show(git.env("GIT_CONFIG_GLOBAL", "/dev/null").current_dir(dir))
    };
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["add", "--force", "--all"])?;
    // A clean-up in the background would have the one below refused.
    git(&["-c", "maintenance.auto=false", "commit", "--quiet", "--message=import"])?;
    git(&["gc", "--quiet", "--prune=now"])
}

fn made(dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    Ok(dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [0, 12, 999, 1000, 78_635, 1_234_567].map(thousands).join(" "),
            "0 12 999 1,000 78,635 1,234,567"
        );
    }
}
