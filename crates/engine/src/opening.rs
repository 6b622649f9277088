//! Opening a workspace from the newest sealed snapshot of its log, instead of from its first record.
//!
//! When one of the last segments says that a snapshot in a later segment than the first was sealed, the state is taken from
//! its checkpoint, and what is read and checked of the log is the segment of that snapshot and those behind it. Else all
//! frames are read and checked: the first records are applied, the others only looked through for snapshots, seals and
//! what is not part of a state; then the state is taken from the last checkpoint, if there is any.
//! Invariants: the workspace is the same in every respect as a replayed one; whatever is missing or damaged, all records
//! are read and applied after all. Read next: `seal`, `replay`.

use crate::Shared;
use crate::base::Base;
use crate::history::{Point, Seal};
use crate::programs::ProgramNumbers;
use crate::record::{Change, Malformed, Record};
use crate::replay::Replay;
use crate::requests::Requests;
use crate::seal::{Aside, SealError, Store, checkpointed_state};
use crate::state::State;
use crate::workspace::OpenError;
use std::collections::HashMap;
use weald_model::{Result, SnapshotId, WorkspaceId};
use weald_store::log::{self as store, Log};

type Outcome<T> = std::result::Result<T, OpenError>;

/// Records that are applied before it pays to look for a checkpoint.
pub(crate) const RECORDS_APPLIED: u64 = 16_384;

/// A log being opened.
struct Opening<'a> {
    shared: &'a Shared,
    base: &'a Base,
    id: WorkspaceId,
    replay: Replay<'a>,
    /// How many records are applied as they come.
    applied_max: u64,
    passed: Passed,
    requests: Requests,
}

/// Segments at the end of a log that are looked through for a sealed snapshot.
const SEGMENTS_LOOKED_THROUGH: usize = 3;

/// A log that was opened.
pub(crate) struct Opened {
    pub(crate) state: State,
    pub(crate) programs: ProgramNumbers,
    /// The logs it starts from and how far, the nearest last.
    pub(crate) lineage: Vec<Point>,
    /// What the last requests did.
    pub(crate) requests: Requests,
    /// The record of the sealed snapshot it was opened from.
    pub(crate) from: Option<u64>,
}

/// What was seen in records that were not applied.
#[derive(Default)]
struct Passed {
    last: u64,
    snapshots: HashMap<SnapshotId, u64>,
    /// The youngest sealed snapshot: the number of its record.
    sealed: Option<(u64, Seal)>,
    /// Changes that are no part of a state, and the numbers of their records.
    aside: Vec<(u64, Change)>,
}

/// Opens a log from its first record.
pub(crate) fn from_first_record(shared: &Shared, id: WorkspaceId, base: &Base) -> Outcome<(Log, Opened)> {
    let mut opening = Opening::new(shared, id, base);
    if let Some(floor) = shared.floor(id)? {
        // What the log said before is only there.
        opening.replay.start_at_floor(&floor)?;
    }
    let (log, _) =
        shared.logs.open(id, &mut |record| opening.visit(record)).or_else(|error| opening.failed(error))?;
    Ok((log, opening.finish()?))
}

/// Opens a log from its newest sealed snapshot, without reading the segments before that. None when there is none that
/// would spare a segment, or when anything is not as it should be: opening from the first record tells what.
pub(crate) fn from_seal(shared: &Shared, id: WorkspaceId, base: &Base) -> Option<(Log, Opened)> {
    let starts = shared.logs.segments(id).ok().filter(|starts| starts.len() > 1)?;
    let last = starts.iter().rev().take(SEGMENTS_LOOKED_THROUGH);
    let (told, seal) = last.filter_map(|start| last_seal(shared, id, start.number)).next()?;
    let store = Store::new(&shared.chunks);
    let (header, checkpoint, state) = checkpointed_state(&store, base, &seal.checkpoint).ok()?;
    let Point { log, seq } = header.point;
    let first = starts.iter().rev().find(|start| start.seq_before <= seq)?.number;
    if log != id || checkpoint.root != seal.root || first == 0 {
        return None;
    }
    let mut replay = Replay::new(shared, id, base);
    Aside::read(&store, &checkpoint.aside?).ok()?.changes().for_each(|change| replay.note(&change));
    replay.lineage = header.lineage;
    add_checkpoints(shared, id, &state);
    replay.go_on_from(seq, state);
    let mut is_sealed = false;
    let mut requests = Requests::default();
    let opened = shared.logs.open_at(id, first, &mut |record| {
        is_sealed |= record.seq == told;
        requests.look(record.body);
        replay.visit(record)
    });
    let (log, _) = opened.ok()??;
    if !is_sealed {
        // The record that says so was behind what stays.
        return None;
    }
    let programs = std::mem::take(&mut replay.programs);
    let (state, lineage) = replay.finish().ok()?;
    add_checkpoints(shared, id, &state);
    Some((log, Opened { state, programs, lineage, requests, from: Some(seq) }))
}

