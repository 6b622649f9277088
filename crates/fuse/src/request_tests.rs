//! Golden messages, and hostile ones.

use super::*;

/// Builds a message as the kernel does.
pub(crate) fn message(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&((abi::IN_HEADER_BYTES + body.len()) as u32).to_ne_bytes());
    bytes.extend_from_slice(&opcode.to_ne_bytes());
    bytes.extend_from_slice(&7u64.to_ne_bytes());
    bytes.extend_from_slice(&node.to_ne_bytes());
    for id in [1000u32, 100, 4242] {
        bytes.extend_from_slice(&id.to_ne_bytes());
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(body);
    bytes
}

fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn pairs(values: &[(u32, u32)]) -> Vec<u8> {
    values.iter().flat_map(|(low, high)| [low.to_ne_bytes(), high.to_ne_bytes()].concat()).collect()
}

fn decode(opcode: Opcode, body: &[u8]) -> Operation<'static> {
    // Leaked so that the borrow outlives the call; a few bytes per test.
    let message: &'static [u8] = Vec::leak(message(opcode as u32, 9, body));
    Request::decode(message).unwrap().operation
}

#[test]
fn a_header_is_read_as_the_kernel_lays_it_out() {
    #[rustfmt::skip]
    let golden: &[u8] = &[
        44, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        0xe8, 3, 0, 0, 100, 0, 0, 0, 0x39, 5, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c', 0,
    ];
    if cfg!(target_endian = "big") {
        return;
    }
    let request = Request::decode(golden).unwrap();
    assert_eq!(
        request.header,
        Header { opcode: 1, unique: 2, node: 1, uid: 1000, gid: 100, pid: 1337, request: 0 }
    );
    assert_eq!(request.operation, Operation::Lookup { name: b"abc" });
}

#[test]
fn names_are_bytes() {
    let name = b"\xff\xfe \n\x01";
    let body = [name.as_slice(), b"\0"].concat();
    assert_eq!(decode(Opcode::Unlink, &body), Operation::Unlink { name });
    let body = [&body[..], b"../target\0"].concat();
    assert_eq!(decode(Opcode::Symlink, &body), Operation::Symlink { name, target: b"../target" });
}

#[test]
fn nodes_are_made_with_mode_and_umask() {
    let body = [pairs(&[(0o100_644, 0x103), (0o22, 0)]), b"n\0".to_vec()].concat();
    let mknod = Operation::Mknod { name: b"n", mode: 0o100_644, rdev: 0x103, umask: 0o22 };
    assert_eq!(decode(Opcode::Mknod, &body), mknod);
    let body = [pairs(&[(0o2, 0o100_600), (0o77, 0)]), b"n\0".to_vec()].concat();
    let create = Operation::Create { name: b"n", flags: 2, mode: 0o100_600, umask: 0o77 };
    assert_eq!(decode(Opcode::Create, &body), create);
    assert_eq!(decode(Opcode::Tmpfile, &body), Operation::Tmpfile { flags: 2, mode: 0o100_600, umask: 0o77 });
    let body = [pairs(&[(0o40_755, 0o22)]), b"n\0".to_vec()].concat();
    assert_eq!(decode(Opcode::Mkdir, &body), Operation::Mkdir { name: b"n", mode: 0o40_755, umask: 0o22 });
}

#[test]
fn both_renames_are_one_operation() {
    let names = b"old\0new\0".to_vec();
    let rename = Operation::Rename { name: b"old", to: 5, new_name: b"new", flags: 0 };
    assert_eq!(decode(Opcode::Rename, &[words(&[5]), names.clone()].concat()), rename);
    let body = [words(&[5]), pairs(&[(2, 0)]), names].concat();
    let exchange = Operation::Rename { name: b"old", to: 5, new_name: b"new", flags: 2 };
    assert_eq!(decode(Opcode::Rename2, &body), exchange);
}

#[test]
fn data_is_bounded_by_the_message() {
    let head = [words(&[0, 4096]), pairs(&[(3, 4)]), words(&[0, 0])].concat();
    let body = [&head[..], b"abc"].concat();
    assert_eq!(decode(Opcode::Write, &body), Operation::Write { offset: 4096, flags: 4, data: b"abc" });
    for size in [4, u32::MAX] {
        let head = [words(&[0, 0]), pairs(&[(size, 0)]), words(&[0, 0])].concat();
        let message = message(Opcode::Write as u32, 9, &[&head[..], b"abc"].concat());
        assert!(matches!(Request::decode(&message), Err(Malformed::Short(_))));
    }
}

