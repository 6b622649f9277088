//! Points in time, snapshots, and the steps that undo and redo go by.
//!
//! A point is the state behind one record of a log, so every record of a workspace and of what it was forked from is
//! one. A snapshot is a record that says: this point matters. All of this is part of the state, rebuilt by replay,
//! and carried over by a restore: going back takes nothing out of history.
//! Read next: `restore` (what goes back), `past` (a point made visible), docs/decisions/0005-history.md.

use crate::persistent_map::Map;
use crate::record::Why;
use crate::rules::{Deletions, Rules};
use std::sync::Arc;
use weald_model::{Errno, Ino, Result, SnapshotId, Timestamp, WorkspaceId};

mod stored;
pub(crate) use stored::{put_point, take_point};

/// Changes closer together than this are one step of undo, in nanoseconds: as long as somebody thinks between two commands.
const BURST_NANOS: i128 = 2_000_000_000;
/// Steps that can be undone; older ones are forgotten. What they changed stays in the log.
const STEPS_MAX: usize = 4096;

/// The state behind record `seq` of a log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Point {
    /// The workspace whose log it is.
    pub log: WorkspaceId,
    /// Number of the record.
    pub seq: u64,
}

impl Point {
    /// The point one record earlier; a log's first is before itself.
    pub(crate) fn before(self) -> Self {
        Self { seq: self.seq.saturating_sub(1).max(1), ..self }
    }
}

/// Why a snapshot was taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Occasion {
    /// Somebody asked for it.
    Asked = 0,
    /// So much time went by in which something changed.
    Timer = 1,
    /// Nothing changed for a while after something had.
    Quiet = 2,
    /// A restore follows.
    BeforeRestore = 3,
    /// The workspace is removed.
    BeforeRemove = 4,
    /// A merge follows.
    BeforeMerge = 5,
    /// A program is run.
    BeforeRun = 6,
}

impl Occasion {
    const ALL: [Occasion; 7] = [
        Occasion::Asked,
        Occasion::Timer,
        Occasion::Quiet,
        Occasion::BeforeRestore,
        Occasion::BeforeRemove,
        Occasion::BeforeMerge,
        Occasion::BeforeRun,
    ];

    /// One word for people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Occasion::Asked => "asked",
            Occasion::Timer => "timer",
            Occasion::Quiet => "quiet",
            Occasion::BeforeRestore => "before-restore",
            Occasion::BeforeRemove => "before-remove",
            Occasion::BeforeMerge => "before-merge",
            Occasion::BeforeRun => "before-run",
        }
    }

    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|occasion| *occasion as u8 == tag)
    }

    /// True when it comes by itself, while programs may be in the middle of something.
    const fn is_automatic(self) -> bool {
        matches!(self, Occasion::Timer | Occasion::Quiet)
    }
}

/// A point that somebody or something named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// What it shows.
    pub point: Point,
    /// When it was taken.
    pub time: Timestamp,
    /// The snapshot that its content goes back to: the last one before it, or the one last restored.
    pub parent: Option<SnapshotId>,
    /// What somebody said about it; may be empty.
    pub note: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Why it was taken.
    pub occasion: Occasion,
    /// What it was sealed as, once it is.
    pub seal: Option<Seal>,
}

/// A sealed snapshot: hashes of objects in the store of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Of its header, and so of everything it shows.
    pub root: [u8; 32],
    /// Of what opening the workspace from it needs besides.
    pub checkpoint: [u8; 32],
}

/// What a restore changed, for whoever caches it. Sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Inodes of before whose attributes, extended attributes, content or entries are others now, or that lost their
    /// last name.
    pub inodes: Vec<Ino>,
    /// Names that lead elsewhere than before, to nothing, or for the first time: directory and name.
    pub entries: Vec<(Ino, Vec<u8>)>,
}

impl Changed {
    /// True when nothing changed.
    pub fn is_empty(&self) -> bool {
        self.inodes.is_empty() && self.entries.is_empty()
    }
}

