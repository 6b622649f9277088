//! What a workspace is made of on the disk: records, the states they lead to, and sealed snapshots.
//!
//! Invariant of `replay`: whatever records a log holds, with right sums, opening it ends in a workspace or in an error, and all
//! that the workspace then shows can be asked for.

use std::path::Path;
use std::sync::Arc;
use weald_engine::{Base, Cookie, Occasion, RenameMode, Shared, Workspace, XattrMode, fuzzing};
use weald_model::{Caller, FileKind, Ino, Oid, SetAttr, Silent, SnapshotId, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, Map};
use weald_store::log::Logs;
use weald_store::log::verify::Expected;
use weald_store::manifest::Manifest;
use weald_testkit::clock::FakeClock;
use weald_testkit::crash_disk::CrashDisk;
use weald_testkit::source::{MemorySource, Tree};

/// Who does everything.
pub(super) const WHO: Caller =
    Caller { uid: 1000, gid: 1000, pid: 7, umask: 0o022, kill_privileges: false, request: 0 };
/// The workspace.
const ID: WorkspaceId = WorkspaceId(1);
/// Names and nodes that are looked at, so that a directory in itself comes to an end.
const LOOKS_MAX: usize = 200;

/// A home in memory.
pub(super) struct Bench {
    shared: Arc<Shared>,
    source: Arc<MemorySource>,
    tree: Oid,
}

impl Bench {
    pub(super) fn new() -> Self {
        let disk: Arc<dyn Disk> = Arc::new(CrashDisk::default());
        let [logs, cas, chunks] = ["/logs", "/cas", "/chunks"].map(Path::new);
        [logs, cas, chunks].iter().for_each(|dir| disk.make_dir(dir).expect("it is a disk in memory"));
        let (logs, cas) = (Logs::new(disk.clone(), logs.into()), Cas::new(disk.clone(), cas.into()));
        let chunks = Arc::new(Chunks::new(disk.clone(), chunks.into()));
        let shared = Shared::new(disk, logs, cas, chunks, Arc::new(FakeClock::default()), 1 << 20);
        let source = Arc::new(MemorySource::default());
        let tree = source.add(&Tree::dir([
            (
                "dir",
                Tree::dir([
                    ("deep", Tree::file("deep content")),
                    ("link", Tree::Symlink(b"../file".to_vec())),
                ]),
            ),
            ("file", Tree::file("content of the base")),
        ]));
        Self { shared, source, tree }
    }

    pub(super) fn base(&self) -> Base {
        let time = Timestamp::from_secs(1_600_000_000);
        let bytes = Manifest::build(&*self.source, &self.tree, time, &Silent).expect("the tree is sound");
        let manifest = Manifest::open(Map::from_bytes(bytes)).expect("it was just made");
        Base::new(manifest, self.source.clone(), WHO.uid, WHO.gid)
    }

    pub(super) fn workspace(&self) -> Arc<Workspace> {
        Workspace::create(self.shared.clone(), ID, self.base(), b"").expect("there is none yet")
    }

    /// One change of most kinds.
    fn worked_in(&self) -> Arc<Workspace> {
        let workspace = self.workspace();
        let done: weald_model::Result<()> = (|| {
            let file = workspace.make_node(&WHO, Ino::ROOT, b"a", FileKind::File, 0o644, 0)?.ino;
            workspace.write(&WHO, file, 3, b"some bytes")?;
            workspace.write(&WHO, file, 100, &[7; 5000])?;
            workspace.write(&WHO, Ino(3), 1, b"over the base")?;
            let dir = workspace.make_node(&WHO, Ino::ROOT, b"d", FileKind::Dir, 0o755, 0)?.ino;
            workspace.make_symlink(&WHO, dir, b"s", b"target")?;
            workspace.make_tmpfile(&WHO, Ino::ROOT, 0o600)?;
            workspace.link(&WHO, file, dir, b"hard")?;
            workspace.set_xattr(&WHO, file, b"user.x", b"value", XattrMode::Either, false)?;
            workspace.rename(&WHO, Ino::ROOT, b"a", dir, b"b", RenameMode::Replace)?;
            workspace.set_attr(
                &WHO,
                file,
                &SetAttr { size: Some(50), perm: Some(0o600), ..SetAttr::default() },
            )?;
            workspace.snapshot(&WHO, SnapshotId(9), "a note", &["tag".to_owned()], Occasion::Asked)?;
            workspace.unlink(&WHO, dir, b"hard")?;
            workspace.restore(&WHO, &workspace.past(workspace.snapshots()[0].point)?, &[])?;
            workspace.undo(&WHO)?;
            workspace.redo(&WHO)?;
            Ok(())
        })();
        done.expect("nothing of it fails");
        workspace.fork(WorkspaceId(2), b"a fork").expect("it can be forked");
        workspace.seal(SnapshotId(9), &|_| true).expect("it can be sealed");
        workspace
    }

