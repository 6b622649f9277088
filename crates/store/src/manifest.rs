//! The manifest: one immutable file that lists a whole base tree, mapped into memory and shared by all workspaces.
//!
//! Invariant: a node's position is its inode number less one, for ever; nodes are in breadth-first order with each
//! directory's children together, sorted by the bytes of their names. Every accessor checks what it follows, so a
//! damaged file gives [`ManifestError::Damaged`], never a panic or a loop.
//! Read next: [`build`] (how one is made), [`mod@format`] (its bytes), [`names`] (which names are refused), [`sizes`]
//! (what is learnt of content that is elsewhere).

use crate::disk::{Disk, Map};
use std::path::Path;
use std::sync::Arc;
use weald_model::{Ino, Oid, Progress, Source, SourceError, Timestamp, TreeKind};

mod build;
pub mod format;
pub mod names;
mod read;
pub mod sizes;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

/// Why a manifest cannot be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The source did not give an object.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The tree has a name that could write outside the workspace or into its .git, or that no file can have.
    #[error("the tree has the entry `{}`, {why}", String::from_utf8_lossy(path))]
    Hostile {
        /// Path of the entry from the root of the tree.
        path: Vec<u8>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More entries or bytes of names than a manifest may hold.
    #[error("the tree is too large: {0}")]
    TooLarge(&'static str),
    /// The bytes are not what was written.
    #[error("the manifest is damaged: {0}")]
    Damaged(&'static str),
    /// A newer Weald wrote it.
    #[error("the manifest has version {0}, which this weald does not know")]
    Version(u32),
}

/// One file or directory of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Inode number: position plus one.
    pub ino: Ino,
    /// The directory it is in; the root is in itself.
    pub parent: Ino,
    /// What it is.
    pub kind: TreeKind,
    /// Id of its object in the source.
    pub oid: Oid,
    /// Size of the blob in bytes; 0 for directories and gitlinks. None when it was not known when the manifest was made:
    /// then [`Manifest::size`] tells what was learnt since.
    pub size: Option<u64>,
    /// Inode number of the first child; meaningless without children.
    pub first_child: Ino,
    /// Number of children.
    pub child_count: u64,
    /// Number of children that are directories or gitlinks; a directory's link count is this plus two.
    pub subdir_count: u64,
}

/// A manifest in memory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Manifest {
    map: Map,
    layout: format::Layout,
    /// Of a tree with sizes that were not known.
    sizes: Option<Arc<sizes::Sizes>>,
}

impl Manifest {
    /// Reads a tree from a source and returns the bytes of its manifest: the same bytes for the same tree and time.
    ///
    /// Reads trees and asks for sizes from several threads at once. Blocks on the source. A source whose content is
    /// elsewhere is not asked for sizes.
    pub fn build(
        source: &dyn Source,
        tree: &Oid,
        time: Timestamp,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, ManifestError> {
        build::build(source, tree, time, progress, format::NODES_MAX)
    }

    /// The size of a node's content in bytes, as far as it is known by now; 0 for directories and gitlinks.
    pub fn size(&self, ino: Ino) -> Result<Option<u64>, ManifestError> {
        let size = self.node(ino)?.size;
        Ok(size.or_else(|| self.sizes.as_ref().and_then(|sizes| sizes.get(ino))))
    }

    /// Remembers sizes of nodes whose size was not known. All who have this manifest see them.
    pub fn learn_sizes(&self, found: &[(Ino, u64)]) {
        if let Some(sizes) = &self.sizes {
            sizes.learn(found);
        }
    }

    /// Takes the sizes learnt earlier from a file, and keeps those to come there. The first call decides.
    pub fn keep_sizes(&self, disk: &dyn Disk, path: &Path) {
        if let Some(sizes) = &self.sizes {
            sizes.attach(disk, path);
        }
    }
}
