//! Which mounts are served over io_uring, too, and how that goes on in the next daemon.
//!
//! Invariant: no mount joins whose requests may wait for another mount of this daemon: the threads bound to CPUs serve all.
//! Read next: `weald_fuse::transport::uring`, [decision 0020](../../../docs/decisions/0020-io-uring.md).

use crate::hold::{HeldMount, Hold};
use crate::note;
use rustix::thread::CpuSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use weald_fuse::Rings;
use weald_fuse::transport::uring;

/// The rings of this daemon, if it is to have any: those of the daemon before, whose mounts are used to them, or new ones, if
/// the settings say so.
pub(crate) fn open(wanted: bool, hold: &Hold, mounts: &[(HeldMount, OwnedFd)]) -> Option<Arc<Rings>> {
    let invites = wanted && uring::is_enabled() == Some(true) && hold.is_supervised();
    let opened = match hold.take_rings() {
        Some(memory) => {
            let mounts = mounts.iter().map(|(mount, _)| mount.id()).collect();
            Rings::take_over(memory, &mounts, invites)
        }
        None if invites => Rings::new().inspect(|rings| hold.keep_rings(rings.memory())),
        None => return None,
    };
    let told = opened.inspect_err(|error| note(format_args!("mounts stay on /dev/fuse: io_uring: {error}")));
    told.ok().map(Arc::new)
}

/// Makes a request of a mount from each CPU.
pub(crate) fn nudge(path: &Path) {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return };
    for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)) {
        let mut one = CpuSet::new();
        one.set(cpu);
        if rustix::thread::sched_setaffinity(None, &one).is_ok() {
            // Its answer is of no interest.
            let _ = rustix::fs::statfs(path);
        }
    }
    let _ = rustix::thread::sched_setaffinity(None, &allowed);
}

/// Whether content of the repository at `path` may come from a mount of ours. Asks no mount.
pub(crate) fn may_come_from_a_mount(path: &Path) -> bool {
    let Ok(mounts) = weald_fuse::mount::table() else { return true };
    if mounts.iter().any(|mount| path.starts_with(&mount.path)) {
        return true;
    }
    let git_dir = match path.join(".git") {
        inner if inner.is_dir() => inner,
        // A file that names another place.
        inner if inner.exists() => return true,
        _ => path.to_owned(),
    };
    // Parts that are elsewhere: links, worktrees, and repositories that objects are borrowed from.
    let objects = git_dir.join("objects");
    let elsewhere = [git_dir.join("commondir"), objects.join("info/alternates")];
    elsewhere.iter().any(|file| file.exists()) || objects.is_symlink() || git_dir.is_symlink()
}
