//! Chunks are found under their hash, packs appear whole, and damage is never served.

use super::*;
use crate::disk::HostDisk;

fn store() -> (tempfile::TempDir, Chunks) {
    let dir = tempfile::tempdir().unwrap();
    let chunks = open(&dir);
    (dir, chunks)
}

fn open(dir: &tempfile::TempDir) -> Chunks {
    Chunks::new(Arc::new(HostDisk::new(dir.path())), dir.path().to_owned())
}

/// Bytes that do not shrink.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn put(chunks: &Chunks, contents: &[&[u8]]) -> Vec<Hash> {
    let mut writer = chunks.writer();
    let hashes = contents.iter().map(|content| writer.put(content).unwrap()).collect();
    writer.finish().unwrap();
    hashes
}

fn packs(dir: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.collect();
    paths.sort();
    paths
}

#[test]
fn chunks_are_found_under_their_hash_also_after_a_restart() {
    let (dir, chunks) = store();
    let text = b"all work and no play ".repeat(5000);
    let contents = [&b""[..], b"x", &text, &noise(1, 100_000), &noise(2, CHUNK_BYTES_MAX)];
    let hashes = put(&chunks, &contents);
    for chunks in [&chunks, &open(&dir)] {
        for (hash, content) in hashes.iter().zip(contents) {
            assert_eq!(hash, blake3::hash(content).as_bytes());
            assert!(chunks.has(hash).unwrap());
            assert_eq!(chunks.read(hash).unwrap(), content);
        }
    }
    assert!(matches!(chunks.read(&[7; 32]), Err(ChunkError::Missing(_))));
    assert!(matches!(chunks.writer().put(&vec![0; CHUNK_BYTES_MAX + 1]), Err(ChunkError::TooLarge(_))));
}

#[test]
fn equal_content_is_stored_once() {
    let (dir, chunks) = store();
    let (a, b) = (noise(1, 50_000), noise(2, 50_000));
    put(&chunks, &[&a, &b, &a]);
    let mut writer = chunks.writer();
    writer.put(&a).unwrap();
    writer.put(&b).unwrap();
    assert_eq!(writer.finish().unwrap(), Added::default());
    assert_eq!(packs(&dir).len(), 1);
    assert!(chunks.disk_bytes().unwrap().0 < 102_000);
}

#[test]
fn text_shrinks_and_noise_does_not_grow() {
    let (_dir, chunks) = store();
    let mut writer = chunks.writer();
    writer.put(&b"all work and no play ".repeat(5000)).unwrap();
    assert!(writer.finish().unwrap().disk_bytes < 10_000);
    let mut writer = chunks.writer();
    writer.put(&noise(1, 1_000_000)).unwrap();
    assert!(writer.finish().unwrap().disk_bytes < 1_000_200);
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let (dir, chunks) = store();
    let mut writer = chunks.writer();
    let hash = writer.put(b"content").unwrap();
    drop(writer);
    assert!(!chunks.has(&hash).unwrap());
    assert!(packs(&dir).is_empty());
}

#[test]
fn every_flipped_byte_of_a_pack_is_found() {
    let (dir, chunks) = store();
    put(&chunks, &[&b"text text text text text ".repeat(20), &noise(1, 300), b"small"]);
    let [path] = &packs(&dir)[..] else { panic!("one pack") };
    let whole = std::fs::read(path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(path, &bytes).unwrap();
        let checked = open(&dir).verify().unwrap();
        assert!(!checked.problems.is_empty(), "byte {at} of {}", whole.len());
    }
    for len in 0..whole.len() {
        std::fs::write(path, &whole[..len]).unwrap();
        assert!(!open(&dir).verify().unwrap().problems.is_empty(), "cut to {len}");
    }
    std::fs::write(path, &whole).unwrap();
    let checked = open(&dir).verify().unwrap();
    assert!(checked.problems.is_empty() && checked.chunks == 3, "{checked:?}");
}

#[test]
fn a_damaged_chunk_is_not_served_and_the_others_are() {
    let (dir, chunks) = store();
    let hashes = put(&chunks, &[&noise(1, 5000), &noise(2, 5000)]);
    let [path] = &packs(&dir)[..] else { panic!("one pack") };
    let mut bytes = std::fs::read(path).unwrap();
    bytes[pack::HEADER_BYTES + 7] ^= 1;
    std::fs::write(path, bytes).unwrap();
    assert!(matches!(chunks.read(&hashes[0]), Err(ChunkError::Damaged { .. })));
    assert_eq!(chunks.read(&hashes[1]).unwrap(), noise(2, 5000));
}

