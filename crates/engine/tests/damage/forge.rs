//! Changes by somebody who knows the format: every checksum is made right again, and, as far as he cares, every hash.

use crate::Luck;
use crate::scene::{ALL, Scene, put};
use std::path::{Path, PathBuf};
use weald_model::WorkspaceId;
use weald_store::chunks::pack::{self, SLOT_BYTES, Slot, TRAILER_BYTES};
use weald_store::disk::Disk;
use weald_store::log::Place;
use weald_store::log::format::{
    COMMIT_BYTES, Commit, ENTRY_HEADER_BYTES, Frame, FrameKind, HEADER_BYTES, Position, Salt, SegmentHeader,
    block_sums, encode_entry_header, entry_data_bytes,
};
use weald_testkit::crash_disk::CrashDisk;

/// A file and its bytes.
type File = (PathBuf, Vec<u8>);

/// How much is made right behind a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Relink {
    /// The checksum of the record.
    Record,
    /// Also the commits of its segment.
    Segment,
    /// Also every segment behind it.
    Everything,
}

/// A frame with bytes of its own.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    kind: FrameKind,
    seq: u64,
    data_end: Position,
    body: Vec<u8>,
    inline: Vec<u8>,
}

/// A segment of a log, apart.
struct Segment {
    path: PathBuf,
    number: u32,
    header: SegmentHeader,
    frames: Vec<Owned>,
    len: usize,
}

/// Changes what one log or pack says; tells what was done.
pub(crate) fn forge(scene: &Scene, disk: &CrashDisk, luck: &mut Luck) -> String {
    let files = scene.files();
    loop {
        let done = match luck.below(4) {
            0 => forge_data(&files, disk, luck),
            1 => forge_pack(&files, disk, luck),
            _ => forge_log(&files, disk, luck),
        };
        if let Some(what) = done {
            return what;
        }
    }
}

fn is_of(path: &Path, log: WorkspaceId, kind: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.starts_with(Path::new("/logs").join(log.to_string())) && name.starts_with(kind)
}

fn number_of(path: &Path) -> u32 {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    name.split('-').nth(1).unwrap().parse().unwrap()
}

fn take_apart(path: &Path, bytes: &[u8], log: WorkspaceId) -> Segment {
    let number = number_of(path);
    let header = SegmentHeader::decode(bytes.first_chunk().unwrap(), log, number).unwrap();
    let (salt, mut at, mut frames) = (Salt::new(log, number), HEADER_BYTES, Vec::new());
    while let Some(first) = bytes[at..].first_chunk()
        && let Ok(padded) = Frame::padded_bytes(first)
    {
        let frame = Frame::decode(&bytes[at..at + padded], salt, at as u64).unwrap();
        let Frame { kind, seq, data_end, body, inline } = frame;
        frames.push(Owned { kind, seq, data_end, body: body.to_vec(), inline: inline.to_vec() });
        at += padded;
    }
    Segment { path: path.to_owned(), number, header, frames, len: bytes.len() }
}

/// Writes all segments anew; what lies before the changed one comes out as it was.
fn put_together(disk: &CrashDisk, log: WorkspaceId, segments: &[Segment], relinks: Relink) {
    let (mut chain, mut last, mut end) = ([0; 32], 0, 0);
    for segment in segments {
        let mut header = segment.header;
        if relinks == Relink::Everything {
            (header.chain_before, header.seq_before, header.end_before) = (chain, last, end);
        }
        let (mut hasher, salt) = (header.begin_chain(), Salt::new(log, segment.number));
        let (mut bytes, mut encoded) = (header.encode().to_vec(), Vec::new());
        for frame in &segment.frames {
            let (mut body, at) = (frame.body.clone(), bytes.len() as u64);
            if frame.kind != FrameKind::Record && relinks >= Relink::Segment {
                let commit = Commit::decode(&body).unwrap();
                let mut durable_log = commit.durable_log;
                if durable_log.segment == segment.number {
                    durable_log.offset = durable_log.offset.min(at as u32);
                }
                body =
                    Commit { chain: *hasher.finalize().as_bytes(), durable_log, ..commit }.encode().to_vec();
                assert_eq!(body.len(), COMMIT_BYTES);
            }
            let Owned { kind, seq, data_end, inline, .. } = frame;
            let whole = Frame { kind: *kind, seq: *seq, data_end: *data_end, body: &body, inline };
            whole.encode(salt, at, &mut encoded);
            if *kind == FrameKind::Record {
                hasher.update(&encoded);
                last = *seq;
            }
            bytes.extend_from_slice(&encoded);
        }
        (chain, end) = (*hasher.finalize().as_bytes(), bytes.len() as u64);
        bytes.resize(bytes.len().max(segment.len), 0);
        put(disk, &segment.path, &bytes);
    }
}

