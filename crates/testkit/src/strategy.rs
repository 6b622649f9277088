//! Random operations and trees for proptest.
//!
//! Weights make collisions likely: few names, short paths, more creation than removal, offsets around the
//! boundaries where content changes its form (4096 bytes inline, pages, segments).

use crate::operation::{Data, GOOD_NAMES, Operation, Place, SLOTS, name};
use crate::source::Tree;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;
use weald_engine::{AllocateMode, RenameMode, XattrMode};
use weald_model::{FileKind, SetTime, Timestamp};

/// The index of a name: mostly one of three.
fn any_name() -> impl Strategy<Value = u8> {
    prop_oneof![40 => 0u8..3, 10 => 3u8..GOOD_NAMES, 1 => Just(GOOD_NAMES)]
}

fn any_slot() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![6 => Just(None), 1 => (0..SLOTS).prop_map(Some)]
}

/// A path of at least `least` names.
fn place(least: usize) -> impl Strategy<Value = Place> {
    (any_slot(), vec(any_name(), least..4)).prop_map(|(slot, path)| Place { slot, path })
}

/// Where a new or existing entry is named.
fn entry() -> impl Strategy<Value = Place> {
    place(1)
}

/// A file, often one held open.
fn file() -> impl Strategy<Value = Place> {
    prop_oneof![
        3 => place(1),
        1 => (0..SLOTS).prop_map(|slot| Place { slot: Some(slot), path: Vec::new() }),
    ]
}

/// A length or an offset, around every boundary that matters.
fn extent(max: u64) -> impl Strategy<Value = u64> {
    let boundary = prop_oneof![Just(0u64), Just(4096), Just(8192), Just(16384), Just(65536), Just(131_072)];
    prop_oneof![
        3 => (boundary, -2i64..3).prop_map(|(at, by)| at.saturating_add_signed(by)),
        2 => 0..max,
        2 => 0u64..200,
    ]
    .prop_map(move |value| value.min(max))
}

fn data(max: u64) -> impl Strategy<Value = Data> {
    (any::<u8>(), extent(max)).prop_map(|(seed, len)| Data { seed, len: len.max(1) as usize })
}

fn permissions() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => prop::sample::select(vec![0o644, 0o755, 0o600, 0o700]),
        2 => prop::sample::select(vec![0o4755, 0o2755, 0o6755, 0o2644, 0o1777, 0o2775, 0, 0o7777]),
        1 => 0u32..0o10000,
    ]
}

fn kind() -> impl Strategy<Value = FileKind> {
    prop_oneof![
        6 => Just(FileKind::File),
        5 => Just(FileKind::Dir),
        1 => prop::sample::select(vec![FileKind::Fifo, FileKind::Socket, FileKind::CharDevice, FileKind::BlockDevice]),
    ]
}

fn rename_mode() -> impl Strategy<Value = RenameMode> {
    prop_oneof![
        5 => Just(RenameMode::Replace),
        1 => Just(RenameMode::NoReplace),
        2 => Just(RenameMode::Exchange),
        1 => Just(RenameMode::Whiteout),
    ]
}

fn allocate_mode() -> impl Strategy<Value = AllocateMode> {
    prop::sample::select(vec![
        AllocateMode::Grow,
        AllocateMode::KeepSize,
        AllocateMode::PunchHole,
        AllocateMode::PunchHole,
        AllocateMode::ZeroGrow,
        AllocateMode::ZeroKeepSize,
    ])
}

/// A time no clock of a test shows: before 1970 up to 2100, never a whole second.
fn time() -> impl Strategy<Value = Timestamp> {
    (prop_oneof![-2_000_000_000i64..1_900_000_000, 3_000_000_000i64..4_000_000_000], 1u32..1_000_000_000)
        .prop_map(|(secs, nanos)| Timestamp { secs, nanos })
}

/// Any operation.
pub fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => names(),
        8 => removals(),
        14 => contents(),
        5 => attributes(),
        5 => looks(),
    ]
}

fn names() -> impl Strategy<Value = Operation> {
    let make =
        (entry(), kind(), permissions()).prop_map(|(at, kind, perm)| Operation::MakeNode { at, kind, perm });
    let symlink = (entry(), data(300)).prop_map(|(at, target)| Operation::MakeSymlink { at, target });
    let tmpfile = (place(0), 0..SLOTS, permissions()).prop_map(|(dir, slot, perm)| Operation::MakeTmpfile {
        dir,
        slot,
        perm,
    });
    let link = (file(), entry()).prop_map(|(from, to)| Operation::Link { from, to });
    prop_oneof![8 => make, 1 => symlink, 1 => tmpfile, 3 => link]
}

