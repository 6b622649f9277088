//! Checking a whole manifest: the hash over its bytes, then everything the bytes say.
//!
//! Invariant: a manifest that passes could have been made by `build`.

use super::format::{Detail, Layout, RawNode, SIZE_UNKNOWN, TRAILER_BYTES};
use super::names::why_hostile;
use super::{Manifest, ManifestError};
use std::io;
use weald_model::{Ino, TreeKind};

/// What `build` would have counted so far.
#[derive(Default)]
struct Counted {
    files: u64,
    total_bytes: u64,
    unknown_sizes: u32,
    /// Position of the next child no directory has claimed yet.
    next_child: u64,
    /// Offset of the next name.
    next_name: u64,
}

/// Bytes that are hashed at a time.
const PIECE_BYTES: usize = 1 << 20;

impl Manifest {
    /// Hashes the file, which `read` reads at an offset.
    pub(crate) fn has_right_hash(
        &self,
        read: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> io::Result<bool> {
        let end = self.layout.trailer_at();
        let mut piece = vec![0; PIECE_BYTES.min(end)];
        let (mut hasher, mut done) = (blake3::Hasher::new(), 0);
        while done < end {
            let len = piece.len().min(end - done);
            let count = read(&mut piece[..len], done as u64)?;
            if count == 0 {
                return Ok(false);
            }
            hasher.update(&piece[..count]);
            done += count;
        }
        let mut trailer = [0; TRAILER_BYTES];
        let count = read(&mut trailer, end as u64)?;
        Ok(count == TRAILER_BYTES && hasher.finalize().as_bytes() == &trailer)
    }

    /// Recomputes everything from the bytes. Reads the whole file.
    pub fn verify(&self) -> Result<(), ManifestError> {
        let (content, trailer) = self.map.split_at(self.layout.trailer_at());
        if blake3::hash(content).as_bytes() != trailer {
            return Err(ManifestError::Damaged("its hash is wrong"));
        }
        let mut counted = Counted { next_child: 1, ..Counted::default() };
        for ino in 1..=self.layout.nodes {
            self.verify_node(Ino(ino), &mut counted)?;
        }
        let Layout { files, total_bytes, unknown_sizes, nodes, name_bytes, .. } = self.layout;
        let found = (counted.files, counted.total_bytes, counted.unknown_sizes);
        if (files, total_bytes, unknown_sizes) != found
            || (nodes, name_bytes) != (counted.next_child, counted.next_name)
        {
            return Err(ManifestError::Damaged("its header counts differ from its nodes"));
        }
        Ok(())
    }

    fn verify_node(&self, ino: Ino, counted: &mut Counted) -> Result<(), ManifestError> {
        let raw = self.raw(ino)?;
        let name = self.name_of(&raw)?;
        let is_named = if ino == Ino::ROOT { name.is_empty() } else { why_hostile(name, raw.kind).is_none() };
        if !is_named || u64::from(raw.name_at) != counted.next_name {
            return Err(ManifestError::Damaged("a node has no proper name"));
        }
        counted.next_name += u64::from(raw.name_len);
        match raw.detail {
            Detail::Children { first, count, subdirs } => {
                self.verify_children(ino, (first, count, subdirs), counted)?;
            }
            Detail::Size(size) => {
                let is_file = raw.kind != TreeKind::Gitlink;
                counted.files += u64::from(is_file);
                if size == SIZE_UNKNOWN {
                    counted.unknown_sizes = counted.unknown_sizes.wrapping_add(u32::from(is_file));
                } else {
                    counted.total_bytes = counted.total_bytes.saturating_add(size);
                }
            }
        }
        Ok(())
    }

    fn verify_children(
        &self,
        ino: Ino,
        (first, count, subdirs): (u32, u32, u32),
        counted: &mut Counted,
    ) -> Result<(), ManifestError> {
        if u64::from(first) != counted.next_child {
            return Err(ManifestError::Damaged("nodes are not in breadth-first order"));
        }
        counted.next_child += u64::from(count);
        let mut before: Option<RawNode> = None;
        let mut dirs = 0;
        for child in self.children(ino)? {
            let raw = self.raw(Ino(child))?;
            if u64::from(raw.parent) + 1 != ino.0 {
                return Err(ManifestError::Damaged("a child names another parent"));
            }
            if let Some(before) = before
                && self.name_of(&before)? >= self.name_of(&raw)?
            {
                return Err(ManifestError::Damaged("children are not in the order of their names"));
            }
            dirs += u32::from(matches!(raw.kind, TreeKind::Dir | TreeKind::Gitlink));
            before = Some(raw);
        }
        if dirs != subdirs {
            return Err(ManifestError::Damaged("a directory counts its directories wrongly"));
        }
        Ok(())
    }
}
