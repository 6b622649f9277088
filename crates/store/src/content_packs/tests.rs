//! Writing and reading content packs, whole, damaged, and on a disk that fails.

use super::*;
use crate::disk::HostDisk;
use std::fs;

fn id(number: u32) -> Oid {
    Oid::new(&blake3::hash(&number.to_le_bytes()).as_bytes()[..20]).unwrap()
}

fn content(number: u32) -> Vec<u8> {
    match number % 4 {
        0 => Vec::new(),
        // Does not get smaller.
        1 => blake3::hash(&number.to_le_bytes()).as_bytes().to_vec(),
        _ => format!("line {number}\n").repeat(number as usize % 500 + 1).into_bytes(),
    }
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn packs(&self) -> ContentPacks {
        ContentPacks::new(Arc::new(HostDisk::new(self.dir.path())), self.dir.path().to_owned())
    }

    fn write(&self, tree: Oid, numbers: std::ops::Range<u32>) -> Added {
        let packs = self.packs();
        let mut writer = packs.writer(&tree);
        numbers.for_each(|number| writer.put(&id(number), &content(number)).unwrap());
        writer.finish().unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

#[test]
fn what_was_written_is_read_after_a_restart() {
    let place = Place::new();
    let added = place.write(id(1_000_000), 0..500);
    assert_eq!(added.blobs, 500);
    assert_eq!(added.disk_bytes, fs::metadata(&place.files()[0]).unwrap().len());
    assert!(added.disk_bytes < added.content_bytes / 2);
    let packs = place.packs();
    for number in 0..500 {
        assert_eq!(packs.read(&id(number)).unwrap(), Some(content(number)));
        assert_eq!(packs.size(&id(number)), Some(content(number).len() as u64));
    }
    assert_eq!((packs.read(&id(500)).unwrap(), packs.size(&id(500))), (None, None));
    let is_right = |found: &Oid, bytes: &[u8]| (0..500).any(|at| id(at) == *found && content(at) == bytes);
    let checked = packs.verify(&is_right).unwrap();
    assert_eq!((checked.blobs, checked.bytes, checked.problems.len()), (500, added.content_bytes, 0));
    assert_eq!(packs.verify(&|_, _| false).unwrap().problems.len(), 500);
}

#[test]
fn the_disk_is_asked_ahead_once_for_each_part_and_only_where_somebody_reads() {
    let place = Place::new();
    place.write(id(1_000_000), 0..500);
    let path = &place.files()[0];
    let pack = Pack::open(&HostDisk::new(place.dir.path()), path).unwrap();
    let asked = || pack.asked.iter().map(|word| word.load(Ordering::Relaxed)).collect::<Vec<_>>();
    assert_eq!(asked(), [0], "a small pack has one word, and nobody has read");
    for number in [3, 400, 3] {
        assert_eq!(pack.read(&pack.find(&id(number)).unwrap()).unwrap(), content(number));
        assert_eq!(asked(), [0b11], "the part and the next");
    }
    pack.ask_ahead(u64::MAX);
    pack.ask_ahead(AHEAD_BYTES * 63);
    assert_eq!(asked(), [1 << 63 | 0b11], "behind the end there is nothing to ask for");
}

#[test]
fn a_blob_that_a_pack_has_is_not_written_again() {
    let place = Place::new();
    let packs = place.packs();
    place.write(id(1_000_000), 0..100);
    assert_eq!(packs.read(&id(7)).unwrap(), Some(content(7)));
    let mut writer = packs.writer(&id(2_000_000));
    (50..120).for_each(|number| writer.put(&id(number), &content(number)).unwrap());
    writer.put(&id(110), &content(110)).unwrap();
    assert!(!writer.wants(&id(60)) && !writer.wants(&id(110)) && writer.wants(&id(120)));
    assert_eq!(writer.finish().unwrap().blobs, 20);
    assert_eq!(packs.read(&id(119)).unwrap(), Some(content(119)), "readable at once");
    // More of the same tree gets a file of its own.
    let mut writer = packs.writer(&id(2_000_000));
    writer.put(&id(120), &content(120)).unwrap();
    writer.finish().unwrap();
    let trees: Vec<_> = packs.list().unwrap().into_iter().map(|pack| pack.tree.unwrap()).collect();
    assert_eq!(trees.iter().filter(|tree| **tree == id(2_000_000)).count(), 2);
}

#[test]
fn an_unfinished_pack_leaves_nothing() {
    let place = Place::new();
    let packs = place.packs();
    let mut writer = packs.writer(&id(1_000_000));
    writer.put(&id(1), &content(1)).unwrap();
    drop(writer);
    assert!(place.files().is_empty());
    assert_eq!(packs.writer(&id(1_000_000)).finish().unwrap(), Added::default());
    assert!(place.files().is_empty(), "a tree without blobs has no pack");
}

#[test]
fn a_pack_that_is_removed_is_not_read_from_any_more() {
    let place = Place::new();
    place.write(id(1_000_000), 0..10);
    let packs = place.packs();
    assert!(packs.read(&id(3)).unwrap().is_some());
    let path = packs.list().unwrap()[0].path.clone();
    packs.remove(&path).unwrap();
    assert_eq!((packs.read(&id(3)).unwrap(), packs.list().unwrap()), (None, Vec::new()));
    packs.remove(&path).unwrap();
}

#[test]
fn no_flipped_bit_is_ever_served() {
    let place = Place::new();
    place.write(id(1_000_000), 0..12);
    let file = place.files().remove(0);
    let good = fs::read(&file).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&file, &bad).unwrap();
        let packs = place.packs();
        for number in 0..12 {
            if let Ok(Some(bytes)) = packs.read(&id(number)) {
                assert_eq!(bytes, content(number), "byte {at}");
            }
        }
        let checked = packs.verify(&|_, _| true).unwrap();
        assert!(!checked.problems.is_empty(), "byte {at}");
    }
}

#[test]
fn a_pack_that_is_cut_or_of_another_version_is_told_and_listed() {
    let place = Place::new();
    place.write(id(1_000_000), 0..12);
    let file = place.files().remove(0);
    let good = fs::read(&file).unwrap();
    for len in [0, 1, 63, 64, 100, good.len() - 1] {
        fs::write(&file, &good[..len]).unwrap();
        let packs = place.packs();
        assert_eq!(packs.read(&id(2)).unwrap(), None);
        assert_eq!(packs.list().unwrap()[0].tree, None);
        let problems = packs.verify(&|_, _| true).unwrap().problems;
        assert!(matches!(problems[..], [ContentPackError::Damaged { .. }]));
    }
    let mut newer = good.clone();
    newer[8] = 2;
    fs::write(&file, &newer).unwrap();
    let problems = place.packs().verify(&|_, _| true).unwrap().problems;
    assert!(matches!(problems[..], [ContentPackError::Version { version: 2, .. }]));
}

#[test]
fn a_content_pack_is_these_bytes() {
    let place = Place::new();
    let packs = place.packs();
    let mut writer = packs.writer(&id(1_000_000));
    // Neither gets smaller, so what is compared does not depend on the version of zstd.
    writer.put(&id(2), b"two").unwrap();
    writer.put(&id(1), b"one").unwrap();
    writer.finish().unwrap();
    let bytes = fs::read(&place.files()[0]).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("golden/small.hex").trim());
}
