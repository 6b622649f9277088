//! A repository on disk, opened for reading: bare or not, linked worktree, or behind a `.git` file.
//!
//! Invariants: opening reads the repository's own configuration only (no includes, no environment, no user or
//! system files) and runs nothing it names; ownership is not questioned, since the user named the path; grafts by
//! `refs/replace` are ignored, since a workspace does not have them. Read [`crate::resolve`] and [`crate::refs`] next.

use crate::fault::{detail, quote};
use crate::hash::{ObjectFormat, from_gix, object_id, to_gix};
use gix::objs::{FindHeader as _, Kind};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use weald_model::{Code, Fault, Oid, SourceError};

/// Handles kept for reuse: more threads than this seldom read at once, and each holds a cache of pack entries.
const IDLE_HANDLES_MAX: usize = 8;

/// Largest `shallow` file and config value file read: 1,000,000 commits with 64 digits.
const SMALL_FILE_BYTES_MAX: u64 = 65_000_000;

/// Packs that may be there or come while a repository is open.
const PACKS_MIN: usize = 1024;

/// Longest chain of tags that name tags.
const TAG_CHAIN_MAX: u32 = 32;

/// Extensions of version 1 repositories Weald can live with (git-config(1), extensions.*).
const EXTENSIONS: [&str; 8] = [
    "noop",
    "noop-v1",
    "partialclone",
    "preciousobjects",
    "worktreeconfig",
    "objectformat",
    "relativeworktrees",
    "refstorage",
];

/// Who commits, as far as a repository's own configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `user.name`.
    pub name: Option<Vec<u8>>,
    /// `user.email`.
    pub email: Option<Vec<u8>>,
}

/// An open repository. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Repository {
    shared: Arc<Shared>,
}

struct Shared {
    git: gix::ThreadSafeRepository,
    idle: Mutex<Vec<gix::Repository>>,
    path: PathBuf,
    common: PathBuf,
    objects: PathBuf,
    format: ObjectFormat,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({})", self.shared.path.display())
    }
}

impl Repository {
    /// True when the path looks like a repository, even a damaged one: it has a `.git`, or it is a git directory
    /// itself. Lets a caller tell a plain directory from a repository that does not open.
    pub fn is_at(path: &Path) -> bool {
        path.join(".git").symlink_metadata().is_ok() || is_git_dir(path)
    }