/// Snapshots and steps: the part of a state that a restore leaves alone. A clone is O(1).
#[derive(Clone)]
pub(crate) struct History {
    /// In the order they were taken.
    snapshots: Map<u64, Arc<Snapshot>>,
    /// The place of each in that order.
    numbers: Map<SnapshotId, u64>,
    next_snapshot: u64,
    /// The snapshot that the present content goes back to.
    head: Option<SnapshotId>,
    /// What each step started from, the last one last.
    steps: Map<u64, Point>,
    next_step: u64,
    /// What was undone, the last undone last: where the tree was, and what its step started from.
    undone: Map<u64, (Point, Point)>,
    /// When the last visible change was made, while later ones may belong to its step.
    open_since: Option<Timestamp>,
    /// Nothing but Weald's own changes so far: the workspace is being made, which is no step.
    is_being_made: bool,
    /// Files that are opened for reading are recorded.
    pub(crate) logs_reads: bool,
    /// What is forbidden; None when nothing is.
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) deletions: Deletions,
}

impl History {
    /// That of a workspace nothing was done in yet.
    pub(crate) fn new() -> Self {
        Self {
            snapshots: Map::default(),
            numbers: Map::default(),
            next_snapshot: 0,
            head: None,
            steps: Map::default(),
            next_step: 0,
            undone: Map::default(),
            open_since: None,
            is_being_made: true,
            logs_reads: false,
            rules: None,
            deletions: Deletions::default(),
        }
    }

    /// A log begins: with nothing, or as a fork that has snapshots but no steps of its own.
    pub(crate) fn begin(&mut self) {
        self.steps = Map::default();
        self.undone = Map::default();
        self.open_since = None;
        self.is_being_made = true;
        self.deletions = Deletions::default();
    }

    /// A visible change was made at `at`. `pid` is 0 for Weald's own.
    pub(crate) fn changed(&mut self, at: Point, time: Timestamp, pid: u32) {
        self.is_being_made &= pid == 0;
        if !self.is_being_made {
            if self.begins_step(time, pid) {
                self.begin_step(at.before());
            }
            self.open_since = Some(time);
        }
    }

    /// True when a change at `time` would begin a step, so that the state before it may be asked for.
    pub(crate) fn begins_step(&self, time: Timestamp, pid: u32) -> bool {
        let is_being_made = self.is_being_made && pid == 0;
        !is_being_made && self.open_since.is_none_or(|last| nanos_between(last, time) >= BURST_NANOS)
    }

    /// The tree was restored at `at`: everything to a point whose history was `target`, or only some paths.
    pub(crate) fn restored(&mut self, at: Point, target: Option<&History>, why: Why) -> Result<()> {
        match why {
            Why::Asked => self.begin_step(at.before()),
            Why::Undo => {
                let (number, started) = last(&self.steps).ok_or(Errno::Io)?;
                self.steps.remove(&number);
                self.undone.insert(number, (at.before(), started));
            }
            Why::Redo => {
                // The last undone has the lowest number: steps are undone from the last one back.
                let (number, (_, started)) = first(&self.undone).ok_or(Errno::Io)?;
                self.undone.remove(&number);
                self.steps.insert(number, started);
            }
            Why::Overlook => {
                let target = target.ok_or(Errno::Io)?;
                self.steps = target.steps.clone();
                self.undone = target.undone.clone();
            }
        }
        self.open_since = None;
        self.is_being_made = false;
        if let Some(target) = target {
            // Of those then listed, the nearest that still is.
            let mut head = target.head;
            while let Some(id) = head.filter(|id| self.find(*id).is_none()) {
                head = target.find(id).and_then(|(_, gone)| gone.parent);
            }
            self.head = head;
        }
        Ok(())
    }

    /// Where undo goes.
    pub(crate) fn undo_target(&self) -> Option<Point> {
        last(&self.steps).map(|(_, started)| started)
    }

