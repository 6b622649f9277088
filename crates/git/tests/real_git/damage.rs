//! Missing and damaged objects are told as such, and never panic.

use crate::support::{Lab, fault, git_in, oid};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use weald_git::{GitSource, Repository};
use weald_model::{Code, Oid, Source as _, SourceError};

fn loose(repo: &Path, oid: &Oid) -> PathBuf {
    let hex = oid.to_string();
    repo.join(".git/objects").join(&hex[..2]).join(&hex[2..])
}

fn writable(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn missing_objects_are_named() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let blob = oid(&git_in(&repo, &["rev-parse", "HEAD:a/one"]));
    std::fs::remove_file(loose(&repo, &blob)).unwrap();
    let source = GitSource::new(Repository::open(&repo).unwrap());
    assert_eq!(source.blob(&blob), Err(SourceError::Missing(blob)));
    let there = oid(&git_in(&repo, &["rev-parse", "HEAD:README"]));
    assert_eq!(source.blob_sizes(&[there, blob, there]), vec![Ok(6), Err(SourceError::Missing(blob)), Ok(6)]);
    let head = oid(&git_in(&repo, &["rev-parse", "HEAD"]));
    std::fs::remove_file(loose(&repo, &head)).unwrap();
    assert_eq!(fault(Repository::open(&repo).unwrap().resolve(None, None)).code, Code::MissingObject);
}

#[test]
fn content_that_does_not_match_its_id_is_damaged() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let of = |rev: &str| oid(&git_in(&repo, &["rev-parse", rev]));
    let (blob, tree, head) = (of("HEAD:a/one"), of("HEAD^{tree}"), of("HEAD"));
    let other = oid(&git_in(&repo, &["hash-object", "-w", "-t", "tree", "/dev/null"]));
    let extra = git_in(&repo, &["commit-tree", "-m", "x", &other.to_string()]);
    let swap = |wrong: &Oid, under: &Oid| {
        let path = loose(&repo, under);
        writable(&path);
        std::fs::copy(loose(&repo, wrong), path).unwrap();
    };
    swap(&tree, &blob);
    let source = GitSource::new(Repository::open(&repo).unwrap());
    assert!(matches!(source.blob(&blob), Err(SourceError::Damaged(..))));
    assert!(
        matches!(source.blob_sizes(&[blob])[0], Err(SourceError::Damaged(..))),
        "a tree under a blob's name"
    );
    swap(&oid(&extra), &head);
    assert_eq!(fault(Repository::open(&repo).unwrap().resolve(None, None)).code, Code::MissingObject);
}

#[test]
fn a_loose_object_that_claims_a_huge_size_takes_no_memory() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let blob = oid(&git_in(&repo, &["rev-parse", "HEAD:a/one"]));
    // zlib, one stored block: `blob 1152921504606846976\0x`.
    let text = b"blob 1152921504606846976\0x";
    let mut bytes = vec![0x78, 0x01, 0x01, text.len() as u8, 0, !(text.len() as u8), 0xFF];
    bytes.extend_from_slice(text);
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in text {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    bytes.extend_from_slice(&(b << 16 | a).to_be_bytes());
    let path = loose(&repo, &blob);
    writable(&path);
    std::fs::write(path, bytes).unwrap();
    let source = GitSource::new(Repository::open(&repo).unwrap());
    assert!(matches!(source.blob(&blob), Err(SourceError::Damaged(..))));
    assert_eq!(source.blob_sizes(&[blob]).len(), 1);
}

/// Flips and cuts bytes all over packs, their indexes and loose objects: every read gives right bytes or an error.
#[test]
fn no_damage_to_the_store_gives_wrong_bytes_or_a_panic() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let of = |rev: &str| oid(&git_in(&repo, &["rev-parse", rev]));
    let blobs = [of("HEAD:README"), of("HEAD:a/one"), of("HEAD:a.c"), of("HEAD~1:a/one")];
    let truth: Vec<_> = {
        let source = GitSource::new(Repository::open(&repo).unwrap());
        blobs.iter().map(|blob| source.blob(blob).unwrap()).collect()
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(repo.join(".git/objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "pack" || kind == "idx"))
        .collect();
    files.push(loose(&repo, &blobs[1]));
    let check = |what: &str| {
        let Ok(repository) = Repository::open(&repo) else { return };
        // Neither may panic; what they say depends on where the damage is.
        let _ = repository.resolve(None, None);
        let source = GitSource::new(repository);
        assert_eq!(source.blob_sizes(&blobs).len(), blobs.len());
        for (blob, right) in blobs.iter().zip(&truth) {
            if let Ok(content) = source.blob(blob) {
                assert_eq!(content, *right, "{what}");
            }
        }
    };
    for file in files {
        writable(&file);
        let whole = std::fs::read(&file).unwrap();
        let step = (whole.len() / 150).max(1);
        for at in (0..whole.len()).step_by(step) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xFF;
            std::fs::write(&file, &bytes).unwrap();
            check(&format!("{} byte {at} flipped", file.display()));
        }
        for length in [0, 1, 4, 8, 20, whole.len() / 2, whole.len() - 1] {
            let length = length.min(whole.len());
            std::fs::write(&file, &whole[..length]).unwrap();
            check(&format!("{} cut to {length}", file.display()));
        }
        std::fs::write(&file, &whole).unwrap();
    }
}
