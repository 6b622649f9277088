//! Several who replay the log of one fork at once: each gets what it begins with.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

use std::path::Path;
use std::sync::{Arc, Barrier};
use weald_engine::seal::{SealCheck, check_seals};
use weald_engine::{Base, Shared, Workspace};
use weald_model::{Caller, FileKind, Ino, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::Disk;
use weald_store::log::Logs;
use weald_testkit::clock::FakeClock;
use weald_testkit::crash_disk::CrashDisk;

const WHO: Caller = Caller { uid: 7, gid: 7, pid: 40, umask: 0, kill_privileges: false, request: 0 };

fn shared_on(disk: &CrashDisk) -> Arc<Shared> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    for dir in ["/home", "/home/logs", "/home/cas", "/home/chunks"] {
        let _ = disk.make_dir(Path::new(dir));
    }
    let logs = Logs::new(disk.clone(), "/home/logs".into());
    let cas = Cas::new(disk.clone(), "/home/cas".into());
    let chunks = Arc::new(Chunks::new(disk.clone(), "/home/chunks".into()));
    Shared::new(disk, logs, cas, chunks, Arc::new(FakeClock::default()), 1 << 20)
}

#[test]
fn whoever_replays_a_fork_gets_what_it_begins_with_also_when_others_do_at_the_same_time() {
    let disk = CrashDisk::default();
    let base = Base::empty(7, 7, Timestamp::from_secs(1));
    let parent = Workspace::create(shared_on(&disk), WorkspaceId(1), base.clone(), b"").unwrap();
    for number in 0..300 {
        let name = format!("{number}");
        parent.make_node(&WHO, Ino::ROOT, name.as_bytes(), FileKind::File, 0o644, 0).unwrap();
    }
    let fork = parent.fork(WorkspaceId(2), b"").unwrap();
    fork.make_node(&WHO, Ino::ROOT, b"own", FileKind::File, 0o644, 0).unwrap();
    fork.sync().unwrap();
    drop((fork, parent));
    for _ in 0..60 {
        let shared = shared_on(&disk);
        let together = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    together.wait();
                    let mut each = |_: &_, _| {};
                    let fork = (WorkspaceId(2), &base);
                    check_seals(&shared, fork, None, &mut SealCheck::default(), &mut each).unwrap();
                });
            }
        });
    }
}
