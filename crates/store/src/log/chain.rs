//! The hash over all records of a log.
//!
//! Invariant: the hash depends on the records alone, not on where commits lie or when it was asked for. Records are
//! gathered before they are hashed, because many at once are hashed several times faster than one by one.

use super::format::SegmentHeader;

/// Bytes gathered at most.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// The chain of one segment, which begins with that of the segment before.
#[derive(Clone)]
pub(super) struct Chain {
    hasher: blake3::Hasher,
    pending: Vec<u8>,
}

impl Chain {
    pub(super) fn begin(header: &SegmentHeader) -> Self {
        Self { hasher: header.begin_chain(), pending: Vec::new() }
    }

    /// Begins the chain of the next segment.
    pub(super) fn begin_next(&mut self, header: &SegmentHeader) {
        self.hasher = header.begin_chain();
        self.pending.clear();
    }

    /// Adds the frame of a record, padding included.
    pub(super) fn add(&mut self, frame: &[u8]) {
        if self.pending.len() + frame.len() > PENDING_BYTES_MAX {
            self.hash_pending();
        }
        self.pending.extend_from_slice(frame);
    }

    /// The hash over everything added.
    pub(super) fn hash(&mut self) -> [u8; 32] {
        self.hash_pending();
        *self.hasher.finalize().as_bytes()
    }

    /// Keeps no more than `bytes` of memory for gathering.
    pub(super) fn rest(&mut self, bytes: usize) {
        self.hash_pending();
        self.pending.shrink_to(bytes);
    }

    fn hash_pending(&mut self) {
        self.hasher.update(&self.pending);
        self.pending.clear();
    }
}
