//! The log on a disk that tears, fills, fails and crashes: what is found afterwards is a prefix of what was
//! appended, with all that was synced, and data is what was put.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not taken for tests")]

use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use weald_model::WorkspaceId;
use weald_store::disk::Disk;
use weald_store::log::reclaim::Pieces;
use weald_store::log::{Durability, Limits, Log, LogError, Logs, Place};
use weald_testkit::crash_disk::{CrashDisk, Failure};

const ID: WorkspaceId = WorkspaceId(7);
const LIMITS: Limits = Limits { segment_bytes: 16 << 10, data_segment_bytes: 32 << 10, open_files: 4 };

const FAILURES: [Failure; 3] = [Failure::NoSpace, Failure::Io, Failure::Short];

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Data(usize),
    Sync,
    /// A log that starts from this one is synced; before this one is opened again, or while it is in use.
    MakeDurable {
        is_kill: bool,
    },
    Fail {
        call: u64,
        failure: u8,
    },
    Fill(u64),
    Unfill,
    /// The daemon is killed and started again.
    Reopen,
    /// The daemon is killed, and opening the log fails once.
    FailToOpen {
        call: u64,
        failure: u8,
    },
    /// The power is cut.
    Crash(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (0usize..2000).prop_map(Step::Append),
        4 => (1usize..9000).prop_map(Step::Data),
        4 => Just(Step::Sync),
        2 => any::<bool>().prop_map(|is_kill| Step::MakeDurable { is_kill }),
        2 => (0u64..6, 0u8..3).prop_map(|(call, failure)| Step::Fail { call, failure }),
        1 => (0u64..20_000).prop_map(Step::Fill),
        1 => Just(Step::Unfill),
        1 => Just(Step::Reopen),
        1 => (0u64..4, 0u8..3).prop_map(|(call, failure)| Step::FailToOpen { call, failure }),
        2 => any::<u64>().prop_map(Step::Crash),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A record as the test knows it: its body names the data, which is `fill` repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    body: Vec<u8>,
    data: Option<(Place, usize, u8)>,
}

struct Run {
    disk: CrashDisk,
    logs: Logs,
    log: Log,
    known: Vec<Known>,
    synced: usize,
    /// Tells one record from the next.
    count: u8,
}

fn logs_on(disk: &CrashDisk) -> Logs {
    Logs::with_limits(Arc::new(disk.clone()), "/logs".into(), LIMITS)
}

