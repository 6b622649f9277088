//! An index and a place for new objects outside of a workspace: to take its content as a tree and change nothing in it.
//!
//! Invariants: private to the user (mode 0700); gone when dropped, or with the next one when the process was killed;
//! nothing in it is made durable.

use crate::ObjectFormat;
use crate::fault::detail;
use crate::hash::{from_gix, to_gix};
use crate::pack::{NewPack, NoReader, Packed};
use crate::program::Git;
use crate::promote::{refuse, refuse_conflicts};
use crate::repo::{guarded, open_isolated};
use crate::staged::{Staged, Trees};
use crate::taken::{Place, Taken};
use gix::objs::Kind;
use gix::zlib::Compression;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use weald_model::{Code, Fault, Oid};

/// Settings for what is packed again, or thrown away: contents go into one pack, as they are.
const SETTINGS: [&str; 16] = [
    "-c",
    "core.fsync=none",
    "-c",
    "core.looseCompression=0",
    "-c",
    "pack.compression=0",
    "-c",
    "core.bigFileThreshold=1",
    "-c",
    "pack.packSizeLimit=0",
    "-c",
    "index.skipHash=true",
    "-c",
    "advice.addEmbeddedRepo=false",
    "-c",
    "advice.sparseIndexExpanded=false",
];

/// How directories begin; the number of the process follows, and one of theirs.
const PREFIX: &str = "weald-git-";

/// The index and the objects.
pub(crate) struct Scratch {
    dir: PathBuf,
    workspace: PathBuf,
    /// What the workspace is called.
    name: String,
    git_dir: PathBuf,
    is_sparse: bool,
    /// The workspace's own, when gix can open it.
    repo: Option<gix::Repository>,
}

impl Scratch {
    /// Begins with nothing. The objects of a workspace can be read, and those it reads itself.
    ///
    /// Errors: `UnsupportedSource` (no git directory), `HostIo`, `DiskFull`.
    pub(crate) fn new(workspace: &Path, name: &str) -> Result<Self, Fault> {
        let failed = |error: std::io::Error| Fault::host("making a directory for new objects", &error);
        let git_dir = git_dir(workspace, name)?;
        let is_sparse = git_dir.join("info/sparse-checkout").exists();
        let repo = open_isolated(workspace).ok().map(|repo| repo.to_thread_local());
        let dir = fresh_dir().map_err(failed)?;
        let (workspace, name) = (workspace.to_owned(), name.to_owned());
        let scratch = Self { dir, workspace, name, git_dir, is_sparse, repo };
        let mut line = scratch.git_dir.join("objects").as_os_str().as_bytes().to_vec();
        if line.contains(&b'\n') || line.starts_with(b"\"") || line.starts_with(b"#") {
            let why = format!("git cannot read objects by way of the path {}", scratch.workspace.display());
            return Err(Fault::new(Code::UnsupportedSource, why));
        }
        line.push(b'\n');
        std::fs::create_dir_all(scratch.objects().join("info")).map_err(failed)?;
        std::fs::write(scratch.objects().join("info/alternates"), line).map_err(failed)?;
        Ok(scratch)
    }

    /// Takes over the index of the workspace.
    fn begin_index(&self) -> Result<(), Fault> {
        let failed = |error: std::io::Error| Fault::host("reading the index of the workspace", &error);
        let index = match std::fs::read(self.git_dir.join("index")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            index => index.map_err(failed)?,
        };
        match self.staged(&index) {
            Some(staged) => refuse(&staged.conflicts(), &self.name)?,
            None => refuse_conflicts(&Git::new(&self.workspace), &self.name)?,
        }
        std::fs::write(self.index(), index).map_err(failed)
    }

    fn format(&self) -> Option<ObjectFormat> {
        ObjectFormat::from_kind(self.repo.as_ref()?.object_hash())
    }

    fn staged(&self, index: &[u8]) -> Option<Staged> {
        Staged::read(index, self.format()?)
    }

    /// HEAD of the workspace; None while there is no commit.
    pub(crate) fn head(&self) -> Result<Option<Oid>, Fault> {
        let known =
            self.repo.as_ref().and_then(|repo| guarded(|| repo.head_id().ok().map(|id| from_gix(&id))));
        match known.flatten() {
            Some(head) => Ok(Some(head)),
            None => self.git().commit("HEAD"),
        }
    }

    /// What is being merged into it.
    pub(crate) fn merge_head(&self) -> Result<Option<Oid>, Fault> {
        match self.git_dir.join("MERGE_HEAD").exists() {
            true => self.git().commit("MERGE_HEAD"),
            false => Ok(None),
        }
    }

    /// Everything that git sees here, to be read without it.
    pub(crate) fn odb(&self) -> Option<(gix::odb::HandleArc, ObjectFormat)> {
        let format = self.format()?;
        let mut odb = gix::odb::at(self.objects(), format.kind()).ok()?.into_arc().ok()?;
        odb.set_pack_cache(|| Box::new(gix::odb::pack::cache::lru::StaticLinkedList::<64>::default()));
        Some((odb, format))
    }

    /// Git in the workspace, with this index and this place for objects.
    pub(crate) fn git(&self) -> Git {
        let git = Git::new(&self.workspace).with("GIT_INDEX_FILE", self.index());
        git.with("GIT_OBJECT_DIRECTORY", self.objects())
    }

