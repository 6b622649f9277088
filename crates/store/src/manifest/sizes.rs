//! Sizes that were not known when a manifest was made, because the content was elsewhere: kept beside it as they
//! become known.
//!
//! Invariant: a size, once known, never changes. The file is a cache: entries that are not right are left out, and
//! without the file everything works, only slower. Nothing here is ever waited for on a disk but one append.

use super::format::NODES_MAX;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::log::format::{u32_at, u64_at};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use weald_model::{Ino, Oid};

/// First bytes of the file.
pub const MAGIC: [u8; 8] = *b"WEALDSZ\0";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Bytes of its header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 16;

/// Nodes whose sizes lie together in memory, which is taken when the first of them is known.
const NODES_PER_BLOCK: usize = 4096;

type Block = OnceLock<Box<[AtomicU64; NODES_PER_BLOCK]>>;

/// The sizes known so far of the nodes of one tree.
#[derive(Debug)]
pub(super) struct Sizes {
    tree: Oid,
    nodes: u64,
    /// Each is a size plus one; 0 is not known.
    blocks: Box<[Block]>,
    file: OnceLock<Option<Mutex<Tail>>>,
}

/// Where the next entry goes.
struct Tail {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Sizes {
    pub(super) fn new(tree: Oid, nodes: u64) -> Self {
        let blocks = (nodes.min(NODES_MAX) as usize).div_ceil(NODES_PER_BLOCK);
        Self { tree, nodes, blocks: (0..blocks).map(|_| Block::new()).collect(), file: OnceLock::new() }
    }

    pub(super) fn get(&self, ino: Ino) -> Option<u64> {
        let at = usize::try_from(ino.0.checked_sub(1)?).ok()?;
        let block = self.blocks.get(at / NODES_PER_BLOCK)?.get()?;
        block[at % NODES_PER_BLOCK].load(Ordering::Relaxed).checked_sub(1)
    }

    /// Adds sizes. True for a node says that it has one.
    pub(super) fn learn(&self, found: &[(Ino, u64)]) {
        let mut entries = Vec::new();
        for (ino, size) in found {
            if self.set(*ino, *size) {
                entries.extend_from_slice(&encode((ino.0 - 1) as u32, *size));
            }
        }
        if let Some(Some(tail)) = self.file.get()
            && !entries.is_empty()
        {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk costs a question to the source after the next start.
            if tail.file.write_at(&[&entries], tail.at).is_ok() {
                tail.at += entries.len() as u64;
            }
        }
    }

    /// True when it was not known before.
    fn set(&self, ino: Ino, size: u64) -> bool {
        if ino.0 == 0 || ino.0 > self.nodes || size == u64::MAX {
            return false;
        }
        let at = (ino.0 - 1) as usize;
        let block = self.blocks[at / NODES_PER_BLOCK].get_or_init(|| {
            let zeros: Vec<AtomicU64> = (0..NODES_PER_BLOCK).map(|_| AtomicU64::new(0)).collect();
            zeros.into_boxed_slice().try_into().expect("it has as many as were made")
        });
        let slot = &block[at % NODES_PER_BLOCK];
        slot.compare_exchange(0, size + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Takes the sizes in a file and keeps those to come there; the first call decides.
    pub(super) fn attach(&self, disk: &dyn Disk, path: &Path) {
        self.file.get_or_init(|| self.read(disk, path).ok().map(Mutex::new));
    }

    fn read(&self, disk: &dyn Disk, path: &Path) -> io::Result<Tail> {
        let header = self.header();
        let file = match disk.open(path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(path, OpenMode::CreateNew)?,
            opened => opened?,
        };
        let bytes_max = HEADER_BYTES + self.nodes as usize * ENTRY_BYTES;
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX).min(bytes_max);
        let mut bytes = vec![0; len];
        crate::disk::read_exact_at(&*file, &mut bytes, 0)?;
        if bytes.get(..HEADER_BYTES) != Some(&header[..]) {
            file.set_len(0)?;
            file.write_at(&[&header], 0)?;
            return Ok(Tail { file, at: HEADER_BYTES as u64 });
        }
        let entries = bytes[HEADER_BYTES..].chunks_exact(ENTRY_BYTES);
        let at = (HEADER_BYTES + entries.len() * ENTRY_BYTES) as u64;
        for (position, size) in entries.filter_map(decode) {
            self.set(Ino(u64::from(position) + 1), size);
        }
        Ok(Tail { file, at })
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let id = self.tree.as_bytes();
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(id.len() as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.nodes.to_le_bytes());
        bytes[24..24 + id.len()].copy_from_slice(id);
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

fn encode(position: u32, size: u64) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..4].copy_from_slice(&position.to_le_bytes());
    bytes[8..].copy_from_slice(&size.to_le_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u32, u64)> {
    let (position, size) = (u32_at(bytes, 0), u64_at(bytes, 8));
    (encode(position, size) == bytes).then_some((position, size))
}
