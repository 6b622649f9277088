//! Objects: bytes under their hash. What a sealed snapshot is made of, and how it is kept.
//!
//! Invariant: an object is never larger than a chunk of the store; larger ones are kept as a list of their parts.
//! What is read is bounded, whatever the bytes.

use weald_model::Errno;
use weald_store::cas::Hash;
use weald_store::chunks::{CHUNK_BYTES_MAX, ChunkError};

/// First byte of a list of parts. Pages begin with their level, values and headers with other letters.
const PARTS: u8 = 0xff;
/// Largest object: what a page of a directory with a million ill-chosen names takes.
const OBJECT_BYTES_MAX: usize = 256 << 20;

/// Where objects are kept. The store of chunks, or memory when only a root is to be computed.
pub trait Objects {
    /// Keeps an object and tells its hash, BLAKE3.
    fn put(&self, bytes: &[u8]) -> Result<Hash, SealError>;

    /// Keeps a chunk of content. It is never asked for again while a snapshot is sealed.
    fn put_content(&self, bytes: &[u8]) -> Result<Hash, SealError> {
        self.put(bytes)
    }

    /// An object; its hash was checked.
    fn get(&self, hash: &Hash) -> Result<Vec<u8>, SealError>;
}

/// Why a snapshot could not be sealed, or a sealed one not be read.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The store of chunks.
    #[error(transparent)]
    Store(#[from] ChunkError),
    /// Content of the workspace, or its base, could not be read.
    #[error("content cannot be read: {0}")]
    Content(#[from] Errno),
    /// An object is not what its place says.
    #[error("object {hash} is not what it should be: {1}", hash = hex(.0))]
    Malformed(Hash, &'static str),
    /// It was told to stop.
    #[error("sealing was stopped")]
    Stopped,
}

impl SealError {
    /// What a program that asked for a file operation is told.
    pub fn errno(&self) -> Errno {
        match self {
            SealError::Store(error) => error.errno(),
            SealError::Content(errno) => *errno,
            SealError::Malformed(..) => Errno::Io,
            SealError::Stopped => Errno::Interrupted,
        }
    }
}

/// A hash in hexadecimal.
pub(crate) fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// Keeps an object of any size.
pub(crate) fn put(objects: &dyn Objects, bytes: &[u8]) -> Result<Hash, SealError> {
    if bytes.len() <= CHUNK_BYTES_MAX && bytes.first() != Some(&PARTS) {
        return objects.put(bytes);
    }
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(Errno::TooBig.into());
    }
    let mut list = vec![PARTS];
    for part in bytes.chunks(CHUNK_BYTES_MAX) {
        list.extend_from_slice(&objects.put(part)?);
    }
    objects.put(&list)
}

/// Reads an object of any size. `each` sees the hash of every part.
pub(crate) fn get(
    objects: &dyn Objects,
    hash: &Hash,
    each: &mut dyn FnMut(&Hash),
) -> Result<Vec<u8>, SealError> {
    each(hash);
    let first = objects.get(hash)?;
    if first.first() != Some(&PARTS) {
        return Ok(first);
    }
    let (parts, rest) = first[1..].as_chunks::<32>();
    if !rest.is_empty() || parts.len() > OBJECT_BYTES_MAX / CHUNK_BYTES_MAX {
        return Err(SealError::Malformed(*hash, "a list of parts"));
    }
    let mut bytes = Vec::new();
    for part in parts {
        each(part);
        bytes.extend_from_slice(&objects.get(part)?);
    }
    Ok(bytes)
}
