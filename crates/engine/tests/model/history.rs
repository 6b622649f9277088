//! Snapshots, restores, undo: what each step is, told one by one. The random histories of `main.rs` do the rest.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use crate::world::{USER, World};
use std::sync::Arc;
use weald_engine::{Difference, Occasion, Past, Point, Workspace, diff};
use weald_model::{Caller, Errno, FileKind, Ino, SetAttr, SnapshotId, Timestamp, WorkspaceId};
use weald_testkit::clock::mix;
use weald_testkit::source::Tree;

/// Seconds after which a change is a step of its own.
const PAUSE: usize = 3;

fn pause(world: &World) {
    (0..PAUSE).for_each(|_| {
        world.clock.tick();
    });
}

fn make(workspace: &Workspace, name: &str, content: &str) -> Ino {
    let ino = workspace.make_node(&USER, Ino::ROOT, name.as_bytes(), FileKind::File, 0o644, 0).unwrap().ino;
    workspace.write(&USER, ino, 0, content.as_bytes()).unwrap();
    ino
}

fn names(workspace: &Workspace) -> Vec<String> {
    list(&workspace.now_past())
}

fn list(past: &Past) -> Vec<String> {
    let mut names = Vec::new();
    past.read_dir(Ino::ROOT, Default::default(), &mut |entry| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        true
    })
    .unwrap();
    names.sort();
    names
}

fn read(workspace: &Workspace, ino: Ino) -> String {
    let mut out = Vec::new();
    workspace.read(ino, 0, 1000, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn take(workspace: &Workspace, id: u64) -> Point {
    workspace.snapshot(&USER, SnapshotId(id), "note", &[], Occasion::Asked).unwrap().point
}

fn paths(paths: &[&str]) -> Vec<Vec<u8>> {
    paths.iter().map(|path| path.as_bytes().to_vec()).collect()
}

fn differences(a: &Past, b: &Past) -> Vec<Difference> {
    let mut all = Vec::new();
    diff(a, b, &mut |difference| {
        all.push(difference);
        true
    })
    .unwrap();
    all
}

fn workspace(world: &World) -> Arc<Workspace> {
    world.stems[0].engine.clone()
}

/// Lesson: "O(1)" snapshots that hashed every byte.
#[test]
fn a_snapshot_costs_the_same_whatever_the_workspace_holds() {
    let cost = |files: u32, bytes: usize| {
        let world = World::new(None);
        let engine = workspace(&world);
        let content = "x".repeat(bytes);
        (0..files).for_each(|number| _ = make(&engine, &format!("{number}"), &content));
        engine.sync().unwrap();
        let stored = |world: &World| world.disk.files().iter().map(|(_, len)| len).sum::<u64>();
        let before = (world.disk.calls(), world.disk.reads(), stored(&world));
        take(&engine, 1);
        (world.disk.calls() - before.0, world.disk.reads() - before.1, stored(&world) - before.2)
    };
    let (calls, reads, bytes) = cost(1, 10);
    assert!(calls <= 4 && reads == 0 && bytes < 200, "{calls} calls, {reads} reads, {bytes} bytes");
    for (files, each) in [(2_000, 10), (20, 300_000)] {
        let (more_calls, reads, more_bytes) = cost(files, each);
        assert!(
            more_calls == calls && reads == 0 && more_bytes.abs_diff(bytes) < 16,
            "{more_calls} {more_bytes}"
        );
    }
}

#[test]
fn snapshot_is_durable_when_it_returns_and_shows_what_was() {
    let mut world = World::new(None);
    let engine = workspace(&world);
    make(&engine, "a", "one");
    let point = take(&engine, 7);
    make(&engine, "b", "two");
    drop(engine);
    world.disk = world.disk.crash(3);
    let shared = crate::world::open_shared(&world.disk, &world.clock, Default::default());
    let engine = world.open_again(shared);
    let found = engine.snapshots();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id, found[0].point, found[0].parent), (SnapshotId(7), point, None));
    assert_eq!(list(&engine.past(point).unwrap()), ["a"]);
}

