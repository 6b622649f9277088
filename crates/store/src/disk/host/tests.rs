//! The host disk does what its trait promises.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn disk() -> (tempfile::TempDir, HostDisk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = HostDisk::new(dir.path());
    (dir, disk)
}

#[test]
fn parts_are_written_one_after_another_and_read_back() {
    let (dir, disk) = disk();
    let file = disk.open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
    let parts: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; usize::from(n)]).collect();
    let borrowed: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    file.write_at(&borrowed, 3).unwrap();
    let mut back = vec![9; 300];
    let count = file.read_at(&mut back, 0).unwrap();
    assert_eq!(back[..count], [vec![0; 3], parts.concat()].concat());
}

#[test]
fn what_is_written_past_the_page_cache_is_read_back_between_what_went_through_it() {
    let (dir, disk) = disk();
    let file = disk.open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
    let memory: Vec<u8> = (0..5 * BLOCK_BYTES).map(|at| (at / 7) as u8).collect();
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    let even = &memory[start..][..3 * BLOCK_BYTES];
    file.write_at(&[&[1; 2 * BLOCK_BYTES]], 0).unwrap();
    file.write_cold(even, BLOCK_BYTES as u64).unwrap();
    file.write_cold(&even[1..100], 4 * BLOCK_BYTES as u64).unwrap();
    let mut back = vec![9; 6 * BLOCK_BYTES];
    let count = file.read_at(&mut back, 0).unwrap();
    assert_eq!(back[..count], [&[1; BLOCK_BYTES], even, &even[1..100]].concat());
}

#[test]
fn files_are_private_and_directories_may_exist() {
    let (dir, disk) = disk();
    let path = dir.path().join("d");
    disk.make_dir(&path).unwrap();
    disk.make_dir(&path).unwrap();
    disk.open(&path.join("f"), OpenMode::CreateNew).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(path.join("f").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(disk.list(&path).unwrap(), ["f"]);
    assert!(disk.open(&path.join("f"), OpenMode::CreateNew).is_err());
    assert!(disk.make_dir(&path.join("f")).is_err());
}

#[test]
fn symbolic_links_are_followed_nowhere_below_the_root() {
    let (dir, disk) = disk();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("f"), "theirs").unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    std::fs::write(dir.path().join("real/f"), "ours").unwrap();
    for (number, target) in [outside.path(), Path::new("real"), Path::new("../..")].into_iter().enumerate() {
        let link = dir.path().join(format!("link{number}"));
        std::os::unix::fs::symlink(target, &link).unwrap();
        let (file, fresh) = (link.join("f"), link.join("new"));
        assert!(disk.open(&file, OpenMode::Read).is_err() && disk.open(&file, OpenMode::ReadWrite).is_err());
        assert!(disk.open(&fresh, OpenMode::CreateNew).is_err() && disk.map(&file).is_err());
        assert!(disk.make_dir(&link).is_err() && disk.make_dir(&fresh).is_err());
        assert!(disk.list(&link).is_err() && disk.sync_dir(&link).is_err());
        assert!(disk.remove_file(&file).is_err() && disk.remove_dir(&file).is_err());
        assert!(disk.rename(&file, &dir.path().join("taken")).is_err());
        assert!(disk.rename(&dir.path().join("real/f"), &fresh).is_err());
    }
    std::os::unix::fs::symlink(outside.path().join("f"), dir.path().join("l")).unwrap();
    assert!(disk.open(&dir.path().join("l"), OpenMode::Read).is_err());
    assert!(disk.open(&dir.path().join("l"), OpenMode::CreateNew).is_err());
    assert!(disk.open(&dir.path().join("real/../real/f"), OpenMode::Read).is_ok(), "that stays below");
    assert!(disk.open(&dir.path().join("real/../../x"), OpenMode::Read).is_err());
    assert_eq!(std::fs::read(outside.path().join("f")).unwrap(), b"theirs");
    assert_eq!(std::fs::read(dir.path().join("real/f")).unwrap(), b"ours");
}

#[test]
fn the_root_itself_may_be_behind_a_link() {
    let (dir, _) = disk();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    let root = dir.path().join("link");
    std::os::unix::fs::symlink("real", &root).unwrap();
    let disk = HostDisk::new(&root);
    disk.make_dir(&root.join("d")).unwrap();
    disk.open(&root.join("d/f"), OpenMode::CreateNew).unwrap();
    assert_eq!(disk.list(&root).unwrap(), ["d"]);
    disk.sync_dir(&root).unwrap();
    assert!(dir.path().join("real/d/f").exists());
}

#[test]
fn allocated_space_is_real_and_zero() {
    let (dir, disk) = disk();
    let file = disk.open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
    file.allocate(0, 200_000).unwrap();
    file.sync().unwrap();
    assert_eq!(file.len().unwrap(), 200_000);
    assert!(file.allocated_bytes().unwrap() >= 200_000);
    assert!(dir.path().join("f").metadata().unwrap().blocks() > 0);
}

#[test]
fn a_map_shows_the_file_and_an_empty_file_maps_to_nothing() {
    let (dir, disk) = disk();
    let path = dir.path().join("f");
    std::fs::write(&path, b"abc").unwrap();
    assert_eq!(&*disk.map(&path).unwrap(), b"abc");
    std::fs::write(dir.path().join("e"), b"").unwrap();
    assert!(disk.map(&dir.path().join("e")).unwrap().is_empty());
}

#[test]
fn space_is_told() {
    let (_dir, disk) = disk();
    let space = disk.space().unwrap();
    assert!(space.block_bytes > 0 && space.total >= space.free && space.free >= space.available);
}
