//! The reference file system: what every operation means, in the shortest way that is obviously right.
//!
//! Everything is in memory and whole; a fork is `clone`. It has no cache, no log and no laziness, so there is
//! nothing to get wrong but the meaning itself, which follows the man pages and, for the order of errors, the
//! kernel's `fs/namei.c`. Default ACLs are ignored. Read next: `reference/change.rs` for the changing operations.

mod change;
mod rename;
mod restore;

use crate::source::Tree;
use std::collections::BTreeMap;
use std::sync::Arc;
use weald_model::{Attr, Errno, FileKind, Ino, Name, NameError, Result, Timestamp};

/// One inode. Fields that make no sense for a kind are empty.
#[derive(Clone, Debug)]
pub struct Inode {
    kind: FileKind,
    perm: u32,
    uid: u32,
    gid: u32,
    rdev: u32,
    nlink: u32,
    /// Bytes of a file or target of a symbolic link. Shared by forks until written.
    content: Arc<Vec<u8>>,
    entries: BTreeMap<Vec<u8>, Ino>,
    /// Of a directory: the one it is in.
    parent: Ino,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    atime: Timestamp,
    mtime: Timestamp,
    ctime: Timestamp,
    btime: Timestamp,
    /// Made by O_TMPFILE: may be linked although it has no name.
    linkable: bool,
}

/// The whole file system.
#[derive(Clone, Debug)]
pub struct Reference {
    inodes: BTreeMap<Ino, Inode>,
    next: u64,
    /// The time that the next operations happen at.
    pub now: Timestamp,
}

impl Reference {
    /// A file system with an empty root directory owned by `uid` and `gid`, made at `time`.
    pub fn empty(uid: u32, gid: u32, time: Timestamp) -> Self {
        let mut root = Inode::new(FileKind::Dir, 0o755, uid, gid, time);
        root.parent = Ino::ROOT;
        Self { inodes: BTreeMap::from([(Ino::ROOT, root)]), next: 2, now: time }
    }

    /// A file system that shows `tree` as a workspace shows its base.
    pub fn from_tree(tree: &Tree, uid: u32, gid: u32, time: Timestamp) -> Self {
        let mut made = Self::empty(uid, gid, time);
        if let Tree::Dir(entries) = tree {
            made.add_base(Ino::ROOT, entries);
        }
        made
    }

    fn add_base(&mut self, parent: Ino, entries: &BTreeMap<Vec<u8>, Tree>) {
        let Inode { uid, gid, btime, .. } = self.inodes[&parent];
        for (name, tree) in entries {
            let (kind, perm) = match tree {
                Tree::File { executable: true, .. } => (FileKind::File, 0o755),
                Tree::File { .. } => (FileKind::File, 0o644),
                Tree::Symlink(_) => (FileKind::Symlink, 0o777),
                Tree::Dir(_) | Tree::Gitlink => (FileKind::Dir, 0o755),
            };
            let mut inode = Inode::new(kind, perm, uid, gid, btime);
            if let Tree::File { content, .. } | Tree::Symlink(content) = tree {
                inode.content = Arc::new(content.clone());
            }
            let ino = self.insert(parent, name, inode);
            if let Tree::Dir(below) = tree {
                self.add_base(ino, below);
            }
        }
    }

    /// Names an inode in a directory and counts the links.
    fn insert(&mut self, parent: Ino, name: &[u8], mut inode: Inode) -> Ino {
        let ino = Ino(self.next);
        self.next += 1;
        inode.parent = parent;
        let is_dir = inode.kind == FileKind::Dir;
        inode.nlink = if is_dir { 2 } else { 1 };
        self.inodes.insert(ino, inode);
        let dir = self.known(parent);
        dir.entries.insert(name.to_vec(), ino);
        dir.nlink += u32::from(is_dir);
        ino
    }

