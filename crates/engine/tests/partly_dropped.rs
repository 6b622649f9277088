//! A sealed snapshot some of whose chunks were dropped, listed by a fork of a moment when it was listed: it must neither
//! hide what other snapshots need, nor be what another one is sealed from.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

use std::path::Path;
use std::sync::Arc;
use weald_engine::needed::{NeededChunks, is_missing};
use weald_engine::{Base, Occasion, Past, Shared, Snapshot, Workspace};
use weald_model::{Caller, FileKind, Ino, SnapshotId, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::Disk;
use weald_store::log::Logs;
use weald_testkit::clock::{FakeClock, mix};
use weald_testkit::crash_disk::CrashDisk;

const WHO: Caller = Caller { uid: 7, gid: 7, pid: 40, umask: 0, kill_privileges: false, request: 0 };

fn shared() -> Arc<Shared> {
    let disk: Arc<dyn Disk> = Arc::new(CrashDisk::default());
    for dir in ["/home", "/home/logs", "/home/cas", "/home/chunks"] {
        disk.make_dir(Path::new(dir)).unwrap();
    }
    let logs = Logs::new(disk.clone(), "/home/logs".into());
    let cas = Cas::new(disk.clone(), "/home/cas".into());
    let chunks = Arc::new(Chunks::new(disk.clone(), "/home/chunks".into()));
    Shared::new(disk, logs, cas, chunks, Arc::new(FakeClock::default()), 1 << 20)
}

/// Does not shrink.
fn content(of: u64) -> Vec<u8> {
    (0..250u64).flat_map(|at| mix(of << 32 | at).to_le_bytes()).collect()
}

fn sealed(workspace: &Workspace, id: u64) -> Snapshot {
    let id = SnapshotId(id);
    workspace.snapshot(&WHO, id, "", &[], Occasion::Asked).unwrap();
    workspace.seal(id, &|_| true).unwrap().unwrap();
    workspace.snapshots().into_iter().find(|one| one.id == id).unwrap()
}

fn make(workspace: &Workspace, dir: Ino, name: &str, kind: FileKind) -> Ino {
    workspace.make_node(&WHO, dir, name.as_bytes(), kind, 0o755, 0).unwrap().ino
}

/// Every file has its content.
fn read_all(past: &Past, files: &[(Ino, u64)]) {
    for (ino, number) in files {
        let mut bytes = Vec::new();
        past.read(*ino, 0, 4000, &mut bytes).unwrap();
        assert!(bytes == content(*number), "file {number}");
    }
}

#[test]
fn a_snapshot_that_is_partly_dropped_neither_hides_what_others_need_nor_is_one_sealed_from_it() {
    let shared = shared();
    let base = Base::empty(7, 7, Timestamp::from_secs(1));
    let owner = Workspace::create(shared.clone(), WorkspaceId(1), base, b"").unwrap();
    let (stay, go) =
        (make(&owner, Ino::ROOT, "stay", FileKind::Dir), make(&owner, Ino::ROOT, "go", FileKind::Dir));
    let files = |dir, from: u64| -> Vec<(Ino, u64)> {
        (from..from + 300).map(|at| (make(&owner, dir, &format!("{at:04}"), FileKind::File), at)).collect()
    };
    let write = |files: &[(Ino, u64)]| {
        files.iter().for_each(|(ino, number)| owner.write(&WHO, *ino, 0, &content(*number)).unwrap());
    };
    // Those that stay come first in the order of inodes, and get their content after the others were sealed.
    let (stays, goes) = (files(stay, 0), files(go, 1000));
    write(&goes);
    let first = sealed(&owner, 1);
    write(&stays);
    // So that pages with names are others than in the first one, and pages with inodes the same.
    (0..300).for_each(|at| _ = make(&owner, go, &format!("{:04}x", 1000 + at), FileKind::File));
    let second = sealed(&owner, 2);
    let then = owner.present();
    for at in 0..300 {
        owner.unlink(&WHO, go, format!("{:04}", 1000 + at).as_bytes()).unwrap();
        owner.unlink(&WHO, go, format!("{:04}x", 1000 + at).as_bytes()).unwrap();
    }
    let third = sealed(&owner, 3);
    for id in [first.id, second.id] {
        owner.drop_snapshot(&WHO, id).unwrap();
    }
    let retain = |needed: &NeededChunks| {
        shared.chunks().alone().unwrap().retain(&|hash| needed.has(hash)).unwrap();
    };
    let mut needed = NeededChunks::default();
    needed.sealed(&shared, &third.seal.unwrap()).unwrap();
    retain(&needed);
    let fork = owner.fork_at(then, WorkspaceId(2), b"").unwrap();
    let listed: Vec<SnapshotId> = fork.snapshots().iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(listed, [first.id, second.id]);
    // The fork is asked first what it needs, then its owner.
    let mut needed = NeededChunks::default();
    let lost = needed.sealed(&shared, &second.seal.unwrap()).unwrap_err();
    assert!(is_missing(&lost), "{lost}");
    needed.sealed(&shared, &third.seal.unwrap()).unwrap();
    retain(&needed);
    read_all(&owner.sealed_past(third.id).unwrap(), &stays);
    // What the fork seals is whole, though most of it is as in the snapshot that is not.
    let again = sealed(&fork, 4);
    let past = fork.sealed_past(again.id).unwrap();
    read_all(&past, &stays);
    read_all(&past, &goes);
}
