//! Writes objects as one pack with its index (gitformat-pack(5), both version 2).
//!
//! Invariants: every object is checked against its id before it is packed; the index comes last, and git sees a pack only by
//! that, so a pack is wholly there or absent; a file left by a crash has a name that `git gc` removes. No deltas:
//! `git gc` of the repository makes them when it finds it worth the time.

use crate::ObjectFormat;
use crate::fault::detail;
use crate::hash::{Digest, from_gix, object_id};
use gix::ObjectId;
use gix::objs::Kind;
use gix::zlib::Compression;
use gix::zlib::stream::deflate;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use weald_model::{Code, Fault};

/// Offsets from here on stand in a table of their own.
const SMALL_OFFSETS: u64 = 1 << 31;
/// Threads that compress, at most.
const THREADS_MAX: usize = 4;

/// An object: its kind and content.
pub(crate) type Object = (Kind, Vec<u8>);

/// An object as it stands in a pack: header and compressed content.
pub(crate) struct Packed {
    pub(crate) id: ObjectId,
    bytes: Vec<u8>,
}

impl Packed {
    /// Compresses an object.
    pub(crate) fn new(id: ObjectId, kind: Kind, data: &[u8], level: Compression) -> Result<Self, Fault> {
        let header = match kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        let mut bytes = Vec::with_capacity(data.len() / 2 + 32);
        let mut rest = data.len() as u64;
        let mut byte = (header << 4) | (rest & 15) as u8;
        rest >>= 4;
        while rest > 0 {
            bytes.push(byte | 0x80);
            byte = (rest & 0x7F) as u8;
            rest >>= 7;
        }
        bytes.push(byte);
        let mut deflate = deflate::Write::new(bytes, level);
        deflate
            .write_all(data)
            .and_then(|()| deflate.flush())
            .map_err(|error| Fault::new(Code::Internal, format!("compressing: {}", detail(&error))))?;
        Ok(Self { id, bytes: deflate.into_inner() })
    }
}

/// Where a pack goes, and how.
#[derive(Clone, Copy)]
pub(crate) struct NewPack<'a> {
    /// The directory of objects.
    pub(crate) objects: &'a Path,
    pub(crate) format: ObjectFormat,
    pub(crate) level: Compression,
    /// Whether it is on the disk when this returns.
    pub(crate) durable: bool,
}

/// What is written so far.
struct Progress {
    file: BufWriter<File>,
    digest: Digest,
    offset: u64,
    lines: Vec<Line>,
}

/// One line of the index.
struct Line {
    id: ObjectId,
    crc: u32,
    offset: u64,
}

/// How many threads are worth it.
pub(crate) fn threads(objects: usize) -> usize {
    let there = std::thread::available_parallelism().map_or(1, |count| count.get());
    // A thread costs about as much as compressing a few files.
    there.min(THREADS_MAX).min(objects.div_ceil(16)).max(1)
}

