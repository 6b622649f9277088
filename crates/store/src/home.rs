//! Weald's home: the directory that holds everything, and the lock that gives it to one daemon.
//!
//! Invariant: while a [`Home`] lives, no other process has one for the same directory; every file and directory in
//! it is for its owner alone (0600, 0700). Read next: [`Paths`], the layout; docs/format.md.

use crate::cas::Cas;
use crate::chunks::Chunks;
use crate::content_packs::ContentPacks;
use crate::disk::{Disk, HostDisk, Map, OpenMode};
use crate::log::{LogError, Logs};
use crate::manifest::{Manifest, ManifestError};
use crate::publish::{publish, sweep};
use crate::registry::{Registry, RegistryError};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weald_model::Oid;

/// What the file `format` says: the version of the layout.
const FORMAT: &[u8] = b"weald 1\n";

/// End of the name of a file of sizes, behind the tree.
pub const SIZES_SUFFIX: &str = ".sizes";

/// Why a home cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another process has it.
    #[error("{} is in use by process {pid}", path.display())]
    Locked {
        /// The home.
        path: PathBuf,
        /// The process that has it; 0 when it did not say.
        pid: u32,
    },
    /// It cannot be written.
    #[error("{} cannot be written: {error}", path.display())]
    ReadOnly {
        /// The home or the file in it.
        path: PathBuf,
        /// What the host said.
        error: io::Error,
    },
    /// It belongs to another user.
    #[error("{} belongs to user {owner}", path.display())]
    Foreign {
        /// The home.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Another version of Weald made it.
    #[error("{} has the format `{found}`, which this weald does not know", path.display())]
    Format {
        /// The home.
        path: PathBuf,
        /// What its file `format` says.
        found: String,
    },
    /// The host refused something else.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the host said.
        error: io::Error,
    },
    /// The registry cannot be opened.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What is left of removed logs cannot be removed.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why a manifest in the home cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HomeManifestError {
    /// The host refused a read or write.
    #[error("the manifest {path}: {error}")]
    Io {
        /// Its file.
        path: PathBuf,
        /// What the host said.
        error: io::Error,
    },
    /// Its bytes are not right.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Where everything is in a home. Touches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Takes the home directory, absolute.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The home itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("weald.sock")
    }

    /// The file whose lock gives the home to a daemon.
    pub fn lock(&self) -> PathBuf {
        self.root.join("daemon.lock")
    }

    /// What the daemon has to say.
    pub fn daemon_log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// The registry's database.
    pub fn registry(&self) -> PathBuf {
        self.root.join("registry.db")
    }

    /// Repositories that Weald cloned.
    pub fn repos(&self) -> PathBuf {
        self.root.join("repos")
    }

    /// Manifests by tree.
    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// The sizes that were learnt since the manifest of a tree was made.
    pub fn sizes(&self, tree: &Oid) -> PathBuf {
        self.manifests().join(format!("{tree}{SIZES_SUFFIX}"))
    }

    /// The manifest of a tree.
    pub fn manifest(&self, tree: &Oid) -> PathBuf {
        self.manifests().join(manifest_name(tree))
    }

    /// Content by hash.
    pub fn cas(&self) -> PathBuf {
        self.root.join("cas")
    }

    /// Packs of content of sources.
    pub fn content(&self) -> PathBuf {
        self.root.join("content")
    }

    /// Packs of what snapshots are sealed into.
    pub fn chunks(&self) -> PathBuf {
        self.root.join("chunks")
    }

    /// A directory for the log of each workspace.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    fn format(&self) -> PathBuf {
        self.root.join("format")
    }
}

/// A home that this process owns.
pub struct Home {
    paths: Paths,
    disk: Arc<dyn Disk>,
    logs: Logs,
    cas: Cas,
    chunks: Arc<Chunks>,
    content: Arc<ContentPacks>,
    registry: Registry,
    /// Closing it gives the home free.
    _lock: OwnedFd,
}

