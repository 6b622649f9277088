//! What a repository holds: trees, and indexes.
//!
//! Invariant of `tree` and `git-tree`: a tree is refused, or its manifest has no name that is `.git` anywhere, none that
//! leads out, and none twice.

use weald_git::{ObjectFormat, fuzzing};
use weald_model::{Silent, Timestamp, TreeEntry, TreeKind};
use weald_store::disk::Map;
use weald_store::manifest::Manifest;
use weald_testkit::source::MemorySource;

const KINDS: [TreeKind; 5] =
    [TreeKind::File, TreeKind::Executable, TreeKind::Symlink, TreeKind::Dir, TreeKind::Gitlink];

/// Entries of a tree whatever their names and order: a byte for kind and depth, one for the length of the name, the name.
pub(super) fn tree(bytes: &[u8]) {
    let source = MemorySource::default();
    let blob = source.add(&weald_testkit::source::Tree::file("content"));
    let mut levels: Vec<Vec<TreeEntry>> = vec![Vec::new()];
    let mut rest = bytes;
    while let Some((&[how, len], tail)) = rest.split_first_chunk::<2>() {
        let (name, tail) = tail.split_at(tail.len().min(usize::from(len)));
        rest = tail;
        // The levels above end here, and the last of them is a directory of this name.
        if how >= 128 && levels.len() < 20 {
            levels.push(Vec::new());
        }
        let kind = KINDS[usize::from(how) % KINDS.len()];
        let oid = match kind {
            TreeKind::Dir if levels.len() > 1 => source.add_raw(levels.pop().unwrap_or_default()),
            TreeKind::Dir => source.add_raw(Vec::new()),
            _ => blob,
        };
        if let Some(level) = levels.last_mut() {
            level.push(TreeEntry { name: name.to_vec(), kind, oid });
        }
    }
    let root = levels.swap_remove(0);
    check(&source, &root);
}

/// Builds the manifest of a root.
fn check(source: &MemorySource, root: &[TreeEntry]) {
    let id = source.add_raw(root.to_vec());
    let Ok(bytes) = Manifest::build(source, &id, Timestamp::from_secs(9), &Silent) else { return };
    let manifest = Manifest::open(Map::from_bytes(bytes)).expect("a manifest that was made opens");
    manifest.verify().expect("a manifest that was made is sound");
    for entry in root {
        let name = &entry.name;
        assert!(!name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/'), "{name:?}");
        assert!(!name.eq_ignore_ascii_case(b".git"), "{name:?}");
    }
    let mut names: Vec<&[u8]> = root.iter().map(|entry| entry.name.as_slice()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name is there twice");
}

pub(super) fn tree_seeds() -> Vec<Vec<u8>> {
    let one = |how: u8, name: &[u8]| [&[how, name.len() as u8], name].concat();
    let hostile: [&[u8]; 14] = [
        b".git",
        b".GIT",
        b"git~1",
        b".git ",
        b".git::$INDEX_ALLOCATION",
        b".g\xe2\x80\x8cit",
        b"..",
        b".",
        b"a/b",
        b"",
        b".gitmodules",
        b"gitmod~1",
        b"GI7EBA~1",
        b"a\\.git",
    ];
    let mut seeds: Vec<Vec<u8>> = hostile.iter().flat_map(|name| [one(0, name), one(2, name)]).collect();
    seeds.push([one(130, b"x"), one(133, b"sub"), one(3, b"d"), one(0, b"a"), one(2, b"a")].concat());
    seeds
}

/// A tree object: the first byte says with which hash.
pub(super) fn git_tree(bytes: &[u8]) {
    let Some((&format, data)) = bytes.split_first() else { return };
    let format = if format & 1 == 0 { ObjectFormat::Sha1 } else { ObjectFormat::Sha256 };
    let Ok(entries) = fuzzing::tree(data, format) else { return };
    let source = MemorySource::default();
    let blob = source.add(&weald_testkit::source::Tree::file("content"));
    let empty = source.add_raw(Vec::new());
    let known =
        |entry: TreeEntry| TreeEntry { oid: if entry.kind == TreeKind::Dir { empty } else { blob }, ..entry };
    check(&source, &entries.into_iter().map(known).collect::<Vec<_>>());
}

pub(super) fn git_tree_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (format, width) in [(0, 20), (1, 32)] {
        let mut data = vec![format];
        for (mode, name) in
            [("100644", "a"), ("100755", "b"), ("120000", "c"), ("160000", "d"), ("40000", ".git")]
        {
            data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            data.extend(vec![7; width]);
        }
        seeds.push(data[..data.len() - width - 11].to_vec());
        seeds.push(data);
    }
    seeds
}

/// An index of git, its hash put right. The first byte says which hash.
pub(super) fn index(bytes: &[u8]) {
    fuzzing::index(bytes);
}

pub(super) fn index_seeds() -> Vec<Vec<u8>> {
    fuzzing::index_seeds()
}
