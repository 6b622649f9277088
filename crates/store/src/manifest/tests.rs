//! Building and reading manifests, whole and damaged.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use weald_model::{Silent, TreeEntry};

/// Trees by id; the size of a blob is the first byte of its id.
#[derive(Default)]
pub(crate) struct Trees {
    trees: BTreeMap<Oid, Vec<TreeEntry>>,
    questions: AtomicU64,
}

impl Source for Trees {
    fn tree(&self, id: &Oid) -> Result<Vec<TreeEntry>, SourceError> {
        self.trees.get(id).cloned().ok_or(SourceError::Missing(*id))
    }

    fn blob_sizes(&self, ids: &[Oid]) -> Vec<Result<u64, SourceError>> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let size = |id: &Oid| match id.as_bytes()[0] {
            0xff => Err(SourceError::Missing(*id)),
            size => Ok(u64::from(size)),
        };
        ids.iter().map(size).collect()
    }

    fn blob(&self, id: &Oid) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::Missing(*id))
    }
}

fn blob(size: u8) -> Oid {
    Oid::new(&[size; 20]).unwrap()
}

fn entry(name: &str, kind: TreeKind, oid: Oid) -> TreeEntry {
    TreeEntry { name: name.as_bytes().to_vec(), kind, oid }
}

impl Trees {
    fn add(&mut self, entries: Vec<TreeEntry>) -> Oid {
        let mut text = Vec::new();
        for entry in &entries {
            text.extend_from_slice(&[entry.name.len() as u8, entry.kind as u8]);
            text.extend_from_slice(&entry.name);
            text.extend_from_slice(entry.oid.as_bytes());
        }
        let id = Oid::new(&blake3::hash(&text).as_bytes()[..20]).unwrap();
        self.trees.insert(id, entries);
        id
    }
}

/// A tree with every kind, in git's order, which is not the order of plain names.
pub(crate) fn small() -> (Trees, Oid) {
    let mut trees = Trees::default();
    let empty = trees.add(vec![]);
    let inner = trees.add(vec![entry("deep", TreeKind::File, blob(5))]);
    let root = trees.add(vec![
        entry("a.txt", TreeKind::File, blob(1)),
        entry("a", TreeKind::Dir, inner),
        entry("b", TreeKind::Executable, blob(2)),
        entry("empty", TreeKind::Dir, empty),
        entry("link", TreeKind::Symlink, blob(3)),
        entry("sub", TreeKind::Gitlink, blob(9)),
    ]);
    (trees, root)
}

const TIME: Timestamp = Timestamp { secs: -1, nanos: 5 };

fn opened(trees: &Trees, root: &Oid) -> Manifest {
    let bytes = Manifest::build(trees, root, TIME, &Silent).unwrap();
    let manifest = Manifest::open(Map::from_bytes(bytes)).unwrap();
    manifest.verify().unwrap();
    manifest
}

fn names(manifest: &Manifest, dir: Ino) -> Vec<String> {
    let children = manifest.children(dir).unwrap();
    children.map(|ino| String::from_utf8(manifest.node_name(Ino(ino)).unwrap().to_vec()).unwrap()).collect()
}

#[test]
fn the_tree_is_listed_breadth_first_in_the_order_of_names() {
    let (trees, root) = small();
    let manifest = opened(&trees, &root);
    assert_eq!((manifest.len(), manifest.file_count(), manifest.total_bytes()), (8, 4, 1 + 2 + 3 + 5));
    assert_eq!((manifest.tree(), manifest.time()), (root, TIME));
    assert_eq!(names(&manifest, Ino::ROOT), ["a", "a.txt", "b", "empty", "link", "sub"]);
    let node = manifest.node(Ino::ROOT).unwrap();
    assert_eq!((node.parent, node.kind, node.oid), (Ino::ROOT, TreeKind::Dir, root));
    assert_eq!((node.first_child, node.child_count, node.subdir_count), (Ino(2), 6, 3));
    let a = manifest.child(Ino::ROOT, b"a").unwrap().unwrap();
    assert_eq!(names(&manifest, a), ["deep"]);
    let deep = manifest.node(manifest.child(a, b"deep").unwrap().unwrap()).unwrap();
    assert_eq!((deep.ino, deep.parent, deep.size, deep.oid), (Ino(8), a, Some(5), blob(5)));
    assert_eq!(manifest.child(Ino::ROOT, b"aa").unwrap(), None);
    assert_eq!(manifest.child(deep.ino, b"x").unwrap(), None);
    let empty = manifest.node(manifest.child(Ino::ROOT, b"empty").unwrap().unwrap()).unwrap();
    assert_eq!((empty.child_count, manifest.children(empty.ino).unwrap()), (0, 0..0));
}

