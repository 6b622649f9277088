//! The walk from a tree to an index: entries in git's order, and the TREE extension (gitformat-index(5), "Cache
//! tree") that tells git which tree object each directory of the index is.
//!
//! Invariant: directories of any depth are walked without recursion. See [`crate::index`] for entries.

use crate::ObjectFormat;
use crate::index::untracked::Dir;
use crate::index::{IndexEntry, IndexError, IndexStat, IndexWriter, index_order};
use weald_model::{Oid, TreeKind};

/// One child of a directory, as [`index_of_tree`] asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexNode {
    /// Name in the directory.
    pub name: Vec<u8>,
    /// Kind.
    pub kind: TreeKind,
    /// Object.
    pub oid: Oid,
    /// Stat data; of a directory only `ino` is used, as the key its children are asked by.
    pub stat: IndexStat,
}

/// The directories of an index with their tree objects, as a flat list; the root is first.
#[derive(Debug)]
pub(crate) struct CachedTrees {
    nodes: Vec<CachedTree>,
}

#[derive(Debug)]
struct CachedTree {
    name: Vec<u8>,
    oid: Oid,
    /// Its `.gitignore`.
    ignore: Option<Oid>,
    /// Index entries below, at any depth.
    entries: u32,
    children: Vec<usize>,
}

/// A directory being walked.
struct Frame {
    nodes: std::vec::IntoIter<IndexNode>,
    prefix_len: usize,
    tree: usize,
    first_entry: u32,
}

/// Writes the index of a whole tree. `list` gives the children of a directory (the root's key is `root_ino`) in any
/// order; they may be unchecked but for duplicates, which are an error.
pub fn index_of_tree<E: From<IndexError>>(
    format: ObjectFormat,
    root_ino: u64,
    root: Oid,
    entries_expected: usize,
    fsmonitor_token: Option<&str>,
    mut list: impl FnMut(u64, &mut Vec<IndexNode>) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut writer = IndexWriter::new(format, entries_expected);
    if let Some(token) = fsmonitor_token {
        writer.fsmonitor(token);
    }
    let mut trees = CachedTrees { nodes: vec![CachedTree::new(Vec::new(), root)] };
    let mut path = Vec::with_capacity(256);
    let mut frames =
        vec![Frame { nodes: listed(&mut list, root_ino)?, prefix_len: 0, tree: 0, first_entry: 0 }];
    while let Some(frame) = frames.last_mut() {
        path.truncate(frame.prefix_len);
        let Some(node) = frame.nodes.next() else {
            trees.nodes[frame.tree].entries = writer.entries() - frame.first_entry;
            frames.pop();
            continue;
        };
        path.extend_from_slice(&node.name);
        if node.kind == TreeKind::Dir {
            path.push(b'/');
            let nodes = listed(&mut list, node.stat.ino)?;
            let tree = trees.add(frame.tree, node.name, node.oid);
            frames.push(Frame { nodes, prefix_len: path.len(), tree, first_entry: writer.entries() });
            continue;
        }
        if node.name == b".gitignore" && matches!(node.kind, TreeKind::File | TreeKind::Executable) {
            trees.nodes[frame.tree].ignore = Some(node.oid);
        }
        writer.push(&IndexEntry { path: &path, kind: node.kind, oid: node.oid, stat: node.stat })?;
    }
    Ok(writer.finish(Some(&trees)))
}

fn listed<E>(
    list: &mut impl FnMut(u64, &mut Vec<IndexNode>) -> Result<(), E>,
    dir: u64,
) -> Result<std::vec::IntoIter<IndexNode>, E> {
    let mut nodes = Vec::new();
    list(dir, &mut nodes)?;
    nodes.sort_by(|a, b| index_order(&a.name, a.kind == TreeKind::Dir, &b.name, b.kind == TreeKind::Dir));
    Ok(nodes.into_iter())
}

impl CachedTree {
    fn new(name: Vec<u8>, oid: Oid) -> Self {
        Self { name, oid, ignore: None, entries: 0, children: Vec::new() }
    }
}

impl CachedTrees {
    fn add(&mut self, parent: usize, name: Vec<u8>, oid: Oid) -> usize {
        let at = self.nodes.len();
        self.nodes.push(CachedTree::new(name, oid));
        self.nodes[parent].children.push(at);
        at
    }

    /// All of them, parents before children, siblings by their bytes.
    pub(crate) fn depth_first(&self) -> Vec<Dir<'_>> {
        let mut dirs = Vec::with_capacity(self.nodes.len());
        let mut todo = vec![0];
        while let Some(at) = todo.pop() {
            let CachedTree { name, ignore, children, .. } = &self.nodes[at];
            dirs.push(Dir { name, children: children.len(), ignore: *ignore });
            let mut children = children.clone();
            children.sort_by(|a, b| self.nodes[*b].name.cmp(&self.nodes[*a].name));
            todo.extend(children);
        }
        dirs
    }

    /// Appends the body of the TREE extension: parents before children, siblings by length then bytes, as git does.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut todo = vec![0];
        while let Some(at) = todo.pop() {
            let tree = &self.nodes[at];
            out.extend_from_slice(&tree.name);
            out.extend_from_slice(format!("\0{} {}\n", tree.entries, tree.children.len()).as_bytes());
            out.extend_from_slice(tree.oid.as_bytes());
            let mut children = tree.children.clone();
            let key = |at: &usize| (self.nodes[*at].name.len(), &self.nodes[*at].name);
            children.sort_by(|a, b| key(b).cmp(&key(a)));
            todo.extend(children);
        }
    }
}