#[test]
fn restore_brings_back_files_under_their_numbers_and_keeps_what_is_open() {
    let world = World::new(Some(&Tree::dir([("base", Tree::file("base")), ("gone", Tree::file("gone"))])));
    let engine = workspace(&world);
    let own = make(&engine, "own", "own");
    let gone = engine.lookup(Ino::ROOT, b"gone").unwrap().ino;
    let point = take(&engine, 1);
    let removed = engine.unlink(&USER, Ino::ROOT, b"own").unwrap();
    engine.forget(removed.ino);
    engine.forget(engine.unlink(&USER, Ino::ROOT, b"gone").unwrap().ino);
    let new = make(&engine, "new", "new");
    let changed = engine.restore(&USER, &engine.past(point).unwrap(), &[]).unwrap();
    assert_eq!(names(&engine), ["base", "gone", "own"]);
    assert_eq!(engine.lookup(Ino::ROOT, b"own").unwrap().ino, own);
    assert_eq!(engine.lookup(Ino::ROOT, b"gone").unwrap().ino, gone);
    assert_eq!((read(&engine, own), read(&engine, gone)), ("own".to_owned(), "gone".to_owned()));
    assert_eq!((read(&engine, new), engine.attr(new).unwrap().nlink), ("new".to_owned(), 0));
    assert_eq!(changed.inodes, [Ino::ROOT, new]);
    let entry = |name: &str| (Ino::ROOT, name.as_bytes().to_vec());
    assert_eq!(changed.entries, [entry("gone"), entry("new"), entry("own")]);
    engine.forget(new);
    assert_eq!(engine.attr(new), Err(Errno::NotFound));
    let next = make(&engine, "next", "");
    assert!(next > new, "numbers are not used twice");
    assert!(differences(&engine.past(point).unwrap(), &engine.now_past()).len() == 1);
}

#[test]
fn counters_are_those_of_then_and_of_what_is_still_held() {
    let world = World::new(None);
    let engine = workspace(&world);
    make(&engine, "a", "12345");
    let point = take(&engine, 1);
    let before = engine.summary();
    let b = make(&engine, "b", "1234567");
    engine.restore(&USER, &engine.past(point).unwrap(), &[]).unwrap();
    let held = engine.summary();
    assert_eq!((held.files, held.size_bytes, held.private_bytes), (1, 5, 12));
    engine.forget(b);
    let after = engine.summary();
    assert_eq!((after.files, after.size_bytes, after.private_bytes), (1, 5, 5));
    assert_eq!(before.private_bytes, 5);
}

#[test]
fn restore_of_paths_makes_parents_removes_what_was_not_and_lets_the_rest_be() {
    let world = World::new(None);
    let engine = workspace(&world);
    let dir = engine.make_node(&USER, Ino::ROOT, b"dir", FileKind::Dir, 0o750, 0).unwrap().ino;
    let file = engine.make_node(&USER, dir, b"f", FileKind::File, 0o640, 0).unwrap().ino;
    engine.write(&USER, file, 0, b"old").unwrap();
    engine.make_node(&USER, dir, b"g", FileKind::File, 0o640, 0).unwrap();
    let then = engine.past(take(&engine, 1)).unwrap();
    for name in [b"f", b"g"] {
        engine.forget(engine.unlink(&USER, dir, name).unwrap().ino);
    }
    engine.forget(engine.rmdir(&USER, Ino::ROOT, b"dir").unwrap().ino);
    make(&engine, "new", "new");
    make(&engine, "other", "other");
    let restore = |names: &[&str]| engine.restore(&USER, &then, &paths(names));
    assert_eq!(restore(&["nowhere"]), Err(Errno::NotFound));
    assert_eq!(restore(&["new", "nowhere"]), Err(Errno::NotFound), "nothing is done by halves");
    assert_eq!(restore(&["../dir"]), Err(Errno::Invalid));
    restore(&["dir/f", "new"]).unwrap();
    assert_eq!(names(&engine), ["dir", "other"]);
    assert_eq!(engine.lookup(Ino::ROOT, b"dir").unwrap().ino, dir);
    let found = engine.lookup(dir, b"f").unwrap();
    assert_eq!((found.ino, found.perm, found.mtime), (file, 0o640, then.attr(file).unwrap().mtime));
    assert_eq!(engine.lookup(dir, b"g"), Err(Errno::NotFound));
    assert_eq!(engine.attr(dir).unwrap().perm, 0o750);
    engine.unlink(&USER, dir, b"f").unwrap();
    engine.rmdir(&USER, Ino::ROOT, b"dir").unwrap();
    make(&engine, "dir", "in the way");
    assert_eq!(restore(&["dir/f"]), Err(Errno::NotDir));
    restore(&["dir"]).unwrap();
    assert_eq!(engine.lookup(dir, b"g").unwrap().nlink, 1);
}

