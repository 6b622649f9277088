//! What content is gone: given back to the disk because no state that stays reaches it.
//!
//! A point outside what stays can still be named. So who brings a past back (to look at it, restore it, fork it or pin
//! it) asks here whether all of its content is still there, and gets ESTALE when it is not.
//! Lock: the gate is taken before any workspace's state, shared by who brings a past back to stay, exclusively while
//! is recorded what is given back. Read next: `reach`, which decides.

use crate::Shared;
use crate::content::Origin;
use crate::history::Point;
use crate::moved::MovedLog;
use crate::record::{Change, Record};
use crate::state::State;
use crate::workspace::Workspace;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use weald_model::{Errno, Result, WorkspaceId};
use weald_store::cas::Hash;
use weald_store::log::reclaim::{Piece, Pieces};
use weald_store::log::{LogError, Place};

/// What is known of all logs of a home.
#[derive(Default)]
pub(crate) struct GivenBack {
    gate: RwLock<()>,
    revivals: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    pieces: HashMap<WorkspaceId, Arc<Pieces>>,
    moved: HashMap<WorkspaceId, Arc<MovedLog>>,
    /// Logs that were read to their end.
    complete: HashSet<WorkspaceId>,
}

/// A past is being brought back to stay.
pub(crate) struct Revival<'a>(#[expect(dead_code, reason = "held, not used")] RwLockReadGuard<'a, ()>);

impl GivenBack {
    /// How often a past was brought back to stay.
    pub(crate) fn revivals(&self) -> u64 {
        self.revivals.load(Ordering::SeqCst)
    }

    /// Says that a past is brought back. What it needs stays until this is dropped; after that it is reached.
    pub(crate) fn revive(&self) -> Revival<'_> {
        let guard = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.revivals.fetch_add(1, Ordering::SeqCst);
        Revival(guard)
    }

    /// Keeps revivals out.
    pub(crate) fn gate_closed(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// These pieces of a log are recorded as given back.
    pub(crate) fn add(&self, log: WorkspaceId, pieces: &[Piece]) {
        let mut known = self.known();
        let all = Arc::make_mut(known.pieces.entry(log).or_default());
        pieces.iter().for_each(|piece| all.add(*piece));
    }

    /// These pieces of a log are recorded as moved.
    pub(crate) fn add_moved(&self, log: WorkspaceId, table: Hash, pieces: &[Piece]) {
        Arc::make_mut(self.known().moved.entry(log).or_default()).add(table, pieces);
    }

    /// The table that says where the data at a place is by now, as far as is known.
    pub(crate) fn table(&self, place: Place) -> Option<Hash> {
        self.known().moved.get(&place.log)?.table(place.file, place.offset)
    }

    /// A log was read to its end, so all it says is known.
    pub(crate) fn complete(&self, log: WorkspaceId) {
        self.known().complete.insert(log);
    }

    /// Forgets a log that is opened anew or gone.
    pub(crate) fn forget(&self, log: WorkspaceId) {
        let mut known = self.known();
        known.pieces.remove(&log);
        known.moved.remove(&log);
        known.complete.remove(&log);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// What was given back of a log. Reads it once when it is not loaded.
    pub fn given_back_of(&self, log: WorkspaceId) -> Result<Arc<Pieces>> {
        self.known_of(log, |known| known.pieces.get(&log).cloned().unwrap_or_default())
    }

    /// What was moved out of a log. Reads it once when it is not loaded.
    pub(crate) fn moved_of(&self, log: WorkspaceId) -> Result<Arc<MovedLog>> {
        self.known_of(log, |known| known.moved.get(&log).cloned().unwrap_or_default())
    }

    fn known_of<T>(&self, log: WorkspaceId, answer: impl Fn(&Known) -> T) -> Result<T> {
        {
            let known = self.given_back.known();
            if known.complete.contains(&log) {
                return Ok(answer(&known));
            }
        }
        // Gathered first: the log may be opened anew, and forgotten here, meanwhile.
        let (mut gone, mut moved) = (Vec::new(), MovedLog::default());
        if let Some(aside) = self.aside_of_floor(log)? {
            gone.extend(aside.given_back);
            aside.moved.iter().for_each(|(piece, table)| moved.add(*table, &[*piece]));
        }
        let visited = self.logs.replay_until(log, u64::MAX, &mut |stored| {
            match Record::decode(stored.body).map(|record| record.change) {
                Ok(Change::Reclaimed { pieces }) => gone.extend(pieces),
                Ok(Change::Moved { table, pieces }) => moved.add(table, &pieces),
                _ => {}
            }
            Ok(())
        });
        match visited {
            Ok(()) | Err(LogError::Short { .. }) => {}
            Err(error) => return Err(error.errno()),
        }
        self.given_back.add(log, &gone);
        let mut known = self.given_back.known();
        if !moved.is_empty() {
            Arc::make_mut(known.moved.entry(log).or_default()).extend(moved);
        }
        known.complete.insert(log);
        Ok(answer(&known))
    }
}

impl Workspace {
    /// Keeps the past at `point` from being given back while `hold` names it somewhere that keeps it for good.
    /// ESTALE when some of it is gone already, ENOENT when it is not in this workspace's past.
    pub fn hold<T>(&self, point: Point, hold: impl FnOnce() -> T) -> Result<T> {
        let _revival = self.shared.given_back.revive();
        self.past(point)?;
        Ok(hold())
    }

    /// ESTALE when content that a state of this workspace's past needs was given back. Free while nothing was.
    pub(crate) fn check_whole(&self, state: &State) -> Result<()> {
        let mut gone = HashMap::new();
        let lineage = self.lineage().iter().map(|point| point.log);
        for log in lineage.chain([self.id()]) {
            let pieces = self.shared.given_back_of(log)?;
            let begin = self.shared.logs.begin(log).map_err(|error| error.errno())?;
            if !pieces.is_empty() || begin.is_some() {
                let first = begin.map_or(0, |begin| begin.segment);
                gone.insert(log, Gone { pieces, first, moved: self.shared.moved_of(log)? });
            }
        }
        if gone.is_empty() || !reaches(state, &gone) { Ok(()) } else { Err(Errno::Stale) }
    }
}

/// What of a log cannot be read any more.
struct Gone {
    pieces: Arc<Pieces>,
    /// Segments of records before this one were given up,
    first: u32,
    /// but for data in them that was moved.
    moved: Arc<MovedLog>,
}

fn reaches(state: &State, gone: &HashMap<WorkspaceId, Gone>) -> bool {
    let mut found = false;
    state.extents(None, &mut |extent| {
        if let Origin::Log(Place { log, file, offset }) = extent.origin
            && let Some(Gone { pieces, first, moved }) = gone.get(&log)
        {
            let from = offset + extent.skip;
            found |= pieces.overlaps(file, from, from + extent.len);
            found |= file < *first && moved.table(file, offset).is_none();
        }
    });
    found
}
