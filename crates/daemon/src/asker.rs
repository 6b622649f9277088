//! A process that asks our own mounts for something in the daemon's stead.
//!
//! Who asks a mount waits until the daemon has answered, and cannot be killed meanwhile. Were that a thread of the daemon, a
//! daemon that is killed could not end, its descriptors would stay open, and with them the mounts, which nobody serves:
//! the supervisor would never learn of it. So the daemon's threads ask no mount of theirs; this process does, which holds none
//! of their descriptors (all are closed on exec) and ends with its standard input.
//! Invariant: one wish at a time for each process; it is answered with a line of one word.

use crate::{launch, locked, note, open_files, rings, wire, writeback};
use serde::{Deserialize, Serialize};
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use weald_git::submodule;
use weald_model::Fault;

/// Processes that are kept for the next wish.
const IDLE_MAX: usize = 2;

static IDLE: Mutex<Vec<Asker>> = Mutex::new(Vec::new());

/// What a mount is asked for, or about.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wish {
    /// The pages that programs changed through shared mappings.
    WriteBack { path: PathBuf, device: u64 },
    /// The sizes of files that programs have open.
    Sizes { device: u64 },
    /// A request from each CPU, so that the kernel looks into the queue of each.
    Nudge { path: PathBuf },
    /// What a workspace has fetched of submodules, for the clone it was made from.
    Lend { git_dir: PathBuf, clone: PathBuf },
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done,
}

impl Wish {
    /// Has it done, and waits until it is.
    pub(crate) fn ask(&self) {
        let idle = locked(&IDLE).pop();
        // One that waited here may have been killed.
        let again = || Asker::start().and_then(|asker| asker.ask(self));
        match idle.map_or_else(again, |asker| asker.ask(self).or_else(|_| again())) {
            Ok(asker) => asker.rest(),
            Err(error) => {
                note(format_args!("starting a process that asks mounts: {error}"));
                self.fulfil();
            }
        }
    }

    fn fulfil(&self) {
        match self {
            Wish::WriteBack { path, device } => writeback::flush(path, *device),
            Wish::Sizes { device } => open_files::refresh(*device),
            Wish::Nudge { path } => rings::nudge(path),
            Wish::Lend { git_dir, clone } => submodule::lend(git_dir, clone),
        }
    }
}

/// Such a process.
struct Asker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Asker {
    fn start() -> io::Result<Self> {
        let mut command = Command::new(launch::own_program());
        command.args(["daemon", "ask"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    fn ask(mut self, wish: &Wish) -> io::Result<Self> {
        let answered =
            wire::send(&mut self.input, wish).and_then(|()| wire::receive::<Answer>(&mut self.output));
        match answered {
            Ok(Some(Answer::Done)) => Ok(self),
            outcome => {
                self.end();
                Err(outcome.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }

    /// Stays for the next wish, unless there are enough.
    fn rest(self) {
        let mut idle = locked(&IDLE);
        if idle.len() < IDLE_MAX {
            idle.push(self);
        } else {
            drop(idle);
            let Self { mut child, input, .. } = self;
            drop(input);
            let _ = child.wait();
        }
    }

    fn end(mut self) {
        drop(self.input);
        // It may be one that cannot be killed now; then it is left to whoever inherits it.
        let _ = self.child.kill();
        let _ = self.child.try_wait();
    }
}

/// Is such a process: does what comes on standard input, until that ends.
pub fn run() -> Result<(), Fault> {
    let host = |error: io::Error| Fault::host("hearing from the daemon", &error);
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    while let Some(wish) = wire::receive::<Wish>(&mut input).map_err(host)? {
        wish.fulfil();
        wire::send(&mut output, &Answer::Done).map_err(host)?;
    }
    Ok(())
}
