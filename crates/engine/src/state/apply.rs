//! What each record does to a state.
//!
//! Applying is deterministic: times, numbers and names come from the record. The record was checked against this
//! very state before it was logged; an error here means a damaged log or base, and the workspace is closed.

use super::{Body, Dent, Inode, State, Target, stored_content};
use crate::acl::{self, Acl};
use crate::base::Base;
use crate::content::{Content, Extent, Origin};
use crate::history::{Point, Snapshot};
use crate::record::{Change, Fields, Make, Record, Stored};
use crate::{AllocateMode, RenameMode};
use std::sync::Arc;
use weald_model::{Errno, FileKind, Ino, Name, Result, Timestamp};
use weald_store::log::Place;

/// Where a record is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) point: Point,
    /// Where the log has its inline data.
    pub(crate) inline: Place,
}

const SUID: u32 = 0o4000;
const SGID: u32 = 0o2000;
const GROUP_EXEC: u32 = 0o010;
const CAPABILITY: &[u8] = b"security.capability";

impl State {
    /// Applies one record. A restore needs the state that it goes to.
    pub(crate) fn apply(
        &mut self,
        base: &Base,
        record: &Record,
        at: At,
        target: Option<&State>,
    ) -> Result<()> {
        let is_visible = self.is_visible(&record.change);
        match (&record.change, target) {
            (Change::Restore { paths, why, .. }, Some(target)) => {
                *self = self.restored(base, target, paths, record.time)?;
                self.note_restore(target, paths, *why, at.point)?;
            }
            (Change::Restore { .. }, None) => return Err(Errno::Io),
            _ => {
                self.apply_change(base, record, at)?;
                self.feed.note(record, at.point.seq);
            }
        }
        if is_visible {
            self.history.changed(at.point, record.time, record.pid);
        }
        Ok(())
    }

    /// True when the record would begin a step of undo.
    pub(crate) fn begins_step(&self, record: &Record) -> bool {
        self.history.begins_step(record.time, record.pid) && self.is_visible(&record.change)
    }

    /// True for a change that somebody who walks the tree can see.
    fn is_visible(&self, change: &Change) -> bool {
        match change {
            Change::Make(make) => make.place.is_some(),
            Change::Link { .. } | Change::Remove { .. } | Change::Rename { .. } => true,
            Change::Write { ino, .. }
            | Change::Attach { ino, .. }
            | Change::Set { ino, .. }
            | Change::Allocate { ino, .. }
            | Change::Copy { to: ino, .. }
            | Change::SetXattr { ino, .. }
            | Change::RemoveXattr { ino, .. } => !self.is_orphan(*ino),
            Change::Origin { .. }
            | Change::Forked { .. }
            | Change::Program { .. }
            | Change::Reclaimed { .. }
            | Change::Moved { .. }
            | Change::GivenUp { .. }
            | Change::Reads { .. }
            | Change::Opened { .. }
            | Change::Rules(_)
            | Change::Sized { .. }
            | Change::Purge { .. }
            | Change::Snapshot { .. }
            | Change::DropSnapshot { .. }
            | Change::Tag { .. }
            | Change::Sealed { .. }
            | Change::Restore { .. } => false,
        }
    }

