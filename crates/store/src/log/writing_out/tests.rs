//! What is begun with early: no more than was put, nothing twice, nothing of what is little; and that nobody waits for it.

use super::super::faulty_disk::FaultyDisk;
use super::super::format::ENTRY_HEADER_BYTES;
use super::super::tests::{ID, faulty};
use super::super::{Durability, Limits};
use super::*;
use crate::disk::{Disk, OpenMode};
use std::sync::mpsc::sync_channel;

const MIB: usize = 1 << 20;

#[test]
fn a_long_stream_is_begun_with_before_its_sync_and_a_short_one_is_not() {
    let (disk, logs) = faulty(Limits::default());
    let (told, pieces) = sync_channel(100);
    disk.tell_written_out(told);
    let log = logs.create(ID, b"genesis", Durability::Later).unwrap();
    let data = vec![7; MIB];
    for _ in 0..STREAM_BYTES as usize / MIB - 1 {
        log.put_data(&data).unwrap();
    }
    log.sync().unwrap();
    let synced = log.put_data(&data).unwrap().offset - ENTRY_HEADER_BYTES as u64;
    for _ in 0..2 * STREAM_BYTES as usize / MIB {
        log.put_data(&data).unwrap();
    }
    let end = log.put_data(&data).unwrap().offset + MIB as u64;
    // What was synced is not begun with: it is all behind it.
    let mut upto = synced;
    while end - upto > u64::from(PIECE_BYTES) + 2 * MIB as u64 {
        let (offset, len) = pieces.recv().unwrap();
        assert_eq!(offset, upto);
        upto = offset + len;
        assert!(upto <= end && upto.is_multiple_of(BLOCK_BYTES as u64));
    }
    drop(log);
}

#[test]
fn all_of_a_stream_is_begun_with_once_over_the_ends_of_segments() {
    const SEGMENT_BYTES: u32 = 50_000_000;
    let mut written_out = WrittenOut::default();
    written_out.synced(0);
    let (mut end, mut upto, mut put) = (HEADER_BYTES as u32, HEADER_BYTES as u64, 0);
    let check = |piece: Option<(u64, u64)>, upto: &mut u64, end: u32| {
        if let Some((offset, len)) = piece {
            // The header of the first segment goes with the data.
            assert!(offset == *upto || (offset == 0 && *upto == HEADER_BYTES as u64));
            *upto = offset + len;
            assert!(len > 0 && *upto <= u64::from(end));
        }
    };
    for size in (0..400).map(|number| 100_000 + number * 7_919 % 1_000_000) {
        if end + size > SEGMENT_BYTES {
            check(written_out.ended(end), &mut upto, end);
            assert!(upto == u64::from(end), "all of an ended segment");
            (end, upto) = (HEADER_BYTES as u32, HEADER_BYTES as u64);
        }
        end += size;
        put += u64::from(size);
        check(written_out.put(size.into(), end), &mut upto, end);
        let behind = u64::from(end) - upto;
        let most = u64::from(PIECE_BYTES) + BLOCK_BYTES as u64;
        assert!(put < STREAM_BYTES || behind < most, "{behind} bytes of a long stream were left");
    }
    written_out.synced(end);
    assert_eq!(written_out.ended(end), None, "what a sync has reached");
}

#[test]
fn who_puts_does_not_wait_for_a_disk_that_lags_and_the_thread_ends_with_the_work() {
    let disk = FaultyDisk::default();
    // Each piece waits until it is taken here.
    let (told, pieces) = sync_channel(0);
    disk.tell_written_out(told);
    let file = disk.open("/file".as_ref(), OpenMode::CreateNew).unwrap();
    let writing_out = Arc::new(WritingOut::default());
    for round in 0..2 {
        for number in 0..1_000 {
            writing_out.begin(file.clone(), (number, 1));
        }
        let begun = std::iter::from_fn(|| pieces.recv_timeout(2 * REST).ok()).count();
        assert!((WAITING_MAX..=WAITING_MAX + 1).contains(&begun), "{begun} in round {round}");
        while Arc::strong_count(&writing_out) > 1 {
            std::thread::yield_now();
        }
    }
}
