//! Golden replies, by the sizes and offsets of the kernel's structures.

use super::*;
use weald_model::Ino;

fn attr() -> Attr {
    let time = |nanos| Timestamp { secs: i64::from(nanos) * 10, nanos };
    Attr {
        ino: Ino(0x1_0000_0001),
        kind: FileKind::File,
        perm: 0o4755,
        nlink: 2,
        uid: 3,
        gid: 4,
        rdev: (8 << 8) | 17,
        size: 5,
        blocks: 6,
        atime: time(1),
        mtime: time(2),
        ctime: time(3),
        btime: time(4),
    }
}

fn started() -> Reply {
    let mut reply = Reply::default();
    reply.start();
    reply
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn a_header_tells_length_error_and_id() {
    let mut reply = started();
    reply.u64(1);
    let golden = [24u32.to_ne_bytes(), 0u32.to_ne_bytes()].concat();
    assert_eq!(reply.finish(9)[..8], golden);
    let failed = reply.fail(9, Errno::NotFound);
    assert_eq!(failed.len(), 16);
    assert_eq!((u32_at(failed, 0), u32_at(failed, 4) as i32, u64_at(failed, 8)), (16, -2, 9));
}

#[test]
fn an_entry_is_valid_for_ever() {
    let mut reply = started();
    reply.entry(&attr());
    let bytes = reply.finish(1)[16..].to_vec();
    assert_eq!(bytes.len(), abi::ENTRY_OUT_BYTES);
    assert_eq!((u64_at(&bytes, 0), u64_at(&bytes, 8)), (0x1_0000_0001, 0));
    assert_eq!((u64_at(&bytes, 16), u64_at(&bytes, 24)), (FOR_EVER_SECS, FOR_EVER_SECS));
    let attr = &bytes[40..];
    assert_eq!((u64_at(attr, 8), u64_at(attr, 16), u64_at(attr, 24)), (5, 6, 10));
    assert_eq!((u32_at(attr, 52), u32_at(attr, 56), u32_at(attr, 60)), (2, 3, 0o104_755));
    assert_eq!((u32_at(attr, 64), u32_at(attr, 68), u32_at(attr, 72)), (2, 3, 4));
    assert_eq!((u32_at(attr, 76), u32_at(attr, 80), u32_at(attr, 84)), ((8 << 8) | 17, 4096, 0));
}

#[test]
fn a_negative_entry_has_node_0_and_lasts() {
    let mut reply = started();
    reply.negative_entry();
    let bytes = reply.finish(1)[16..].to_vec();
    assert_eq!(bytes.len(), abi::ENTRY_OUT_BYTES);
    assert_eq!((u64_at(&bytes, 0), u64_at(&bytes, 16)), (0, FOR_EVER_SECS));
}

#[test]
fn statx_has_the_birth_time() {
    let mut reply = started();
    reply.statx(&attr());
    let bytes = reply.finish(1)[16..].to_vec();
    assert_eq!(bytes.len(), 32 + 256);
    let stat = &bytes[32..];
    assert_eq!(u32_at(stat, 0), 0xfff);
    assert_eq!((u32_at(stat, 16), u64_at(stat, 32), u64_at(stat, 40)), (2, 0x1_0000_0001, 5));
    assert_eq!((u64_at(stat, 80), u32_at(stat, 88)), (40, 4));
    assert_eq!((u32_at(stat, 128), u32_at(stat, 132)), (8, 17));
}

#[test]
fn fixed_replies_have_the_kernels_sizes() {
    let size = |make: &dyn Fn(&mut Reply)| {
        let mut reply = started();
        make(&mut reply);
        reply.body_bytes()
    };
    assert_eq!(size(&|reply| reply.attr(&attr())), 16 + abi::ATTR_BYTES);
    assert_eq!(size(&|reply| reply.statfs(&StatFs::default())), 80);
    assert_eq!(size(&|reply| reply.written(1)), 8);
    assert_eq!(size(&|reply| reply.opened()), 16);
    let init = InitOut {
        minor: 45,
        max_readahead: 0,
        flags: 0,
        max_background: 0,
        congestion_threshold: 0,
        max_write: 0,
        max_pages: 0,
    };
    assert_eq!(size(&|reply| reply.init(&init)), abi::INIT_OUT_BYTES);
}

#[test]
fn directory_pages_stop_at_the_limit_and_are_aligned() {
    for plus in [false, true] {
        let mut reply = started();
        let dirent = Dirent { ino: 5, generation: 0, next: 6, kind: FileKind::Dir, name: b"abcde" };
        let one = 32 + if plus { abi::ENTRY_OUT_BYTES } else { 0 };
        let attr = attr();
        let node = plus.then_some(Some(&attr));
        assert!(reply.dirent(&dirent, node, 2 * one + 31));
        assert!(reply.dirent(&dirent, plus.then_some(None), 2 * one + 31));
        assert!(!reply.dirent(&dirent, node, 2 * one + 31));
        assert_eq!(reply.body_bytes(), 2 * one);
        let bytes = reply.finish(1)[16..].to_vec();
        assert_eq!(bytes.len(), 2 * one);
        let dirent = &bytes[one - 32..];
        assert_eq!((u64_at(dirent, 0), u64_at(dirent, 8)), (5, 6));
        assert_eq!((u32_at(dirent, 16), u32_at(dirent, 20)), (5, 4));
        assert_eq!(&dirent[24..32], b"abcde\0\0\0");
        let nodes = if plus { (0x1_0000_0001, 0) } else { (5, 5) };
        assert_eq!((u64_at(&bytes, 0), u64_at(&bytes, one)), nodes);
    }
}

#[test]
fn device_numbers_split_as_the_kernel_encodes_them() {
    // new_encode_dev(MKDEV(259, 300)).
    assert_eq!(split_device((300 & 0xff) | (259 << 8) | ((300 & !0xff) << 12)), (259, 300));
}
