//! One run of `git` that talks to a remote: its environment, its progress, its end.
//!
//! Invariant: of the caller's `GIT_*` environment only what concerns the network and the user's own configuration
//! files gets through, so no variable redirects the run to another repository.

use crate::credential::{self, Credential};
use crate::url::{PROTOCOLS, mask};
use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use weald_model::Progress;

/// `GIT_*` variables that are passed on, by prefix.
const ENVIRONMENT: [&str; 9] = [
    "GIT_SSH",
    "GIT_SSL_",
    "GIT_HTTP_",
    "GIT_PROXY_",
    "GIT_CURL_",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_EXEC_PATH",
];

/// Settings for every run: no transport by program, no hooks, dead connections end.
const SETTINGS: [&str; 7] = [
    "protocol.ext.allow=never",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "fetch.recurseSubmodules=no",
    // Weald reads the refs of its copies by itself.
    "init.defaultRefFormat=files",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
];

/// How often the end of the process is looked for while it says nothing.
const TICK: Duration = Duration::from_millis(100);

/// How long its last words are waited for when something it started keeps the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Lines of git's words kept for the error message, and their longest length.
const LINES_MAX: usize = 20;
const LINE_CHARS_MAX: usize = 300;

/// Longest progress line; a remote can send anything.
const PENDING_BYTES_MAX: usize = 64 * 1024;

/// Asked now and then; true ends the run.
pub(crate) type Given<'a> = &'a (dyn Fn() -> bool + Sync);

/// A run of git.
pub(crate) struct Transfer<'a> {
    pub(crate) args: Vec<OsString>,
    pub(crate) silence_max: Duration,
    /// What git reads from its standard input.
    pub(crate) input: Vec<u8>,
    /// Whether nobody wants it any more.
    pub(crate) given_up: Option<Given<'a>>,
    /// Who to be at a remote whose clone is not there yet; else the clone says.
    pub(crate) credential: Option<&'a Credential>,
    /// Nobody waits for it: it gets what time others leave.
    pub(crate) is_aside: bool,
}

/// Why it failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The program could not be started.
    NoGit(std::io::Error),
    /// No word for this long.
    Silent(Duration),
    /// Nobody wants it any more.
    GivenUp,
    /// It failed, saying this (masked).
    Said(Vec<String>),
}

impl<'a> Transfer<'a> {
    /// A run with these arguments and nothing to read.
    pub(crate) fn new(args: Vec<OsString>, silence_max: Duration) -> Self {
        Self { args, silence_max, input: Vec::new(), given_up: None, credential: None, is_aside: false }
    }

    /// Runs git to its end. Gives what it said besides its progress (masked).
    pub(crate) fn run(mut self, progress: &dyn Progress) -> Result<Vec<String>, Failure> {
        let mut child = self.command().spawn().map_err(Failure::NoGit)?;
        tell(&mut child, std::mem::take(&mut self.input));
        let words = listen(&mut child);
        let mut listener = Listener::new(progress);
        let ended = self.wait(&mut child, &words, &mut listener);
        if !matches!(ended, Ok(End::Exit(_))) {
            end(&mut child);
        }
        listener.flush();
        match ended {
            Ok(End::Exit(true)) => Ok(listener.lines),
            Ok(End::Exit(false)) => Err(Failure::Said(listener.lines)),
            Ok(End::Silence) => Err(Failure::Silent(self.silence_max)),
            Ok(End::GivenUp) => Err(Failure::GivenUp),
            Err(error) => Err(Failure::NoGit(error)),
        }
    }

