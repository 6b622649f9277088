//! A base whose source fails: only what needs it fails, and works again when the source does.

use crate::world::{BASE_TIME, OWNER, USER, open_shared};
use std::sync::Arc;
use weald_engine::{Base, Workspace};
use weald_model::{Errno, Ino, SetAttr, Silent, WorkspaceId};
use weald_store::disk::Map;
use weald_store::log::Limits;
use weald_store::manifest::Manifest;
use weald_testkit::clock::FakeClock;
use weald_testkit::crash_disk::CrashDisk;
use weald_testkit::source::{MemorySource, Tree};

fn workspace(source: &Arc<MemorySource>, tree: &Tree) -> Arc<Workspace> {
    let id = source.add(tree);
    let bytes = Manifest::build(&**source, &id, BASE_TIME, &Silent).expect("a good tree");
    let base = Base::new(
        Manifest::open(Map::from_bytes(bytes)).expect("a built manifest opens"),
        source.clone(),
        OWNER,
        OWNER,
    );
    let shared = open_shared(&CrashDisk::default(), &Arc::new(FakeClock::default()), Limits::default());
    Workspace::create(shared, WorkspaceId(1), base, b"").expect("it can be made")
}

fn read(workspace: &Workspace, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut out = b"kept".to_vec();
    let ino = workspace.lookup(Ino::ROOT, name)?.ino;
    let result = workspace.read(ino, 0, 100, &mut out);
    assert!(out.starts_with(b"kept"), "what was in the buffer stays");
    result.map(|()| out[4..].to_vec())
}

#[test]
fn missing_base_content_fails_the_reads_that_need_it_and_nothing_else() {
    let source = Arc::new(MemorySource::default());
    let (lost, kept) = (Tree::file("lost content"), Tree::file("kept content"));
    let workspace = workspace(&source, &Tree::dir([("lost", lost.clone()), ("kept", kept)]));
    source.lose_blob(&source.add(&lost));
    assert_eq!(read(&workspace, b"lost"), Err(Errno::Io));
    assert_eq!(read(&workspace, b"kept").unwrap(), b"kept content");
    let ino = workspace.lookup(Ino::ROOT, b"lost").unwrap().ino;
    workspace.write(&USER, ino, 0, b"LOST content").unwrap();
    assert_eq!(read(&workspace, b"lost").unwrap(), b"LOST content", "nothing of the base is left to read");
    workspace.set_attr(&USER, ino, &SetAttr { size: Some(0), ..SetAttr::default() }).unwrap();
    source.add(&lost);
    assert_eq!(read(&workspace, b"lost").unwrap(), b"");
}

#[test]
fn writing_and_renaming_read_nothing_of_the_base() {
    let source = Arc::new(MemorySource::default());
    let tree = Tree::dir([("dir", Tree::dir([("f", Tree::file(vec![5; 100_000]))]))]);
    let workspace = workspace(&source, &tree);
    let dir = workspace.lookup(Ino::ROOT, b"dir").unwrap().ino;
    let file = workspace.lookup(dir, b"f").unwrap().ino;
    workspace.write(&USER, file, 50, b"patch").unwrap();
    let mode = weald_engine::RenameMode::Replace;
    workspace.rename(&USER, Ino::ROOT, b"dir", Ino::ROOT, b"new", mode).unwrap();
    let fork = workspace.fork(WorkspaceId(2), b"").unwrap();
    fork.set_attr(&USER, file, &SetAttr { size: Some(200_000), ..SetAttr::default() }).unwrap();
    assert_eq!(source.blobs_read(), 0, "copy-up is by reference");
    let mut out = Vec::new();
    fork.read(file, 0, 300_000, &mut out).unwrap();
    assert_eq!(
        (out.len(), &out[48..57], out[99_999], out[100_000]),
        (200_000, &b"\x05\x05patch\x05\x05"[..], 5, 0)
    );
}
