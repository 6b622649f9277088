//! Sealed snapshots of contents large enough to be cut, and what is left when sealing is cut short.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use crate::world::{SMALL_FILES, USER, World, open_shared};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use weald_engine::seal::{SealCheck, SealError};
use weald_engine::{AllocateMode, Changes, Occasion, Placed, Since, Workspace};
use weald_model::{FileKind, Ino, SetAttr, SnapshotId, WorkspaceId};
use weald_store::disk::Disk;
use weald_testkit::cases;
use weald_testkit::operation::Data;
use weald_testkit::source::Tree;

/// So large that a file has a dozen chunks.
const FILE_BYTES: u64 = 900_000;

#[derive(Clone, Debug)]
enum Edit {
    Write { at: u64, data: Data },
    Truncate { size: u64 },
    Punch { at: u64, len: u64 },
    Allocate { at: u64, len: u64 },
    Copy { from: u64, to: u64, len: u64 },
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || prop_oneof![3 => 0..FILE_BYTES, 1 => Just(0u64), 1 => (0..14u64).prop_map(|at| at << 16)];
    let len = || prop_oneof![3 => 1usize..400, 2 => 1usize..200_000];
    prop_oneof![
        6 => (at(), any::<u8>(), len()).prop_map(|(at, seed, len)| Edit::Write { at, data: Data { seed, len } }),
        1 => (0..FILE_BYTES).prop_map(|size| Edit::Truncate { size }),
        1 => (at(), len()).prop_map(|(at, len)| Edit::Punch { at, len: len as u64 }),
        1 => (at(), len()).prop_map(|(at, len)| Edit::Allocate { at, len: len as u64 }),
        2 => (at(), at(), len()).prop_map(|(from, to, len)| Edit::Copy { from, to, len: len as u64 }),
    ]
}

fn apply(workspace: &Workspace, ino: Ino, other: Ino, edit: &Edit) {
    match *edit {
        Edit::Write { at, ref data } => workspace.write(&USER, ino, at, &data.bytes()).unwrap(),
        Edit::Truncate { size } => {
            workspace
                .set_attr(&USER, ino, &SetAttr { size: Some(size), ..SetAttr::default() })
                .map(drop)
                .unwrap();
        }
        Edit::Punch { at, len } => workspace.allocate(&USER, ino, at, len, AllocateMode::PunchHole).unwrap(),
        Edit::Allocate { at, len } => workspace.allocate(&USER, ino, at, len, AllocateMode::Grow).unwrap(),
        Edit::Copy { from, to, len } => {
            workspace.copy_range(&USER, other, from, ino, to, len).unwrap();
        }
    }
}

/// Takes a snapshot, seals it, and computes it again from nothing.
fn seal(workspace: &Workspace, id: u64) -> [u8; 32] {
    let id = SnapshotId(id);
    workspace.snapshot(&USER, id, "", &[], Occasion::Asked).unwrap();
    let sealed = workspace.seal(id, &|_| true).unwrap().unwrap();
    check(workspace);
    sealed.seal.root
}

fn check(workspace: &Workspace) {
    for snapshot in workspace.snapshots().iter().filter(|one| one.seal.is_some()) {
        let past = workspace.past(snapshot.point).unwrap();
        SealCheck::default().check(&past, snapshot).unwrap();
    }
}

/// What lies in data segments is in chunks, too, byte by byte.
#[test]
fn places_of_a_sealed_snapshot_are_told_with_the_chunks_that_have_their_bytes() {
    let world = World::new(None);
    let workspace = &world.stems[0].engine;
    let ino = file(workspace, b"file");
    let data = Data { seed: 1, len: 500_000 }.bytes();
    data.chunks(70_000).enumerate().for_each(|(number, piece)| {
        workspace.write(&USER, ino, number as u64 * 70_000, piece).unwrap();
    });
    workspace.write(&USER, ino, 100_000, &[3; 5000]).unwrap();
    seal(workspace, 1);
    let (mut placed, mut differing) = (0, 0);
    let (logs, chunks) = (world.logs(), world.shared.chunks());
    workspace
        .sealed_places(SnapshotId(1), &mut |Placed { place, skip, len, chunk, offset }| {
            let mut written = vec![0; len as usize];
            logs.read(place, skip, &mut written).unwrap();
            let kept = &chunks.read(&chunk).unwrap()[offset as usize..][..len as usize];
            differing += u32::from(written != kept);
            placed += len;
        })
        .unwrap();
    assert_eq!((placed, differing), (500_000, 0));
}

