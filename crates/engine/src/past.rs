//! A point of the past made visible: frozen, read-only, cheap to clone.
//!
//! Content is where it always was, since it is never overwritten; a state says where. No lock is held while content is
//! read. Read next: `travel` (how one gets a past, and back to it), `diff` (what lies between two).

use crate::base::Base;
use crate::content::{Origin, Piece};
use crate::history::{Point, Snapshot};
use crate::state::{Dent, State};
use crate::{Cookie, DirEntry, Shared, Summary};
use std::sync::Arc;
use weald_model::{Attr, Errno, FileKind, Ino, Result};
use weald_store::log::Place;

/// A workspace as it was at a point.
#[derive(Clone)]
pub struct Past {
    pub(crate) shared: Arc<Shared>,
    pub(crate) base: Base,
    point: Point,
    state: State,
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past").field("point", &self.point).finish_non_exhaustive()
    }
}

impl Past {
    pub(crate) fn new(shared: Arc<Shared>, base: Base, point: Point, state: State) -> Self {
        Self { shared, base, point, state }
    }

    /// Which point it is.
    pub fn point(&self) -> Point {
        self.point
    }

    /// Shows the runs of data segments that files are made of: place, bytes to skip there, and bytes.
    pub fn data(&self, each: &mut dyn FnMut(Place, u64, u64)) {
        self.state.extents(None, &mut |extent| {
            if let Origin::Log(place) = extent.origin
                && place.file & Place::DATA != 0
            {
                each(place, extent.skip, extent.len);
            }
        });
    }

    /// The attributes of an inode; a size that is not known by now is said to be so.
    pub fn attr(&self, ino: Ino) -> Result<Attr> {
        self.state.attr(&self.base, ino)
    }

    /// The attributes of a name's inode.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        self.must_be_dir(parent)?;
        let dent = self.state.entry(&self.base, parent, name)?.ok_or(Errno::NotFound)?;
        self.attr(dent.ino)
    }

    /// The attributes of what a path from the root leads to. Slashes at its ends and double ones do not count; symbolic
    /// links are not followed. ENOENT, ENOTDIR.
    pub fn resolve(&self, path: &[u8]) -> Result<Attr> {
        let mut attr = self.attr(Ino::ROOT)?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            attr = self.lookup(attr.ino, name)?;
        }
        Ok(attr)
    }

    /// Walks a directory's stream from `after` until `each` says false, without `.` and `..`.
    pub fn read_dir(
        &self,
        dir: Ino,
        after: Cookie,
        each: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.must_be_dir(dir)?;
        self.state.read_dir(&self.base, dir, after.0, &mut |name, Dent { ino, kind, cookie }| {
            each(DirEntry { name, ino, kind, next: Cookie(cookie) })
        })
    }

    /// Appends up to `size` bytes from `offset` to `out`; fewer at the end of the file.
    pub fn read(&self, ino: Ino, offset: u64, size: usize, out: &mut Vec<u8>) -> Result<()> {
        self.with_content(ino, || {
            let pieces = self.pieces(ino, offset, size)?;
            self.shared.read_pieces(&self.base, &pieces, out)
        })
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, ino: Ino) -> Result<Vec<u8>> {
        self.with_content(ino, || self.shared.read_target(&self.base, &self.state.target(&self.base, ino)?))
    }

    /// The value of an extended attribute; ENODATA when there is none.
    pub fn get_xattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let value = |inode: &crate::state::Inode| inode.xattr(name).map(<[u8]>::to_vec);
        self.state.with(&self.base, ino, |inode| value(inode).ok_or(Errno::NoData))
    }

    /// The names of all extended attributes, each followed by NUL (listxattr(2)).
    pub fn list_xattr(&self, ino: Ino) -> Result<Vec<u8>> {
        self.state.with(&self.base, ino, |inode| Ok(inode.xattr_names()))
    }

    /// The directory above `dir`; the root is above itself.
    pub fn parent_of(&self, dir: Ino) -> Result<Ino> {
        self.state.parent_of(&self.base, dir)
    }

    /// Where undo went from here.
    pub fn undo_target(&self) -> Option<Point> {
        self.state.history.undo_target()
    }

    /// Where redo went from here.
    pub fn redo_target(&self) -> Option<Point> {
        self.state.history.redo_target()
    }

    /// The snapshots that were listed then, the oldest first.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.state.history.snapshots()
    }

    /// Figures. O(1).
    pub fn summary(&self) -> Summary {
        let State { files, size_bytes, private_bytes, .. } = self.state;
        let logs_reads = self.state.history.logs_reads;
        Summary { files, size_bytes, private_bytes, records: self.point.seq, logs_reads }
    }

    /// Counts everything again and says what does not fit together: links, parents, streams, figures. Cost: the
    /// whole tree, no content.
    pub fn check(&self) -> Result<std::result::Result<(), String>> {
        self.state.check(&self.base)
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn into_state(self) -> State {
        self.state
    }

    pub(crate) fn pieces(&self, ino: Ino, offset: u64, size: usize) -> Result<Vec<Piece>> {
        self.state.pieces(&self.base, ino, offset, size)
    }

    fn must_be_dir(&self, ino: Ino) -> Result<()> {
        let is_dir = |inode: &crate::state::Inode| inode.kind == FileKind::Dir;
        self.state.with(&self.base, ino, |inode| if is_dir(inode) { Ok(()) } else { Err(Errno::NotDir) })
    }
}
