//! The control socket: one thread per connection, one request per connection.
//!
//! Invariant: only the owner of the home and root are heard (SO_PEERCRED). A request that breaks an invariant of
//! ours answers with a fault and harms no other. Read next: [`crate::protocol`], `answer`.

use crate::answer::answer;
use crate::audit;
use crate::forest::Forest;
use crate::protocol::{Envelope, FaultLine, Line, LogRequest, PROTOCOL_VERSION, Request};
use crate::report::Stopped;
use crate::wire;
use rustix::net::UCred;
use std::io::{self, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use weald_model::{Caller, Code, Fault, Progress};

/// A caller sends its one line at once; one that does not, loses its thread.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Progress is told this often at most.
const PROGRESS_PAUSE: Duration = Duration::from_millis(50);
/// After a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the daemon ends.
pub(crate) enum Ending {
    /// A signal.
    Signal,
    /// `weald daemon stop`: everything is unmounted and the answer is sent. The connection stays open until the
    /// process is gone, which is what the caller waits for.
    Asked {
        /// Kept open to the end.
        connection: UnixStream,
    },
    /// `weald daemon restart --upgrade`: everything is durable, and the mounts wait for the next daemon.
    HandedOn {
        /// Kept open to the end.
        connection: UnixStream,
    },
}

/// Accepts connections for ever.
pub(crate) fn serve(listener: &UnixListener, forest: &Arc<Forest>, ending: &Sender<Ending>) {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                crate::note(format_args!("accepting a connection: {error}"));
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        let (forest, ending) = (Arc::clone(forest), ending.clone());
        let started = std::thread::Builder::new().name("control".into()).spawn(move || {
            if let Err(error) = connection(stream, &forest, &ending) {
                crate::note(format_args!("a control connection: {error}"));
            }
        });
        if let Err(error) = started {
            crate::note(format_args!("a thread for a connection: {error}"));
        }
    }
}

fn connection(mut stream: UnixStream, forest: &Arc<Forest>, ending: &Sender<Ending>) -> io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    if peer.uid.as_raw() != 0 && peer.uid != rustix::process::geteuid() {
        let fault = Fault::new(Code::NotAllowed, "this Weald belongs to another user");
        return wire::send(&mut stream, &Line::Fault { fault: FaultLine::from(&fault) });
    }
    wire::send(&mut stream, &Line::Hearing)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let envelope = wire::receive::<Envelope>(&mut BufReader::new(&stream));
    let request = match envelope {
        Ok(None) => return Ok(()),
        Ok(Some(envelope)) if envelope.version == PROTOCOL_VERSION => envelope.request,
        Ok(Some(_)) | Err(_) => {
            return wire::send(&mut stream, &Line::Fault { fault: FaultLine::from(&misfit()) });
        }
    };
    match request {
        Request::Stop => {
            return stop(stream, forest.close(), |stream| Ending::Asked { connection: stream }, ending);
        }
        Request::HandOn => {
            let line = match forest.hand_on() {
                Ok(stopped) => {
                    return stop(stream, stopped, |stream| Ending::HandedOn { connection: stream }, ending);
                }
                Err(fault) => Line::Fault { fault: FaultLine::from(&fault) },
            };
            return wire::send(&mut stream, &line);
        }
        _ => {}
    }
    if let Request::Log(ask) = &request {
        return log(stream, forest, ask);
    }
    let events = Events::new(stream.try_clone()?);
    let outcome = guarded(forest, &caller(&peer), request, &events);
    let line = match outcome {
        Ok(value) => Line::Done { value },
        Err(fault) => Line::Fault { fault: FaultLine::from(&fault) },
    };
    wire::send(&mut stream, &line)
}

/// Who asks, as the log is to have it.
fn caller(peer: &UCred) -> Caller {
    let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or(0);
    Caller { pid, ..Caller::owner(peer.uid.as_raw(), peer.gid.as_raw()) }
}

fn guarded(
    forest: &Arc<Forest>,
    who: &Caller,
    request: Request,
    events: &Events,
) -> Result<serde_json::Value, Fault> {
    let caught = catch_unwind(AssertUnwindSafe(|| answer(forest, who, request, events)));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Fault::new(Code::Internal, format!("an invariant of the daemon is broken: {text}")))
    })
}

/// Lines instead of progress, and no end until there is one.
fn log(mut stream: UnixStream, forest: &Forest, ask: &LogRequest) -> io::Result<()> {
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    let line = match audit::stream(forest, ask, &mut stream) {
        Ok(None) => return Ok(()),
        Ok(Some(end)) => Line::Done { value: serde_json::to_value(end).map_err(io::Error::other)? },
        Err(fault) => Line::Fault { fault: FaultLine::from(&fault) },
    };
    wire::send(&mut stream, &line)
}

fn stop(
    mut stream: UnixStream,
    stopped: Stopped,
    how: impl FnOnce(UnixStream) -> Ending,
    ending: &Sender<Ending>,
) -> io::Result<()> {
    let value = serde_json::to_value(stopped).map_err(io::Error::other)?;
    let sent = wire::send(&mut stream, &Line::Done { value });
    // The caller may have gone; the daemon ends all the same.
    let _ = ending.send(how(stream));
    sent
}

fn misfit() -> Fault {
    Fault::new(Code::DaemonUnreachable, "the command and the running daemon are of different versions")
        .hint("weald daemon restart")
}

/// Progress as lines to the caller.
struct Events {
    state: Mutex<EventState>,
}

struct EventState {
    stream: UnixStream,
    title: String,
    done: u64,
    total: u64,
    told: Instant,
    gone: bool,
}

impl Events {
    fn new(stream: UnixStream) -> Self {
        // A caller that stops reading (a stopped process) must not hold the work up.
        let _ = stream.set_write_timeout(Some(REQUEST_TIMEOUT));
        let state =
            EventState { stream, title: String::new(), done: 0, total: 0, told: Instant::now(), gone: false };
        Self { state: Mutex::new(state) }
    }

    fn change(&self, change: impl FnOnce(&mut EventState)) {
        let mut state = crate::locked(&self.state);
        change(&mut state);
        if state.gone || state.told.elapsed() < PROGRESS_PAUSE {
            return;
        }
        state.told = Instant::now();
        let line = Line::Progress { title: state.title.clone(), done: state.done, total: state.total };
        state.gone = wire::send(&mut state.stream, &line).is_err();
    }
}

impl Progress for Events {
    fn stage(&self, title: &str, total: u64) {
        self.change(|state| {
            state.title = title.to_owned();
            state.total = total;
            state.done = 0;
        });
    }

    fn advance(&self, steps: u64) {
        self.change(|state| state.done += steps);
    }
}
