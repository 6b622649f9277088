//! Giving back while other threads write, take and drop snapshots, restore and fork.

use crate::home::USER;
use crate::moves;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use weald_engine::reach::Reach;
use weald_engine::{Base, Occasion, Point, Shared, Workspace};
use weald_model::{Errno, FileKind, Ino, SnapshotId, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, HostDisk};
use weald_store::log::{Limits, Logs};
use weald_testkit::clock::FakeClock;

const WRITERS: u64 = 3;
const ROUNDS: u64 = 60;
const BYTES: usize = 9_000;
const LIMITS: Limits = Limits { segment_bytes: 2 << 10, data_segment_bytes: 200_000, open_files: 8 };

fn shared(root: &std::path::Path) -> Arc<Shared> {
    let disk: Arc<dyn Disk> = Arc::new(HostDisk::new(root));
    for dir in ["logs", "cas", "chunks"] {
        disk.make_dir(&root.join(dir)).unwrap();
    }
    let logs = Logs::with_limits(disk.clone(), root.join("logs"), LIMITS);
    let cas = Cas::new(disk.clone(), root.join("cas"));
    let chunks = Arc::new(Chunks::new(disk.clone(), root.join("chunks")));
    Shared::new(disk, logs, cas, chunks, Arc::new(FakeClock::default()), 1 << 20)
}

fn content(writer: u64, round: u64) -> Vec<u8> {
    // One of them so little that it stays with its records.
    let bytes = if writer == 0 { BYTES / 4 } else { BYTES };
    (0..bytes).map(|at| (writer * 101 + round * 7 + at as u64 % 13) as u8).collect()
}

fn shows(workspace: &Workspace, point: Point, ino: Ino, expected: &[u8]) {
    let mut found = Vec::new();
    workspace.past(point).unwrap().read(ino, 0, BYTES, &mut found).unwrap();
    assert!(found == expected, "a state that stays is wrong");
}

/// Writes, and keeps every third state as a snapshot; drops some, and goes back to some.
fn write(workspace: &Arc<Workspace>, writer: u64, ino: Ino, forks: &AtomicU64) -> Vec<(Point, Vec<u8>)> {
    let mut kept: Vec<(SnapshotId, Point, Vec<u8>)> = Vec::new();
    for round in 0..ROUNDS {
        let mut now = content(writer, round);
        workspace.write(&USER, ino, 0, &now).unwrap();
        if round % 7 == 6
            && let Some((_, point, old)) = kept.first().cloned()
        {
            let past = workspace.past(point).unwrap();
            let path = format!("w{writer}").into_bytes();
            workspace.restore(&USER, &past, &[path]).unwrap();
            now = old;
        }
        if round % 3 == 0 {
            let id = SnapshotId(writer << 32 | round | 1 << 60);
            let taken = workspace.snapshot(&USER, id, "", &[], Occasion::Asked).unwrap();
            shows(workspace, taken.point, ino, &now);
            kept.push((id, taken.point, now));
        }
        if round % 9 == 8 {
            let (id, ..) = kept.remove(0);
            workspace.drop_snapshot(&USER, id).unwrap();
        }
        if round == ROUNDS / 2 {
            let id = WorkspaceId(100 + forks.fetch_add(1, Ordering::SeqCst));
            let (_, point, old) = kept.last().unwrap();
            let fork = workspace.fork_at(*point, id, b"").unwrap();
            let mut found = Vec::new();
            fork.read(ino, 0, BYTES, &mut found).unwrap();
            assert!(found == *old, "a fork of a snapshot is wrong");
        }
    }
    kept.into_iter().map(|(_, point, model)| (point, model)).collect()
}

fn give_back(workspace: &Arc<Workspace>) -> Result<u64, Errno> {
    let mut reach = Reach::begin(vec![workspace.clone()], |_| true);
    reach.point(workspace.present());
    workspace.snapshots().iter().for_each(|snapshot| reach.snapshot(snapshot));
    // Snapshots taken from here on show what is reached already, or new.
    let shortening = reach.shorten(workspace)?;
    let unreached = reach.finish().unwrap();
    let bytes = unreached.give_back()?;
    if let Some(shortening) = shortening {
        unreached.give_up(&shortening, &|work| work())?;
    }
    Ok(bytes)
}

