//! Operations on content: read, write, allocate, seek, copy.
//!
//! A read collects the extents it needs under the state's lock and reads them without it. A write above the inline
//! limit stores its bytes before it takes the lock; what is stored for a write that then fails is never referred to.
//! Content that is elsewhere makes all of this fail with `Errno::Unfetched`: read next `far`.

use crate::base::Base;
use crate::content::{Origin, Piece};
use crate::record::{Change, Stored};
use crate::state::{Body, Inode, State, Target};
use crate::workspace::Workspace;
use crate::{AllocateMode, Seek, Shared};
use std::sync::PoisonError;
use weald_model::{Caller, Errno, Ino, Result};
use weald_store::log::{INLINE_BYTES_MAX, Place};

/// Largest file in bytes (`MAX_LFS_FILESIZE` of the kernel).
pub(crate) const FILE_BYTES_MAX: u64 = i64::MAX as u64;

impl Workspace {
    /// Appends up to `size` bytes from `offset` to `out`; fewer at the end of the file.
    pub fn read(&self, ino: Ino, offset: u64, size: usize, out: &mut Vec<u8>) -> Result<()> {
        let pieces = {
            let state = self.read_state();
            state.must_see(&self.base, ino)?;
            state.pieces(&self.base, ino, offset, size)?
        };
        self.shared.read_pieces(&self.base, &pieces, out)
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, ino: Ino) -> Result<Vec<u8>> {
        let target = {
            let state = self.read_state();
            state.must_see(&self.base, ino)?;
            state.target(&self.base, ino)?
        };
        self.shared.read_target(&self.base, &target)
    }

    /// Writes all of `data` at `offset`.
    pub fn write(&self, who: &Caller, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        let len = u32::try_from(data.len()).map_err(|_| Errno::Invalid)?;
        if offset.checked_add(u64::from(len)).is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(Errno::TooBig);
        }
        if data.is_empty() {
            return Ok(());
        }
        let is_large = data.len() > INLINE_BYTES_MAX;
        if is_large {
            // Before it takes space; it is looked at again with the change.
            self.read_state().must_take_write(&self.base, ino, offset, u64::from(len))?;
        }
        let _putting = is_large.then(|| self.putting.read().unwrap_or_else(PoisonError::into_inner));
        let (stored, inline) = match data.len() {
            0..=INLINE_BYTES_MAX => (Stored::Inline, data),
            _ => {
                let hash = *blake3::hash(data).as_bytes();
                (Stored::At { place: self.put_data(data)?, hash }, &[][..])
            }
        };
        let drop_privileges = who.kill_privileges;
        self.editing(&[ino], || {
            self.change_with(who, inline, |state, _| {
                state.must_be_editable(&self.base, ino)?;
                state.must_take_write(&self.base, ino, offset, u64::from(len))?;
                Ok((Some(Change::Write { ino, offset, len, stored, drop_privileges }), ()))
            })
        })
    }

    /// Gives a file the content of an immutable stored file, replacing what it had.
    pub fn attach(&self, who: &Caller, ino: Ino, hash: [u8; 32], len: u64) -> Result<()> {
        self.editing(&[ino], || {
            self.change(who, |state, _| {
                state.must_be_editable(&self.base, ino)?;
                state.must_change(&self.base, ino)?;
                Ok(Some(Change::Attach { ino, hash, len }))
            })
        })
    }

    /// fallocate(2).
    pub fn allocate(&self, who: &Caller, ino: Ino, offset: u64, len: u64, mode: AllocateMode) -> Result<()> {
        if len == 0 {
            return Err(Errno::Invalid);
        }
        if offset.checked_add(len).is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(Errno::TooBig);
        }
        let drop_privileges = who.kill_privileges;
        self.editing(&[ino], || {
            self.change(who, |state, _| {
                state.must_be_editable(&self.base, ino)?;
                state.must_change(&self.base, ino)?;
                Ok(Some(Change::Allocate { ino, offset, len, mode, drop_privileges }))
            })
        })
    }

    /// lseek(2) with SEEK_DATA or SEEK_HOLE; ENXIO at or behind the end.
    pub fn seek(&self, ino: Ino, offset: u64, what: Seek) -> Result<u64> {
        let state = self.read_state();
        state.must_see(&self.base, ino)?;
        state.with(&self.base, ino, |inode: &Inode| {
            let (content, size) = (inode.content()?, inode.size_here(&self.base)?);
            if offset >= size {
                return Err(Errno::NoAddress);
            }
            match what {
                Seek::Data => content.next_data(offset, size).ok_or(Errno::NoAddress),
                Seek::Hole => Ok(content.next_hole(offset, size)),
            }
        })
    }

    /// copy_file_range(2): the new range shares the old one's bytes. Returns how many were copied, fewer at the end
    /// of the source. Cost: extents.
    pub fn copy_range(
        &self,
        who: &Caller,
        from: Ino,
        from_offset: u64,
        to: Ino,
        to_offset: u64,
        len: u64,
    ) -> Result<u64> {
        let drop_privileges = who.kill_privileges;
        self.editing(&[from, to], || {
            self.change_with(who, &[], |state, _| {
                state.must_be_editable(&self.base, from)?;
                state.must_be_editable(&self.base, to)?;
                state.must_see(&self.base, from)?;
                state.must_change(&self.base, to)?;
                let size = state.with(&self.base, from, |inode| Ok(inode.size))?;
                let len = len.min(size.saturating_sub(from_offset));
                if to_offset.checked_add(len).is_none_or(|end| end > FILE_BYTES_MAX) {
                    return Err(Errno::TooBig);
                }
                let is_forward = from_offset < to_offset.saturating_add(len);
                if from == to && is_forward && to_offset < from_offset + len {
                    return Err(Errno::Invalid);
                }
                state.must_have_copied(&self.base, (from, from_offset), (to, to_offset), len)?;
                let change = Change::Copy { from, from_offset, to, to_offset, len, drop_privileges };
                Ok(((len > 0).then_some(change), len))
            })
        })
    }

    fn put_data(&self, data: &[u8]) -> Result<Place> {
        self.shared.must_have_room()?;
        let place = self.log.put_data(data).map_err(|error| error.errno())?;
        self.grew(data.len());
        Ok(place)
    }
}

