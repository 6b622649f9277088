//! The header of a sealed snapshot, and its checkpoint: the two objects that a record names.

use super::object::{self, Objects, SealError};
use crate::base::Base;
use crate::history::{Point, put_point, take_point};
use crate::record::{Malformed, Reader, Writer};
use crate::state::Counters;
use weald_model::{Oid, Timestamp};
use weald_store::cas::Hash;

/// First bytes of a header: letters and the version.
const HEADER: [u8; 8] = *b"WEALDSN\x01";
/// First bytes of a checkpoint.
const CHECKPOINT: [u8; 8] = *b"WEALDCP\x02";
/// Those of one that has nothing beside its state.
const CHECKPOINT_ALONE: [u8; 8] = *b"WEALDCP\x01";
/// Most workspaces a snapshot's workspace can descend from.
const LINEAGE_MAX: u64 = 10_000;

/// What a sealed snapshot is. Its hash is the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base: BaseId,
    pub(crate) point: Point,
    /// The logs that log starts from and how far, the nearest last.
    pub(crate) lineage: Vec<Point>,
    pub(crate) counters: Counters,
    pub(crate) trees: Trees,
}

/// The roots of the two trees of a sealed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trees {
    pub(crate) inodes: Hash,
    pub(crate) names: Hash,
}

/// What a base shows: inode numbers mean the same on equal ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseId {
    pub(crate) tree: Option<Oid>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) time: Timestamp,
}

/// What the state behind a record has besides what its sealed snapshot shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Root of the sealed snapshot.
    pub(crate) root: Hash,
    /// Tree of inodes without a name.
    pub(crate) orphans: Hash,
    /// Tree of the extents of files.
    pub(crate) extents: Hash,
    /// Tree of snapshots and steps.
    pub(crate) history: Hash,
    /// Tree of what the log says that is part of no state. Older ones have none.
    pub(crate) aside: Option<Hash>,
}

impl BaseId {
    pub(crate) fn of(base: &Base) -> Self {
        let (uid, gid) = base.owner();
        Self { tree: base.tree_id(), uid, gid, time: base.time() }
    }
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        let mut w = Writer(&mut bytes);
        w.bytes(self.base.tree.as_ref().map_or(&[], |tree| tree.as_bytes()));
        w.number(u64::from(self.base.uid));
        w.number(u64::from(self.base.gid));
        w.time(self.base.time);
        put_point(&mut w, self.point);
        w.number(self.lineage.len() as u64);
        self.lineage.iter().for_each(|point| put_point(&mut w, *point));
        let Counters { next_ino, next_cookie, files, size_bytes } = self.counters;
        [next_ino, next_cookie, files, size_bytes].into_iter().for_each(|number| w.number(number));
        w.raw(&self.trees.inodes);
        w.raw(&self.trees.names);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(bytes);
        if r.raw()? != HEADER {
            return Err(Malformed("it is no header of a sealed snapshot"));
        }
        let tree = match r.bytes()? {
            [] => None,
            id => Some(Oid::new(id).ok_or(Malformed("tree id"))?),
        };
        let base = BaseId { tree, uid: r.small()?, gid: r.small()?, time: r.time()? };
        let point = take_point(&mut r)?;
        let count = r.number()?;
        if count > LINEAGE_MAX {
            return Err(Malformed("lineage"));
        }
        let lineage = (0..count).map(|_| take_point(&mut r)).collect::<Result<_, _>>()?;
        let counters = Counters {
            next_ino: r.number()?,
            next_cookie: r.number()?,
            files: r.number()?,
            size_bytes: r.number()?,
        };
        let trees = Trees { inodes: r.raw()?, names: r.raw()? };
        match r.0.is_empty() {
            true => Ok(Self { base, point, lineage, counters, trees }),
            false => Err(Malformed("bytes behind a header")),
        }
    }

    pub(crate) fn read(objects: &dyn Objects, root: &Hash) -> Result<Self, SealError> {
        let bytes = object::get(objects, root, &mut |_| {})?;
        Self::decode(&bytes).map_err(|Malformed(why)| SealError::Malformed(*root, why))
    }
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (first, aside) = match &self.aside {
            Some(aside) => (CHECKPOINT, &aside[..]),
            None => (CHECKPOINT_ALONE, &[][..]),
        };
        [&first[..], &self.root, &self.orphans, &self.extents, &self.history, aside].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(bytes);
        let has_aside = match r.raw()? {
            CHECKPOINT => true,
            CHECKPOINT_ALONE => false,
            _ => return Err(Malformed("it is no checkpoint")),
        };
        let (root, orphans, extents, history) = (r.raw()?, r.raw()?, r.raw()?, r.raw()?);
        let aside = if has_aside { Some(r.raw()?) } else { None };
        let found = Self { root, orphans, extents, history, aside };
        if r.0.is_empty() { Ok(found) } else { Err(Malformed("bytes behind a checkpoint")) }
    }

    pub(crate) fn read(objects: &dyn Objects, hash: &Hash) -> Result<Self, SealError> {
        let bytes = object::get(objects, hash, &mut |_| {})?;
        Self::decode(&bytes).map_err(|Malformed(why)| SealError::Malformed(*hash, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weald_model::WorkspaceId;

    #[test]
    fn headers_and_checkpoints_are_read_as_written_and_nothing_else_is() {
        let point = Point { log: WorkspaceId(7), seq: 300 };
        let header = Header {
            base: BaseId { tree: None, uid: 1, gid: 2, time: Timestamp { secs: -3, nanos: 4 } },
            point,
            lineage: vec![Point { log: WorkspaceId(1), seq: 5 }],
            counters: Counters { next_ino: 1 << 32, next_cookie: 9, files: 10, size_bytes: 11 },
            trees: Trees { inodes: [1; 32], names: [2; 32] },
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        let [root, orphans, extents, history] = [[1; 32], [2; 32], [3; 32], [4; 32]];
        let checkpoint = Checkpoint { root, orphans, extents, history, aside: Some([5; 32]) };
        assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint.clone()));
        let alone = Checkpoint { aside: None, ..checkpoint.clone() };
        assert_eq!(Checkpoint::decode(&alone.encode()), Ok(alone));
        for end in 0..bytes.len() {
            assert!(Header::decode(&bytes[..end]).is_err() && Checkpoint::decode(&bytes[..end]).is_err());
        }
        assert!(Header::decode(&[&bytes[..], b"x"].concat()).is_err());
        assert!(Checkpoint::decode(&[&checkpoint.encode()[..], b"x"].concat()).is_err());
    }
}
