//! What verification finds: each flipped byte, each cut, each rewriting. Mistakes of others have their tests by name.

use super::super::faulty_disk::FaultyDisk;
use super::super::format::{
    Commit, ENTRY_HEADER_BYTES, Frame, FrameKind, HEADER_BYTES, Salt, SegmentHeader, block_sums,
    encode_entry_header, entry_data_bytes,
};
use super::super::tests::{ID, SMALL, faulty};
use super::*;
use crate::log::{Durability, Limits, Log};
use std::path::Path;
use std::sync::Arc;

/// Says in its body where its data is.
fn body(place: Place, data: &[u8]) -> Vec<u8> {
    let mut body = place.to_bytes().to_vec();
    body.extend_from_slice(&(data.len() as u32).to_le_bytes());
    body.extend_from_slice(blake3::hash(data).as_bytes());
    body
}

fn named(record: &Record<'_>) -> Option<Named> {
    let place = Place::from_bytes(record.body.get(..20)?.try_into().unwrap());
    let len = u32::from_le_bytes(record.body.get(20..24)?.try_into().unwrap());
    let hash = record.body.get(24..56)?.try_into().unwrap();
    Some(Named { place, len, hash, seq: record.seq })
}

/// A log of several log and data segments, with everything in it that a log can have.
fn make(logs: &Logs) -> Log {
    let log = logs.create(ID, b"genesis", Durability::Durable).unwrap();
    for n in 0..40u8 {
        let data = vec![n; 700 + usize::from(n) * 31];
        let place = log.put_data(&data).unwrap();
        log.append(&body(place, &data), &[]).unwrap();
        log.append(b"small", &[n; 123]).unwrap();
        if n % 5 == 0 {
            log.sync().unwrap();
        }
    }
    log.settle().unwrap();
    log
}

fn verify(logs: &Logs, expected: &Expected<'_>) -> (Verified, Vec<Problem>) {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    let mut examine = |record: Record<'_>| {
        all.extend(named(&record));
        Ok(())
    };
    let mut frames =
        logs.verify_frames(ID, expected, &mut examine, &mut |problem| problems.push(problem)).unwrap();
    let report = &mut |problem| problems.push(problem);
    frames.amount += logs.verify_data(ID, &mut all, frames.data_end, &[], report).unwrap();
    (frames, problems)
}

fn with_head(head: Head) -> Expected<'static> {
    Expected { heads: vec![(head, "a note".into())], ..Expected::default() }
}

fn files(logs: &Logs) -> Vec<PathBuf> {
    logs.files.numbers(ID).unwrap().into_iter().map(|number| logs.files.path(ID, number)).collect()
}

fn change(disk: &FaultyDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    disk.change(path.to_str().unwrap(), change);
}

#[test]
fn an_untouched_log_has_no_problem_and_all_of_it_is_looked_at() {
    let (disk, logs) = faulty(SMALL);
    let log = make(&logs);
    let head = log.head();
    let live = || log.head();
    for live in [None, Some(&live as &dyn Fn() -> Head)] {
        let (verified, problems) = verify(&logs, &Expected { live, ..with_head(head) });
        assert_eq!(problems, []);
        assert_eq!((verified.last, verified.chain), (head.seq, Some(head.chain)));
        let bytes: usize = files(&logs).iter().map(|path| disk.bytes(path).len()).sum();
        // The rest is zeros written ahead.
        assert!(verified.amount.bytes as usize <= bytes);
        assert!(verified.amount.bytes as usize > bytes - (24 << 10));
        assert!(verified.amount.objects > 120);
    }
    assert!(files(&logs).len() > 6);
}

#[test]
fn a_flipped_bit_in_any_byte_of_any_file_is_named() {
    let (disk, logs) = faulty(SMALL);
    let head = make(&logs).head();
    for path in files(&logs) {
        for at in 0..disk.bytes(&path).len() {
            change(&disk, &path, |bytes| bytes[at] ^= 1 << (at % 8));
            let (_, problems) = verify(&logs, &with_head(head));
            let is_named = problems.iter().any(|problem| problem.file == path && problem.offset <= at as u64);
            assert!(is_named, "byte {at} of {}: {problems:?}", path.display());
            change(&disk, &path, |bytes| bytes[at] ^= 1 << (at % 8));
        }
    }
    assert_eq!(verify(&logs, &with_head(head)).1, []);
}