/// The last record in a segment that says that a snapshot was sealed, and as what.
fn last_seal(shared: &Shared, id: WorkspaceId, segment: u32) -> Option<(u64, Seal)> {
    let mut found = None;
    let looked = shared.logs.peek(id, segment, &mut |record| {
        if Record::is_aside(record.body).is_ok_and(|is_aside| is_aside)
            && let Ok(Record { change: Change::Sealed { seal, .. }, .. }) = Record::decode(record.body)
        {
            found = Some((record.seq, seal));
        }
        Ok(())
    });
    looked.ok().and(found)
}

/// Makes known which states of a log can be had from checkpoints.
pub(crate) fn add_checkpoints(shared: &Shared, id: WorkspaceId, state: &State) {
    for snapshot in state.history.snapshots() {
        let own = snapshot.seal.filter(|_| snapshot.point.log == id);
        own.into_iter().for_each(|seal| shared.add_checkpoint(snapshot.point, seal.checkpoint));
    }
}

impl<'a> Opening<'a> {
    fn new(shared: &'a Shared, id: WorkspaceId, base: &'a Base) -> Self {
        let replay = Replay::new(shared, id, base);
        let applied_max = shared.applied_max();
        Self {
            shared,
            base,
            id,
            replay,
            applied_max,
            passed: Passed::default(),
            requests: Requests::default(),
        }
    }

    /// Takes a record; on failure the reason is kept.
    fn visit(&mut self, record: store::Record<'_>) -> Result<()> {
        self.requests.look(record.body);
        if record.seq <= self.applied_max {
            return self.replay.visit(record);
        }
        let seq = record.seq;
        self.passed.look(record).map_err(|Malformed(why)| self.replay.refuse(seq, why))
    }

    /// The reason opening stopped.
    fn failed<T>(&mut self, error: store::LogError) -> Outcome<T> {
        self.replay.failed(error)
    }

    /// What the workspace begins with.
    fn finish(mut self) -> Outcome<Opened> {
        let mut from = None;
        if let Some((seq, seal)) = self.passed.sealed
            && let Ok(state) = self.checkpoint(seq, &seal)
        {
            self.passed.aside.retain(|(at, _)| *at <= seq);
            for (_, change) in std::mem::take(&mut self.passed.aside) {
                self.replay.note(&change);
            }
            self.replay.go_on_from(seq, state);
            from = Some(seq);
        }
        if self.passed.last > 0 {
            let replay = &mut self.replay;
            let logs = &self.shared.logs;
            logs.replay_until(self.id, self.passed.last, &mut |record| replay.visit(record))
                .or_else(|error| replay.failed(error))?;
        }
        let programs = std::mem::take(&mut self.replay.programs);
        let (state, lineage) = self.replay.finish()?;
        add_checkpoints(self.shared, self.id, &state);
        Ok(Opened { state, programs, lineage, requests: self.requests, from })
    }

    fn checkpoint(&self, seq: u64, seal: &Seal) -> std::result::Result<State, SealError> {
        let store = Store::new(&self.shared.chunks);
        let (header, checkpoint, state) = checkpointed_state(&store, self.base, &seal.checkpoint)?;
        let is_it = header.point == (Point { log: self.id, seq })
            && header.lineage == self.replay.lineage
            && checkpoint.root == seal.root;
        is_it.then_some(state).ok_or(SealError::Malformed(seal.checkpoint, "it is of another point"))
    }
}

impl Passed {
    /// Looks at a record that is not applied.
    fn look(&mut self, record: store::Record<'_>) -> std::result::Result<(), Malformed> {
        self.last = record.seq;
        if !Record::is_aside(record.body)? {
            return Ok(());
        }
        match Record::decode(record.body)?.change {
            Change::Snapshot { id, .. } => drop(self.snapshots.insert(id, record.seq)),
            Change::Sealed { snapshot, seal } => {
                let seq = self.snapshots.get(&snapshot).copied();
                let is_youngest = |seq: &u64| self.sealed.is_none_or(|(known, _)| known < *seq);
                if let Some(seq) = seq.filter(is_youngest) {
                    self.sealed = Some((seq, seal));
                }
            }
            change => self.aside.push((record.seq, change)),
        }
        Ok(())
    }
}