    fn records(&self) -> Vec<Vec<u8>> {
        let workspace = self.worked_in();
        workspace.sync().expect("the disk is in memory");
        let mut records = Vec::new();
        let seq = workspace.head().seq;
        let keep = &mut |record: weald_store::log::Record<'_>| {
            records.push(record.body.to_vec());
            Ok(())
        };
        self.shared.logs().replay_until(ID, seq, keep).expect("it was just written");
        records
    }
}

/// One record, and the other things that are coded like one.
pub(super) fn record(bytes: &[u8]) {
    fuzzing::record(bytes);
}

pub(super) fn record_seeds() -> Vec<Vec<u8>> {
    Bench::new().records()
}

/// Records behind the first, each after two bytes for its length; the last of them is inline data for all.
pub(super) fn replay(bytes: &[u8]) {
    let bench = Bench::new();
    drop(bench.workspace());
    let (log, _) = bench.shared.logs().open(ID, &mut |_| Ok(())).expect("it was just made");
    let mut rest = bytes;
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let (body, tail) = tail.split_at(tail.len().min(usize::from(u16::from_le_bytes(*len))));
        rest = tail;
        if log.append(body, b"inline data of a record").is_err() {
            return;
        }
    }
    log.sync().expect("the disk is in memory");
    drop(log);
    let report = &mut |_| {};
    let _ = weald_engine::verify::verify_log(&bench.shared, ID, &Expected::default(), report);
    let Ok(workspace) = Workspace::open(bench.shared.clone(), ID, bench.base()) else { return };
    look(&workspace);
    let _ = workspace.make_node(&WHO, Ino::ROOT, b"one more", FileKind::File, 0o644, 0);
    let _ = workspace.undo(&WHO);
    let _ = workspace.records(0, &mut |_| true);
    if let Ok(fork) = workspace.fork(WorkspaceId(77), b"") {
        look(&fork);
    }
    let _ = workspace.purge_orphans();
}

/// Asks for everything, as far as it leads.
fn look(workspace: &Workspace) {
    let mut todo = vec![Ino::ROOT];
    let mut looks = 0;
    while let Some(ino) = todo.pop() {
        looks += 1;
        if looks > LOOKS_MAX {
            break;
        }
        let mut out = Vec::new();
        let Ok(attr) = workspace.attr(ino) else { continue };
        let _ = workspace.read(ino, 0, 10_000, &mut out);
        let _ = workspace.read(ino, attr.size.saturating_sub(10), 100, &mut out);
        let _ = (workspace.read_link(ino), workspace.list_xattr(ino), workspace.parent_of(ino));
        let _ = workspace.read_dir_attributes(ino, Cookie(0), &mut |entry, _| {
            todo.push(entry.ino);
            todo.len() < LOOKS_MAX
        });
    }
    for snapshot in workspace.snapshots().iter().take(4) {
        let Ok(past) = workspace.past(snapshot.point) else { continue };
        let _ = past.resolve(b"d/b").and_then(|attr| past.read(attr.ino, 0, 100, &mut Vec::new()));
    }
    let _ = (workspace.summary(), workspace.now_past().check());
}

