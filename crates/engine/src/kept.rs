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
/// States that are kept at most.
const STATES_MAX: usize = 256;

/// The kept states of all logs.
#[derive(Default)]
pub(crate) struct Kept {
    states: BTreeMap<Point, Entry>,
    /// When each was last used, the least used first.
    by_use: BTreeMap<u64, Point>,
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
        let before = self.nearest_before(point).map_or(0, |(at, _)| at.seq);
        let cost = point.seq.saturating_sub(before).clamp(1, RECORDS_BETWEEN);
        self.clock += 1;
        self.cost += cost;
        let mut gone: Vec<State> = self.remove(point).into_iter().collect();
        self.states.insert(point, Entry { state, cost, used: self.clock });
        self.by_use.insert(self.clock, point);
        while self.states.len() > STATES_MAX || (self.cost > COST_MAX && self.states.len() > STATES_MIN) {
            let Some(least) = self.by_use.values().next().copied() else { break };
            gone.extend(self.remove(least));
        }
        gone
    }

    /// The state at a point.
    pub(crate) fn get(&mut self, point: Point) -> Option<State> {
        self.clock += 1;
        let entry = self.states.get_mut(&point)?;
        self.by_use.remove(&entry.used);
        entry.used = self.clock;
        self.by_use.insert(entry.used, point);
        Some(entry.state.clone())
    }

    /// The nearest state before a point in its log, and the number of its record.
    pub(crate) fn before(&self, point: Point) -> Option<(u64, State)> {
        self.nearest_before(point).map(|(at, entry)| (at.seq, entry.state.clone()))
    }

    fn nearest_before(&self, point: Point) -> Option<(&Point, &Entry)> {
        self.states.range(Point { seq: 0, ..point }..point).next_back()
    }

    /// Forgets a log's states. Returns them, to be dropped without a lock.
    pub(crate) fn forget(&mut self, log: WorkspaceId) -> Vec<State> {
        let (first, last) = (Point { log, seq: 0 }, Point { log, seq: u64::MAX });
        let points: Vec<Point> = self.states.range(first..=last).map(|(point, _)| *point).collect();
        points.into_iter().filter_map(|point| self.remove(point)).collect()
    }

    fn remove(&mut self, point: Point) -> Option<State> {
        let entry = self.states.remove(&point)?;
        self.by_use.remove(&entry.used);
        self.cost -= entry.cost;
        Some(entry.state)
    }
}
