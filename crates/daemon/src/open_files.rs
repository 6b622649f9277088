//! Telling the kernel the size of files that programs have open.
//!
//! The kernel appends (O_APPEND) where it last knew the end of a file, and does not ask again although its attributes
//! were invalidated. So after a restore every open file of the mount is asked for its attributes, which brings the new size.

use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::path::Path;

/// Has the kernel learn the attributes of each open file on `device` anew. Files of other users are seen by root only.
pub(crate) fn refresh(device: u64) {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered =
        processes.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()));
    for process in numbered {
        for file in std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            if is_on(&file.path(), device) {
                // Gone meanwhile, or a file that no longer is: nobody appends to it.
                let _ =
                    rustix::fs::statx(CWD, file.path(), AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
            }
        }
    }
}

/// Only cached attributes are asked for, so that mounts of others cannot hold this up.
fn is_on(link: &Path, device: u64) -> bool {
    let found = rustix::fs::statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::empty());
    found.is_ok_and(|stat| rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor) == device)
}
