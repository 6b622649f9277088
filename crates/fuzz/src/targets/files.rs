//! Files of the home: logs, manifests, packs. Right sums are put in, so that what they guard is reached.

use std::path::Path;
use std::sync::Arc;
use weald_model::{Ino, Oid, Silent, Timestamp, WorkspaceId};
use weald_store::cas;
use weald_store::chunks::{CHUNK_BYTES_MAX, Chunks, pack};
use weald_store::content_packs::{ContentPacks, format as content};
use weald_store::disk::{Disk, Map, OpenMode};
use weald_store::log::format::{self, Commit, Frame, FrameKind, HEADER_BYTES, Position, Salt, SegmentHeader};
use weald_store::log::verify::Expected;
use weald_store::log::{Durability, Logs, Place};
use weald_store::manifest::{self, Manifest};
use weald_testkit::crash_disk::CrashDisk;
use weald_testkit::source::{MemorySource, Tree};

const ID: WorkspaceId = WorkspaceId(1);

/// A file in a disk of its own.
fn disk_with(path: &Path, bytes: &[u8]) -> Arc<CrashDisk> {
    let disk = Arc::new(CrashDisk::default());
    let dirs = path.ancestors().skip(1).filter(|dir| dir.parent().is_some()).collect::<Vec<_>>();
    dirs.iter().rev().for_each(|dir| disk.make_dir(dir).expect("it is a disk in memory"));
    let file = disk.open(path, OpenMode::CreateNew).expect("it is a disk in memory");
    file.write_at(&[bytes], 0).expect("it is a disk in memory");
    disk
}

fn read_all(disk: &CrashDisk, path: &Path) -> Vec<u8> {
    disk.map(path).expect("it is a file").to_vec()
}

/// A frame, a header of a segment, an entry of data, a commit.
pub(super) fn frame(bytes: &[u8]) {
    let salt = Salt::new(ID, 1);
    let mut fixed = bytes.to_vec();
    for bytes in [bytes, fix_frame(&mut fixed, salt, 0)] {
        if let Ok(frame) = Frame::decode(bytes, salt, 0) {
            let mut again = Vec::new();
            frame.encode(salt, 0, &mut again);
            assert_eq!(Frame::decode(&again, salt, 0), Ok(frame));
        }
        if let Some(commit) = Commit::decode(bytes) {
            assert_eq!(commit.encode(), bytes);
        }
        if let Some(header) = bytes.first_chunk::<{ format::ENTRY_HEADER_BYTES }>()
            && let Some(len) = format::entry_data_bytes(header)
        {
            assert!(len <= format::DATA_BYTES_MAX && format::entry_bytes(len) > len as u64);
        }
    }
    if let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
        let _ = SegmentHeader::decode(header, ID, 1);
        let mut header = *header;
        fix_tail(&mut header);
        if let Ok(read) = SegmentHeader::decode(&header, ID, 1) {
            assert_eq!(read.encode(), header);
        }
    }
}

pub(super) fn frame_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![header(Place::DATA).encode().to_vec(), header(1).encode().to_vec()];
    for kind in [FrameKind::Record, FrameKind::Commit, FrameKind::Last] {
        let commit =
            Commit { durable_log: Position::default(), durable_data: Position::default(), chain: [7; 32] };
        let mut bytes = Vec::new();
        let body = commit.encode();
        Frame { kind, seq: 3, data_end: Position::default(), body: &body, inline: b"inline" }.encode(
            Salt::new(ID, 1),
            0,
            &mut bytes,
        );
        seeds.extend([bytes, body.to_vec()]);
    }
    seeds
}

fn header(file: u32) -> SegmentHeader {
    SegmentHeader { file, log: ID, seq_before: 0, end_before: 0, chain_before: [0; 32] }
}

/// Puts the sum of a frame that begins `bytes` right, as long as it says it is; gives that frame.
fn fix_frame(bytes: &mut [u8], salt: Salt, offset: u64) -> &[u8] {
    let Some(header) = bytes.first_chunk() else { return bytes };
    let Ok(len) = Frame::padded_bytes(header) else { return bytes };
    let Some(frame) = bytes.get_mut(..len) else { return bytes };
    let sum = salt.crc(offset, &frame[4..]);
    frame[..4].copy_from_slice(&sum.to_le_bytes());
    &bytes[..len]
}

/// The sum of all before it, at the end.
fn fix_tail(bytes: &mut [u8]) {
    let Some(at) = bytes.len().checked_sub(4) else { return };
    let sum = crc32c::crc32c(&bytes[..at]);
    bytes[at..].copy_from_slice(&sum.to_le_bytes());
}

