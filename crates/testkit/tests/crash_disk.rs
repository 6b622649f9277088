//! The crashing disk keeps what was synced, whatever else it loses.

use std::path::Path;
use std::sync::Arc;
use weald_store::disk::{Disk, DiskFile, OpenMode};
use weald_testkit::crash_disk::{CrashDisk, Failure};

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn create(disk: &CrashDisk, name: &str) -> Arc<dyn DiskFile> {
    disk.open(path(name), OpenMode::CreateNew).expect("a file can be made")
}

fn content(disk: &CrashDisk, name: &str) -> Option<Vec<u8>> {
    disk.map(path(name)).ok().map(|map| map.to_vec())
}

#[test]
fn synced_content_of_a_synced_name_survives_every_crash() {
    for seed in 0..200 {
        let disk = CrashDisk::default();
        let file = create(&disk, "/a");
        file.write_at(&[b"hello ", b"world"], 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(path("/")).unwrap();
        file.write_at(&[b"J"], 0).unwrap();
        let left = content(&disk.crash(seed), "/a").expect("the name is durable");
        assert!(left == b"hello world" || left == b"Jello world", "{left:?}");
    }
}

#[test]
fn unsynced_names_are_lost_in_some_crashes_and_kept_in_others() {
    let disk = CrashDisk::default();
    let file = create(&disk, "/a");
    file.write_at(&[b"x"], 0).unwrap();
    file.sync().unwrap();
    let found = (0..100).filter(|seed| content(&disk.crash(*seed), "/a").is_some()).count();
    assert!((10..90).contains(&found), "{found}");
}

#[test]
fn crash_tears_a_write_at_a_sector() {
    let disk = CrashDisk::default();
    let file = create(&disk, "/a");
    file.allocate(0, 8192).unwrap();
    file.sync().unwrap();
    disk.sync_dir(path("/")).unwrap();
    file.write_at(&[&[1; 8192]], 0).unwrap();
    let mut torn = 0;
    for seed in 0..100 {
        let left = content(&disk.crash(seed), "/a").expect("the name is durable");
        assert_eq!(left.len(), 8192);
        assert!(left.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        torn += u32::from(left.contains(&0) && left.contains(&1));
    }
    assert!(torn > 5, "{torn}");
}

#[test]
fn rename_leaves_the_old_name_or_the_new_one() {
    for seed in 0..100 {
        let disk = CrashDisk::default();
        create(&disk, "/old").sync().unwrap();
        disk.sync_dir(path("/")).unwrap();
        disk.rename(path("/old"), path("/new")).unwrap();
        let left = disk.crash(seed);
        assert!(content(&left, "/old").is_some() != content(&left, "/new").is_some());
    }
}

#[test]
fn planned_failure_hits_the_call_it_was_planned_for() {
    let disk = CrashDisk::default();
    let file = create(&disk, "/a");
    disk.fail_call(1, Failure::NoSpace);
    file.write_at(&[b"1"], 0).unwrap();
    assert_eq!(file.write_at(&[b"2"], 0).unwrap_err().raw_os_error(), Some(28));
    file.write_at(&[b"3"], 0).unwrap();
    disk.fail_call(0, Failure::Short);
    assert!(file.write_at(&[b"4567"], 1).is_err());
    assert_eq!(content(&disk, "/a").unwrap(), b"345");
    assert!(!disk.clear_failure());
}

#[test]
fn after_a_failed_sync_nothing_it_covered_is_promised() {
    let disk = CrashDisk::default();
    let file = create(&disk, "/a");
    disk.sync_dir(path("/")).unwrap();
    file.write_at(&[b"lost?"], 0).unwrap();
    disk.fail_call(0, Failure::Io);
    let other = disk.open(path("/a"), OpenMode::Read).unwrap();
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert!(other.sync().is_err(), "a descriptor that was open tells of it too");
    other.sync().unwrap();
    assert!((0..50).any(|seed| content(&disk.crash(seed), "/a").unwrap().is_empty()));
}

#[test]
fn write_to_a_page_that_a_failed_sync_lost_brings_it_back() {
    let disk = CrashDisk::default();
    let file = create(&disk, "/a");
    disk.sync_dir(path("/")).unwrap();
    file.write_at(&[&[1; 5000]], 0).unwrap();
    disk.fail_call(0, Failure::Io);
    assert!(file.sync().is_err());
    file.write_at(&[&[2; 10]], 5000).unwrap();
    file.sync().unwrap();
    let left = |seed| content(&disk.crash(seed), "/a").unwrap();
    assert!((0..50).all(|seed| left(seed)[4096..] == [[1; 904].as_slice(), &[2; 10]].concat()));
    assert!((0..50).any(|seed| left(seed)[..4096] == [0; 4096]));
}

#[test]
fn full_disk_overwrites_but_does_not_grow() {
    let disk = CrashDisk::default();
    let file = create(&disk, "/a");
    file.write_at(&[&[1; 5000]], 0).unwrap();
    disk.fill(4096);
    file.write_at(&[&[2; 8192]], 0).unwrap();
    assert_eq!(file.write_at(&[&[3; 5000]], 8000).unwrap_err().raw_os_error(), Some(28));
    assert_eq!(file.len().unwrap(), 12288);
    assert!(file.write_at(&[b"x"], 20000).is_err());
    disk.remove_file(path("/a")).unwrap();
    create(&disk, "/b").write_at(&[&[4; 8192]], 0).unwrap();
    assert_eq!(disk.space().unwrap().free, 4096);
}

#[test]
fn cut_and_grown_file_reads_as_zeros() {
    let disk = CrashDisk::default();
    let file = create(&disk, "/a");
    file.write_at(&[&[7; 10_000]], 0).unwrap();
    file.set_len(4100).unwrap();
    file.set_len(9000).unwrap();
    let left = content(&disk, "/a").unwrap();
    assert!(left[..4100].iter().all(|byte| *byte == 7) && left[4100..].iter().all(|byte| *byte == 0));
    assert_eq!(left.len(), 9000);
}

#[test]
fn from_the_stop_on_nothing_happens_and_what_was_done_before_is_there() {
    let disk = CrashDisk::default();
    let file = create(&disk, "/a");
    file.write_at(&[b"synced"], 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(path("/")).unwrap();
    disk.stop_at(1);
    file.write_at(&[b"kept"], 6).unwrap();
    assert!(file.write_at(&[b"refused"], 0).is_err());
    assert!(file.sync().is_err() && disk.rename(path("/a"), path("/b")).is_err());
    assert!(disk.go_on() && !disk.go_on());
    assert_eq!(content(&disk, "/a").unwrap(), b"syncedkept");
    file.sync().unwrap();
    assert!((0..50).all(|seed| content(&disk.crash(seed), "/a").unwrap() == b"syncedkept"));
}
