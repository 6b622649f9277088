//! Single rules, said once each.

use crate::{WHO, World, open_shared};
use std::sync::Arc;
use weald_engine::{DeletionLimit, PathRule, RenameMode, Rules, Workspace};
use weald_model::{Errno, FileKind, Ino, SetAttr, WorkspaceId};
use weald_testkit::clock::FakeClock;

fn of_path(path: &str, rule: PathRule) -> Rules {
    Rules { paths: [(path.as_bytes().to_vec(), rule)].into(), ..Rules::default() }
}

#[test]
fn a_read_only_path_can_be_read_and_nothing_of_it_changed() {
    let mut world = World::new();
    world.set_rules(of_path("a", PathRule::ReadOnly));
    let (engine, a, c) = (&world.engine, world.ino(b"a"), world.ino(b"a/c"));
    let mut bytes = Vec::new();
    engine.read(c, 0, 10, &mut bytes).unwrap();
    assert_eq!(bytes, b"12");
    let refused = Some(Errno::ReadOnly);
    let set = SetAttr { perm: Some(0o600), ..SetAttr::default() };
    assert_eq!(engine.write(&WHO, c, 0, b"x").err(), refused);
    assert_eq!(engine.write(&WHO, c, 0, &[0; 9000]).err(), refused);
    assert_eq!(engine.set_attr(&WHO, c, &set).err(), refused);
    assert_eq!(engine.set_attr(&WHO, a, &set).err(), refused);
    assert_eq!(
        engine.set_xattr(&WHO, c, b"user.x", b"", weald_engine::XattrMode::Either, false).err(),
        refused
    );
    assert_eq!(engine.allocate(&WHO, c, 0, 9, weald_engine::AllocateMode::Grow).err(), refused);
    assert_eq!(engine.make_node(&WHO, a, b"new", FileKind::File, 0o644, 0).err(), refused);
    assert_eq!(engine.make_symlink(&WHO, a, b"new", b"x").err(), refused);
    assert_eq!(engine.make_tmpfile(&WHO, a, 0o644).err(), refused);
    assert_eq!(engine.unlink(&WHO, a, b"c").err(), refused);
    assert_eq!(engine.rename(&WHO, Ino::ROOT, b"a", Ino::ROOT, b"z", RenameMode::Replace).err(), refused);
    assert_eq!(engine.rename(&WHO, Ino::ROOT, b"b", a, b"b2", RenameMode::Replace).err(), refused);
    assert_eq!(engine.link(&WHO, c, Ino::ROOT, b"z").err(), refused, "its link count would change");
    assert_eq!(engine.copy_range(&WHO, world.ino(b"b"), 0, c, 0, 1).err(), refused);
    assert_eq!(engine.may_open(c, true), Err(Errno::ReadOnly));
    assert_eq!(engine.may_open(c, false), Ok(()));
    assert_eq!(engine.copy_range(&WHO, c, 0, world.ino(b"b"), 0, 2), Ok(2), "it may be read");
}

#[test]
fn a_masked_path_reads_as_absent_also_from_open_files_and_for_who_stands_in_it() {
    let mut world = World::new();
    let (b, inner) = (world.ino(b"a/b"), world.ino(b"a/b/a"));
    world.set_rules(of_path("a/b", PathRule::Masked));
    let engine = &world.engine;
    assert_eq!(engine.lookup(world.ino(b"a"), b"b").err(), Some(Errno::NotFound));
    assert_eq!(engine.lookup(b, b"a").err(), Some(Errno::NotFound));
    assert_eq!(engine.read(inner, 0, 9, &mut Vec::new()), Err(Errno::Access));
    assert_eq!(engine.attr(inner).err(), Some(Errno::Access));
    assert_eq!(engine.get_xattr(inner, b"user.x").err(), Some(Errno::Access));
    assert_eq!(engine.copy_range(&WHO, inner, 0, world.ino(b"b"), 0, 1).err(), Some(Errno::Access));
    assert_eq!(
        engine.make_node(&WHO, world.ino(b"a"), b"b", FileKind::File, 0o644, 0).err(),
        Some(Errno::Access)
    );
    assert_eq!(
        engine.rename(&WHO, Ino::ROOT, b"a", Ino::ROOT, b"z", RenameMode::Replace).err(),
        Some(Errno::Busy),
        "what it lies in stays where it is"
    );
    assert_eq!(
        engine.now_past().resolve(b"a/b/a").unwrap().ino,
        inner,
        "the past and the present as such have it"
    );
}

