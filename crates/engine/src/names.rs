//! Operations on names: lookup, make, link, remove, rename, directory streams.
//!
//! Order of checks follows the manual pages: ENOTDIR and ENOENT of the directory, the name's own validity, EEXIST,
//! then what is particular. The kernel has checked permissions and sticky bits (`default_permissions`).

use crate::acl::{self, Acl};
use crate::record::{Change, Make, XattrList};
use crate::state::{Dent, Inode, State};
use crate::workspace::Workspace;
use crate::{Cookie, DirEntry, RemovedEntry, RenameMode};
use weald_model::{Attr, Caller, Errno, FileKind, Ino, Name, NameError, Result};

const SGID: u32 = 0o2000;
/// Longest target of a symbolic link in bytes (PATH_MAX - 1, limits.h).
const TARGET_BYTES_MAX: usize = 4095;

impl Workspace {
    /// The attributes of a name's inode.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        let state = self.read_state();
        state.with(&self.base, parent, |dir| {
            if dir.kind == FileKind::Dir { Ok(()) } else { Err(Errno::NotDir) }
        })?;
        if name.len() > weald_model::name::NAME_BYTES_MAX {
            return Err(Errno::NameTooLong);
        }
        let dent = state.entry(&self.base, parent, name)?.ok_or(Errno::NotFound)?;
        let is_seen =
            state.must_see(&self.base, parent).is_ok() && state.shows(&self.base, parent, name, dent)?;
        if is_seen { state.attr(&self.base, dent.ino) } else { Err(Errno::NotFound) }
    }

    /// The directory above `dir`; the root is above itself.
    pub fn parent_of(&self, dir: Ino) -> Result<Ino> {
        let state = self.read_state();
        state.must_see(&self.base, dir)?;
        state.parent_of(&self.base, dir)
    }

    /// Makes a file, directory, FIFO, socket or device. `rdev` counts for devices only.
    pub fn make_node(
        &self,
        who: &Caller,
        parent: Ino,
        name: &[u8],
        kind: FileKind,
        perm: u32,
        rdev: u32,
    ) -> Result<Attr> {
        let name = checked(name)?;
        let rdev = if matches!(kind, FileKind::CharDevice | FileKind::BlockDevice) { rdev } else { 0 };
        self.change_inode(who, |state, _| {
            self.must_be_free(state, parent, &name)?;
            state.must_have_a_file()?;
            let make = self.plan_make(state, who, parent, kind, perm)?;
            let ino = make.ino;
            Ok((Some(Change::Make(Box::new(Make { place: Some((parent, name)), rdev, ..make }))), ino))
        })
    }

    /// Makes a symbolic link.
    pub fn make_symlink(&self, who: &Caller, parent: Ino, name: &[u8], target: &[u8]) -> Result<Attr> {
        let name = checked(name)?;
        match target.len() {
            0 => return Err(Errno::NotFound),
            len if len > TARGET_BYTES_MAX => return Err(Errno::NameTooLong),
            _ => {}
        }
        self.change_inode(who, |state, _| {
            self.must_be_free(state, parent, &name)?;
            state.must_have_a_file()?;
            let make = self.plan_make(state, who, parent, FileKind::Symlink, 0o777)?;
            let ino = make.ino;
            let make = Make { place: Some((parent, name)), target: target.to_vec(), ..make };
            Ok((Some(Change::Make(Box::new(make))), ino))
        })
    }

    /// Makes a file without a name (O_TMPFILE, open(2)). It lives until forgotten or linked.
    pub fn make_tmpfile(&self, who: &Caller, parent: Ino, perm: u32) -> Result<Attr> {
        self.change_inode(who, |state, _| {
            state.must_change(&self.base, parent)?;
            state.must_have_a_file()?;
            let make = self.plan_make(state, who, parent, FileKind::File, perm)?;
            let ino = make.ino;
            Ok((Some(Change::Make(Box::new(make))), ino))
        })
    }

    /// Gives an inode another name. A file without names gets one again (linkat(2) of an O_TMPFILE).
    pub fn link(&self, who: &Caller, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        let name = checked(name)?;
        self.change_inode(who, |state, _| {
            let is_first = state.with(&self.base, ino, |inode| match inode.kind {
                FileKind::Dir => Err(Errno::NotPermitted),
                _ if inode.nlink == u32::MAX => Err(Errno::TooManyLinks),
                _ => Ok(inode.nlink == 0),
            })?;
            state.must_change(&self.base, ino)?;
            self.must_be_free(state, parent, &name)?;
            if is_first {
                state.must_have_a_file()?;
            }
            Ok((Some(Change::Link { ino, parent, name }), ino))
        })
    }

    /// Removes a name of something that is no directory.
    pub fn unlink(&self, who: &Caller, parent: Ino, name: &[u8]) -> Result<RemovedEntry> {
        let name = checked(name)?;
        self.delete(who, parent, name, |state, dent| {
            if dent.kind == FileKind::Dir {
                return Err(Errno::IsDir);
            }
            let orphan = state.with(&self.base, dent.ino, |inode| Ok(inode.nlink == 1))?;
            Ok(RemovedEntry { ino: dent.ino, orphan })
        })
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, who: &Caller, parent: Ino, name: &[u8]) -> Result<RemovedEntry> {
        let name = checked(name)?;
        self.delete(who, parent, name, |state, dent| {
            self.must_be_empty_dir(state, dent)?;
            Ok(RemovedEntry { ino: dent.ino, orphan: true })
        })
    }

    /// Removes a name once `plan` and the rules say that it can be. That there were too many is logged.
    fn delete(
        &self,
        who: &Caller,
        parent: Ino,
        name: Name,
        plan: impl FnOnce(&State, Dent) -> Result<RemovedEntry>,
    ) -> Result<RemovedEntry> {
        self.change_with(who, &[], |state, time| {
            let dent = self.existing(state, parent, &name)?;
            state.must_take(&self.base, parent, name.as_bytes())?;
            let removed = plan(state, dent)?;
            Ok(match state.plan_deletion(time) {
                Some(stop) => (stop, Err(Errno::NotPermitted)),
                None => (Some(Change::Remove { parent, name }), Ok(removed)),
            })
        })?
    }

    /// Renames (renameat2(2)).
    pub fn rename(
        &self,
        who: &Caller,
        from: Ino,
        name: &[u8],
        to: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        let (name, new_name) = (checked(name)?, checked(new_name)?);
        self.change(who, |state, _| {
            let moved = self.existing(state, from, &name)?;
            state.live_dir(&self.base, to, |_| ())?;
            let target = state.entry(&self.base, to, new_name.as_bytes())?;
            self.must_be_renamed(state, (from, &name, moved), (to, &new_name, target), mode)?;
            match (mode, target) {
                (RenameMode::NoReplace, Some(_)) => return Err(Errno::Exists),
                (RenameMode::Exchange, None) => return Err(Errno::NotFound),
                _ => {}
            }
            self.must_not_loop(state, moved, to)?;
            if let Some(target) = target {
                // Over its own ancestor: that is not empty, whatever is moved.
                self.must_not_loop(state, target, from).map_err(|errno| match mode {
                    RenameMode::Exchange => errno,
                    _ => Errno::NotEmpty,
                })?;
                if target.ino == moved.ino {
                    return Ok(None);
                }
                if mode != RenameMode::Exchange {
                    self.must_be_replaceable(state, moved, target)?;
                }
            }
            let whiteout = match mode {
                RenameMode::Whiteout => {
                    let make = self.plan_make(state, who, from, FileKind::CharDevice, 0)?;
                    Some(Box::new(Make {
                        place: Some((from, name.clone())),
                        xattrs: XattrList::new(),
                        ..make
                    }))
                }
                _ => None,
            };
            Ok(Some(Change::Rename { from, name, to, new_name, mode, whiteout }))
        })
    }

    /// Walks a directory's stream from `after` until `each` says false, which leaves that entry for the next call.
    /// `.` and `..` are the front end's. Entries neither get lost nor come twice while others change.
    pub fn read_dir(
        &self,
        dir: Ino,
        after: Cookie,
        each: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let state = self.read_state();
        state.with(
            &self.base,
            dir,
            |inode| if inode.kind == FileKind::Dir { Ok(()) } else { Err(Errno::NotDir) },
        )?;
        self.read_seen(&state, dir, after, &mut |name, Dent { ino, kind, cookie }| {
            each(DirEntry { name, ino, kind, next: Cookie(cookie) })
        })
    }

    /// Like [`Workspace::read_dir`], with each entry's attributes (READDIRPLUS).
    pub fn read_dir_attributes(
        &self,
        dir: Ino,
        after: Cookie,
        each: &mut dyn FnMut(DirEntry<'_>, &Attr) -> bool,
    ) -> Result<()> {
        let state = self.read_state();
        state.with(
            &self.base,
            dir,
            |inode| if inode.kind == FileKind::Dir { Ok(()) } else { Err(Errno::NotDir) },
        )?;
        let mut damaged = None;
        self.read_seen(&state, dir, after, &mut |name, Dent { ino, kind, cookie }| match state
            .attr(&self.base, ino)
        {
            Ok(attr) => each(DirEntry { name, ino, kind, next: Cookie(cookie) }, &attr),
            Err(errno) => {
                damaged = Some(errno);
                false
            }
        })?;
        damaged.map_or(Ok(()), Err)
    }

    /// The stream of a directory without what is masked.
    fn read_seen(
        &self,
        state: &State,
        dir: Ino,
        after: Cookie,
        each: &mut dyn FnMut(&[u8], Dent) -> bool,
    ) -> Result<()> {
        state.must_see(&self.base, dir)?;
        let mut damaged = None;
        state.read_dir(&self.base, dir, after.0, &mut |name, dent| match state
            .shows(&self.base, dir, name, dent)
        {
            Ok(true) => each(name, dent),
            Ok(false) => true,
            Err(errno) => {
                damaged = Some(errno);
                false
            }
        })?;
        damaged.map_or(Ok(()), Err)
    }

    /// A new inode in `parent`: owner, group and mode by the rules of open(2), inode(7) and acl(5).
    fn plan_make(&self, state: &State, who: &Caller, parent: Ino, kind: FileKind, perm: u32) -> Result<Make> {
        let (dir_perm, dir_gid, default) = state.live_dir(&self.base, parent, |dir: &Inode| {
            (dir.perm, dir.gid, dir.xattr(acl::DEFAULT).map(<[u8]>::to_vec))
        })?;
        let mut xattrs = XattrList::new();
        let mut perm = perm & 0o7777;
        match default.filter(|_| kind != FileKind::Symlink) {
            Some(default) => {
                let inherited = Acl::decode(&default)?.inherit(perm);
                perm = inherited.perm;
                xattrs.extend(inherited.access.map(|list| (acl::ACCESS.to_vec(), list.encode())));
                if kind == FileKind::Dir {
                    // `..._access` sorts before `..._default`.
                    xattrs.push((acl::DEFAULT.to_vec(), default));
                }
            }
            None if kind != FileKind::Symlink => perm &= !who.umask,
            None => {}
        }
        let inherits_group = dir_perm & SGID != 0;
        if inherits_group && kind == FileKind::Dir {
            perm |= SGID;
        }
        let gid = if inherits_group { dir_gid } else { who.gid };
        let ino = state.next_ino();
        Ok(Make { place: None, ino, kind, perm, uid: who.uid, gid, rdev: 0, target: Vec::new(), xattrs })
    }

    fn existing(&self, state: &State, parent: Ino, name: &Name) -> Result<Dent> {
        state.live_dir(&self.base, parent, |_| ())?;
        state.entry(&self.base, parent, name.as_bytes())?.ok_or(Errno::NotFound)
    }

    /// What rules say of a rename.
    fn must_be_renamed(
        &self,
        state: &State,
        (from, name, moved): (Ino, &Name, Dent),
        (to, new_name, target): (Ino, &Name, Option<Dent>),
        mode: RenameMode,
    ) -> Result<()> {
        let base = &self.base;
        state.must_take(base, from, name.as_bytes())?;
        state.must_get(base, to, new_name.as_bytes(), moved.kind)?;
        match target {
            Some(target) if mode == RenameMode::Exchange => {
                state.must_take(base, to, new_name.as_bytes())?;
                state.must_get(base, from, name.as_bytes(), target.kind)
            }
            Some(_) => state.must_take(base, to, new_name.as_bytes()),
            None => Ok(()),
        }
    }

    /// That nothing is there which can be seen, and that something may be made.
    fn must_be_free(&self, state: &State, parent: Ino, name: &Name) -> Result<()> {
        state.live_dir(&self.base, parent, |_| ())?;
        state.must_make(&self.base, parent, name.as_bytes())?;
        match state.entry(&self.base, parent, name.as_bytes())? {
            Some(_) => Err(Errno::Exists),
            None => Ok(()),
        }
    }

    fn must_be_empty_dir(&self, state: &State, dent: Dent) -> Result<()> {
        if dent.kind != FileKind::Dir {
            return Err(Errno::NotDir);
        }
        if state.is_empty(&self.base, dent.ino)? { Ok(()) } else { Err(Errno::NotEmpty) }
    }

    /// A directory cannot go below itself (EINVAL, rename(2)).
    fn must_not_loop(&self, state: &State, moved: Dent, to: Ino) -> Result<()> {
        let loops = moved.kind == FileKind::Dir && state.is_within(&self.base, to, moved.ino)?;
        if loops { Err(Errno::Invalid) } else { Ok(()) }
    }

    fn must_be_replaceable(&self, state: &State, moved: Dent, target: Dent) -> Result<()> {
        match (moved.kind == FileKind::Dir, target.kind == FileKind::Dir) {
            (true, false) => Err(Errno::NotDir),
            (false, true) => Err(Errno::IsDir),
            (true, true) => self.must_be_empty_dir(state, target),
            (false, false) => Ok(()),
        }
    }
}

fn checked(name: &[u8]) -> Result<Name> {
    Name::new(name).map_err(|error| match error {
        NameError::TooLong => Errno::NameTooLong,
        NameError::Invalid => Errno::Invalid,
    })
}
