//! Immutable files by the BLAKE3 hash of their content.
//!
//! Invariant: a file under a hash has that content; the hash is checked when a file is first read, and a file that
//! fails is never served. Read next: [`crate::publish`], how a file is written.

use crate::NOT_POISONED;
use crate::disk::{Disk, DiskFile, OpenMode, read_exact_at};
use crate::publish::publish;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use weald_model::Errno;

/// Files kept open after their hash was checked; beyond it all are dropped, for only few are in use at a time.
const OPEN_FILES_MAX: usize = 64;

/// Bytes read at a time while a hash is checked.
const WINDOW_BYTES: usize = 256 << 10;

/// The name of content: its BLAKE3 hash.
pub type Hash = [u8; 32];

/// Why content cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CasError {
    /// The host refused a read or write.
    #[error("content {}: {error}", hex(hash))]
    Io {
        /// The content.
        hash: Hash,
        /// What the host said.
        error: io::Error,
    },
    /// There is no such content.
    #[error("content {} is missing", hex(.0))]
    Missing(Hash),
    /// The file under the hash has another content.
    #[error("content {} is damaged", hex(.0))]
    Damaged(Hash),
}

impl CasError {
    /// What a program that asked for a file operation is told.
    pub fn errno(&self) -> Errno {
        match self {
            CasError::Io { error, .. } => Errno::from_host(error),
            CasError::Missing(_) | CasError::Damaged(_) => Errno::Io,
        }
    }
}

/// The 64 hexadecimal digits of a hash.
pub fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// Parses 64 hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Hash> {
    blake3::Hash::from_hex(text).ok().map(|hash| *hash.as_bytes())
}

