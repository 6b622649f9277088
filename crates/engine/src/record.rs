//! What the log holds: one logical change per record, with its time and author.
//!
//! Encoding (docs/format.md, "Records"): little-endian LEB128 numbers, length-prefixed bytes. A record decodes to
//! exactly what was encoded; trailing bytes are an error. Unknown tags are an error, never skipped.

use crate::history::{Occasion, Point, Seal};
use crate::programs::ProgramName;
use crate::rules::RuleChange;
use crate::{AllocateMode, RenameMode};
use weald_model::{FileKind, Ino, Name, Oid, SnapshotId, Timestamp, WorkspaceId};
use weald_store::log::Place;
use weald_store::log::reclaim::Piece;

mod codec;
mod parts;
pub(crate) use codec::{Malformed, Reader, Writer};

/// A change with its time and author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) time: Timestamp,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    /// The program, as a [`Change::Program`] before this record defines it; 0 when it is not known.
    pub(crate) program: u32,
    /// The front end's request that asked for it; 0 for none.
    pub(crate) request: u64,
    pub(crate) change: Change,
}

/// Extended attributes in name order.
pub(crate) type XattrList = Vec<(Vec<u8>, Vec<u8>)>;

/// One change. Everything it needs is in it: applying it twice to equal states gives equal states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// First record of a log.
    Origin {
        tree: Option<Oid>,
        uid: u32,
        gid: u32,
        parent: Option<(WorkspaceId, u64)>,
        root: Root,
        note: Vec<u8>,
    },
    /// `child` was forked here.
    Forked {
        child: WorkspaceId,
    },
    /// A new inode, with a name unless it is an O_TMPFILE.
    Make(Box<Make>),
    Link {
        ino: Ino,
        parent: Ino,
        name: Name,
    },
    /// unlink or rmdir.
    Remove {
        parent: Ino,
        name: Name,
    },
    Rename {
        from: Ino,
        name: Name,
        to: Ino,
        new_name: Name,
        mode: RenameMode,
        whiteout: Option<Box<Make>>,
    },
    Write {
        ino: Ino,
        offset: u64,
        len: u32,
        stored: Stored,
        drop_privileges: bool,
    },
    Attach {
        ino: Ino,
        hash: [u8; 32],
        len: u64,
    },
    Set {
        ino: Ino,
        fields: Fields,
    },
    Allocate {
        ino: Ino,
        offset: u64,
        len: u64,
        mode: AllocateMode,
        drop_privileges: bool,
    },
    Copy {
        from: Ino,
        from_offset: u64,
        to: Ino,
        to_offset: u64,
        len: u64,
        drop_privileges: bool,
    },
    SetXattr {
        ino: Ino,
        name: Vec<u8>,
        value: Vec<u8>,
        perm: Option<u32>,
    },
    RemoveXattr {
        ino: Ino,
        name: Vec<u8>,
        perm: Option<u32>,
    },
    /// The kernel forgot an inode without names.
    Purge {
        ino: Ino,
    },
    /// From here on, this number is this program.
    Program {
        number: u32,
        name: ProgramName,
    },
    /// The state behind this record is a snapshot.
    Snapshot {
        id: SnapshotId,
        note: String,
        tags: Vec<String>,
        occasion: Occasion,
    },
    /// A snapshot is no longer listed.
    DropSnapshot {
        id: SnapshotId,
    },
    /// A snapshot's tags are these.
    Tag {
        id: SnapshotId,
        tags: Vec<String>,
    },
    /// The tree becomes what it was at a point, or what these paths were there.
    Restore {
        to: Point,
        paths: Vec<Path>,
        why: Why,
    },
    /// This data of the log is given back to the disk: no state that stays reaches it.
    Reclaimed {
        pieces: Vec<Piece>,
    },
    /// A snapshot was sealed; everything it was sealed as is durable.
    Sealed {
        snapshot: SnapshotId,
        seal: Seal,
    },
    /// This data of the log is read from the store of chunks: the object says which chunks hold it.
    Moved {
        table: [u8; 32],
        pieces: Vec<Piece>,
    },
    /// The records up to this one are given up, and the chain was this behind them.
    GivenUp {
        last: u64,
        chain: [u8; 32],
    },
    /// The size of a base file that was not known when its base was listed: what is done to its content counts on it.
    Sized {
        ino: Ino,
        size: u64,
    },
    /// From here on files that are opened for reading are recorded, or no longer.
    Reads {
        on: bool,
    },
    /// A file was opened for reading, or to be executed. Changes nothing.
    Opened {
        ino: Ino,
        executes: bool,
    },
    /// Rules, or what follows from them.
    Rules(Box<RuleChange>),
}

