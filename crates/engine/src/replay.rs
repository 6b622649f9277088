//! Replaying logs into states: to open a workspace, and to go to a point in its past.
//!
//! Applies the same records by the same code as the live workspace. A restore needs the state it goes to: taken from
//! memory, or made by a replay within the replay. For that the log is first searched for all points that its restores go
//! to, so that one more replay finds them all, however many restores there are.
//! Read next: `state/apply`, `kept` (what stays in memory).

use crate::base::Base;
use crate::floor::{Floor, Ground};
use crate::history::Point;
use crate::kept::RECORDS_BETWEEN;
use crate::opening::add_checkpoints;
use crate::programs::ProgramNumbers;
use crate::record::{Change, Record, Root};
use crate::seal::{Store, checkpointed_state};
use crate::shared::ForkStart;
use crate::state::{At, State};
use crate::workspace::{OpenError, read_origin};
use crate::{Origin, Shared, Workspace};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use weald_model::{Errno, Result, WorkspaceId};
use weald_store::cas::Hash;
use weald_store::log::{self as store, LogError};

/// Most workspaces a workspace can descend from; more are a circle.
const GENERATIONS_MAX: usize = 10_000;

type Opened<T> = std::result::Result<T, OpenError>;

/// A log being replayed into a state.
pub(crate) struct Replay<'a> {
    shared: &'a Shared,
    id: WorkspaceId,
    base: &'a Base,
    state: Option<State>,
    /// The logs this one starts from and how far, the nearest last.
    pub(crate) lineage: Vec<Point>,
    /// Records up to this one are in the state already.
    done: u64,
    /// Records behind which expected forks begin.
    forks: BTreeSet<u64>,
    /// The fork this is a replay for, and the record it begins behind.
    child: Option<(WorkspaceId, u64)>,
    /// What that begins with, once the replay has come by.
    child_start: Option<ForkStart>,
    targets: Rc<RefCell<Targets>>,
    /// The numbers of programs, when the log was read from its beginning.
    pub(crate) programs: ProgramNumbers,
    error: Option<OpenError>,
}

/// The points that restores go to, shared by a replay and those within it.
#[derive(Default)]
struct Targets {
    /// Those of the logs that were searched.
    wanted: BTreeSet<Point>,
    searched: BTreeSet<WorkspaceId>,
    found: BTreeMap<Point, State>,
}

/// The state at a point of a workspace's log. Cost: the records since the nearest state in memory.
pub(crate) fn state_at(shared: &Shared, base: &Base, point: Point) -> Opened<State> {
    if shared.floor(point.log)?.is_some_and(|floor| point.seq < floor.seq) {
        return sealed_at(shared, base, point);
    }
    if let Some(state) = shared.kept_at(point) {
        return Ok(state);
    }
    let state = Replay::new(shared, point.log, base).run(point, point.seq)?;
    shared.keep(point, state.clone());
    Ok(state)
}

/// The state at a point before the floor of its log, where a snapshot was sealed: there is no other way to it.
fn sealed_at(shared: &Shared, base: &Base, point: Point) -> Opened<State> {
    let sealed = shared.sealed_before(point).filter(|(seq, _)| *seq == point.seq);
    let (_, hash) = sealed.ok_or(OpenError::Past(Errno::Stale))?;
    if let Some(state) = shared.kept_at(point) {
        return Ok(state);
    }
    let opened = checkpointed_state(&Store::new(&shared.chunks), base, &hash);
    let (header, _, state) = opened.map_err(|error| OpenError::Past(error.errno()))?;
    if header.point != point {
        return Err(OpenError::Past(Errno::Io));
    }
    shared.keep(point, state.clone());
    Ok(state)
}