fn file(workspace: &Workspace, name: &[u8]) -> Ino {
    workspace.make_node(&USER, Ino::ROOT, name, FileKind::File, 0o644, 0).unwrap().ino
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(40), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_root_made_from_an_earlier_one_is_the_root_made_from_nothing(rounds in vec(vec(edit(), 1..5), 1..5)) {
        let world = World::new(Some(&Tree::dir([("base", Tree::file(vec![9; 150_000]))])));
        let workspace = &world.stems[0].engine;
        let base = workspace.lookup(Ino::ROOT, b"base").unwrap().ino;
        let ino = file(workspace, b"file");
        workspace.write(&USER, ino, 1000, &Data { seed: 1, len: FILE_BYTES as usize }.bytes()).unwrap();
        seal(workspace, 100);
        for (number, round) in rounds.iter().enumerate() {
            for (step, edit) in round.iter().enumerate() {
                let (one, other) = if step % 3 == 2 { (base, ino) } else { (ino, base) };
                apply(workspace, one, other, edit);
            }
            seal(workspace, 200 + number as u64);
        }
    }
}

#[test]
fn equal_content_written_in_other_pieces_is_the_same_chunks() {
    let world = World::new(None);
    let workspace = &world.stems[0].engine;
    let data = Data { seed: 5, len: 700_000 }.bytes();
    let (one, other) = (file(workspace, b"one"), file(workspace, b"other"));
    workspace.write(&USER, one, 0, &data).unwrap();
    seal(workspace, 1);
    for (number, piece) in data.chunks(3000).enumerate() {
        workspace.write(&USER, other, number as u64 * 3000, piece).unwrap();
    }
    workspace.snapshot(&USER, SnapshotId(2), "", &[], Occasion::Asked).unwrap();
    let added = workspace.seal(SnapshotId(2), &|_| true).unwrap().unwrap().added;
    assert!(added.content_bytes < 60_000, "{added:?}");
}

#[test]
fn a_small_change_of_a_large_file_adds_little_and_reads_little() {
    let world = World::new(None);
    let workspace = &world.stems[0].engine;
    let ino = file(workspace, b"large");
    for part in 0..20u8 {
        let data = Data { seed: part, len: 1 << 20 };
        workspace.write(&USER, ino, (u64::from(part) * 50) << 20, &data.bytes()).unwrap();
    }
    seal(workspace, 1);
    workspace.write(&USER, ino, (500 << 20) + 300_000, &[1; 4096]).unwrap();
    workspace.snapshot(&USER, SnapshotId(2), "", &[], Occasion::Asked).unwrap();
    let cut = std::cell::Cell::new(0);
    let proceed = |bytes| {
        cut.set(cut.get() + bytes);
        true
    };
    let added = workspace.seal(SnapshotId(2), &proceed).unwrap().unwrap().added;
    assert!(cut.get() < 2 << 20, "{} bytes were read", cut.get());
    assert!(added.content_bytes < 300_000, "{added:?}");
}

#[test]
fn sealing_that_is_stopped_leaves_nothing_and_can_be_done_again() {
    let world = World::new(None);
    let workspace = &world.stems[0].engine;
    let ino = file(workspace, b"file");
    workspace.write(&USER, ino, 0, &Data { seed: 1, len: 500_000 }.bytes()).unwrap();
    let id = SnapshotId(1);
    workspace.snapshot(&USER, id, "", &[], Occasion::Asked).unwrap();
    assert!(matches!(workspace.seal(id, &|_| false), Err(SealError::Stopped)));
    assert_eq!(world.shared.chunks().disk_bytes().unwrap().1, 0, "no pack");
    assert_eq!(workspace.unsealed().len(), 1);
    assert!(workspace.sealed_past(id).is_err());
    workspace.seal(id, &|_| true).unwrap().unwrap();
    assert!(workspace.unsealed().is_empty());
    workspace.drop_snapshot(&USER, id).unwrap();
    assert!(workspace.seal(id, &|_| true).unwrap().is_none(), "it is not listed any more");
}

#[test]
fn power_cut_while_sealing_leaves_the_snapshot_sealed_whole_or_not_at_all() {
    for seed in 0..60 {
        let world = World::new(None);
        let workspace = &world.stems[0].engine;
        let ino = file(workspace, b"file");
        workspace.write(&USER, ino, 0, &Data { seed: 1, len: 300_000 }.bytes()).unwrap();
        workspace.snapshot(&USER, SnapshotId(1), "", &[], Occasion::Asked).unwrap();
        world.disk.fail_call(seed % 12, weald_testkit::crash_disk::Failure::Io);
        let sealed = workspace.seal(SnapshotId(1), &|_| true);
        let failed = !world.disk.clear_failure();
        assert!(failed || sealed.is_ok());
        let disk = world.disk.crash(seed);
        let shared = open_shared(&disk, &world.clock, Default::default());
        let again: Arc<Workspace> = world.open_again(shared);
        check(&again);
        if again.snapshots()[0].seal.is_none() {
            again.seal(SnapshotId(1), &|_| true).unwrap().unwrap();
            check(&again);
        }
    }
}