fn forge_log(files: &[File], disk: &CrashDisk, luck: &mut Luck) -> Option<String> {
    let log = ALL[luck.below(ALL.len())];
    let own = files.iter().filter(|(path, _)| is_of(path, log, "log-"));
    let mut segments: Vec<Segment> = own.map(|(path, bytes)| take_apart(path, bytes, log)).collect();
    segments.sort_by_key(|segment| segment.number);
    let at = luck.below(segments.len());
    let records: Vec<usize> = (0..segments[at].frames.len())
        .filter(|number| segments[at].frames[*number].kind == FrameKind::Record)
        .collect();
    let nth = *records.get(luck.below(records.len()))?;
    let before: Vec<Vec<Owned>> = segments.iter().map(|segment| segment.frames.clone()).collect();
    let kind = luck.below(9);
    let relinks = [Relink::Record, Relink::Segment, Relink::Everything][luck.below(3)];
    // One more record behind the last changes nothing that was there: that is how a log grows.
    let is_last = at + 1 == segments.len() && records.last() == Some(&nth);
    if kind == 4 && is_last {
        return None;
    }
    let frames = &mut segments[at].frames;
    match kind {
        0 => flip(&mut frames[nth].body, luck)?,
        1 => flip(&mut frames[nth].inline, luck)?,
        2 | 3 => drop(frames.remove(nth)),
        4 => frames.insert(nth, frames[nth].clone()),
        5 => {
            let other = records[luck.below(records.len())];
            let (one, two) = (frames[nth].clone(), frames[other].clone());
            frames[nth] = Owned { seq: one.seq, ..two.clone() };
            frames[other] = Owned { seq: two.seq, ..one };
        }
        6 => frames[nth].data_end.offset ^= 8 << luck.below(8),
        7 => {
            // Another end, which a commit says is the right one.
            let commit = frames.iter().rposition(|frame| frame.kind == FrameKind::Commit)?;
            let commit = frames[commit].clone();
            frames.truncate(nth);
            frames.push(Owned { seq: frames.last().map_or(0, |last| last.seq), ..commit });
            segments.truncate(at + 1);
        }
        _ => segments[at].header.seq_before ^= 1 << luck.below(8),
    }
    if kind != 3 && matches!(kind, 2 | 4) {
        number_anew(&mut segments);
    }
    let is_same = segments.len() == before.len()
        && segments.iter().zip(&before).all(|(segment, before)| segment.frames == *before);
    if is_same && kind < 8 || kind == 8 && relinks == Relink::Everything {
        return None;
    }
    for (path, _) in files.iter().filter(|(path, _)| is_of(path, log, "log-")) {
        if segments.iter().all(|segment| segment.path != *path) {
            disk.remove_file(path).unwrap();
        }
    }
    put_together(disk, log, &segments, relinks);
    Some(format!("log {log}, segment {at}, frame {nth}: kind {kind}, {relinks:?}"))
}

fn number_anew(segments: &mut [Segment]) {
    let mut last = segments.first().map_or(0, |segment| segment.header.seq_before);
    for frame in segments.iter_mut().flat_map(|segment| &mut segment.frames) {
        if frame.kind == FrameKind::Record {
            last += 1;
        }
        frame.seq = last;
    }
}

/// Changes one bit; None where there is none.
fn flip(bytes: &mut [u8], luck: &mut Luck) -> Option<()> {
    let at = luck.below(bytes.len());
    bytes.get_mut(at).map(|byte| *byte ^= 1 << luck.below(8))
}

