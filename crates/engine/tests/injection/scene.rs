//! A workspace with a past, and a fork of it, on a disk that stops, fails and crashes. The same scene is made the same way
//! each time, to the nanosecond, so what an interrupted operation may leave is known from one that was not.

use crate::view::{Picture, View, picture};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use weald_engine::seal::SealCheck;
use weald_engine::verify::verify_log;
use weald_engine::{Base, Occasion, OpenError, RenameMode, Shared, Workspace, XattrMode};
use weald_model::{Caller, FileKind, Ino, SnapshotId, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::Disk;
use weald_store::log::verify::Expected;
use weald_store::log::{Limits, LogError, Logs};
use weald_testkit::clock::FakeClock;
use weald_testkit::crash_disk::CrashDisk;

pub(crate) const USER: Caller =
    Caller { uid: 1000, gid: 1000, pid: 7, umask: 0, kill_privileges: false, request: 0 };
/// The workspace that things are done to.
pub(crate) const OWN: WorkspaceId = WorkspaceId(1);
/// A fork of it that nothing is done to.
pub(crate) const FORK: WorkspaceId = WorkspaceId(2);
/// The first snapshot of [`OWN`], and the second.
pub(crate) const OLD: SnapshotId = SnapshotId(1);
pub(crate) const NEW: SnapshotId = SnapshotId(2);
/// So small that segments end within a few records.
const LIMITS: Limits = Limits { segment_bytes: 4 << 10, data_segment_bytes: 60_000, open_files: 3 };

pub(crate) struct Scene {
    pub(crate) disk: CrashDisk,
    clock: Arc<FakeClock>,
    pub(crate) logs: Logs,
    shared: Arc<Shared>,
    own: Option<Arc<Workspace>>,
    pub(crate) fork: Option<Arc<Workspace>>,
    /// Ids given to snapshots and workspaces that are made now.
    next: u64,
}

/// What opening a workspace again came to.
pub(crate) enum Opened {
    There(Box<View>),
    /// Nothing was ever acknowledged of it.
    NeverWas,
}

fn base() -> Base {
    Base::empty(1000, 1000, Timestamp::from_secs(1_600_000_000))
}

fn open_store(disk: &CrashDisk, clock: &Arc<FakeClock>) -> (Logs, Arc<Shared>) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    for dir in ["/logs", "/cas", "/chunks"] {
        disk.make_dir(Path::new(dir)).unwrap();
    }
    disk.sync_dir(Path::new("/")).unwrap();
    let logs = Logs::with_limits(disk.clone(), "/logs".into(), LIMITS);
    let cas = Cas::new(disk.clone(), "/cas".into());
    let chunks = Arc::new(Chunks::new(disk.clone(), "/chunks".into()));
    let shared = Shared::new(disk, logs.clone(), cas, chunks, clock.clone(), 1 << 20);
    // So that the shortest histories are opened from their checkpoints.
    shared.look_for_checkpoints_after(3);
    (logs, shared)
}

impl Scene {
    /// Makes it up to here: everything so far is durable.
    pub(crate) fn new() -> Self {
        let (disk, clock) = (CrashDisk::default(), Arc::new(FakeClock::default()));
        let (logs, shared) = open_store(&disk, &clock);
        let own = Workspace::create(shared.clone(), OWN, base(), b"").unwrap();
        let mut scene = Self { disk, clock, logs, shared, own: Some(own), fork: None, next: 50 };
        scene.first_acts();
        scene
    }

    /// Small and large files, a directory, links, an attribute; a snapshot, a fork, another snapshot.
    fn first_acts(&mut self) {
        let own = self.own().clone();
        let dir = own.make_node(&USER, Ino::ROOT, b"dir", FileKind::Dir, 0o755, 0).unwrap().ino;
        self.put(Ino::ROOT, b"small", 1, 300);
        let large = self.put(Ino::ROOT, b"large", 2, 20_000);
        self.put(dir, b"inner", 3, 9_000);
        own.link(&USER, large, dir, b"linked").unwrap();
        own.make_symlink(&USER, Ino::ROOT, b"soft", b"dir/inner").unwrap();
        own.set_xattr(&USER, dir, b"user.a", b"value", XattrMode::Either, false).unwrap();
        own.snapshot(&USER, OLD, "old", &[], Occasion::Asked).unwrap();
        let fork = own.fork(FORK, b"fork").unwrap();
        fork.write(&USER, large, 100, &[9; 6_000]).unwrap();
        fork.sync().unwrap();
        self.fork = Some(fork);
        self.pause();
        own.write(&USER, large, 5_000, &[4; 12_000]).unwrap();
        own.unlink(&USER, dir, b"inner").unwrap();
        self.put(dir, b"later", 5, 7_000);
        own.snapshot(&USER, NEW, "new", &["tagged".to_owned()], Occasion::Asked).unwrap();
        self.pause();
    }

