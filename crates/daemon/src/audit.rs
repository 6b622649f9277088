//! `weald log`: the records of a workspace's log, filtered, as a stream of lines, on demand for ever.
//!
//! Invariant: lines are sent as they are found, so a long log takes no memory here. Who follows holds no lock, and
//! lets go of the workspace every now and then, so that it can be unmounted; that ends the stream.
//! Read next: `weald_engine::audit`, which makes lines of records.

use crate::entry::Entry;
use crate::forest::Forest;
use crate::protocol::{Line, LogRequest, Moment};
use crate::report::{LogEnd, LogLine};
use crate::restore::path_inside;
use crate::{faults, wire};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use weald_engine::Workspace;
use weald_engine::audit::{Journal, Logged, OPERATIONS};
use weald_engine::programs::PROGRAM_NAME_BYTES_MAX;
use weald_model::{Code, Errno, Fault, Timestamp};

/// Lines sent at a time.
const BATCH: usize = 256;
/// How long to wait for a record before looking whether anybody still listens.
const FOLLOW_PATIENCE: Duration = Duration::from_millis(100);
/// How long the workspace is let go of then.
const FOLLOW_PAUSE: Duration = Duration::from_millis(5);
/// Records behind the newest that are read when so many lines are wanted: some records are no lines.
const SPARE_RECORDS: u64 = 64;

/// Why a stream ended early.
enum Broken {
    /// Nobody listens any more.
    Gone,
    Failed(Fault),
}

/// Sends what is asked for, and says how it ended; None when the asker has gone.
pub(crate) fn stream(
    forest: &Forest,
    ask: &LogRequest,
    stream: &mut UnixStream,
) -> Result<Option<LogEnd>, Fault> {
    let entry = forest.find(&ask.target)?;
    let filter = Filter::new(ask, &entry)?;
    let workspace = entry.load(&forest.stores)?;
    let begin =
        workspace.shared().given_up(entry.id).map_err(|error| faults::errno("reading a log", error))?;
    let given_up = begin.map_or(0, |head| head.seq);
    let mut sink = Sink { stream, batch: Vec::new(), lines: 0 };
    match run(&entry, workspace, ask, &filter, &mut sink) {
        Ok(last_record) => Ok(Some(LogEnd { lines: sink.lines, last_record, given_up })),
        Err(Broken::Gone) => Ok(None),
        Err(Broken::Failed(fault)) => Err(fault),
    }
}

fn run(
    entry: &Entry,
    workspace: Arc<Workspace>,
    ask: &LogRequest,
    filter: &Filter,
    sink: &mut Sink<'_>,
) -> Result<u64, Broken> {
    let unreadable = |errno: Errno| {
        Broken::Failed(faults::errno(&format!("reading the log of `{}`", entry.name()), errno))
    };
    let after = start(&workspace, ask.since).map_err(unreadable)?;
    let mut journal = match ask.limit {
        Some(limit) => last_lines(&workspace, after, limit, filter, sink, &unreadable)?,
        None => workspace.journal(after).map_err(unreadable)?,
    };
    let mut held = Arc::downgrade(&workspace);
    let mut workspace = Some(workspace);
    loop {
        // Unmounted: who mounts it again can follow it again.
        let Some(now) = workspace.take().or_else(|| held.upgrade()) else { return Ok(journal.seq()) };
        let mut broken = None;
        let mut each = |logged: Logged| {
            if filter.fits(&logged)
                && let Err(error) = sink.put(logged)
            {
                broken = Some(error);
            }
            broken.is_none()
        };
        now.read_journal(&mut journal, &mut each).map_err(unreadable)?;
        broken.map_or(Ok(()), Err)?;
        sink.flush()?;
        if !ask.follow {
            return Ok(journal.seq());
        }
        if !now.wait_for_record(journal.seq(), FOLLOW_PATIENCE) {
            sink.must_be_heard()?;
            held = Arc::downgrade(&now);
            drop(now);
            std::thread::sleep(FOLLOW_PAUSE);
        } else {
            workspace = Some(now);
        }
    }
}

/// The record behind which everything is at or after a moment.
fn start(workspace: &Workspace, since: Option<Moment>) -> Result<u64, Errno> {
    let Some(Moment { secs, nanos }) = since else { return Ok(0) };
    let before = match nanos.checked_sub(1) {
        Some(nanos) => Timestamp { secs, nanos },
        None => Timestamp { secs: secs - 1, nanos: 999_999_999 },
    };
    let point = match workspace.point_at(before) {
        // The log begins later by now.
        Err(Errno::Stale) => None,
        point => point?,
    };
    Ok(point.filter(|point| point.log == workspace.id()).map_or(0, |point| point.seq))
}

