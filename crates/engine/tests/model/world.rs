//! Workspaces on a disk that may fail, each beside its reference.
//!
//! After each step: an operation answered as the reference did; after a restart or a kill everything is as it was,
//! to the last nanosecond and inode number; after a power cut each workspace is what its reference was at some
//! moment not before its last sync; a failed operation changed nothing.

use crate::steps::{STEMS_MAX, Step};
use std::path::Path;
use std::sync::Arc;
use weald_engine::{Base, OpenError, Point, Shared, Workspace};
use weald_model::{Caller, Errno, Oid, Silent, Source, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, Map};
use weald_store::log::{Limits, Logs};
use weald_store::manifest::Manifest;
use weald_testkit::clock::FakeClock;
use weald_testkit::compare::{
    Clock, Description, Node, Numbers, compare_trees, describe, same, same_outcome,
};
use weald_testkit::crash_disk::{CrashDisk, Failure};
use weald_testkit::lazy::LazySource;
use weald_testkit::operation::{Operation, Slots, apply};
use weald_testkit::programs::ToldPrograms;
use weald_testkit::reference::Reference;
use weald_testkit::source::{MemorySource, Tree};

/// Owner of the base.
pub(crate) const OWNER: u32 = 1000;
/// An ordinary program.
pub(crate) const USER: Caller =
    Caller { uid: OWNER, gid: OWNER, pid: 7, umask: 0o022, kill_privileges: true, request: 0 };
/// A program of root, which keeps suid and sgid bits.
pub(crate) const ROOT: Caller =
    Caller { uid: 0, gid: 0, pid: 8, umask: 0, kill_privileges: false, request: 0 };
/// Time of the base.
pub(crate) const BASE_TIME: Timestamp = Timestamp { secs: 1_600_000_000, nanos: 5 };
/// Files so small that a few operations fill them, and fewer of them open than there are.
pub(crate) const SMALL_FILES: Limits =
    Limits { segment_bytes: 32 << 10, data_segment_bytes: 100_000, open_files: 3 };
/// A full comparison is made each time so many operations were done.
const OPERATIONS_PER_CHECK: u32 = 6;

pub(crate) type Checked = Result<(), String>;

/// A workspace and what it should be.
pub(crate) struct Stem {
    pub(crate) id: WorkspaceId,
    pub(crate) engine: Arc<Workspace>,
    pub(crate) reference: Reference,
    pub(crate) slots: Slots,
    pub(crate) reference_slots: Slots,
    pub(crate) numbers: Numbers,
    /// The reference at every moment since the last sync, oldest first, the present last.
    pub(crate) history: Vec<Reference>,
    /// Points of the past and what was there, oldest first.
    pub(crate) moments: Vec<(Point, Reference)>,
    /// Whether it must be there after a power cut.
    pub(crate) durable: bool,
    unchecked: u32,
}

/// Everything.
pub(crate) struct World {
    pub(crate) disk: CrashDisk,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) limits: Limits,
    pub(crate) base: Listed,
    pub(crate) stems: Vec<Stem>,
    pub(crate) forks: u64,
}

impl World {
    /// One workspace on a base.
    pub(crate) fn new(base: Option<&Tree>) -> Self {
        Self::with_limits(base, Limits::default())
    }

    /// One workspace on a base, in a store whose files are as small as `limits` say.
    pub(crate) fn with_limits(base: Option<&Tree>, limits: Limits) -> Self {
        Self::on(base.map(|tree| (tree, false)), limits)
    }

    /// The same; true for a base whose content is elsewhere.
    pub(crate) fn on(base: Option<(&Tree, bool)>, limits: Limits) -> Self {
        let disk = CrashDisk::default();
        let clock = Arc::new(FakeClock::default());
        let shared = open_shared(&disk, &clock, limits);
        let mut reference = Reference::empty(OWNER, OWNER, BASE_TIME);
        let made = Listed::new(base);
        if let Some((tree, _)) = base {
            reference = Reference::from_tree(tree, OWNER, OWNER, BASE_TIME);
        }
        let id = WorkspaceId(1);
        let engine = Workspace::create(shared.clone(), id, made.base(), b"note").expect("it can be created");
        engine.sync().expect("it can be synced");
        let mut stem = Stem::new(id, engine, vec![reference], true);
        stem.note();
        Self { disk, clock, limits, shared, base: made, stems: vec![stem], forks: 0 }
    }

