//! The bytes of one file of the crashing disk: what is seen, what is durable, and the changes between.
//!
//! Invariant: seen = durable + all changes in order. Bytes are kept in sparse, shared blocks, so a pre-zeroed
//! segment or a crash copy costs little.

use super::{BLOCK_BYTES, Fate};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Unit that a write is torn at, in bytes: the sector of a disk.
const SECTOR_BYTES: u64 = 512;

type Block = [u8; BLOCK_BYTES as usize];

/// Sparse bytes.
#[derive(Clone, Default)]
struct Bytes {
    blocks: BTreeMap<u64, Arc<Block>>,
    len: u64,
}

/// One change of a file.
#[derive(Clone)]
pub(super) enum DataOp {
    Write(u64, Box<[u8]>),
    SetLen(u64),
    /// Zeros from an offset, of a length.
    Allocate(u64, u64),
    /// A hole of whole blocks, likewise.
    Punch(u64, u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Pending,
    Synced,
    /// A sync that covered it failed: may be lost whatever is synced later.
    Doomed,
}

/// A change, the time of it, and what became of it.
type Change = (u64, DataOp, Durability);

/// A file.
#[derive(Clone, Default)]
pub(super) struct FileState {
    seen: Bytes,
    durable: Bytes,
    changes: Vec<Change>,
    /// Syncs that failed. Each descriptor opened before tells of them once, as on Linux.
    failed_syncs: u64,
}

impl FileState {
    pub(super) fn push(&mut self, clock: u64, op: DataOp) {
        self.seen.apply(&op);
        if let DataOp::Write(offset, bytes) = &op
            && self.failed_syncs > 0
        {
            self.dirty_again(*offset, *offset + bytes.len() as u64);
        }
        self.changes.push((clock, op, Durability::Pending));
    }

    pub(super) fn sync(&mut self) {
        self.settle(Durability::Synced);
        let leading = self.changes.iter().take_while(|change| change.2 == Durability::Synced).count();
        for (_, op, _) in self.changes.drain(..leading) {
            self.durable.apply(&op);
        }
    }

    pub(super) fn failed_syncs(&self) -> u64 {
        self.failed_syncs
    }

    /// A sync failed: each page that was dirty is lost by itself.
    pub(super) fn doom(&mut self) {
        self.failed_syncs += 1;
        let changes = std::mem::take(&mut self.changes);
        self.changes = changes.into_iter().flat_map(by_page).collect();
        self.settle(Durability::Doomed);
    }

    /// A write makes its whole pages dirty, so what a failed sync lost of them will be written after all.
    fn dirty_again(&mut self, from: u64, to: u64) {
        let pages = from / BLOCK_BYTES..to.div_ceil(BLOCK_BYTES);
        for (_, op, durability) in &mut self.changes {
            if let DataOp::Write(offset, _) = op
                && *durability == Durability::Doomed
                && pages.contains(&(*offset / BLOCK_BYTES))
            {
                *durability = Durability::Pending;
            }
        }
    }

    fn settle(&mut self, durability: Durability) {
        self.changes
            .iter_mut()
            .filter(|change| change.2 == Durability::Pending)
            .for_each(|change| change.2 = durability);
    }

    /// The file after a power cut.
    pub(super) fn crash(&self, fate: &Fate) -> FileState {
        let mut left = self.durable.clone();
        for (clock, op, durability) in &self.changes {
            match (*durability, fate.of(*clock)) {
                (Durability::Synced, _) | (_, 1) => left.apply(op),
                (_, 0) => left.apply_torn(op, fate.luck(*clock, 2)),
                _ => {}
            }
        }
        FileState { seen: left.clone(), durable: left, ..FileState::default() }
    }

    pub(super) fn damage(&mut self, offset: u64, mask: u8) {
        let mut byte = [0];
        self.seen.read(&mut byte, offset);
        for bytes in [&mut self.seen, &mut self.durable] {
            if offset < bytes.len {
                bytes.write(offset, &[byte[0] ^ mask]);
            }
        }
    }

    pub(super) fn read(&self, out: &mut [u8], offset: u64) -> usize {
        self.seen.read(out, offset)
    }

    pub(super) fn len(&self) -> u64 {
        self.seen.len
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        self.seen.blocks.len() as u64 * BLOCK_BYTES
    }

