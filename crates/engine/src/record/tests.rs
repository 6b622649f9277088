//! Records survive encoding; anything else is refused without a panic.

use super::*;
use crate::rules::{DeletionLimit, PathRule, Rules};
use proptest::prelude::*;

fn sample() -> impl Strategy<Value = Record> {
    let ino = prop_oneof![(1u64..1 << 32).prop_map(Ino), ((1u64 << 32)..1 << 40).prop_map(Ino)];
    let name =
        prop::collection::vec(1u8..255, 1..40).prop_filter_map("a name", |bytes| Name::new(&bytes).ok());
    let change = (ino.clone(), ino, name, any::<u64>(), any::<u32>(), 0u8..26).prop_map(
        |(ino, parent, name, number, small, which)| match which {
            0 => Change::Forked { child: WorkspaceId(number) },
            1 => Change::Link { ino, parent, name },
            2 => Change::Remove { parent, name },
            3 => Change::Rename {
                from: ino,
                name: name.clone(),
                to: parent,
                new_name: name,
                mode: RenameMode::Exchange,
                whiteout: None,
            },
            4 => Change::Write {
                ino,
                offset: number,
                len: small,
                stored: match small % 2 {
                    0 => Stored::Inline,
                    _ => Stored::At {
                        place: Place { log: WorkspaceId(number), file: small, offset: number },
                        hash: [9; 32],
                    },
                },
                drop_privileges: true,
            },
            5 => Change::Attach { ino, hash: [7; 32], len: number },
            6 => Change::Set {
                ino,
                fields: Fields { size: Some(number), perm: Some(0o644), ..Fields::default() },
            },
            7 => Change::Allocate {
                ino,
                offset: number,
                len: 1,
                mode: AllocateMode::PunchHole,
                drop_privileges: false,
            },
            8 => Change::Copy {
                from: ino,
                from_offset: 0,
                to: parent,
                to_offset: number,
                len: 9,
                drop_privileges: false,
            },
            9 => Change::SetXattr { ino, name: b"user.x".to_vec(), value: vec![1; 300], perm: Some(0o7777) },
            10 => Change::RemoveXattr { ino, name: b"user.x".to_vec(), perm: None },
            11 => Change::Purge { ino },
            13 => Change::Program { number: small, name: ProgramName::new(name.as_bytes()).unwrap() },
            12 => Change::Origin {
                tree: Oid::new(&[9; 20]),
                uid: small,
                gid: 0,
                parent: (small != 0).then_some((WorkspaceId(number), number)),
                root: if small > 1 << 31 { Root::Durable } else { Root::Mark },
                note: vec![1, 2],
            },
            14 => Change::Snapshot {
                id: SnapshotId(number),
                note: "before the merge".to_owned(),
                tags: vec!["v1".to_owned(), "\u{e4}".to_owned()],
                occasion: Occasion::Timer,
            },
            22 => Change::Reads { on: small % 2 == 0 },
            24 => Change::Sized { ino, size: number },
            23 => Change::Opened { ino, executes: small % 2 == 0 },
            25 => Change::Rules(Box::new(match small % 3 {
                0 => RuleChange::Stopped,
                1 => RuleChange::Confirmed { until: Timestamp { secs: number as i64, nanos: 7 } },
                _ => RuleChange::Set(some_rules(number)),
            })),
            19 => Change::Reclaimed {
                pieces: vec![Piece { file: small, from: number / 2, to: number / 2 + u64::from(small) }],
            },
            20 => Change::Sealed {
                snapshot: SnapshotId(number),
                seal: Seal { root: [small as u8; 32], checkpoint: [7; 32] },
            },
            21 => Change::Moved {
                table: [7; 32],
                pieces: vec![Piece { file: small, from: number / 2, to: number / 2 + u64::from(small) }],
            },
            15 => Change::DropSnapshot { id: SnapshotId(number) },
            16 => Change::Tag { id: SnapshotId(number), tags: vec!["v2".to_owned()] },
            17 => Change::Restore {
                to: Point { log: WorkspaceId(number), seq: number },
                paths: vec![vec![name.clone(), name], Vec::new()],
                why: Why::Redo,
            },
            _ => Change::Make(Box::new(Make {
                place: Some((parent, name)),
                ino,
                kind: FileKind::Symlink,
                perm: 0o777,
                uid: small,
                gid: small,
                rdev: 0,
                target: b"a/b".to_vec(),
                xattrs: vec![(b"user.a".to_vec(), vec![])],
            })),
        },
    );
    (any::<i64>(), 0u32..1_000_000_000, any::<u32>(), change).prop_map(|(secs, nanos, pid, change)| Record {
        time: Timestamp { secs, nanos },
        pid,
        uid: pid,
        program: pid / 2,
        request: secs as u64,
        change,
    })
}

fn some_rules(number: u64) -> Rules {
    let paths = [(b"".to_vec(), PathRule::ReadOnly), (b"a/.env".to_vec(), PathRule::Masked)].into();
    let max_deletions = Some(DeletionLimit { count: 7, seconds: 60 });
    Rules { paths, max_bytes: Some(number), max_files: None, max_deletions }
}

proptest! {
    #[test]
    fn a_record_decodes_to_what_was_encoded_and_no_prefix_of_it_does(record in sample()) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
        for end in 0..bytes.len() {
            prop_assert!(Record::decode(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&bytes);
    }
}

#[test]
fn records_of_history_are_written_as_the_format_says() {
    let golden = |change: Change| {
        let time = Timestamp { secs: 1, nanos: 2 };
        let mut bytes = Vec::new();
        Record { time, pid: 3, uid: 4, program: 5, request: 6, change }.encode(&mut bytes);
        assert_eq!(bytes[..6], [2, 2, 3, 4, 5, 6], "time, process, user, program, request");
        bytes[6..].to_vec()
    };
    let name = |name: &[u8]| Name::new(name).unwrap();
    let id = SnapshotId(300);
    let tags = vec!["a".to_owned(), "bc".to_owned()];
    let (note, occasion) = ("hi".to_owned(), Occasion::BeforeRestore);
    let snapshot = Change::Snapshot { id, note, tags: tags.clone(), occasion };
    assert_eq!(golden(snapshot), b"\x0f\xac\x02\x02hi\x02\x01a\x02bc\x03");
    assert_eq!(golden(Change::DropSnapshot { id }), b"\x10\xac\x02");
    let seal = Seal { root: [1; 32], checkpoint: [2; 32] };
    let sealed = [&b"\x15\xac\x02"[..], &[1; 32], &[2; 32]].concat();
    assert_eq!(golden(Change::Sealed { snapshot: id, seal }), sealed);
    assert_eq!(golden(Change::Tag { id, tags }), b"\x11\xac\x02\x02\x01a\x02bc");
    let to = Point { log: WorkspaceId(9), seq: 200 };
    let paths = vec![vec![name(b"d"), name(b"ef")], Vec::new()];
    assert_eq!(
        golden(Change::Restore { to, paths, why: Why::Undo }),
        b"\x12\x09\xc8\x01\x02\x02\x01d\x02ef\x00\x01"
    );
    let (tree, parent, note) = (None, Some((WorkspaceId(7), 8)), vec![1]);
    let origin = Change::Origin { tree, uid: 1, gid: 2, parent, root: Root::Durable, note };
    assert_eq!(golden(origin), [1, 0, 1, 2, 2, 7, 8, 1, 1]);
}
