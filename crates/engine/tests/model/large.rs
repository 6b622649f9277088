//! Sizes that the reference is too simple for: files beyond 4 GiB, directories of 100,000 entries.

use crate::world::{USER, World};
use std::collections::BTreeSet;
use weald_engine::{AllocateMode, Cookie, Seek};
use weald_model::{Errno, FileKind, Ino, SetAttr};
use weald_testkit::file_system::next_batch;
use weald_testkit::operation::Data;

const GIB: u64 = 1 << 30;

#[test]
fn file_beyond_four_gib_is_read_where_it_was_written() {
    let world = World::new(None);
    let workspace = &world.stems[0].engine;
    let ino = workspace.make_node(&USER, Ino::ROOT, b"big", FileKind::File, 0o644, 0).unwrap().ino;
    let data = Data { seed: 1, len: 100_000 }.bytes();
    let at = 5 * GIB + 1;
    workspace.write(&USER, ino, at, &data).unwrap();
    let read = |offset, size| {
        let mut out = Vec::new();
        workspace.read(ino, offset, size, &mut out).unwrap();
        out
    };
    assert_eq!(workspace.attr(ino).unwrap().size, at + 100_000);
    assert_eq!(read(at - 3, 100_000), [&[0; 3], &data[..99_997]].concat());
    assert_eq!(workspace.seek(ino, 0, Seek::Data), Ok(at));
    assert_eq!(workspace.seek(ino, at, Seek::Hole), Ok(at + 100_000));
    assert!(workspace.attr(ino).unwrap().blocks < 1000, "a hole takes no space");
    assert_eq!(workspace.copy_range(&USER, ino, at, ino, 9 * GIB, 200_000), Ok(100_000));
    assert_eq!(read(9 * GIB + 10, 50), data[10..60]);
    workspace.allocate(&USER, ino, at + 10, GIB, AllocateMode::PunchHole).unwrap();
    assert_eq!(read(at, 12), [&data[..10], &[0; 2]].concat());
    let cut = SetAttr { size: Some(at + 5), ..SetAttr::default() };
    workspace.set_attr(&USER, ino, &cut).unwrap();
    assert_eq!(read(at, 100), data[..5]);
}

#[test]
fn no_offset_overflows() {
    let world = World::new(None);
    let workspace = &world.stems[0].engine;
    let ino = workspace.make_node(&USER, Ino::ROOT, b"f", FileKind::File, 0o644, 0).unwrap().ino;
    workspace.write(&USER, ino, 0, b"12345").unwrap();
    let last = i64::MAX as u64;
    for offset in [last, u64::MAX - 3, u64::MAX] {
        assert_eq!(workspace.write(&USER, ino, offset, b"xyz"), Err(Errno::TooBig));
        assert_eq!(workspace.allocate(&USER, ino, offset, 3, AllocateMode::Grow), Err(Errno::TooBig));
        assert_eq!(workspace.copy_range(&USER, ino, 0, ino, offset, 5), Err(Errno::TooBig));
        assert_eq!(workspace.copy_range(&USER, ino, offset, ino, 0, u64::MAX), Ok(0));
        assert_eq!(workspace.seek(ino, offset, Seek::Data), Err(Errno::NoAddress));
        let mut out = Vec::new();
        workspace.read(ino, offset, usize::MAX, &mut out).unwrap();
        assert!(out.is_empty());
    }
    let grow = SetAttr { size: Some(last + 1), ..SetAttr::default() };
    assert_eq!(workspace.set_attr(&USER, ino, &grow), Err(Errno::TooBig));
    workspace.write(&USER, ino, last - 3, b"end").unwrap();
    assert_eq!(workspace.attr(ino).unwrap().size, last);
}

#[test]
fn directory_of_a_hundred_thousand_entries_lists_and_empties() {
    let world = World::new(None);
    let workspace = &world.stems[0].engine;
    let names: BTreeSet<Vec<u8>> = (0..100_000).map(|number| format!("file {number}").into_bytes()).collect();
    for name in &names {
        workspace.make_node(&USER, Ino::ROOT, name, FileKind::File, 0o644, 0).unwrap();
    }
    let mut listed = BTreeSet::new();
    let mut after = Cookie(0);
    loop {
        let (found, next) = next_batch(workspace, Ino::ROOT, after, 100).unwrap();
        if found.is_empty() {
            break;
        }
        after = next;
        listed.extend(found.into_iter().map(|(name, ..)| name));
    }
    assert!(listed == names);
    for name in &names {
        let removed = workspace.unlink(&USER, Ino::ROOT, name).unwrap();
        workspace.forget(removed.ino);
    }
    assert!(next_batch(workspace, Ino::ROOT, Cookie(0), 1).unwrap().0.is_empty());
    assert_eq!(workspace.summary().files, 0);
}
