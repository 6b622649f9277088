//! Workspaces of one family on a crashing disk, and what each of their points should show.

use crate::moves;
use crate::phases::Phase;
use crate::records;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use weald_engine::moving::MovedAmount;
use weald_engine::reach::{Reach, Unreached};
use weald_engine::verify::verify_log;
use weald_engine::{Base, Occasion, Point, Shared, Snapshot, Workspace};
use weald_model::{Caller, Errno, FileKind, Ino, Result, SetAttr, SnapshotId, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::Disk;
use weald_store::log::verify::{Expected, Problem};
use weald_store::log::{Limits, Logs};
use weald_testkit::clock::FakeClock;
use weald_testkit::crash_disk::{CrashDisk, Failure};

pub(crate) const USER: Caller =
    Caller { uid: 1000, gid: 1000, pid: 7, umask: 0, kill_privileges: false, request: 0 };
const LIMITS: Limits = Limits { segment_bytes: 16 << 10, data_segment_bytes: 100_000, open_files: 3 };
const FILES: usize = 3;
const STEMS_MAX: usize = 4;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write {
        stem: usize,
        file: usize,
        offset: u64,
        len: u32,
    },
    Truncate {
        stem: usize,
        file: usize,
        size: u64,
    },
    Copy {
        stem: usize,
        from: usize,
        to: usize,
    },
    Snapshot {
        stem: usize,
    },
    Drop {
        stem: usize,
        which: usize,
    },
    Fork {
        stem: usize,
    },
    ForkAt {
        stem: usize,
        which: usize,
    },
    Restore {
        stem: usize,
        which: usize,
    },
    Undo {
        stem: usize,
    },
    Sync {
        stem: usize,
    },
    Restart,
    /// The power is cut.
    Crash {
        seed: u64,
    },
    /// A listed snapshot is sealed, and its content moved.
    Seal {
        stem: usize,
        which: usize,
    },
    /// Chunks that nobody needs go.
    DropChunks,
    /// The same; one call of the disk fails, and the power is cut.
    DropChunksCrash {
        call: u64,
        seed: u64,
    },
    /// Content of the present is moved to the store of chunks.
    Move {
        stem: usize,
    },
    /// The same; one call of the disk fails, and the power is cut.
    MoveCrash {
        stem: usize,
        call: u64,
        seed: u64,
    },
    /// Gives back, keeping a window of so many seconds and bytes.
    Gc {
        secs: i64,
        bytes: u64,
    },
    /// The next phase of giving back, keeping a window of so many seconds.
    GcPhase {
        secs: i64,
    },
    /// All of it; one call of the disk fails, and the power is cut.
    GcCrash {
        secs: i64,
        call: u64,
        seed: u64,
    },
}

/// The content of all files.
pub(crate) type Model = Vec<Vec<u8>>;

pub(crate) struct Stem {
    pub(crate) engine: Arc<Workspace>,
    /// What each point of its own log shows, oldest first; behind one without a model is that of the one before.
    known: BTreeMap<u64, (Timestamp, Model)>,
    /// For a fork: where it starts.
    parent: Option<(usize, u64)>,
    /// Snapshots that were dropped, and given back, before it was forked from a past that still listed them.
    lost: Vec<SnapshotId>,
    synced: u64,
}

pub(crate) struct Home {
    disk: CrashDisk,
    pub(crate) clock: Arc<FakeClock>,
    shared: Arc<Shared>,
    pub(crate) stems: Vec<Stem>,
    /// Of giving back, when it is under way.
    pub(crate) phase: Option<Phase>,
    writes: u8,
    snapshots: u64,
}

fn open(disk: &CrashDisk, clock: &Arc<FakeClock>) -> Arc<Shared> {
    let dyn_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    for dir in ["/logs", "/cas", "/chunks"] {
        dyn_disk.make_dir(Path::new(dir)).unwrap();
    }
    dyn_disk.sync_dir(Path::new("/")).unwrap();
    let logs = Logs::with_limits(dyn_disk.clone(), "/logs".into(), LIMITS);
    let cas = Cas::new(dyn_disk.clone(), "/cas".into());
    let chunks = Arc::new(Chunks::new(dyn_disk.clone(), "/chunks".into()));
    let shared = Shared::new(dyn_disk, logs, cas, chunks, clock.clone(), 1 << 20);
    // So that the shortest histories are opened from their checkpoints.
    shared.look_for_checkpoints_after(3);
    shared
}