fn removals() -> impl Strategy<Value = Operation> {
    let rename =
        (entry(), entry(), rename_mode()).prop_map(|(from, to, mode)| Operation::Rename { from, to, mode });
    prop_oneof![
        3 => entry().prop_map(|at| Operation::Unlink { at }),
        2 => entry().prop_map(|at| Operation::Rmdir { at }),
        5 => rename,
    ]
}

fn contents() -> impl Strategy<Value = Operation> {
    let write = (file(), extent(200_000), data(70_000)).prop_map(|(at, offset, data)| Operation::Write {
        at,
        offset,
        data,
    });
    let read = (file(), extent(200_000), extent(200_000)).prop_map(|(at, offset, size)| Operation::Read {
        at,
        offset,
        size: size as usize,
    });
    let truncate = (file(), extent(200_000)).prop_map(|(at, size)| Operation::Truncate { at, size });
    let allocate = (file(), extent(200_000), extent(100_000), allocate_mode())
        .prop_map(|(at, offset, len, mode)| Operation::Allocate { at, offset, len: len.max(1), mode });
    let copy = (file(), extent(200_000), file(), extent(200_000), extent(100_000)).prop_map(
        |(from, from_offset, to, to_offset, len)| Operation::CopyRange {
            from,
            from_offset,
            to,
            to_offset,
            len: len.max(1),
        },
    );
    prop_oneof![6 => write, 2 => read, 3 => truncate, 2 => allocate, 2 => copy]
}

fn attributes() -> impl Strategy<Value = Operation> {
    let owner = || option::of(prop_oneof![Just(0u32), Just(1000), Just(1001), Just(4_000_000_000)]);
    let chown = (place(0), owner(), owner())
        .prop_filter("chown of nothing is not sent", |(_, uid, gid)| uid.is_some() || gid.is_some())
        .prop_map(|(at, uid, gid)| Operation::Chown { at, uid, gid });
    let atime =
        prop_oneof![Just(None), Just(Some(SetTime::Now)), time().prop_map(|at| Some(SetTime::At(at)))];
    let times =
        (place(0), atime, time()).prop_map(|(at, atime, mtime)| Operation::SetTimes { at, atime, mtime });
    let mode = prop::sample::select(vec![XattrMode::Either, XattrMode::Create, XattrMode::Replace]);
    let set = (place(0), 0u8..3, data(9000), mode).prop_map(|(at, name, value, mode)| Operation::SetXattr {
        at,
        name,
        value,
        mode,
    });
    let remove = (place(0), 0u8..3).prop_map(|(at, name)| Operation::RemoveXattr { at, name });
    prop_oneof![
        2 => (place(0), permissions()).prop_map(|(at, perm)| Operation::Chmod { at, perm }),
        2 => chown,
        1 => times,
        2 => set,
        1 => remove,
    ]
}

fn looks() -> impl Strategy<Value = Operation> {
    prop_oneof![
        1 => (place(0), 1usize..5).prop_map(|(at, batch)| Operation::List { at, batch }),
        4 => (place(0), 0..SLOTS).prop_map(|(at, slot)| Operation::Hold { at, slot }),
        2 => (0..SLOTS).prop_map(|slot| Operation::Release { slot }),
        1 => place(0).prop_map(|at| Operation::ForgetNamed { at }),
        2 => Just(Operation::Sync),
    ]
}

/// A random tree with the same names as the operations use: empty, small, or three directories deep.
pub fn tree() -> impl Strategy<Value = Tree> {
    let size = extent(150_000);
    let file = (any::<u8>(), size, any::<bool>()).prop_map(|(seed, len, executable)| Tree::File {
        content: Data { seed, len: len as usize }.bytes(),
        executable,
    });
    let leaf = prop_oneof![
        6 => file,
        1 => data(100).prop_map(|target| Tree::Symlink(target.bytes())),
        1 => Just(Tree::Gitlink),
    ];
    let node = leaf.prop_recursive(3, 24, 5, |inner| entries(inner).prop_map(Tree::Dir));
    entries(node).prop_map(Tree::Dir)
}

fn entries(inner: impl Strategy<Value = Tree>) -> impl Strategy<Value = BTreeMap<Vec<u8>, Tree>> {
    btree_map((0u8..GOOD_NAMES).prop_map(name), inner, 0..6)
}