#[test]
fn verify_hashes_payloads() {
    // Lesson: a `verify --all` that never hashed payloads.
    let (disk, logs) = faulty(SMALL);
    let head = make(&logs).head();
    let data = logs.files.path(ID, Place::DATA);
    let inline = logs.files.path(ID, 0);
    for path in [data, inline] {
        let at = disk.bytes(&path).len() / 2;
        change(&disk, &path, |bytes| bytes[at] ^= 4);
        let (_, problems) = verify(&logs, &with_head(head));
        assert!(problems.iter().any(|problem| problem.file == path), "{problems:?}");
        change(&disk, &path, |bytes| bytes[at] ^= 4);
    }
}

#[test]
fn all_damage_is_named_not_only_the_first() {
    let (disk, logs) = faulty(SMALL);
    make(&logs);
    let paths = files(&logs);
    for path in &paths {
        change(&disk, path, |bytes| bytes[HEADER_BYTES + 40] ^= 4);
    }
    let (_, problems) = verify(&logs, &Expected::default());
    for path in paths {
        assert!(problems.iter().any(|problem| problem.file == path), "{}", path.display());
    }
}

/// Rewrites a log as somebody could who knows the format: another byte in record 3, its checksum made right.
fn rewrite(disk: &FaultyDisk, logs: &Logs, relinks: Relink) {
    let mut chain = [0; 32];
    for number in logs.files.numbers(ID).unwrap().into_iter().filter(|number| number & Place::DATA == 0) {
        let path = logs.files.path(ID, number);
        let bytes = disk.bytes(&path);
        let mut header = SegmentHeader::decode(bytes.first_chunk().unwrap(), ID, number).unwrap();
        if relinks == Relink::Everything {
            header.chain_before = chain;
        }
        let mut hasher = header.begin_chain();
        let mut new = header.encode().to_vec();
        let (salt, mut at) = (Salt::new(ID, number), HEADER_BYTES);
        while let Some(first) = bytes[at..].first_chunk()
            && let Ok(padded) = Frame::padded_bytes(first)
        {
            let mut frame = Frame::decode(&bytes[at..at + padded], salt, at as u64).unwrap();
            let (mut body, mut encoded) = (frame.body.to_vec(), Vec::new());
            match frame.kind {
                FrameKind::Record if frame.seq == 3 => body[0] ^= 0x20,
                FrameKind::Record => {}
                _ if relinks == Relink::Nothing => {}
                _ => {
                    let commit = Commit::decode(&body).unwrap();
                    body = Commit { chain: *hasher.finalize().as_bytes(), ..commit }.encode().to_vec();
                }
            }
            frame.body = &body;
            frame.encode(salt, at as u64, &mut encoded);
            if frame.kind == FrameKind::Record {
                hasher.update(&encoded);
            }
            new.extend_from_slice(&encoded);
            at += padded;
        }
        chain = *hasher.finalize().as_bytes();
        new.extend_from_slice(&bytes[at..]);
        change(disk, &path, |bytes| *bytes = new);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Relink {
    /// The record's own checksum only.
    Nothing,
    /// Also the commits of its segment.
    Segment,
    /// Also every segment after it.
    Everything,
}

#[test]
fn an_audit_check_recomputes_record_hashes() {
    // Lesson: an audit check that compared links but never recomputed the hashes of records.
    let (disk, logs) = faulty(SMALL);
    make(&logs);
    rewrite(&disk, &logs, Relink::Nothing);
    let (_, problems) = verify(&logs, &Expected::default());
    assert!(problems[0].what.contains("a record was changed"), "{problems:?}");
    assert_eq!(problems[0].file, logs.files.path(ID, 0));
}

#[test]
fn data_changed_together_with_its_checksums_is_told_by_its_record() {
    let (disk, logs) = faulty(SMALL);
    make(&logs);
    let (path, start) = (logs.files.path(ID, Place::DATA), HEADER_BYTES);
    change(&disk, &path, |bytes| {
        let header = bytes[start..start + ENTRY_HEADER_BYTES].try_into().unwrap();
        let from = start + ENTRY_HEADER_BYTES;
        let to = from + entry_data_bytes(&header).unwrap();
        bytes[from + 9] ^= 4;
        let sums = block_sums(&bytes[from..to]);
        let salt = Salt::new(ID, Place::DATA);
        let forged = encode_entry_header(salt, start as u64, &bytes[from..to], &sums);
        bytes[start..from].copy_from_slice(&forged);
        bytes[to..to + sums.len()].copy_from_slice(&sums);
    });
    let (_, problems) = verify(&logs, &Expected::default());
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!((&problem.file, problem.offset), (&path, start as u64));
    assert!(problem.what.contains("is not what record 2 wrote"), "{problem:?}");
}

#[test]
fn a_relinked_log_is_told_by_the_next_segment_and_at_last_by_a_head_kept_elsewhere() {
    // Lesson: re-linked logs.
    let (disk, logs) = faulty(SMALL);
    let head = make(&logs).head();
    rewrite(&disk, &logs, Relink::Segment);
    let (_, problems) = verify(&logs, &Expected::default());
    assert!(problems[0].what.contains("does not carry on the hash"), "{problems:?}");
    assert_eq!((&problems[0].file, problems[0].offset), (&logs.files.path(ID, 1), 40));

    let (disk, logs) = faulty(SMALL);
    assert_eq!(make(&logs).head(), head);
    rewrite(&disk, &logs, Relink::Everything);
    assert_eq!(verify(&logs, &Expected::default()).1, [], "its own bytes cannot tell");
    let (_, problems) = verify(&logs, &with_head(head));
    assert!(problems[0].what.contains("a note") && problems[0].what.contains("rewritten"), "{problems:?}");
}

#[test]
fn a_log_cut_at_any_record_is_told_by_a_head() {
    // Lesson: a log whose truncation nobody saw.
    let (disk, logs) = faulty(Limits { segment_bytes: 1 << 20, ..SMALL });
    let head = make(&logs).head();
    let (path, mut ends) = (logs.files.path(ID, 0), Vec::new());
    let bytes = disk.bytes(&path);
    let mut at = HEADER_BYTES;
    while let Ok(padded) = Frame::padded_bytes(bytes[at..].first_chunk().unwrap()) {
        let frame = Frame::decode(&bytes[at..at + padded], Salt::new(ID, 0), at as u64).unwrap();
        if frame.kind == FrameKind::Record {
            ends.push(at);
        }
        at += padded;
    }
    for end in ends {
        change(&disk, &path, |bytes| bytes.truncate(end));
        let (_, problems) = verify(&logs, &with_head(head));
        assert!(problems.iter().any(|problem| problem.what.contains("it was cut")), "{end}: {problems:?}");
        change(&disk, &path, |now| now.clone_from(&bytes));
    }
}

#[test]
fn a_file_swapped_for_one_of_another_log_or_time_is_named() {
    let (disk, logs) = faulty(SMALL);
    let log = make(&logs);
    let path = logs.files.path(ID, Place::DATA);
    let other = logs.create(WorkspaceId(7), b"other", Durability::Durable).unwrap();
    other.put_data(&[1; 700]).unwrap();
    let before = disk.bytes(&path);
    let swapped = disk.bytes(&logs.files.path(WorkspaceId(7), Place::DATA));
    change(&disk, &path, |bytes| *bytes = swapped);
    let (_, problems) = verify(&logs, &with_head(log.head()));
    assert!(problems.iter().any(|problem| problem.file == path && problem.offset == 0), "{problems:?}");
    change(&disk, &path, |bytes| *bytes = before[..1000].to_vec());
    let (_, problems) = verify(&logs, &with_head(log.head()));
    assert!(problems.iter().any(|problem| problem.file == path), "{problems:?}");
}

#[test]
fn records_up_to_a_number_are_verified_without_those_behind() {
    let (disk, logs) = faulty(SMALL);
    make(&logs);
    change(
        &disk,
        files(&logs).iter().rfind(|path| path.to_string_lossy().contains("log-")).unwrap(),
        |bytes| {
            bytes[100] ^= 1;
        },
    );
    let (verified, problems) = verify(&logs, &Expected { until: Some(20), ..Expected::default() });
    assert_eq!((verified.last, problems), (20, vec![]));
}

#[test]
fn verifying_a_log_in_use_finds_no_problem() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(crate::disk::HostDisk::new(dir.path()));
    let logs = Logs::with_limits(disk, dir.path().to_owned(), Limits { segment_bytes: 40_000, ..SMALL });
    let log = make(&logs);
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..4_000u32 {
                let data = vec![n as u8; 5_000];
                let place = log.put_data(&data).unwrap();
                log.append(&body(place, &data), &[3; 99]).unwrap();
                if n % 400 == 0 {
                    log.sync().unwrap();
                }
            }
            is_done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        let live = || log.head();
        while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
            let before = log.seq();
            let (verified, problems) =
                verify(&logs, &Expected { live: Some(&live), ..with_head(log.head()) });
            assert_eq!(problems, []);
            assert!(verified.last >= before);
        }
    });
}

#[test]
fn an_append_never_reads_the_log() {
    // Lesson: an audit append that re-read the log each time.
    let (disk, logs) = faulty(Limits { segment_bytes: 1 << 20, ..SMALL });
    let log = make(&logs);
    let before = disk.reads();
    for _ in 0..1_000 {
        log.append(b"body", b"inline").unwrap();
    }
    assert_eq!(disk.reads(), before);
}
