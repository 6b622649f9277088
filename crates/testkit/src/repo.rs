//! Real git repositories for tests, made with the `git` command.
//!
//! Invariant: nothing of the user's or the machine's git configuration is read, and times and names are fixed, so
//! the same calls make the same object ids everywhere.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Time of the first commit: 2023-11-14. Each further commit is a minute later.
const FIRST_COMMIT_SECS: u64 = 1_700_000_000;

/// A repository with a work tree in a temporary directory that goes with it.
pub struct Repo {
    dir: tempfile::TempDir,
    commits: u64,
}

impl Repo {
    /// Makes an empty repository with the branch `main`.
    pub fn new() -> Self {
        let repo = Self { dir: tempfile::tempdir().expect("a temporary directory can be made"), commits: 0 };
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo
    }

    /// Its work tree.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file and its directories.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.place(path), content).expect("a file can be written");
        self
    }

    /// Writes an executable file.
    pub fn write_executable(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        self.write(path, content);
        fs::set_permissions(self.path().join(path), fs::Permissions::from_mode(0o755)).expect("chmod works");
        self
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, path: &str, target: &str) -> &Self {
        symlink(target, self.place(path)).expect("a link can be made");
        self
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> &Self {
        fs::remove_file(self.path().join(path)).expect("a file can be removed");
        self
    }

    fn place(&self, path: &str) -> PathBuf {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a path in the repository has a parent"))
            .expect("directories can be made");
        path
    }

    /// Commits everything in the work tree and returns the commit's id.
    pub fn commit(&mut self, message: &str) -> String {
        self.commits += 1;
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git here and returns its output without the last newline; panics with git's words if it fails.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = run(self.command(arguments));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        text.trim_end_matches('\n').to_owned()
    }

    /// Stores an object from its raw bytes, unchecked, and returns its id: for hostile trees.
    pub fn store_object(&self, kind: &str, content: &[u8]) -> String {
        let mut command = self.command(&["hash-object", "-w", "--stdin", "--literally", "-t", kind]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git can be started");
        child.stdin.take().expect("stdin is piped").write_all(content).expect("git reads its input");
        let output = child.wait_with_output().expect("git ends");
        assert!(output.status.success(), "git hash-object failed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = isolated_git(self.path());
        let date = format!("{} +0000", FIRST_COMMIT_SECS + 60 * self.commits);
        command.args(arguments).env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
        command
    }
}

impl Default for Repo {
    fn default() -> Self {
        Self::new()
    }
}

/// A git command in a directory that reads no configuration but the repository's own and asks nobody.
pub fn isolated_git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        command.env_remove(name);
    }
    command
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Ada Author")
        .env("GIT_AUTHOR_EMAIL", "ada@example.org")
        .env("GIT_COMMITTER_NAME", "Ada Author")
        .env("GIT_COMMITTER_EMAIL", "ada@example.org")
        .env("LC_ALL", "C");
    command
}

fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().expect("git can be started")
}
