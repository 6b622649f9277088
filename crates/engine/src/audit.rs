//! The log as people read it: who did what, when, and to which path.
//!
//! Records name inodes; the paths of the moment come from following every change of a name ([`Names`]). What is read
//! is the log itself, so whatever changed a workspace, through whichever front end, is here.
//! Invariant: a [`Journal`] gives each record once, in order, and can be gone on with as the log grows.

use crate::history::Point;
use crate::programs::ProgramName;
use crate::record::{Change, Record};
use crate::replay::state_at;
use crate::workspace::Workspace;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use weald_model::{Errno, Result, Timestamp};
use weald_store::log::{self as store, LogError, LogReader};

mod names;
mod words;

use names::Names;

/// A record as people read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// Its number in the log.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// The process; 0 when not known, as for what the kernel wrote back later.
    pub pid: u32,
    /// The file-system user id.
    pub uid: u32,
    /// The program's name.
    pub program: Option<ProgramName>,
    /// What was done: a word of [`OPERATIONS`].
    pub operation: &'static str,
    /// What it was done to, from the root of the workspace, without a leading slash; empty is the root. None when it is
    /// about no file, or about one that has no name, unless its removal was read in the same go.
    pub path: Option<Vec<u8>>,
    /// A second path: the new name of a rename or link, the target of a copy.
    pub to: Option<Vec<u8>>,
    /// Where in the file.
    pub offset: Option<u64>,
    /// How many bytes, or the new size.
    pub bytes: Option<u64>,
    /// What else there is to say: a mode, the name of an attribute, a snapshot, a workspace.
    pub detail: Option<String>,
}

/// Every word for an operation.
pub const OPERATIONS: &[&str] = &[
    "allocate",
    "attach",
    "begin",
    "chmod",
    "chown",
    "copy",
    "create",
    "drop-snapshot",
    "exchange",
    "fork",
    "give-back",
    "give-up",
    "link",
    "log-reads",
    "mkdir",
    "mknod",
    "move-content",
    "open",
    "punch",
    "redo",
    "removexattr",
    "rename",
    "restore",
    "rmdir",
    "rules",
    "rules-confirm",
    "rules-stop",
    "seal",
    "setxattr",
    "snapshot",
    "symlink",
    "tag",
    "tmpfile",
    "truncate",
    "undo",
    "unlink",
    "utimes",
    "write",
    "zero",
];

/// A place in the log of a workspace, with what is needed to understand what follows.
pub struct Journal {
    reader: LogReader,
    names: Names,
    programs: HashMap<u32, ProgramName>,
    /// Records up to this one are passed over.
    after: u64,
}

impl Journal {
    /// The last record that was read.
    pub fn seq(&self) -> u64 {
        self.reader.seq()
    }
}

impl Workspace {
    /// Begins to read the log behind record `after`, 0 for all of it. Cost: what lies between there and the nearest
    /// state in memory. Records that were given up are passed over.
    pub fn journal(&self, after: u64) -> Result<Journal> {
        let floor = self.shared.floor(self.id()).map_err(|error| error.errno())?;
        let after = after.max(floor.map_or(0, |floor| floor.seq));
        let names = match after {
            0 => Names::new(&self.base, []),
            _ => self.names_at(after)?,
        };
        let programs = self.shared.programs_of_floor(self.id())?.into_iter().collect();
        let reader = self.shared.logs.reader(self.id());
        Ok(Journal { reader, names, programs, after })
    }

    /// Reads on in a journal of this workspace up to the present, until `visit` says false. Cost: the records between.
    pub fn read_journal(&self, journal: &mut Journal, visit: &mut dyn FnMut(Logged) -> bool) -> Result<()> {
        let Journal { reader, names, programs, after } = journal;
        let mut failure = None;
        let mut each = |stored: store::Record<'_>| {
            let outcome = self.read_record(stored, *after, names, programs);
            match outcome {
                Ok(Some(logged)) => {
                    if visit(logged) {
                        Ok(())
                    } else {
                        Err(Errno::Interrupted)
                    }
                }
                Ok(None) => Ok(()),
                Err(errno) => {
                    failure = Some(errno);
                    Err(errno)
                }
            }
        };
        match reader.read_until(self.log.seq(), &mut each) {
            Ok(()) | Err(LogError::Refused(Errno::Interrupted)) => Ok(()),
            Err(error) => Err(failure.unwrap_or(error.errno())),
        }
    }

    /// All of the log behind record `after`; see [`Workspace::journal`].
    pub fn records(&self, after: u64, visit: &mut dyn FnMut(Logged) -> bool) -> Result<()> {
        self.read_journal(&mut self.journal(after)?, visit)
    }

    /// Waits until there is a record behind `after`; false when there was none for so long.
    pub fn wait_for_record(&self, after: u64, patience: Duration) -> bool {
        self.news.wait(patience, || self.log.seq() > after)
    }

    fn read_record(
        &self,
        stored: store::Record<'_>,
        after: u64,
        names: &mut Names,
        programs: &mut HashMap<u32, ProgramName>,
    ) -> Result<Option<Logged>> {
        let record = Record::decode(stored.body).map_err(|_| Errno::Io)?;
        if let Change::Program { number, name } = record.change {
            programs.insert(number, name);
            return Ok(None);
        }
        if stored.seq <= after {
            return Ok(None);
        }
        let seq = stored.seq;
        let forked = matches!(&record.change, Change::Origin { parent: Some(_), .. });
        if forked {
            *names = self.names_at(seq)?;
        }
        let mut logged = Logged {
            seq,
            time: record.time,
            pid: record.pid,
            uid: record.uid,
            program: programs.get(&record.program).copied(),
            ..Logged::default()
        };
        let is_told = words::tell(&record.change, &mut logged, names);
        if matches!(record.change, Change::Restore { .. }) {
            *names = self.names_at(seq)?;
        }
        Ok(is_told.then_some(logged))
    }

    fn names_at(&self, seq: u64) -> Result<Names> {
        let point = Point { log: self.id(), seq };
        let state = state_at(&self.shared, &self.base, point).map_err(|_| Errno::Io)?;
        let changed = state.own_names().map(|(key, dent)| (key.clone(), *dent));
        Ok(Names::new(&self.base, changed))
    }
}

/// Wakes who waits for the next record. Costs an append one look at a number while nobody does.
#[derive(Default)]
pub(crate) struct News {
    waiting: AtomicU32,
    turn: Mutex<()>,
    told: Condvar,
}

impl News {
    /// Says that there is a record more. Called when the log tells its number.
    pub(crate) fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            self.told.notify_all();
        }
    }

    fn wait(&self, patience: Duration, mut is_there: impl FnMut() -> bool) -> bool {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(turn, patience, |()| !is_there());
        let (turn, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(turn);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        !timeout.timed_out()
    }
}