/// Other data in an entry of a data segment, with its checksums.
fn forge_data(files: &[File], disk: &CrashDisk, luck: &mut Luck) -> Option<String> {
    let log = ALL[luck.below(ALL.len())];
    let own: Vec<&File> = files.iter().filter(|(path, _)| is_of(path, log, "data-")).collect();
    let (path, whole) = own.get(luck.below(own.len()))?;
    let (number, mut bytes) = (number_of(path) | Place::DATA, whole.clone());
    let (mut at, mut entries) = (HEADER_BYTES, Vec::new());
    while let Some(header) = bytes[at..].first_chunk::<ENTRY_HEADER_BYTES>()
        && let Some(len) = entry_data_bytes(header)
    {
        entries.push((at, len));
        let sums = if len > 16 << 10 { len.div_ceil(16 << 10) * 4 } else { 0 };
        at += (ENTRY_HEADER_BYTES + len + sums).next_multiple_of(8);
    }
    let (start, len) = *entries.get(luck.below(entries.len()))?;
    let (from, to) = (start + ENTRY_HEADER_BYTES, start + ENTRY_HEADER_BYTES + len);
    flip(&mut bytes[from..to], luck)?;
    let sums = block_sums(&bytes[from..to]);
    let header = encode_entry_header(Salt::new(log, number), start as u64, &bytes[from..to], &sums);
    bytes[start..from].copy_from_slice(&header);
    bytes[to..to + sums.len()].copy_from_slice(&sums);
    put(disk, path, &bytes);
    Some(format!("data of {log} at {start} in {}", path.display()))
}

/// A pack of sealed snapshots in which one chunk is another one, or gone, and all that guards the pack says that it is right.
fn forge_pack(files: &[File], disk: &CrashDisk, luck: &mut Luck) -> Option<String> {
    let packs: Vec<&File> = files.iter().filter(|(path, _)| path.starts_with("/chunks")).collect();
    let (path, bytes) = packs.get(luck.below(packs.len()))?;
    let trailer = bytes.len() - TRAILER_BYTES;
    let start = u64::from_le_bytes(bytes[trailer..trailer + 8].try_into().unwrap()) as usize;
    let opened = disk.open(path, weald_store::disk::OpenMode::Read).unwrap();
    let index = pack::read_index(&*opened, path).unwrap();
    let mut chunks: Vec<(Slot, Vec<u8>)> = Vec::new();
    for slot in index.slots() {
        let stored = bytes[slot.offset as usize..][..slot.stored as usize].to_vec();
        chunks.push((*slot, pack::expand(slot, stored).unwrap()));
    }
    let (nth, other, kind) = (luck.below(chunks.len()), luck.below(chunks.len()), luck.below(4));
    match kind {
        0 => flip(&mut chunks[nth].1, luck)?,
        1 => {
            // Under the name that its content has by now.
            flip(&mut chunks[nth].1, luck)?;
            chunks[nth].0.hash = *blake3::hash(&chunks[nth].1).as_bytes();
        }
        2 => drop(chunks.remove(nth)),
        _ if nth == other => return None,
        _ => {
            let (one, two) = (chunks[nth].1.clone(), chunks[other].1.clone());
            (chunks[nth].1, chunks[other].1) = (two, one);
        }
    }
    let (mut new, mut slots) = (pack::header().to_vec(), Vec::new());
    for (slot, content) in &chunks {
        let (offset, len) = (new.len() as u64, content.len() as u32);
        slots.push(Slot { offset, stored: len, content: len, sum: crc32c::crc32c(content), ..*slot });
        new.extend_from_slice(content);
    }
    let index = pack::encode_index(&mut slots, new.len() as u64);
    assert_eq!(index.len(), slots.len() * SLOT_BYTES + TRAILER_BYTES);
    new.extend_from_slice(&index);
    disk.remove_file(path).unwrap();
    let place = path.with_file_name(pack::name(&index));
    drop(disk.open(&place, weald_store::disk::OpenMode::CreateNew).unwrap());
    put(disk, &place, &new);
    disk.sync_dir(path.parent().unwrap()).unwrap();
    Some(format!("chunk {nth} of {} in {}, kind {kind}, {start} bytes", chunks.len(), path.display()))
}