/// The logs a workspace starts from and how far, the nearest last.
pub(crate) fn lineage(shared: &Shared, id: WorkspaceId) -> Opened<Vec<Point>> {
    let mut lineage = Vec::new();
    let mut log = id;
    while let Origin { parent: Some((parent, seq)), .. } = Workspace::origin(shared, log)? {
        if lineage.len() == GENERATIONS_MAX {
            return Err(OpenError::Record(1, id, "it descends from itself".to_owned()));
        }
        lineage.push(Point { log: parent, seq });
        log = parent;
    }
    lineage.reverse();
    Ok(lineage)
}

impl<'a> Replay<'a> {
    pub(crate) fn new(shared: &'a Shared, id: WorkspaceId, base: &'a Base) -> Self {
        let (forks, targets) = (shared.fork_seqs(id), Rc::default());
        Self {
            shared,
            id,
            base,
            state: None,
            lineage: Vec::new(),
            done: 0,
            forks,
            child: None,
            child_start: None,
            targets,
            programs: ProgramNumbers::default(),
            error: None,
        }
    }

    /// The state behind the last record taken.
    pub(crate) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Takes one record; on failure the reason is kept.
    pub(crate) fn visit(&mut self, record: store::Record<'_>) -> Result<()> {
        if record.seq <= self.done {
            return Ok(());
        }
        let result = self.take(record);
        result.map_err(|error| {
            self.error = Some(error);
            Errno::Io
        })
    }

    fn take(&mut self, record: store::Record<'_>) -> Opened<()> {
        let seq = record.seq;
        if self.state.is_none() && seq > 1 {
            let missing = || self.bad(seq, "the records before it are missing");
            let floor = self.shared.floor(self.id)?.ok_or_else(missing)?;
            self.start_at_floor(&floor)?;
            if seq <= self.done {
                return Ok(());
            }
        }
        let result = match self.state {
            None => self.start(record.body),
            Some(_) => self.apply(record),
        };
        self.done = seq;
        result
    }

    /// Begins where the log does, whose first records were given up.
    pub(crate) fn start_at_floor(&mut self, floor: &Floor) -> Opened<()> {
        let no_state = |why: String| OpenError::Record(floor.seq, self.id, why);
        let ground = floor.ground(self.shared, self.id, self.base);
        let Ground { state, lineage, aside } = ground.map_err(|error| {
            no_state(format!("the state that the log begins with cannot be had: {error}"))
        })?;
        aside.changes().for_each(|change| self.note(&change));
        add_checkpoints(self.shared, self.id, &state);
        self.lineage = lineage;
        self.go_on_from(floor.seq, state);
        self.keep(Point { log: self.id, seq: floor.seq }, None);
        Ok(())
    }

    /// Takes the state behind record `done` from elsewhere; the records up to there are passed over.
    pub(crate) fn go_on_from(&mut self, done: u64, state: State) {
        self.shared.keep(Point { log: self.id, seq: done }, state.clone());
        (self.done, self.state) = (done, Some(state));
    }

    /// Notes what a record says that is no part of the state.
    pub(crate) fn note(&mut self, change: &Change) {
        match change {
            Change::Reclaimed { pieces } => self.shared.given_back.add(self.id, pieces),
            Change::Moved { table, pieces } => self.shared.given_back.add_moved(self.id, *table, pieces),
            Change::Program { number, name } => self.programs.define(*number, *name),
            _ => {}
        }
    }

    /// Keeps the reason why a record cannot be taken.
    pub(crate) fn refuse(&mut self, seq: u64, why: &str) -> Errno {
        self.error = Some(self.bad(seq, why));
        Errno::Io
    }

    /// The reason a replay stopped: a record's own error before the log's.
    pub(crate) fn failed<T>(&mut self, error: LogError) -> Opened<T> {
        Err(self.error.take().unwrap_or(OpenError::Log(error)))
    }

    /// The state and the logs it starts from.
    pub(crate) fn finish(self) -> Opened<(State, Vec<Point>)> {
        let empty = OpenError::Record(0, self.id, "the log has no record".to_owned());
        Ok((self.state.ok_or(empty)?, self.lineage))
    }