/// The hash of bytes.
pub fn hash(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// The store of content. All methods may be called from many threads.
pub struct Cas {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    checked: Mutex<HashMap<Hash, Checked>>,
    /// Content whose name this process made durable.
    named: Mutex<HashSet<Hash>>,
}

/// A file whose hash was found right.
#[derive(Clone)]
struct Checked {
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl Cas {
    /// Takes the directory, which must exist.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, checked: Mutex::default(), named: Mutex::default() }
    }

    /// Keeps bytes under their hash. Durable when it returns. Costs one hash when they are there already, and the first time
    /// in a process a sync of directories.
    pub fn put(&self, bytes: &[u8]) -> Result<Hash, CasError> {
        let hash = *blake3::hash(bytes).as_bytes();
        // A damaged file is written anew: its right bytes are at hand.
        match self.checked(&hash) {
            Ok(_) => {
                self.make_name_durable(&hash).map_err(|error| CasError::Io { hash, error })?;
                return Ok(hash);
            }
            Err(CasError::Missing(_) | CasError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
        let (dir, name) = self.place(&hash);
        self.disk
            .make_dir(&dir)
            .and_then(|()| publish(&*self.disk, &self.dir, &dir, &name, bytes))
            .and_then(|()| self.disk.sync_dir(&self.dir))
            .map_err(|error| CasError::Io { hash, error })?;
        self.named.lock().expect(NOT_POISONED).insert(hash);
        Ok(hash)
    }

    /// Who put it first may have ended between the rename, which is there to see, and the sync of its directory. The content
    /// itself was durable before it got its name.
    fn make_name_durable(&self, hash: &Hash) -> io::Result<()> {
        if self.named.lock().expect(NOT_POISONED).contains(hash) {
            return Ok(());
        }
        self.disk.sync_dir(&self.place(hash).0)?;
        self.disk.sync_dir(&self.dir)?;
        self.named.lock().expect(NOT_POISONED).insert(*hash);
        Ok(())
    }

    /// Reads up to `buf.len()` bytes at `offset` and returns how many there were.
    pub fn read(&self, hash: &Hash, offset: u64, buf: &mut [u8]) -> Result<usize, CasError> {
        let checked = self.checked(hash)?;
        checked.file.read_at(buf, offset).map_err(|error| CasError::Io { hash: *hash, error })
    }

    /// Length in bytes.
    pub fn len(&self, hash: &Hash) -> Result<u64, CasError> {
        Ok(self.checked(hash)?.len)
    }

    /// Reads everything.
    pub fn get_all(&self, hash: &Hash) -> Result<Vec<u8>, CasError> {
        let checked = self.checked(hash)?;
        let mut bytes = vec![0; checked.len as usize];
        read_exact_at(&*checked.file, &mut bytes, 0).map_err(|error| CasError::Io { hash: *hash, error })?;
        if blake3::hash(&bytes).as_bytes() != hash {
            return Err(CasError::Damaged(*hash));
        }
        Ok(bytes)
    }

    /// Reads all of the content from the disk, whatever was found before, and returns its length.
    pub fn verify(&self, hash: &Hash) -> Result<u64, CasError> {
        let file = self.open(hash)?;
        let (len, found) = hash_file(&*file).map_err(|error| CasError::Io { hash: *hash, error })?;
        if found == *hash { Ok(len) } else { Err(CasError::Damaged(*hash)) }
    }

    /// Writes content anew that is damaged or missing; `bytes` must have the hash. Who reads the old file just now may
    /// see its damage to the end. Durable when it returns.
    pub fn heal(&self, hash: &Hash, bytes: &[u8]) -> Result<(), CasError> {
        if blake3::hash(bytes).as_bytes() != hash {
            return Err(CasError::Damaged(*hash));
        }
        // What was found right before may be what is damaged now.
        self.checked.lock().expect(NOT_POISONED).remove(hash);
        self.put(bytes).map(drop)
    }

    /// All content there is, and files whose names are no hashes. Cost: one listing for each first byte in use.
    pub fn list(&self) -> io::Result<(Vec<Hash>, Vec<PathBuf>)> {
        let (mut hashes, mut strange) = (Vec::new(), Vec::new());
        for name in self.disk.list(&self.dir)? {
            if name.as_encoded_bytes().starts_with(b"tmp-") {
                continue;
            }
            let dir = self.dir.join(&name);
            for file in self.disk.list(&dir)? {
                match file.to_str().and_then(from_hex).filter(|hash| self.path(hash) == dir.join(&file)) {
                    Some(hash) => hashes.push(hash),
                    None => strange.push(dir.join(file)),
                }
            }
        }
        hashes.sort_unstable();
        Ok((hashes, strange))
    }

    /// Where content is, or would be.
    pub fn path(&self, hash: &Hash) -> PathBuf {
        let (dir, name) = self.place(hash);
        dir.join(name)
    }

    /// Whether the content is there and right.
    pub fn has(&self, hash: &Hash) -> Result<bool, CasError> {
        match self.checked(hash) {
            Ok(_) => Ok(true),
            Err(CasError::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes content; none there is fine. Who reads it just now may still do so to the end.
    pub fn remove(&self, hash: &Hash) -> Result<(), CasError> {
        let (dir, name) = self.place(hash);
        let removed = self.disk.remove_file(&dir.join(name));
        self.checked.lock().expect(NOT_POISONED).remove(hash);
        self.named.lock().expect(NOT_POISONED).remove(hash);
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CasError::Io { hash: *hash, error }),
            _ => Ok(()),
        }
    }

    fn place(&self, hash: &Hash) -> (PathBuf, String) {
        let name = hex(hash);
        (self.dir.join(&name[..2]), name)
    }

    fn open(&self, hash: &Hash) -> Result<Arc<dyn DiskFile>, CasError> {
        match self.disk.open(&self.path(hash), OpenMode::Read) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CasError::Missing(*hash)),
            Err(error) => Err(CasError::Io { hash: *hash, error }),
        }
    }

    fn checked(&self, hash: &Hash) -> Result<Checked, CasError> {
        if let Some(checked) = self.checked.lock().expect(NOT_POISONED).get(hash) {
            return Ok(checked.clone());
        }
        let file = self.open(hash)?;
        let (len, found) = hash_file(&*file).map_err(|error| CasError::Io { hash: *hash, error })?;
        if found != *hash {
            return Err(CasError::Damaged(*hash));
        }
        let checked = Checked { file, len };
        let mut all = self.checked.lock().expect(NOT_POISONED);
        if all.len() >= OPEN_FILES_MAX {
            all.clear();
        }
        all.insert(*hash, checked.clone());
        Ok(checked)
    }
}

fn hash_file(file: &dyn DiskFile) -> io::Result<(u64, Hash)> {
    let mut hasher = blake3::Hasher::new();
    let mut window = vec![0; WINDOW_BYTES];
    let mut len = 0;
    loop {
        let count = file.read_at(&mut window, len)?;
        if count == 0 {
            return Ok((len, *hasher.finalize().as_bytes()));
        }
        hasher.update(&window[..count]);
        len += count as u64;
    }
}

#[cfg(test)]
mod tests;