/// A path below the root; empty is the root itself.
pub(crate) type Path = Vec<Name>;

/// What a fork starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// The parent's record that names it; it may be lost with the fork in a power cut.
    Mark,
    /// Any record of the parent, durable before the fork was made.
    Durable,
}

/// What a restore does to the steps of undo and redo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is a step of its own.
    Asked = 0,
    /// It takes the last step back.
    Undo = 1,
    /// It takes the last undo back.
    Redo = 2,
    /// What was done since that point counts as no step: those to undo and to redo are the ones of then.
    Overlook = 3,
}

/// A new inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Make {
    pub(crate) place: Option<(Ino, Name)>,
    pub(crate) ino: Ino,
    pub(crate) kind: FileKind,
    pub(crate) perm: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: u32,
    pub(crate) target: Vec<u8>,
    pub(crate) xattrs: XattrList,
}

/// Where written bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Behind this record in the log.
    Inline,
    /// In a data segment; with the BLAKE3 hash of the bytes, so that the log's chain covers them, too.
    At { place: Place, hash: [u8; 32] },
}

/// New values of attributes, times resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) perm: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<Timestamp>,
    pub(crate) mtime: Option<Timestamp>,
    pub(crate) ctime: Option<Timestamp>,
    pub(crate) drop_privileges: bool,
}

impl Record {
    /// Appends the encoding to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut w = Writer(out);
        w.time(self.time);
        w.number(u64::from(self.pid));
        w.number(u64::from(self.uid));
        w.number(u64::from(self.program));
        w.number(self.request);
        self.change.encode(&mut w);
    }

    /// True for a record of something that is no part of a state, or of a snapshot. Cheaper than decoding it.
    pub(crate) fn is_aside(bytes: &[u8]) -> Result<bool, Malformed> {
        let mut r = Reader(bytes);
        // Seconds, nanoseconds, process, user, program, request.
        (0..6).try_for_each(|_| r.number().map(drop))?;
        Ok(matches!(r.tag()?, 15 | 19..=22 | 27))
    }

    /// True for the record of a restore. Cheaper than decoding it.
    pub(crate) fn is_restore(bytes: &[u8]) -> Result<bool, Malformed> {
        let mut r = Reader(bytes);
        (0..6).try_for_each(|_| r.number().map(drop))?;
        Ok(r.tag()? == 18)
    }

    /// The request that a record is of. Cheaper than decoding it.
    pub(crate) fn request(bytes: &[u8]) -> Result<u64, Malformed> {
        let mut r = Reader(bytes);
        (0..5).try_for_each(|_| r.number().map(drop))?;
        r.number()
    }

    /// Decodes a whole record.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(bytes);
        let (time, pid, uid, program) = (r.time()?, r.small()?, r.small()?, r.small()?);
        let record = Self { time, pid, uid, program, request: r.number()?, change: Change::decode(&mut r)? };
        if r.0.is_empty() { Ok(record) } else { Err(Malformed("bytes behind the record")) }
    }
}

