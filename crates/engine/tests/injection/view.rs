//! Everything a workspace shows, to compare one moment with another.

use std::collections::BTreeMap;
use weald_engine::{Past, Snapshot, Workspace};
use weald_model::{Attr, FileKind, Ino};

/// A whole tree by path: attributes, content or target, extended attributes.
pub(crate) type Picture = BTreeMap<Vec<u8>, (Attr, Vec<u8>, Vec<u8>)>;

/// A workspace at one moment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) tree: Picture,
    pub(crate) listed: Vec<Snapshot>,
}

impl View {
    pub(crate) fn of(workspace: &Workspace) -> Self {
        Self { tree: picture(&workspace.now_past()), listed: workspace.snapshots() }
    }
}

impl std::fmt::Debug for View {
    /// A line for each path, with the first bytes of its content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (path, (attr, content, _)) in &self.tree {
            let (path, begin) = (String::from_utf8_lossy(path), &content[..content.len().min(4)]);
            writeln!(f, "{path} {:?} {} {} {:?} {begin:?}", attr.ino, attr.nlink, attr.size, attr.ctime)?;
        }
        let ids = self.listed.iter().map(|listed| (listed.id, listed.point.seq, &listed.tags));
        write!(f, "{:?}", ids.collect::<Vec<_>>())
    }
}

/// Walks a state.
pub(crate) fn picture(past: &Past) -> Picture {
    let mut all = Picture::new();
    let mut open = vec![(Vec::new(), Ino::ROOT)];
    while let Some((path, ino)) = open.pop() {
        let attr = past.attr(ino).unwrap();
        let mut content = Vec::new();
        match attr.kind {
            FileKind::File => past.read(ino, 0, attr.size as usize + 1, &mut content).unwrap(),
            FileKind::Symlink => content = past.read_link(ino).unwrap(),
            _ => past
                .read_dir(ino, Default::default(), &mut |entry| {
                    open.push(([&path, &b"/"[..], entry.name].concat(), entry.ino));
                    true
                })
                .unwrap(),
        }
        all.insert(path, (attr, content, past.list_xattr(ino).unwrap()));
    }
    all
}
