//! What a log does in order, with a full disk, after a failed sync, and at damage. Next: `properties`.

use super::faulty_disk::FaultyDisk;
use super::format::{FRAME_HEADER_BYTES, HEADER_BYTES};
use super::*;
use crate::disk::HostDisk;

pub(in crate::log) const ID: WorkspaceId = WorkspaceId(0x1122_3344_5566_7788);
pub(in crate::log) const SMALL: Limits =
    Limits { segment_bytes: 4096, data_segment_bytes: 8192, open_files: 2 };

fn host() -> (tempfile::TempDir, Logs) {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(Arc::new(HostDisk::new(dir.path())), dir.path().to_owned());
    (dir, logs)
}

pub(in crate::log) fn faulty(limits: Limits) -> (Arc<FaultyDisk>, Logs) {
    let disk = Arc::new(FaultyDisk::default());
    let logs = Logs::with_limits(disk.clone(), "/logs".into(), limits);
    (disk, logs)
}

/// Bodies and inline data of records.
pub(super) type Seen = Vec<(Vec<u8>, Vec<u8>)>;

/// Opens a log and returns its records.
pub(super) fn records(logs: &Logs) -> Result<(Log, Recovery, Seen), LogError> {
    let mut seen = Vec::new();
    let (log, recovery) = logs.open(ID, &mut |record| {
        assert_eq!(record.seq, seen.len() as u64 + 1);
        seen.push((record.body.to_vec(), record.inline.to_vec()));
        Ok(())
    })?;
    assert_eq!(recovery.records, seen.len() as u64);
    assert_eq!(log.seq(), seen.len() as u64);
    Ok((log, recovery, seen))
}

fn bodies(logs: &Logs) -> Vec<Vec<u8>> {
    records(logs).unwrap().2.into_iter().map(|(body, _)| body).collect()
}

#[test]
fn what_is_appended_is_replayed_and_inline_data_is_found_at_its_place() {
    let (_dir, logs) = host();
    let log = logs.create(ID, b"genesis", Durability::Durable).unwrap();
    let first = log.append(b"one", b"inline").unwrap();
    let second = log.append(b"", &[7; INLINE_BYTES_MAX]).unwrap();
    assert_eq!((first.seq, second.seq, log.seq()), (2, 3, 3));
    let mut buf = [0; 6];
    logs.read(first.inline_place, 0, &mut buf).unwrap();
    assert_eq!(&buf, b"inline");
    let head = log.head();
    drop(log);
    let mut places = Vec::new();
    let (log, recovery) = logs
        .open(ID, &mut |record| {
            places.push(record.inline_place);
            Ok(())
        })
        .unwrap();
    assert_eq!(recovery, Recovery { records: 3, cut_bytes: 0 });
    assert_eq!(places[1..], [first.inline_place, second.inline_place]);
    assert_eq!(log.head(), head);
    assert_eq!(log.append(b"four", b"").unwrap().seq, 4);
}

#[test]
fn data_is_read_from_any_log_by_its_place() {
    let (_dir, logs) = host();
    let log = logs.create(ID, b"g", Durability::Later).unwrap();
    let data: Vec<u8> = (0..100_001u32).map(|n| n as u8).collect();
    let place = log.put_data(&data).unwrap();
    let other = log.put_data(b"other").unwrap();
    let mut buf = vec![0; 1000];
    logs.read(place, 99_000, &mut buf).unwrap();
    assert_eq!(buf, data[99_000..100_000]);
    let mut buf = [0; 5];
    logs.read(other, 0, &mut buf).unwrap();
    assert_eq!(&buf, b"other");
    assert_eq!(Place::from_bytes(&place.to_bytes()), place);
    let beyond = Place { offset: 1 << 40, ..place };
    assert!(matches!(logs.read(beyond, 0, &mut buf), Err(LogError::Damaged { .. })));
}

