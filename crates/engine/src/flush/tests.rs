//! What the flusher's thread does when, by a clock of the test's own.

use super::*;
use crate::Base;
use std::path::Path;
use weald_model::{Caller, FileKind, HostEnv, Ino, Timestamp};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, HostDisk};
use weald_store::log::Logs;

fn shared(dir: &Path) -> Arc<Shared> {
    let disk: Arc<dyn Disk> = Arc::new(HostDisk::new(dir));
    for name in ["logs", "cas", "chunks"] {
        disk.make_dir(&dir.join(name)).unwrap();
    }
    let logs = Logs::new(disk.clone(), dir.join("logs"));
    let cas = Cas::new(disk.clone(), dir.join("cas"));
    let chunks = Arc::new(Chunks::new(disk.clone(), dir.join("chunks")));
    Shared::new(disk, logs, cas, chunks, Arc::new(HostEnv::default()), 1 << 20)
}

#[test]
fn a_workspace_that_took_much_large_data_since_its_last_sync_is_synced_before_its_interval_is_over() {
    const WHO: Caller = Caller { uid: 7, gid: 7, pid: 40, umask: 0, kill_privileges: false, request: 0 };
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(dir.path());
    let base = Base::empty(7, 7, Timestamp::from_secs(1));
    let workspace = Workspace::create(shared.clone(), WorkspaceId(1), base, b"").unwrap();
    let file = workspace.make_node(&WHO, Ino::ROOT, b"file", FileKind::File, 0o644, 0).unwrap().ino;
    let piece = vec![7; 1 << 20];
    let write = |pieces: u64| {
        for _ in 0..pieces {
            workspace.write(&WHO, file, 0, &piece).unwrap();
        }
    };
    // Just after the first change, whatever the time.
    let step = || {
        let mut queue = shared.flusher.lock();
        let start = queue.due.unwrap() - FLUSH_INTERVAL;
        queue.step(start)
    };
    write(STREAM_BYTES / (1 << 20) - 1);
    assert!(matches!(step(), Step::Wait(Some(_))));
    workspace.sync().unwrap();
    write(STREAM_BYTES / (1 << 20) - 1);
    assert!(matches!(step(), Step::Wait(Some(_))));
    write(1);
    let Step::Streams(streams) = step() else { panic!("it is not synced") };
    assert_eq!(
        streams.iter().filter_map(Weak::upgrade).map(|found| found.id()).collect::<Vec<_>>(),
        [WorkspaceId(1)]
    );
    assert!(matches!(step(), Step::Wait(Some(_))));
}

#[test]
fn changes_wait_for_their_interval_and_streams_do_not() {
    let (mut queue, start) = (Queue::default(), Instant::now());
    assert!(matches!(queue.step(start), Step::Wait(None)));
    queue.add(Weak::new(), start);
    queue.add(Weak::new(), start + FLUSH_INTERVAL / 2);
    assert!(matches!(queue.step(start), Step::Wait(Some(FLUSH_INTERVAL))));
    queue.streams.push(Weak::new());
    assert!(matches!(queue.step(start), Step::Streams(streams) if streams.len() == 1));
    let almost = start + FLUSH_INTERVAL - Duration::from_nanos(1);
    assert!(matches!(queue.step(almost), Step::Wait(Some(_))));
    queue.streams.push(Weak::new());
    // However long a stream goes on, the others are as quick as without it.
    assert!(matches!(queue.step(start + FLUSH_INTERVAL), Step::Dirty(dirty) if dirty.len() == 2));
    assert!(matches!(queue.step(start + FLUSH_INTERVAL), Step::Streams(_)));
    assert!(matches!(queue.step(start + FLUSH_INTERVAL), Step::Wait(None)));
    queue.add(Weak::new(), start);
    queue.stopped = true;
    assert!(matches!(queue.step(start), Step::Dirty(dirty) if dirty.len() == 1));
}

#[test]
fn a_stream_is_told_once_for_each_so_many_bytes_that_no_sync_began_with() {
    let stream = Stream::default();
    assert!(!stream.grew(STREAM_BYTES - 1));
    assert!(stream.grew(1));
    assert!(!stream.grew(STREAM_BYTES - 1));
    stream.begin();
    assert!(!stream.grew(STREAM_BYTES - 1));
    assert!(stream.grew(STREAM_BYTES));
    assert!(!stream.grew(0));
}