impl Home {
    /// Takes a home for this process, making what is absent in it, and its parents.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        let paths = Paths::new(root);
        make_root(root)?;
        let lock = take_lock(&paths)?;
        let disk: Arc<dyn Disk> = Arc::new(HostDisk::new(root));
        for dir in
            [paths.repos(), paths.manifests(), paths.cas(), paths.chunks(), paths.content(), paths.logs()]
        {
            disk.make_dir(&dir).map_err(|error| refused(&dir, error))?;
        }
        check_format(&*disk, &paths)?;
        for dir in [paths.manifests(), paths.cas(), paths.chunks(), paths.content(), paths.logs()] {
            sweep(&*disk, &dir).map_err(|error| refused(&dir, error))?;
        }
        sweep_sizes(&*disk, &paths).map_err(|error| refused(&paths.manifests(), error))?;
        disk.sync_dir(root).map_err(|error| refused(root, error))?;
        make_private(&*disk, &paths.registry())?;
        let registry = Registry::open_or_mend(&paths.registry())?;
        let logs = Logs::new(disk.clone(), paths.logs());
        logs.sweep()?;
        let cas = Cas::new(disk.clone(), paths.cas());
        let chunks = Arc::new(Chunks::new(disk.clone(), paths.chunks()));
        let content = Arc::new(ContentPacks::new(disk.clone(), paths.content()));
        Ok(Self { paths, disk, logs, cas, chunks, content, registry, _lock: lock })
    }

    /// Where everything is.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The disk it is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The logs.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The content store.
    pub fn cas(&self) -> &Cas {
        &self.cas
    }

    /// What snapshots are sealed into.
    pub fn chunks(&self) -> &Arc<Chunks> {
        &self.chunks
    }

    /// What was copied from sources, to be read in the order of paths.
    pub fn content(&self) -> &Arc<ContentPacks> {
        &self.content
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The manifest of a tree, when it was built before. O(1) in the size of the tree.
    pub fn manifest(&self, tree: &Oid) -> Result<Option<Manifest>, HomeManifestError> {
        let path = self.paths.manifest(tree);
        match self.disk.map(&path) {
            Ok(map) => Ok(Some(opened(map, tree)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(HomeManifestError::Io { path, error }),
        }
    }

    /// The manifest of a tree, whose hash is right: it was read whole, though not through the map, which would keep it in memory.
    pub fn checked_manifest(&self, tree: &Oid) -> Result<Option<Manifest>, HomeManifestError> {
        let Some(manifest) = self.manifest(tree)? else { return Ok(None) };
        let path = self.paths.manifest(tree);
        let io = |error| HomeManifestError::Io { path: path.clone(), error };
        let file = self.disk.open(&path, OpenMode::Read).map_err(io)?;
        let is_right = manifest.has_right_hash(&mut |out, offset| file.read_at(out, offset)).map_err(io)?;
        let damaged = ManifestError::Damaged("its hash is wrong");
        if is_right { Ok(Some(manifest)) } else { Err(damaged.into()) }
    }

    /// Writes the manifest of a tree anew in place of a damaged one: into the same file where it has the right length,
    /// so that whoever has it mapped sees it right, too. Durable when it returns.
    pub fn heal_manifest(&self, tree: &Oid, bytes: &[u8]) -> Result<Manifest, HomeManifestError> {
        let path = self.paths.manifest(tree);
        match write_over(&*self.disk, &path, bytes) {
            Ok(true) => Ok(opened(
                self.disk.map(&path).map_err(|error| HomeManifestError::Io { path, error })?,
                tree,
            )?),
            Ok(false) => self.put_manifest(tree, bytes),
            Err(error) => Err(HomeManifestError::Io { path, error }),
        }
    }

    /// Keeps the manifest of a tree, and opens it. Durable when it returns.
    pub fn put_manifest(&self, tree: &Oid, bytes: &[u8]) -> Result<Manifest, HomeManifestError> {
        let (dir, path) = (self.paths.manifests(), self.paths.manifest(tree));
        let io = |error| HomeManifestError::Io { path: path.clone(), error };
        publish(&*self.disk, &dir, &dir, &manifest_name(tree), bytes).map_err(io)?;
        Ok(opened(self.disk.map(&path).map_err(io)?, tree)?)
    }
}

/// Removes the sizes of trees that have no manifest any more.
fn sweep_sizes(disk: &dyn Disk, paths: &Paths) -> io::Result<()> {
    let names = disk.list(&paths.manifests())?;
    for name in &names {
        let Some(tree) = name.to_str().and_then(|name| name.strip_suffix(SIZES_SUFFIX)) else { continue };
        if !names.iter().any(|name| name.to_str().and_then(|name| name.strip_suffix(".wm")) == Some(tree)) {
            disk.remove_file(&paths.manifests().join(name))?;
        }
    }
    Ok(())
}

fn write_over(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let file = match disk.open(path, OpenMode::ReadWrite) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    if file.len()? != bytes.len() as u64 {
        return Ok(false);
    }
    file.write_at(&[bytes], 0)?;
    file.sync()?;
    Ok(true)
}

fn manifest_name(tree: &Oid) -> String {
    format!("{tree}.wm")
}

fn opened(map: Map, tree: &Oid) -> Result<Manifest, ManifestError> {
    let manifest = Manifest::open(map)?;
    if manifest.tree() != *tree {
        return Err(ManifestError::Damaged("it is of another tree"));
    }
    Ok(manifest)
}

fn make_root(root: &Path) -> Result<(), HomeError> {
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(root).map_err(|error| refused(root, error))?;
    let stat = std::fs::metadata(root).map_err(|error| refused(root, error))?;
    if stat.uid() != rustix::process::geteuid().as_raw() {
        return Err(HomeError::Foreign { path: root.to_owned(), owner: stat.uid() });
    }
    if stat.mode() & 0o077 != 0 {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(root, private).map_err(|error| refused(root, error))?;
    }
    Ok(())
}

fn take_lock(paths: &Paths) -> Result<OwnedFd, HomeError> {
    let path = paths.lock();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fail = |error: Errno| refused(&path, error.into());
    let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(fail)?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(HomeError::Locked { path: paths.root().to_owned(), pid: holder(&path) });
        }
        Err(error) => return Err(fail(error)),
    }
    rustix::fs::ftruncate(&fd, 0).map_err(fail)?;
    rustix::io::pwrite(&fd, std::process::id().to_string().as_bytes(), 0).map_err(fail)?;
    Ok(fd)
}

fn holder(lock: &Path) -> u32 {
    std::fs::read_to_string(lock).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn check_format(disk: &dyn Disk, paths: &Paths) -> Result<(), HomeError> {
    let read = disk.map(&paths.format()).map(|map| map[..map.len().min(80)].to_vec());
    match read {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(found) => Err(HomeError::Format {
            path: paths.root().to_owned(),
            found: String::from_utf8_lossy(&found).trim().to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            publish(disk, paths.root(), paths.root(), "format", FORMAT)
                .map_err(|error| refused(&paths.format(), error))
        }
        Err(error) => Err(refused(&paths.format(), error)),
    }
}

/// SQLite makes its file with the umask's mode, but keeps the mode of one that is there, and of the files beside it.
fn make_private(disk: &dyn Disk, path: &Path) -> Result<(), HomeError> {
    let made = match disk.open(path, OpenMode::CreateNew) {
        // Not through a link: SQLite would follow one.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(path, OpenMode::Read),
        made => made,
    };
    made.map(drop).map_err(|error| refused(path, error))
}

fn refused(path: &Path, error: io::Error) -> HomeError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            HomeError::ReadOnly { path, error }
        }
        _ => HomeError::Io { path, error },
    }
}

#[cfg(test)]
mod tests;