    fn apply_change(&mut self, base: &Base, record: &Record, at: At) -> Result<()> {
        let time = record.time;
        match &record.change {
            Change::Origin { .. }
            | Change::Forked { .. }
            | Change::Program { .. }
            | Change::Reclaimed { .. }
            | Change::Moved { .. }
            | Change::GivenUp { .. }
            | Change::Opened { .. } => Ok(()),
            Change::Sized { ino, size } => self.learn_size(base, *ino, *size),
            Change::Reads { on } => {
                self.history.logs_reads = *on;
                Ok(())
            }
            Change::Rules(change) => {
                self.change_rules(change, time);
                Ok(())
            }
            Change::Make(make) => self.make(base, make, time),
            Change::Link { ino, parent, name } => self.link(base, *ino, *parent, name, time),
            Change::Remove { parent, name } => {
                self.remove(base, *parent, name, time)?;
                self.note_deletion(time);
                Ok(())
            }
            Change::Rename { from, name, to, new_name, mode, whiteout } => {
                self.rename(base, (*from, name), (*to, new_name), *mode, time)?;
                whiteout.as_ref().map_or(Ok(()), |make| self.make(base, make, time))
            }
            Change::Write { ino, offset, len, stored, drop_privileges, .. } => {
                let place = match stored {
                    Stored::Inline => at.inline,
                    Stored::At { place, .. } => *place,
                };
                let len = u64::from(*len);
                self.edit(base, *ino, time, *drop_privileges, |inode, content| {
                    content.put(*offset, Extent { len, skip: 0, origin: Origin::Log(place) });
                    inode.size = inode.size.max(offset + len);
                })
            }
            Change::Attach { ino, hash, len } => self.edit(base, *ino, time, false, |inode, content| {
                *content = stored_content(*hash, *len);
                inode.size = *len;
            }),
            Change::Set { ino, fields } => self.set(base, *ino, fields, time),
            Change::Allocate { ino, offset, len, mode, drop_privileges } => {
                let (from, to) = (*offset, offset + len);
                self.edit(base, *ino, time, *drop_privileges, |inode, content| {
                    allocate(inode, content, from, to, *mode);
                })
            }
            Change::Copy { from, from_offset, to, to_offset, len, drop_privileges } => {
                self.must_be_sized(base, *from)?;
                let pieces = self.with(base, *from, |inode| {
                    Ok(inode.content()?.pieces(*from_offset, from_offset + len))
                })?;
                self.edit(base, *to, time, *drop_privileges, |inode, content| {
                    content.punch(*to_offset, to_offset + len);
                    for piece in pieces {
                        if let Some(extent) = piece.extent {
                            content.put(to_offset + (piece.offset - from_offset), extent);
                        }
                    }
                    inode.size = inode.size.max(to_offset + len);
                })
            }
            Change::SetXattr { ino, name, value, perm } => {
                self.set_xattr(base, *ino, name, Some(value), *perm, time)
            }
            Change::RemoveXattr { ino, name, perm } => self.set_xattr(base, *ino, name, None, *perm, time),
            Change::Purge { ino } => self.purge(*ino),
            Change::Snapshot { id, note, tags, occasion } => {
                let snapshot = Snapshot {
                    id: *id,
                    point: at.point,
                    time,
                    parent: None,
                    note: note.clone(),
                    tags: tags.clone(),
                    occasion: *occasion,
                    seal: None,
                };
                self.history.take(snapshot).map(|_| ())
            }
            Change::DropSnapshot { id } => self.history.drop_snapshot(*id),
            Change::Tag { id, tags } => self.history.tag(*id, tags),
            Change::Sealed { snapshot, seal } => self.history.seal(*snapshot, *seal),
            Change::Restore { .. } => Err(Errno::Io),
        }
    }

    fn make(&mut self, base: &Base, make: &Make, time: Timestamp) -> Result<()> {
        let Make { ino, kind, perm, uid, gid, rdev, .. } = *make;
        let parent = make.place.as_ref().map_or(Ino::ROOT, |(parent, _)| *parent);
        let body = match kind {
            FileKind::File => Body::File(Content::default()),
            FileKind::Dir => Body::Dir { parent },
            FileKind::Symlink => Body::Target(Target::Own(make.target.as_slice().into())),
            _ => Body::Plain,
        };
        let size = match kind {
            FileKind::Dir => super::DIR_BYTES,
            _ => make.target.len() as u64,
        };
        let nlink = match (kind, &make.place) {
            (FileKind::Dir, _) => 2,
            (_, Some(_)) => 1,
            (_, None) => 0,
        };
        let xattrs = (!make.xattrs.is_empty()).then(|| Arc::new(make.xattrs.clone()));
        let (atime, mtime, ctime, btime) = (time, time, time, time);
        let inode =
            Inode { kind, perm, uid, gid, nlink, rdev, size, atime, mtime, ctime, btime, body, xattrs };
        if self.inodes.insert(ino, Some(Arc::new(inode))).is_some() {
            return Err(Errno::Io);
        }
        self.next_ino = self.next_ino.max(ino.0 + 1);
        match &make.place {
            None => {
                self.orphans.insert(ino, ());
            }
            Some((parent, name)) => {
                self.put_name(base, *parent, name, ino, kind)?;
                let subdirs = i64::from(kind == FileKind::Dir);
                self.touch_dir(base, *parent, time, subdirs)?;
                self.count(kind, size as i64, 1);
            }
        }
        Ok(())
    }

