//! How threads meet in the store, interleaved in every way that chance finds: locks and calls to the disk are where it switches.
//!
//! `cargo xtask check test` runs these with the feature `shuttle`. `WEALD_CASES` is the number of interleavings of each; a failure
//! prints the one that failed.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not taken for tests")]

use shuttle::thread;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use weald_model::WorkspaceId;
use weald_store::cas::Hash;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, DiskFile, Map, OpenMode, Space};
use weald_store::log::{Durability, Limits, Log, Logs};
use weald_testkit::cases;
use weald_testkit::crash_disk::{CrashDisk, Failure};

const ID: WorkspaceId = WorkspaceId(7);
/// So small that segments end while others sync.
const LIMITS: Limits = Limits { segment_bytes: 1 << 10, data_segment_bytes: 32 << 10, open_files: 4 };

/// A disk at which others get their turn before and after each call.
struct Slow(CrashDisk);

struct SlowFile(Arc<dyn DiskFile>);

fn slowly<T>(call: impl FnOnce() -> T) -> T {
    thread::yield_now();
    let result = call();
    thread::yield_now();
    result
}

impl Disk for Slow {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        slowly(|| self.0.make_dir(path))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(slowly(|| self.0.open(path, mode))?)))
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        self.0.map(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        slowly(|| self.0.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        slowly(|| self.0.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        slowly(|| self.0.remove_dir(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.0.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        slowly(|| self.0.sync_dir(path))
    }

    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        slowly(|| self.0.read_at(buf, offset))
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        slowly(|| self.0.write_at(parts, offset))
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        slowly(|| self.0.set_len(len))
    }

    fn sync(&self) -> io::Result<()> {
        slowly(|| self.0.sync())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        slowly(|| self.0.allocate(offset, len))
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        slowly(|| self.0.punch(offset, len))
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        self.0.allocated_bytes()
    }
}

/// Half of them as chance has it, half with few switches at the places where those matter most.
fn interleaved(test: fn()) {
    let all = cases(3000) as usize;
    shuttle::check_random(test, all / 2);
    shuttle::check_pct(test, all / 2, 3);
}

fn log_on(disk: &CrashDisk) -> (Logs, Log) {
    disk.make_dir(Path::new("/logs")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let logs = Logs::with_limits(Arc::new(Slow(disk.clone())), "/logs".into(), LIMITS);
    let log = logs.create(ID, b"genesis", Durability::Later).unwrap();
    (logs, log)
}

/// The last record that a power cut now would leave.
fn left(disk: &CrashDisk, seed: u64) -> u64 {
    let logs = Logs::with_limits(Arc::new(disk.crash(seed)), "/logs".into(), LIMITS);
    let mut last = 0;
    logs.open(ID, &mut |record| {
        last = record.seq;
        Ok(())
    })
    .unwrap();
    last
}

/// Appends and syncs, again and again; what was synced is there after a power cut. Ends at the first sync that fails.
fn write_and_sync(disk: &CrashDisk, log: &Log, thread: u8) -> bool {
    for round in 0..3u8 {
        let body = vec![thread; usize::from(round) * 130 + 10];
        let Ok(appended) = log.append(&body, b"") else { return false };
        if log.sync().is_err() {
            assert!(log.sync().is_err() && log.append(b"more", b"").is_err(), "nothing more is claimed");
            return false;
        }
        let left = left(disk, u64::from(thread * 8 + round));
        assert!(left >= appended.seq, "record {} was synced, {left} are left", appended.seq);
    }
    true
}

#[test]
fn a_sync_that_returned_covers_every_append_before_it_however_callers_meet() {
    interleaved(|| {
        let disk = CrashDisk::default();
        let (_logs, log) = log_on(&disk);
        let log = Arc::new(log);
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (disk, log) = (disk.clone(), log.clone());
                thread::spawn(move || write_and_sync(&disk, &log, number))
            })
            .collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        assert_eq!(left(&disk, 99), log.seq());
    });
}

#[test]
fn after_a_sync_that_failed_nobody_is_told_that_his_record_is_durable() {
    interleaved(|| {
        let disk = CrashDisk::default();
        let (_logs, log) = log_on(&disk);
        log.sync().unwrap();
        disk.fail_call(7, Failure::Io);
        let log = Arc::new(log);
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (disk, log) = (disk.clone(), log.clone());
                thread::spawn(move || write_and_sync(&disk, &log, number))
            })
            .collect();
        // Each sync that returned was checked against a power cut; nobody waits for ever.
        threads.into_iter().for_each(|thread| _ = thread.join().unwrap());
    });
}

/// What somebody names must stay, whatever is dropped meanwhile.
#[test]
fn chunks_that_are_named_stay_however_sealing_dropping_and_reading_meet() {
    interleaved(|| {
        let disk = CrashDisk::default();
        disk.make_dir(Path::new("/chunks")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let chunks = Arc::new(Chunks::new(Arc::new(Slow(disk.clone())), "/chunks".into()));
        let named: Arc<Mutex<Vec<Hash>>> = Arc::default();
        let content = |number: u8| vec![number; 600];
        let read_all = |chunks: &Chunks, named: &Mutex<Vec<Hash>>| {
            let hashes = named.lock().unwrap().clone();
            hashes.iter().for_each(|hash| drop(chunks.read(hash).unwrap()));
        };
        let sealing = |numbers: [u8; 3]| {
            let (chunks, named) = (chunks.clone(), named.clone());
            thread::spawn(move || {
                let kept = chunks.keep_all();
                let mut writer = chunks.writer();
                let hashes: Vec<Hash> =
                    numbers.iter().map(|one| writer.put(&content(*one)).unwrap()).collect();
                writer.finish().unwrap();
                // The record.
                named.lock().unwrap().extend(hashes);
                drop(kept);
            })
        };
        // Nobody names these: they can go at any moment, also while somebody puts them again.
        let mut writer = chunks.writer();
        (0..4).for_each(|number| _ = writer.put(&content(number)).unwrap());
        writer.finish().unwrap();
        let mut threads = vec![sealing([0, 1, 9]), sealing([1, 2, 9])];
        let (dropped, all) = (chunks.clone(), named.clone());
        threads.push(thread::spawn(move || {
            for _ in 0..2 {
                let Some(alone) = dropped.alone() else { continue };
                let needed = all.lock().unwrap().clone();
                alone.retain(&|hash| needed.contains(hash)).unwrap();
            }
        }));
        let (seen, all) = (chunks.clone(), named.clone());
        threads.push(thread::spawn(move || (0..2).for_each(|_| read_all(&seen, &all))));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        read_all(&chunks, &named);
        let again = Chunks::new(Arc::new(disk.crash(1)), "/chunks".into());
        read_all(&again, &named);
    });
}
