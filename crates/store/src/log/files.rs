//! The files of all logs: their names, and a bounded number kept open for reading.
//!
//! Invariant: at most `Limits::open_files` files are kept open here, whatever is read; files in use by a log that is
//! written come on top, two per log.

use super::format::Place;
use super::{Limits, LogError};
use crate::NOT_POISONED;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::sync::{Mutex, MutexGuard, RwLock};
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weald_model::WorkspaceId;

/// Start of the name of the directory of a log that is being removed.
const REMOVED_PREFIX: &str = "removed-";

pub(super) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) limits: Limits,
    open: Mutex<OpenFiles>,
    /// Logs of which the next fdatasync will make all durable that is not: this process wrote it, at least again.
    sure: Mutex<HashSet<WorkspaceId>>,
    /// Held while a log is cut, written again, or made durable by another one.
    mending: Mutex<()>,
    /// Shared while segments are walked over, exclusive (never waited for) while the first ones of a log go.
    pub(super) reading: RwLock<()>,
}

#[derive(Default)]
struct OpenFiles {
    by_file: HashMap<(WorkspaceId, u32), OpenFile>,
    /// Counts uses, to find the file unused for longest.
    uses: u64,
}

struct OpenFile {
    file: Arc<dyn DiskFile>,
    used: u64,
}

