//! What the reference, the engine and anything else that knows inodes have in common, so that one piece of code
//! applies an operation to any of them.
//!
//! Invariant: the trait has no default behaviour; both sides answer everything themselves.

use crate::reference::Reference;
use std::collections::BTreeMap;
use std::sync::Arc;
use weald_engine::{AllocateMode, Cookie, RemovedEntry, RenameMode, Seek, Workspace, XattrMode};
use weald_model::attr::SIZE_UNKNOWN;
use weald_model::{Attr, Caller, Errno, FileKind, Ino, Result, SetAttr, Wait};

/// Entries of a directory: name, inode number, kind.
pub type Entries = BTreeMap<Vec<u8>, (Ino, FileKind)>;

/// File operations by inode number; see the same names in [`Workspace`].
#[expect(missing_docs, reason = "each is the operation of the same name in Workspace")]
pub trait FileSystem {
    fn lookup(&mut self, parent: Ino, name: &[u8]) -> Result<Attr>;
    fn parent_of(&mut self, dir: Ino) -> Result<Ino>;
    fn attr(&mut self, ino: Ino) -> Result<Attr>;
    fn set_attr(&mut self, who: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr>;
    fn read_link(&mut self, ino: Ino) -> Result<Vec<u8>>;
    fn make_node(
        &mut self,
        who: &Caller,
        at: (Ino, &[u8]),
        kind: FileKind,
        perm: u32,
        rdev: u32,
    ) -> Result<Attr>;
    fn make_symlink(&mut self, who: &Caller, at: (Ino, &[u8]), target: &[u8]) -> Result<Attr>;
    fn make_tmpfile(&mut self, who: &Caller, parent: Ino, perm: u32) -> Result<Attr>;
    fn link(&mut self, who: &Caller, ino: Ino, at: (Ino, &[u8])) -> Result<Attr>;
    fn unlink(&mut self, who: &Caller, at: (Ino, &[u8])) -> Result<RemovedEntry>;
    fn rmdir(&mut self, who: &Caller, at: (Ino, &[u8])) -> Result<RemovedEntry>;
    fn rename(&mut self, who: &Caller, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Result<()>;
    fn read(&mut self, ino: Ino, offset: u64, size: usize) -> Result<Vec<u8>>;
    fn write(&mut self, who: &Caller, ino: Ino, offset: u64, data: &[u8]) -> Result<()>;
    fn allocate(&mut self, who: &Caller, ino: Ino, offset: u64, len: u64, mode: AllocateMode) -> Result<()>;
    fn copy_range(&mut self, who: &Caller, from: (Ino, u64), to: (Ino, u64), len: u64) -> Result<u64>;
    fn seek(&mut self, ino: Ino, offset: u64, what: Seek) -> Result<u64>;
    /// Lists a directory, `batch` entries to a call.
    fn entries(&mut self, dir: Ino, batch: usize) -> Result<Entries>;
    fn xattrs(&mut self, ino: Ino) -> Result<BTreeMap<Vec<u8>, Vec<u8>>>;
    fn set_xattr(&mut self, who: &Caller, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode)
    -> Result<()>;
    fn remove_xattr(&mut self, who: &Caller, ino: Ino, name: &[u8]) -> Result<()>;
    fn sync(&mut self) -> Result<()>;
    fn forget(&mut self, ino: Ino);
}

impl FileSystem for Reference {
    fn lookup(&mut self, parent: Ino, name: &[u8]) -> Result<Attr> {
        Reference::lookup(self, parent, name)
    }
    fn parent_of(&mut self, dir: Ino) -> Result<Ino> {
        Reference::parent_of(self, dir)
    }
    fn attr(&mut self, ino: Ino) -> Result<Attr> {
        Reference::attr(self, ino)
    }
    fn set_attr(&mut self, who: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        Reference::set_attr(self, who, ino, set)
    }
    fn read_link(&mut self, ino: Ino) -> Result<Vec<u8>> {
        Reference::read_link(self, ino)
    }
    fn make_node(
        &mut self,
        who: &Caller,
        at: (Ino, &[u8]),
        kind: FileKind,
        perm: u32,
        rdev: u32,
    ) -> Result<Attr> {
        Reference::make_node(self, who, at.0, at.1, kind, perm, rdev)
    }
    fn make_symlink(&mut self, who: &Caller, at: (Ino, &[u8]), target: &[u8]) -> Result<Attr> {
        Reference::make_symlink(self, who, at.0, at.1, target)
    }
    fn make_tmpfile(&mut self, who: &Caller, parent: Ino, perm: u32) -> Result<Attr> {
        Reference::make_tmpfile(self, who, parent, perm)
    }
    fn link(&mut self, _who: &Caller, ino: Ino, at: (Ino, &[u8])) -> Result<Attr> {
        Reference::link(self, ino, at.0, at.1)
    }
    fn unlink(&mut self, _who: &Caller, at: (Ino, &[u8])) -> Result<RemovedEntry> {
        Reference::unlink(self, at.0, at.1)
    }
    fn rmdir(&mut self, _who: &Caller, at: (Ino, &[u8])) -> Result<RemovedEntry> {
        Reference::rmdir(self, at.0, at.1)
    }
    fn rename(&mut self, who: &Caller, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Result<()> {
        Reference::rename(self, who, from.0, from.1, to.0, to.1, mode)
    }
    fn read(&mut self, ino: Ino, offset: u64, size: usize) -> Result<Vec<u8>> {
        Reference::read(self, ino, offset, size)
    }
    fn write(&mut self, who: &Caller, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        Reference::write(self, who, ino, offset, data)
    }
    fn allocate(&mut self, who: &Caller, ino: Ino, offset: u64, len: u64, mode: AllocateMode) -> Result<()> {
        Reference::allocate(self, who, ino, offset, len, mode)
    }
    fn copy_range(&mut self, who: &Caller, from: (Ino, u64), to: (Ino, u64), len: u64) -> Result<u64> {
        Reference::copy_range(self, who, from.0, from.1, to.0, to.1, len)
    }
    fn seek(&mut self, ino: Ino, offset: u64, what: Seek) -> Result<u64> {
        let size = Reference::attr(self, ino)?.size;
        match what {
            _ if offset >= size => Err(Errno::NoAddress),
            Seek::Data => Ok(offset),
            Seek::Hole => Ok(size),
        }
    }
    fn entries(&mut self, dir: Ino, _batch: usize) -> Result<Entries> {
        Reference::entries(self, dir)
    }
    fn xattrs(&mut self, ino: Ino) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        Reference::xattrs(self, ino)
    }
    fn set_xattr(
        &mut self,
        _who: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        Reference::set_xattr(self, ino, name, value, mode)
    }
    fn remove_xattr(&mut self, _who: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        Reference::remove_xattr(self, ino, name)
    }
    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
    fn forget(&mut self, ino: Ino) {
        Reference::forget(self, ino);
    }
}

impl FileSystem for Arc<Workspace> {
    fn lookup(&mut self, parent: Ino, name: &[u8]) -> Result<Attr> {
        Workspace::lookup(self, parent, name).and_then(|attr| sized(self, attr))
    }
    fn parent_of(&mut self, dir: Ino) -> Result<Ino> {
        Workspace::parent_of(self, dir)
    }
    fn attr(&mut self, ino: Ino) -> Result<Attr> {
        Workspace::attr(self, ino).and_then(|attr| sized(self, attr))
    }
    fn set_attr(&mut self, who: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let attr = fetching(self, &[ino], || Workspace::set_attr(self, who, ino, set))?;
        sized(self, attr)
    }
    fn read_link(&mut self, ino: Ino) -> Result<Vec<u8>> {
        fetching(self, &[ino], || Workspace::read_link(self, ino))
    }
    fn make_node(
        &mut self,
        who: &Caller,
        at: (Ino, &[u8]),
        kind: FileKind,
        perm: u32,
        rdev: u32,
    ) -> Result<Attr> {
        Workspace::make_node(self, who, at.0, at.1, kind, perm, rdev)
    }
    fn make_symlink(&mut self, who: &Caller, at: (Ino, &[u8]), target: &[u8]) -> Result<Attr> {
        Workspace::make_symlink(self, who, at.0, at.1, target)
    }
    fn make_tmpfile(&mut self, who: &Caller, parent: Ino, perm: u32) -> Result<Attr> {
        Workspace::make_tmpfile(self, who, parent, perm)
    }
    fn link(&mut self, who: &Caller, ino: Ino, at: (Ino, &[u8])) -> Result<Attr> {
        Workspace::link(self, who, ino, at.0, at.1).and_then(|attr| sized(self, attr))
    }
    fn unlink(&mut self, who: &Caller, at: (Ino, &[u8])) -> Result<RemovedEntry> {
        Workspace::unlink(self, who, at.0, at.1)
    }
    fn rmdir(&mut self, who: &Caller, at: (Ino, &[u8])) -> Result<RemovedEntry> {
        Workspace::rmdir(self, who, at.0, at.1)
    }
    fn rename(&mut self, who: &Caller, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Result<()> {
        Workspace::rename(self, who, from.0, from.1, to.0, to.1, mode)
    }
    fn read(&mut self, ino: Ino, offset: u64, size: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        fetching(self, &[ino], || Workspace::read(self, ino, offset, size, &mut out))?;
        Ok(out)
    }
    fn write(&mut self, who: &Caller, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        fetching(self, &[ino], || Workspace::write(self, who, ino, offset, data))
    }
    fn allocate(&mut self, who: &Caller, ino: Ino, offset: u64, len: u64, mode: AllocateMode) -> Result<()> {
        fetching(self, &[ino], || Workspace::allocate(self, who, ino, offset, len, mode))
    }
    fn copy_range(&mut self, who: &Caller, from: (Ino, u64), to: (Ino, u64), len: u64) -> Result<u64> {
        let copy = || Workspace::copy_range(self, who, from.0, from.1, to.0, to.1, len);
        fetching(self, &[from.0, to.0], copy)
    }
    fn seek(&mut self, ino: Ino, offset: u64, what: Seek) -> Result<u64> {
        fetching(self, &[ino], || Workspace::seek(self, ino, offset, what))
    }
    fn entries(&mut self, dir: Ino, batch: usize) -> Result<Entries> {
        let mut all = Entries::new();
        let mut after = Cookie::default();
        loop {
            let (found, next) = next_batch(self, dir, after, batch)?;
            if found.is_empty() {
                return Ok(all);
            }
            after = next;
            for (name, ino, kind) in found {
                let twice = all.insert(name.clone(), (ino, kind));
                assert_eq!(twice, None, "{:?} is listed twice", String::from_utf8_lossy(&name));
            }
        }
    }
    fn xattrs(&mut self, ino: Ino) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let names = Workspace::list_xattr(self, ino)?;
        let names = names.split_inclusive(|byte| *byte == 0).map(|name| &name[..name.len() - 1]);
        names.map(|name| Ok((name.to_vec(), Workspace::get_xattr(self, ino, name)?))).collect()
    }
    fn set_xattr(
        &mut self,
        who: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        Workspace::set_xattr(self, who, ino, name, value, mode, false)
    }
    fn remove_xattr(&mut self, who: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        Workspace::remove_xattr(self, who, ino, name)
    }
    fn sync(&mut self) -> Result<()> {
        Workspace::sync(self)
    }
    fn forget(&mut self, ino: Ino) {
        Workspace::forget(self, ino);
    }
}

/// Runs what may need content that is elsewhere, as a front end does: what is missing is fetched, then it is tried again.
pub fn fetching<T>(
    workspace: &Workspace,
    inos: &[Ino],
    mut operation: impl FnMut() -> Result<T>,
) -> Result<T> {
    loop {
        match operation() {
            Err(Errno::Unfetched) => {
                inos.iter().try_for_each(|ino| workspace.fetch(*ino, &Wait::default()))?;
            }
            other => return other,
        }
    }
}

/// The attributes with a size, which may have to be fetched.
fn sized(workspace: &Workspace, attr: Attr) -> Result<Attr> {
    if attr.size != SIZE_UNKNOWN {
        return Ok(attr);
    }
    workspace.fetch(attr.ino, &Wait::default())?;
    Workspace::attr(workspace, attr.ino)
}

/// One call of a directory stream: at most `batch` entries after a cookie, and the cookie to go on from.
#[expect(clippy::type_complexity, reason = "three plain fields, taken apart at once by every caller")]
pub fn next_batch(
    workspace: &Workspace,
    dir: Ino,
    after: Cookie,
    batch: usize,
) -> Result<(Vec<(Vec<u8>, Ino, FileKind)>, Cookie)> {
    let mut found = Vec::new();
    let mut next = after;
    workspace.read_dir(dir, after, &mut |entry| {
        if found.len() == batch {
            return false;
        }
        found.push((entry.name.to_vec(), entry.ino, entry.kind));
        next = entry.next;
        true
    })?;
    Ok((found, next))
}