/// What stands behind the header of the first segment of a log; the first byte says in how many frames sums are put right.
pub(super) fn segment(bytes: &[u8]) {
    let Some((&right, bytes)) = bytes.split_first() else { return };
    let mut file = header(0).encode().to_vec();
    file.extend_from_slice(bytes);
    let (mut at, salt) = (HEADER_BYTES, Salt::new(ID, 0));
    for _ in 0..right {
        match file.get_mut(at..).map(|rest| fix_frame(rest, salt, at as u64).len()) {
            Some(len) if len > 0 => at += len,
            _ => break,
        }
    }
    let disk = disk_with(&Path::new("/logs").join(ID.to_string()).join(SEGMENT), &file);
    let logs = Logs::new(disk, "/logs".into());
    let _ = logs.verify_frames(ID, &Expected::default(), &mut |_| Ok(()), &mut |_| {});
    let _ = logs.replay_until(ID, 3, &mut |_| Ok(()));
    let _ = logs.reader(ID).read_until(u64::MAX, &mut |_| Ok(()));
    if let Ok((log, recovery)) = logs.open(ID, &mut |_| Ok(())) {
        let added = log.append(b"one more", b"").is_ok() && log.sync().is_ok();
        let seq = log.seq();
        drop(log);
        let again = logs.open(ID, &mut |_| Ok(())).map(|(log, again)| (log.seq(), again.records));
        match again {
            Ok(found) if added => {
                assert_eq!(found, (seq, recovery.records + 1), "what was opened opens again")
            }
            _ => assert!(!added, "a log that takes a record opens"),
        }
    }
    let place = Place { log: ID, file: 0, offset: HEADER_BYTES as u64 };
    let _ = logs.read(place, 0, &mut [0; 16]);
}

/// Name of the first segment.
const SEGMENT: &str = "log-00000000";

pub(super) fn segment_seeds() -> Vec<Vec<u8>> {
    let disk = Arc::new(CrashDisk::default());
    disk.make_dir(Path::new("/logs")).expect("it is a disk in memory");
    let logs = Logs::new(disk.clone(), "/logs".into());
    let mut seeds = Vec::new();
    let mut see = || {
        let file = read_all(&disk, &Path::new("/logs").join(ID.to_string()).join(SEGMENT));
        let end = file.iter().rposition(|byte| *byte != 0).map_or(HEADER_BYTES, |at| at + 1);
        seeds.push([&[200][..], &file[HEADER_BYTES..end.next_multiple_of(8).min(file.len())]].concat());
    };
    let log = logs.create(ID, b"genesis", Durability::Later).expect("it is a disk in memory");
    see();
    for number in 0..3u8 {
        log.append(&[number; 20], b"inline").expect("it is a disk in memory");
        see();
        log.sync().expect("it is a disk in memory");
        see();
    }
    seeds
}

/// A manifest, its header summed.
pub(super) fn manifest(bytes: &[u8]) {
    let mut file = bytes.to_vec();
    if let Some(header) = file.get_mut(..manifest::format::HEADER_BYTES) {
        fix_tail(header);
    }
    if let Some(at) = file.len().checked_sub(manifest::format::TRAILER_BYTES) {
        let hash = *blake3::hash(&file[..at]).as_bytes();
        file[at..].copy_from_slice(&hash);
    }
    let Ok(manifest) = Manifest::open(Map::from_bytes(file)) else { return };
    let is_sound = manifest.verify().is_ok();
    for ino in (0..=manifest.len().min(300) + 1).map(Ino) {
        let node = manifest.node(ino);
        assert!(!is_sound || node.is_ok() == (ino.0 != 0 && ino.0 <= manifest.len()), "node {}", ino.0);
        let _ = (manifest.node_name(ino).map(<[u8]>::len), manifest.child(ino, b"name"), manifest.size(ino));
        let Ok(children) = manifest.children(ino) else { continue };
        for child in children.take(50).map(Ino) {
            if is_sound {
                let name = manifest.node_name(child).expect("a sound manifest has its names").to_vec();
                assert!(matches!(manifest.child(ino, &name), Ok(Some(found)) if found == child));
            }
        }
    }
}