    /// The inode called `name` in `parent`.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        self.attr(self.child(parent, name)?)
    }

    fn child(&self, parent: Ino, name: &[u8]) -> Result<Ino> {
        let dir = self.dir(parent)?;
        check_name(name)?;
        dir.entries.get(name).copied().ok_or(Errno::NotFound)
    }

    /// The directory that `dir` is in; the root is in itself.
    pub fn parent_of(&self, dir: Ino) -> Result<Ino> {
        self.dir(dir).map(|inode| inode.parent)
    }

    /// What stat(2) tells. `blocks` is 0, and so is the size of directories: those are the implementation's.
    pub fn attr(&self, ino: Ino) -> Result<Attr> {
        let inode = self.get(ino)?;
        Ok(Attr {
            ino,
            kind: inode.kind,
            perm: inode.perm,
            nlink: inode.nlink,
            uid: inode.uid,
            gid: inode.gid,
            rdev: inode.rdev,
            size: inode.content.len() as u64,
            blocks: 0,
            atime: inode.atime,
            mtime: inode.mtime,
            ctime: inode.ctime,
            btime: inode.btime,
        })
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, ino: Ino) -> Result<Vec<u8>> {
        let inode = self.get(ino)?;
        if inode.kind == FileKind::Symlink { Ok(inode.content.to_vec()) } else { Err(Errno::Invalid) }
    }

    /// Up to `size` bytes from `offset`.
    pub fn read(&self, ino: Ino, offset: u64, size: usize) -> Result<Vec<u8>> {
        let content = &self.file(ino)?.content;
        let start = content.len().min(offset as usize);
        let end = content.len().min(start + size);
        Ok(content[start..end].to_vec())
    }

    /// All entries of a directory without `.` and `..`.
    pub fn entries(&self, dir: Ino) -> Result<BTreeMap<Vec<u8>, (Ino, FileKind)>> {
        let entries = &self.dir(dir)?.entries;
        Ok(entries.iter().map(|(name, ino)| (name.clone(), (*ino, self.inodes[ino].kind))).collect())
    }

    /// All extended attributes.
    pub fn xattrs(&self, ino: Ino) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        Ok(self.get(ino)?.xattrs.clone())
    }

    /// Whether `ino` is there, named or not.
    pub fn knows(&self, ino: Ino) -> bool {
        self.inodes.contains_key(&ino)
    }

    /// Whether link(2) may give it a name: it has one, or it was made without any.
    pub fn is_linkable(&self, ino: Ino) -> bool {
        self.get(ino).is_ok_and(|inode| inode.nlink > 0 || inode.linkable)
    }

    /// The kernel dropped its last reference: an inode without a name goes.
    pub fn forget(&mut self, ino: Ino) {
        if self.get(ino).is_ok_and(|inode| inode.nlink == 0) {
            self.inodes.remove(&ino);
        }
    }

    /// Drops every inode without a name that is not held.
    pub fn forget_all_but(&mut self, held: &[Option<Ino>]) {
        self.inodes.retain(|ino, inode| inode.nlink > 0 || held.contains(&Some(*ino)));
    }

    /// Drops every inode without a name: nothing is open after a fresh mount.
    pub fn purge_orphans(&mut self) {
        self.inodes.retain(|_, inode| inode.nlink > 0);
    }

    fn get(&self, ino: Ino) -> Result<&Inode> {
        self.inodes.get(&ino).ok_or(Errno::Stale)
    }

    /// An inode that the caller has checked to be there.
    fn known(&mut self, ino: Ino) -> &mut Inode {
        self.inodes.get_mut(&ino).expect("the caller has checked that the inode is there")
    }

    fn dir(&self, ino: Ino) -> Result<&Inode> {
        let inode = self.get(ino)?;
        if inode.kind == FileKind::Dir { Ok(inode) } else { Err(Errno::NotDir) }
    }

    fn file(&self, ino: Ino) -> Result<&Inode> {
        let inode = self.get(ino)?;
        match inode.kind {
            FileKind::File => Ok(inode),
            FileKind::Dir => Err(Errno::IsDir),
            _ => Err(Errno::Invalid),
        }
    }
}

impl Inode {
    fn new(kind: FileKind, perm: u32, uid: u32, gid: u32, now: Timestamp) -> Self {
        Self {
            kind,
            perm,
            uid,
            gid,
            rdev: 0,
            nlink: if kind == FileKind::Dir { 2 } else { 1 },
            content: Arc::default(),
            entries: BTreeMap::new(),
            parent: Ino::ROOT,
            xattrs: BTreeMap::new(),
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            linkable: false,
        }
    }

    /// Content or entries changed.
    fn touch(&mut self, now: Timestamp) {
        self.mtime = now;
        self.ctime = now;
    }

    /// What a write by somebody without CAP_FSETID takes away (inode(7)); directories keep theirs.
    fn drop_privileges(&mut self) {
        if self.kind != FileKind::Dir {
            self.perm &= !0o4000;
            if self.perm & 0o010 != 0 {
                self.perm &= !0o2000;
            }
        }
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    Name::check(name).map_err(|error| match error {
        NameError::TooLong => Errno::NameTooLong,
        NameError::Invalid => Errno::Invalid,
    })
}