    /// The next change is a step of undo of its own.
    pub(crate) fn pause(&self) {
        (0..3).for_each(|_| {
            self.clock.tick();
        });
    }

    /// One change that nobody has synced yet, another one for each number below four.
    pub(crate) fn loose_act(&self, number: usize) {
        let own = self.own();
        let (root, large) = (Ino::ROOT, own.lookup(Ino::ROOT, b"large").unwrap().ino);
        match number {
            0 => own.write(&USER, large, 0, &[6; 8_000]).map(drop).unwrap(),
            1 => own.make_symlink(&USER, root, b"loose", b"nowhere").map(drop).unwrap(),
            2 => own.rename(&USER, root, b"small", root, b"moved", RenameMode::Replace).map(drop).unwrap(),
            _ => own.write(&USER, large, 30_000, &[8; 5_000]).map(drop).unwrap(),
        }
    }

    fn put(&self, parent: Ino, name: &[u8], fill: u8, len: usize) -> Ino {
        let own = self.own();
        let ino = own.make_node(&USER, parent, name, FileKind::File, 0o644, 0).unwrap().ino;
        own.write(&USER, ino, 0, &vec![fill; len]).unwrap();
        ino
    }

    pub(crate) fn own(&self) -> &Arc<Workspace> {
        self.own.as_ref().unwrap()
    }

    /// The number given out last.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The process ends, and the next one opens everything on the same disk.
    pub(crate) fn reopen(&mut self) {
        (self.own, self.fork) = (None, None);
        self.disk.clear_failure();
        self.disk.go_on();
        (self.logs, self.shared) = open_store(&self.disk, &self.clock);
        self.own = Some(Workspace::open(self.shared.clone(), OWN, base()).unwrap());
        self.fork = Workspace::open(self.shared.clone(), FORK, base()).ok();
    }

    /// The power is cut.
    pub(crate) fn crash(&mut self, seed: u64) {
        self.disk = self.disk.crash(seed);
        self.reopen();
    }

    /// Opens a workspace that may have been made, or removed.
    pub(crate) fn open(&self, id: WorkspaceId) -> Opened {
        match Workspace::open(self.shared.clone(), id, base()) {
            Ok(workspace) => Opened::There(Box::new(View::of(&workspace))),
            Err(OpenError::Log(LogError::Missing(_) | LogError::Unborn(_)) | OpenError::Unrooted(..)) => {
                Opened::NeverWas
            }
            Err(error) => panic!("{id} is neither there nor absent: {error}"),
        }
    }

    /// Every listed snapshot shows what it should, and nothing on the disk is other than it was written.
    pub(crate) fn is_sound(&self, pictures: &BTreeMap<SnapshotId, Picture>) {
        let own = self.own();
        own.now_past().check().unwrap().unwrap();
        for listed in own.snapshots() {
            let past = own.past(listed.point).unwrap();
            past.check().unwrap().unwrap();
            let found = picture(&past);
            assert!(
                pictures.get(&listed.id).is_none_or(|known| *known == found),
                "{listed:?} shows {found:?}"
            );
            if listed.seal.is_some() {
                let sealed = picture(&own.sealed_past(listed.id).unwrap());
                assert!(sealed == found, "{listed:?} is sealed as another state");
                SealCheck::default().check(&past, &listed).unwrap();
            }
        }
        own.sync().unwrap();
        for id in [Some(OWN), self.fork.as_ref().map(|_| FORK)].into_iter().flatten() {
            let mut problems = Vec::new();
            verify_log(&self.shared, id, &Expected::default(), &mut |problem| problems.push(problem))
                .unwrap();
            assert_eq!(problems, [], "{id}");
        }
    }

    /// It works as before: what is done now is there after the next power cut.
    pub(crate) fn goes_on(&mut self, seed: u64) {
        let own = self.own().clone();
        self.put(Ino::ROOT, b"went on", 11, 6_000);
        let id = SnapshotId(self.fresh());
        own.snapshot(&USER, id, "", &[], Occasion::Asked).unwrap();
        let now = View::of(&own);
        drop(own);
        self.crash(seed);
        assert!(View::of(self.own()) == now, "what was done afterwards is not kept");
    }
}
