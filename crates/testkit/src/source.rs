//! A source in memory, and trees to put into it.
//!
//! Invariant: ids are hashes of content, so equal trees have equal ids, as in git. Entries of a tree are in byte
//! order of their names, which is not git's order: a reader must not rely on any.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use weald_model::{Oid, Source, SourceError, TreeEntry, TreeKind};

/// A tree or a leaf of one, by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Regular file.
    File {
        /// Content.
        content: Vec<u8>,
        /// Executable.
        executable: bool,
    },
    /// Symbolic link to this target.
    Symlink(Vec<u8>),
    /// Directory.
    Dir(BTreeMap<Vec<u8>, Tree>),
    /// Commit of another repository.
    Gitlink,
}

impl Tree {
    /// A directory of these entries.
    pub fn dir<const N: usize>(entries: [(&str, Tree); N]) -> Self {
        Tree::Dir(entries.into_iter().map(|(name, tree)| (name.as_bytes().to_vec(), tree)).collect())
    }

    /// A file that is not executable.
    pub fn file(content: impl Into<Vec<u8>>) -> Self {
        Tree::File { content: content.into(), executable: false }
    }

    const fn kind(&self) -> TreeKind {
        match self {
            Tree::File { executable: true, .. } => TreeKind::Executable,
            Tree::File { .. } => TreeKind::File,
            Tree::Symlink(_) => TreeKind::Symlink,
            Tree::Dir(_) => TreeKind::Dir,
            Tree::Gitlink => TreeKind::Gitlink,
        }
    }
}

/// Trees and blobs by id. Counts what was read.
#[derive(Debug, Default)]
pub struct MemorySource {
    trees: Mutex<BTreeMap<Oid, Vec<TreeEntry>>>,
    blobs: Mutex<BTreeMap<Oid, Vec<u8>>>,
    blobs_read: AtomicU64,
}

impl MemorySource {
    /// Adds a tree with all below it and returns its id.
    pub fn add(&self, tree: &Tree) -> Oid {
        match tree {
            Tree::File { content, .. } | Tree::Symlink(content) => {
                let id = hash(b"blob", content);
                self.blobs.lock().expect(NO_PANIC).insert(id, content.clone());
                id
            }
            Tree::Gitlink => hash(b"commit", b""),
            Tree::Dir(entries) => self.add_raw(
                entries
                    .iter()
                    .map(|(name, child)| TreeEntry {
                        name: name.clone(),
                        kind: child.kind(),
                        oid: self.add(child),
                    })
                    .collect(),
            ),
        }
    }

    /// Adds a tree with exactly these entries, whatever their names and order: for hostile trees.
    pub fn add_raw(&self, entries: Vec<TreeEntry>) -> Oid {
        let mut text = Vec::new();
        for entry in &entries {
            text.extend_from_slice(&(entry.name.len() as u64).to_le_bytes());
            text.extend_from_slice(&entry.name);
            text.push(entry.kind as u8);
            text.extend_from_slice(entry.oid.as_bytes());
        }
        let id = hash(b"tree", &text);
        self.trees.lock().expect(NO_PANIC).insert(id, entries);
        id
    }

    /// Loses a blob, as a damaged repository does.
    pub fn lose_blob(&self, id: &Oid) {
        self.blobs.lock().expect(NO_PANIC).remove(id);
    }

    /// How many blobs were read whole so far.
    pub fn blobs_read(&self) -> u64 {
        self.blobs_read.load(Ordering::Relaxed)
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

impl Source for MemorySource {
    fn tree(&self, id: &Oid) -> Result<Vec<TreeEntry>, SourceError> {
        self.trees.lock().expect(NO_PANIC).get(id).cloned().ok_or(SourceError::Missing(*id))
    }

    fn blob_sizes(&self, ids: &[Oid]) -> Vec<Result<u64, SourceError>> {
        let blobs = self.blobs.lock().expect(NO_PANIC);
        ids.iter()
            .map(|id| blobs.get(id).map(|blob| blob.len() as u64).ok_or(SourceError::Missing(*id)))
            .collect()
    }

    fn blob(&self, id: &Oid) -> Result<Vec<u8>, SourceError> {
        self.blobs_read.fetch_add(1, Ordering::Relaxed);
        self.blobs.lock().expect(NO_PANIC).get(id).cloned().ok_or(SourceError::Missing(*id))
    }
}

fn hash(kind: &[u8], content: &[u8]) -> Oid {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind).update(content);
    Oid::new(&hasher.finalize().as_bytes()[..20]).expect("20 bytes are an id")
}
