//! A home of its own for each test, the real binary, real repositories made by git. Everything is ended and
//! unmounted when a [`Home`] is dropped, also after a panic.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

pub(crate) mod disk;
pub(crate) mod programs;
pub(crate) mod states;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{PidfdFlags, Signal};

use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The user that stands for "an ordinary user".
pub(crate) const NOBODY: u32 = 65_534;

/// How long something that happens by itself may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A home, a mount root and room for repositories.
pub(crate) struct Home {
    dir: TempDir,
    uid: u32,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Asserts success and gives standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Asserts success and reads standard output as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Asserts a fault with this code, told as `error:` and `[code]`.
    #[track_caller]
    pub(crate) fn fault(self, code: &str) -> Self {
        assert!(self.code == 1 || self.code == 2, "{self:?}");
        assert!(
            self.err.starts_with("error: ") && self.err.contains(&format!("[{code}]")),
            "not {code}: {self:?}"
        );
        self
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::owned_by(0)
    }

    /// A home whose user has this in his git configuration.
    pub(crate) fn with_git_config(text: &str) -> Self {
        let home = Self::new();
        std::fs::write(home.path().join("user/.gitconfig"), text).unwrap();
        home
    }

    /// A home of an ordinary user.
    pub(crate) fn of_nobody() -> Self {
        Self::owned_by(NOBODY)
    }

    /// A home in memory where there is so much room: for what asks for many syncs and is not about them.
    pub(crate) fn in_memory(bytes: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let room = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
        if room < bytes {
            return Self::new();
        }
        Self::inside(tempfile::Builder::new().prefix("weald-cli-").tempdir_in(memory).unwrap(), 0)
    }

    fn owned_by(uid: u32) -> Self {
        Self::inside(tempfile::Builder::new().prefix("weald-cli-").tempdir().unwrap(), uid)
    }