impl Files {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf, limits: Limits) -> Self {
        Self {
            disk,
            dir,
            limits,
            open: Mutex::default(),
            sure: Mutex::default(),
            mending: Mutex::default(),
            reading: RwLock::default(),
        }
    }

    pub(super) fn log_dir(&self, id: WorkspaceId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// The path of a file numbered as in [`Place::file`].
    pub(super) fn path(&self, id: WorkspaceId, file: u32) -> PathBuf {
        let kind = if file & Place::DATA == 0 { "log" } else { "data" };
        self.log_dir(id).join(format!("{kind}-{:08x}", file & !Place::DATA))
    }

    /// The files of a log, numbered as in [`Place::file`], in order.
    pub(super) fn numbers(&self, id: WorkspaceId) -> Result<Vec<u32>, LogError> {
        let dir = self.log_dir(id);
        let names = match self.disk.list(&dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LogError::Missing(id)),
            Err(error) => return Err(LogError::io("listing", &dir)(error)),
        };
        let mut numbers: Vec<u32> =
            names.iter().filter_map(|name| name.to_str()).filter_map(number_of).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn open(
        &self,
        id: WorkspaceId,
        file: u32,
        mode: OpenMode,
    ) -> Result<Arc<dyn DiskFile>, LogError> {
        let path = self.path(id, file);
        self.disk.open(&path, mode).map_err(LogError::io("opening", &path))
    }

    /// Opens for reading; `None` when there is no such file.
    pub(super) fn open_if_there(
        &self,
        id: WorkspaceId,
        file: u32,
    ) -> Result<Option<Arc<dyn DiskFile>>, LogError> {
        match self.open(id, file, OpenMode::Read) {
            Ok(file) => Ok(Some(file)),
            Err(LogError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A file open for reading, kept for the next reader.
    pub(super) fn cached(&self, id: WorkspaceId, file: u32) -> Result<Arc<dyn DiskFile>, LogError> {
        {
            let mut open = self.open.lock().expect(NOT_POISONED);
            open.uses += 1;
            let now = open.uses;
            if let Some(found) = open.by_file.get_mut(&(id, file)) {
                found.used = now;
                return Ok(found.file.clone());
            }
        }
        let opened = self.open(id, file, OpenMode::Read)?;
        let mut open = self.open.lock().expect(NOT_POISONED);
        if open.by_file.len() >= self.limits.open_files {
            let oldest = open.by_file.iter().min_by_key(|(_, file)| file.used).map(|(key, _)| *key);
            oldest.map(|key| open.by_file.remove(&key));
        }
        let used = open.uses;
        open.by_file.insert((id, file), OpenFile { file: opened.clone(), used });
        Ok(opened)
    }

    pub(super) fn mend(&self) -> MutexGuard<'_, ()> {
        self.mending.lock().expect(NOT_POISONED)
    }

    /// False for a log that this process has not written, and after a failed sync: pages may be lost that read as ever.
    pub(super) fn is_sure(&self, id: WorkspaceId) -> bool {
        self.sure.lock().expect(NOT_POISONED).contains(&id)
    }

    pub(super) fn set_sure(&self, id: WorkspaceId, is_sure: bool) {
        let mut sure = self.sure.lock().expect(NOT_POISONED);
        match is_sure {
            true => sure.insert(id),
            false => sure.remove(&id),
        };
    }

    /// fdatasync writes what is dirty in the page cache of a file, through whichever descriptor it came.
    pub(super) fn sync(&self, id: WorkspaceId) -> Result<(), LogError> {
        for number in self.numbers(id)? {
            if let Some(file) = self.open_if_there(id, number)? {
                file.sync().map_err(LogError::io("syncing", &self.path(id, number)))?;
            }
        }
        for dir in [&self.log_dir(id), &self.dir] {
            self.disk.sync_dir(dir).map_err(LogError::io("syncing", dir))?;
        }
        Ok(())
    }

    pub(super) fn forget(&self, id: WorkspaceId) {
        self.open.lock().expect(NOT_POISONED).by_file.retain(|(log, _), _| *log != id);
    }

    pub(super) fn remove(&self, id: WorkspaceId) -> Result<(), LogError> {
        self.forget(id);
        self.set_sure(id, false);
        let (from, to) = (self.log_dir(id), self.dir.join(format!("{REMOVED_PREFIX}{id}")));
        self.empty(&to)?;
        match self.disk.rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LogError::Missing(id)),
            Err(error) => return Err(LogError::io("renaming", &from)(error)),
        }
        // Durable before the first file goes: a log that is half there would look damaged.
        self.disk.sync_dir(&self.dir).map_err(LogError::io("syncing", &self.dir))?;
        self.empty(&to)
    }

    pub(super) fn sweep(&self) -> Result<(), LogError> {
        for name in self.disk.list(&self.dir).map_err(LogError::io("listing", &self.dir))? {
            if name.as_encoded_bytes().starts_with(REMOVED_PREFIX.as_bytes()) {
                self.empty(&self.dir.join(name))?;
            }
        }
        Ok(())
    }

    /// Removes a directory of files; none there is fine.
    pub(super) fn empty(&self, dir: &Path) -> Result<(), LogError> {
        let names = match self.disk.list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(LogError::io("listing", dir)(error)),
        };
        for name in names {
            let path = dir.join(name);
            self.disk.remove_file(&path).map_err(LogError::io("removing", &path))?;
        }
        self.disk.remove_dir(dir).map_err(LogError::io("removing", dir))
    }

    pub(super) fn bytes(&self, id: WorkspaceId) -> Result<u64, LogError> {
        let mut bytes = 0;
        for number in self.numbers(id)? {
            let file = self.open(id, number, OpenMode::Read)?;
            bytes += file.allocated_bytes().map_err(LogError::io("reading", &self.path(id, number)))?;
        }
        Ok(bytes)
    }

    pub(super) fn list(&self) -> Result<Vec<WorkspaceId>, LogError> {
        let names = self.disk.list(&self.dir).map_err(LogError::io("listing", &self.dir))?;
        let mut ids: Vec<WorkspaceId> =
            names.iter().filter_map(|name| name.to_str()).filter_map(WorkspaceId::from_hex).collect();
        ids.sort_unstable();
        Ok(ids)
    }
}

fn number_of(name: &str) -> Option<u32> {
    let (kind, number) = name.split_once('-')?;
    let number = u32::from_str_radix(number, 16).ok().filter(|number| number & Place::DATA == 0)?;
    match kind {
        "log" => Some(number),
        "data" => Some(number | Place::DATA),
        _ => None,
    }
}
