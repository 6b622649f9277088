//! The daemon's life: own the home, open the forest, answer, end cleanly.
//!
//! Invariants: one daemon per home (a lock on daemon.lock held to the end of the process); the socket appears
//! only when everything is mounted; SIGTERM and SIGINT unmount before the process ends. Read next: [`crate::forest`], [`crate::supervisor`].

use crate::control::{self, Ending};
use crate::forest::Forest;
use crate::hold::{Hold, Line};
use crate::launch::{Announcement, SOCKET_NAME};
use crate::protocol::FaultLine;
use crate::{start_thread, wire};
use rustix::fs::Mode;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use weald_model::Fault;

/// How a daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it was told: everything is unmounted.
    Told,
    /// Its mounts are for another daemon to go on with.
    HandedOn,
}

/// Runs the daemon of `home` until it is told to end, with the supervisor that standard input leads to. With `announce`,
/// it tells on standard output when the socket answers or why it never will.
pub fn run(home: &Path, announce: bool) -> Result<End, Fault> {
    let outcome = start(home);
    if announce {
        let line = match &outcome {
            Ok(_) => Announcement::Ready { pid: std::process::id() },
            Err(fault) => Announcement::Failed(FaultLine::from(fault)),
        };
        // The command that started us may be gone; that changes nothing.
        let _ = wire::send(&mut io::stdout(), &line);
        release_stdout();
    }
    let Running { listener, forest, signals } = outcome?;
    let (sender, ending) = channel();
    listen_to_signals(signals, sender.clone());
    let accepting = Arc::clone(&forest);
    start_thread("accept", move || control::serve(&listener, &accepting, &sender))?;
    let end = match ending.recv() {
        // The caller waits for the end of the connection, and then asks the next daemon: so it ends with the process, not
        // while this one still accepts others.
        Ok(Ending::HandedOn { connection }) => {
            std::mem::forget(connection);
            End::HandedOn
        }
        Ok(Ending::Asked { connection }) => {
            std::mem::forget(connection);
            End::Told
        }
        Ok(Ending::Signal) => {
            forest.close();
            End::Told
        }
        Err(_) => End::Told,
    };
    // Best effort: a socket left behind is replaced by the next daemon.
    let _ = std::fs::remove_file(home.join(SOCKET_NAME));
    Ok(end)
}

struct Running {
    listener: UnixListener,
    forest: Arc<Forest>,
    signals: Signals,
}

fn start(home: &Path) -> Result<Running, Fault> {
    rustix::process::umask(Mode::from_raw_mode(0o077));
    raise_file_limit();
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Fault::host("waiting for signals", &error))?;
    let (hold, mounts) = Line::take_stdin()
        .and_then(Hold::take_over)
        .map_err(|error| Fault::host("hearing from the supervisor", &error))?;
    let forest = Forest::open(home, hold, mounts)?;
    let listener = listen(&home.join(SOCKET_NAME))
        .map_err(|error| Fault::host(&format!("making the socket in {}", home.display()), &error))?;
    forest.hold.serving();
    Ok(Running { listener, forest, signals })
}

/// Binds the socket, in place of one that a dead daemon left. The home's lock is held, so nobody else binds.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = wire::bind(path)?;
    // The umask gave these already; a file system that ignores it does not.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn listen_to_signals(mut signals: Signals, sender: Sender<Ending>) {
    let wait = move || {
        for signal in signals.forever() {
            // A daemon outlives the terminal it was started from.
            if signal != SIGHUP && sender.send(Ending::Signal).is_err() {
                return;
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("signals".into()).spawn(wait) {
        crate::note(format_args!("signals will not end this daemon cleanly: {error}"));
    }
}

/// Gives the announcement pipe back, so that whoever reads it sees its end.
fn release_stdout() {
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// One mount takes a descriptor or two, so a thousand of them need more than the usual 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
