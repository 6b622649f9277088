//! Operations by path, as data: made at random, shrunk, printed, and applied to anything.
//!
//! Paths are short lists of few names, so operations meet often. A path starts at the root or at a slot that
//! holds an inode, as an open file or a working directory does; a held inode outlives its names.
//! Invariant: applying tells the same outcome on every correct file system. Read next: [`crate::strategy`].

use crate::clock::mix;
use crate::file_system::{Entries, FileSystem};
use std::collections::BTreeMap;
use weald_engine::{AllocateMode, RenameMode, XattrMode};
use weald_model::name::NAME_BYTES_MAX;
use weald_model::{Attr, Caller, Errno, FileKind, Ino, Result, SetAttr, SetTime, Timestamp};

/// The names that paths are made of; two that are not text, one of the longest and one too long.
pub fn name(index: u8) -> Vec<u8> {
    match index {
        0 => b"a".to_vec(),
        1 => b"b".to_vec(),
        2 => b"dir".to_vec(),
        3 => b"sub".to_vec(),
        4 => b"\xff\xfe not text".to_vec(),
        5 => b"c.txt".to_vec(),
        6 => vec![b'n'; 255],
        _ => vec![b'n'; 256],
    }
}

/// Number of names that are not too long.
pub const GOOD_NAMES: u8 = 7;

/// Number of slots that hold inodes.
pub const SLOTS: usize = 3;

/// Where an operation happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The slot the path starts at; the root if none, or if the slot is empty.
    pub slot: Option<usize>,
    /// Indices of names.
    pub path: Vec<u8>,
}

impl Place {
    /// A path from the root.
    pub fn at(path: &[u8]) -> Self {
        Self { slot: None, path: path.to_vec() }
    }
}

/// Content that prints short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// Which bytes.
    pub seed: u8,
    /// How many.
    pub len: usize,
}

impl Data {
    /// The bytes: no zeros, so that holes cannot pass for data, and no short period.
    pub fn bytes(self) -> Vec<u8> {
        (0..self.len).map(|at| (mix(at as u64 + (u64::from(self.seed) << 32)) as u8).max(1)).collect()
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are the arguments of the system call of that name")]
pub enum Operation {
    /// mknod(2), mkdir(2), open(2) with O_CREAT | O_EXCL.
    MakeNode { at: Place, kind: FileKind, perm: u32 },
    /// symlink(2).
    MakeSymlink { at: Place, target: Data },
    /// open(2) with O_TMPFILE into a slot.
    MakeTmpfile { dir: Place, slot: usize, perm: u32 },
    /// link(2).
    Link { from: Place, to: Place },
    /// unlink(2).
    Unlink { at: Place },
    /// rmdir(2).
    Rmdir { at: Place },
    /// renameat2(2).
    Rename { from: Place, to: Place, mode: RenameMode },
    /// pwrite(2).
    Write { at: Place, offset: u64, data: Data },
    /// pread(2).
    Read { at: Place, offset: u64, size: usize },
    /// ftruncate(2).
    Truncate { at: Place, size: u64 },
    /// fallocate(2).
    Allocate { at: Place, offset: u64, len: u64, mode: AllocateMode },
    /// copy_file_range(2).
    CopyRange { from: Place, from_offset: u64, to: Place, to_offset: u64, len: u64 },
    /// chmod(2).
    Chmod { at: Place, perm: u32 },
    /// chown(2).
    Chown { at: Place, uid: Option<u32>, gid: Option<u32> },
    /// utimensat(2): only mtime, or both.
    SetTimes { at: Place, atime: Option<SetTime>, mtime: Timestamp },
    /// setxattr(2).
    SetXattr { at: Place, name: u8, value: Data, mode: XattrMode },
    /// removexattr(2).
    RemoveXattr { at: Place, name: u8 },
    /// opendir(3), readdir(3) to the end, so many entries to a call.
    List { at: Place, batch: usize },
    /// Holds what a path names in a slot, in place of what it held.
    Hold { at: Place, slot: usize },
    /// Empties a slot.
    Release { slot: usize },
    /// The kernel drops an inode that still has a name from its cache.
    ForgetNamed { at: Place },
    /// fsync(2) of anything.
    Sync,
}

/// What an operation answered. Inode numbers are left out: each side has its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// The inode is of a kind that the kernel never sends this operation for.
    NeverSent,
    /// The attributes of what was made or changed.
    Attr(Attr),
    /// Whether a name was the last.
    Removed {
        /// No name is left.
        orphan: bool,
    },
    /// Bytes read.
    Data(Vec<u8>),
    /// Number of bytes copied.
    Count(u64),
    /// What a directory holds.
    Entries(BTreeMap<Vec<u8>, FileKind>),
}

/// The inodes that slots hold: a stand-in for the kernel's open files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// What each slot holds.
    pub held: [Option<Ino>; SLOTS],
    /// Whether it was made there without a name and has had none since, so that link(2) may give it one.
    linkable: [bool; SLOTS],
}

