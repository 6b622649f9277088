//! The process that keeps the mounts while daemons come and go.
//!
//! It starts the daemon as a child, holds a copy of every mount's descriptor, and starts another daemon when one ends
//! without being told to. Between the two, programs in the mounts wait; what they asked and was not answered, the kernel
//! sends again. It opens nothing of the store.
//! Invariants: one supervisor per home (a lock on supervisor.lock held to its end), which outlives each of its daemons; a
//! daemon that ended because it was told to ends its supervisor. Read next: [`crate::run`], `hold`.

use crate::hold::{Crashes, HeldMount, Line, Word};
use crate::launch::{self, Announcement};
use crate::protocol::FaultLine;
use crate::ssh_agent;
use crate::{locked, note, wire};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{PidfdFlags, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weald_model::{Code, Fault};

/// Name of the file whose lock says that a supervisor owns the home.
pub(crate) const LOCK_NAME: &str = "supervisor.lock";
/// With this code a daemon ends that hands its mounts on: EX_TEMPFAIL of sysexits.h.
pub const HANDED_ON: u8 = 75;

/// Crashes are close together within this time.
const CLOSE_TOGETHER: Duration = Duration::from_secs(60);
/// So many close together may come from a request in flight, which then fails instead of being carried out again.
const CRASHES_SUSPICIOUS: usize = 3;
/// So many close together are the end: what is in the home, not what is asked, ends every daemon.
const CRASHES_MAX: usize = 10;
/// Pause before the fourth daemon in a row; it doubles with each.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs daemons for `home` until one ends as it was told. With `announce`, it detaches from the terminal; the first daemon
/// tells on standard output when it serves. With `resume`, standard input has what a supervisor before it held.
pub fn run(home: &Path, announce: bool, resume: bool) -> Result<(), Fault> {
    let mut held = Held::default();
    let lock = match resume {
        true => held.resume().map_err(|error| Fault::host("taking over from a supervisor", &error))?,
        false => {
            if announce {
                detach();
            }
            match take_lock(home) {
                Ok(lock) => lock,
                Err(fault) => {
                    if announce {
                        // The command that started us may be gone; that changes nothing.
                        let _ = wire::send(&mut io::stdout(), &Announcement::Failed(FaultLine::from(&fault)));
                    }
                    return Err(fault);
                }
            }
        }
    };
    let child = Arc::new(Mutex::new(None));
    pass_signals_on(&child)?;
    let mut announces = announce;
    let mut recent = VecDeque::new();
    loop {
        let ended = one_daemon(home, announces, &mut held, &child)
            .map_err(|error| Fault::host("starting a daemon", &error))?;
        if ended.status.success() {
            return Ok(());
        }
        if ended.status.code() == Some(HANDED_ON.into()) {
            let fault = replace(&held, &lock);
            note(format_args!("{fault}; this supervisor goes on"));
            announces = false;
            continue;
        }
        if announces && !ended.served {
            // It has told why on standard output.
            return Err(Fault::new(Code::DaemonUnreachable, "the daemon could not start"));
        }
        announces = false;
        held.crashes.count += 1;
        held.crashes.last_at =
            SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|now| now.as_secs() as i64);
        note(format_args!(
            "the daemon ended ({}), {} mounts wait for the next",
            ended.status,
            held.mounts.len()
        ));
        // SIGKILL comes from outside: nothing that is asked or in the home is why.
        if ended.status.signal() != Some(Signal::KILL.as_raw()) {
            recent.push_back(Instant::now());
        } else if !ended.served {
            std::thread::sleep(PAUSE);
        }
        recent.retain(|at: &Instant| at.elapsed() < CLOSE_TOGETHER);
        held.crashes.gives_up = recent.len() >= CRASHES_SUSPICIOUS;
        if recent.len() >= CRASHES_MAX {
            let why =
                format!("{} daemons ended within a minute, the last with {}", recent.len(), ended.status);
            return Err(Fault::new(Code::DaemonUnreachable, why)
                .hint(format!("look at the end of {}", home.join(launch::LOG_NAME).display())));
        }
        if recent.len() > CRASHES_SUSPICIOUS {
            std::thread::sleep(PAUSE * (1 << (recent.len() - CRASHES_SUSPICIOUS)));
        }
    }
}

/// How a daemon ended.
struct Ended {
    status: ExitStatus,
    /// It came so far as to serve.
    served: bool,
}

/// What is held for the next daemon.
#[derive(Default)]
struct Held {
    mounts: Vec<(HeldMount, OwnedFd)>,
    /// The memory of the daemon's rings.
    rings: Option<OwnedFd>,
    crashes: Crashes,
}

impl Held {
    fn hear(&mut self, word: Word, mut descriptors: Vec<OwnedFd>) {
        match word {
            Word::Rings => self.rings = descriptors.pop(),
            Word::Mounts(some) => self.mounts.extend(some.into_iter().zip(descriptors)),
            Word::Gone { mount_id } => self.mounts.retain(|(mount, _)| mount.id() != mount_id),
            Word::Restoring { mount_id, from } => {
                if let Some((mount, _)) = self.mounts.iter_mut().find(|(mount, _)| mount.id() == mount_id) {
                    mount.set_restoring(from);
                }
            }
            Word::All(_) | Word::Serving => {}
        }
    }