impl State {
    /// What rules say of a write.
    fn must_take_write(&self, base: &Base, ino: Ino, offset: u64, len: u64) -> Result<()> {
        self.must_change(base, ino)?;
        self.must_have_bytes(base, ino, offset, len)
    }

    /// What up to `size` bytes from `offset` are made of; fewer at the end of the file.
    pub(crate) fn pieces(&self, base: &Base, ino: Ino, offset: u64, size: usize) -> Result<Vec<Piece>> {
        self.with(base, ino, |inode| {
            let content = inode.content()?;
            let end = inode.size_here(base)?.min(offset.saturating_add(size as u64));
            Ok(if offset < end { content.pieces(offset, end) } else { Vec::new() })
        })
    }

    /// Where a symbolic link leads.
    pub(crate) fn target(&self, base: &Base, ino: Ino) -> Result<Target> {
        self.with(base, ino, |inode| match &inode.body {
            Body::Target(target) => Ok(target.clone()),
            _ => Err(Errno::Invalid),
        })
    }
}

impl Shared {
    /// Appends the bytes of all pieces to `out`, or none. Blocks on the source without a lock.
    pub(crate) fn read_pieces(&self, base: &Base, pieces: &[Piece], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let result = pieces.iter().try_for_each(|piece| self.read_piece(base, piece, out));
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// The bytes of a symbolic link's target.
    pub(crate) fn read_target(&self, base: &Base, target: &Target) -> Result<Vec<u8>> {
        match target {
            Target::Own(bytes) => Ok(bytes.to_vec()),
            Target::Base(ino) => self.base_content(base, *ino),
        }
    }

    fn read_piece(&self, base: &Base, piece: &Piece, out: &mut Vec<u8>) -> Result<()> {
        let len = usize::try_from(piece.len).map_err(|_| Errno::Io)?;
        let start = out.len();
        out.resize(start + len, 0);
        let Some(extent) = &piece.extent else { return Ok(()) };
        let buffer = &mut out[start..];
        match &extent.origin {
            Origin::Zero => Ok(()),
            Origin::Log(place) => self.read_log(*place, extent.skip, buffer),
            Origin::Base(ino) => self.read_base(base, *ino, extent.skip, buffer),
            Origin::Cas(hash) => self.read_cas(hash, extent.skip, buffer),
            Origin::Chunk(hash) => self.read_chunk(hash, extent.skip, buffer),
            Origin::Bytes(bytes) => {
                let start = usize::try_from(extent.skip).map_err(|_| Errno::Io)?;
                let part = bytes.get(start..).and_then(|bytes| bytes.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or(Errno::Io)?);
                Ok(())
            }
        }
    }
}