    fn link(&mut self, base: &Base, ino: Ino, parent: Ino, name: &Name, time: Timestamp) -> Result<()> {
        let inode = self.inode_mut(base, ino)?;
        inode.nlink += 1;
        inode.ctime = time;
        let (kind, size, first) = (inode.kind, inode.counted_size(), inode.nlink == 1);
        if first {
            self.orphans.remove(&ino);
            self.count(kind, size as i64, 1);
        }
        self.put_name(base, parent, name, ino, kind)?;
        self.touch_dir(base, parent, time, 0)
    }

    fn remove(&mut self, base: &Base, parent: Ino, name: &Name, time: Timestamp) -> Result<()> {
        let dent = self.drop_name(base, parent, name)?;
        self.drop_link(base, dent, time)?;
        self.touch_dir(base, parent, time, -i64::from(dent.kind == FileKind::Dir))
    }

    fn rename(
        &mut self,
        base: &Base,
        (from, name): (Ino, &Name),
        (to, new_name): (Ino, &Name),
        mode: RenameMode,
        time: Timestamp,
    ) -> Result<()> {
        let moved = self.entry(base, from, name.as_bytes())?.ok_or(Errno::Io)?;
        let replaced = self.entry(base, to, new_name.as_bytes())?;
        let is_dir = |dent: Dent| i64::from(dent.kind == FileKind::Dir);
        if mode == RenameMode::Exchange {
            let other = replaced.ok_or(Errno::Io)?;
            self.put_name(base, from, name, other.ino, other.kind)?;
            self.put_name(base, to, new_name, moved.ino, moved.kind)?;
            self.settle(base, moved, to, time)?;
            self.settle(base, other, from, time)?;
            let shift = if from == to { 0 } else { is_dir(moved) - is_dir(other) };
            self.touch_dir(base, from, time, -shift)?;
            return self.touch_dir(base, to, time, shift);
        }
        if let Some(replaced) = replaced {
            self.drop_link(base, replaced, time)?;
        }
        self.drop_name(base, from, name)?;
        self.put_name(base, to, new_name, moved.ino, moved.kind)?;
        self.settle(base, moved, to, time)?;
        self.touch_dir(base, from, time, -is_dir(moved))?;
        self.touch_dir(base, to, time, is_dir(moved) - replaced.map_or(0, is_dir))
    }

    /// Gives a renamed inode its new parent and change time.
    fn settle(&mut self, base: &Base, dent: Dent, new_parent: Ino, time: Timestamp) -> Result<()> {
        let inode = self.inode_mut(base, dent.ino)?;
        inode.ctime = time;
        if let Body::Dir { parent } = &mut inode.body {
            *parent = new_parent;
        }
        Ok(())
    }