#[test]
fn restored_path_does_not_change_its_file_under_another_name() {
    let world = World::new(None);
    let engine = workspace(&world);
    let a = make(&engine, "a", "old");
    engine.link(&USER, a, Ino::ROOT, b"b").unwrap();
    let then = engine.past(take(&engine, 1)).unwrap();
    engine.write(&USER, a, 0, b"new").unwrap();
    engine.restore(&USER, &then, &paths(&["a"])).unwrap();
    let (a_now, b_now) = (engine.lookup(Ino::ROOT, b"a").unwrap(), engine.lookup(Ino::ROOT, b"b").unwrap());
    assert_eq!((read(&engine, a_now.ino), read(&engine, b_now.ino)), ("old".to_owned(), "new".to_owned()));
    assert_eq!((a_now.nlink, b_now.nlink, b_now.ino), (1, 1, a));
    engine.restore(&USER, &then, &paths(&["a", "b"])).unwrap();
    assert_eq!(engine.lookup(Ino::ROOT, b"a").unwrap().ino, a, "both names are restored: one file again");
    assert_eq!((engine.attr(a).unwrap().nlink, read(&engine, a)), (2, "old".to_owned()));
    assert_eq!(engine.attr(a).unwrap().ctime, then.attr(a).unwrap().ctime);
    engine.unlink(&USER, Ino::ROOT, b"a").unwrap();
    engine.unlink(&USER, Ino::ROOT, b"b").unwrap();
    engine.restore(&USER, &then, &paths(&["b"])).unwrap();
    let alone = engine.lookup(Ino::ROOT, b"b").unwrap();
    assert_eq!((alone.ino, alone.nlink, alone.mtime), (a, 1, then.attr(a).unwrap().mtime));
    assert!(alone.ctime > then.attr(a).unwrap().ctime, "it is not quite what it was");
}

#[test]
fn undo_and_redo_go_over_bursts_and_restores() {
    let world = World::new(None);
    let engine = workspace(&world);
    assert_eq!(engine.undo(&USER), Ok(None));
    make(&engine, "a", "");
    make(&engine, "b", "");
    pause(&world);
    make(&engine, "c", "");
    let point = engine.present();
    pause(&world);
    make(&engine, "d", "");
    pause(&world);
    engine.restore(&USER, &engine.past(point).unwrap(), &[]).unwrap();
    make(&engine, "e", "");
    let undo = || engine.undo(&USER).unwrap().map(|_| names(&engine).concat());
    let redo = || engine.redo(&USER).unwrap().map(|_| names(&engine).concat());
    assert_eq!(names(&engine).concat(), "abce");
    assert_eq!(redo(), None);
    assert_eq!(undo().as_deref(), Some("abc"), "a write behind a restore is a step");
    assert_eq!(undo().as_deref(), Some("abcd"), "a restore is a step");
    assert_eq!(undo().as_deref(), Some("abc"));
    assert_eq!(undo().as_deref(), Some("ab"));
    assert_eq!(undo().as_deref(), Some(""));
    assert_eq!(undo(), None);
    assert_eq!(redo().as_deref(), Some("ab"));
    assert_eq!(redo().as_deref(), Some("abc"));
    assert_eq!(redo().as_deref(), Some("abcd"));
    assert_eq!(undo().as_deref(), Some("abc"));
    let again = world.open_again(crate::world::open_shared(&world.disk, &world.clock, Default::default()));
    assert_eq!(again.redo(&USER).unwrap().map(|_| names(&again).concat()).as_deref(), Some("abcd"));
    assert_eq!(again.redo(&USER).unwrap().map(|_| names(&again).concat()).as_deref(), Some("abc"));
    make(&again, "f", "");
    assert_eq!(again.redo(&USER), Ok(None), "a change makes redo void");
}

#[test]
fn what_is_overlooked_is_no_step_and_ends_no_redo() {
    let world = World::new(None);
    let engine = workspace(&world);
    make(&engine, "a", "");
    pause(&world);
    make(&engine, "b", "");
    engine.undo(&USER).unwrap().unwrap();
    let then = engine.past(engine.present()).unwrap();
    pause(&world);
    make(&engine, "cache", "");
    assert_eq!((then.redo_target().is_some(), engine.now_past().redo_target()), (true, None));
    let present = engine.present();
    pause(&world);
    make(&engine, "d", "");
    assert_eq!(engine.overlook(&USER, &then, present), Ok(None), "somebody changed something meanwhile");
    assert_eq!(names(&engine).concat(), "acached");
    engine.overlook(&USER, &then, engine.present()).unwrap().unwrap();
    assert_eq!(names(&engine).concat(), "a");
    let again = world.open_again(crate::world::open_shared(&world.disk, &world.clock, Default::default()));
    again.redo(&USER).unwrap().unwrap();
    assert_eq!(names(&again).concat(), "ab");
    again.undo(&USER).unwrap().unwrap();
    again.undo(&USER).unwrap().unwrap();
    assert_eq!(names(&again).concat(), "");
}

