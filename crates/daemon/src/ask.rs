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

/// Sends `request` over a fresh connection and waits for its answer, telling `progress` what the daemon tells.
pub fn ask<T: DeserializeOwned>(
    mut stream: UnixStream,
    request: Request,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<T, Fault> {
    wire::send(&mut stream, &Envelope { version: PROTOCOL_VERSION, request }).map_err(|e| broken(&e))?;
    let mut input = BufReader::new(stream);
    loop {
        match wire::receive::<Line>(&mut input).map_err(|e| broken(&e))? {
            Some(Line::Progress { title, done, total }) => progress(&title, done, total),
            Some(Line::Fault { fault }) => return Err(fault.into()),
            Some(Line::Done { value }) => return serde_json::from_value(value).map_err(|e| foreign(&e)),
            None => return Err(gone()),
        }
    }
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