    fn set(&mut self, base: &Base, ino: Ino, fields: &Fields, time: Timestamp) -> Result<()> {
        if let Some(size) = fields.size {
            self.edit(base, ino, time, fields.drop_privileges, |inode, content| {
                content.punch(size, u64::MAX);
                inode.size = size;
            })?;
        }
        let inode = self.inode_mut(base, ino)?;
        inode.ctime = fields.ctime.unwrap_or(time);
        if fields.uid.is_some() || fields.gid.is_some() {
            drop_privileges(inode);
        }
        inode.uid = fields.uid.unwrap_or(inode.uid);
        inode.gid = fields.gid.unwrap_or(inode.gid);
        inode.atime = fields.atime.unwrap_or(inode.atime);
        inode.mtime = fields.mtime.unwrap_or(inode.mtime);
        if let Some(perm) = fields.perm {
            inode.perm = perm;
            if let Some(mut list) = inode.xattr(acl::ACCESS).and_then(|value| Acl::decode(value).ok()) {
                list.set_mode(perm);
                put_xattr(inode, acl::ACCESS, Some(&list.encode()));
            }
        }
        Ok(())
    }

    fn set_xattr(
        &mut self,
        base: &Base,
        ino: Ino,
        name: &[u8],
        value: Option<&[u8]>,
        perm: Option<u32>,
        time: Timestamp,
    ) -> Result<()> {
        let inode = self.inode_mut(base, ino)?;
        inode.ctime = time;
        inode.perm = perm.unwrap_or(inode.perm);
        put_xattr(inode, name, value);
        Ok(())
    }

    pub(super) fn purge(&mut self, ino: Ino) -> Result<()> {
        self.orphans.remove(&ino).ok_or(Errno::Io)?;
        let gone = match ino.is_base() {
            true => self.inodes.insert(ino, None),
            false => self.inodes.remove(&ino),
        };
        if let Some(Some(inode)) = gone
            && let Body::File(content) = &inode.body
        {
            self.private_bytes -= content.private();
        }
        Ok(())
    }

    /// Changes the content of a regular file and what follows from that: times, suid and sgid, counters.
    fn edit(
        &mut self,
        base: &Base,
        ino: Ino,
        time: Timestamp,
        lose_privileges: bool,
        change: impl FnOnce(&mut Inode, &mut Content),
    ) -> Result<()> {
        self.must_be_sized(base, ino)?;
        let inode = self.inode_mut(base, ino)?;
        let Body::File(content) = &mut inode.body else { return Err(Errno::Io) };
        let mut content = std::mem::take(content);
        let before = (inode.size, content.private());
        change(inode, &mut content);
        let after = (inode.size, content.private());
        inode.body = Body::File(content);
        inode.mtime = time;
        inode.ctime = time;
        if lose_privileges {
            drop_privileges(inode);
        }
        let named = inode.nlink > 0;
        self.private_bytes = self.private_bytes - before.1 + after.1;
        if named {
            self.count(FileKind::File, after.0 as i64 - before.0 as i64, 0);
        }
        Ok(())
    }

    /// Takes one name of an inode away; the last makes it an orphan.
    pub(super) fn drop_link(&mut self, base: &Base, dent: Dent, time: Timestamp) -> Result<()> {
        let inode = self.inode_mut(base, dent.ino)?;
        inode.ctime = time;
        let left = inode.nlink.checked_sub(1).ok_or(Errno::Io)?;
        inode.nlink = if dent.kind == FileKind::Dir { 0 } else { left };
        let (size, gone) = (inode.counted_size(), inode.nlink == 0);
        if gone {
            self.orphans.insert(dent.ino, ());
            self.count(dent.kind, -(size as i64), -1);
        }
        Ok(())
    }

    /// Sets a name. One the base has keeps its place in the stream, and so does one that is replaced.
    pub(super) fn put_name(
        &mut self,
        base: &Base,
        parent: Ino,
        name: &Name,
        ino: Ino,
        kind: FileKind,
    ) -> Result<()> {
        self.unguard(parent, name);
        let key = (parent, name.clone());
        let base_cookie = base.entry(parent, name.as_bytes())?.map(|own| own.cookie);
        let cookie = match (base_cookie, self.names.get(&key)) {
            (Some(cookie), _) => cookie,
            (None, Some(Some(dent))) => dent.cookie,
            (None, _) => {
                self.next_cookie += 1;
                self.next_cookie - 1
            }
        };
        let dent = Dent { ino, kind, cookie };
        if base_cookie.is_none() {
            self.order.insert((parent, cookie), dent.listed(name));
        }
        self.names.insert(key, Some(dent));
        Ok(())
    }