#[test]
fn a_manifest_is_these_bytes() {
    let (trees, root) = small();
    let bytes = Manifest::build(&trees, &root, TIME, &Silent).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("golden/small.hex").trim());
}

#[test]
fn an_empty_tree_has_a_root_only() {
    let mut trees = Trees::default();
    let root = trees.add(vec![]);
    let manifest = opened(&trees, &root);
    assert_eq!((manifest.len(), manifest.file_count()), (1, 0));
    assert_eq!(manifest.children(Ino::ROOT).unwrap(), 0..0);
}

#[test]
fn hostile_entries_are_named_with_their_path() {
    let mut trees = Trees::default();
    let inner = trees.add(vec![entry(".GIT", TreeKind::File, blob(1))]);
    let middle = trees.add(vec![entry("in", TreeKind::Dir, inner)]);
    let root = trees.add(vec![entry("x", TreeKind::File, blob(1)), entry("out", TreeKind::Dir, middle)]);
    let error = Manifest::build(&trees, &root, TIME, &Silent).unwrap_err();
    assert!(matches!(&error, ManifestError::Hostile { path, .. } if path == b"out/in/.GIT"), "{error}");
}

#[test]
fn a_name_that_is_both_link_and_directory_is_hostile() {
    let mut trees = Trees::default();
    let dir = trees.add(vec![]);
    let root = trees.add(vec![
        entry("a", TreeKind::Symlink, blob(1)),
        entry("a.b", TreeKind::File, blob(1)),
        entry("a", TreeKind::Dir, dir),
    ]);
    let error = Manifest::build(&trees, &root, TIME, &Silent).unwrap_err();
    assert!(matches!(error, ManifestError::Hostile { path, .. } if path == b"a"));
}

#[test]
fn what_the_source_cannot_give_is_told() {
    let mut trees = Trees::default();
    let root = trees.add(vec![entry("d", TreeKind::Dir, blob(1))]);
    let missing_tree = Manifest::build(&trees, &root, TIME, &Silent);
    assert_eq!(missing_tree, Err(SourceError::Missing(blob(1)).into()));
    let root = trees.add(vec![entry("f", TreeKind::File, blob(0xff))]);
    let missing_blob = Manifest::build(&trees, &root, TIME, &Silent);
    assert_eq!(missing_blob, Err(SourceError::Missing(blob(0xff)).into()));
    let root = trees.add(vec![entry("f", TreeKind::File, Oid::new(&[1; 32]).unwrap())]);
    assert!(matches!(Manifest::build(&trees, &root, TIME, &Silent), Err(ManifestError::Source(_))));
}

#[test]
fn a_tree_that_multiplies_itself_is_too_large() {
    let mut trees = Trees::default();
    let mut tree = trees.add(vec![]);
    for _ in 0..20 {
        let entries = (0..200).map(|n| entry(&n.to_string(), TreeKind::Dir, tree)).collect();
        tree = trees.add(entries);
    }
    let built = build::build(&trees, &tree, TIME, &Silent, 50_000);
    assert!(matches!(built, Err(ManifestError::TooLarge(_))));
}

#[test]
fn sizes_are_asked_in_batches() {
    let mut trees = Trees::default();
    let files = (0..10_000).map(|n| entry(&n.to_string(), TreeKind::File, blob(1))).collect();
    let root = trees.add(files);
    opened(&trees, &root);
    assert!(trees.questions.load(Ordering::Relaxed) <= 5);
}

#[test]
fn a_newer_version_is_told_as_such() {
    let (trees, root) = small();
    let mut bytes = Manifest::build(&trees, &root, TIME, &Silent).unwrap();
    bytes[8] = 3;
    assert_eq!(Manifest::open(Map::from_bytes(bytes)).err(), Some(ManifestError::Version(3)));
}

