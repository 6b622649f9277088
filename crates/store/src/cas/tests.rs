//! Content is found under its hash, and damage is never served.

use super::*;
use crate::disk::HostDisk;

fn cas() -> (tempfile::TempDir, Cas) {
    let dir = tempfile::tempdir().unwrap();
    let cas = Cas::new(Arc::new(HostDisk::new(dir.path())), dir.path().to_owned());
    (dir, cas)
}

fn file_of(dir: &tempfile::TempDir, hash: &Hash) -> PathBuf {
    let name = hex(hash);
    dir.path().join(&name[..2]).join(name)
}

#[test]
fn content_is_found_under_its_hash() {
    let (_dir, cas) = cas();
    let bytes: Vec<u8> = (0..700_000u32).map(|n| n as u8).collect();
    let hash = cas.put(&bytes).unwrap();
    assert_eq!(hash, *blake3::hash(&bytes).as_bytes());
    assert_eq!(cas.put(&bytes).unwrap(), hash);
    assert_eq!(cas.len(&hash).unwrap(), 700_000);
    assert_eq!(cas.get_all(&hash).unwrap(), bytes);
    let mut part = [0; 100];
    assert_eq!(cas.read(&hash, 300, &mut part).unwrap(), 100);
    assert_eq!(part[..], bytes[300..400]);
    assert_eq!(cas.read(&hash, 699_999, &mut part).unwrap(), 1);
    assert_eq!(cas.read(&hash, 800_000, &mut part).unwrap(), 0);
}

#[test]
fn absent_content_is_missing() {
    let (_dir, cas) = cas();
    assert!(matches!(cas.len(&[7; 32]), Err(CasError::Missing(_))));
    assert!(!cas.has(&[7; 32]).unwrap());
}

#[test]
fn a_flipped_bit_is_never_served_and_the_next_put_repairs_it() {
    let (dir, first) = cas();
    let hash = first.put(b"content").unwrap();
    std::fs::write(file_of(&dir, &hash), b"cOntent").unwrap();
    let (_, mut second) = cas();
    second.dir = dir.path().to_owned();
    assert!(matches!(second.read(&hash, 0, &mut [0; 4]), Err(CasError::Damaged(_))));
    assert!(matches!(second.get_all(&hash), Err(CasError::Damaged(_))));
    assert_eq!(second.put(b"content").unwrap(), hash);
    assert_eq!(second.get_all(&hash).unwrap(), b"content");
}

#[test]
fn nothing_temporary_stays() {
    let (dir, cas) = cas();
    let hash = cas.put(b"x").unwrap();
    let names = cas.disk.list(file_of(&dir, &hash).parent().unwrap()).unwrap();
    assert_eq!(names, [hex(&hash).as_str()]);
}

#[test]
fn hashes_survive_their_text() {
    assert_eq!(from_hex(&hex(&[0xa5; 32])), Some([0xa5; 32]));
    assert_eq!(from_hex("xyz"), None);
}
