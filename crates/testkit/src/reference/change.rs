//! The operations that change the reference file system, except rename.
//!
//! Invariant: each checks everything first and changes after, so a failed operation changes nothing.

use super::{Inode, Reference, check_name};
use std::sync::Arc;
use weald_engine::{AllocateMode, RemovedEntry, XattrMode};
use weald_model::{Attr, Caller, Errno, FileKind, Ino, Result, SetAttr, SetTime, Timestamp};

impl Reference {
    /// mknod(2), mkdir(2) and open(2) with O_CREAT | O_EXCL.
    pub fn make_node(
        &mut self,
        who: &Caller,
        parent: Ino,
        name: &[u8],
        kind: FileKind,
        perm: u32,
        rdev: u32,
    ) -> Result<Attr> {
        self.check_new(parent, name)?;
        let mut inode = self.new_inode(who, parent, kind, perm);
        inode.rdev = rdev;
        self.name_new(parent, name, inode)
    }

    /// symlink(2).
    pub fn make_symlink(&mut self, who: &Caller, parent: Ino, name: &[u8], target: &[u8]) -> Result<Attr> {
        self.check_new(parent, name)?;
        let mut inode = self.new_inode(who, parent, FileKind::Symlink, 0o777);
        inode.perm = 0o777;
        inode.content = Arc::new(target.to_vec());
        self.name_new(parent, name, inode)
    }

    /// open(2) with O_TMPFILE: a file without a name that may get one.
    pub fn make_tmpfile(&mut self, who: &Caller, parent: Ino, perm: u32) -> Result<Attr> {
        self.living_dir(parent)?;
        let mut inode = self.new_inode(who, parent, FileKind::File, perm);
        inode.nlink = 0;
        inode.linkable = true;
        let ino = Ino(self.next);
        self.next += 1;
        self.inodes.insert(ino, inode);
        self.attr(ino)
    }

    /// A directory hands its group down when its sgid bit is set, and the bit too to directories (inode(7)).
    fn new_inode(&mut self, who: &Caller, parent: Ino, kind: FileKind, perm: u32) -> Inode {
        let (dir_gid, dir_sgid) = (self.inodes[&parent].gid, self.inodes[&parent].perm & 0o2000);
        let mut inode = Inode::new(kind, perm & 0o7777 & !who.umask, who.uid, who.gid, self.now);
        if dir_sgid != 0 {
            inode.gid = dir_gid;
            if kind == FileKind::Dir {
                inode.perm |= 0o2000;
            }
        }
        inode
    }

    fn name_new(&mut self, parent: Ino, name: &[u8], inode: Inode) -> Result<Attr> {
        let now = self.now;
        let ino = self.insert(parent, name, inode);
        self.known(parent).touch(now);
        self.attr(ino)
    }

    /// link(2). The kernel looks at the new name first, then at the inode.
    pub fn link(&mut self, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        self.get(ino)?;
        self.check_new(parent, name)?;
        if self.get(ino)?.kind == FileKind::Dir {
            return Err(Errno::NotPermitted);
        }
        if !self.is_linkable(ino) {
            return Err(Errno::NotFound);
        }
        let now = self.now;
        let inode = self.known(ino);
        inode.nlink += 1;
        inode.ctime = now;
        inode.linkable = false;
        let dir = self.known(parent);
        dir.entries.insert(name.to_vec(), ino);
        dir.touch(now);
        self.attr(ino)
    }

    /// unlink(2).
    pub fn unlink(&mut self, parent: Ino, name: &[u8]) -> Result<RemovedEntry> {
        let ino = self.child(parent, name)?;
        if self.get(ino)?.kind == FileKind::Dir {
            return Err(Errno::IsDir);
        }
        Ok(self.remove(parent, name, ino))
    }

    /// rmdir(2).
    pub fn rmdir(&mut self, parent: Ino, name: &[u8]) -> Result<RemovedEntry> {
        let ino = self.child(parent, name)?;
        if !self.dir(ino)?.entries.is_empty() {
            return Err(Errno::NotEmpty);
        }
        Ok(self.remove(parent, name, ino))
    }

    /// Takes a checked name away, and a link from what it named; an empty directory loses both of its own.
    pub(super) fn remove(&mut self, parent: Ino, name: &[u8], ino: Ino) -> RemovedEntry {
        let now = self.now;
        let inode = self.known(ino);
        let is_dir = inode.kind == FileKind::Dir;
        inode.nlink = if is_dir { 0 } else { inode.nlink - 1 };
        inode.ctime = now;
        let orphan = inode.nlink == 0;
        let dir = self.known(parent);
        dir.entries.remove(name);
        dir.nlink -= u32::from(is_dir);
        dir.touch(now);
        RemovedEntry { ino, orphan }
    }