    /// How many of `len` bytes from `offset` can be stored when `free` bytes are left.
    pub(super) fn fitting(&self, offset: u64, len: u64, free: u64) -> u64 {
        let mut blocks_free = free / BLOCK_BYTES;
        for block in offset / BLOCK_BYTES..(offset + len).div_ceil(BLOCK_BYTES) {
            if self.seen.blocks.contains_key(&block) {
                continue;
            }
            if blocks_free == 0 {
                return (block * BLOCK_BYTES).saturating_sub(offset);
            }
            blocks_free -= 1;
        }
        len
    }
}

impl Bytes {
    fn apply(&mut self, op: &DataOp) {
        match op {
            DataOp::Write(offset, bytes) => self.write(*offset, bytes),
            DataOp::SetLen(len) => self.set_len(*len),
            DataOp::Allocate(offset, len) => self.allocate(*offset, *len),
            DataOp::Punch(offset, len) => {
                let blocks = *offset / BLOCK_BYTES..(*offset + *len) / BLOCK_BYTES;
                self.blocks.retain(|number, _| !blocks.contains(number));
            }
        }
    }

    /// Applies what a power cut left of a change: some first sectors, or any sectors with the new length.
    fn apply_torn(&mut self, op: &DataOp, luck: u64) {
        let DataOp::Write(offset, bytes) = op else {
            return;
        };
        let end = offset + bytes.len() as u64;
        let any_order = luck.is_multiple_of(2);
        if any_order {
            self.len = self.len.max(end);
        }
        let sectors = offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
        let kept_first = (luck >> 8) % (sectors.end - sectors.start).max(1);
        for sector in sectors.clone() {
            let kept = if any_order {
                crate::clock::mix(luck ^ sector).is_multiple_of(2)
            } else {
                sector - sectors.start < kept_first
            };
            if kept {
                let from = (sector * SECTOR_BYTES).max(*offset);
                let to = ((sector + 1) * SECTOR_BYTES).min(end);
                self.write(from, &bytes[(from - offset) as usize..(to - offset) as usize]);
            }
        }
    }

    fn write(&mut self, mut offset: u64, mut bytes: &[u8]) {
        self.len = self.len.max(offset + bytes.len() as u64);
        while !bytes.is_empty() {
            let start = (offset % BLOCK_BYTES) as usize;
            let count = bytes.len().min(BLOCK_BYTES as usize - start);
            let block = self.blocks.entry(offset / BLOCK_BYTES).or_insert_with(zeros);
            Arc::make_mut(block)[start..start + count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            offset += count as u64;
        }
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            drop(self.blocks.split_off(&len.div_ceil(BLOCK_BYTES)));
            if let Some(block) = self.blocks.get_mut(&(len / BLOCK_BYTES)) {
                Arc::make_mut(block)[(len % BLOCK_BYTES) as usize..].fill(0);
            }
        }
        self.len = len;
    }

    fn allocate(&mut self, offset: u64, len: u64) {
        let end = offset + len;
        self.len = self.len.max(end);
        let zeros = zeros();
        for number in offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) {
            let block = self.blocks.entry(number).or_insert_with(|| zeros.clone());
            let start = offset.saturating_sub(number * BLOCK_BYTES) as usize;
            let stop = (end - number * BLOCK_BYTES).min(BLOCK_BYTES) as usize;
            if (start, stop) == (0, BLOCK_BYTES as usize) {
                *block = zeros.clone();
            } else {
                Arc::make_mut(block)[start..stop].fill(0);
            }
        }
    }

    fn read(&self, out: &mut [u8], offset: u64) -> usize {
        let count = (self.len.saturating_sub(offset)).min(out.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let start = (at % BLOCK_BYTES) as usize;
            let len = (count - done).min(BLOCK_BYTES as usize - start);
            match self.blocks.get(&(at / BLOCK_BYTES)) {
                Some(block) => out[done..done + len].copy_from_slice(&block[start..start + len]),
                None => out[done..done + len].fill(0),
            }
            done += len;
        }
        count
    }
}

/// A pending write in parts that do not cross a page; any other change as it is.
fn by_page(change: Change) -> Vec<Change> {
    let (clock, DataOp::Write(mut offset, bytes), Durability::Pending) = change else {
        return vec![change];
    };
    let mut parts = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.len().min((BLOCK_BYTES - offset % BLOCK_BYTES) as usize));
        parts.push((clock, DataOp::Write(offset, part.into()), Durability::Pending));
        offset += part.len() as u64;
        rest = behind;
    }
    parts
}

fn zeros() -> Arc<Block> {
    Arc::new([0; BLOCK_BYTES as usize])
}
