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

#[test]
fn what_is_needed_survives_a_cut_at_any_call_of_dropping_the_rest() {
    for failing in 0..30 {
        for seed in 0..8 {
            let disk = CrashDisk::default();
            disk.make_dir(&PathBuf::from("/packs")).unwrap();
            disk.sync_dir(&PathBuf::from("/")).unwrap();
            let chunks = open(&disk);
            let mut kept = Vec::new();
            for number in 0..3u8 {
                let mut writer = chunks.writer();
                kept.push(writer.put(&[number; 2000]).unwrap());
                let noise: Vec<u8> = (0..9000u32).map(|at| (at * at + u32::from(number)) as u8).collect();
                writer.put(&noise).unwrap();
                writer.finish().unwrap();
            }
            disk.fail_call(failing, Failure::Io);
            let dropped = chunks.alone().unwrap().retain(&|hash| kept.contains(hash));
            disk.clear_failure();
            let crashed = open(&disk.crash(seed));
            for chunks in [&chunks, &crashed] {
                for (number, hash) in (0..3u8).zip(&kept) {
                    assert_eq!(chunks.read(hash).unwrap(), [number; 2000], "call {failing}, seed {seed}");
                }
                assert!(chunks.verify().unwrap().problems.is_empty(), "call {failing}, seed {seed}");
            }
            crashed.alone().unwrap().retain(&|hash| kept.contains(hash)).unwrap();
            let left = crashed.droppable_bytes(&|hash| kept.contains(hash)).unwrap();
            assert_eq!(left, 0, "call {failing}, seed {seed}: {dropped:?}");
        }
    }
}