/// Sends the last lines that fit, and returns the journal behind them. Without a filter only the end of the log has to
/// be understood.
fn last_lines(
    workspace: &Workspace,
    after: u64,
    limit: u64,
    filter: &Filter,
    sink: &mut Sink<'_>,
    unreadable: &dyn Fn(Errno) -> Broken,
) -> Result<Journal, Broken> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let wanted = (limit as u64).saturating_mul(2).saturating_add(SPARE_RECORDS);
    let near = workspace.present().seq.saturating_sub(wanted).max(after);
    let mut starts = vec![after];
    if filter.is_open() && near > after {
        starts.push(near);
    }
    while let Some(start) = starts.pop() {
        let mut lines: VecDeque<Logged> = VecDeque::new();
        let mut journal = workspace.journal(start).map_err(unreadable)?;
        let mut each = |logged: Logged| {
            if filter.fits(&logged) {
                lines.push_back(logged);
            }
            if lines.len() > limit {
                lines.pop_front();
            }
            true
        };
        workspace.read_journal(&mut journal, &mut each).map_err(unreadable)?;
        if lines.len() >= limit || starts.is_empty() {
            lines.into_iter().try_for_each(|logged| sink.put(logged))?;
            sink.flush()?;
            return Ok(journal);
        }
    }
    workspace.journal(after).map_err(unreadable)
}

/// Lines on their way to the asker.
struct Sink<'a> {
    stream: &'a mut UnixStream,
    batch: Vec<LogLine>,
    lines: u64,
}

impl Sink<'_> {
    fn put(&mut self, logged: Logged) -> Result<(), Broken> {
        self.batch.push(logged.into());
        self.lines += 1;
        if self.batch.len() == BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Broken> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let lines = std::mem::take(&mut self.batch);
        let sent: io::Result<()> = wire::send(self.stream, &Line::Log { lines });
        sent.map_err(|_| Broken::Gone)
    }

    /// Whoever asked says nothing more, so anything to be read is the end of the connection.
    fn must_be_heard(&self) -> Result<(), Broken> {
        let mut poll = [PollFd::new(self.stream, PollFlags::IN | PollFlags::HUP)];
        let ready = rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if matches!(ready, Ok(0) | Err(rustix::io::Errno::INTR)) { Ok(()) } else { Err(Broken::Gone) }
    }
}

/// Which lines are wanted.
struct Filter {
    path: Option<Vec<u8>>,
    program: Option<Vec<u8>>,
    operation: Option<String>,
    until: Option<Timestamp>,
}

impl Filter {
    fn new(ask: &LogRequest, entry: &Entry) -> Result<Self, Fault> {
        if let Some(operation) = ask.operation.as_deref().filter(|word| !OPERATIONS.contains(word)) {
            let what = format!("`{}` is no operation", operation.escape_debug());
            return Err(Fault::new(Code::BadRequest, what).hint(OPERATIONS.join(", ")));
        }
        let inside = |path| path_inside(path, ask.directory.as_ref(), entry);
        let path = ask.path.as_ref().map(inside).transpose()?;
        let cut = |name: &String| name.as_bytes()[..name.len().min(PROGRAM_NAME_BYTES_MAX)].to_vec();
        Ok(Self {
            path,
            program: ask.program.as_ref().map(cut),
            operation: ask.operation.clone(),
            until: ask.until.map(|Moment { secs, nanos }| Timestamp { secs, nanos }),
        })
    }

    fn is_open(&self) -> bool {
        self.path.is_none() && self.program.is_none() && self.operation.is_none() && self.until.is_none()
    }

    fn fits(&self, logged: &Logged) -> bool {
        let of_program = |name: &Vec<u8>| logged.program.is_some_and(|program| program.as_bytes() == name);
        let at = |path: &Vec<u8>| {
            [&logged.path, &logged.to].into_iter().flatten().any(|found| is_at_or_below(found, path))
        };
        self.program.as_ref().is_none_or(of_program)
            && self.operation.as_ref().is_none_or(|operation| operation == logged.operation)
            && self.until.is_none_or(|until| logged.time <= until)
            && self.path.as_ref().is_none_or(at)
    }
}

fn is_at_or_below(found: &[u8], path: &[u8]) -> bool {
    match found.strip_prefix(path) {
        Some(rest) => path.is_empty() || rest.is_empty() || rest[0] == b'/',
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_itself_and_what_is_below_it() {
        for (path, found, fits) in [
            ("src", "src", true),
            ("src", "src/a/b", true),
            ("src", "srcs", false),
            ("", "anything", true),
            ("src/a", "src", false),
        ] {
            assert_eq!(is_at_or_below(found.as_bytes(), path.as_bytes()), fits, "{path} {found}");
        }
    }
}