#[test]
fn undo_stops_at_what_weald_did_to_make_the_workspace() {
    let world = World::new(None);
    let engine = workspace(&world);
    let owner = Caller::owner(1, 1);
    engine.make_node(&owner, Ino::ROOT, b".git", FileKind::Dir, 0o755, 0).unwrap();
    make(&engine, "a", "");
    engine.undo(&USER).unwrap().unwrap();
    assert_eq!(names(&engine), [".git"]);
    assert_eq!(engine.undo(&USER), Ok(None));
    let fork = engine.fork(WorkspaceId(9), b"").unwrap();
    assert_eq!(fork.undo(&USER), Ok(None), "a fork has steps of its own only");
}

#[test]
fn snapshot_ends_a_step() {
    let world = World::new(None);
    let engine = workspace(&world);
    make(&engine, "a", "");
    take(&engine, 1);
    make(&engine, "b", "");
    engine.snapshot(&USER, SnapshotId(2), "", &[], Occasion::Timer).unwrap();
    make(&engine, "c", "");
    engine.undo(&USER).unwrap().unwrap();
    assert_eq!(names(&engine), ["a"]);
}

#[test]
fn snapshots_are_tagged_dropped_and_inherited_by_forks() {
    let world = World::new(None);
    let engine = workspace(&world);
    let ids = |workspace: &Workspace| -> Vec<u64> {
        workspace.snapshots().into_iter().map(|snapshot| snapshot.id.0).collect()
    };
    for id in 1..=3 {
        make(&engine, &format!("{id}"), "");
        take(&engine, id);
    }
    assert_eq!(engine.snapshot(&USER, SnapshotId(3), "", &[], Occasion::Asked), Err(Errno::Exists));
    assert_eq!(engine.drop_snapshot(&USER, SnapshotId(4)), Err(Errno::NotFound));
    assert_eq!(engine.tag(&USER, SnapshotId(4), &[]), Err(Errno::NotFound));
    let fork = engine.fork(WorkspaceId(5), b"").unwrap();
    engine.tag(&USER, SnapshotId(3), &["v1".to_owned()]).unwrap();
    engine.drop_snapshot(&USER, SnapshotId(2)).unwrap();
    assert_eq!((ids(&engine), ids(&fork)), (vec![1, 3], vec![1, 2, 3]));
    let last = engine.snapshots().pop().unwrap();
    assert_eq!((last.parent, last.tags), (Some(SnapshotId(1)), vec!["v1".to_owned()]));
    let first = engine.past(engine.snapshots()[0].point).unwrap();
    engine.restore(&USER, &first, &[]).unwrap();
    take(&engine, 6);
    assert_eq!(engine.snapshots().pop().unwrap().parent, Some(SnapshotId(1)), "its content goes back there");
    let at = fork.snapshots()[1].point;
    let young = fork.fork_at(at, WorkspaceId(8), b"").unwrap();
    assert_eq!((ids(&young), names(&young).concat()), (vec![1, 2], "12".to_owned()));
    let shared = crate::world::open_shared(&world.disk, &world.clock, Default::default());
    let base = weald_engine::Base::empty(crate::world::OWNER, crate::world::OWNER, crate::world::BASE_TIME);
    let again = Workspace::open(shared, WorkspaceId(8), base).unwrap();
    assert_eq!((ids(&again), names(&again).concat()), (vec![1, 2], "12".to_owned()));
    assert_eq!(again.past(engine.present()).map(|_| ()), Err(Errno::NotFound), "that is not in its past");
}

