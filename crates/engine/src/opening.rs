//! Opening a workspace from the newest sealed snapshot of its log, instead of from its first record.
//!
//! A log's frames are all read and checked in any case; what this spares is applying their records. After the first ones
//! were applied, the others are only looked through for snapshots, seals and what is not part of a state. Then the state
//! is taken from the last checkpoint, and the records behind that are applied to it.
//! Invariants: the workspace is the same in every respect as a replayed one; whatever is missing or damaged, the records
//! passed over are applied after all. Read next: `seal`, `replay`.

use crate::Shared;
use crate::base::Base;
use crate::history::{Point, Seal};
use crate::programs::ProgramNumbers;
use crate::record::{Change, Malformed, Record};
use crate::replay::Replay;
use crate::seal::{SealError, Store, checkpointed_state};
use crate::state::State;
use crate::workspace::OpenError;
use std::collections::HashMap;
use weald_model::{Result, SnapshotId, WorkspaceId};
use weald_store::log as store;

/// Records that are applied before it pays to look for a checkpoint.
pub(crate) const RECORDS_APPLIED: u64 = 16_384;

/// A log being opened.
pub(crate) struct Opening<'a> {
    shared: &'a Shared,
    base: &'a Base,
    id: WorkspaceId,
    replay: Replay<'a>,
    /// How many records are applied as they come.
    applied_max: u64,
    passed: Passed,
}

/// A log that was opened.
pub(crate) struct Opened {
    pub(crate) state: State,
    pub(crate) programs: ProgramNumbers,
    /// The logs it starts from and how far, the nearest last.
    pub(crate) lineage: Vec<Point>,
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

impl<'a> Opening<'a> {
    pub(crate) fn new(shared: &'a Shared, id: WorkspaceId, base: &'a Base) -> Self {
        let replay = Replay::new(shared, id, base);
        let applied_max = shared.applied_max();
        Self { shared, base, id, replay, applied_max, passed: Passed::default() }
    }

    /// Takes a record; on failure the reason is kept.
    pub(crate) fn visit(&mut self, record: store::Record<'_>) -> Result<()> {
        if record.seq <= self.applied_max {
            return self.replay.visit(record);
        }
        let seq = record.seq;
        self.passed.look(record).map_err(|Malformed(why)| self.replay.refuse(seq, why))
    }

    /// The reason opening stopped.
    pub(crate) fn failed<T>(&mut self, error: store::LogError) -> std::result::Result<T, OpenError> {
        self.replay.failed(error)
    }

    /// What the workspace begins with.
    pub(crate) fn finish(mut self) -> std::result::Result<Opened, OpenError> {
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
        for snapshot in state.history.snapshots() {
            let own = snapshot.seal.filter(|_| snapshot.point.log == self.id);
            own.into_iter().for_each(|seal| self.shared.add_checkpoint(snapshot.point, seal.checkpoint));
        }
        Ok(Opened { state, programs, lineage, from })
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