    /// Where redo goes.
    pub(crate) fn redo_target(&self) -> Option<Point> {
        first(&self.undone).map(|(_, (to, _))| to)
    }

    /// Lists a snapshot. What is done next is a step of its own, unless the snapshot came by itself.
    pub(crate) fn take(&mut self, snapshot: Snapshot) -> Result<Arc<Snapshot>> {
        if self.find(snapshot.id).is_some() {
            return Err(Errno::Exists);
        }
        if !snapshot.occasion.is_automatic() {
            self.open_since = None;
        }
        let snapshot = Arc::new(Snapshot { parent: self.head, ..snapshot });
        self.head = Some(snapshot.id);
        self.snapshots.insert(self.next_snapshot, snapshot.clone());
        self.numbers.insert(snapshot.id, self.next_snapshot);
        self.next_snapshot += 1;
        Ok(snapshot)
    }

    /// Lists a snapshot no more. What went back to it goes back to its parent.
    pub(crate) fn drop_snapshot(&mut self, id: SnapshotId) -> Result<()> {
        let (number, gone) = self.find(id).ok_or(Errno::NotFound)?;
        self.snapshots.remove(&number);
        self.numbers.remove(&id);
        if self.head == Some(id) {
            self.head = gone.parent;
        }
        let children: Vec<u64> = self
            .snapshots
            .iter()
            .filter(|(_, snapshot)| snapshot.parent == Some(id))
            .map(|(number, _)| *number)
            .collect();
        for number in children {
            if let Some(child) = self.snapshots.get_mut(&number) {
                Arc::make_mut(child).parent = gone.parent;
            }
        }
        Ok(())
    }

    /// Gives a snapshot other tags.
    pub(crate) fn tag(&mut self, id: SnapshotId, tags: &[String]) -> Result<()> {
        let (number, _) = self.find(id).ok_or(Errno::NotFound)?;
        let snapshot = self.snapshots.get_mut(&number).ok_or(Errno::NotFound)?;
        Arc::make_mut(snapshot).tags = tags.to_vec();
        Ok(())
    }

    /// A snapshot was sealed.
    pub(crate) fn seal(&mut self, id: SnapshotId, seal: Seal) -> Result<()> {
        let (number, _) = self.find(id).ok_or(Errno::NotFound)?;
        let snapshot = self.snapshots.get_mut(&number).ok_or(Errno::NotFound)?;
        Arc::make_mut(snapshot).seal = Some(seal);
        Ok(())
    }

    /// The snapshot with this id.
    pub(crate) fn find(&self, id: SnapshotId) -> Option<(u64, Arc<Snapshot>)> {
        let number = *self.numbers.get(&id)?;
        Some((number, self.snapshots.get(&number)?.clone()))
    }

    /// All snapshots, the oldest first.
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        self.snapshots.iter().map(|(_, snapshot)| Snapshot::clone(snapshot)).collect()
    }

    fn begin_step(&mut self, started: Point) {
        self.undone = Map::default();
        self.steps.insert(self.next_step, started);
        self.next_step += 1;
        if self.steps.len() > STEPS_MAX
            && let Some((oldest, _)) = first(&self.steps)
        {
            self.steps.remove(&oldest);
        }
    }
}

fn first<V: Clone>(map: &Map<u64, V>) -> Option<(u64, V)> {
    map.iter().next().map(|(key, value)| (*key, value.clone()))
}

fn last<V: Clone>(map: &Map<u64, V>) -> Option<(u64, V)> {
    map.last_at_or_before(|_| std::cmp::Ordering::Less).map(|(key, value)| (*key, value.clone()))
}

/// The distance of two moments, whichever is the earlier: clocks are set back, too.
fn nanos_between(one: Timestamp, other: Timestamp) -> i128 {
    let nanos = |time: Timestamp| i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
    (nanos(other) - nanos(one)).abs()
}