impl NewPack<'_> {
    /// Writes objects, each of which is there once: those that are ready, and others that `readers` give, one for each
    /// thread.
    ///
    /// Errors: those of `readers`, `GitFailed` (an object that is not what its id says), `DiskFull`, `HostIo`.
    pub(crate) fn write<R>(&self, ready: &[Packed], ids: &[ObjectId], readers: Vec<R>) -> Result<(), Fault>
    where
        R: FnMut(&ObjectId) -> Result<Object, Fault> + Send,
    {
        let failed = |error: std::io::Error| Fault::host("writing a pack", &error);
        let dir = self.objects.join("pack");
        std::fs::create_dir_all(&dir).map_err(failed)?;
        let temporary = Temporary::new(&dir);
        let result = self.fill(ready, ids, readers, &temporary.0);
        let (digest, lines) = result?;
        let index = self.index(lines, digest.as_bytes());
        let named = |end: &str| dir.join(format!("pack-{digest}.{end}"));
        let index_file = Temporary::new(&dir);
        let written = (|| {
            let mut file = create(&index_file.0)?;
            file.write_all(&index)?;
            if self.durable {
                file.sync_data()?;
            }
            std::fs::rename(&temporary.0, named("pack"))?;
            std::fs::rename(&index_file.0, named("idx"))?;
            if self.durable {
                File::open(&dir)?.sync_all()?;
            }
            Ok(())
        })();
        written.map_err(failed)
    }

    fn fill<R>(
        &self,
        ready: &[Packed],
        ids: &[ObjectId],
        readers: Vec<R>,
        path: &Path,
    ) -> Result<(weald_model::Oid, Vec<Line>), Fault>
    where
        R: FnMut(&ObjectId) -> Result<Object, Fault> + Send,
    {
        let failed = |error: std::io::Error| Fault::host("writing a pack", &error);
        let count = u32::try_from(ready.len() + ids.len())
            .map_err(|_| Fault::new(Code::GitFailed, "too many objects for one pack"))?;
        let file = BufWriter::with_capacity(1 << 20, create(path).map_err(failed)?);
        let lines = Vec::with_capacity(ready.len() + ids.len());
        let progress = Mutex::new(Progress { file, digest: Digest::new(self.format), offset: 0, lines });
        let head = [b"PACK".as_slice(), &2_u32.to_be_bytes(), &count.to_be_bytes()].concat();
        lock(&progress).put(&head).map_err(failed)?;
        ready.iter().try_for_each(|object| lock(&progress).object(object)).map_err(failed)?;
        let next = AtomicUsize::new(0);
        let work = |mut read: R| -> Result<(), Fault> {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (kind, data) = read(id)?;
                let object = self.entry(id, kind, &data)?;
                lock(&progress).object(&object).map_err(failed)?;
            }
            Ok(())
        };
        let work = &work;
        std::thread::scope(|scope| {
            let running: Vec<_> = readers.into_iter().map(|read| scope.spawn(move || work(read))).collect();
            running.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let Progress { mut file, digest, lines, .. } =
            progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        let digest = digest.finish();
        file.write_all(digest.as_bytes()).map_err(failed)?;
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        if self.durable {
            file.sync_data().map_err(failed)?;
        }
        Ok((digest, lines))
    }

    /// An object, if it is what its id says.
    fn entry(&self, id: &ObjectId, kind: Kind, data: &[u8]) -> Result<Packed, Fault> {
        let oid = from_gix(id);
        if object_id(self.format, kind, data) != oid {
            let why = format!("the content of object {oid} does not match its id");
            return Err(Fault::new(Code::GitFailed, why).hint("git fsck"));
        }
        Packed::new(*id, kind, data, self.level)
    }

    fn index(&self, mut lines: Vec<Line>, pack: &[u8]) -> Vec<u8> {
        lines.sort_by_key(|line| line.id);
        let mut out = Vec::with_capacity(lines.len() * (self.format.oid_bytes() + 8) + 1100);
        out.extend_from_slice(b"\xfftOc");
        out.extend_from_slice(&2_u32.to_be_bytes());
        for first in 0..=255_u8 {
            let count = lines.partition_point(|line| line.id.as_bytes()[0] <= first) as u32;
            out.extend_from_slice(&count.to_be_bytes());
        }
        lines.iter().for_each(|line| out.extend_from_slice(line.id.as_bytes()));
        lines.iter().for_each(|line| out.extend_from_slice(&line.crc.to_be_bytes()));
        let mut large = Vec::new();
        for line in &lines {
            let small = match line.offset < SMALL_OFFSETS {
                true => line.offset as u32,
                false => {
                    large.extend_from_slice(&line.offset.to_be_bytes());
                    (SMALL_OFFSETS as u32) | (large.len() / 8 - 1) as u32
                }
            };
            out.extend_from_slice(&small.to_be_bytes());
        }
        out.append(&mut large);
        out.extend_from_slice(pack);
        let sum = self.format.hash(&[&out]);
        out.extend_from_slice(sum.as_bytes());
        out
    }
}

/// No object is read.
pub(crate) type NoReader = fn(&ObjectId) -> Result<Object, Fault>;

impl Progress {
    fn object(&mut self, object: &Packed) -> std::io::Result<()> {
        let (id, crc, offset) = (object.id, crc32fast::hash(&object.bytes), self.offset);
        self.lines.push(Line { id, crc, offset });
        self.put(&object.bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.digest.update(bytes);
        self.offset += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that goes when it is not renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn new(dir: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(dir.join(format!("tmp_pack_weald-{}-{number}", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Best effort, and not there any more when it was renamed.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    match std::fs::remove_file(path) {
        // Left by a process of the same number that was killed.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o444).open(path)
}

#[cfg(test)]
mod tests;