#[test]
fn what_nobody_needs_is_given_back_and_the_rest_stays() {
    let (dir, chunks) = store();
    let first = put(&chunks, &[&noise(1, 90_000), &noise(2, 10_000)]);
    let second = put(&chunks, &[&noise(3, 10_000), &noise(4, 90_000)]);
    let live = [first[1], second[0], second[1]];
    let freed = chunks.alone().unwrap().retain(&|hash| live.contains(hash)).unwrap();
    assert!((89_000..91_000).contains(&freed), "{freed}");
    for chunks in [&chunks, &open(&dir)] {
        assert!(!chunks.has(&first[0]).unwrap());
        assert!(live.iter().all(|hash| chunks.read(hash).is_ok()));
    }
    chunks.alone().unwrap().retain(&|_| false).unwrap();
    assert!(packs(&dir).is_empty());
}

#[test]
fn a_damaged_index_hides_no_other_pack_and_its_content_can_be_put_again() {
    let (dir, chunks) = store();
    let first = put(&chunks, &[&noise(1, 5000)]);
    let second = put(&chunks, &[&noise(2, 5000)]);
    let path = packs(&dir)
        .into_iter()
        .find(|path| std::fs::read(path).unwrap().windows(32).any(|bytes| bytes == first[0]));
    let path = path.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 60;
    bytes[end] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let chunks = open(&dir);
    assert_eq!(chunks.read(&second[0]).unwrap(), noise(2, 5000));
    assert!(matches!(chunks.read(&first[0]), Err(ChunkError::Missing(_))));
    assert_eq!(chunks.verify().unwrap().problems.len(), 1);
    assert_eq!(chunks.damaged_packs().unwrap(), [path]);
    assert_eq!(put(&chunks, &[&noise(1, 5000)]), first);
    assert_eq!(chunks.read(&first[0]).unwrap(), noise(1, 5000));
}

#[test]
fn many_small_packs_become_one_and_more_packs_than_may_be_open_can_be_read() {
    let (dir, chunks) = store();
    let hashes: Vec<Hash> = (0..80).flat_map(|seed| put(&chunks, &[&noise(seed, 100)])).collect();
    assert_eq!(packs(&dir).len(), 80);
    assert!((0..80).all(|seed| chunks.read(&hashes[seed as usize]).unwrap() == noise(seed, 100)));
    chunks.join_small().unwrap();
    assert_eq!(packs(&dir).len(), 1);
    assert_eq!(chunks.disk_bytes().unwrap().1, 1);
    for chunks in [&chunks, &open(&dir)] {
        assert!((0..80).all(|seed| chunks.read(&hashes[seed as usize]).unwrap() == noise(seed, 100)));
    }
}

#[test]
fn packs_of_what_others_have_too_go_and_nothing_is_lost() {
    let (dir, chunks) = store();
    let hashes = put(&chunks, &[&noise(1, 5000), &noise(2, 5000)]);
    // A crash between writing a pack anew and removing the old one.
    let aside = dir.path().join("aside");
    let [path] = &packs(&dir)[..] else { panic!("one pack") };
    std::fs::copy(path, &aside).unwrap();
    chunks.alone().unwrap().retain(&|hash| *hash == hashes[0]).unwrap();
    std::fs::rename(&aside, path).unwrap();
    assert_eq!(packs(&dir).len(), 2);
    let chunks = open(&dir);
    chunks.alone().unwrap().retain(&|hash| *hash == hashes[0]).unwrap();
    assert_eq!(packs(&dir).len(), 1);
    assert_eq!(chunks.read(&hashes[0]).unwrap(), noise(1, 5000));
    assert_eq!(chunks.droppable_bytes(&|_| true).unwrap(), 0);
}

#[test]
fn nothing_is_dropped_while_somebody_adds() {
    let (_dir, chunks) = store();
    let kept = chunks.keep_all();
    assert!(chunks.alone().is_none());
    drop(kept);
    assert!(chunks.alone().is_some());
}

/// Readers find what is written anew in its old place or its new one.
#[test]
fn what_is_read_while_packs_are_written_anew_is_always_there() {
    let (_dir, chunks) = store();
    let contents: Vec<Vec<u8>> = (0..40).map(|seed| noise(seed, 3000)).collect();
    let live = put(&chunks, &contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let done = AtomicBool::new(false);
    let is_done = || done.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done() {
                    for (hash, content) in live.iter().zip(&contents) {
                        assert_eq!(&chunks.read(hash).unwrap(), content);
                    }
                }
            });
        }
        for round in 0..30 {
            put(&chunks, &[&noise(1000 + round, 200_000)]);
            chunks.join_all().unwrap();
            // Now all are in a pack that is mostly dead.
            chunks.alone().unwrap().retain(&|hash| live.contains(hash)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}