/// A workspace with a sealed snapshot in the middle of its life, opened again on the disk as it is by now.
fn opened_again(world: &World, change: impl FnOnce(&std::path::Path)) -> (Arc<Workspace>, u64) {
    let workspace = &world.stems[0].engine;
    let ino = file(workspace, b"before");
    workspace.write(&USER, ino, 0, &Data { seed: 1, len: 100_000 }.bytes()).unwrap();
    workspace.unlink(&USER, Ino::ROOT, b"before").unwrap();
    file(workspace, b"kept");
    workspace.snapshot(&USER, SnapshotId(1), "", &[], Occasion::Asked).unwrap();
    workspace.seal(SnapshotId(1), &|_| true).unwrap().unwrap();
    workspace.write(&USER, ino, 5, b"open without a name").unwrap();
    file(workspace, b"behind");
    workspace.sync().unwrap();
    change(std::path::Path::new("/home/chunks"));
    let shared = open_shared(&world.disk, &world.clock, Default::default());
    (world.open_again(shared), workspace.snapshots()[0].point.seq)
}

#[test]
fn a_workspace_is_opened_from_its_newest_sealed_snapshot_and_is_the_same() {
    let world = World::new(None);
    let (again, seq) = opened_again(&world, |_| ());
    assert_eq!(again.opened_from(), Some(seq));
    check(&again);
    again.now_past().check().unwrap().unwrap();
    let before = &world.stems[0].engine;
    assert_eq!((again.snapshots(), again.summary()), (before.snapshots(), before.summary()));
    let steps = |workspace: &Workspace| [workspace.undo(&USER).unwrap(), workspace.undo(&USER).unwrap()];
    let undone = steps(&again);
    assert!(undone.iter().any(Option::is_some), "{undone:?}");
    assert_eq!(undone.map(|step| step.map(|(to, _)| to)), steps(before).map(|step| step.map(|(to, _)| to)));
}

/// A log of many segments, with a sealed snapshot in a late one.
fn long_log(world: &World) -> u64 {
    let workspace = &world.stems[0].engine;
    let ino = file(workspace, b"file");
    for round in 0..200u64 {
        workspace.write(&USER, ino, round * 700, &Data { seed: round as u8, len: 1500 }.bytes()).unwrap();
        if round == 100 {
            workspace.write(&USER, ino, 1 << 20, &Data { seed: 9, len: 50_000 }.bytes()).unwrap();
        }
    }
    let seq = workspace.snapshot(&USER, SnapshotId(1), "", &[], Occasion::Asked).unwrap().point.seq;
    workspace.seal(SnapshotId(1), &|_| true).unwrap().unwrap();
    workspace.write(&USER, ino, 3, b"behind").unwrap();
    file(workspace, b"last");
    workspace.sync().unwrap();
    seq
}

#[test]
fn what_lies_before_the_segment_of_the_newest_sealed_snapshot_is_not_read_to_open() {
    let world = World::with_limits(None, SMALL_FILES);
    let seq = long_log(&world);
    let before = &world.stems[0].engine;
    let log = std::path::PathBuf::from(format!("/home/logs/{}", before.id()));
    let first = log.join("log-00000000");
    let segments = world.disk.files().into_iter().map(|(path, _)| path);
    let segments = segments.filter(|path| path.to_string_lossy().contains("/log-")).collect::<BTreeSet<_>>();
    let last = segments.last().unwrap();
    assert!(segments.len() > 5, "the log has many segments");
    world.disk.damage(&first, 9_000, 1).unwrap();
    let again = world.open_again(open_shared(&world.disk, &world.clock, SMALL_FILES));
    assert_eq!(again.opened_from(), Some(seq));
    assert_eq!((again.snapshots(), again.summary()), (before.snapshots(), before.summary()));
    assert_eq!(again.head(), before.head());
    again.now_past().check().unwrap().unwrap();
    // The same program keeps its number, or the log would define it twice.
    let records = |workspace: &Workspace| {
        file(workspace, b"one more");
        workspace.head().seq
    };
    assert_eq!(records(&again), before.head().seq + 1);
    // Damage behind it is met, and told.
    world.disk.damage(last, 100, 1).unwrap();
    drop(again);
    let shared = open_shared(&world.disk, &world.clock, SMALL_FILES);
    assert!(world.try_open_again(shared).is_err());
}