    /// Takes a name away.
    pub(super) fn drop_name(&mut self, base: &Base, parent: Ino, name: &Name) -> Result<Dent> {
        self.unguard(parent, name);
        let dent = self.entry(base, parent, name.as_bytes())?.ok_or(Errno::Io)?;
        let key = (parent, name.clone());
        if base.entry(parent, name.as_bytes())?.is_some() {
            self.names.insert(key, None);
        } else {
            self.names.remove(&key);
            self.order.remove(&(parent, dent.cookie));
        }
        Ok(dent)
    }

    /// A directory's entries changed: its times, and its link count by `subdirs`.
    pub(super) fn touch_dir(&mut self, base: &Base, dir: Ino, time: Timestamp, subdirs: i64) -> Result<()> {
        let inode = self.inode_mut(base, dir)?;
        inode.mtime = time;
        inode.ctime = time;
        inode.nlink = u32::try_from(i64::from(inode.nlink) + subdirs).map_err(|_| Errno::Io)?;
        Ok(())
    }

    /// The inode, taken into the overlay.
    pub(super) fn inode_mut(&mut self, base: &Base, ino: Ino) -> Result<&mut Inode> {
        if self.inodes.get(&ino).is_none() {
            let inode = base.inode(ino)?.filter(|_| ino.is_base()).ok_or(Errno::Io)?;
            self.inodes.insert(ino, Some(Arc::new(inode)));
        }
        let slot = self.inodes.get_mut(&ino).ok_or(Errno::Io)?;
        slot.as_mut().map(Arc::make_mut).ok_or(Errno::Io)
    }

    /// Keeps the figures `list` shows: files and links count, directories and devices do not.
    pub(super) fn count(&mut self, kind: FileKind, bytes: i64, files: i64) {
        if matches!(kind, FileKind::File | FileKind::Symlink) {
            self.files = self.files.wrapping_add_signed(files);
            self.size_bytes = self.size_bytes.wrapping_add_signed(bytes);
        }
    }
}

/// suid always, sgid where the group may execute, and file capabilities (inode(7), capabilities(7)).
fn drop_privileges(inode: &mut Inode) {
    if inode.kind == FileKind::Dir {
        return;
    }
    let sgid = if inode.perm & GROUP_EXEC != 0 { SGID } else { 0 };
    inode.perm &= !(SUID | sgid);
    put_xattr(inode, CAPABILITY, None);
}

fn put_xattr(inode: &mut Inode, name: &[u8], value: Option<&[u8]>) {
    if value.is_none() && inode.xattr(name).is_none() {
        return;
    }
    let list = Arc::make_mut(inode.xattrs.get_or_insert_default());
    let at = list.binary_search_by(|(stored, _)| stored.as_slice().cmp(name));
    match (at, value) {
        (Ok(at), Some(value)) => list[at].1 = value.to_vec(),
        (Err(at), Some(value)) => list.insert(at, (name.to_vec(), value.to_vec())),
        (Ok(at), None) => drop(list.remove(at)),
        (Err(_), None) => {}
    }
    if list.is_empty() {
        inode.xattrs = None;
    }
}

fn allocate(inode: &mut Inode, content: &mut Content, from: u64, to: u64, mode: AllocateMode) {
    match mode {
        AllocateMode::PunchHole => content.punch(from, to),
        AllocateMode::Grow | AllocateMode::KeepSize => content.allocate(from, to),
        AllocateMode::ZeroGrow | AllocateMode::ZeroKeepSize => {
            content.punch(from, to);
            content.allocate(from, to);
        }
    }
    if matches!(mode, AllocateMode::Grow | AllocateMode::ZeroGrow) {
        inode.size = inode.size.max(to);
    }
}