/// Touches everything there is in a manifest; errors are fine, panics and endless walks are not.
fn walk_all(manifest: &Manifest) {
    let _ = manifest.verify();
    for ino in 0..=manifest.len().min(1000) + 1 {
        let _ = manifest.node_name(Ino(ino)).map(|name| manifest.child(Ino(ino), name).is_ok());
        if let Ok(node) = manifest.node(Ino(ino)) {
            let children = manifest.children(node.ino).unwrap();
            assert!(children.is_empty() || children.start > ino, "a walk down ends");
        }
    }
}

/// A directory as nested maps; `None` is a file.
type Dirs = BTreeMap<String, Option<Box<Nested>>>;

#[derive(Clone, Debug)]
struct Nested(Dirs);

fn nested() -> impl Strategy<Value = Nested> {
    let leaf = proptest::collection::btree_map("[a-c.]{1,4}x", Just(None), 0..4).prop_map(Nested);
    leaf.prop_recursive(4, 60, 6, |inner| {
        let child = proptest::option::of(inner.prop_map(Box::new));
        proptest::collection::btree_map("[a-c.]{1,4}x", child, 0..6).prop_map(Nested)
    })
}

fn add(trees: &mut Trees, dir: &Nested) -> Oid {
    let mut entries = Vec::new();
    for (name, child) in &dir.0 {
        entries.push(match child {
            None => entry(name, TreeKind::File, blob(name.len() as u8)),
            Some(inner) => {
                let id = add(trees, inner);
                entry(name, TreeKind::Dir, id)
            }
        });
    }
    entries.reverse();
    trees.add(entries)
}

fn paths_of(dir: &Nested, prefix: &str, into: &mut BTreeSet<String>) {
    for (name, child) in &dir.0 {
        let path = format!("{prefix}/{name}");
        if let Some(inner) = child {
            paths_of(inner, &path, into);
        }
        into.insert(path);
    }
}