    /// The tree of everything that is tracked, or untracked and not ignored. Objects that are new are in what is given, or
    /// here. Cost: that of `git status` when all is plain, else that of `git add --all`.
    ///
    /// Errors: `UnfinishedMerge` (paths in conflict), `GitFailed`, `DiskFull`, `HostIo`.
    pub(crate) fn take(&self) -> Result<Taken, Fault> {
        if !self.is_sparse
            && let Some((odb, format)) = self.odb()
        {
            let head = self.head()?.map(|head| self.tree_of(&head)).transpose()?;
            let (workspace, git_dir) = (&self.workspace, &self.git_dir);
            let place = Place { workspace, name: &self.name, git_dir, odb, format };
            if let Some(taken) = place.take(head.as_ref())? {
                return Ok(taken);
            }
        }
        let tree = self.add_all()?;
        Ok(Taken { tree, root: None, objects: Vec::new() })
    }

    /// The same, with all new objects here.
    pub(crate) fn take_whole(&self) -> Result<Oid, Fault> {
        let taken = self.take()?;
        self.keep(&taken.objects)?;
        Ok(taken.tree)
    }

    /// Puts objects here.
    pub(crate) fn keep(&self, objects: &[Packed]) -> Result<(), Fault> {
        let Some(format) = self.format().filter(|_| !objects.is_empty()) else { return Ok(()) };
        let (dir, level) = (self.objects(), Compression::NONE);
        let pack = NewPack { objects: &dir, format, level, durable: false };
        pack.write(objects, &[], Vec::<NoReader>::new())
    }

    /// Puts a tree here alone, without what it names: for git to make a commit of it.
    pub(crate) fn keep_root(&self, taken: &Taken) -> Result<(), Fault> {
        let Some((root, format)) = taken.root.as_ref().zip(self.format()) else { return Ok(()) };
        let store = gix::odb::loose::Store::at(self.objects(), format.kind());
        let failed = |error| Fault::new(Code::HostIo, format!("writing a tree: {}", detail(&error)));
        gix::objs::Write::write_buf(&store, Kind::Tree, root).map(drop).map_err(failed)
    }

    /// The tree of a commit.
    pub(crate) fn tree_of(&self, commit: &Oid) -> Result<Oid, Fault> {
        let read = || {
            let (odb, format) = self.odb()?;
            let mut buffer = Vec::new();
            let data = gix::objs::Find::try_find(&odb, &to_gix(commit), &mut buffer).ok()??;
            let tree = gix::objs::CommitRefIter::from_bytes(data.data, format.kind()).tree_id().ok()?;
            (data.kind == Kind::Commit).then(|| from_gix(&tree))
        };
        guarded(read).flatten().map_or_else(|| self.git().tree(commit), Ok)
    }

    pub(crate) fn add_all(&self) -> Result<Oid, Fault> {
        self.begin_index()?;
        let git = self.git();
        // Of a sparse working tree, too, everything that is there counts (git 2.34; older ones take it without a word).
        let sparse: &[&str] = if self.is_sparse { &["--sparse"] } else { &[] };
        git.run(&[&SETTINGS[..], &["add", "--all"], sparse, &["--", ":/"]].concat())?;
        if let Some(tree) = self.write_trees()? {
            return Ok(tree);
        }
        let tree = git.oid(&[&SETTINGS[..], &["write-tree"]].concat())?;
        tree.ok_or_else(|| Fault::new(Code::GitFailed, "git wrote no tree"))
    }

    /// The trees of the index, in one pack; None when git has to make them.
    fn write_trees(&self) -> Result<Option<Oid>, Fault> {
        let failed = |error: std::io::Error| Fault::host("reading the index of a promote", &error);
        let index = std::fs::read(self.index()).map_err(failed)?;
        let Some(format) = self.format() else { return Ok(None) };
        let Some(Trees { root, new }) = self.staged(&index).and_then(|staged| staged.trees()) else {
            return Ok(None);
        };
        let ids: Vec<_> = new.keys().copied().collect();
        let read = |id: &gix::ObjectId| Ok((Kind::Tree, new.get(id).cloned().unwrap_or_default()));
        let objects = self.objects();
        NewPack { objects: &objects, format, level: Compression::NONE, durable: false }.write(
            &[],
            &ids,
            vec![read],
        )?;
        Ok(Some(from_gix(&root)))
    }

    /// Where objects are made.
    pub(crate) fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    fn index(&self) -> PathBuf {
        self.dir.join("index")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: it lies among temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn git_dir(workspace: &Path, name: &str) -> Result<PathBuf, Fault> {
    if workspace.join(".git").symlink_metadata().is_err() {
        let why = format!("`{name}` has no git directory, so there is nothing git could take from it");
        return Err(Fault::new(Code::UnsupportedSource, why));
    }
    if let Ok(data) = workspace.join(".git").symlink_metadata()
        && data.is_dir()
    {
        return std::path::absolute(workspace.join(".git"))
            .map_err(|error| Fault::host("looking for the git directory", &error));
    }
    let mut path = Git::new(workspace).run(&["rev-parse", "--absolute-git-dir"])?;
    path.truncate(path.trim_ascii_end().len());
    Ok(PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(path)))
}

pub(crate) fn fresh_dir() -> std::io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    sweep();
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            // Left by a process of the same number that was killed, or somebody else's.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 10_000 => {}
            made => return made.map(|()| dir),
        }
    }
}

/// Removes what processes left that are gone. Best effort; that of others is not ours to remove.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        let is_gone = |process| !Path::new(&format!("/proc/{process}")).exists();
        let is_ours = || {
            entry
                .metadata()
                .is_ok_and(|data| data.is_dir() && data.uid() == rustix::process::geteuid().as_raw())
        };
        if process.is_some_and(is_gone) && is_ours() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