    /// Replays up to record `last`, from the nearest state in memory before `from`.
    fn run(mut self, from: Point, last: u64) -> Opened<State> {
        // The records behind an earlier one are not all there.
        let floor = self.shared.floor(self.id)?.map_or(0, |floor| floor.seq);
        if let Some((done, state)) = self.nearest(from).filter(|(done, _)| *done >= floor) {
            self.lineage = lineage(self.shared, self.id)?;
            // No record is applied that would show it.
            let at = Point { log: self.id, seq: done };
            let mut targets = self.targets.borrow_mut();
            if targets.wanted.contains(&at) {
                targets.found.insert(at, state.clone());
            }
            drop(targets);
            (self.done, self.state) = (done, Some(state));
        }
        let (logs, done) = (&self.shared.logs, self.done);
        logs.replay_between(self.id, done, last, &mut |record| self.visit(record))
            .or_else(|error| self.failed(error))?;
        Ok(self.finish()?.0)
    }

    /// The nearest state before `from`, or at it: in memory, or a checkpoint when that spares enough records.
    fn nearest(&self, from: Point) -> Option<(u64, State)> {
        let kept = self.shared.kept_before(from);
        let is_far = kept.as_ref().map_or(0, |(seq, _)| *seq) + self.shared.applied_max();
        let sealed = self.shared.sealed_before(from).filter(|(seq, _)| *seq > is_far);
        let opened = sealed.and_then(|(seq, hash)| Some((seq, self.checkpoint(seq, &hash)?)));
        opened.or(kept)
    }

    fn checkpoint(&self, seq: u64, hash: &Hash) -> Option<State> {
        let store = Store::new(&self.shared.chunks);
        // What is missing or damaged is replayed instead.
        let (header, _, state) = checkpointed_state(&store, self.base, hash).ok()?;
        (header.point == Point { log: self.id, seq }).then_some(state)
    }

    fn start(&mut self, body: &[u8]) -> Opened<()> {
        let (origin, root) =
            read_origin(body).ok_or_else(|| self.bad(1, "it does not say what the workspace is"))?;
        let state = match origin.parent {
            None => State::new(self.base),
            Some(parent) => self.start_fork(parent, root)?,
        };
        let state = state.begin();
        let at = Point { log: self.id, seq: 1 };
        self.shared.keep(at, state.clone());
        self.state = Some(state);
        self.keep(at, None);
        Ok(())
    }

    fn start_fork(&mut self, (parent, seq): (WorkspaceId, u64), root: Root) -> Opened<State> {
        let mut start = self.shared.take_fork(self.id);
        if start.is_none() {
            // As far as any fork needs it, which keeps the states where the others begin, too.
            self.shared.expect_fork(self.id, parent, seq);
            let last = self.shared.last_fork_point(parent, seq);
            let mut prefix = Replay::new(self.shared, parent, self.base);
            prefix.child = Some((self.id, seq));
            match self.shared.logs.replay_until(parent, last, &mut |record| prefix.visit(record)) {
                // Short: the parent lost its unsynced tail, and a fork point with it; it may have gone on since.
                Ok(()) | Err(LogError::Short { .. }) => {}
                Err(error) => return prefix.failed(error),
            }
            // What is kept for all may be gone by now, to somebody else who replays this fork at the same time.
            drop(self.shared.take_fork(self.id));
            start = prefix.child_start;
        }
        let is_rooted = |start: &ForkStart| start.is_marked || root == Root::Durable;
        let start = start.filter(is_rooted).ok_or(OpenError::Unrooted(self.id, parent))?;
        self.lineage = start.lineage;
        Ok(start.state)
    }

