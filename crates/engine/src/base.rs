//! The immutable part of a workspace: a manifest, the source of its content, and who owns its files.

use crate::content::{Content, Origin};
use crate::fetching::Fetching;
use crate::state::{Body, Dent, Inode, Target};
use std::ops::Range;
use std::sync::Arc;
use weald_model::attr::SIZE_UNKNOWN;
use weald_model::{Errno, FileKind, Ino, Name, Oid, Result, Source, Timestamp, TreeKind};
use weald_store::manifest::Manifest;

/// A base. Cheap to clone.
#[derive(Clone)]
pub struct Base {
    tree: Option<Tree>,
    uid: u32,
    gid: u32,
    time: Timestamp,
}

#[derive(Clone)]
struct Tree {
    manifest: Manifest,
    source: Arc<dyn Source>,
    fetching: Arc<Fetching>,
}

impl Base {
    /// A base over a tree: files belong to `uid` and `gid` and carry the manifest's time.
    pub fn new(manifest: Manifest, source: Arc<dyn Source>, uid: u32, gid: u32) -> Self {
        let time = manifest.time();
        let tree = Tree { manifest, source, fetching: Arc::default() };
        Self { tree: Some(tree), uid, gid, time }
    }

    /// The empty base of a plain directory's workspace: a root directory made at `time`.
    pub fn empty(uid: u32, gid: u32, time: Timestamp) -> Self {
        Self { tree: None, uid, gid, time }
    }

    /// Id of the tree; None when empty.
    pub fn tree_id(&self) -> Option<Oid> {
        self.tree.as_ref().map(|tree| tree.manifest.tree())
    }

    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    /// The time that all its nodes carry.
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }

    pub(crate) fn file_count(&self) -> u64 {
        self.tree.as_ref().map_or(0, |tree| tree.manifest.file_count())
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.tree.as_ref().map_or(0, |tree| tree.manifest.total_bytes())
    }

    /// The inode of a base node as it was made; None if the base has no such node.
    pub(crate) fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
        let Some(tree) = &self.tree else {
            return Ok((ino == Ino::ROOT).then(|| self.dir(0, Ino::ROOT)));
        };
        if ino.0 == 0 || ino.0 > tree.manifest.len() {
            return Ok(None);
        }
        let node = tree.manifest.node(ino).map_err(|_| Errno::Io)?;
        // Not what was learnt since: a state must be the same whenever it is made.
        let size = node.size.unwrap_or(SIZE_UNKNOWN);
        Ok(Some(match node.kind {
            TreeKind::Dir | TreeKind::Gitlink => self.dir(node.subdir_count as u32, node.parent),
            TreeKind::File => self.file(ino, 0o644, size),
            TreeKind::Executable => self.file(ino, 0o755, size),
            TreeKind::Symlink => {
                Inode { size, body: Body::Target(Target::Base(ino)), ..self.plain(FileKind::Symlink, 0o777) }
            }
        }))
    }

    /// The entry of a name in a base directory.
    pub(crate) fn entry(&self, parent: Ino, name: &[u8]) -> Result<Option<Dent>> {
        let Some(tree) = self.tree.as_ref().filter(|_| parent.is_base()) else { return Ok(None) };
        let Some(ino) = tree.manifest.child(parent, name).map_err(|_| Errno::Io)? else { return Ok(None) };
        Ok(Some(Dent { ino, kind: self.kind(ino)?, cookie: ino.0 }))
    }

    /// The inode numbers of a base directory's entries, in name order.
    pub(crate) fn children(&self, parent: Ino) -> Result<Range<u64>> {
        match self.tree.as_ref().filter(|_| parent.is_base()) {
            Some(tree) => tree.manifest.children(parent).map_err(|_| Errno::Io),
            None => Ok(0..0),
        }
    }

    /// The directory a base node is in, and its name there.
    pub(crate) fn home(&self, ino: Ino) -> Option<(Ino, Name)> {
        let manifest = &self.tree.as_ref().filter(|_| ino.is_base() && ino != Ino::ROOT)?.manifest;
        Some((manifest.node(ino).ok()?.parent, Name::new(manifest.node_name(ino).ok()?).ok()?))
    }

    /// The name of a base node.
    pub(crate) fn name(&self, ino: Ino) -> Result<&[u8]> {
        let tree = self.tree.as_ref().ok_or(Errno::NotFound)?;
        tree.manifest.node_name(ino).map_err(|_| Errno::Io)
    }

    /// Where a base node is: its directory and name. None for the root and for what is no base node.
    pub(crate) fn place(&self, ino: Ino) -> Result<Option<(Ino, Name)>> {
        let Some(tree) = self.tree.as_ref().filter(|tree| ino.0 > 1 && ino.0 <= tree.manifest.len()) else {
            return Ok(None);
        };
        let parent = tree.manifest.node(ino).map_err(|_| Errno::Io)?.parent;
        Ok(Some((parent, Name::new(self.name(ino)?).map_err(|_| Errno::Io)?)))
    }

    /// True when both show the same tree in the same way, so that their inode numbers mean the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.tree_id(), self.uid, self.gid, self.time) == (other.tree_id(), other.uid, other.gid, other.time)
    }

    /// The type of a base node.
    pub(crate) fn kind(&self, ino: Ino) -> Result<FileKind> {
        let tree = self.tree.as_ref().ok_or(Errno::NotFound)?;
        Ok(match tree.manifest.node(ino).map_err(|_| Errno::Io)?.kind {
            TreeKind::Dir | TreeKind::Gitlink => FileKind::Dir,
            TreeKind::File | TreeKind::Executable => FileKind::File,
            TreeKind::Symlink => FileKind::Symlink,
        })
    }

    /// The object id and source of a base node's content.
    pub(crate) fn blob(&self, ino: Ino) -> Result<(Oid, &Arc<dyn Source>)> {
        let tree = self.tree.as_ref().ok_or(Errno::Io)?;
        Ok((tree.manifest.node(ino).map_err(|_| Errno::Io)?.oid, &tree.source))
    }

    /// The size of a base node's content as far as it is known by now. Asks nobody.
    pub(crate) fn known_size(&self, ino: Ino) -> Option<u64> {
        self.tree.as_ref()?.manifest.size(ino).ok()?
    }

    /// What fetching content needs.
    pub(crate) fn far_parts(&self) -> Option<(&Manifest, &Arc<dyn Source>, &Arc<Fetching>)> {
        self.tree.as_ref().map(|tree| (&tree.manifest, &tree.source, &tree.fetching))
    }

    fn dir(&self, subdirs: u32, parent: Ino) -> Inode {
        let plain = self.plain(FileKind::Dir, 0o755);
        Inode { nlink: 2 + subdirs, size: crate::state::DIR_BYTES, body: Body::Dir { parent }, ..plain }
    }

    fn file(&self, ino: Ino, perm: u32, size: u64) -> Inode {
        let body = Body::File(Content::whole(size, Origin::Base(ino)));
        Inode { size, body, ..self.plain(FileKind::File, perm) }
    }

    fn plain(&self, kind: FileKind, perm: u32) -> Inode {
        let Self { uid, gid, time, .. } = *self;
        Inode {
            kind,
            perm,
            uid,
            gid,
            nlink: 1,
            rdev: 0,
            size: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            body: Body::Plain,
            xattrs: None,
        }
    }
}