fn base() -> Base {
    Base::empty(1000, 1000, Timestamp::from_secs(1_600_000_000))
}

impl Home {
    pub(crate) fn new() -> Self {
        let (disk, clock) = (CrashDisk::default(), Arc::new(FakeClock::default()));
        let shared = open(&disk, &clock);
        let engine = Workspace::create(shared.clone(), WorkspaceId(1), base(), b"").unwrap();
        for file in 0..FILES {
            engine
                .make_node(&Caller::owner(1000, 1000), Ino::ROOT, &name(file), FileKind::File, 0o644, 0)
                .unwrap();
        }
        engine.sync().unwrap();
        let mut stem = Stem { synced: 0, engine, known: BTreeMap::new(), parent: None, lost: Vec::new() };
        stem.note(clock.tick(), vec![Vec::new(); FILES]);
        stem.synced = stem.engine.present().seq;
        Self { disk, clock, shared, stems: vec![stem], phase: None, writes: 0, snapshots: 0 }
    }

    pub(crate) fn stem(&self, at: usize) -> &Arc<Workspace> {
        &self.stems[at].engine
    }

    /// Points with a model of their own, the first made excluded.
    pub(crate) fn points(&self, at: usize) -> Vec<Point> {
        let log = self.stems[at].engine.id();
        self.stems[at].known.keys().skip(1).map(|seq| Point { log, seq: *seq }).collect()
    }

    pub(crate) fn recorded(&self, at: usize, number: usize) -> (Point, Model) {
        let point = self.points(at)[number];
        (point, self.stems[at].known[&point.seq].1.clone())
    }

    /// What was done behind the model's back.
    pub(crate) fn present_is(&mut self, at: usize, model: Model) {
        let time = self.clock.tick();
        self.stems[at].note(time, model);
    }

    pub(crate) fn take(&mut self, step: &Step) {
        let time = self.clock.tick();
        match *step {
            Step::Write { stem, file, offset, len } => {
                self.writes = self.writes.wrapping_add(1);
                let bytes: Vec<u8> = (0..len).map(|at| self.writes ^ (at % 251) as u8).collect();
                let (stem, mut model) = self.at(stem);
                let ino = stem.ino(file);
                stem.engine.write(&USER, ino, offset, &bytes).unwrap();
                let (from, to) = (offset as usize, offset as usize + bytes.len());
                let old = model[file].len();
                model[file].resize(old.max(to), 0);
                model[file][from..to].copy_from_slice(&bytes);
                stem.note(time, model);
            }
            Step::Truncate { stem, file, size } => {
                let (stem, mut model) = self.at(stem);
                let ino = stem.ino(file);
                stem.engine
                    .set_attr(&USER, ino, &SetAttr { size: Some(size), ..SetAttr::default() })
                    .unwrap();
                model[file].resize(size as usize, 0);
                stem.note(time, model);
            }
            Step::Copy { stem, from, to } => {
                let (stem, mut model) = self.at(stem);
                let (source, target) = (stem.ino(from), stem.ino(to));
                let len = model[from].len();
                if from != to && len > 0 {
                    stem.engine.copy_range(&USER, source, 0, target, 0, len as u64).unwrap();
                    let old = model[to].len();
                    model[to].resize(old.max(len), 0);
                    let bytes = model[from].clone();
                    model[to][..len].copy_from_slice(&bytes);
                    stem.note(time, model);
                }
            }
            Step::Snapshot { stem } => {
                self.snapshots += 1;
                let id = SnapshotId(self.snapshots);
                let (stem, model) = self.at(stem);
                stem.engine.snapshot(&USER, id, "", &[], Occasion::Asked).unwrap();
                stem.note(time, model);
                stem.synced = stem.engine.present().seq;
            }
            Step::Drop { stem, which } => {
                let (stem, model) = self.at(stem);
                let listed = stem.engine.snapshots();
                if let Some(snapshot) = listed.get(which % listed.len().max(1)) {
                    stem.engine.drop_snapshot(&USER, snapshot.id).unwrap();
                    stem.note(time, model);
                }
            }
            // Who gives back keeps forks waiting: one made now is of no family that was looked at.
            Step::Fork { .. } if self.phase.is_some() => {}
            Step::Fork { stem } => self.fork(stem, None),
            Step::ForkAt { stem, which } => {
                let points = self.all_points(stem % self.stems.len());
                self.fork(stem, Some(points[which % points.len()]));
            }
            Step::Restore { stem, which } => self.restore(stem, which, time),
            Step::Undo { stem } => self.undo(stem, time),
            Step::Sync { stem } => {
                let (stem, _) = self.at(stem);
                stem.engine.sync().unwrap();
                stem.synced = stem.engine.present().seq;
            }
            Step::Restart => self.reopen(),
            Step::Crash { seed } => self.crash(seed),
            Step::Seal { stem, which } => {
                self.seal(stem, which).unwrap();
                self.check();
            }
            Step::DropChunks => {
                self.drop_chunks().unwrap();
                self.check();
            }
            Step::DropChunksCrash { call, seed } => {
                self.disk.fail_call(call, Failure::Io);
                let _ = self.drop_chunks();
                self.disk.clear_failure();
                self.crash(seed);
                self.check();
            }
            Step::Move { stem } => {
                self.move_content(stem).unwrap();
                self.check();
            }
            Step::MoveCrash { stem, call, seed } => {
                self.disk.fail_call(call, Failure::Io);
                // Told or not, whatever was done must do no harm.
                let _ = self.move_content(stem);
                self.disk.clear_failure();
                self.crash(seed);
                self.check();
            }
            Step::Gc { secs, bytes } => {
                self.gc(secs, bytes, |_| ()).unwrap();
                self.check();
            }
            Step::GcPhase { secs } => self.next_phase(secs),
            Step::GcCrash { secs, call, seed } => {
                let disk = self.disk.clone();
                // Told or not, whatever was done must do no harm.
                let _ = self.gc(secs, u64::MAX, |_| disk.fail_call(call, Failure::Io));
                disk.clear_failure();
                self.crash(seed);
                self.check();
            }
        }
    }