/// Seals snapshots, and moves what they show; those that were dropped meanwhile are left.
fn seal_some(workspace: &Arc<Workspace>, sealed: &AtomicU64) {
    for snapshot in workspace.unsealed() {
        match moves::seal_and_move(workspace, snapshot.id) {
            Ok(()) => _ = sealed.fetch_add(1, Ordering::SeqCst),
            Err(Errno::NotFound | Errno::Stale) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn threads_that_write_snapshot_restore_and_fork_lose_nothing_to_a_gc_that_never_rests() {
    run(|workspace, done, given| {
        until(done, || collect(workspace, given));
    });
}

/// The same, while their snapshots are sealed, content is moved, and chunks that nobody needs go.
#[test]
fn threads_lose_nothing_while_snapshots_are_sealed_and_chunks_are_dropped() {
    let (sealed, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
    run(|workspace, done, given| {
        std::thread::scope(|scope| {
            let sealer = scope.spawn(|| until(done, || seal_some(workspace, &sealed)));
            until(done, || {
                collect(workspace, given);
                let all = std::slice::from_ref(workspace);
                match moves::drop_chunks(workspace.shared(), all) {
                    Ok(bytes) => _ = dropped.fetch_add(bytes, Ordering::SeqCst),
                    Err(Errno::Busy) => {}
                    Err(error) => panic!("{error}"),
                }
            });
            sealer.join().unwrap();
            collect(workspace, given);
            let given_up = workspace.shared().given_up(workspace.id()).unwrap();
            assert!(given_up.is_some(), "the first records went, too");
        });
    });
    assert!(sealed.load(Ordering::SeqCst) > 0, "something was sealed meanwhile");
}

#[test]
fn a_look_begins_only_when_what_is_being_brought_back_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(dir.path());
    let base = Base::empty(1000, 1000, Timestamp::from_secs(1_600_000_000));
    let workspace = Workspace::create(shared, WorkspaceId(1), base, b"").unwrap();
    let (is_done, point) = (AtomicBool::new(false), workspace.present());
    let (look, (held, is_held)) = (std::sync::Barrier::new(2), std::sync::mpsc::channel());
    std::thread::scope(|scope| {
        let (look, may_look, one) = (&look, &is_done, &workspace);
        scope.spawn(move || {
            let hold = || {
                held.send(()).unwrap();
                look.wait();
                // Long enough for a look that does not wait to be over.
                std::thread::sleep(std::time::Duration::from_millis(50));
                may_look.store(true, Ordering::SeqCst);
            };
            one.hold(point, hold).unwrap();
        });
        is_held.recv().unwrap();
        look.wait();
        let reach = Reach::begin(vec![workspace.clone()], |_| true);
        assert!(is_done.load(Ordering::SeqCst), "it looked at a present that was about to change");
        drop(reach);
    });
}

/// Does it again and again, and once more when the writers are done.
fn until(done: &AtomicBool, mut work: impl FnMut()) {
    while !done.load(Ordering::SeqCst) {
        work();
    }
    work();
}

fn collect(workspace: &Arc<Workspace>, given: &AtomicU64) {
    match give_back(workspace) {
        Ok(bytes) => _ = given.fetch_add(bytes, Ordering::SeqCst),
        Err(Errno::Busy) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Has writers work while `meanwhile` does, until it is told that they are done; then every state that stays is right.
fn run(meanwhile: impl FnOnce(&Arc<Workspace>, &AtomicBool, &AtomicU64) + Send) {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(dir.path());
    let base = Base::empty(1000, 1000, Timestamp::from_secs(1_600_000_000));
    let workspace = Workspace::create(shared.clone(), WorkspaceId(1), base.clone(), b"").unwrap();
    let inos: Vec<Ino> = (0..WRITERS)
        .map(|writer| {
            let name = format!("w{writer}").into_bytes();
            workspace.make_node(&USER, Ino::ROOT, &name, FileKind::File, 0o644, 0).unwrap().ino
        })
        .collect();
    let (done, forks, given) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let kept = std::thread::scope(|scope| {
        let (workspace, forks, done, given) = (&workspace, &forks, &done, &given);
        let collector = scope.spawn(move || meanwhile(workspace, done, given));
        let writers: Vec<_> = inos
            .iter()
            .enumerate()
            .map(|(writer, ino)| scope.spawn(move || write(workspace, writer as u64, *ino, forks)))
            .collect();
        let kept: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::SeqCst);
        collector.join().unwrap();
        kept.into_iter().map(|kept| kept.unwrap()).collect::<Vec<_>>()
    });
    assert!(given.load(Ordering::SeqCst) > 0, "something was given back meanwhile");
    let check = |workspace: &Workspace| {
        for (ino, states) in inos.iter().zip(&kept) {
            states.iter().for_each(|(point, expected)| shows(workspace, *point, *ino, expected));
        }
    };
    check(&workspace);
    workspace.sync().unwrap();
    drop(workspace);
    check(&Workspace::open(self::shared(dir.path()), WorkspaceId(1), base).unwrap());
}