impl Run {
    fn begin() -> Self {
        let disk = CrashDisk::default();
        disk.make_dir(Path::new("/logs")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let logs = logs_on(&disk);
        let log = logs.create(ID, b"genesis", Durability::Durable).unwrap();
        let known = vec![Known { body: b"genesis".to_vec(), data: None }];
        Self { disk, logs, log, known, synced: 1, count: 0 }
    }

    fn take(&mut self, step: &Step) {
        self.count = self.count.wrapping_add(1);
        match *step {
            Step::Append(len) => self.append(vec![self.count; len], None),
            Step::Data(len) => {
                if let Ok(place) = self.log.put_data(&vec![self.count; len]) {
                    self.append(place.to_bytes().to_vec(), Some((place, len, self.count)));
                }
            }
            Step::Sync => {
                if self.log.sync().is_ok() {
                    self.synced = self.known.len();
                }
            }
            Step::MakeDurable { is_kill } => {
                if is_kill {
                    self.logs = logs_on(&self.disk);
                }
                if self.logs.make_durable(ID).is_ok() {
                    self.synced = self.known.len();
                }
                if is_kill {
                    self.reopen(false);
                }
            }
            Step::Fail { call, failure } => {
                self.disk.fail_call(call, FAILURES[usize::from(failure)]);
            }
            Step::Fill(free) => self.disk.fill(free),
            Step::Unfill => self.disk.unfill(),
            Step::Reopen => self.reopen(false),
            Step::FailToOpen { call, failure } => {
                self.fail_to_open(call, failure);
                self.reopen(false);
            }
            Step::Crash(seed) => {
                self.disk = self.disk.crash(seed);
                // Opening is what changes the disk after a crash, so it is what must bear a second one.
                self.fail_to_open(seed % 5, (seed >> 8) as u8 % 3);
                self.disk = self.disk.crash(seed >> 16);
                self.reopen(true);
            }
        }
    }

    fn fail_to_open(&self, call: u64, failure: u8) {
        self.disk.clear_failure();
        self.disk.fail_call(call, FAILURES[usize::from(failure)]);
        let opened = logs_on(&self.disk).open(ID, &mut |_| Ok(()));
        assert!(!matches!(opened, Err(LogError::Damaged { .. } | LogError::Unborn(_))), "{:?}", opened.err());
    }

    fn append(&mut self, body: Vec<u8>, data: Option<(Place, usize, u8)>) {
        if self.log.append(&body, b"").is_ok() {
            self.known.push(Known { body, data });
        }
    }

    /// Opens the log as the next daemon would, on a disk that works again.
    fn reopen(&mut self, is_crash: bool) {
        self.disk.clear_failure();
        self.disk.unfill();
        self.logs = logs_on(&self.disk);
        let mut bodies = Vec::new();
        let opened = self.logs.open(ID, &mut |record| {
            bodies.push(record.body.to_vec());
            Ok(())
        });
        self.log = match opened {
            Ok((log, _)) => log,
            Err(error) => panic!("{error}"),
        };
        let least = if is_crash { self.synced } else { self.known.len() };
        assert!(bodies.len() >= least, "{} records, {least} expected", bodies.len());
        assert!(bodies.len() <= self.known.len(), "a record appeared that was refused");
        self.known.truncate(bodies.len());
        for (known, body) in self.known.iter().zip(&bodies) {
            assert_eq!(&known.body, body);
            if let Some((place, len, fill)) = known.data {
                let mut data = vec![0; len];
                self.logs.read(place, 0, &mut data).unwrap();
                assert_eq!(data, vec![fill; len], "data of a record that was kept");
            }
        }
        self.synced = self.synced.min(bodies.len());
    }
}

/// Enough power cuts to lose each part of a few unsynced changes in some.
const SEEDS: u64 = 40;

impl Run {
    /// What a returned sync promises about everything appended so far, whatever the power cut takes.
    fn crash_after_sync(mut self, seed: u64) {
        if self.log.sync().is_ok() {
            self.synced = self.known.len();
        }
        self.disk = self.disk.crash(seed);
        self.reopen(true);
    }