    fn apply(&mut self, stored: store::Record<'_>) -> Opened<()> {
        let seq = stored.seq;
        let record = Record::decode(stored.body).map_err(|malformed| self.bad(seq, malformed.0))?;
        let target = match &record.change {
            Change::Restore { to, .. } => Some(self.target(*to, seq)?),
            _ => None,
        };
        let at = At { point: Point { log: self.id, seq }, inline: stored.inline_place };
        let applied = match &mut self.state {
            Some(state) => state.apply(self.base, &record, at, target.as_ref()),
            None => Err(Errno::Io),
        };
        applied.map_err(|errno| self.bad(seq, &errno.to_string()))?;
        self.note(&record.change);
        self.keep(at.point, Some(&record.change));
        Ok(())
    }

    /// Keeps the state where somebody will ask for it.
    fn keep(&mut self, at: Point, change: Option<&Change>) {
        let Some(state) = &self.state else { return };
        let marked = if let Some(Change::Forked { child }) = change { Some(*child) } else { None };
        let start = || ForkStart {
            state: state.clone(),
            lineage: self.lineage.iter().copied().chain([at]).collect(),
            is_marked: false,
        };
        let child = self.child.filter(|(_, seq)| *seq == at.seq);
        let child_start = child.map(|(child, _)| ForkStart { is_marked: marked == Some(child), ..start() });
        if marked.is_some() || self.forks.contains(&at.seq) {
            self.shared.keep_forks(at, marked, start);
        }
        if matches!(change, Some(Change::Snapshot { .. })) || at.seq.is_multiple_of(RECORDS_BETWEEN) {
            self.shared.keep(at, state.clone());
        }
        let mut targets = self.targets.borrow_mut();
        if targets.wanted.contains(&at) {
            targets.found.insert(at, state.clone());
        }
        drop(targets);
        self.child_start = child_start.or_else(|| self.child_start.take());
    }

    /// The state that the restore in record `seq` goes to.
    fn target(&self, to: Point, seq: u64) -> Opened<State> {
        // How far the log it is in belongs to this past.
        let last = match to.log == self.id {
            true => Some(seq - 1),
            false => self.lineage.iter().find(|past| past.log == to.log).map(|past| past.seq),
        };
        let last = last.filter(|last| (1..=*last).contains(&to.seq));
        let last = last.ok_or_else(|| self.bad(seq, "it restores what is not in its past"))?;
        let found = self.targets.borrow().found.get(&to).cloned();
        if let Some(state) = found.or_else(|| self.shared.kept_at(to)) {
            return Ok(state);
        }
        self.search(self.id, u64::MAX)?;
        if to.log != self.id {
            self.search(to.log, last)?;
        }
        self.targets.borrow_mut().wanted.insert(to);
        let until = {
            let targets = self.targets.borrow();
            let later = targets.wanted.range(to..=Point { seq: last, ..to }).next_back();
            later.map_or(to.seq, |point| point.seq)
        };
        let mut within = Replay::new(self.shared, to.log, self.base);
        within.targets = self.targets.clone();
        within.run(to, until)?;
        let found = self.targets.borrow().found.get(&to).cloned();
        found.ok_or_else(|| self.bad(seq, "what it restores is not there"))
    }

    /// Finds out what the restores of a log go to, up to a record.
    fn search(&self, log: WorkspaceId, last: u64) -> Opened<()> {
        if !self.targets.borrow_mut().searched.insert(log) {
            return Ok(());
        }
        let targets = &self.targets;
        let searched = self.shared.logs.replay_until(log, last, &mut |record| {
            // What cannot be read is told when it is applied.
            if let Ok(Record { change: Change::Restore { to, .. }, .. }) = Record::decode(record.body) {
                targets.borrow_mut().wanted.insert(to);
            }
            Ok(())
        });
        match searched {
            Ok(()) | Err(LogError::Short { .. }) => Ok(()),
            Err(error) => Err(OpenError::Log(error)),
        }
    }

    fn bad(&self, seq: u64, why: &str) -> OpenError {
        OpenError::Record(seq, self.id, why.to_owned())
    }
}
