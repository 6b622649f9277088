//! A power cut at any call of making a pack leaves it wholly there or absent.

use std::path::PathBuf;
use std::sync::Arc;
use weald_store::chunks::Chunks;
use weald_store::disk::Disk;
use weald_testkit::crash_disk::{CrashDisk, Failure};

fn open(disk: &CrashDisk) -> Chunks {
    Chunks::new(Arc::new(disk.clone()), PathBuf::from("/packs"))
}

#[test]
fn what_was_finished_survives_a_cut_at_any_call_and_the_rest_is_whole_or_absent() {
    let big = vec![7; 300_000];
    for failing in 0..40 {
        for seed in 0..8 {
            let disk = CrashDisk::default();
            disk.make_dir(&PathBuf::from("/packs")).unwrap();
            disk.sync_dir(&PathBuf::from("/")).unwrap();
            let chunks = open(&disk);
            let mut writer = chunks.writer();
            let kept = writer.put(b"kept").unwrap();
            writer.finish().unwrap();
            disk.fail_call(failing, Failure::Io);
            let mut writer = chunks.writer();
            let put = writer.put(b"new").and_then(|new| Ok((new, writer.put(&big)?)));
            let done = put.and_then(|hashes| writer.finish().map(|_| hashes));
            let found = open(&disk.crash(seed));
            assert_eq!(found.read(&kept).unwrap(), b"kept", "call {failing}, seed {seed}");
            let checked = found.verify().unwrap();
            assert!(checked.problems.is_empty(), "call {failing}, seed {seed}: {:?}", checked.problems);
            match done {
                Ok((new, large)) => {
                    assert_eq!(found.read(&new).unwrap(), b"new");
                    assert_eq!(found.read(&large).unwrap(), big);
                }
                Err(_) => assert!(checked.chunks == 1 || checked.chunks == 3, "{}", checked.chunks),
            }
        }
    }
}