    /// Gives back what no present, listed snapshot or moment of the window reaches.
    pub(crate) fn gc(&mut self, secs: i64, bytes: u64, meanwhile: impl FnOnce(&Unreached)) -> Result<u64> {
        let now = self.clock.tick();
        let from = Timestamp { secs: now.secs - secs, ..now };
        let gone = self.gone();
        let family: Vec<Arc<Workspace>> = self.stems.iter().map(|stem| stem.engine.clone()).collect();
        let mut reach = Reach::begin(family.clone(), |_| true);
        for workspace in &family {
            workspace.snapshots().iter().for_each(|snapshot| reach.snapshot(snapshot));
            reach.window(workspace, from, bytes).unwrap();
        }
        let shortenings = records::shortenings(&mut reach, &family);
        let unreached = reach.finish().unwrap();
        meanwhile(&unreached);
        let given = unreached.give_back().and_then(|given| {
            records::give_up(&unreached, &shortenings)?;
            Ok(given)
        });
        for stem in &mut self.stems {
            if given.is_ok() {
                stem.synced = stem.engine.present().seq;
            }
            // Records were added; what they show is what was there.
            stem.carry(now);
        }
        if given.is_ok() && bytes == u64::MAX {
            self.check_window(from, &gone);
        }
        given
    }

    /// Presents and listed snapshots are what they should be; every other point is, or says that it is gone.
    pub(crate) fn check(&self) {
        for at in 0..self.stems.len() {
            let stem = &self.stems[at];
            self.is_at(at, stem.engine.present(), &stem.now());
            let listed = stem.engine.snapshots().into_iter();
            for snapshot in listed.filter(|snapshot| !stem.lost.contains(&snapshot.id)) {
                let model = self.model(at, snapshot.point);
                self.is_at(at, snapshot.point, &model);
                if snapshot.seal.is_some() && snapshot.point.log == stem.engine.id() {
                    self.is_sealed_at(at, &snapshot, &model);
                }
            }
            for point in self.all_points(at) {
                match stem.engine.past(point) {
                    Err(Errno::Stale) => {}
                    Err(error) => panic!("{point:?}: {error}"),
                    Ok(_) => self.is_at(at, point, &self.model(at, point)),
                }
            }
        }
    }

    /// Points that were given back before, as their stem sees them.
    pub(crate) fn gone(&self) -> BTreeSet<(usize, Point)> {
        let all = (0..self.stems.len())
            .flat_map(|at| self.all_points(at).into_iter().map(move |point| (at, point)));
        all.filter(|(at, point)| self.stems[*at].engine.past(*point).is_err()).collect()
    }