fn paths_in(manifest: &Manifest, dir: Ino, prefix: &str, into: &mut BTreeSet<String>) {
    for ino in manifest.children(dir).unwrap() {
        let name = manifest.node_name(Ino(ino)).unwrap();
        assert_eq!(manifest.child(dir, name).unwrap(), Some(Ino(ino)));
        assert_eq!(manifest.node(Ino(ino)).unwrap().parent, dir);
        let path = format!("{prefix}/{}", std::str::from_utf8(name).unwrap());
        paths_in(manifest, Ino(ino), &path, into);
        into.insert(path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_path_of_the_tree_is_in_the_manifest_and_no_other(tree in nested()) {
        let mut trees = Trees::default();
        let root = add(&mut trees, &tree);
        let manifest = opened(&trees, &root);
        let (mut expected, mut found) = (BTreeSet::new(), BTreeSet::new());
        paths_of(&tree, "", &mut expected);
        paths_in(&manifest, Ino::ROOT, "", &mut found);
        prop_assert_eq!(expected, found);
        let again = Manifest::build(&trees, &root, TIME, &Silent).unwrap();
        prop_assert_eq!(&*manifest.map, &again[..]);
    }

    #[test]
    fn any_flipped_byte_is_found_by_verify(pick in any::<prop::sample::Index>(), flip in 1u8..) {
        let (trees, root) = small();
        let mut bytes = Manifest::build(&trees, &root, TIME, &Silent).unwrap();
        let at = pick.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(manifest) = Manifest::open(Map::from_bytes(bytes)) {
            prop_assert!(manifest.verify().is_err());
            walk_all(&manifest);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (trees, root) = small();
        let mut bytes = Manifest::build(&trees, &root, TIME, &Silent).unwrap();
        for (pick, byte) in edits {
            let at = pick.index(bytes.len());
            bytes[at] = byte;
        }
        // With a right header checksum the damage gets past the door.
        let crc = crc32c::crc32c(&bytes[..format::HEADER_BYTES - 4]);
        bytes[format::HEADER_BYTES - 4..format::HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(manifest) = Manifest::open(Map::from_bytes(bytes)) {
            walk_all(&manifest);
        }
    }
}

/// The same trees, far away.
struct Far(Trees);

impl Source for Far {
    fn tree(&self, id: &Oid) -> Result<Vec<TreeEntry>, SourceError> {
        self.0.tree(id)
    }

    fn blob_sizes(&self, ids: &[Oid]) -> Vec<Result<u64, SourceError>> {
        ids.iter().map(|id| Err(SourceError::Unfetched(*id))).collect()
    }

    fn blob(&self, id: &Oid) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::Unfetched(*id))
    }

    fn is_lazy(&self) -> bool {
        true
    }
}

fn far() -> (Vec<u8>, Manifest) {
    let (trees, root) = small();
    let bytes = Manifest::build(&Far(trees), &root, TIME, &Silent).unwrap();
    let manifest = Manifest::open(Map::from_bytes(bytes.clone())).unwrap();
    (bytes, manifest)
}

#[test]
fn a_lazy_source_gives_a_manifest_without_sizes_and_is_not_asked_for_any() {
    let (bytes, manifest) = far();
    manifest.verify().unwrap();
    assert_eq!(u32::from_le_bytes(bytes[8..12].try_into().unwrap()), format::VERSION_UNKNOWN_SIZES);
    assert_eq!((manifest.file_count(), manifest.total_bytes()), (4, 0));
    assert!(!manifest.has_all_sizes());
    let (file, dir, gitlink) = (Ino(3), Ino(2), Ino(7));
    assert_eq!(manifest.node(file).unwrap().size, None);
    assert_eq!(manifest.size(dir).unwrap(), Some(0));
    assert_eq!(manifest.size(gitlink).unwrap(), Some(0));
    let known = opened(&small().0, &small().1);
    assert!(known.has_all_sizes());
}

#[test]
fn a_size_that_is_told_to_be_unknown_where_none_is_fails_the_check() {
    let (mut bytes, _) = far();
    bytes[60] = 3;
    let crc = crc32c::crc32c(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    let end = bytes.len() - 32;
    let hash = *blake3::hash(&bytes[..end]).as_bytes();
    bytes[end..].copy_from_slice(&hash);
    let manifest = Manifest::open(Map::from_bytes(bytes)).unwrap();
    assert!(matches!(manifest.verify(), Err(ManifestError::Damaged(_))));
}

#[test]
fn sizes_that_were_learnt_are_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let disk = crate::disk::HostDisk::new(dir.path());
    let path = dir.path().join("sizes");
    let (_, manifest) = far();
    manifest.keep_sizes(&disk, &path);
    manifest.learn_sizes(&[(Ino(3), 0), (Ino(4), 70_000), (Ino(4), 70_000)]);
    assert_eq!(manifest.clone().size(Ino(4)).unwrap(), Some(70_000));
    let (_, again) = far();
    assert_eq!(again.size(Ino(4)).unwrap(), None);
    again.keep_sizes(&disk, &path);
    assert_eq!((again.size(Ino(3)).unwrap(), again.size(Ino(4)).unwrap()), (Some(0), Some(70_000)));
    assert_eq!(again.size(Ino(6)).unwrap(), None);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 64 + 2 * 16, "each is there once");
}

#[test]
fn sizes_that_are_damaged_or_of_another_tree_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let disk = crate::disk::HostDisk::new(dir.path());
    let path = dir.path().join("sizes");
    let (_, manifest) = far();
    manifest.keep_sizes(&disk, &path);
    manifest.learn_sizes(&[(Ino(3), 11), (Ino(4), 12)]);
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&path, &bad).unwrap();
        let (_, again) = far();
        again.keep_sizes(&disk, &path);
        let found = [again.size(Ino(3)).unwrap(), again.size(Ino(4)).unwrap()];
        let expected = match at {
            0..64 => [None, None],
            64..80 => [None, Some(12)],
            _ => [Some(11), None],
        };
        assert_eq!(found, expected, "byte {at}");
        again.learn_sizes(&[(Ino(3), 11), (Ino(4), 12)]);
    }
    std::fs::write(&path, &good[..70]).unwrap();
    let (_, cut) = far();
    cut.keep_sizes(&disk, &path);
    assert_eq!(cut.size(Ino(3)).unwrap(), None);
}