#[test]
fn a_change_of_masks_says_which_names_and_inodes_are_to_be_forgotten() {
    let world = World::new();
    let (a, b, inner) = (world.ino(b"a"), world.ino(b"a/b"), world.ino(b"a/b/a"));
    world.engine.link(&WHO, inner, Ino::ROOT, b"other").unwrap();
    let changed = world.engine.set_rules(&WHO, of_path("a/b", PathRule::Masked)).unwrap().unwrap();
    let mut inodes = vec![a, b, inner];
    inodes.sort_unstable();
    assert_eq!(changed.inodes, inodes);
    let entry = |dir: Ino, name: &[u8]| changed.entries.contains(&(dir, name.to_vec()));
    assert!(entry(a, b"b") && entry(Ino::ROOT, b"other"));
    assert_eq!(world.engine.set_rules(&WHO, of_path("a/b", PathRule::Masked)).unwrap(), None);
    let back = world.engine.set_rules(&WHO, Rules::default()).unwrap().unwrap();
    assert_eq!(back, changed);
    let other = world.engine.set_rules(&WHO, of_path("a", PathRule::ReadOnly)).unwrap().unwrap();
    assert!(other.is_empty(), "what can be seen is the same");
}

#[test]
fn too_many_deletions_are_stopped_until_somebody_says_that_they_are_meant() {
    let mut world = World::new();
    for number in 0..10u8 {
        world.engine.make_node(&WHO, Ino::ROOT, &[b'f', number + b'0'], FileKind::File, 0o644, 0).unwrap();
    }
    let max_deletions = Some(DeletionLimit { count: 3, seconds: 60 });
    world.set_rules(Rules { max_deletions, ..Rules::default() });
    let unlink =
        |world: &World, number: u8| world.engine.unlink(&WHO, Ino::ROOT, &[b'f', number + b'0']).err();
    for number in 0..3 {
        assert_eq!(unlink(&world, number), None);
    }
    assert_eq!(unlink(&world, 3), Some(Errno::NotPermitted));
    world.wait(3600);
    assert_eq!(unlink(&world, 3), Some(Errno::NotPermitted), "no time makes it right");
    let mut operations = Vec::new();
    let mut each = |logged: weald_engine::audit::Logged| {
        operations.push((logged.operation, logged.pid));
        true
    };
    world.engine.records(0, &mut each).unwrap();
    assert_eq!(operations.last(), Some(&("rules-stop", 40)), "told once, with who it was");
    world.engine.sync().unwrap();
    let shared = open_shared(&world.disk, &world.clock);
    world.engine = Workspace::open(shared, WorkspaceId(1), world.base.clone()).unwrap();
    assert!(world.engine.rules().stopped.is_some(), "a restart changes nothing");
    assert_eq!(unlink(&world, 3), Some(Errno::NotPermitted));
    world.engine.confirm_deletions(&WHO, 60).unwrap();
    for number in 3..10 {
        assert_eq!(unlink(&world, number), None);
    }
}

#[test]
fn a_fork_of_a_moment_before_the_rules_has_them_too() {
    let mut world = World::new();
    let before = world.engine.present();
    world.set_rules(of_path("a", PathRule::Masked));
    let fork = world.engine.fork_at(before, WorkspaceId(9), b"").unwrap();
    assert_eq!(fork.lookup(Ino::ROOT, b"a").err(), Some(Errno::NotFound));
    fork.sync().unwrap();
    drop(fork);
    let shared = open_shared(&world.disk, &Arc::new(FakeClock::default()));
    let fork = Workspace::open(shared, WorkspaceId(9), world.base.clone()).unwrap();
    assert_eq!(fork.lookup(Ino::ROOT, b"a").err(), Some(Errno::NotFound));
}

#[test]
fn rules_of_no_sense_are_refused() {
    let world = World::new();
    let set = |rules: Rules| world.engine.set_rules(&WHO, rules).err();
    for path in ["a//b", "/a", "a/", "..", "a/./b"] {
        assert_eq!(set(of_path(path, PathRule::ReadOnly)), Some(Errno::Invalid), "{path}");
    }
    assert_eq!(set(of_path("", PathRule::Masked)), Some(Errno::Invalid));
    let max_deletions = Some(DeletionLimit { count: 1, seconds: 0 });
    assert_eq!(set(Rules { max_deletions, ..Rules::default() }), Some(Errno::Invalid));
    let paths = (0..1001).map(|number: u32| (number.to_string().into_bytes(), PathRule::ReadOnly)).collect();
    assert_eq!(set(Rules { paths, ..Rules::default() }), Some(Errno::TooBig));
    assert_eq!(world.engine.confirm_deletions(&WHO, 5).err(), Some(Errno::Invalid));
}
