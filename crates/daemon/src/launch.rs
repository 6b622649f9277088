//! Finding, starting and ending the daemon of a home, from the command's side.
//!
//! A daemon is started as a detached process of the same program. It tells on its standard output when the
//! socket answers, or why it will not, so nothing is polled in the common case.
//! Invariant: whoever loses the race for a home uses the winner. Read next: [`crate::run`].

use crate::ask::{self, Unanswered, unseen};
use crate::protocol::{FaultLine, Request};
use crate::report::{Status, Stopped};
use crate::ssh_agent;
use crate::supervisor;
use crate::wire;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weald_model::{Code, Fault};

/// Name of the socket in a home.
pub const SOCKET_NAME: &str = "weald.sock";
/// Name of the log of the daemon's own words in a home.
pub const LOG_NAME: &str = "daemon.log";
/// Name of the file whose lock says that a daemon owns the home.
pub const LOCK_NAME: &str = "daemon.lock";

/// How long another daemon may take to come up or to go away.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at something that cannot be waited for.
const PAUSE: Duration = Duration::from_millis(2);

/// The one line a starting daemon writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Announcement {
    /// The socket answers.
    Ready {
        /// Process id of the daemon.
        pid: u32,
    },
    /// It will not run.
    Failed(FaultLine),
}

/// What `start` found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launched {
    /// A new daemon.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// It ran already.
    Running {
        /// Its process id.
        pid: u32,
    },
}