    /// Opens the repository at `path`: its work tree, its git directory, or a bare one. Parents are not searched.
    ///
    /// Errors: `UnknownSource` (nothing there, or no repository), `UnsupportedSource` (reftable, unknown extensions).
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let path = std::fs::canonicalize(path).map_err(|error| {
            Fault::new(Code::UnknownSource, format!("{} cannot be opened: {error}", path.display()))
        })?;
        let git = open_isolated(&path).map_err(|error| {
            Fault::new(
                Code::UnknownSource,
                format!("no git repository at {}: {}", path.display(), detail(&error)),
            )
        })?;
        check_supported(&git, &path)?;
        let local = git.to_thread_local();
        let unknown = || unsupported(&path, "an object format this version does not know");
        let format = ObjectFormat::from_kind(local.object_hash()).ok_or_else(unknown)?;
        let host = |what: &Path| {
            let what = what.to_owned();
            move |error: std::io::Error| {
                Fault::new(Code::UnknownSource, format!("{}: {error}", what.display()))
            }
        };
        let common = std::fs::canonicalize(local.common_dir()).map_err(host(local.common_dir()))?;
        let objects = std::fs::canonicalize(common.join("objects")).map_err(host(&common))?;
        Ok(Self { shared: Arc::new(Shared { git, idle: Mutex::default(), path, common, objects, format }) })
    }

    /// The path it was opened at, absolute and without symlinks.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The directory with objects and refs, shared by all worktrees; absolute.
    pub fn common_dir(&self) -> &Path {
        &self.shared.common
    }

    /// What its objects are named by.
    pub fn format(&self) -> ObjectFormat {
        self.shared.format
    }

    /// Absolute paths of its object directory and of all alternates behind it, in the order git asks them.
    pub fn object_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.shared.objects.clone()];
        let alternates = self.shared.git.objects.alternate_db_paths().unwrap_or_default();
        for dir in alternates {
            match std::fs::canonicalize(&dir) {
                Ok(dir) if !dirs.contains(&dir) => dirs.push(dir),
                _ => {}
            }
        }
        dirs
    }

    /// The content of its `shallow` file: the commits whose parents it does not have. `None` for a full history.
    pub fn shallow(&self) -> Option<Vec<u8>> {
        read_small(&self.shared.common.join("shallow")).filter(|content| !content.is_empty())
    }

    /// The identity its own configuration sets.
    pub fn identity(&self) -> Identity {
        let local = self.local();
        let config = local.config_snapshot();
        let value = |key: &str| config.string(key).map(Vec::from);
        Identity { name: value("user.name"), email: value("user.email") }
    }

    /// True when what is missing from it is promised by its `origin`: it is a partial clone.
    pub fn is_partial(&self) -> bool {
        self.local().config_snapshot().boolean("remote.origin.promisor").unwrap_or(false)
    }

    /// Which of these objects are not here.
    pub fn missing(&self, ids: &[Oid]) -> Vec<Oid> {
        let absent = |git: &gix::Repository, ids: &[Oid]| -> Vec<Oid> {
            let format = self.format();
            let is_here = |oid: &Oid| {
                ObjectFormat::of(oid) == format && gix::objs::Exists::exists(&git.objects, &to_gix(oid))
            };
            ids.iter().filter(|oid| !is_here(oid)).copied().collect()
        };
        let mut git = self.local();
        git.objects.refresh_never();
        let missing = guarded(|| absent(&git, ids)).unwrap_or_else(|| ids.to_vec());
        if missing.is_empty() {
            return missing;
        }
        // The first look finds new packs, so that the others need none.
        let mut fresh = self.local();
        guarded(|| absent(&fresh, &missing[..1]));
        fresh.objects.refresh_never();
        guarded(|| absent(&fresh, &missing)).unwrap_or(missing)
    }

    /// What its own configuration sets of `core.autocrlf` and `core.eol`, without the `core`.
    pub(crate) fn line_ends(&self) -> Vec<(&'static str, Vec<u8>)> {
        let local = self.local();
        let config = local.config_snapshot();
        let value = |key: &'static str| Some((key, config.string(format!("core.{key}").as_str())?.to_vec()));
        ["autocrlf", "eol"].into_iter().filter_map(value).collect()
    }

    /// True when it has no work tree of its own.
    pub fn is_bare(&self) -> bool {
        self.shared.git.work_dir().is_none()
    }

    pub(crate) fn local(&self) -> gix::Repository {
        let mut local = self.shared.git.to_thread_local();
        local.objects.ignore_replacements = true;
        local
    }

    /// Runs `work` with a handle of this thread. No lock is held meanwhile. After a panic of gix (see [`guarded`])
    /// its handle is dropped.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&gix::Repository) -> T) -> Option<T> {
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let local = idle.unwrap_or_else(|| self.local());
        let result = guarded(|| work(&local))?;
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_HANDLES_MAX {
            idle.push(local);
        }
        Some(result)
    }

    /// Reads a whole object into `buffer`, checks kind and id.
    pub(crate) fn read_checked(&self, oid: &Oid, kind: Kind) -> Result<Vec<u8>, SourceError> {
        let damaged = |why: String| SourceError::Damaged(*oid, why);
        if ObjectFormat::of(oid) != self.shared.format {
            return Err(SourceError::Missing(*oid));
        }
        if kind == Kind::Tree && *oid == self.shared.format.empty_tree() {
            return Ok(Vec::new());
        }
        let read = self.with(|git| {
            let mut buffer = Vec::new();
            match gix::objs::Find::try_find(&git.objects, &to_gix(oid), &mut buffer) {
                Ok(Some(data)) => {
                    let kind = data.kind;
                    // A delta is unpacked beside its base, so up to several times the object may be allocated, and
                    // whoever keeps the object would keep that.
                    buffer.shrink_to_fit();
                    Ok(Some((kind, buffer)))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(detail(&error)),
            }
        });
        let (found, data) = match read {
            None => return Err(damaged("its pack is inconsistent".into())),
            Some(Err(why)) => return Err(damaged(why)),
            Some(Ok(None)) => return Err(SourceError::Missing(*oid)),
            Some(Ok(Some(found))) => found,
        };
        if found != kind {
            return Err(damaged(format!("it is a {found}, not a {kind}")));
        }
        if object_id(self.shared.format, kind, &data) != *oid {
            return Err(damaged("its content does not match its id".into()));
        }
        Ok(data)
    }

    /// Kind of an object, or `None` when it is missing or unreadable.
    pub(crate) fn kind_of(&self, git: &gix::Repository, oid: &Oid) -> Option<Kind> {
        guarded(|| git.objects.try_header(&to_gix(oid)).ok().flatten().map(|header| header.kind)).flatten()
    }

    /// Follows annotated tags to what they name.
    pub(crate) fn peel(&self, git: &gix::Repository, oid: Oid) -> Option<Oid> {
        let mut at = oid;
        // Tags of tags exist, endless chains do not.
        for _ in 0..TAG_CHAIN_MAX {
            if self.kind_of(git, &at)? != Kind::Tag {
                return Some(at);
            }
            let data = self.read_checked(&at, Kind::Tag).ok()?;
            at = from_gix(
                &gix::objs::TagRefIter::from_bytes(&data, self.shared.format.kind()).target_id().ok()?,
            );
        }
        None
    }
}