    /// Waits for the end of the process, or for a reason to end it. A helper that outlives git may keep the pipe
    /// open: the end of the process counts, not that of the pipe.
    fn wait(
        &self,
        child: &mut Child,
        words: &Receiver<Vec<u8>>,
        listener: &mut Listener<'_>,
    ) -> std::io::Result<End> {
        let mut heard = Instant::now();
        loop {
            if self.given_up.is_some_and(|given_up| given_up()) {
                return Ok(End::GivenUp);
            }
            match words.recv_timeout(TICK) {
                Ok(bytes) => {
                    heard = Instant::now();
                    listener.hear(&bytes);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(1)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(status) = child.try_wait()? {
                // What it said last may still be on its way, and says why it failed.
                while let Ok(bytes) = words.recv_timeout(LAST_WORDS) {
                    listener.hear(&bytes);
                }
                return Ok(End::Exit(status.success()));
            }
            if heard.elapsed() >= self.silence_max {
                return Ok(End::Silence);
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(if self.is_aside { "nice" } else { "git" });
        if self.is_aside {
            command.args(["-n", "19", "git"]);
        }
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        if let Some(credential) = self.credential {
            command.args(["-c", "credential.helper=", "-c"]);
            command.arg(format!("credential.helper={}", credential::asking_variable()));
            command.env(credential::VARIABLE, credential.text());
        }
        command.args(&self.args);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_redirecting(name)) {
            command.env_remove(name);
        }
        command
            .env("GIT_TERMINAL_PROMPT", "0")
            // Empty turns programs that ask off; credential helpers still answer.
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
            .env("LC_ALL", "C")
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A group of its own, so that its helpers end with it.
            .process_group(0);
        command
    }
}

fn is_redirecting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("GIT_") && !ENVIRONMENT.iter().any(|kept| name.starts_with(kept))
}

/// How a run ended.
enum End {
    /// By itself; true for success.
    Exit(bool),
    Silence,
    GivenUp,
}

/// Writes to git in a thread of its own, since it may be slow to read. One that does not read to the end says why by its
/// exit code.
fn tell(child: &mut Child, input: Vec<u8>) {
    if let Some(mut pipe) = child.stdin.take() {
        std::thread::spawn(move || drop(pipe.write_all(&input)));
    }
}

/// Reads stderr in a thread of its own, since a pipe read cannot time out.
fn listen(child: &mut Child) -> Receiver<Vec<u8>> {
    let (send, words) = channel();
    if let Some(mut pipe) = child.stderr.take() {
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                if send.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    words
}

/// Ends git and its helpers.
fn end(child: &mut Child) {
    // The group may be gone already; then there is nothing to end.
    let _ = rustix::process::kill_process_group(
        rustix::process::Pid::from_child(child),
        rustix::process::Signal::KILL,
    );
    let _ = child.wait();
}

/// Turns what git prints into progress and the last words.
struct Listener<'a> {
    progress: &'a dyn Progress,
    pending: Vec<u8>,
    title: String,
    done: u64,
    lines: Vec<String>,
}

impl<'a> Listener<'a> {
    fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, pending: Vec::new(), title: String::new(), done: 0, lines: Vec::new() }
    }

    fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if matches!(byte, b'\r' | b'\n') || self.pending.len() >= PENDING_BYTES_MAX {
                self.flush();
            }
            if !matches!(byte, b'\r' | b'\n') {
                self.pending.push(*byte);
            }
        }
    }

    fn flush(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned();
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        match parse_progress(line) {
            Some((title, done, total)) => self.step(title, done, total),
            None => {
                let clean: String = line.chars().filter(|c| !c.is_control()).take(LINE_CHARS_MAX).collect();
                if self.lines.len() == LINES_MAX {
                    self.lines.remove(0);
                }
                self.lines.push(mask(&clean));
            }
        }
    }

    fn step(&mut self, title: &str, done: u64, total: u64) {
        if self.title != title {
            self.title = title.to_owned();
            self.done = 0;
            self.progress.stage(title, total);
        }
        self.progress.advance(done.saturating_sub(self.done));
        self.done = self.done.max(done);
    }
}

/// Parses `Receiving objects:  42% (420/1000), 1.2 MiB`, perhaps after `remote: `.
pub(crate) fn parse_progress(line: &str) -> Option<(&str, u64, u64)> {
    let line = line.strip_prefix("remote: ").unwrap_or(line);
    let (title, rest) = line.split_once(':')?;
    let (percent, rest) = rest.trim_start().split_once("% (")?;
    percent.trim().parse::<u32>().ok()?;
    let (done, rest) = rest.split_once('/')?;
    let (total, _) = rest.split_once(')')?;
    Some((title, done.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_are_told_from_words() {
        assert_eq!(
            parse_progress("Receiving objects:  42% (420/1000), 1.2 MiB | 3 MiB/s"),
            Some(("Receiving objects", 420, 1000))
        );
        assert_eq!(
            parse_progress("remote: Counting objects: 100% (3/3), done."),
            Some(("Counting objects", 3, 3))
        );
        for words in
            ["fatal: repository 'x' not found", "remote: Enumerating objects: 5, done.", "a: b% (c/d)", ""]
        {
            assert_eq!(parse_progress(words), None, "{words}");
        }
    }

    #[test]
    fn only_network_and_user_configuration_variables_get_through() {
        for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_TRACE", "GIT_CONFIG_COUNT"] {
            assert!(is_redirecting(OsStr::new(name)), "{name}");
        }
        for name in ["GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "PATH", "GIT_CONFIG_GLOBAL"] {
            assert!(!is_redirecting(OsStr::new(name)), "{name}");
        }
    }
}
