//! The files of a tree in the order they are fetched.

use crate::sources::LateSource;
use std::collections::{HashSet, VecDeque};
use weald_model::{Ino, Oid, TreeKind};
use weald_store::manifest::{Manifest, ManifestError};

/// A file and its content.
pub(crate) type Node = (Ino, Oid);

/// Files whose content is not here, as far as is known.
pub(crate) struct Wanted {
    nodes: VecDeque<Node>,
}

impl Wanted {
    /// Everything in a tree that is not here, in the order of paths; the early ones first.
    pub(crate) fn of(
        manifest: &Manifest,
        source: &LateSource,
        early: &[Vec<u8>],
    ) -> Result<Self, ManifestError> {
        let mut nodes = Vec::new();
        for path in early {
            nodes.extend(at(manifest, path)?);
        }
        let first: HashSet<Ino> = nodes.iter().map(|(ino, _)| *ino).collect();
        in_order_of_paths(manifest, &mut |node| {
            if !first.contains(&node.0) {
                nodes.push(node);
            }
        })?;
        let missing = missing(source, &nodes);
        nodes.retain(|(_, id)| missing.contains(id));
        Ok(Self { nodes: nodes.into() })
    }

    /// True when nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The next so many that did not come meanwhile, without those that cannot be had.
    pub(crate) fn take(&mut self, count: usize, source: &LateSource, unknown: &HashSet<Oid>) -> Vec<Node> {
        let count = count.min(self.nodes.len());
        let mut batch: Vec<Node> = self.nodes.drain(..count).collect();
        let missing = missing(source, &batch);
        batch.retain(|(_, id)| missing.contains(id) && !unknown.contains(id));
        batch
    }

    /// Puts a batch back that did not come.
    pub(crate) fn put_back(&mut self, batch: Vec<Node>) {
        batch.into_iter().rev().for_each(|node| self.nodes.push_front(node));
    }
}

fn missing(source: &LateSource, nodes: &[Node]) -> HashSet<Oid> {
    let ids: Vec<Oid> = nodes.iter().map(|(_, id)| *id).collect();
    source.get().map(|source| source.repository().missing(&ids).into_iter().collect()).unwrap_or_default()
}

/// The file at a path, when there is one.
fn at(manifest: &Manifest, path: &[u8]) -> Result<Option<Node>, ManifestError> {
    let mut ino = Ino::ROOT;
    for name in path.split(|byte| *byte == b'/') {
        match manifest.node(ino)?.kind {
            TreeKind::Dir => {}
            _ => return Ok(None),
        }
        match manifest.child(ino, name)? {
            Some(child) => ino = child,
            None => return Ok(None),
        }
    }
    let node = manifest.node(ino)?;
    Ok(is_elsewhere(&node).then_some((ino, node.oid)))
}

/// Gives every file of a tree, in the order of their paths.
pub(crate) fn in_order_of_paths(
    manifest: &Manifest,
    found: &mut dyn FnMut(Node),
) -> Result<(), ManifestError> {
    let mut ahead: Vec<Ino> = vec![Ino::ROOT];
    while let Some(ino) = ahead.pop() {
        let node = manifest.node(ino)?;
        match node.kind {
            TreeKind::Dir => ahead.extend(manifest.children(ino)?.rev().map(Ino)),
            _ if is_elsewhere(&node) => found((ino, node.oid)),
            _ => {}
        }
    }
    Ok(())
}

/// True for files and symbolic links whose content the remote has: converted ones are here, under ids of their own.
fn is_elsewhere(node: &weald_store::manifest::Node) -> bool {
    matches!(node.kind, TreeKind::File | TreeKind::Executable | TreeKind::Symlink)
        && !crate::conversions::is_converted(&node.oid)
}