#[test]
fn point_at_a_time_is_the_last_record_before_and_never_goes_back_with_the_clock() {
    let world = World::new(None);
    let engine = workspace(&world);
    world.clock.set(Timestamp::from_secs(3_000_000_000));
    make(&engine, "a", "");
    let a = engine.present();
    world.clock.set(Timestamp::from_secs(2_500_000_000));
    make(&engine, "b", "");
    let b = engine.present();
    let fork = engine.fork(WorkspaceId(5), b"").unwrap();
    world.clock.set(Timestamp::from_secs(3_000_000_100));
    make(&fork, "c", "");
    let at = |secs: i64| fork.point_at(Timestamp::from_secs(secs)).unwrap();
    assert_eq!(at(1_000_000_000), None);
    assert!(at(2_900_000_000).unwrap().seq < a.seq);
    assert_eq!(engine.point_at(Timestamp::from_secs(3_000_000_001)).unwrap(), Some(engine.present()));
    assert!(at(3_000_000_001).unwrap() > b);
    assert_eq!(at(3_000_000_001), Some(Point { log: WorkspaceId(5), seq: 1 }));
    assert_eq!(at(4_000_000_000), Some(fork.present()));
}

#[test]
fn diff_tells_paths_kinds_and_whether_bytes_differ() {
    let base = Tree::dir([
        ("d", Tree::dir([("x", Tree::file("x")), ("y", Tree::file("y"))])),
        ("l", Tree::file("l")),
    ]);
    let world = World::new(Some(&base));
    let engine = workspace(&world);
    let then = engine.now_past();
    let d = engine.lookup(Ino::ROOT, b"d").unwrap().ino;
    let (x, l) = (engine.lookup(d, b"x").unwrap().ino, engine.lookup(Ino::ROOT, b"l").unwrap().ino);
    engine.write(&USER, x, 0, b"x").unwrap();
    engine.set_attr(&USER, l, &SetAttr { perm: Some(0o755), ..SetAttr::default() }).unwrap();
    make(&engine, "n", "n");
    engine.rename(&USER, Ino::ROOT, b"d", Ino::ROOT, b"e", weald_engine::RenameMode::Replace).unwrap();
    let told: Vec<(String, bool, bool, bool)> = differences(&then, &engine.now_past())
        .into_iter()
        .map(|it| (String::from_utf8(it.path).unwrap(), it.old.is_some(), it.new.is_some(), it.content))
        .collect();
    let wanted = [
        ("d", true, false, false),
        ("d/x", true, false, true),
        ("d/y", true, false, true),
        ("e", false, true, false),
        ("e/x", false, true, true),
        ("e/y", false, true, true),
        ("l", true, true, false),
        ("n", false, true, true),
    ];
    let wanted: Vec<_> = wanted.map(|(path, old, new, content)| (path.to_owned(), old, new, content)).into();
    assert_eq!(told, wanted);
    engine.rename(&USER, Ino::ROOT, b"e", Ino::ROOT, b"d", weald_engine::RenameMode::Replace).unwrap();
    let same = differences(&then, &engine.now_past());
    assert_eq!(
        (same[0].path.as_slice(), same[0].content),
        (&b"d/x"[..], false),
        "written with the same bytes"
    );
}

/// More states than are kept, each reached by way of others: nothing but the log says what they are.
#[test]
fn restores_of_restored_states_come_out_the_same_after_a_restart_and_in_forks() {
    let world = World::new(None);
    let mut engine = workspace(&world);
    let mut points = vec![engine.present()];
    let mut shown = vec![Vec::new()];
    for number in 0..900u64 {
        if number == 300 || number == 600 {
            engine = engine.fork(WorkspaceId(number), b"").unwrap();
        }
        pause(&world);
        match number % 4 {
            0 => drop(make(&engine, &format!("{number}"), "")),
            3 => drop(engine.undo(&USER).unwrap()),
            _ => {
                let to = points[mix(number) as usize % points.len()];
                engine.restore(&USER, &engine.past(to).unwrap(), &[]).unwrap();
                make(&engine, &format!("{number} behind"), "");
            }
        }
        points.push(engine.present());
        shown.push(names(&engine));
    }
    let shared = crate::world::open_shared(&world.disk, &world.clock, Default::default());
    let base = weald_engine::Base::empty(crate::world::OWNER, crate::world::OWNER, crate::world::BASE_TIME);
    let again = Workspace::open(shared, engine.id(), base).unwrap();
    assert_eq!(names(&again), *shown.last().unwrap());
    for at in (0..points.len()).rev().step_by(13) {
        assert_eq!(list(&again.past(points[at]).unwrap()), shown[at], "{:?}", points[at]);
    }
    again.now_past().check().unwrap().unwrap();
}