#[test]
fn any_part_of_data_of_any_size_is_read_as_it_was_written() {
    let (_, logs) = faulty(Limits { data_segment_bytes: 1 << 20, ..SMALL });
    let log = logs.create(ID, b"g", Durability::Later).unwrap();
    const BLOCK: usize = format::BLOCK_BYTES;
    for len in [1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 7, 3 * BLOCK, 3 * BLOCK + 1] {
        let data: Vec<u8> = (0..len).map(|n| (n * 31 + n / 251) as u8).collect();
        let place = log.put_data(&data).unwrap();
        let edges = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK, len - 1, len];
        for from in edges.into_iter().filter(|from| *from <= len) {
            for to in edges.into_iter().filter(|to| (from..=len).contains(to)) {
                let mut buf = vec![0xee; to - from];
                logs.read(place, from as u64, &mut buf).unwrap();
                assert_eq!(buf, data[from..to], "{from}..{to} of {len}");
            }
        }
        assert!(logs.read(place, 1, &mut vec![0; len]).is_err(), "more than there is");
        assert!(logs.read(place, u64::MAX, &mut [0]).is_err());
    }
    let inline = log.append(b"body", b"inline").unwrap().inline_place;
    let mut buf = [0; 3];
    logs.read(inline, 2, &mut buf).unwrap();
    assert_eq!(&buf, b"lin");
    assert!(logs.read(inline, 4, &mut buf).is_err() && logs.read(inline, u64::MAX, &mut buf).is_err());
}

#[test]
fn a_byte_that_changed_on_the_disk_is_never_served() {
    let (disk, logs) = faulty(Limits { data_segment_bytes: 1 << 20, segment_bytes: 1 << 20, open_files: 2 });
    let log = logs.create(ID, b"g", Durability::Later).unwrap();
    let large: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
    let written = [
        (log.put_data(&large).unwrap(), large),
        (log.put_data(&[7; 5000]).unwrap(), vec![7; 5000]),
        (log.append(b"body", &[9; 300]).unwrap().inline_place, vec![9; 300]),
    ];
    for (place, data) in &written {
        let path = logs.files.path(ID, place.file);
        let before = disk.bytes(&path);
        for at in (0..before.len()).step_by(37) {
            disk.change(path.to_str().unwrap(), |bytes| bytes[at] ^= 0x40);
            let mut served = vec![0; data.len()];
            match logs.read(*place, 0, &mut served) {
                Ok(()) => assert_eq!(&served, data, "after a flip at {at}"),
                Err(error) => assert!(matches!(error, LogError::Damaged { .. }), "{error}"),
            }
            disk.change(path.to_str().unwrap(), |bytes| bytes[at] ^= 0x40);
        }
        let at = place.offset as usize + 50;
        disk.change(path.to_str().unwrap(), |bytes| bytes[at] ^= 1);
        assert!(logs.read(*place, 0, &mut vec![0; data.len()]).is_err());
        disk.change(path.to_str().unwrap(), |bytes| bytes[at] ^= 1);
    }
}

#[test]
fn a_new_log_is_one_small_file_and_a_second_of_the_id_is_refused() {
    let (dir, logs) = host();
    logs.create(ID, &[1; 200], Durability::Durable).unwrap();
    assert!(logs.bytes(ID).unwrap() <= 4096);
    assert_eq!(std::fs::read_dir(dir.path().join(ID.to_string())).unwrap().count(), 1);
    assert!(matches!(logs.create(ID, b"x", Durability::Durable), Err(LogError::Exists(_))));
    assert_eq!(bodies(&logs), [vec![1; 200]]);
}

