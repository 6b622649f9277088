//! Operations on attributes: stat, chmod, chown, truncate, utimensat, extended attributes.

use crate::XattrMode;
use crate::acl::{self, Acl};
use crate::files::FILE_BYTES_MAX;
use crate::record::{Change, Fields};
use crate::state::State;
use crate::workspace::Workspace;
use weald_model::{Attr, Caller, Errno, FileKind, Ino, Result, SetAttr, SetTime, Timestamp};

/// Longest value of an extended attribute in bytes (XATTR_SIZE_MAX, linux/limits.h).
const VALUE_BYTES_MAX: usize = 65_536;
const SGID: u32 = 0o2000;

impl Workspace {
    /// The attributes of an inode.
    pub fn attr(&self, ino: Ino) -> Result<Attr> {
        let state = self.read_state();
        state.must_see(&self.base, ino)?;
        state.attr(&self.base, ino)
    }

    /// Changes attributes and returns the new ones.
    pub fn set_attr(&self, who: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        self.editing(&[ino], || {
            self.change_inode(who, |state, time| {
                let kind = state.with(&self.base, ino, |inode| Ok(inode.kind))?;
                state.must_change(&self.base, ino)?;
                match set.size {
                    Some(size) if size > FILE_BYTES_MAX => return Err(Errno::TooBig),
                    Some(_) if kind == FileKind::Dir => return Err(Errno::IsDir),
                    Some(_) if kind != FileKind::File => return Err(Errno::Invalid),
                    Some(_) => state.must_be_editable(&self.base, ino)?,
                    None => {}
                }
                let fields = fields_of(set, time, who);
                let nothing = fields == Fields::default();
                Ok(((!nothing).then_some(Change::Set { ino, fields }), ino))
            })
        })
    }

    /// The value of an extended attribute; ENODATA when there is none.
    pub fn get_xattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let state = self.read_state();
        state.must_see(&self.base, ino)?;
        state.with(&self.base, ino, |inode| inode.xattr(name).map(<[u8]>::to_vec).ok_or(Errno::NoData))
    }

    /// The names of all extended attributes, each followed by NUL (listxattr(2)).
    pub fn list_xattr(&self, ino: Ino) -> Result<Vec<u8>> {
        let state = self.read_state();
        state.must_see(&self.base, ino)?;
        state.with(&self.base, ino, |inode| Ok(inode.xattr_names()))
    }

    /// Sets an extended attribute. An access control list also sets the mode bits; one that says no more than they do
    /// is not kept. `clear_sgid` is FUSE_SETXATTR_ACL_KILL_SGID.
    pub fn set_xattr(
        &self,
        who: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        clear_sgid: bool,
    ) -> Result<()> {
        if name.is_empty() || name.len() > weald_model::name::NAME_BYTES_MAX || value.len() > VALUE_BYTES_MAX
        {
            return Err(Errno::Range);
        }
        self.change(who, |state, _| {
            state.must_change(&self.base, ino)?;
            let there = state.with(&self.base, ino, |inode| Ok(inode.xattr(name).is_some()))?;
            match (mode, there) {
                (XattrMode::Create, true) => return Err(Errno::Exists),
                (XattrMode::Replace, false) => return Err(Errno::NoData),
                _ => {}
            }
            self.plan_xattr(state, ino, name, value, clear_sgid).map(Some)
        })
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, who: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        self.change(who, |state, _| {
            state.must_change(&self.base, ino)?;
            state.with(&self.base, ino, |inode| inode.xattr(name).map(|_| ()).ok_or(Errno::NoData))?;
            Ok(Some(Change::RemoveXattr { ino, name: name.to_vec(), perm: None }))
        })
    }

    fn plan_xattr(
        &self,
        state: &State,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        clear_sgid: bool,
    ) -> Result<Change> {
        let name = name.to_vec();
        if name != acl::ACCESS && name != acl::DEFAULT {
            return Ok(Change::SetXattr { ino, name, value: value.to_vec(), perm: None });
        }
        let (kind, perm) = state.with(&self.base, ino, |inode| Ok((inode.kind, inode.perm)))?;
        if name == acl::DEFAULT {
            if kind != FileKind::Dir {
                return Err(Errno::Access);
            }
            Acl::decode(value)?;
            return Ok(Change::SetXattr { ino, name, value: value.to_vec(), perm: None });
        }
        let list = Acl::decode(value)?;
        let kept = if clear_sgid { perm & !(0o777 | SGID) } else { perm & !0o777 };
        let perm = Some(kept | list.mode());
        Ok(match list.is_minimal() {
            true => Change::RemoveXattr { ino, name, perm },
            false => Change::SetXattr { ino, name, value: list.encode(), perm },
        })
    }
}

fn fields_of(set: &SetAttr, time: Timestamp, who: &Caller) -> Fields {
    let resolve = |set: SetTime| match set {
        SetTime::Now => time,
        SetTime::At(at) => at,
    };
    Fields {
        perm: set.perm.map(|perm| perm & 0o7777),
        uid: set.uid,
        gid: set.gid,
        size: set.size,
        atime: set.atime.map(resolve),
        mtime: set.mtime.map(resolve),
        ctime: set.ctime,
        drop_privileges: set.size.is_some() && who.kill_privileges,
    }
}
