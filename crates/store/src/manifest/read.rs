//! Reading a mapped manifest.
//!
//! Invariant: every position and range is checked against the header's numbers before it is followed, and children
//! always come after their parent, so no walk over a damaged manifest goes on for ever.

use super::format::{Detail, Layout, NODE_BYTES, RawNode, SIZE_UNKNOWN};
use super::sizes::Sizes;
use super::{Manifest, ManifestError, Node};
use crate::disk::Map;
use std::ops::Range;
use std::sync::Arc;
use weald_model::{Ino, Oid, Timestamp, TreeKind};

impl Manifest {
    /// Takes the bytes of a manifest and checks their header and length. O(1): see [`Manifest::verify`].
    pub fn open(map: Map) -> Result<Self, ManifestError> {
        let layout = Layout::decode(&map)?;
        let sizes = (layout.unknown_sizes > 0).then(|| Arc::new(Sizes::new(layout.tree, layout.nodes)));
        Ok(Self { map, layout, sizes })
    }

    /// Number of nodes; the largest inode number.
    #[allow(clippy::len_without_is_empty, reason = "it always has a root")]
    pub fn len(&self) -> u64 {
        self.layout.nodes
    }

    /// The tree it lists.
    pub fn tree(&self) -> Oid {
        self.layout.tree
    }

    /// The time stamp of all nodes.
    pub fn time(&self) -> Timestamp {
        self.layout.time
    }

    /// Bytes of all blobs whose size was known when it was made, each as often as it is in the tree.
    pub fn total_bytes(&self) -> u64 {
        self.layout.total_bytes
    }

    /// True when it was made with all sizes known.
    pub fn has_all_sizes(&self) -> bool {
        self.sizes.is_none()
    }

    /// Number of regular files and symbolic links.
    pub fn file_count(&self) -> u64 {
        self.layout.files
    }

    /// Returns a node.
    pub fn node(&self, ino: Ino) -> Result<Node, ManifestError> {
        let raw = self.raw(ino)?;
        let parent = Ino(u64::from(raw.parent) + 1);
        if parent >= ino && ino != Ino::ROOT {
            return Err(ManifestError::Damaged("a node comes before its parent"));
        }
        let mut node = Node {
            ino,
            parent,
            kind: raw.kind,
            oid: self.oid(ino),
            size: Some(0),
            first_child: Ino::ROOT,
            child_count: 0,
            subdir_count: 0,
        };
        match raw.detail {
            Detail::Size(size) => node.size = Some(size).filter(|size| *size != SIZE_UNKNOWN),
            Detail::Children { first, count, subdirs } => {
                let range = self.children_of(ino, first, count)?;
                node.first_child = Ino(range.start);
                node.child_count = range.end - range.start;
                node.subdir_count = u64::from(subdirs);
            }
        }
        Ok(node)
    }

    /// Returns the name of a node; the root's is empty.
    pub fn node_name(&self, ino: Ino) -> Result<&[u8], ManifestError> {
        self.name_of(&self.raw(ino)?)
    }

    /// Finds a child by name in O(log n).
    pub fn child(&self, parent: Ino, name: &[u8]) -> Result<Option<Ino>, ManifestError> {
        let Range { start: mut low, end: mut high } = self.children(parent)?;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.node_name(Ino(middle))?.cmp(name) {
                std::cmp::Ordering::Equal => return Ok(Some(Ino(middle))),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// Returns the inode numbers of a directory's children, which are sorted by the bytes of their names. Empty for
    /// what is no directory.
    pub fn children(&self, parent: Ino) -> Result<Range<u64>, ManifestError> {
        match self.raw(parent)?.detail {
            Detail::Children { first, count, .. } => self.children_of(parent, first, count),
            Detail::Size(_) => Ok(0..0),
        }
    }

    fn children_of(&self, parent: Ino, first: u32, count: u32) -> Result<Range<u64>, ManifestError> {
        if count == 0 {
            return Ok(0..0);
        }
        let start = u64::from(first) + 1;
        let end = start + u64::from(count);
        if start <= parent.0 || end > self.layout.nodes + 1 {
            return Err(ManifestError::Damaged("the children of a directory are out of range"));
        }
        Ok(start..end)
    }

    pub(super) fn raw(&self, ino: Ino) -> Result<RawNode, ManifestError> {
        if ino.0 == 0 || ino.0 > self.layout.nodes {
            return Err(ManifestError::Damaged("it has no node of this number"));
        }
        let at = super::format::HEADER_BYTES + (ino.0 - 1) as usize * NODE_BYTES;
        let raw = RawNode::decode(&self.map[at..at + NODE_BYTES])?;
        if ino == Ino::ROOT && raw.kind != TreeKind::Dir {
            return Err(ManifestError::Damaged("its root is no directory"));
        }
        Ok(raw)
    }

    pub(super) fn name_of(&self, raw: &RawNode) -> Result<&[u8], ManifestError> {
        let names = &self.map[self.layout.names_at()..self.layout.trailer_at()];
        let start = raw.name_at as usize;
        names
            .get(start..start + usize::from(raw.name_len))
            .ok_or(ManifestError::Damaged("a name is out of range"))
    }

    fn oid(&self, ino: Ino) -> Oid {
        let width = self.layout.oid_bytes();
        let at = self.layout.oids_at() + (ino.0 - 1) as usize * width;
        Oid::new(&self.map[at..at + width]).expect("the layout has checked the width of ids")
    }
}