    /// chmod(2), chown(2), truncate(2), utimensat(2).
    pub fn set_attr(&mut self, who: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let now = self.now;
        if set.size.is_some() {
            self.file(ino)?;
        }
        self.get(ino)?;
        let inode = self.known(ino);
        if let Some(size) = set.size {
            Arc::make_mut(&mut inode.content).resize(size as usize, 0);
            inode.mtime = now;
            if who.kill_privileges {
                inode.drop_privileges();
            }
        }
        if set.uid.is_some() || set.gid.is_some() {
            inode.uid = set.uid.unwrap_or(inode.uid);
            inode.gid = set.gid.unwrap_or(inode.gid);
            inode.drop_privileges();
        }
        inode.perm = set.perm.map_or(inode.perm, |perm| perm & 0o7777);
        inode.atime = set.atime.map_or(inode.atime, |time| moment(time, now));
        inode.mtime = set.mtime.map_or(inode.mtime, |time| moment(time, now));
        inode.ctime = set.ctime.unwrap_or(now);
        self.attr(ino)
    }

    /// pwrite(2).
    pub fn write(&mut self, who: &Caller, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        self.file(ino)?;
        self.overwrite(who, ino, offset, data);
        Ok(())
    }

    fn overwrite(&mut self, who: &Caller, ino: Ino, offset: u64, data: &[u8]) {
        let now = self.now;
        let inode = self.known(ino);
        let content = Arc::make_mut(&mut inode.content);
        let (start, end) = (offset as usize, offset as usize + data.len());
        content.resize(content.len().max(end), 0);
        content[start..end].copy_from_slice(data);
        inode.touch(now);
        if who.kill_privileges {
            inode.drop_privileges();
        }
    }

    /// fallocate(2).
    pub fn allocate(
        &mut self,
        who: &Caller,
        ino: Ino,
        offset: u64,
        len: u64,
        mode: AllocateMode,
    ) -> Result<()> {
        self.file(ino)?;
        let now = self.now;
        let inode = self.known(ino);
        let content = Arc::make_mut(&mut inode.content);
        let end = (offset + len) as usize;
        if matches!(mode, AllocateMode::Grow | AllocateMode::ZeroGrow) {
            content.resize(content.len().max(end), 0);
        }
        if !matches!(mode, AllocateMode::Grow | AllocateMode::KeepSize) {
            let end = end.min(content.len());
            let start = end.min(offset as usize);
            content[start..end].fill(0);
        }
        inode.touch(now);
        if who.kill_privileges {
            inode.drop_privileges();
        }
        Ok(())
    }

    /// copy_file_range(2): copies up to the end of the source and says how much.
    pub fn copy_range(
        &mut self,
        who: &Caller,
        from: Ino,
        from_offset: u64,
        to: Ino,
        to_offset: u64,
        len: u64,
    ) -> Result<u64> {
        self.file(to)?;
        let data = self.read(from, from_offset, len as usize)?;
        let len = data.len() as u64;
        if from == to && to_offset < from_offset + len && from_offset < to_offset + len {
            return Err(Errno::Invalid);
        }
        if len > 0 {
            self.overwrite(who, to, to_offset, &data);
        }
        Ok(len)
    }

    /// setxattr(2).
    pub fn set_xattr(&mut self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        let there = self.get(ino)?.xattrs.contains_key(name);
        match mode {
            XattrMode::Create if there => return Err(Errno::Exists),
            XattrMode::Replace if !there => return Err(Errno::NoData),
            _ => {}
        }
        let now = self.now;
        let inode = self.known(ino);
        inode.xattrs.insert(name.to_vec(), value.to_vec());
        inode.ctime = now;
        Ok(())
    }

    /// removexattr(2).
    pub fn remove_xattr(&mut self, ino: Ino, name: &[u8]) -> Result<()> {
        if !self.get(ino)?.xattrs.contains_key(name) {
            return Err(Errno::NoData);
        }
        let now = self.now;
        let inode = self.known(ino);
        inode.xattrs.remove(name);
        inode.ctime = now;
        Ok(())
    }

    /// A directory that has a name: nothing can be made in a removed one (ENOENT).
    pub(super) fn living_dir(&self, ino: Ino) -> Result<&Inode> {
        let dir = self.dir(ino)?;
        if dir.nlink == 0 { Err(Errno::NotFound) } else { Ok(dir) }
    }

    fn check_new(&self, parent: Ino, name: &[u8]) -> Result<()> {
        let dir = self.dir(parent)?;
        check_name(name)?;
        if dir.entries.contains_key(name) {
            return Err(Errno::Exists);
        }
        self.living_dir(parent).map(|_| ())
    }
}

fn moment(time: SetTime, now: Timestamp) -> Timestamp {
    match time {
        SetTime::Now => now,
        SetTime::At(time) => time,
    }
}
