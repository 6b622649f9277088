//! rename in the reference file system, with the kernel's order of errors (`fs/namei.c`, do_renameat2, vfs_rename).

use super::{Reference, check_name};
use weald_engine::RenameMode;
use weald_model::{Caller, Errno, FileKind, Ino, Result};

impl Reference {
    /// renameat2(2).
    pub fn rename(
        &mut self,
        who: &Caller,
        from: Ino,
        name: &[u8],
        to: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        let source = self.child(from, name)?;
        self.dir(to)?;
        check_name(new_name)?;
        let target = self.child(to, new_name).ok();
        self.check_rename(source, from, to, target, mode)?;
        match target {
            Some(target) if target == source => {}
            Some(target) if mode == RenameMode::Exchange => {
                self.put(from, name, target);
                self.put(to, new_name, source);
            }
            _ => {
                if let Some(target) = target {
                    self.remove(to, new_name, target);
                }
                self.take(from, name, source);
                self.put(to, new_name, source);
                if mode == RenameMode::Whiteout {
                    self.make_node(who, from, name, FileKind::CharDevice, 0, 0)?;
                }
            }
        }
        Ok(())
    }

    fn check_rename(
        &self,
        source: Ino,
        from: Ino,
        to: Ino,
        target: Option<Ino>,
        mode: RenameMode,
    ) -> Result<()> {
        self.living_dir(to)?;
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::Exists),
            (RenameMode::Exchange, None) => return Err(Errno::NotFound),
            _ => {}
        }
        if self.is_inside(to, source) {
            return Err(Errno::Invalid);
        }
        if let Some(target) = target {
            if target != source && self.is_inside(from, target) {
                let exchange = mode == RenameMode::Exchange;
                return Err(if exchange { Errno::Invalid } else { Errno::NotEmpty });
            }
            if target != source && mode != RenameMode::Exchange {
                self.check_replaced(source, target)?;
            }
        }
        Ok(())
    }

    fn check_replaced(&self, source: Ino, target: Ino) -> Result<()> {
        let source_is_dir = self.get(source)?.kind == FileKind::Dir;
        let target = self.get(target)?;
        match (source_is_dir, target.kind == FileKind::Dir) {
            (true, false) => Err(Errno::NotDir),
            (false, true) => Err(Errno::IsDir),
            (true, true) if !target.entries.is_empty() => Err(Errno::NotEmpty),
            _ => Ok(()),
        }
    }

    /// Whether `dir` is `top` or anywhere below it.
    fn is_inside(&self, mut dir: Ino, top: Ino) -> bool {
        while dir != top {
            let parent = self.inodes.get(&dir).map_or(Ino::ROOT, |inode| inode.parent);
            if parent == dir {
                return false;
            }
            dir = parent;
        }
        true
    }

    /// Takes a name away without touching the link count of a file that will get another.
    fn take(&mut self, parent: Ino, name: &[u8], ino: Ino) {
        let now = self.now;
        let is_dir = self.known(ino).kind == FileKind::Dir;
        let dir = self.known(parent);
        dir.entries.remove(name);
        dir.nlink -= u32::from(is_dir);
        dir.touch(now);
    }

    /// Names an inode, in place of what had the name.
    fn put(&mut self, parent: Ino, name: &[u8], ino: Ino) {
        let now = self.now;
        let inode = self.known(ino);
        inode.parent = parent;
        inode.ctime = now;
        let is_dir = inode.kind == FileKind::Dir;
        let dir = self.known(parent);
        let old = dir.entries.insert(name.to_vec(), ino);
        dir.nlink += u32::from(is_dir);
        dir.touch(now);
        let old_is_dir = old.is_some_and(|old| self.known(old).kind == FileKind::Dir);
        self.known(parent).nlink -= u32::from(old_is_dir);
    }
}