    pub(crate) fn check_window(&self, from: Timestamp, gone: &BTreeSet<(usize, Point)>) {
        for at in 0..self.stems.len() {
            for point in self.all_points(at).into_iter().filter(|point| !gone.contains(&(at, *point))) {
                let stem = self.stems.iter().find(|stem| stem.engine.id() == point.log).unwrap();
                if stem.known[&point.seq].0 > from {
                    self.is_at(at, point, &self.model(at, point));
                }
            }
        }
    }

    pub(crate) fn is_at(&self, at: usize, point: Point, model: &Model) {
        let past = self.stems[at].engine.past(point).unwrap_or_else(|error| panic!("{point:?}: {error}"));
        for (file, expected) in model.iter().enumerate() {
            let ino = past.lookup(Ino::ROOT, &name(file)).unwrap().ino;
            let mut found = Vec::new();
            past.read(ino, 0, 1 << 20, &mut found)
                .unwrap_or_else(|error| panic!("file {file} at {point:?}: {error}"));
            assert!(found == *expected, "file {file} at {point:?} is wrong");
        }
    }

    pub(crate) fn move_content(&mut self, stem: usize) -> Result<MovedAmount> {
        let now = self.clock.tick();
        let (stem, _) = self.at(stem);
        let moved = moves::move_present(&stem.engine);
        stem.carry(now);
        if moved.is_ok_and(|moved| moved.entries > 0) {
            stem.synced = stem.engine.present().seq;
        }
        moved
    }

    fn seal(&mut self, stem: usize, which: usize) -> Result<()> {
        let now = self.clock.tick();
        let (stem, _) = self.at(stem);
        let listed = stem.engine.snapshots();
        if let Some(snapshot) = listed.get(which % listed.len().max(1)) {
            moves::seal_and_move(&stem.engine, snapshot.id)?;
            stem.carry(now);
        }
        Ok(())
    }

    pub(crate) fn drop_chunks(&mut self) -> Result<u64> {
        let all: Vec<Arc<Workspace>> = self.stems.iter().map(|stem| stem.engine.clone()).collect();
        let dropped = moves::drop_chunks(&self.shared, &all);
        if dropped.is_ok() {
            self.stems.iter_mut().for_each(|stem| stem.synced = stem.engine.present().seq);
        }
        dropped
    }

    /// What a snapshot shows without its log.
    pub(crate) fn is_sealed_at(&self, at: usize, snapshot: &Snapshot, model: &Model) {
        let past = self.stems[at].engine.sealed_past(snapshot.id).unwrap();
        for (file, expected) in model.iter().enumerate() {
            let ino = past.lookup(Ino::ROOT, &name(file)).unwrap().ino;
            let mut found = Vec::new();
            past.read(ino, 0, 1 << 20, &mut found).unwrap();
            assert!(found == *expected, "file {file} of the sealed snapshot {snapshot:?} is wrong");
        }
    }

    /// The disk, to interrupt.
    pub(crate) fn disk(&self) -> &CrashDisk {
        &self.disk
    }

    /// Damages one byte of every pack of chunks.
    pub(crate) fn damage_chunks(&self) {
        for (path, len) in self.disk.files() {
            if path.extension().is_some_and(|end| end == "wp") {
                self.disk.damage(&path, len / 4, 1).unwrap();
            }
        }
    }