    /// Somebody else's sync of the log's files, as a fork of it does.
    fn fail_to_make_durable(&self) {
        self.disk.fail_call(0, Failure::Io);
        assert!(self.logs.make_durable(ID).is_err());
    }
}

/// Linux takes the pages of a failed fdatasync for written. The commit behind the last record is among them, and
/// whatever is appended to the next page lies behind it.
#[test]
fn a_sync_keeps_its_promise_when_the_commit_before_it_was_lost_by_a_failed_sync() {
    // The commit ends before, at and behind the end of the page, and lies across it.
    for len in (3800..4000).step_by(8) {
        for seed in 0..SEEDS {
            let mut run = Run::begin();
            run.append(vec![1; len], None);
            run.log.sync().unwrap();
            run.fail_to_make_durable();
            run.reopen(false);
            run.append(vec![2; 100], None);
            run.crash_after_sync(seed);
        }
    }
}

/// A segment was begun, but its first record did not fit on the disk: what ended the one before, and the name of the
/// new one, are in memory only.
#[test]
fn a_sync_covers_a_segment_that_was_begun_before_a_kill() {
    for (call, seed) in (0..8).flat_map(|call| (0..SEEDS).map(move |seed| (call, seed))) {
        let mut run = Run::begin();
        run.append(vec![1; 15_000], None);
        run.log.sync().unwrap();
        run.disk.fail_call(call, Failure::NoSpace);
        run.append(vec![2; 2000], None);
        run.reopen(false);
        run.append(vec![3; 100], None);
        run.crash_after_sync(seed);
    }
}

/// The failure was told to the fork; the log itself learns of it only from a descriptor it had open before.
#[test]
fn a_log_opened_again_after_a_kill_knows_of_a_sync_that_failed_for_somebody_else() {
    for (len, seed) in [100, 9000].into_iter().flat_map(|len| (0..SEEDS).map(move |seed| (len, seed))) {
        let mut run = Run::begin();
        run.take(&Step::Data(len));
        run.reopen(false);
        run.fail_to_make_durable();
        run.crash_after_sync(seed);
    }
}

/// A removed workspace is not opened any more, but what was forked from it needs its log.
#[test]
fn a_log_made_durable_without_being_open_is_so_after_an_earlier_sync_failed() {
    for (len, seed) in [100, 9000].into_iter().flat_map(|len| (0..SEEDS).map(move |seed| (len, seed))) {
        let mut run = Run::begin();
        run.take(&Step::Data(len));
        run.append(vec![1; 5000], None);
        run.fail_to_make_durable();
        run.logs = logs_on(&run.disk);
        run.logs.make_durable(ID).unwrap();
        run.synced = run.known.len();
        run.disk = run.disk.crash(seed);
        run.reopen(true);
    }
}

/// Lesson: a gc that deleted first and wrote tombstones after.
#[test]
fn what_is_given_back_was_recorded_durably_so_no_crash_takes_more_than_that() {
    for seed in 0..SEEDS {
        let disk = CrashDisk::default();
        disk.make_dir(Path::new("/logs")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let logs = logs_on(&disk);
        let log = logs.create(ID, b"g", Durability::Durable).unwrap();
        let data = |fill: u8| vec![fill; 5000 + usize::from(fill) * 100];
        let places: Vec<Place> = (0..12).map(|fill| log.put_data(&data(fill)).unwrap()).collect();
        for place in &places {
            log.append(&place.to_bytes(), b"").unwrap();
        }
        let mut entries = Vec::new();
        logs.entries(ID, log.data_end(), &Pieces::default(), &mut |piece| entries.push(piece)).unwrap();
        assert_eq!(entries.len(), places.len());
        // Every third stays.
        let dead: Pieces =
            entries.iter().enumerate().filter(|(at, _)| at % 3 != 0).map(|(_, piece)| *piece).collect();
        let recorded = log.append(b"given back", b"").unwrap();
        log.settle().unwrap();
        logs.give_back(ID, &mut dead.iter()).unwrap();
        log.append(b"later", b"").unwrap();
        drop(log);
        let disk = disk.crash(seed);
        let logs = logs_on(&disk);
        let mut bodies = Vec::new();
        let (log, _) = logs
            .open(ID, &mut |record| {
                bodies.push(record.body.to_vec());
                Ok(())
            })
            .unwrap();
        assert!(bodies.len() as u64 >= recorded.seq, "the record is there");
        for (fill, place) in places.iter().enumerate().filter(|(at, _)| at % 3 == 0) {
            let mut found = data(fill as u8);
            logs.read(*place, 0, &mut found).unwrap();
            assert!(found == data(fill as u8), "what stays is whole");
        }
        let mut left = Vec::new();
        logs.entries(ID, log.data_end(), &dead, &mut |piece| left.push(piece)).unwrap();
        assert_eq!(left, entries.iter().step_by(3).copied().collect::<Vec<_>>());
        // Once more, as after a crash in the middle of it.
        logs.give_back(ID, &mut dead.iter()).unwrap();
        log.put_data(&[1; 9000]).unwrap();
        log.sync().unwrap();
    }
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("WEALD_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig::with_cases(cases.unwrap_or(256))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn after_any_faults_and_crashes_the_log_is_a_prefix_with_all_that_was_synced(steps in steps()) {
        let mut run = Run::begin();
        for step in &steps {
            run.take(step);
        }
        run.reopen(false);
        run.log.append(b"works", b"").unwrap();
        run.log.sync().unwrap();
    }

    #[test]
    fn a_log_made_durable_is_there_after_any_crash_and_one_that_was_not_is_whole_or_never_was(
        seed in any::<u64>(), call in 0u64..8, failure in 0u8..3,
    ) {
        let disk = CrashDisk::default();
        disk.make_dir(Path::new("/logs")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.fail_call(call, FAILURES[usize::from(failure)]);
        let made = logs_on(&disk).create(ID, &[5; 3000], Durability::Durable).is_ok();
        let logs = logs_on(&disk.crash(seed));
        let mut count = 0;
        let opened = logs.open(ID, &mut |record| {
            assert_eq!(record.body, [5; 3000]);
            count += 1;
            Ok(())
        });
        match opened {
            Ok(_) => prop_assert_eq!(count, 1),
            Err(LogError::Missing(_) | LogError::Unborn(_)) => prop_assert!(!made),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
