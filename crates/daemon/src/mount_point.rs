//! Directories that workspaces are mounted on.
//!
//! Invariant: Weald mounts only on an empty directory that no mount covers, and removes only empty directories.

use std::io;
use std::path::{Path, PathBuf};
use weald_fuse::mount::{Entry, Identity};
use weald_model::{Code, Fault, WorkspaceId};

/// What the kernel's table shows of a workspace behind `weald:`. No name has an `@`, so the id can be found again.
pub(crate) fn identity(name: &str, id: WorkspaceId) -> String {
    format!("{name}@{id}")
}

/// The id in an identity.
pub(crate) fn identified(identity: &[u8]) -> Option<WorkspaceId> {
    let text = std::str::from_utf8(identity).ok()?;
    WorkspaceId::from_hex(text.rsplit_once('@')?.1)
}

/// Makes `path` ready to be mounted on.
pub(crate) fn prepare(path: &Path) -> Result<(), Fault> {
    let in_use = |why: &str| {
        Err(Fault::new(Code::MountPointBusy, format!("the mount point {} {why}", path.display()))
            .hint("choose another place with --at PATH"))
    };
    if !path.is_absolute() {
        return in_use("is not an absolute path");
    }
    if path.is_symlink() {
        return in_use("is a symbolic link");
    }
    if is_mounted_on(path) {
        return in_use("has something mounted on it");
    }
    std::fs::create_dir_all(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Fault::new(
            Code::MountPointBusy,
            format!("the mount point {} is a file, or below one", path.display()),
        )
        .hint("choose another place with --at PATH"),
        _ => refused(path, &error),
    })?;
    match std::fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
        Ok(false) => Ok(()),
        Ok(true) => in_use("is a directory with files in it"),
        Err(error) => Err(refused(path, &error)),
    }
}

/// A mount point has another mount id than the directory above it. Nothing mounted there is asked, so a dead mount
/// is found as well.
fn is_mounted_on(path: &Path) -> bool {
    let above = path.parent().map(Identity::of);
    match (Identity::of(path), above) {
        (Ok(own), Some(Ok(above))) => own.mount_id != above.mount_id,
        (Ok(_), None) => true,
        _ => false,
    }
}

fn refused(path: &Path, error: &io::Error) -> Fault {
    let fault = Fault::host(&format!("making the mount point {}", path.display()), error);
    // The home is fine; it is the mount root that cannot be written.
    let code = if fault.code == Code::HomeReadOnly { Code::NotAllowed } else { fault.code };
    Fault { code, ..fault }
        .hint("set WEALD_MOUNT to a directory you can write, or choose a place with --at PATH")
}

/// Removes a mount point that is not needed any more, if it is empty.
pub(crate) fn discard(path: &Path) {
    // Not empty, gone, or not ours to remove: all fine, since nothing of a workspace is in it.
    let _ = std::fs::remove_dir(path);
}

/// Takes away the mounts that a killed daemon of this home left. Returns those that could not be.
pub(crate) fn sweep(is_ours: impl Fn(WorkspaceId) -> bool) -> Vec<(PathBuf, Fault)> {
    let Ok(mut stale) = weald_fuse::mount::table() else { return Vec::new() };
    stale.retain(|entry| identified(&entry.name).is_some_and(&is_ours) && entry.is_stale());
    // The one on top first.
    stale
        .iter()
        .rev()
        .filter_map(|entry| take_away(entry).err().map(|fault| (entry.path.clone(), fault)))
        .collect()
}

fn take_away(entry: &Entry) -> Result<(), Fault> {
    entry.unmount().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_leads_back_to_its_id() {
        let id = WorkspaceId(0xa1);
        assert_eq!(identified(identity("fix-1", id).as_bytes()), Some(id));
        assert_eq!(identified(b"fix-1"), None);
        assert_eq!(identified(b"\xff@00"), None);
    }

    #[test]
    fn a_directory_with_files_and_a_file_are_no_mount_points() {
        let dir = std::env::temp_dir().join(format!("weald-point-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("full/x")).unwrap();
        std::fs::write(dir.join("file"), "").unwrap();
        std::os::unix::fs::symlink("full", dir.join("link")).unwrap();
        for name in ["full", "file", "file/below", "link"] {
            assert_eq!(prepare(&dir.join(name)).unwrap_err().code, Code::MountPointBusy, "{name}");
        }
        assert_eq!(prepare(Path::new("/proc")).unwrap_err().code, Code::MountPointBusy);
        prepare(&dir.join("new/deep")).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
