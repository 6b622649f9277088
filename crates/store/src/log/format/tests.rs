//! The bytes of the log, against golden files: a change here is a new version of the format.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn header() -> SegmentHeader {
    SegmentHeader {
        file: 2,
        log: WorkspaceId(0x0102_0304),
        seq_before: 7,
        end_before: 4096,
        chain_before: [0xcc; 32],
    }
}

#[test]
fn a_segment_header_is_these_bytes() {
    let golden = include_str!("golden/segment.hex").trim();
    assert_eq!(hex(&header().encode()), golden);
}

#[test]
fn a_record_frame_is_these_bytes() {
    let frame = Frame {
        kind: FrameKind::Record,
        seq: 5,
        data_end: Position { segment: 1, offset: 4096 },
        body: b"body",
        inline: b"inline",
    };
    let mut bytes = Vec::new();
    frame.encode(Salt::new(WorkspaceId(9), 0), 80, &mut bytes);
    assert_eq!(hex(&bytes), include_str!("golden/record.hex").trim());
    assert_eq!(Frame::decode(&bytes, Salt::new(WorkspaceId(9), 0), 80), Ok(frame));
}

#[test]
fn a_commit_frame_is_these_bytes() {
    let commit = Commit {
        durable_log: Position { segment: 1, offset: 80 },
        durable_data: Position { segment: 2, offset: 88 },
        chain: [0xab; 32],
    };
    let body = commit.encode();
    let frame =
        Frame { kind: FrameKind::Last, seq: 6, data_end: Position::default(), body: &body, inline: &[] };
    let mut bytes = Vec::new();
    frame.encode(Salt::new(WorkspaceId(9), 0), 128, &mut bytes);
    assert_eq!(hex(&bytes), include_str!("golden/commit.hex").trim());
    assert_eq!(Commit::decode(&body), Some(commit));
    assert_eq!(Commit::decode(&body[1..]), None);
}

#[test]
fn an_entry_header_is_these_bytes() {
    let header = encode_entry_header(Salt::new(WorkspaceId(9), Place::DATA), 80, b"data", &[]);
    assert_eq!(hex(&header), include_str!("golden/entry.hex").trim());
    assert_eq!(entry_data_bytes(&header), Some(4));
    assert_eq!(entry_data_bytes(&[0; 8]), None);
    assert_eq!(entry_data_bytes(&[0xff; 8]), None);
}

#[test]
fn data_of_many_blocks_has_a_checksum_for_each_and_one_over_them() {
    let data = vec![5; BLOCK_BYTES + 1];
    let sums = block_sums(&data);
    assert_eq!(sums.len(), block_sums_bytes(data.len()));
    assert_eq!(sums[..4], crc32c::crc32c(&data[..BLOCK_BYTES]).to_le_bytes());
    assert_eq!(sums[4..], crc32c::crc32c(&[5]).to_le_bytes());
    let header = encode_entry_header(Salt::new(WorkspaceId(9), Place::DATA), 80, &data, &sums);
    assert_eq!(hex(&header), include_str!("golden/blocks.hex").trim());
    assert_eq!(block_sums(&data[1..]), []);
    assert_eq!(entry_bytes(data.len()), (8 + data.len() as u64 + 8).next_multiple_of(8));
}

#[test]
fn a_header_of_another_log_segment_or_version_is_refused() {
    let bytes = header().encode();
    assert_eq!(SegmentHeader::decode(&bytes, WorkspaceId(0x0102_0304), 2), Ok(header()));
    let other_log = SegmentHeader::decode(&bytes, WorkspaceId(1), 2);
    let other_file = SegmentHeader::decode(&bytes, WorkspaceId(0x0102_0304), 3);
    let other_kind = SegmentHeader::decode(&bytes, WorkspaceId(0x0102_0304), 2 | Place::DATA);
    for refused in [other_log, other_file, other_kind] {
        assert!(matches!(refused, Err(HeaderFault::Damaged(_))));
    }
    let mut newer = bytes;
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..HEADER_BYTES - 4]);
    newer[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&newer, WorkspaceId(0x0102_0304), 2), Err(HeaderFault::Version(2)));
}

#[test]
fn a_frame_is_right_only_where_it_was_written() {
    let frame =
        Frame { kind: FrameKind::Record, seq: 1, data_end: Position::default(), body: b"b", inline: &[] };
    let (here, mut bytes) = (Salt::new(WorkspaceId(1), 0), Vec::new());
    frame.encode(here, 80, &mut bytes);
    assert!(Frame::decode(&bytes, here, 80).is_ok());
    assert!(Frame::decode(&bytes, here, 88).is_err());
    assert!(Frame::decode(&bytes, Salt::new(WorkspaceId(1), 1), 80).is_err());
    assert!(Frame::decode(&bytes, Salt::new(WorkspaceId(2), 0), 80).is_err());
}