/// Applies an operation.
pub fn apply<F: FileSystem>(
    fs: &mut F,
    slots: &mut Slots,
    who: &Caller,
    operation: &Operation,
) -> Result<Outcome> {
    Application { fs, slots, who }.apply(operation)
}

struct Application<'a, F> {
    fs: &'a mut F,
    slots: &'a mut Slots,
    who: &'a Caller,
}

impl<F: FileSystem> Application<'_, F> {
    fn apply(&mut self, operation: &Operation) -> Result<Outcome> {
        match operation {
            Operation::MakeNode { .. }
            | Operation::MakeSymlink { .. }
            | Operation::MakeTmpfile { .. }
            | Operation::Link { .. } => self.make(operation),
            Operation::Unlink { .. } | Operation::Rmdir { .. } | Operation::Rename { .. } => {
                self.remove_or_move(operation)
            }
            Operation::Write { .. }
            | Operation::Read { .. }
            | Operation::Truncate { .. }
            | Operation::Allocate { .. }
            | Operation::CopyRange { .. } => self.content(operation),
            Operation::Chmod { .. } | Operation::Chown { .. } | Operation::SetTimes { .. } => {
                self.change_attr(operation)
            }
            Operation::SetXattr { .. } | Operation::RemoveXattr { .. } => self.change_xattr(operation),
            Operation::List { .. }
            | Operation::Hold { .. }
            | Operation::Release { .. }
            | Operation::ForgetNamed { .. }
            | Operation::Sync => self.look(operation),
        }
    }

    fn make(&mut self, operation: &Operation) -> Result<Outcome> {
        let who = self.who;
        let attr = match operation {
            Operation::MakeNode { at, kind, perm } => {
                let (parent, name) = self.entry(at)?;
                self.may_be_named(parent, &name)?;
                let rdev =
                    if matches!(kind, FileKind::CharDevice | FileKind::BlockDevice) { 0x103 } else { 0 };
                // mkdir(2) takes no suid and no sgid bit.
                let perm = if *kind == FileKind::Dir { perm & 0o1777 } else { *perm };
                self.fs.make_node(who, (parent, &name), *kind, perm, rdev)?
            }
            Operation::MakeSymlink { at, target } => {
                let (parent, name) = self.entry(at)?;
                self.may_be_named(parent, &name)?;
                self.fs.make_symlink(who, (parent, &name), &target.bytes())?
            }
            Operation::MakeTmpfile { dir, slot, perm } => {
                let dir = self.resolve(dir)?;
                let attr = self.fs.attr(dir)?;
                if attr.kind != FileKind::Dir || attr.nlink == 0 {
                    // What a removed directory answers is the kernel's.
                    return Ok(Outcome::NeverSent);
                }
                let made = self.fs.make_tmpfile(who, dir, *perm)?;
                self.hold(*slot, Some(made.ino));
                self.slots.linkable[*slot] = true;
                made
            }
            Operation::Link { from, to } => {
                let ino = self.resolve(from)?;
                if self.fs.attr(ino)?.nlink == 0 && !self.is_linkable(ino) {
                    // The kernel alone knows which inodes without a name may be linked.
                    return Ok(Outcome::NeverSent);
                }
                let (parent, name) = self.entry(to)?;
                self.may_be_named(parent, &name)?;
                if self.fs.lookup(parent, &name).is_ok() {
                    // The kernel looks at the new name before it looks at the inode.
                    return Err(Errno::Exists);
                }
                let made = self.fs.link(who, ino, (parent, &name))?;
                self.set_linked(ino);
                made
            }
            _ => return Ok(Outcome::NeverSent),
        };
        Ok(Outcome::Attr(attr))
    }

    fn remove_or_move(&mut self, operation: &Operation) -> Result<Outcome> {
        let who = self.who;
        let removed = match operation {
            Operation::Unlink { at } => {
                let (parent, name) = self.entry(at)?;
                self.may_be_named(parent, &name)?;
                self.fs.unlink(who, (parent, &name))?
            }
            Operation::Rmdir { at } => {
                let (parent, name) = self.entry(at)?;
                self.may_be_named(parent, &name)?;
                self.fs.rmdir(who, (parent, &name))?
            }
            Operation::Rename { from, to, mode } => return self.rename(from, to, *mode),
            _ => return Ok(Outcome::NeverSent),
        };
        if removed.orphan && !self.slots.held.contains(&Some(removed.ino)) {
            self.fs.forget(removed.ino);
        }
        Ok(Outcome::Removed { orphan: removed.orphan })
    }

    fn rename(&mut self, from: &Place, to: &Place, mode: RenameMode) -> Result<Outcome> {
        let (parent, name) = self.entry(from)?;
        let (new_parent, new_name) = self.entry(to)?;
        // The kernel looks both names up first, so a missing source comes before a name that is too long.
        self.may_be_named(parent, &name)?;
        self.fs.lookup(parent, &name)?;
        self.may_be_named(new_parent, &new_name)?;
        let replaced = self.fs.lookup(new_parent, &new_name);
        self.fs.rename(self.who, (parent, &name), (new_parent, &new_name), mode)?;
        if let Ok(replaced) = replaced {
            self.forget_if_unused(replaced.ino);
        }
        Ok(Outcome::Done)
    }

    fn content(&mut self, operation: &Operation) -> Result<Outcome> {
        let (Operation::Write { at, .. }
        | Operation::Read { at, .. }
        | Operation::Truncate { at, .. }
        | Operation::Allocate { at, .. }
        | Operation::CopyRange { from: at, .. }) = operation
        else {
            return Ok(Outcome::NeverSent);
        };
        let ino = self.resolve(at)?;
        if self.fs.attr(ino)?.kind != FileKind::File {
            return Ok(Outcome::NeverSent);
        }
        match operation {
            Operation::Write { offset, data, .. } => {
                self.fs.write(self.who, ino, *offset, &data.bytes())?;
            }
            Operation::Read { offset, size, .. } => {
                return self.fs.read(ino, *offset, *size).map(Outcome::Data);
            }
            Operation::Truncate { size, .. } => {
                let set = SetAttr { size: Some(*size), ..SetAttr::default() };
                return self.fs.set_attr(self.who, ino, &set).map(Outcome::Attr);
            }
            Operation::Allocate { offset, len, mode, .. } => {
                self.fs.allocate(self.who, ino, *offset, *len, *mode)?;
            }
            Operation::CopyRange { from_offset, to, to_offset, len, .. } => {
                let to = self.resolve(to)?;
                if self.fs.attr(to)?.kind != FileKind::File {
                    return Ok(Outcome::NeverSent);
                }
                let count = self.fs.copy_range(self.who, (ino, *from_offset), (to, *to_offset), *len)?;
                return Ok(Outcome::Count(count));
            }
            _ => return Ok(Outcome::NeverSent),
        }
        self.fs.attr(ino).map(Outcome::Attr)
    }

    fn change_attr(&mut self, operation: &Operation) -> Result<Outcome> {
        let (at, set) = match operation {
            Operation::Chmod { at, perm } => (at, SetAttr { perm: Some(*perm), ..SetAttr::default() }),
            Operation::Chown { at, uid, gid } => (at, SetAttr { uid: *uid, gid: *gid, ..SetAttr::default() }),
            Operation::SetTimes { at, atime, mtime } => {
                let mtime = Some(SetTime::At(*mtime));
                (at, SetAttr { atime: *atime, mtime, ..SetAttr::default() })
            }
            _ => return Ok(Outcome::NeverSent),
        };
        let ino = self.resolve(at)?;
        if set.perm.is_some() && self.fs.attr(ino)?.kind == FileKind::Symlink {
            return Ok(Outcome::NeverSent);
        }
        self.fs.set_attr(self.who, ino, &set).map(Outcome::Attr)
    }

    fn change_xattr(&mut self, operation: &Operation) -> Result<Outcome> {
        let (Operation::SetXattr { at, name, .. } | Operation::RemoveXattr { at, name }) = operation else {
            return Ok(Outcome::NeverSent);
        };
        let ino = self.resolve(at)?;
        if !matches!(self.fs.attr(ino)?.kind, FileKind::File | FileKind::Dir) {
            return Ok(Outcome::NeverSent);
        }
        let name = xattr_name(*name);
        match operation {
            Operation::SetXattr { value, mode, .. } => {
                self.fs.set_xattr(self.who, ino, &name, &value.bytes(), *mode)?;
            }
            _ => self.fs.remove_xattr(self.who, ino, &name)?,
        }
        self.fs.attr(ino).map(Outcome::Attr)
    }

    fn look(&mut self, operation: &Operation) -> Result<Outcome> {
        match operation {
            Operation::List { at, batch } => {
                let dir = self.resolve(at)?;
                return self.fs.entries(dir, *batch).map(|entries| Outcome::Entries(kinds(&entries)));
            }
            Operation::Hold { at, slot } => {
                let ino = self.resolve(at)?;
                self.hold(*slot, Some(ino));
            }
            Operation::Release { slot } => self.hold(*slot, None),
            Operation::ForgetNamed { at } => {
                let ino = self.resolve(at)?;
                if self.fs.attr(ino)?.nlink > 0 {
                    self.fs.forget(ino);
                }
            }
            Operation::Sync => self.fs.sync()?,
            _ => return Ok(Outcome::NeverSent),
        }
        Ok(Outcome::Done)
    }

    fn is_linkable(&self, ino: Ino) -> bool {
        let mut slots = self.slots.held.iter().zip(self.slots.linkable);
        slots.any(|(held, linkable)| *held == Some(ino) && linkable)
    }

    fn set_linked(&mut self, ino: Ino) {
        for (held, linkable) in self.slots.held.iter().zip(&mut self.slots.linkable) {
            *linkable &= *held != Some(ino);
        }
    }

    fn hold(&mut self, slot: usize, ino: Option<Ino>) {
        self.slots.linkable[slot] = false;
        if let Some(old) = std::mem::replace(&mut self.slots.held[slot], ino) {
            self.forget_if_unused(old);
        }
    }

    /// Does what the kernel does when the last reference to an inode without a name goes.
    fn forget_if_unused(&mut self, ino: Ino) {
        let unused =
            !self.slots.held.contains(&Some(ino)) && self.fs.attr(ino).is_ok_and(|attr| attr.nlink == 0);
        if unused {
            self.fs.forget(ino);
        }
    }

    fn start(&self, place: &Place) -> Ino {
        place.slot.and_then(|slot| self.slots.held[slot]).unwrap_or(Ino::ROOT)
    }

    /// Follows a path to its end; no symbolic link is followed.
    fn resolve(&mut self, place: &Place) -> Result<Ino> {
        place.path.iter().try_fold(self.start(place), |ino, step| {
            let name = name(*step);
            self.may_be_named(ino, &name)?;
            Ok(self.fs.lookup(ino, &name)?.ino)
        })
    }

    /// In a directory that was removed the kernel looks for no name, not even at how long it is (fs/namei.c, IS_DEADDIR).
    fn may_be_named(&mut self, dir: Ino, name: &[u8]) -> Result<()> {
        let is_too_long = name.len() > NAME_BYTES_MAX;
        let is_removed = |attr: Attr| attr.kind == FileKind::Dir && attr.nlink == 0;
        if is_too_long && is_removed(self.fs.attr(dir)?) { Err(Errno::NotFound) } else { Ok(()) }
    }

    /// Follows a path to the directory of its last name, which need not exist.
    fn entry(&mut self, place: &Place) -> Result<(Ino, Vec<u8>)> {
        let (last, path) = place.path.split_last().ok_or(Errno::Busy)?;
        let parent = self.resolve(&Place { slot: place.slot, path: path.to_vec() })?;
        if self.fs.attr(parent)?.kind != FileKind::Dir {
            return Err(Errno::NotDir);
        }
        Ok((parent, name(*last)))
    }
}

/// The name of an extended attribute.
pub fn xattr_name(index: u8) -> Vec<u8> {
    format!("user.weald.{index}").into_bytes()
}

fn kinds(entries: &Entries) -> BTreeMap<Vec<u8>, FileKind> {
    entries.iter().map(|(name, (_, kind))| (name.clone(), *kind)).collect()
}
