//! A store with all there is in one, wholly durable, and what it shows; copies of it to be damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weald_engine::seal::SealCheck;
use weald_engine::verify::verify_log;
use weald_engine::{Base, Occasion, OpenError, Past, Shared, Workspace, XattrMode};
use weald_model::{Attr, Caller, Errno, FileKind, Ino, SnapshotId, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, OpenMode};
use weald_store::log::verify::Expected;
use weald_store::log::{Head, Limits, Logs};
use weald_testkit::clock::{FakeClock, mix};
use weald_testkit::crash_disk::CrashDisk;

const USER: Caller = Caller { uid: 1000, gid: 1000, pid: 7, umask: 0, kill_privileges: false, request: 0 };
pub(crate) const OWN: WorkspaceId = WorkspaceId(1);
pub(crate) const FORK: WorkspaceId = WorkspaceId(2);
pub(crate) const OTHER: WorkspaceId = WorkspaceId(3);
/// All workspaces; the second starts from the first, the third has nothing to do with either.
pub(crate) const ALL: [WorkspaceId; 3] = [OWN, FORK, OTHER];
const SNAPSHOTS: [SnapshotId; 2] = [SnapshotId(1), SnapshotId(2)];
/// So small that there are several segments of each kind.
const LIMITS: Limits = Limits { segment_bytes: 4 << 10, data_segment_bytes: 60_000, open_files: 3 };

/// A whole tree by path; content that cannot be read is None.
pub(crate) type Picture = BTreeMap<Vec<u8>, (Attr, Option<Vec<u8>>)>;

/// The store, and what is known of it.
pub(crate) struct Scene {
    disk: CrashDisk,
    pub(crate) heads: BTreeMap<WorkspaceId, Head>,
    /// What each workspace showed after each change.
    pub(crate) history: BTreeMap<WorkspaceId, Vec<Picture>>,
    pub(crate) sealed: BTreeMap<SnapshotId, Picture>,
}

/// What reading a damaged store came to.
pub(crate) struct Found {
    /// What verifying says is wrong.
    pub(crate) problems: Vec<String>,
    /// What the workspaces show that can be opened.
    pub(crate) shown: BTreeMap<WorkspaceId, Picture>,
    pub(crate) sealed: BTreeMap<SnapshotId, Picture>,
}

fn base() -> Base {
    Base::empty(1000, 1000, Timestamp::from_secs(1_600_000_000))
}

fn open_store(disk: &CrashDisk) -> Arc<Shared> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    for dir in ["/logs", "/cas", "/chunks"] {
        disk.make_dir(Path::new(dir)).unwrap();
    }
    disk.sync_dir(Path::new("/")).unwrap();
    let logs = Logs::with_limits(disk.clone(), "/logs".into(), LIMITS);
    let cas = Cas::new(disk.clone(), "/cas".into());
    let chunks = Arc::new(Chunks::new(disk.clone(), "/chunks".into()));
    let shared = Shared::new(disk, logs, cas, chunks, Arc::new(FakeClock::default()), 1 << 20);
    shared.look_for_checkpoints_after(3);
    shared
}

/// Bytes in which no two places are alike, so that exchanged ones are seen.
fn content(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| mix(seed << 32 | at) as u8).collect()
}

impl Scene {
    /// Makes it. With `moves`, large content of snapshots lies in chunks alone.
    pub(crate) fn new(moves: bool) -> Self {
        let disk = CrashDisk::default();
        let shared = open_store(&disk);
        let own = Workspace::create(shared.clone(), OWN, base(), b"").unwrap();
        let mut history: BTreeMap<WorkspaceId, Vec<Picture>> = BTreeMap::new();
        let mut note = |workspace: &Arc<Workspace>| {
            history.entry(workspace.id()).or_default().push(picture(&workspace.now_past()).unwrap());
        };
        note(&own);
        acts(&own, 1, &mut note);
        own.snapshot(&USER, SNAPSHOTS[0], "one", &[], Occasion::Asked).unwrap();
        let fork = own.fork(FORK, b"fork").unwrap();
        note(&fork);
        acts(&own, 2, &mut note);
        own.snapshot(&USER, SNAPSHOTS[1], "two", &[], Occasion::Asked).unwrap();
        acts(&fork, 3, &mut note);
        let other = Workspace::create(shared, OTHER, base(), b"").unwrap();
        note(&other);
        acts(&other, 4, &mut note);
        let mut sealed = BTreeMap::new();
        for id in SNAPSHOTS {
            own.seal(id, &|_| true).map_err(|error| error.errno()).unwrap();
            sealed.insert(id, picture(&own.sealed_past(id).unwrap()).unwrap());
        }
        if moves {
            let mut placed = Vec::new();
            for id in SNAPSHOTS {
                own.sealed_places(id, &mut |one| placed.push(one)).map_err(|error| error.errno()).unwrap();
            }
            assert!(own.move_content(&placed, &|| false, &|work| work()).unwrap().freed_bytes > 0);
        }
        acts(&own, 5, &mut note);
        let mut heads = BTreeMap::new();
        for workspace in [&own, &fork, &other] {
            workspace.sync().unwrap();
            heads.insert(workspace.id(), workspace.head());
        }
        Self { disk, heads, history, sealed }
    }