#[test]
fn segments_follow_one_another_without_a_gap() {
    let (_, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    let mut expected = vec![b"g".to_vec()];
    for n in 0..100u32 {
        let body = vec![n as u8; 200 + n as usize];
        log.append(&body, b"").unwrap();
        log.put_data(&[n as u8; 3000]).unwrap();
        expected.push(body);
        if n % 30 == 0 {
            log.sync().unwrap();
        }
    }
    let head = log.head();
    let numbers = logs.files.numbers(ID).unwrap();
    assert!(numbers.len() > 50 && numbers.iter().filter(|n| **n & Place::DATA == 0).count() > 5);
    drop(log);
    let (log, _, seen) = records(&logs).unwrap();
    assert_eq!(seen.into_iter().map(|(body, _)| body).collect::<Vec<_>>(), expected);
    assert_eq!(log.head(), head);
    log.append(b"more", b"").unwrap();
}

#[test]
fn a_prefix_is_replayed_from_a_log_in_use() {
    let (_, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    for _ in 0..50 {
        log.append(&[3; 300], b"").unwrap();
    }
    let mut count = 0;
    let mut visit = |_: Record<'_>| {
        count += 1;
        Ok(())
    };
    logs.replay_until(ID, 20, &mut visit).unwrap();
    let short = logs.replay_until(ID, 52, &mut visit);
    assert!(matches!(short, Err(LogError::Short { last: 51, wanted: 52, .. })));
    assert_eq!(count, 20 + 51);
}

#[test]
fn a_reader_gives_each_record_once_while_the_log_grows_over_segments() {
    let (_, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    let (mut reader, mut seen) = (logs.reader(ID), Vec::new());
    for n in 0..60u64 {
        log.append(&[n as u8; 300], b"").unwrap();
        if n % 7 == 0 {
            log.sync().unwrap();
        }
        let mut visit = |record: Record<'_>| {
            seen.push(record.seq);
            if record.seq.is_multiple_of(5) { Err(Errno::Interrupted) } else { Ok(()) }
        };
        let stopped = reader.read_until(log.seq(), &mut visit);
        assert!(matches!(stopped, Ok(()) | Err(LogError::Refused(Errno::Interrupted))));
        reader.read_until(log.seq(), &mut visit).unwrap_or_default();
        reader.read_until(99, &mut |_| panic!("there are no more")).unwrap();
        assert_eq!(reader.seq(), log.seq());
    }
    assert_eq!(seen, (1..=61).collect::<Vec<_>>());
}

#[test]
fn a_removed_log_is_missing_and_left_overs_are_swept() {
    let (dir, logs) = host();
    logs.create(ID, b"g", Durability::Durable).unwrap().put_data(b"x").unwrap();
    assert_eq!(logs.list().unwrap(), [ID]);
    std::fs::create_dir(dir.path().join("removed-0000000000000001")).unwrap();
    logs.remove(ID).unwrap();
    logs.sweep().unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(matches!(logs.remove(ID), Err(LogError::Missing(_))));
    assert!(matches!(records(&logs), Err(LogError::Missing(_))));
}

#[test]
fn sizes_over_the_limits_are_refused_and_nothing_is_appended() {
    let (_, logs) = faulty(Limits::default());
    let log = logs.create(ID, b"g", Durability::Later).unwrap();
    assert!(matches!(log.append(&[], &[0; INLINE_BYTES_MAX + 1]), Err(LogError::TooLarge { .. })));
    assert!(matches!(log.append(&vec![0; 1 << 21], &[]), Err(LogError::TooLarge { .. })));
    assert!(matches!(log.put_data(&vec![0; DATA_BYTES_MAX + 1]), Err(LogError::TooLarge { .. })));
    assert_eq!(log.seq(), 1);
    assert_eq!(bodies(&logs).len(), 1);
}

#[test]
fn a_visitor_that_refuses_ends_the_replay() {
    let (_, logs) = faulty(Limits::default());
    logs.create(ID, b"g", Durability::Durable).unwrap();
    let refused = logs.open(ID, &mut |_| Err(Errno::Invalid));
    assert!(matches!(refused, Err(LogError::Refused(Errno::Invalid))));
}

#[test]
fn a_full_disk_refuses_appends_and_takes_them_again_once_there_is_room() {
    let (disk, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    let mut expected = vec![b"g".to_vec()];
    for room in (0..600).step_by(7) {
        disk.set_room(Some(room));
        for n in 0..20u8 {
            match log.append(&[n; 90], b"") {
                Ok(_) => expected.push(vec![n; 90]),
                Err(error) => assert_eq!(error.errno(), Errno::NoSpace),
            }
            if let Err(error) = log.put_data(&[1; 150]) {
                assert_eq!(error.errno(), Errno::NoSpace);
            }
        }
        log.sync().unwrap();
        disk.set_room(None);
        log.append(b"after", b"").unwrap();
        expected.push(b"after".to_vec());
    }
    let head = log.head();
    drop(log);
    let (log, recovery, seen) = records(&logs).unwrap();
    assert_eq!(seen.into_iter().map(|(body, _)| body).collect::<Vec<_>>(), expected);
    assert_eq!((log.head(), recovery.cut_bytes), (head, 0));
}

#[test]
fn a_log_that_cannot_be_made_leaves_nothing() {
    let (disk, logs) = faulty(SMALL);
    disk.set_room(Some(50));
    assert_eq!(logs.create(ID, b"g", Durability::Durable).err().unwrap().errno(), Errno::NoSpace);
    disk.set_room(None);
    assert!(matches!(records(&logs), Err(LogError::Missing(_))));
    logs.create(ID, b"g", Durability::Durable).unwrap();
}

#[test]
fn a_failed_sync_closes_the_log_until_it_is_opened_again() {
    let (disk, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    log.append(b"a", b"").unwrap();
    disk.fail_syncs(true);
    assert_eq!(log.sync().err().unwrap().errno(), Errno::Io);
    disk.fail_syncs(false);
    assert!(matches!(log.sync(), Err(LogError::Poisoned(_))));
    assert!(matches!(log.append(b"b", b""), Err(LogError::Poisoned(_))));
    assert!(matches!(log.put_data(b"b"), Err(LogError::Poisoned(_))));
    assert_eq!(log.append(b"b", b"").err().unwrap().errno(), Errno::Io);
    drop(log);
    let (log, _, seen) = records(&logs).unwrap();
    assert_eq!(seen.len(), 2);
    log.append(b"b", b"").unwrap();
    log.sync().unwrap();
    // The pages of the failed sync were dropped; opening wrote them again.
    disk.crash();
    assert_eq!(bodies(&logs).len(), 3);
}

#[test]
fn a_log_whose_creation_was_torn_is_unborn() {
    let (disk, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Later).unwrap();
    drop(log);
    disk.change("/logs/1122334455667788/log-00000000", |bytes| bytes.truncate(HEADER_BYTES + 9));
    assert!(matches!(records(&logs), Err(LogError::Unborn(_))));
    disk.change("/logs/1122334455667788/log-00000000", Vec::clear);
    assert!(matches!(records(&logs), Err(LogError::Unborn(_))));
}

#[test]
fn a_record_that_names_lost_data_is_cut_with_all_after_it() {
    let (disk, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    log.put_data(&[1; 5000]).unwrap();
    log.append(b"kept", b"").unwrap();
    log.sync().unwrap();
    log.append(b"kept too", b"").unwrap();
    let lost = log.put_data(&[2; 5000]).unwrap();
    log.append(b"names lost data", b"").unwrap();
    log.append(b"after", b"").unwrap();
    drop(log);
    let file = logs.files.path(ID, lost.file);
    disk.change(file.to_str().unwrap(), |bytes| bytes[lost.offset as usize + 100] = 0);
    let (log, recovery, seen) = records(&logs).unwrap();
    assert_eq!(seen.len(), 3);
    assert!(recovery.cut_bytes > 5000);
    log.append(b"again", b"").unwrap();
    drop(log);
    assert_eq!(bodies(&logs)[2..], [b"kept too".to_vec(), b"again".to_vec()]);
}

#[test]
fn a_commit_that_is_cut_with_the_records_before_it_is_not_written_again() {
    let (disk, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    let lost = log.put_data(&[1; 5000]).unwrap();
    log.append(b"names lost data", b"").unwrap();
    log.append(&[2; 2500], b"").unwrap();
    // It does not fit into the segment, so a commit ends that; nor does it fit on the disk.
    disk.set_room(Some(HEADER_BYTES + format::frame_bytes(format::COMMIT_BYTES, 0) + 10));
    assert!(log.append(&[2; 2500], b"").is_err());
    disk.set_room(None);
    drop(log);
    let file = logs.files.path(ID, lost.file);
    disk.change(file.to_str().unwrap(), |bytes| bytes[lost.offset as usize + 100] = 0);
    let (log, _, seen) = records(&logs).unwrap();
    assert_eq!(seen.len(), 1);
    log.append(b"after", b"").unwrap();
    drop(log);
    assert_eq!(bodies(&logs)[1..], [b"after".to_vec()]);
}

#[test]
fn durable_data_that_is_cut_off_is_damage() {
    let (disk, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    let place = log.put_data(&[1; 5000]).unwrap();
    log.append(b"a", b"").unwrap();
    log.sync().unwrap();
    drop(log);
    let file = logs.files.path(ID, place.file);
    disk.change(file.to_str().unwrap(), |bytes| bytes.truncate(100));
    assert!(matches!(records(&logs), Err(LogError::Damaged { .. })));
}

#[test]
fn settling_lets_even_the_last_record_be_told_from_a_torn_tail() {
    let (disk, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    let last = log.append(b"last", b"xyz").unwrap();
    log.settle().unwrap();
    disk.crash();
    let file = logs.files.path(ID, 0);
    disk.change(file.to_str().unwrap(), |bytes| bytes[last.inline_place.offset as usize] ^= 1);
    assert!(matches!(records(&logs), Err(LogError::Damaged { .. })));
}

#[test]
fn a_busy_log_writes_ahead_and_the_zeros_are_no_torn_tail() {
    let (_dir, logs) = host();
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    for _ in 0..10 {
        log.append(&[1; 100], b"").unwrap();
        log.sync().unwrap();
    }
    assert!(logs.bytes(ID).unwrap() >= 16 << 10);
    drop(log);
    let (log, recovery, seen) = records(&logs).unwrap();
    assert_eq!((seen.len(), recovery.cut_bytes), (11, 0));
    log.append(b"in the zeros", b"").unwrap();
    drop(log);
    assert_eq!(bodies(&logs).len(), 12);
}

#[test]
fn a_large_segment_writes_ahead_without_a_sync_and_a_small_one_does_not() {
    let (_dir, logs) = host();
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    let len = || std::fs::metadata(logs.files.path(ID, 0)).unwrap().len();
    let mut end = 0;
    let mut append = |seq: u64| {
        let place = log.append(&seq.to_le_bytes(), &[7; 4096]).unwrap().inline_place;
        end = place.offset + 4096;
        len() - end
    };
    assert!((0..200).all(|seq| append(seq) < 100), "200 * 4 KiB is small");
    let ahead: Vec<u64> = (200..1000).map(&mut append).collect();
    assert!(ahead.iter().filter(|bytes| **bytes > 4096).count() > 600, "most find their pages there");
    assert!(ahead.iter().all(|bytes| *bytes < 80 << 10), "and little is wasted");
    drop(log);
    let (_, recovery, seen) = records(&logs).unwrap();
    assert_eq!((seen.len(), recovery.cut_bytes), (1001, 0));
}

#[test]
fn a_frame_costs_at_most_forty_bytes_over_its_body() {
    for body in 0..64 {
        assert!(format::frame_bytes(body, 0) - body <= 40);
    }
    assert_eq!(FRAME_HEADER_BYTES, 28);
}

#[test]
fn many_threads_append_and_sync_and_nothing_is_lost() {
    let (_dir, logs) = host();
    let log = logs.create(ID, b"g", Durability::Durable).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..200u8 {
                    log.put_data(&[thread; 100]).unwrap();
                    log.append(&[thread, n], b"").unwrap();
                    if n % 50 == 0 {
                        log.sync().unwrap();
                    }
                }
            });
        }
    });
    drop(log);
    let seen = bodies(&logs);
    assert_eq!(seen.len(), 801);
    for thread in 0..4u8 {
        let mine: Vec<u8> = seen[1..].iter().filter(|body| body[0] == thread).map(|body| body[1]).collect();
        assert_eq!(mine, (0..200u8).collect::<Vec<_>>());
    }
}

#[test]
fn few_files_stay_open_however_many_are_read() {
    let (disk, logs) = faulty(SMALL);
    let log = logs.create(ID, b"g", Durability::Later).unwrap();
    let places: Vec<Place> = (0..40u8).map(|n| log.put_data(&[n; 5000]).unwrap()).collect();
    drop(log);
    for (n, place) in places.iter().enumerate() {
        let mut buf = [0; 10];
        logs.read(*place, 0, &mut buf).unwrap();
        assert_eq!(buf, [n as u8; 10]);
    }
    assert!(disk.open_files() <= 2);
}

#[test]
fn a_log_that_grows_while_it_is_replayed_is_not_taken_for_damaged() {
    for (appended, limits) in [(1, Limits { segment_bytes: 1 << 20, ..SMALL }), (1, SMALL), (60, SMALL)] {
        let (disk, logs) = faulty(limits);
        let log = logs.create(ID, b"g", Durability::Later).unwrap();
        for n in 0..20 {
            log.append(&[n; 40], b"").unwrap();
        }
        log.sync().unwrap();
        let (last, mut seen) = (log.seq(), 0);
        let replayed = logs.replay_until(ID, u64::MAX, &mut |record| {
            seen = record.seq;
            // Once, when the walk has read what there was.
            if record.seq == last {
                for n in 0..appended {
                    log.append(&[n; 100], b"").unwrap();
                }
                log.sync().unwrap();
            }
            Ok(())
        });
        assert!(matches!(replayed, Err(LogError::Short { last, .. }) if last == log.seq()), "{replayed:?}");
        assert_eq!(seen, log.seq());
        // What does not fit what was durable is damage still.
        let path = logs.files.path(ID, 0);
        disk.change(path.to_str().unwrap(), |bytes| bytes[HEADER_BYTES + 200] ^= 1);
        let replayed = logs.replay_until(ID, u64::MAX, &mut |_| Ok(()));
        assert!(matches!(replayed, Err(LogError::Damaged { .. })), "{replayed:?}");
    }
}
