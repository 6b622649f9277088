//! Runs of the user's own `git`, where the user's settings count: author, signing, filters, hooks.
//!
//! Invariant: of the caller's environment nothing redirects a run to another repository than the one that is meant
//! (`git rev-parse --local-env-vars`); nothing is asked on a terminal but by what signs.
//! Transfers from remotes are run by [`mod@crate::clone`] instead.

use crate::fault::detail;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use weald_model::{Code, Fault, Oid};

/// Variables that say which repository is meant. `git rev-parse --local-env-vars` of git 2.47, without those of
/// configuration and replacements, which are the user's to set.
const LOCAL: [&str; 12] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_QUARANTINE_PATH",
];

/// Where git runs, and with which variables.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    dir: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

/// What a run said.
pub(crate) struct Said {
    /// Exit code; 128 and more when a signal ended it.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: Vec<u8>,
    /// Standard error.
    pub(crate) err: String,
}

impl Git {
    /// Git in a working tree or git directory.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), variables: Vec::new() }
    }

    /// The same with one more variable.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Runs to the end and gives what it said, whatever its exit code.
    pub(crate) fn said<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Result<Said, Fault> {
        let not_run = |error: std::io::Error| {
            Fault::new(Code::GitFailed, format!("the program `git` could not be run: {error}"))
                .hint("install git: apt install git")
        };
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.dir).args(args);
        for name in LOCAL {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(not_run)?;
        let pipe = child.stdin.take();
        let output = std::thread::scope(|scope| {
            if let Some(mut pipe) = pipe {
                // A git that does not read to the end says why by its exit code.
                scope.spawn(move || drop(pipe.write_all(input)));
            }
            child.wait_with_output()
        })
        .map_err(not_run)?;
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status).unwrap_or(0);
        Ok(Said {
            code: output.status.code().unwrap_or(128 + signal),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs to the end and gives standard output; anything but exit code 0 is a fault.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Vec<u8>, Fault> {
        self.run_with(args, &[])
    }

    /// The same, with something to read.
    pub(crate) fn run_with<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Result<Vec<u8>, Fault> {
        let said = self.said(args, input)?;
        match said.code {
            0 => Ok(said.out),
            _ => Err(self.fault(args, &said)),
        }
    }

    /// Runs a command whose answer is an object id; None when it has none and exits with 1.
    pub(crate) fn oid<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Option<Oid>, Fault> {
        let said = self.said(args, &[])?;
        let text = String::from_utf8_lossy(&said.out);
        match said.code {
            0 => Oid::from_hex(text.trim()).map(Some).ok_or_else(|| self.fault(args, &said)),
            1 => Ok(None),
            _ => Err(self.fault(args, &said)),
        }
    }

    /// The commit a revision names, if it names one.
    pub(crate) fn commit(&self, rev: &str) -> Result<Option<Oid>, Fault> {
        self.oid(&["rev-parse", "--quiet", "--verify", "--end-of-options", &format!("{rev}^{{commit}}")])
    }

    /// Whether one commit is the other or comes before it.
    pub(crate) fn is_ancestor(&self, older: &Oid, newer: &Oid) -> Result<bool, Fault> {
        let args = ["merge-base", "--is-ancestor", &older.to_string(), &newer.to_string()];
        let said = self.said(&args, &[])?;
        match said.code {
            0 => Ok(true),
            1 => Ok(false),
            _ => Err(self.fault(&args, &said)),
        }
    }

    /// The tree of a commit.
    pub(crate) fn tree(&self, commit: &Oid) -> Result<Oid, Fault> {
        let args = ["rev-parse", "--verify", &format!("{commit}^{{tree}}")];
        self.oid(&args)?.ok_or_else(|| Fault::new(Code::GitFailed, format!("commit {commit} has no tree")))
    }

    /// Paths that a command prints, each ended by a zero byte.
    pub(crate) fn paths<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Vec<Vec<u8>>, Fault> {
        Ok(split(&self.run(args)?))
    }

    /// Tells a failure in git's own words.
    pub(crate) fn fault<S: AsRef<OsStr>>(&self, args: &[S], said: &Said) -> Fault {
        let mut words = args.iter().map(|arg| arg.as_ref().to_string_lossy());
        let mut command = words.next();
        while command.as_deref() == Some("-c") {
            command = words.nth(1);
        }
        let reasons = ["fatal:", "error:", "remote:", " ! "];
        let is_reason = |line: &&str| reasons.iter().any(|start| line.starts_with(start));
        let reasons: Vec<&str> = said.err.lines().filter(is_reason).map(str::trim).collect();
        let told = if reasons.is_empty() { said.err.as_str() } else { &reasons.join("; ") };
        let code = match said.err.contains("No space left on device") {
            true => Code::DiskFull,
            false => Code::GitFailed,
        };
        let told = match told.trim().is_empty() {
            true => format!("it ended with exit code {}", said.code),
            false => detail(&told),
        };
        Fault::new(code, format!("git {} in {}: {told}", command.unwrap_or_default(), self.dir.display()))
    }
}

/// Parts of a list, each ended by a zero byte.
pub(crate) fn split(list: &[u8]) -> Vec<Vec<u8>> {
    list.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
}