    /// What verifying all logs finds wrong.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for stem in &self.stems {
            let mut tell = |problem: Problem| problems.push(problem.what);
            verify_log(&self.shared, stem.engine.id(), &Expected::default(), &mut tell).unwrap();
        }
        problems
    }

    fn at(&mut self, stem: usize) -> (&mut Stem, Model) {
        let count = self.stems.len();
        let stem = &mut self.stems[stem % count];
        let model = stem.now();
        (stem, model)
    }

    fn model(&self, at: usize, point: Point) -> Model {
        let mut stem = &self.stems[at];
        while stem.engine.id() != point.log {
            stem = &self.stems[stem.parent.unwrap().0];
        }
        stem.known.range(..=point.seq).next_back().unwrap().1.1.clone()
    }

    /// Points with a model in the past of a stem.
    fn all_points(&self, at: usize) -> Vec<Point> {
        let (mut at, mut last) = (at, u64::MAX);
        let mut points = Vec::new();
        loop {
            let stem = &self.stems[at];
            let log = stem.engine.id();
            points.extend(stem.known.range(..=last).map(|(seq, _)| Point { log, seq: *seq }));
            match stem.parent {
                None => return points,
                Some(parent) => (at, last) = parent,
            }
        }
    }

    fn fork(&mut self, stem: usize, from: Option<Point>) {
        if self.stems.len() == STEMS_MAX {
            return;
        }
        let at = stem % self.stems.len();
        let id = WorkspaceId(self.stems.len() as u64 + 1);
        let parent = self.stems[at].engine.clone();
        let point = from.unwrap_or_else(|| parent.present());
        let model = self.model(at, point);
        let time = self.clock.tick();
        let made = match from {
            Some(point) => parent.fork_at(point, id, b""),
            None => parent.fork(id, b""),
        };
        let engine = match made {
            Ok(engine) => engine,
            Err(weald_engine::OpenError::Past(Errno::Stale)) => return,
            Err(error) => panic!("{error}"),
        };
        let now = self.stems[at].now();
        self.stems[at].note(time, now);
        engine.sync().unwrap();
        let owner = self.stems.iter().position(|stem| stem.engine.id() == point.log).unwrap();
        let seq = if from.is_some() { point.seq } else { parent.present().seq };
        let is_lost = |point| engine.past(point).is_err();
        let listed = engine.snapshots().into_iter();
        let lost = listed.filter(|snapshot| is_lost(snapshot.point)).map(|snapshot| snapshot.id).collect();
        let mut stem = Stem { engine, known: BTreeMap::new(), parent: Some((owner, seq)), synced: 1, lost };
        stem.note(time, model);
        self.stems.push(stem);
        for stem in &mut self.stems {
            // The fork's sync was one of those before it.
            if stem.engine.id() == parent.id() {
                stem.synced = seq.min(stem.engine.present().seq);
            }
        }
    }

    fn restore(&mut self, stem: usize, which: usize, time: Timestamp) {
        let at = stem % self.stems.len();
        let points = self.all_points(at);
        let point = points[which % points.len()];
        let model = self.model(at, point);
        let stem = &mut self.stems[at];
        match stem.engine.past(point) {
            Err(Errno::Stale) => {}
            Err(error) => panic!("{error}"),
            Ok(past) => {
                stem.engine.restore(&USER, &past, &[]).unwrap();
                stem.note(time, model);
            }
        }
    }

    fn undo(&mut self, stem: usize, time: Timestamp) {
        let at = stem % self.stems.len();
        match self.stems[at].engine.undo(&USER) {
            Ok(None) | Err(Errno::Stale) => {}
            Ok(Some((point, _))) => {
                let model = self.model(at, point);
                self.stems[at].note(time, model);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn crash(&mut self, seed: u64) {
        self.disk = self.disk.crash(seed);
        self.reopen();
    }

    fn reopen(&mut self) {
        self.phase = None;
        let stems = std::mem::take(&mut self.stems);
        let parts: Vec<_> = stems
            .into_iter()
            .map(|stem| (stem.engine.id(), stem.known, stem.parent, stem.synced, stem.lost))
            .collect();
        self.shared = open(&self.disk, &self.clock);
        for (id, mut known, parent, synced, lost) in parts {
            let engine = Workspace::open(self.shared.clone(), id, base()).unwrap();
            let last = engine.present().seq;
            assert!(last >= synced, "what was synced is there");
            known.retain(|seq, _| *seq <= last);
            self.stems.push(Stem { engine, known, parent, synced, lost });
        }
    }
}

impl Stem {
    fn ino(&self, file: usize) -> Ino {
        self.engine.lookup(Ino::ROOT, &name(file)).unwrap().ino
    }

    fn now(&self) -> Model {
        self.known.values().next_back().unwrap().1.clone()
    }

    fn note(&mut self, time: Timestamp, model: Model) {
        self.known.insert(self.engine.present().seq, (time, model));
    }

    pub(crate) fn carry(&mut self, time: Timestamp) {
        let model = self.now();
        self.known.entry(self.engine.present().seq).or_insert((time, model));
    }
}

fn name(file: usize) -> Vec<u8> {
    format!("f{file}").into_bytes()
}