impl Change {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Change::Origin { tree, uid, gid, parent, root, note } => {
                w.tag(1);
                w.bytes(tree.as_ref().map_or(&[], |tree| tree.as_bytes()));
                w.number(u64::from(*uid));
                w.number(u64::from(*gid));
                w.tag(match (parent, root) {
                    (None, _) => 0,
                    (Some(_), Root::Mark) => 1,
                    (Some(_), Root::Durable) => 2,
                });
                if let Some((id, seq)) = parent {
                    w.number(id.0);
                    w.number(*seq);
                }
                w.bytes(note);
            }
            Change::Forked { child } => {
                w.tag(2);
                w.number(child.0);
            }
            Change::Make(make) => {
                w.tag(3);
                make.encode(w);
            }
            Change::Link { ino, parent, name } => {
                w.tag(4);
                w.ino(*ino);
                w.ino(*parent);
                w.bytes(name.as_bytes());
            }
            Change::Remove { parent, name } => {
                w.tag(5);
                w.ino(*parent);
                w.bytes(name.as_bytes());
            }
            Change::Rename { from, name, to, new_name, mode, whiteout } => {
                w.tag(6);
                w.ino(*from);
                w.bytes(name.as_bytes());
                w.ino(*to);
                w.bytes(new_name.as_bytes());
                w.tag(*mode as u8);
                w.bool(whiteout.is_some());
                if let Some(make) = whiteout {
                    make.encode(w);
                }
            }
            Change::Write { ino, offset, len, stored, drop_privileges } => {
                w.tag(7);
                w.ino(*ino);
                w.number(*offset);
                w.number(u64::from(*len));
                w.bool(*drop_privileges);
                w.bool(matches!(stored, Stored::At { .. }));
                if let Stored::At { place, hash } = stored {
                    w.raw(&place.to_bytes());
                    w.raw(hash);
                }
            }
            Change::Attach { ino, hash, len } => {
                w.tag(8);
                w.ino(*ino);
                w.raw(hash);
                w.number(*len);
            }
            Change::Set { ino, fields } => {
                w.tag(9);
                w.ino(*ino);
                fields.encode(w);
            }
            Change::Allocate { ino, offset, len, mode, drop_privileges } => {
                w.tag(10);
                w.ino(*ino);
                w.number(*offset);
                w.number(*len);
                w.tag(*mode as u8);
                w.bool(*drop_privileges);
            }
            Change::Copy { from, from_offset, to, to_offset, len, drop_privileges } => {
                w.tag(11);
                w.ino(*from);
                w.number(*from_offset);
                w.ino(*to);
                w.number(*to_offset);
                w.number(*len);
                w.bool(*drop_privileges);
            }
            Change::SetXattr { ino, name, value, perm } => {
                w.tag(12);
                w.ino(*ino);
                w.bytes(name);
                w.bytes(value);
                w.optional(perm.map(u64::from));
            }
            Change::RemoveXattr { ino, name, perm } => {
                w.tag(13);
                w.ino(*ino);
                w.bytes(name);
                w.optional(perm.map(u64::from));
            }
            Change::Purge { ino } => {
                w.tag(14);
                w.ino(*ino);
            }
            Change::Snapshot { id, note, tags, occasion } => {
                w.tag(15);
                w.number(id.0);
                w.bytes(note.as_bytes());
                w.texts(tags);
                w.tag(*occasion as u8);
            }
            Change::Reclaimed { pieces } => {
                w.tag(20);
                w.pieces(pieces);
            }
            Change::Sealed { snapshot, seal } => {
                w.tag(21);
                w.number(snapshot.0);
                w.raw(&seal.root);
                w.raw(&seal.checkpoint);
            }
            Change::Moved { table, pieces } => {
                w.tag(22);
                w.raw(table);
                w.pieces(pieces);
            }
            Change::GivenUp { last, chain } => {
                w.tag(27);
                w.number(*last);
                w.raw(chain);
            }
            Change::Reads { on } => {
                w.tag(23);
                w.bool(*on);
            }
            Change::Opened { ino, executes } => {
                w.tag(24);
                w.ino(*ino);
                w.bool(*executes);
            }
            Change::Rules(change) => {
                w.tag(28);
                change.encode(w);
            }
            Change::Sized { ino, size } => {
                w.tag(26);
                w.ino(*ino);
                w.number(*size);
            }
            Change::DropSnapshot { id } => {
                w.tag(16);
                w.number(id.0);
            }
            Change::Tag { id, tags } => {
                w.tag(17);
                w.number(id.0);
                w.texts(tags);
            }
            Change::Restore { to, paths, why } => {
                w.tag(18);
                w.number(to.log.0);
                w.number(to.seq);
                w.paths(paths);
                w.tag(*why as u8);
            }
            Change::Program { number, name } => {
                w.tag(19);
                w.number(u64::from(*number));
                w.bytes(name.as_bytes());
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match r.tag()? {
            1 => Change::origin(r)?,
            2 => Change::Forked { child: WorkspaceId(r.number()?) },
            3 => Change::Make(Box::new(Make::decode(r)?)),
            4 => Change::Link { ino: r.ino()?, parent: r.ino()?, name: r.name()? },
            5 => Change::Remove { parent: r.ino()?, name: r.name()? },
            6 => Change::Rename {
                from: r.ino()?,
                name: r.name()?,
                to: r.ino()?,
                new_name: r.name()?,
                mode: rename_mode(r.tag()?)?,
                whiteout: if r.bool()? { Some(Box::new(Make::decode(r)?)) } else { None },
            },
            7 => {
                let (ino, offset, len) = (r.ino()?, r.number()?, r.small()?);
                let drop_privileges = r.bool()?;
                let stored = match r.bool()? {
                    false => Stored::Inline,
                    true => Stored::At { place: Place::from_bytes(&r.raw()?), hash: r.raw()? },
                };
                Change::Write { ino, offset, len, stored, drop_privileges }
            }
            8 => Change::Attach { ino: r.ino()?, hash: r.raw()?, len: r.number()? },
            9 => Change::Set { ino: r.ino()?, fields: Fields::decode(r)? },
            10 => Change::Allocate {
                ino: r.ino()?,
                offset: r.number()?,
                len: r.number()?,
                mode: allocate_mode(r.tag()?)?,
                drop_privileges: r.bool()?,
            },
            11 => Change::Copy {
                from: r.ino()?,
                from_offset: r.number()?,
                to: r.ino()?,
                to_offset: r.number()?,
                len: r.number()?,
                drop_privileges: r.bool()?,
            },
            12 => Change::SetXattr {
                ino: r.ino()?,
                name: r.bytes()?.to_vec(),
                value: r.bytes()?.to_vec(),
                perm: r.optional_small()?,
            },
            13 => Change::RemoveXattr { ino: r.ino()?, name: r.bytes()?.to_vec(), perm: r.optional_small()? },
            14 => Change::Purge { ino: r.ino()? },
            15 => Change::Snapshot {
                id: SnapshotId(r.number()?),
                note: r.text()?,
                tags: r.texts()?,
                occasion: Occasion::from_tag(r.tag()?).ok_or(Malformed("occasion"))?,
            },
            16 => Change::DropSnapshot { id: SnapshotId(r.number()?) },
            17 => Change::Tag { id: SnapshotId(r.number()?), tags: r.texts()? },
            18 => Change::Restore {
                to: Point { log: WorkspaceId(r.number()?), seq: r.number()? },
                paths: r.paths()?,
                why: match r.tag()? {
                    0 => Why::Asked,
                    1 => Why::Undo,
                    2 => Why::Redo,
                    3 => Why::Overlook,
                    _ => return Err(Malformed("why")),
                },
            },
            20 => Change::Reclaimed { pieces: r.pieces()? },
            21 => Change::Sealed {
                snapshot: SnapshotId(r.number()?),
                seal: Seal { root: r.raw()?, checkpoint: r.raw()? },
            },
            22 => Change::Moved { table: r.raw()?, pieces: r.pieces()? },
            27 => Change::GivenUp { last: r.number()?, chain: r.raw()? },
            23 => Change::Reads { on: r.bool()? },
            26 => Change::Sized { ino: r.ino()?, size: r.number()? },
            28 => Change::Rules(Box::new(RuleChange::decode(r)?)),
            24 => Change::Opened { ino: r.ino()?, executes: r.bool()? },
            19 => Change::Program { number: r.small()?, name: program_name(r.bytes()?)? },
            _ => return Err(Malformed("unknown change")),
        })
    }

    fn origin(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let tree = match r.bytes()? {
            [] => None,
            id => Some(Oid::new(id).ok_or(Malformed("tree id"))?),
        };
        let (uid, gid) = (r.small()?, r.small()?);
        let root = match r.tag()? {
            0 => None,
            1 => Some(Root::Mark),
            2 => Some(Root::Durable),
            _ => return Err(Malformed("fork")),
        };
        let parent = match root {
            Some(_) => Some((WorkspaceId(r.number()?), r.number()?)),
            None => None,
        };
        let (root, note) = (root.unwrap_or(Root::Mark), r.bytes()?.to_vec());
        Ok(Change::Origin { tree, uid, gid, parent, root, note })
    }
}

fn program_name(bytes: &[u8]) -> Result<ProgramName, Malformed> {
    let name = ProgramName::new(bytes).filter(|name| name.as_bytes() == bytes);
    name.ok_or(Malformed("program name"))
}

fn rename_mode(tag: u8) -> Result<RenameMode, Malformed> {
    [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange, RenameMode::Whiteout]
        .into_iter()
        .find(|mode| *mode as u8 == tag)
        .ok_or(Malformed("rename mode"))
}

fn allocate_mode(tag: u8) -> Result<AllocateMode, Malformed> {
    use AllocateMode::{Grow, KeepSize, PunchHole, ZeroGrow, ZeroKeepSize};
    [Grow, KeepSize, PunchHole, ZeroGrow, ZeroKeepSize]
        .into_iter()
        .find(|mode| *mode as u8 == tag)
        .ok_or(Malformed("allocate mode"))
}

#[cfg(test)]
mod tests;
