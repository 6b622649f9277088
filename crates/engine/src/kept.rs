//! States of the past kept in memory, so that going to them costs no replay and shares what did not change since.
//!
//! A kept state costs what changed since and before the next kept one. Bounded: the states least used go first when their
//! estimated cost is over the budget, but the few used last stay. What is not kept is replayed.

use crate::history::Point;
use crate::state::State;
use std::collections::BTreeMap;
use weald_model::WorkspaceId;

/// Records between two states that a replay keeps, so that no point is further than this from one.
pub(crate) const RECORDS_BETWEEN: u64 = 16_384;
/// Sum of what the kept states may cost, in records that changed something: about 1 KiB of copied nodes each.
const COST_MAX: u64 = 128 << 10;
/// States that stay whatever they cost: those of the last few snapshots or steps.
const STATES_MIN: usize = 8;
/// States that are kept at most. A search for the least used one is a walk over them.
const STATES_MAX: usize = 256;

/// The kept states of all logs.
#[derive(Default)]
pub(crate) struct Kept {
    states: BTreeMap<Point, Entry>,
    cost: u64,
    clock: u64,
}

struct Entry {
    state: State,
    /// Records since the kept state before, at most one [`RECORDS_BETWEEN`] and at least one.
    cost: u64,
    used: u64,
}

impl Kept {
    /// Keeps a state. Returns those that had to go, to be dropped without a lock.
    pub(crate) fn put(&mut self, point: Point, state: State) -> Vec<State> {
        let before = self.before(point).map_or(0, |(seq, _)| seq);
        let cost = point.seq.saturating_sub(before).clamp(1, RECORDS_BETWEEN);
        self.clock += 1;
        self.cost += cost;
        let old = self.states.insert(point, Entry { state, cost, used: self.clock });
        self.cost -= old.as_ref().map_or(0, |old| old.cost);
        let mut gone: Vec<State> = old.map(|old| old.state).into_iter().collect();
        while self.states.len() > STATES_MAX || (self.cost > COST_MAX && self.states.len() > STATES_MIN) {
            let Some(least) = self.states.iter().min_by_key(|(_, entry)| entry.used).map(|(point, _)| *point)
            else {
                break;
            };
            gone.extend(self.remove(least));
        }
        gone
    }

    /// The state at a point.
    pub(crate) fn get(&mut self, point: Point) -> Option<State> {
        self.clock += 1;
        let entry = self.states.get_mut(&point)?;
        entry.used = self.clock;
        Some(entry.state.clone())
    }

    /// The nearest state before a point in its log, and the number of its record.
    pub(crate) fn before(&self, point: Point) -> Option<(u64, State)> {
        let first = Point { seq: 0, ..point };
        let (at, entry) = self.states.range(first..point).next_back()?;
        Some((at.seq, entry.state.clone()))
    }

    /// Forgets a log's states. Returns them, to be dropped without a lock.
    pub(crate) fn forget(&mut self, log: WorkspaceId) -> Vec<State> {
        let (first, last) = (Point { log, seq: 0 }, Point { log, seq: u64::MAX });
        let points: Vec<Point> = self.states.range(first..=last).map(|(point, _)| *point).collect();
        points.into_iter().filter_map(|point| self.remove(point)).collect()
    }

    fn remove(&mut self, point: Point) -> Option<State> {
        let entry = self.states.remove(&point)?;
        self.cost -= entry.cost;
        Some(entry.state)
    }
}