    /// The logs, as somebody else reads them.
    pub(crate) fn logs(&self) -> Logs {
        Logs::with_limits(Arc::new(self.disk.clone()), "/home/logs".into(), self.limits)
    }

    /// Opens the first workspace once more, as after a kill.
    pub(crate) fn open_again(&self, shared: Arc<Shared>) -> Arc<Workspace> {
        self.try_open_again(shared).expect("it opens again")
    }

    /// The same, where it may fail.
    pub(crate) fn try_open_again(&self, shared: Arc<Shared>) -> Result<Arc<Workspace>, OpenError> {
        Workspace::open(shared, self.stems[0].id, self.base.base())
    }

    /// Does one step and checks what must hold.
    pub(crate) fn step(&mut self, step: &Step) -> Checked {
        self.do_step(step)?;
        self.stems.iter_mut().for_each(Stem::note);
        Ok(())
    }

    pub(crate) fn do_step(&mut self, step: &Step) -> Checked {
        match step {
            Step::Do { stem, root, operation } => self.operate(*stem, *root, operation),
            Step::Fork { stem, sync } => self.fork(*stem, *sync),
            Step::Restart { unmount } => {
                self.stems.iter_mut().try_for_each(Stem::sync)?;
                self.reopen(*unmount)
            }
            Step::Kill { unmount } => self.reopen(*unmount),
            Step::Crash { seed } => self.crash(*seed),
            Step::Fault { stem, nth, failure, operation } => self.fault(*stem, *nth, *failure, operation),
            Step::FailedSync { stem, nth } => self.failed_sync(*stem, *nth),
            Step::Full { stem, free, operations } => self.full(*stem, *free, operations),
            _ => self.travel(step),
        }
    }

    /// Compares all workspaces with their references.
    pub(crate) fn check(&mut self) -> Checked {
        self.stems.iter_mut().try_for_each(|stem| stem.check().map(|_| ()))
    }

    pub(crate) fn stem(&mut self, number: usize) -> &mut Stem {
        let count = self.stems.len();
        self.stems[number % count].reference.now = self.clock.tick();
        &mut self.stems[number % count]
    }

    fn operate(&mut self, stem: usize, root: bool, operation: &Operation) -> Checked {
        self.stem(stem).operate(if root { &ROOT } else { &USER }, operation)
    }

    fn fork(&mut self, stem: usize, sync: bool) -> Checked {
        if self.stems.len() == STEMS_MAX {
            return Ok(());
        }
        self.forks += 1;
        let id = WorkspaceId(1 + self.forks);
        let parent = self.stem(stem);
        parent.check()?;
        let engine = parent.engine.fork(id, b"fork").map_err(|error| format!("fork failed: {error}"))?;
        let mut child = Stem::new(id, engine, parent.history.clone(), false);
        child.numbers = parent.numbers.clone();
        child.slots = parent.slots;
        child.reference_slots = parent.reference_slots;
        child.moments = parent.moments.clone();
        if sync {
            child.sync()?;
        }
        parent.check()?;
        child.check()?;
        self.stems.push(child);
        Ok(())
    }

    /// Opens everything again from the same disk: nothing may have changed.
    pub(crate) fn reopen(&mut self, unmount: bool) -> Checked {
        let mut before = Vec::new();
        for stem in &mut self.stems {
            before.push((stem.check()?, stem.engine.snapshots()));
        }
        self.shared = open_shared(&self.disk, &self.clock, self.limits);
        for (stem, (before, snapshots)) in self.stems.iter_mut().zip(before) {
            stem.engine = Workspace::open(self.shared.clone(), stem.id, self.base.base())
                .map_err(|error| format!("{} does not open again: {error}", stem.id))?;
            let after = describe(&mut stem.engine, &stem.slots).map_err(|error| error.to_string())?;
            if let Some(difference) = first_difference(&before, &after) {
                return Err(format!("after opening again, {difference}"));
            }
            if stem.engine.snapshots() != snapshots {
                return Err(format!("after opening again, snapshots are {:?}", stem.engine.snapshots()));
            }
            if unmount {
                stem.unmount()?;
            }
            stem.check()?;
        }
        Ok(())
    }