#[test]
fn a_state_behind_which_nothing_is_in_memory_is_had_from_its_checkpoint() {
    let world = World::new(None);
    let (again, seq) = opened_again(&world, |_| ());
    let workspace = &world.stems[0].engine;
    for number in 2..6 {
        file(workspace, format!("more {number}").as_bytes());
        seal(workspace, number);
    }
    drop(again);
    workspace.sync().unwrap();
    let again = world.open_again(open_shared(&world.disk, &world.clock, Default::default()));
    assert!(again.opened_from() > Some(seq));
    check(&again);
    for snapshot in again.snapshots() {
        let past = again.past(snapshot.point).unwrap();
        past.check().unwrap().unwrap();
        let restored = again.restore(&USER, &past, &[]).unwrap();
        assert!(!restored.is_empty(), "{snapshot:?}");
    }
    let last = world.open_again(open_shared(&world.disk, &world.clock, Default::default()));
    last.now_past().check().unwrap().unwrap();
    assert_eq!((last.summary(), last.snapshots()), (again.summary(), again.snapshots()));
}

#[test]
fn a_state_behind_a_restore_to_a_sealed_snapshot_can_be_had_after_opening() {
    let world = World::new(None);
    let workspace = &world.stems[0].engine;
    file(workspace, b"one");
    file(workspace, b"two");
    seal(workspace, 1);
    file(workspace, b"three");
    let past = workspace.past(workspace.snapshots()[0].point).unwrap();
    workspace.restore(&USER, &past, &[]).unwrap();
    let behind = workspace.present();
    file(workspace, b"four");
    seal(workspace, 2);
    let again = world.open_again(open_shared(&world.disk, &world.clock, Default::default()));
    assert!(again.opened_from() > Some(behind.seq));
    let past = again.past(behind).unwrap();
    assert!(past.lookup(Ino::ROOT, b"two").is_ok() && past.lookup(Ino::ROOT, b"three").is_err());
}

#[test]
fn a_workspace_whose_checkpoint_is_gone_is_replayed() {
    let world = World::new(None);
    let (again, _) = opened_again(&world, |chunks| {
        let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
        for name in disk.list(chunks).unwrap() {
            disk.remove_file(&chunks.join(name)).unwrap();
        }
    });
    assert_eq!(again.opened_from(), None);
    again.now_past().check().unwrap().unwrap();
    assert_eq!(again.snapshots(), world.stems[0].engine.snapshots());
    assert!(again.lookup(Ino::ROOT, b"behind").is_ok() && again.lookup(Ino::ROOT, b"kept").is_ok());
}

#[test]
fn a_damaged_page_or_chunk_of_a_sealed_snapshot_is_told() {
    let world = World::new(None);
    let workspace = &world.stems[0].engine;
    let ino = file(workspace, b"file");
    workspace.write(&USER, ino, 0, &Data { seed: 1, len: 300_000 }.bytes()).unwrap();
    seal(workspace, 1);
    let snapshot = &workspace.snapshots()[0];
    let past = workspace.past(snapshot.point).unwrap();
    let mut forged = snapshot.clone();
    let seal = snapshot.seal.unwrap();
    forged.seal = Some(weald_engine::Seal { root: seal.checkpoint, ..seal });
    assert!(SealCheck::default().check(&past, &forged).unwrap_err().contains("header"));
    workspace.write(&USER, ino, 5, b"x").unwrap();
    let other = SealCheck::default().check(&workspace.now_past(), snapshot).unwrap_err();
    assert!(other.contains("its root is"), "{other}");
}

#[test]
fn what_changed_since_is_known_again_after_opening_from_a_sealed_snapshot() {
    let world = World::new(None);
    let (again, seq) = opened_again(&world, |_| ());
    let since =
        |workspace: &Workspace, seq| workspace.changes(Since::Record(again.id(), seq), b".git").unwrap();
    assert_eq!(since(&again, seq - 1).paths, None, "what was before the checkpoint is not known");
    let Changes { now, paths } = since(&again, seq);
    assert!(paths.is_some());
    let fork = again.fork(WorkspaceId(77), b"").unwrap();
    file(&fork, b"new");
    let changed = fork.changes(now, b".git").unwrap();
    assert_eq!(changed.paths, Some(vec![b"new".to_vec(), b"new/".to_vec()]));
    assert_eq!(again.changes(changed.now, b".git").unwrap().paths, None, "a moment of another workspace");
}