/// Asks the daemon of `home`, starting it when none answers, and telling `progress` what it tells. A request that a
/// dying daemon did not hear goes to the next one.
pub fn ask<T: DeserializeOwned>(
    home: &Path,
    request: &Request,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<T, Fault> {
    until_heard(home, |stream| ask::ask(stream, request, progress))
}

/// The same, handing on every line before the answer; None when `tell` wanted nothing more.
pub fn converse<T: DeserializeOwned>(
    home: &Path,
    request: &Request,
    tell: &mut ask::Tell<'_>,
) -> Result<Option<T>, Fault> {
    until_heard(home, |stream| ask::converse(stream, request, tell))
}

fn until_heard<T>(home: &Path, mut ask: impl FnMut(UnixStream) -> Result<T, Unanswered>) -> Result<T, Fault> {
    let since = Instant::now();
    loop {
        match ask(connect_or_start(home)?) {
            Err(Unanswered::Unheard(_)) if since.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(why) => return Err(why.into()),
            Ok(answer) => return Ok(answer),
        }
    }
}

/// While another process owns the home, it is about to answer or about to be gone.
fn connect_or_start(home: &Path) -> Result<UnixStream, Fault> {
    let since = Instant::now();
    loop {
        if let Some(stream) = connect(home)? {
            return Ok(stream);
        }
        if !is_owned(home) && start_process(home)?.is_some() {
            continue;
        }
        if since.elapsed() > PATIENCE {
            return Err(Fault::new(Code::DaemonUnreachable, "a daemon owns this home and does not answer")
                .hint(format!("look at the end of {}", home.join(LOG_NAME).display())));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Makes sure that a daemon runs.
pub fn start(home: &Path) -> Result<Launched, Fault> {
    if let Some(stream) = connect(home)? {
        match ask::ask::<Status>(stream, &Request::Status, &mut unseen) {
            Ok(status) => return Ok(Launched::Running { pid: status.pid }),
            Err(Unanswered::Failed(fault)) => return Err(fault),
            Err(Unanswered::Unheard(_)) => {}
        }
    }
    if let Some(pid) = start_process(home)? {
        return Ok(Launched::Started { pid });
    }
    let status: Status = ask(home, &Request::Status, &mut unseen)?;
    Ok(Launched::Running { pid: status.pid })
}

/// Ends the daemon of `home` and waits until it is gone; None when none ran.
pub fn stop(home: &Path) -> Result<Option<Stopped>, Fault> {
    let Some(stream) = connect(home)? else { return Ok(None) };
    let watch = stream.try_clone().map_err(|error| unreachable(&error))?;
    let stopped = match ask::ask(stream, &Request::Stop, &mut unseen) {
        Ok(stopped) => Some(stopped),
        Err(Unanswered::Unheard(_)) => None,
        Err(Unanswered::Failed(fault)) => return Err(fault),
    };
    wait_until_gone(home, watch)?;
    Ok(stopped)
}

/// Puts another daemon, of the program as it is on the disk now, in the place of the one that runs, and returns its process id.
/// Mounts stay; what programs ask meanwhile waits. None when none ran.
pub fn replace(home: &Path) -> Result<Option<u32>, Fault> {
    let Some(stream) = connect(home)? else { return Ok(None) };
    let mut watch = stream.try_clone().map_err(|error| unreachable(&error))?;
    match ask::ask::<Stopped>(stream, &Request::HandOn, &mut unseen) {
        Ok(_) => {}
        Err(why) => return Err(why.into()),
    }
    let _ = watch.set_read_timeout(Some(PATIENCE));
    // An error here is the end of the connection, too.
    let _ = watch.read_to_end(&mut Vec::new());
    let status: Status = ask(home, &Request::Status, &mut unseen)?;
    Ok(Some(status.pid))
}

/// The connection ends with the process; then its lock must be free.
fn wait_until_gone(home: &Path, mut watch: UnixStream) -> Result<(), Fault> {
    let _ = watch.set_read_timeout(Some(PATIENCE));
    let mut rest = Vec::new();
    // An error here is the end of the connection, too.
    let _ = watch.read_to_end(&mut rest);
    let since = Instant::now();
    while is_owned(home) {
        if since.elapsed() > PATIENCE {
            return Err(Fault::new(Code::DaemonUnreachable, "the daemon was told to end and still runs")
                .hint(format!("look at {}", home.join(LOG_NAME).display())));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// True while a daemon runs, or a supervisor that is about to start one.
fn is_owned(home: &Path) -> bool {
    is_locked(&home.join(LOCK_NAME)) || is_locked(&home.join(supervisor::LOCK_NAME))
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
}

/// None when nothing listens.
pub(crate) fn connect(home: &Path) -> Result<Option<UnixStream>, Fault> {
    match wire::connect(&home.join(SOCKET_NAME)) {
        Ok(stream) => {
            let peer =
                rustix::net::sockopt::socket_peercred(&stream).map_err(|error| unreachable(&error.into()))?;
            must_be_ours(home, peer.uid.as_raw())?;
            Ok(Some(stream))
        }
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            io::ErrorKind::PermissionDenied => Err(belongs_to_others(home)),
            _ => Err(unreachable(&error)),
        },
    }
}

/// Starts a supervisor and by it a daemon, whose id it returns once it is ready; None when another one owns the home.
fn start_process(home: &Path) -> Result<Option<u32>, Fault> {
    let mut child = spawn(home)?;
    let output = child.stdout.take().expect("standard output is a pipe");
    match wire::receive::<Announcement>(&mut BufReader::new(output)) {
        Ok(Some(Announcement::Ready { pid })) => Ok(Some(pid)),
        Ok(Some(Announcement::Failed(fault))) => {
            let _ = child.wait();
            let fault = Fault::from(fault);
            if fault.code == Code::DaemonRunning { Ok(None) } else { Err(fault) }
        }
        Ok(None) | Err(_) => Err(died(home, &mut child)),
    }
}

fn spawn(home: &Path) -> Result<Child, Fault> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home)
        .map_err(|error| home_fault(home, "making Weald's home", &error))?;
    let owner =
        std::fs::metadata(home).map_err(|error| home_fault(home, "looking at Weald's home", &error))?;
    must_be_ours(home, owner.uid())?;
    ssh_agent::offer(home);
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(home.join(LOG_NAME))
        .map_err(|error| home_fault(home, "opening daemon.log in Weald's home", &error))?;
    let mut command = Command::new(own_program());
    command.args(["daemon", "run", "--announce"]).env("WEALD_HOME", home).current_dir("/");
    // Called from a git hook, these would make every git the daemon runs look at the wrong repository.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_git_local(name)) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().map_err(|error| {
        Fault::new(Code::DaemonUnreachable, format!("the daemon's process could not be started: {error}"))
    })
}

/// The variables that bind git to one repository (`git rev-parse --local-env-vars`).
fn is_git_local(name: &std::ffi::OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    matches!(
        name,
        "GIT_DIR"
            | "GIT_WORK_TREE"
            | "GIT_INDEX_FILE"
            | "GIT_COMMON_DIR"
            | "GIT_PREFIX"
            | "GIT_OBJECT_DIRECTORY"
            | "GIT_ALTERNATE_OBJECT_DIRECTORIES"
            | "GIT_NAMESPACE"
            | "GIT_SHALLOW_FILE"
            | "GIT_GRAFT_FILE"
            | "GIT_REPLACE_REF_BASE"
            | "GIT_NO_REPLACE_OBJECTS"
            | "GIT_IMPLICIT_WORK_TREE"
            | "GIT_INTERNAL_SUPER_PREFIX"
    )
}

/// The program of this process, also when its file was replaced by an upgrade meanwhile.
pub(crate) fn own_program() -> PathBuf {
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| "/proc/self/exe".into())
}

/// Nothing is said to a process of somebody else, and nothing written where he could have put a link; root may be asked,
/// and may do what it likes.
fn must_be_ours(home: &Path, owner: u32) -> Result<(), Fault> {
    let me = rustix::process::geteuid();
    if me.is_root() || owner == me.as_raw() || owner == 0 { Ok(()) } else { Err(belongs_to_others(home)) }
}

fn belongs_to_others(home: &Path) -> Fault {
    Fault::new(Code::NotAllowed, format!("Weald's home {} belongs to somebody else", home.display()))
        .hint("set WEALD_HOME to a directory of your own")
}

fn home_fault(home: &Path, doing: &str, error: &io::Error) -> Fault {
    Fault::host(&format!("{doing} {}", home.display()), error)
        .hint("set WEALD_HOME to a directory you can write, on a disk with space")
}

fn died(home: &Path, child: &mut Child) -> Fault {
    let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    Fault::new(Code::DaemonUnreachable, format!("the daemon ended while it started ({status})"))
        .hint(format!("look at the end of {}", home.join(LOG_NAME).display()))
}

fn unreachable(error: &io::Error) -> Fault {
    Fault::new(Code::DaemonUnreachable, format!("the daemon does not answer: {error}"))
        .hint("weald daemon restart")
}
