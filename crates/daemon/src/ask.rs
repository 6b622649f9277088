//! The asking side: one request to the daemon that owns a home.
//!
//! Invariant: no thread is started and nothing but the socket is touched; a command's time is the daemon's time.
//! Read next: [`crate::launch`], which starts a daemon when none answers.

use crate::protocol::{Envelope, Line, PROTOCOL_VERSION, Request};
use crate::wire;
use serde::de::DeserializeOwned;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use weald_model::{Code, Fault};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The daemon ended before it took the request: asking another one does nothing twice.
    Unheard(Fault),
    /// It refused, or ended while it was at work.
    Failed(Fault),
}

impl From<Unanswered> for Fault {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Unheard(fault) | Unanswered::Failed(fault) => fault,
        }
    }
}

/// Takes what the daemon tells before it answers; false when nothing more is wanted.
pub type Tell<'a> = dyn FnMut(Line) -> bool + 'a;

/// Sends `request` over a fresh connection and waits for its answer; None when `tell` wanted nothing more.
pub(crate) fn converse<T: DeserializeOwned>(
    mut stream: UnixStream,
    request: &Request,
    tell: &mut Tell<'_>,
) -> Result<Option<T>, Unanswered> {
    let mut heard = false;
    let lost = |heard: bool, fault: Fault| match heard {
        true => Unanswered::Failed(fault),
        false => Unanswered::Unheard(fault),
    };
    let envelope = Envelope { version: PROTOCOL_VERSION, request: request.clone() };
    wire::send(&mut stream, &envelope).map_err(|error| lost(heard, broken(&error)))?;
    let mut input = BufReader::new(stream);
    loop {
        match wire::receive::<Line>(&mut input).map_err(|error| lost(heard, broken(&error)))? {
            Some(Line::Hearing) => heard = true,
            Some(Line::Fault { fault }) => return Err(Unanswered::Failed(fault.into())),
            Some(Line::Done { value }) => {
                let answer = serde_json::from_value(value);
                return answer.map(Some).map_err(|error| Unanswered::Failed(foreign(&error)));
            }
            Some(told) => {
                if !tell(told) {
                    return Ok(None);
                }
            }
            None => return Err(lost(heard, gone())),
        }
    }
}

/// The same for what tells nothing but progress.
pub(crate) fn ask<T: DeserializeOwned>(
    stream: UnixStream,
    request: &Request,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<T, Unanswered> {
    let answer = converse(stream, request, &mut |line| {
        if let Line::Progress { title, done, total } = line {
            progress(&title, done, total);
        }
        true
    })?;
    Ok(answer.expect("nobody stopped it"))
}

/// Progress that nobody shows.
pub fn unseen(_title: &str, _done: u64, _total: u64) {}

fn broken(error: &std::io::Error) -> Fault {
    Fault::new(Code::DaemonUnreachable, format!("the connection to the daemon broke: {error}"))
        .hint("run the command again; `weald daemon restart` if that does not help")
}

fn gone() -> Fault {
    Fault::new(Code::DaemonUnreachable, "the daemon ended before it answered")
        .hint("run the command again; the reason is at the end of daemon.log in Weald's home")
}

fn foreign(error: &serde_json::Error) -> Fault {
    Fault::new(Code::DaemonUnreachable, format!("the daemon's answer is not understood: {error}"))
        .hint("weald daemon restart")
}
