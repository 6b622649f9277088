//! Directory streams while the directory changes: readdir(3) promises each entry that is there throughout exactly
//! once.

use crate::world::{USER, World};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weald_engine::{Cookie, RenameMode, Workspace};
use weald_model::{Errno, FileKind, Ino};
use weald_testkit::file_system::next_batch;
use weald_testkit::source::Tree;

/// A change of the directory between two batches; numbers choose names.
#[derive(Clone, Debug)]
enum Change {
    Make(u16),
    Remove(u16),
    Rename(u16, u16),
    /// Makes own what was the base's.
    CopyUp(u16),
}

fn change() -> impl Strategy<Value = Change> {
    let name = || 0u16..120;
    prop_oneof![
        3 => name().prop_map(Change::Make),
        3 => name().prop_map(Change::Remove),
        3 => (name(), name()).prop_map(|(from, to)| Change::Rename(from, to)),
        1 => name().prop_map(Change::CopyUp),
    ]
}

fn name(number: u16) -> Vec<u8> {
    // Spread, so that new names fall between old ones.
    format!("{:02x}-{number}", number.wrapping_mul(37) % 256).into_bytes()
}

/// Changes one entry; returns the names it touched.
fn apply(workspace: &Workspace, change: &Change) -> Vec<u16> {
    let allowed = |result: Result<(), Errno>| match result {
        Ok(()) | Err(Errno::Exists | Errno::NotFound) => {}
        Err(error) => panic!("{change:?} failed: {error}"),
    };
    match *change {
        Change::Make(at) => {
            allowed(workspace.make_node(&USER, Ino::ROOT, &name(at), FileKind::File, 0o644, 0).map(|_| ()));
            vec![at]
        }
        Change::Remove(at) => {
            allowed(
                workspace.unlink(&USER, Ino::ROOT, &name(at)).map(|removed| workspace.forget(removed.ino)),
            );
            vec![at]
        }
        Change::Rename(from, to) => {
            let mode = RenameMode::Replace;
            allowed(workspace.rename(&USER, Ino::ROOT, &name(from), Ino::ROOT, &name(to), mode));
            vec![from, to]
        }
        Change::CopyUp(at) => {
            if let Ok(attr) = workspace.lookup(Ino::ROOT, &name(at)) {
                allowed(workspace.write(&USER, attr.ino, 3, b"own"));
            }
            Vec::new()
        }
    }
}

fn names_now(workspace: &Workspace) -> BTreeMap<Vec<u8>, Ino> {
    let (found, _) =
        next_batch(workspace, Ino::ROOT, Cookie(0), usize::MAX).expect("a directory can be read");
    found.into_iter().map(|(name, ino, _)| (name, ino)).collect()
}

fn world(base: &BTreeSet<u16>) -> Arc<Workspace> {
    let entries = base.iter().map(|number| (name(*number), Tree::file("base"))).collect();
    World::new(Some(&Tree::Dir(entries))).stems[0].engine.clone()
}

proptest! {
    #![proptest_config(crate::config(500))]

    #[test]
    fn directory_stream_loses_and_doubles_nothing(
        base in prop::collection::btree_set(0u16..120, 0..60),
        before in vec(change(), 0..40),
        batch in 1usize..8,
        between in vec(vec(change(), 0..6), 0..30),
    ) {
        let workspace = world(&base);
        before.iter().for_each(|change| {
            apply(&workspace, change);
        });
        let mut untouched = names_now(&workspace);
        let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        let mut after = Cookie(0);
        let mut turn = between.iter();
        loop {
            let (found, next) = next_batch(&workspace, Ino::ROOT, after, batch).expect("a directory can be read");
            if found.is_empty() {
                break;
            }
            prop_assert!(next > after || found.is_empty(), "the stream does not go on from {after:?}");
            after = next;
            for (name, ino, _) in found {
                if let Some(known) = untouched.get(&name) {
                    prop_assert_eq!(*known, ino);
                }
                *seen.entry(name).or_default() += 1;
            }
            for change in turn.next().into_iter().flatten() {
                for touched in apply(&workspace, change) {
                    untouched.remove(&name(touched));
                }
            }
        }
        for name in untouched.keys() {
            let times = seen.get(name).copied().unwrap_or(0);
            prop_assert_eq!(times, 1, "{} was listed {} times", String::from_utf8_lossy(name), times);
        }
    }
}

#[test]
fn directory_stream_ends_when_nothing_is_left_after_the_cookie() {
    let workspace = world(&BTreeSet::from([1, 2, 3]));
    let (found, after) = next_batch(&workspace, Ino::ROOT, Cookie(0), 3).expect("a directory can be read");
    assert_eq!(found.len(), 3);
    for number in 1..=3 {
        workspace.unlink(&USER, Ino::ROOT, &name(number)).expect("it can be removed");
    }
    let (found, _) = next_batch(&workspace, Ino::ROOT, after, 3).expect("a directory can be read");
    assert!(found.is_empty(), "{found:?}");
    assert!(names_now(&workspace).is_empty());
}

#[test]
fn removing_each_batch_empties_a_large_directory_in_one_pass() {
    let workspace = world(&(0..500).collect());
    for number in 500..1000 {
        workspace
            .make_node(&USER, Ino::ROOT, &name(number), FileKind::File, 0o644, 0)
            .expect("it can be made");
    }
    let mut after = Cookie(0);
    let mut removed = 0;
    loop {
        let (found, next) = next_batch(&workspace, Ino::ROOT, after, 7).expect("a directory can be read");
        if found.is_empty() {
            break;
        }
        after = next;
        for (name, ino, _) in found {
            workspace.unlink(&USER, Ino::ROOT, &name).expect("a listed entry can be removed");
            workspace.forget(ino);
            removed += 1;
        }
    }
    assert_eq!(removed, 1000);
    assert!(names_now(&workspace).is_empty());
}
