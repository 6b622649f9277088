//! Pins: `refs/weald/pins/<workspace id>` in the source repository keeps a workspace's base alive there, whatever
//! happens to the branches, even under `git gc --prune=now`. The only thing Weald ever writes into a source.
//!
//! The branches and tags a workspace was given matter too: it reads their objects from the source, and may have
//! merged them. They are kept by the pin's reflog, one entry each, dated so far ahead that no `git gc` expires it;
//! so the source shows one ref per workspace, and nothing in `git log --all`.
//!
//! Invariant: written as git writes a loose ref (lock file, rename), so git and Weald may do so at the same time.

use crate::Repository;
use crate::fault::detail;
use crate::repo::read_small;
use gix::refs::transaction::{Change, PreviousValue, RefEdit, RefLog};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use weald_model::{Code, Fault, Oid, WorkspaceId};

const DIR: &str = "refs/weald/pins";

/// How often a lock held by another process is tried again, and after how many milliseconds.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE_MS: u64 = 10;

/// Tips kept per workspace; more would make every `gc` of the source slow.
const KEPT_TIPS_MAX: usize = 10_000;

/// The date of reflog entries that must not expire: the year 2100.
const FAR_AHEAD: &str = "4102444800";

const HINT: &str =
    "a pin keeps the base from `git gc`: make the repository writable, or create from a clone of it";

/// The full name of a workspace's pin.
pub fn pin_name(workspace: WorkspaceId) -> String {
    format!("{DIR}/{workspace}")
}

/// Points the pin at a commit. Cheap to repeat: an equal pin is left alone.
///
/// Errors: `NotAllowed` when the source cannot be written, `HostIo` for anything else.
pub fn pin(source: &Repository, workspace: WorkspaceId, commit: &Oid) -> Result<(), Fault> {
    put(
        source,
        &source.common_dir().join(pin_name(workspace)),
        format!("{commit}\n").as_bytes(),
        Wait::Durable,
    )
}

/// Keeps `tips` alive with a pin that is there, in place of those kept before. Errors as of [`pin`].
pub fn keep(source: &Repository, workspace: WorkspaceId, commit: &Oid, tips: &[Oid]) -> Result<(), Fault> {
    put(source, &log_path(source, workspace), reflog(commit, tips).as_bytes(), Wait::Later)
}

fn log_path(source: &Repository, workspace: WorkspaceId) -> PathBuf {
    source.common_dir().join("logs").join(pin_name(workspace))
}

fn put(source: &Repository, path: &Path, content: &[u8], wait: Wait) -> Result<(), Fault> {
    if read_small(path).is_some_and(|there| there == content) {
        return Ok(());
    }
    write_locked(source.common_dir(), path, content, wait)
        .map_err(|error| refused(source.path(), "the base could not be pinned", &error).hint(HINT))
}

/// Entries as git writes them, from each kept object to the next, ending at the base.
fn reflog(commit: &Oid, tips: &[Oid]) -> String {
    let mut lines = String::new();
    let mut old = "0".repeat(commit.as_bytes().len() * 2);
    for new in tips.iter().take(KEPT_TIPS_MAX).chain([commit]) {
        lines.push_str(&format!(
            "{old} {new} Weald <weald@localhost> {FAR_AHEAD} +0000\tkept for a workspace\n"
        ));
        old = new.to_string();
    }
    lines
}

/// Removes the pin, loose or packed. No pin is no error.
pub fn unpin(source: &Repository, workspace: WorkspaceId) -> Result<(), Fault> {
    let failed = |why: String| {
        Fault::new(
            Code::GitFailed,
            format!("the pin in {} could not be removed: {why}", source.path().display()),
        )
    };
    let name = pin_name(workspace);
    let local = source.local();
    if local.try_find_reference(name.as_str()).ok().flatten().is_none() {
        return match std::fs::remove_file(log_path(source, workspace)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error.to_string())),
            _ => Ok(()),
        };
    }
    let edit = RefEdit {
        change: Change::Delete { expected: PreviousValue::Any, log: RefLog::AndReference },
        name: name.try_into().map_err(|error| failed(detail(&error)))?,
        deref: false,
    };
    local.edit_references_as([edit], None).map(drop).map_err(|error| failed(detail(&error)))
}

/// The workspaces that have a pin.
pub fn pins(source: &Repository) -> Vec<WorkspaceId> {
    let names = source.refs_below(&format!("{DIR}/"));
    names.iter().filter_map(|line| WorkspaceId::from_hex(std::str::from_utf8(&line.name).ok()?)).collect()
}

/// The commit a workspace's pin names.
pub fn pinned(source: &Repository, workspace: WorkspaceId) -> Option<Oid> {
    let local = source.local();
    let reference = local.try_find_reference(pin_name(workspace).as_str()).ok().flatten()?;
    reference.target().try_id().map(crate::hash::from_gix)
}

/// Whether a write waits for the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Yes: a ref that a power cut leaves empty breaks the source for git.
    Durable,
    /// No: an empty reflog does no harm, and only for seconds.
    Later,
}

pub(crate) fn write_locked(common: &Path, path: &Path, content: &[u8], wait: Wait) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        make_dirs(common, dir)?;
    }
    let lock = path.with_extension("lock");
    let mut file = take_lock(&lock)?;
    let written = file
        .write_all(content)
        .and_then(|()| if wait == Wait::Durable { file.sync_data() } else { Ok(()) })
        .and_then(|()| give_to_owner(common, &lock))
        .and_then(|()| std::fs::rename(&lock, path));
    if written.is_err() {
        // The lock is ours; left behind it would block this pin for ever. The first error is the one to tell.
        let _ = std::fs::remove_file(&lock);
    }
    written
}

fn make_dirs(common: &Path, dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() || dir == common {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dirs(common, parent)?;
    }
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => give_to_owner(common, dir),
    }
}

/// When root pins in somebody's repository, that somebody's `git gc` must be able to pack and remove the pin.
fn give_to_owner(common: &Path, path: &Path) -> std::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = std::fs::metadata(common)?;
    std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))
}

fn take_lock(lock: &Path) -> std::io::Result<std::fs::File> {
    let mut tries = 0;
    loop {
        tries += 1;
        match std::fs::OpenOptions::new().write(true).create_new(true).open(lock) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tries < LOCK_TRIES => {
                std::thread::sleep(std::time::Duration::from_millis(LOCK_PAUSE_MS));
            }
            result => return result,
        }
    }
}

pub(crate) fn refused(source: &Path, what: &str, error: &std::io::Error) -> Fault {
    let denied = matches!(error.raw_os_error(), Some(1 | 13 | 30));
    let code = if denied { Code::NotAllowed } else { Code::HostIo };
    Fault::new(code, format!("{what} in {}: {error}", source.display()))
}
