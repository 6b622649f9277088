//! Having the kernel hand over pages that programs changed through shared mappings.
//!
//! syncfs(2) starts their writing but does not wait for it on FUSE (Linux 6.18 and later: `wait_sb_inodes` passes
//! mappings without data integrity over). Two ways to wait: the connection's count of requests in flight falls to 0
//! (free when nobody writes), else fsync(2) of each file that is mapped shared and writable. Unmapped files have no
//! such pages: FUSE writes them, and waits, when a mapping goes.
//! Invariant: what was in a mapping before [`flush`] is in the engine after it.

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the count of requests in flight may stay above 0 before the mapped files are asked for by name.
const QUIET_PATIENCE: Duration = Duration::from_millis(20);
/// Pause between two looks at it.
const QUIET_PAUSE: Duration = Duration::from_micros(100);

/// Writes the changed pages of a mount and waits until the engine has them.
pub(crate) fn flush(path: &Path, device: u64) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) else { return };
    // A mount that does not answer has nothing that could be had.
    let _ = rustix::fs::syncfs(&fd);
    if !becomes_quiet(device) {
        sync_mapped_files(device);
    }
}

/// True when no request is in flight; false when that cannot be told or does not happen soon.
fn becomes_quiet(device: u64) -> bool {
    let Some(control) = control() else { return false };
    let count = format!("{}/waiting", rustix::fs::minor(device));
    let since = Instant::now();
    while since.elapsed() < QUIET_PATIENCE {
        match in_flight(control, &count) {
            Some(0) => return true,
            Some(_) => std::thread::sleep(QUIET_PAUSE),
            None => return false,
        }
    }
    false
}

fn in_flight(control: &OwnedFd, count: &str) -> Option<u64> {
    let fd = rustix::fs::openat(control, count, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 24];
    let length = rustix::io::read(fd, &mut text).ok()?;
    std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
}

/// The root of FUSE's control file system: a mount of our own that is in no file tree, else the host's.
fn control() -> Option<&'static OwnedFd> {
    static CONTROL: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let own = || {
        let fs = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
        fsconfig_create(&fs).ok()?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).ok()
    };
    let hosts = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open("/sys/fs/fuse/connections", flags, Mode::empty()).ok()
    };
    CONTROL.get_or_init(|| own().or_else(hosts)).as_ref()
}

/// Syncs every file on `device` that a process has mapped shared and writable.
fn sync_mapped_files(device: u64) {
    let wanted = format!("{:02x}:{:02x}", rustix::fs::major(device), rustix::fs::minor(device));
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in
        processes.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()))
    {
        let Ok(maps) = std::fs::read_to_string(process.path().join("maps")) else { continue };
        for mapping in maps.lines().filter_map(|line| shared_mapping(line, &wanted)) {
            let by_range = process.path().join("map_files").join(mapping.range);
            let by_path = process.path().join("root").join(mapping.path.trim_start_matches('/'));
            sync_one(&[by_range, by_path]);
        }
    }
}

/// Opens the first of these that can be, and syncs it.
fn sync_one(places: &[PathBuf]) {
    let open = |path: &PathBuf| {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()
    };
    if let Some(fd) = places.iter().find_map(open) {
        // An error is the program's own to see, at its next fsync.
        let _ = rustix::fs::fsync(&fd);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    range: &'a str,
    path: &'a str,
}

/// Reads a line of `/proc/PID/maps`: `range perms offset device inode path`.
fn shared_mapping<'a>(line: &'a str, device: &str) -> Option<Mapping<'a>> {
    let mut fields = line.splitn(6, ' ');
    let range = fields.next()?;
    let perms = fields.next()?.as_bytes();
    let on_device = fields.nth(1)? == device;
    let path = fields.nth(1)?.trim_start();
    (on_device && perms.get(1) == Some(&b'w') && perms.get(3) == Some(&b's'))
        .then_some(Mapping { range, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_writable_mappings_of_the_device_count() {
        let line = "7f00-7f10 rw-s 00000000 00:34 4294967301                 /m/w/a b";
        assert_eq!(shared_mapping(line, "00:34"), Some(Mapping { range: "7f00-7f10", path: "/m/w/a b" }));
        assert_eq!(shared_mapping(line, "00:35"), None);
        assert_eq!(shared_mapping(&line.replace("rw-s", "r--s"), "00:34"), None);
        assert_eq!(shared_mapping(&line.replace("rw-s", "rw-p"), "00:34"), None);
        assert_eq!(shared_mapping("rubbish", "00:34"), None);
    }
}
