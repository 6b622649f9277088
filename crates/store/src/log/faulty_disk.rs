//! A small disk in memory for the tests of the log: it fills up, fails to sync, and forgets what was not synced.
//!
//! Invariant: what was synced survives `crash`; of the rest nothing does. The disk that tears in every way there is
//! lives in the test kit.

use crate::disk::{Disk, DiskFile, Map, OpenMode, Space};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes the next successful sync makes durable: a failed sync empties it, as Linux drops the pages.
    dirty: bool,
    reads: u64,
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    room: Option<usize>,
    fails_syncs: bool,
}

#[derive(Default)]
pub(in crate::log) struct FaultyDisk {
    state: Arc<Mutex<State>>,
    handles: Arc<()>,
}

struct FaultyFile {
    content: Arc<Mutex<Content>>,
    state: Arc<Mutex<State>>,
    _handle: Arc<()>,
}

impl FaultyDisk {
    /// Bytes that may still be written; `None` is no bound.
    pub(in crate::log) fn set_room(&self, room: Option<usize>) {
        self.state.lock().unwrap().room = room;
    }

    pub(in crate::log) fn fail_syncs(&self, fails: bool) {
        self.state.lock().unwrap().fails_syncs = fails;
    }

    pub(in crate::log) fn open_files(&self) -> usize {
        Arc::strong_count(&self.handles) - 1
    }

    /// Forgets everything that was not synced. Names survive.
    pub(in crate::log) fn crash(&self) {
        for content in self.state.lock().unwrap().files.values() {
            let mut content = content.lock().unwrap();
            content.now = content.durable.clone();
        }
    }

    /// Changes the bytes of a file, durably.
    pub(in crate::log) fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let content = self.state.lock().unwrap().files[Path::new(path)].clone();
        let mut content = content.lock().unwrap();
        change(&mut content.now);
        content.durable = content.now.clone();
    }

    /// How often files were read from.
    pub(in crate::log) fn reads(&self) -> u64 {
        self.state.lock().unwrap().files.values().map(|content| content.lock().unwrap().reads).sum()
    }

    pub(in crate::log) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.state.lock().unwrap().files[path].lock().unwrap().now.clone()
    }
}

impl Disk for FaultyDisk {
    fn make_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock().unwrap();
        let content = match (state.files.get(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(io::ErrorKind::NotFound.into()),
            (Some(content), _) => content.clone(),
            (None, OpenMode::CreateNew) => state.files.entry(path.to_owned()).or_default().clone(),
        };
        Ok(Arc::new(FaultyFile { content, state: self.state.clone(), _handle: self.handles.clone() }))
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        Ok(Map::from_bytes(self.bytes(path)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let moved = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), moved);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let removed = self.state.lock().unwrap().files.remove(path);
        removed.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let state = self.state.lock().unwrap();
        let inside = state.files.keys().filter(|file| file.parent() == Some(path));
        let names: Vec<OsString> = inside.filter_map(|file| file.file_name()).map(Into::into).collect();
        if names.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(names) }
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        Ok(Space::default())
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut content = self.content.lock().unwrap();
        content.reads += 1;
        let rest = content.now.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut bytes = parts.concat();
        let mut state = self.state.lock().unwrap();
        let wanted = bytes.len();
        if let Some(room) = &mut state.room {
            bytes.truncate(*room);
            *room -= bytes.len();
        }
        let mut content = self.content.lock().unwrap();
        let end = offset as usize + bytes.len();
        if content.now.len() < end {
            content.now.resize(end, 0);
        }
        content.now[offset as usize..end].copy_from_slice(&bytes);
        content.dirty = true;
        if bytes.len() < wanted { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.content.lock().unwrap();
        content.now.resize(len as usize, 0);
        content.dirty = true;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let fails = self.state.lock().unwrap().fails_syncs;
        let mut content = self.content.lock().unwrap();
        if fails {
            content.dirty = false;
            return Err(io::Error::from_raw_os_error(5));
        }
        if content.dirty {
            content.durable = content.now.clone();
            content.dirty = false;
        }
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_at(&[&vec![0; len as usize]], offset)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.allocate(offset, len)
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        self.len()
    }
}
