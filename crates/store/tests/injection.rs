//! Crash injection into what is written aside and renamed: files that are published, and content by its hash. The process
//! ends, or the power is cut, at every call; afterwards a name is absent, or names the whole file of before or of now.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;
use std::sync::Arc;
use weald_store::cas::{self, Cas, CasError};
use weald_store::chunks::{ChunkError, Chunks};
use weald_store::disk::{Disk, OpenMode};
use weald_store::publish::{publish, sweep};
use weald_testkit::crash_disk::{CrashDisk, Failure};

const SEEDS: u64 = 30;

fn disk() -> CrashDisk {
    let disk = CrashDisk::default();
    disk.make_dir(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn bytes(fill: u8) -> Vec<u8> {
    vec![fill; 9_000]
}

fn read(disk: &CrashDisk) -> Option<Vec<u8>> {
    let file = disk.open(Path::new("/d/name"), OpenMode::Read).ok()?;
    let mut all = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut all, 0).unwrap();
    Some(all)
}

fn write(disk: &CrashDisk, fill: u8) -> std::io::Result<()> {
    publish(disk, Path::new("/d"), Path::new("/d"), "name", &bytes(fill))
}

#[test]
fn a_file_whose_publishing_is_interrupted_anywhere_is_whole_or_as_before() {
    for (there, nth) in [false, true].into_iter().flat_map(|there| (0..6).map(move |nth| (there, nth))) {
        for seed in 0..SEEDS {
            let disk = disk();
            if there {
                write(&disk, 1).unwrap();
            }
            let before = read(&disk);
            disk.stop_at(nth);
            let done = write(&disk, 2).is_ok();
            disk.go_on();
            let killed = read(&disk);
            assert!(
                killed == Some(bytes(2)) || (!done && killed == before),
                "the process ended at call {nth}"
            );
            let disk = disk.crash(seed);
            let found = read(&disk);
            assert!(found == Some(bytes(2)) || (!done && found == before), "power was cut at call {nth}");
            sweep(&disk, Path::new("/d")).unwrap();
            assert!(disk.list(Path::new("/d")).unwrap().iter().all(|name| name == "name"));
            write(&disk, 3).unwrap();
            assert!(read(&disk.crash(seed)) == Some(bytes(3)));
        }
    }
}

#[test]
fn a_file_whose_publishing_failed_anywhere_is_whole_or_as_before() {
    let failures = [Failure::NoSpace, Failure::Io, Failure::Short];
    for (failure, nth) in failures.into_iter().flat_map(|failure| (0..6).map(move |nth| (failure, nth))) {
        for seed in 0..SEEDS {
            let disk = disk();
            write(&disk, 1).unwrap();
            disk.fail_call(nth, failure);
            let done = write(&disk, 2).is_ok();
            disk.clear_failure();
            let found = read(&disk.crash(seed));
            assert!(found == Some(bytes(2)) || (!done && found == Some(bytes(1))));
            write(&disk, 3).unwrap();
            assert!(read(&disk.crash(seed)) == Some(bytes(3)), "a retry keeps its promise");
        }
    }
}

fn cas(disk: &CrashDisk) -> Cas {
    Cas::new(Arc::new(disk.clone()), "/d".into())
}

fn is_there(disk: &CrashDisk) -> bool {
    match cas(disk).get_all(&cas::hash(&bytes(1))) {
        Ok(found) => found == bytes(1),
        Err(CasError::Missing(_)) => false,
        Err(error) => panic!("neither there nor absent: {error}"),
    }
}

/// What a put finds may be there by name only: whoever put it first ended before the directory was durable.
#[test]
fn content_that_was_put_is_there_after_any_crash_also_when_an_earlier_put_was_interrupted() {
    for (nth, seed) in (0..9).flat_map(|nth| (0..SEEDS).map(move |seed| (nth, seed))) {
        let disk = disk();
        disk.stop_at(nth);
        let done = cas(&disk).put(&bytes(1)).is_ok();
        disk.go_on();
        let cut = disk.crash(seed);
        assert!(is_there(&cut) || !done, "power was cut at call {nth}");
        for disk in [disk, cut] {
            cas(&disk).put(&bytes(1)).unwrap();
            assert!(is_there(&disk.crash(seed)), "put again after the end at call {nth}");
        }
    }
}

#[test]
fn content_that_was_put_is_there_after_any_crash_also_when_an_earlier_put_failed() {
    let failures = [Failure::NoSpace, Failure::Io, Failure::Short];
    for (failure, nth) in failures.into_iter().flat_map(|failure| (0..9).map(move |nth| (failure, nth))) {
        for seed in 0..SEEDS {
            let disk = disk();
            let cas = cas(&disk);
            disk.fail_call(nth, failure);
            let first = cas.put(&bytes(1)).is_ok();
            disk.clear_failure();
            assert!(is_there(&disk.crash(seed)) || !first);
            cas.put(&bytes(1)).unwrap();
            assert!(is_there(&disk.crash(seed)), "put again after {failure:?} at call {nth}");
        }
    }
}

/// Puts chunks, as sealing does; true when all of them are promised.
fn seal(disk: &CrashDisk) -> bool {
    let chunks = Chunks::new(Arc::new(disk.clone()), "/d".into());
    let mut writer = chunks.writer();
    (0..4).all(|fill| writer.put(&bytes(fill)).is_ok()) && writer.finish().is_ok()
}

fn has_chunks(disk: &CrashDisk) -> bool {
    let chunks = Chunks::new(Arc::new(disk.clone()), "/d".into());
    let there = |fill| match chunks.read(&cas::hash(&bytes(fill))) {
        Ok(found) => found == bytes(fill),
        Err(ChunkError::Missing(_)) => false,
        Err(error) => panic!("neither there nor absent: {error}"),
    };
    (0..4).all(there)
}

/// A chunk that is found is not put again: its pack may be there by name only.
#[test]
fn chunks_that_were_put_are_there_after_any_crash_also_when_an_earlier_put_was_interrupted() {
    for (nth, seed) in (0..9).flat_map(|nth| (0..SEEDS).map(move |seed| (nth, seed))) {
        let disk = disk();
        disk.stop_at(nth);
        let done = seal(&disk);
        disk.go_on();
        let cut = disk.crash(seed);
        assert!(has_chunks(&cut) || !done, "power was cut at call {nth}");
        for disk in [disk, cut] {
            assert!(seal(&disk));
            assert!(has_chunks(&disk.crash(seed)), "put again after the end at call {nth}");
        }
    }
}