/// gix asserts on some damaged packs; such a panic ends here, as `None`.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
}

/// Opens with the repository's own configuration only, trusting it as the user who named it does.
pub(crate) fn open_isolated(path: &Path) -> gix::Result<gix::ThreadSafeRepository> {
    gix::open::Options::isolated()
        // A repository whose content is fetched bit by bit gets a pack each time.
        .object_store_slots(gix::odb::store::init::Slots::AsNeededByDiskState {
            multiplier: 1.1,
            minimum: PACKS_MIN,
        })
        .with(gix::sec::Trust::Full)
        // All sections count, whoever owns the files: only harmless keys are ever read.
        .filter_config_section(|_| true)
        .open(path)
}

pub(crate) fn is_git_dir(path: &Path) -> bool {
    path.join("HEAD").symlink_metadata().is_ok()
        && path.join("objects").is_dir()
        && path.join("refs").is_dir()
}

fn unsupported(path: &Path, what: &str) -> Fault {
    Fault::new(Code::UnsupportedSource, format!("the repository {} uses {what}", path.display()))
        .hint(format!("make a plain copy: git clone --bare {} COPY.git", quote(path)))
}

fn check_supported(git: &gix::ThreadSafeRepository, path: &Path) -> Result<(), Fault> {
    let local = git.to_thread_local();
    let config = local.config_snapshot();
    let version = config.integer("core.repositoryformatversion").unwrap_or(0);
    if version > 1 {
        return Err(unsupported(path, &format!("repository format {version}")));
    }
    if let Some(storage) = ref_storage(&local) {
        return Err(unsupported(path, &format!("the ref storage `{storage}`")));
    }
    if version == 0 {
        return Ok(());
    }
    for section in config.plumbing().sections_by_name("extensions").into_iter().flatten() {
        for key in section.value_names() {
            if !EXTENSIONS.contains(&key.to_ascii_lowercase().as_str()) {
                return Err(unsupported(path, &format!("the extension `{key}`")));
            }
        }
    }
    Ok(())
}

/// The way a repository keeps its refs when it is not the one with a file for each (git-config(1), extensions.refStorage).
pub(crate) fn ref_storage(git: &gix::Repository) -> Option<String> {
    let storage = git.config_snapshot().string("extensions.refstorage")?;
    (!storage.eq_ignore_ascii_case(b"files")).then(|| storage.to_string())
}

/// Reads a small regular file whole; anything else (missing, a FIFO, too large) is `None`. Never blocks on a FIFO.
pub(crate) fn read_small(path: &Path) -> Option<Vec<u8>> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblock).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut content = Vec::new();
    file.take(SMALL_FILE_BYTES_MAX + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= SMALL_FILE_BYTES_MAX).then_some(content)
}

/// The bytes of a path.
pub(crate) fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