pub(super) fn manifest_seeds() -> Vec<Vec<u8>> {
    let source = MemorySource::default();
    let trees = [
        Tree::dir([]),
        Tree::dir([
            ("a", Tree::file("x")),
            ("b", Tree::dir([("c", Tree::Symlink(b"../a".to_vec()))])),
            ("m", Tree::Gitlink),
        ]),
    ];
    let build = |tree: &Tree| {
        Manifest::build(&source, &source.add(tree), Timestamp::from_secs(9), &Silent)
            .expect("the tree is sound")
    };
    trees.iter().map(build).collect()
}

/// A pack of chunks, its index hashed and named.
pub(super) fn chunk_pack(bytes: &[u8]) {
    let mut file = bytes.to_vec();
    if let Some(at) = file.len().checked_sub(pack::TRAILER_BYTES) {
        let start = u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes"));
        let start = usize::try_from(start).unwrap_or(0).min(file.len() - 32);
        let end = file.len() - 32;
        let hash = *blake3::hash(&file[start..end]).as_bytes();
        file[end..].copy_from_slice(&hash);
        let path = Path::new("/chunks").join(pack::name(&file[start..]));
        let chunks = Chunks::new(disk_with(&path, &file), "/chunks".into());
        let _ = chunks.damaged_packs();
        let checked = chunks.verify().expect("what is wrong with a pack is no error");
        assert!(checked.bytes <= checked.chunks * CHUNK_BYTES_MAX as u64);
        for hash in file.windows(32).take(3) {
            let _ = chunks.read(hash.try_into().expect("32 bytes"));
        }
        if let Some(hash) = file.get(start..start + 32) {
            let hash = hash.try_into().expect("32 bytes");
            if let Ok(content) = chunks.read(&hash) {
                assert_eq!(cas::hash(&content), hash, "what is read is what was asked for");
            }
        }
    }
}

pub(super) fn chunk_pack_seeds() -> Vec<Vec<u8>> {
    let disk = Arc::new(CrashDisk::default());
    disk.make_dir(Path::new("/chunks")).expect("it is a disk in memory");
    let chunks = Chunks::new(disk.clone(), "/chunks".into());
    let mut writer = chunks.writer();
    for content in [&b"short"[..], &[0; 3000], b""] {
        writer.put(content).expect("it is a disk in memory");
    }
    writer.finish().expect("it is a disk in memory");
    let names = disk.list(Path::new("/chunks")).expect("it is a directory");
    names.iter().map(|name| read_all(&disk, &Path::new("/chunks").join(name))).collect()
}

/// A content pack, its header summed and its index hashed.
pub(super) fn content_pack(bytes: &[u8]) {
    let mut file = bytes.to_vec();
    let Some(trailer) = file.len().checked_sub(content::TRAILER_BYTES) else { return };
    if let Some(header) = file.get_mut(..content::HEADER_BYTES) {
        fix_tail(header);
    }
    let start = u64::from_le_bytes(file[trailer..trailer + 8].try_into().expect("eight bytes"));
    let (start, end) = (usize::try_from(start).unwrap_or(0).min(file.len() - 32), file.len() - 32);
    let hash = *blake3::hash(&file[start..end]).as_bytes();
    file[end..].copy_from_slice(&hash);
    let tree = Oid::new(&[9; 20]).expect("20 bytes are an id");
    let path = Path::new("/content").join(content::name(&tree, 1));
    let Ok(layout) = content::Layout::decode(&file, &path) else { return };
    let packs = ContentPacks::new(disk_with(&path, &file), "/content".into());
    let _ = packs.verify(&|_, content| content.len() < 100);
    for at in 0..layout.count.min(100) {
        let slot = layout.slot(&file, at);
        let _ = packs.size(&slot.id);
        if let Ok(Some(content)) = packs.read(&slot.id) {
            assert!(content.len() as u64 <= u64::from(u32::MAX));
        }
    }
    let _ = packs.list();
}

pub(super) fn content_pack_seeds() -> Vec<Vec<u8>> {
    let disk = Arc::new(CrashDisk::default());
    disk.make_dir(Path::new("/content")).expect("it is a disk in memory");
    let packs = ContentPacks::new(disk.clone(), "/content".into());
    let id = |byte: u8| Oid::new(&[byte; 20]).expect("20 bytes are an id");
    let mut writer = packs.writer(&id(9));
    for (number, content) in [&b"short"[..], &[0; 3000]].iter().enumerate() {
        writer.put(&id(number as u8 + 1), content).expect("it is a disk in memory");
    }
    writer.finish().expect("it is a disk in memory");
    let names = disk.list(Path::new("/content")).expect("it is a directory");
    names.iter().map(|name| read_all(&disk, &Path::new("/content").join(name))).collect()
}