    fn send(&self, line: &Line) -> io::Result<()> {
        line.send_mounts(&self.mounts)?;
        if let Some(rings) = &self.rings {
            line.send(&Word::Rings, &[rings.as_fd()])?;
        }
        line.send(&Word::All(self.crashes), &[])
    }

    /// Takes what [`replace`] sent, and the lock.
    fn resume(&mut self) -> io::Result<OwnedFd> {
        let line = Line::take_stdin()?;
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (_, mut lock) = line.receive()?.ok_or_else(missing)?;
        loop {
            match line.receive()?.ok_or_else(missing)? {
                (Word::All(crashes), _) => {
                    self.crashes = crashes;
                    return lock.pop().ok_or_else(missing);
                }
                (word, descriptors) => self.hear(word, descriptors),
            }
        }
    }
}

/// Starts a daemon, keeps what it says is to be kept, and waits for its end.
fn one_daemon(
    home: &Path,
    announces: bool,
    held: &mut Held,
    child: &Mutex<Option<OwnedFd>>,
) -> io::Result<Ended> {
    let (line, theirs) = Line::pair()?;
    let mut daemon = start(home, announces, theirs)?;
    let pid = rustix::process::Pid::from_child(&daemon);
    *locked(child) = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok();
    if announces {
        release_stdout();
    }
    let mut served = false;
    // A daemon that dies while it is told is seen below.
    if held.send(&line).is_ok() {
        while let Ok(Some((word, descriptors))) = line.receive() {
            served |= matches!(word, Word::Serving);
            held.hear(word, descriptors);
        }
    }
    let status = daemon.wait()?;
    *locked(child) = None;
    Ok(Ended { status, served })
}

fn start(home: &Path, announces: bool, line: Line) -> io::Result<Child> {
    let mut command = Command::new(launch::own_program());
    let (agent, link) = ssh_agent::variable(home);
    command.args(["daemon", "serve"]).env("WEALD_HOME", home).env(agent, link);
    // mallopt(3): glibc has eight heaps for each CPU otherwise, and what many threads freed stays in them.
    let heaps = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    command.env("MALLOC_ARENA_MAX", heaps.to_string());
    command.stdin(Stdio::from(line.into_descriptor()));
    match announces {
        true => command.arg("--announce"),
        false => command.stdout(Stdio::null()),
    };
    command.spawn()
}

/// Becomes the program as it is on the disk now, with everything held. Returns only when that failed.
fn replace(held: &Held, lock: &OwnedFd) -> Fault {
    let failed = |error: io::Error| Fault::host("replacing the supervisor", &error);
    // What was sent waits in the socket, descriptors and all, for the program that we become.
    let handed = Line::pair().and_then(|(line, theirs)| {
        line.never_wait()?;
        line.send(&Word::Serving, &[lock.as_fd()])?;
        held.send(&line)?;
        Ok(theirs)
    });
    match handed {
        Ok(theirs) => {
            let mut command = Command::new(launch::own_program());
            command.args(["daemon", "run", "--resume"]).stdin(Stdio::from(theirs.into_descriptor()));
            failed(command.exec())
        }
        Err(error) => failed(error),
    }
}

/// SIGTERM and SIGINT are for the daemon, which unmounts and ends; then the supervisor does.
fn pass_signals_on(child: &Arc<Mutex<Option<OwnedFd>>>) -> Result<(), Fault> {
    let fault = |error: io::Error| Fault::host("waiting for signals", &error);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(fault)?;
    let child = Arc::clone(child);
    let wait = move || {
        for signal in signals.forever() {
            let child = locked(&child);
            // It outlives the terminal it was started from.
            if let Some(daemon) = child.as_ref().filter(|_| signal != SIGHUP) {
                // Fails when it has just ended.
                let _ = rustix::process::pidfd_send_signal(daemon, Signal::TERM);
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop).map_err(fault)
}

fn take_lock(home: &Path) -> Result<OwnedFd, Fault> {
    let path = home.join(LOCK_NAME);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let host = |error: rustix::io::Errno| {
        Fault::host(&format!("opening {}", path.display()), &error.into())
            .hint("set WEALD_HOME to a directory you can write, on a disk with space")
    };
    std::fs::create_dir_all(home).map_err(|error| Fault::host("making Weald's home", &error))?;
    let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(host)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let told = rustix::fs::ftruncate(&lock, 0)
                .and_then(|()| rustix::io::write(&lock, format!("{}\n", std::process::id()).as_bytes()));
            // The number is for people; a full disk is told by whoever needs room.
            let _ = told;
            Ok(lock)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = std::fs::read_to_string(&path).unwrap_or_default();
            let why = format!("a supervisor owns this home already, process {}", pid.trim());
            Err(Fault::new(Code::DaemonRunning, why).hint("weald daemon stop"))
        }
        Err(error) => Err(host(error)),
    }
}

/// Leaves the terminal and its directory. Failing is harmless: we were detached already.
fn detach() {
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
}

/// Gives the announcement pipe to the daemon alone, so that whoever reads it sees its end.
fn release_stdout() {
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}