#[test]
fn forgets_claiming_more_than_they_hold_are_refused() {
    let body = [pairs(&[(2, 0)]), words(&[3, 1, 4, 100])].concat();
    let Operation::BatchForget { list } = decode(Opcode::BatchForget, &body) else { panic!() };
    assert_eq!(list.iter().collect::<Vec<_>>(), [(3, 1), (4, 100)]);
    for count in [3, u32::MAX] {
        let body = [pairs(&[(count, 0)]), words(&[3, 1, 4, 100])].concat();
        let message = message(Opcode::BatchForget as u32, 0, &body);
        assert!(matches!(Request::decode(&message), Err(Malformed::Short(_))));
    }
}

#[test]
fn a_short_init_has_no_second_flag_word() {
    let old = decode(Opcode::Init, &pairs(&[(7, 33), (4096, 1)]));
    assert_eq!(old, Operation::Init(Init { major: 7, minor: 33, max_readahead: 4096, flags: 1 }));
    let body = [pairs(&[(7, 45), (4096, 1 << 30), (128, 0)]), vec![0; 40]].concat();
    let Operation::Init(init) = decode(Opcode::Init, &body) else { panic!() };
    assert_eq!(init.flags, abi::init::INIT_EXT | abi::init::HAS_RESEND);
}

#[test]
fn attributes_are_set_from_the_right_words() {
    let body = [
        pairs(&[(abi::fattr::MTIME | abi::fattr::SIZE, 0)]),
        words(&[0, 77, 0, 11, 12, 13]),
        pairs(&[(1, 2), (3, 0o644), (0, 1000), (100, 0)]),
    ]
    .concat();
    assert_eq!(body.len(), 88);
    let Operation::Setattr(set) = decode(Opcode::Setattr, &body) else { panic!() };
    let expected = Setattr {
        valid: abi::fattr::MTIME | abi::fattr::SIZE,
        size: 77,
        atime: (11, 1),
        mtime: (12, 2),
        ctime: (13, 3),
        mode: 0o644,
        uid: 1000,
        gid: 100,
    };
    assert_eq!(set, expected);
}

#[test]
fn extensions_are_not_taken_for_the_body() {
    let mut bytes = message(Opcode::Lookup as u32, 1, b"name\0\0\0\0extension of 8b");
    bytes.truncate(abi::IN_HEADER_BYTES + 24);
    bytes[0..4].copy_from_slice(&64u32.to_ne_bytes());
    bytes[36..38].copy_from_slice(&2u16.to_ne_bytes());
    let request = Request::decode(&bytes).unwrap();
    assert_eq!(request.operation, Operation::Lookup { name: b"name" });
    bytes[36..38].copy_from_slice(&u16::MAX.to_ne_bytes());
    assert_eq!(Request::decode(&bytes), Err(Malformed::NoHeader));
}

#[test]
fn unknown_opcodes_are_unsupported() {
    for opcode in [0, 7, 19, 54, 4096, u32::MAX] {
        let message = message(opcode, 1, b"whatever");
        assert_eq!(Request::decode(&message).unwrap().operation, Operation::Unsupported);
    }
}

#[test]
fn hostile_bytes_never_panic() {
    // Every opcode, every truncation, with bodies of all ones, all zeros and a fixed pseudo-random filling.
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    for opcode in (0..64).chain([4096, u32::MAX]) {
        for fill in 0..40 {
            let body: Vec<u8> = match fill {
                0 => vec![0; 160],
                1 => vec![0xff; 160],
                _ => (0..160).map(|_| noise()).collect(),
            };
            let whole = message(opcode, u64::MAX, &body);
            for end in 0..=whole.len() {
                if let Ok(Request { operation: Operation::BatchForget { list }, .. }) =
                    Request::decode(&whole[..end])
                {
                    assert!(list.iter().count() * FORGET_PAIR_BYTES <= end);
                }
            }
        }
    }
}
