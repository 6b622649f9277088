//! How an immutable file comes into being: written aside, made durable, renamed into place.
//!
//! Invariant: a name either is absent or names the whole file, at any crash. Read next: [`crate::cas`].

use crate::disk::{Disk, DiskFile, OpenMode};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Start of the names of files being written. What a crash left behind under such a name may be removed.
pub const TEMPORARY_PREFIX: &str = "tmp-";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Writes `bytes` as `dir/name`, replacing what is there, by way of a file in `aside` on the same file system.
/// Durable when it returns; on error nothing is at `name` that was not there before.
pub fn publish(disk: &dyn Disk, aside: &Path, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (temporary, file) = create_temporary(disk, aside)?;
    let written = file
        .write_at(&[bytes], 0)
        .and_then(|()| file.sync())
        .and_then(|()| disk.rename(&temporary, &dir.join(name)));
    if let Err(error) = written {
        // The first error is the one to tell; a file left behind is swept at the next start.
        let _ = disk.remove_file(&temporary);
        return Err(error);
    }
    disk.sync_dir(dir)
}

/// Removes what a crash left half written in `dir`. Only the owner of the home may call it, before others write.
pub fn sweep(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for name in disk.list(dir)? {
        if name.as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
            disk.remove_file(&dir.join(name))?;
        }
    }
    Ok(())
}

pub(crate) fn create_temporary(disk: &dyn Disk, dir: &Path) -> io::Result<(PathBuf, Arc<dyn DiskFile>)> {
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{TEMPORARY_PREFIX}{}-{number}", std::process::id()));
        match disk.open(&path, OpenMode::CreateNew) {
            Ok(file) => return Ok((path, file)),
            // Left by an earlier process of the same number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}