    /// A copy of its disk.
    pub(crate) fn copy(&self) -> CrashDisk {
        // Everything is durable, so a power cut takes nothing.
        self.disk.crash(1)
    }

    /// Its files, longest paths last, and the bytes of each.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.disk.files();
        files.into_iter().map(|(path, _)| (path.clone(), bytes(&self.disk, &path))).collect()
    }

    /// Verifies a disk, then reads everything on it that can be read.
    pub(crate) fn look(&self, disk: &CrashDisk) -> Found {
        let mut problems = Vec::new();
        let shared = open_store(disk);
        match shared.chunks().verify() {
            Ok(checked) => problems.extend(checked.problems.iter().map(|problem| format!("{problem:?}"))),
            Err(error) => problems.push(error.to_string()),
        }
        for id in ALL {
            let head = (self.heads[&id], "kept".to_owned());
            let expected = Expected { heads: vec![head], ..Expected::default() };
            let told =
                verify_log(&shared, id, &expected, &mut |problem| problems.push(format!("{problem:?}")));
            problems.extend(told.err().map(|error| error.to_string()));
        }
        let (mut shown, mut sealed) = (BTreeMap::new(), BTreeMap::new());
        for id in ALL {
            match Workspace::open(shared.clone(), id, base()) {
                Ok(workspace) => {
                    shown.extend(picture(&workspace.now_past()).ok().map(|found| (id, found)));
                    if id == OWN {
                        look_at_snapshots(&workspace, &mut problems, &mut sealed);
                    }
                }
                Err(
                    OpenError::Log(_) | OpenError::Record(..) | OpenError::Unrooted(..) | OpenError::Past(_),
                ) => {}
            }
        }
        Found { problems, shown, sealed }
    }
}

fn look_at_snapshots(
    own: &Workspace,
    problems: &mut Vec<String>,
    sealed: &mut BTreeMap<SnapshotId, Picture>,
) {
    let mut seals = SealCheck::default();
    for listed in own.snapshots().into_iter().filter(|listed| SNAPSHOTS.contains(&listed.id)) {
        match own.past(listed.point) {
            Ok(past) => problems.extend(seals.check(&past, &listed).err()),
            Err(error) => problems.push(format!("{listed:?} cannot be had: {error}")),
        }
        if let Ok(past) = own.sealed_past(listed.id) {
            sealed.extend(picture(&past).ok().map(|found| (listed.id, found)));
        }
    }
}

/// Changes of every kind that has bytes to be damaged.
fn acts(workspace: &Arc<Workspace>, seed: u64, note: &mut dyn FnMut(&Arc<Workspace>)) {
    let name = |word: &str| format!("{word}-{seed}").into_bytes();
    let dir = workspace.make_node(&USER, Ino::ROOT, &name("dir"), FileKind::Dir, 0o755, 0).unwrap().ino;
    note(workspace);
    for (word, len) in [("small", 300), ("large", 40_000), ("middle", 9_000)] {
        let made = workspace.make_node(&USER, dir, &name(word), FileKind::File, 0o644, 0).unwrap();
        note(workspace);
        workspace.write(&USER, made.ino, 0, &content(seed * 10 + len as u64, len)).unwrap();
        note(workspace);
    }
    let large = workspace.lookup(dir, &name("large")).unwrap().ino;
    workspace.write(&USER, large, 10_000, &content(seed * 77, 15_000)).unwrap();
    note(workspace);
    workspace.make_symlink(&USER, Ino::ROOT, &name("soft"), b"somewhere").unwrap();
    note(workspace);
    workspace.set_xattr(&USER, dir, b"user.a", b"value", XattrMode::Either, false).unwrap();
    note(workspace);
}

/// Walks a state. An error where it cannot be walked; content alone may be missing.
pub(crate) fn picture(past: &Past) -> Result<Picture, Errno> {
    let mut all = Picture::new();
    let mut open = vec![(Vec::new(), Ino::ROOT)];
    while let Some((path, ino)) = open.pop() {
        let attr = past.attr(ino)?;
        let mut content = Vec::new();
        let read = match attr.kind {
            FileKind::File => past.read(ino, 0, attr.size as usize + 1, &mut content).map(|()| content),
            FileKind::Symlink => past.read_link(ino),
            _ => past
                .read_dir(ino, Default::default(), &mut |entry| {
                    open.push(([&path, &b"/"[..], entry.name].concat(), entry.ino));
                    true
                })
                .map(|()| Vec::new()),
        };
        all.insert(path, (attr, read.ok()));
    }
    Ok(all)
}

/// The bytes of a file.
fn bytes(disk: &CrashDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut all = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut all, 0).unwrap();
    all
}

/// Puts other bytes in its place, as if they had always been there.
pub(crate) fn put(disk: &CrashDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.write_at(&[bytes], 0).unwrap();
    file.sync().unwrap();
}