    /// A power cut: each workspace is one of the states it had since it was last synced.
    pub(crate) fn crash(&mut self, seed: u64) -> Checked {
        self.disk = self.disk.crash(seed);
        self.shared = open_shared(&self.disk, &self.clock, self.limits);
        for mut stem in std::mem::take(&mut self.stems) {
            match Workspace::open(self.shared.clone(), stem.id, self.base.base()) {
                Ok(engine) => {
                    stem.engine = engine;
                    stem.recover()?;
                    self.stems.push(stem);
                }
                Err(error) if stem.durable => {
                    return Err(format!("{} does not open after a power cut: {error}", stem.id));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn fault(&mut self, stem: usize, nth: u64, failure: Failure, operation: &Operation) -> Checked {
        self.disk.fail_call(nth, failure);
        let disk = self.disk.clone();
        let stem = self.stem(stem);
        let changed = stem.operate_on_failing_disk(operation);
        let failed = !disk.clear_failure();
        changed?;
        if failed && (failure == Failure::Io || *operation == Operation::Sync) {
            return self.reopen(false);
        }
        Ok(())
    }

    fn failed_sync(&mut self, stem: usize, nth: u64) -> Checked {
        self.disk.fail_call(nth, Failure::Io);
        let disk = self.disk.clone();
        let stem = self.stem(stem);
        let synced = stem.engine.sync();
        if disk.clear_failure() {
            // It had fewer calls to make.
            return synced.map_err(|error| format!("sync failed without a fault: {error}"));
        }
        match synced {
            // What failed was of no consequence, such as the mark that all is durable: the promise holds.
            Ok(()) => {
                stem.remember(&Operation::Sync);
                Ok(())
            }
            Err(Errno::Io) => self.reopen(false),
            Err(_) => Err(format!("a failed sync said {synced:?}")),
        }
    }

    fn full(&mut self, stem: usize, free: u64, operations: &[Operation]) -> Checked {
        self.disk.fill(free);
        for operation in operations {
            self.stem(stem).operate_on_failing_disk(operation)?;
        }
        self.disk.unfill();
        self.check()
    }
}

impl Stem {
    pub(crate) fn new(
        id: WorkspaceId,
        engine: Arc<Workspace>,
        history: Vec<Reference>,
        durable: bool,
    ) -> Self {
        let reference = history.last().expect("a history has a present").clone();
        let (slots, reference_slots) = (Slots::default(), Slots::default());
        let numbers = Numbers::default();
        Self {
            id,
            engine,
            reference,
            slots,
            reference_slots,
            numbers,
            history,
            moments: Vec::new(),
            durable,
            unchecked: 0,
        }
    }

    /// Does the same on both sides and compares the answers.
    pub(crate) fn operate(&mut self, who: &Caller, operation: &Operation) -> Checked {
        let wanted = apply(&mut self.reference, &mut self.reference_slots, who, operation);
        let found = apply(&mut self.engine, &mut self.slots, who, operation);
        same_outcome(&found, &wanted, Clock::Shared)?;
        self.remember(operation);
        self.unchecked += 1;
        if self.unchecked >= OPERATIONS_PER_CHECK {
            self.check()?;
        }
        Ok(())
    }

    fn remember(&mut self, operation: &Operation) {
        if *operation == Operation::Sync {
            self.history.clear();
            self.durable = true;
        }
        self.history.push(self.reference.clone());
    }

    /// On a disk that may fail: the operation answers as the reference, or fails and changes nothing.
    fn operate_on_failing_disk(&mut self, operation: &Operation) -> Checked {
        let slots = self.slots;
        match apply(&mut self.engine, &mut self.slots, &USER, operation) {
            Err(Errno::NoSpace | Errno::Io | Errno::ReadOnly) => {
                if slots != self.slots {
                    return Err("a failed operation changed what is held".to_owned());
                }
            }
            found => {
                let wanted = apply(&mut self.reference, &mut self.reference_slots, &USER, operation);
                same_outcome(&found, &wanted, Clock::Shared)?;
                self.remember(operation);
            }
        }
        self.note();
        self.check().map(|_| ()).map_err(|why| format!("after a failure: {why}"))
    }

    /// Makes it durable.
    pub(crate) fn sync(&mut self) -> Checked {
        self.engine.sync().map_err(|error| format!("sync failed: {error}"))?;
        self.remember(&Operation::Sync);
        Ok(())
    }

    fn unmount(&mut self) -> Checked {
        self.slots = Slots::default();
        self.reference_slots = Slots::default();
        self.engine.purge_orphans().map_err(|error| format!("purge failed: {error}"))?;
        self.reference.purge_orphans();
        self.history.push(self.reference.clone());
        Ok(())
    }

    /// Compares everything.
    pub(crate) fn check(&mut self) -> Result<Description, String> {
        self.unchecked = 0;
        self.engine.now_past().check().map_err(|error| format!("it cannot be checked: {error}"))??;
        compare_trees(
            &mut self.engine,
            &self.slots,
            &mut self.reference,
            &self.reference_slots,
            &mut self.numbers,
        )
        .map_err(|why| format!("workspace {}: {why}", self.id))
    }

    /// After a power cut: finds the moment that the workspace went back to.
    pub(crate) fn recover(&mut self) -> Checked {
        self.slots = Slots::default();
        self.reference_slots = Slots::default();
        let found =
            describe(&mut self.engine, &self.slots).map_err(|error| format!("cannot be walked: {error}"))?;
        let mut nearest: Option<String> = None;
        for mut moment in std::mem::take(&mut self.history).into_iter().rev() {
            // What had no name cannot be seen, so it does not tell moments apart.
            moment.purge_orphans();
            let wanted = describe(&mut moment, &self.reference_slots).expect("the reference can be walked");
            let mut numbers = self.numbers.clone();
            numbers.keep_known(&moment);
            match same(&found, &wanted, &mut numbers, Clock::Shared) {
                Ok(()) => {
                    self.reference = moment;
                    self.numbers = numbers;
                    self.history.push(self.reference.clone());
                    self.durable = true;
                    self.forget_lost_moments();
                    return self.unmount();
                }
                Err(why) if nearest.as_ref().is_some_and(|nearest| nearest.len() <= why.len()) => {}
                Err(why) => nearest = Some(why),
            }
        }
        let why = nearest.unwrap_or_default();
        Err(format!("{} is in no state it had since its last sync; nearest to this one:\n{why}", self.id))
    }
}

/// Opens the store's parts on a disk.
pub(crate) fn open_shared(disk: &CrashDisk, clock: &Arc<FakeClock>, limits: Limits) -> Arc<Shared> {
    let home = Path::new("/home");
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    for dir in [home, &home.join("logs"), &home.join("cas"), &home.join("chunks")] {
        disk.make_dir(dir).expect("directories can be made");
    }
    disk.sync_dir(home).expect("a directory can be synced");
    disk.sync_dir(Path::new("/")).expect("the root can be synced");
    let logs = Logs::with_limits(disk.clone(), home.join("logs"), limits);
    let cas = Cas::new(disk.clone(), home.join("cas"));
    let chunks = Arc::new(Chunks::new(disk.clone(), home.join("chunks")));
    let shared = Shared::new(disk, logs, cas, chunks, clock.clone(), 1 << 20);
    // So that the shortest histories are opened from their checkpoints.
    shared.look_for_checkpoints_after(3);
    let programs = ToldPrograms::default();
    programs.tell(USER.pid, USER.pid, "tool");
    programs.tell(ROOT.pid, USER.pid, "tool-of-root");
    shared.set_programs(Arc::new(programs));
    shared
}

/// A base that shows a tree.
#[derive(Clone)]
pub(crate) struct Listed(Option<(Vec<u8>, Arc<dyn Source>)>);

impl Listed {
    fn new(tree: Option<(&Tree, bool)>) -> Self {
        let Some((tree, is_lazy)) = tree else { return Self(None) };
        let memory = Arc::new(MemorySource::default());
        let id: Oid = memory.add(tree);
        let source: Arc<dyn Source> = match is_lazy {
            false => memory,
            true => Arc::new(LazySource::new(memory)),
        };
        let bytes = Manifest::build(&*source, &id, BASE_TIME, &Silent).expect("a random tree is a good tree");
        Self(Some((bytes, source)))
    }

    /// The base anew: what was learnt of sizes is forgotten, and so does not matter.
    pub(crate) fn base(&self) -> Base {
        let Some((bytes, source)) = &self.0 else { return Base::empty(OWNER, OWNER, BASE_TIME) };
        let manifest = Manifest::open(Map::from_bytes(bytes.clone())).expect("a built manifest opens");
        Base::new(manifest, source.clone(), OWNER, OWNER)
    }
}

fn first_difference(before: &Description, after: &Description) -> Option<String> {
    let show = |node: Option<&Node>| node.map(|node| format!("{:?} xattrs {:?}", node.attr, node.xattrs));
    let path = before.keys().chain(after.keys()).find(|path| before.get(*path) != after.get(*path))?;
    let (before, after) = (show(before.get(path)), show(after.get(path)));
    Some(format!("{} is {after:?}\nbefore {before:?}", String::from_utf8_lossy(path)))
}