pub(super) fn replay_seeds() -> Vec<Vec<u8>> {
    let records = Bench::new().records();
    let join = |records: &[Vec<u8>]| {
        let one = |record: &Vec<u8>| [&(record.len() as u16).to_le_bytes()[..], record].concat();
        records.iter().flat_map(one).collect::<Vec<u8>>()
    };
    let mut seeds: Vec<Vec<u8>> = (2..records.len()).map(|end| join(&records[1..end])).collect();
    seeds.extend(records.iter().map(|record| join(std::slice::from_ref(record))));
    seeds
}

/// Objects of sealed snapshots: a byte says which kind. From 10 on it is a whole checkpoint: for each entry a byte for
/// its tree, one for the length of its key and two for that of its value.
pub(super) fn sealed(bytes: &[u8]) {
    let Some((10.., mut rest)) = bytes.split_first() else { return fuzzing::sealed(bytes) };
    let mut parts = Vec::new();
    while let Some((&[of, key, low, high], tail)) = rest.split_first_chunk::<4>() {
        let (key, tail) = tail.split_at(tail.len().min(usize::from(key)));
        let (value, tail) = tail.split_at(tail.len().min(usize::from(u16::from_le_bytes([low, high]))));
        rest = tail;
        parts.push((of % 6, key.to_vec(), value.to_vec()));
    }
    let bench = Bench::new();
    let Some(past) = fuzzing::checkpointed(&bench.shared, bench.base(), &parts) else { return };
    let _ = (past.check(), past.summary(), past.undo_target(), past.redo_target(), past.snapshots());
    let mut todo = vec![Ino::ROOT];
    for _ in 0..LOOKS_MAX {
        let Some(ino) = todo.pop() else { return };
        let Ok(attr) = past.attr(ino) else { continue };
        let _ = past.read(ino, attr.size.saturating_sub(10), 100, &mut Vec::new());
        let _ = (past.read_link(ino), past.list_xattr(ino), past.parent_of(ino));
        let _ = past.read_dir(ino, Cookie(0), &mut |entry| {
            todo.push(entry.ino);
            todo.len() < LOOKS_MAX
        });
    }
}

pub(super) fn sealed_seeds() -> Vec<Vec<u8>> {
    let bench = Bench::new();
    let workspace = bench.worked_in();
    let seal = workspace.snapshots().iter().find_map(|snapshot| snapshot.seal).expect("it was sealed");
    let (parts, header, checkpoint) = fuzzing::parts(&bench.shared, &seal.checkpoint).expect("it is whole");
    let mut seeds = vec![[&[0][..], &header].concat(), [&[1][..], &checkpoint].concat()];
    let mut all = vec![10];
    for (of, key, value) in &parts {
        let kind = [4, 3, 4, 5, 6, 9][usize::from(*of)];
        let key_len = [key.len() as u8];
        match kind {
            6 => seeds.push([&[kind][..], &key_len, key, value].concat()),
            _ => seeds.push([&[kind][..], value].concat()),
        }
        all.extend([&[*of][..], &key_len, &(value.len() as u16).to_le_bytes(), key, value].concat());
    }
    let leaf = [&[2, 0, 1, 3][..], b"key", &[3, 0, b'v', b'w']].concat();
    let table = [&[7, 1, 16, 1][..], &[5; 32], &[0, 9]].concat();
    let acl = [
        &[9, 2, 0, 0, 0][..],
        &[1, 0, 6, 0, 255, 255, 255, 255],
        &[4, 0, 4, 0, 255, 255, 255, 255],
        &[32, 0, 4, 0, 255, 255, 255, 255],
    ]
    .concat();
    let first = Bench::new().records().swap_remove(0);
    let floor = [&[8, 1, 9][..], &[3; 64], &[2, 0, first.len() as u8], &first].concat();
    seeds.extend([all, leaf, table, acl, floor]);
    seeds
}