    fn inside(dir: TempDir, uid: u32) -> Self {
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["user", "mnt", "home"] {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(uid), Some(uid)).unwrap();
        }
        // Every test of a workspace can be run over another transport.
        if let Some(transport) = std::env::var_os("WEALD_TRANSPORT") {
            let text = format!("[mount]\ntransport = {transport:?}\n");
            std::fs::write(dir.path().join("home/config.toml"), text).unwrap();
        }
        Self { dir, uid }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Weald's home.
    pub(crate) fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// Where a workspace appears.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path().join("mnt").join(name)
    }

    /// The binary with this home's environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = if self.uid == 0 {
            Command::new(env!("CARGO_BIN_EXE_weald"))
        } else {
            let mut command = Command::new("setpriv");
            let uid = self.uid.to_string();
            command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--"]);
            command.arg(self.public_binary());
            command
        };
        self.environment(&mut command);
        command
    }

    /// A copy of the binary that an ordinary user may run.
    fn public_binary(&self) -> PathBuf {
        let copy = self.path().join("weald");
        if !copy.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_weald"), &copy).unwrap();
            std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
        }
        copy
    }

    /// A directory whose programs come before those of the machine, where a test has made it.
    pub(crate) fn programs(&self) -> PathBuf {
        self.path().join("programs")
    }

    fn environment(&self, command: &mut Command) {
        if self.programs().exists() {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", self.programs().display()));
        }
        command
            .env("WEALD_HOME", self.home())
            .env("WEALD_MOUNT", self.path().join("mnt"))
            .env("HOME", self.path().join("user"))
            .env("GIT_CONFIG_GLOBAL", self.path().join("user/.gitconfig"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "A")
            .env("GIT_AUTHOR_EMAIL", "a@example.org")
            .env("GIT_COMMITTER_NAME", "A")
            .env("GIT_COMMITTER_EMAIL", "a@example.org")
            .env_remove("NO_COLOR")
            .current_dir(self.path())
            .stdin(Stdio::null());
    }

    /// Runs `weald` with arguments.
    pub(crate) fn weald<S: AsRef<OsStr>>(&self, args: &[S]) -> Said {
        said(self.command().args(args).output().unwrap())
    }

    /// Runs `weald` in a directory.
    pub(crate) fn weald_in<S: AsRef<OsStr>>(&self, dir: &Path, args: &[S]) -> Said {
        said(self.command().current_dir(dir).args(args).output().unwrap())
    }

    /// Runs any program as this home's user, in a directory.
    pub(crate) fn run(&self, dir: &Path, line: &str) -> Said {
        said(self.shell(dir, line).output().unwrap())
    }

    /// A shell of this home's user, in a directory.
    pub(crate) fn shell(&self, dir: &Path, line: &str) -> Command {
        let mut command = Command::new("sh");
        if self.uid != 0 {
            command = Command::new("setpriv");
            let uid = self.uid.to_string();
            command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--", "sh"]);
        }
        self.environment(&mut command);
        // Root may not enter the mount of another user, so the shell goes there.
        let line = format!("cd '{}'\n{line}", dir.display());
        command.args(["-ec", &line]);
        command
    }

    /// A repository with two commits on `main`: a file, an executable, a link, a directory.
    pub(crate) fn repo(&self, name: &str) -> PathBuf {
        let path = self.path().join("user").join(name);
        self.run(
            &self.path().join("user"),
            &format!(
                "git init -q -b main '{name}'; cd '{name}'; echo one > a.txt; mkdir -p src; \
                 printf 'fn main() {{}}\\n' > src/main.rs; printf '#!/bin/sh\\n' > run.sh; chmod +x run.sh; \
                 ln -s a.txt link; git add .; git commit -q -m first; echo two >> a.txt; git commit -q -am 'second commit'"
            ),
        )
        .ok();
        path
    }

    /// Process id of the daemon, if one ran.
    pub(crate) fn daemon_pid(&self) -> Option<i32> {
        self.pid_in("daemon.lock")
    }

    /// Process id of its supervisor, if one ran.
    pub(crate) fn supervisor_pid(&self) -> Option<i32> {
        self.pid_in("supervisor.lock")
    }

    fn pid_in(&self, lock: &str) -> Option<i32> {
        std::fs::read_to_string(self.home().join(lock)).ok()?.trim().parse().ok()
    }

    /// True while this home's daemon lives.
    pub(crate) fn has_daemon(&self) -> bool {
        let pid = self.daemon_pid().and_then(rustix::process::Pid::from_raw);
        pid.is_some_and(|pid| self.is_our_daemon(pid))
    }

    /// Kills the daemon and its supervisor, so that nobody goes on with the mounts.
    pub(crate) fn crash(&self) {
        self.kill_supervisor();
        self.signal_daemon(Signal::KILL);
    }

    /// The supervisor and the daemon, to be killed when the home cannot be read any more.
    pub(crate) fn processes(&self) -> [Option<i32>; 2] {
        [self.supervisor_pid(), self.daemon_pid()]
    }

    /// Kills these, if they are still this home's.
    pub(crate) fn kill(&self, processes: [Option<i32>; 2]) {
        processes.into_iter().for_each(|pid| self.signal(pid, Signal::KILL));
    }

    /// Kills the supervisor alone.
    pub(crate) fn kill_supervisor(&self) {
        self.signal(self.supervisor_pid(), Signal::KILL);
    }

    /// Sends the daemon a signal and waits until it is gone.
    pub(crate) fn signal_daemon(&self, signal: Signal) {
        self.signal(self.daemon_pid(), signal);
    }

    fn signal(&self, pid: Option<i32>, signal: Signal) {
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else { return };
        // Readable once the last thread has ended: then its files are closed (pidfd_open(2)).
        let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        if !self.is_our_daemon(pid) || rustix::process::pidfd_send_signal(&process, signal).is_err() {
            return;
        }
        let patience = PATIENCE.try_into().expect("seconds fit");
        let mut wait = [PollFd::new(&process, PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut wait, Some(&patience)).unwrap(), 1, "the daemon did not end");
    }

    /// A process id may belong to somebody else by now.
    fn is_our_daemon(&self, pid: rustix::process::Pid) -> bool {
        let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let environ = std::fs::read(proc.join("environ")).unwrap_or_default();
        let needle = format!("WEALD_HOME={}", self.home().display());
        environ.split(|byte| *byte == 0).any(|line| line == needle.as_bytes())
    }

    /// Mount points below this home.
    pub(crate) fn mounts(&self) -> Vec<PathBuf> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        points.filter(|point| point.starts_with(self.path())).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.signal_daemon(Signal::TERM);
        for point in self.mounts().iter().rev() {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Opens /dev/fuse to everybody, as udev does on hosts, in a mount namespace of its own, so that nothing changes for
/// others; then goes on.
const OPEN_FUSE: &str = r#"
mount -t tmpfs tmpfs "$DEV"
mknod -m 666 "$DEV/fuse" c 10 229
mount --bind "$DEV/fuse" /dev/fuse
exec "$@"
"#;

/// True in the process that is to do the test; elsewhere the test is run again, where ordinary users may mount.
pub(crate) fn where_users_may_mount(test: &str) -> bool {
    const AGAIN: &str = "WEALD_TEST_USERS_MAY_MOUNT";
    if std::env::var_os(AGAIN).is_some() {
        return true;
    }
    let dev = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--", "sh", "-ec", OPEN_FUSE, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(AGAIN, "1")
        .env("DEV", dev.path())
        .output()
        .unwrap();
    let said = said(output);
    assert!(said.code == 0 && said.out.contains("1 passed"), "{}\n{}", said.out, said.err);
    false
}

/// Waits for something that happens by itself.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let since = Instant::now();
    while !happened() {
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
