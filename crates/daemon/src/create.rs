//! Making a workspace from a source.
//!
//! Order of the durable steps: mount point, manifest, index, pin, marker, log with everything in it (synced), row,
//! marker away, mount. A crash before the row leaves nothing visible, and start-up sweeps it (`reconcile`); after
//! it, a whole workspace. Any failure undoes what was done ([`Unfinished`]).

use crate::asker::Wish;
use crate::entry::Entry;
use crate::forest::Forest;
use crate::fsmonitor;
use crate::protocol::CreateRequest;
use crate::report::{BaseReport, Created, Moment};
use crate::{card, faults, mount_point, take_in, upload_pack};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use weald_engine::{Base, Workspace};
use weald_git::{Fsmonitor, GitContent, GitDirSpec, Promisor, Repository, Resolved, git_dir};
use weald_model::{Caller, Code, Fault, FileKind, Ino, Oid, Progress};
use weald_store::cas;
use weald_store::manifest::Manifest;
use weald_store::registry::{RepoRow, State, WorkspaceRow};

/// Where the files of a new workspace come from.
enum Origin {
    Git(Box<GitOrigin>),
    Directory(PathBuf),
}

struct GitOrigin {
    repo: Repository,
    /// The row of Weald's own clone.
    clone: Option<RepoRow>,
    base: Resolved,
    spec: GitDirSpec,
    manifest: Manifest,
    index: (cas::Hash, u64),
}

impl Forest {
    /// Makes a workspace.
    pub(crate) fn create(
        self: &Arc<Self>,
        ask: &CreateRequest,
        progress: &dyn Progress,
    ) -> Result<Created, Fault> {
        self.open_for_work()?;
        let _making = self.making.read().unwrap_or_else(PoisonError::into_inner);
        let name = ask.name.clone().unwrap_or_else(|| default_name(&ask.source));
        let claim = self.claim(&name)?;
        let mut notes = Vec::new();
        let origin = self.origin(ask, &mut notes, progress)?;
        let mount_path = match &ask.at {
            Some(at) => PathBuf::from(at),
            None => Path::new(&ask.mount_root).join(claim.name()),
        };
        let row = self.fresh_row(claim.name(), ask, &origin, mount_path);
        mount_point::prepare(&row.mount_path)?;
        let mut unfinished =
            Unfinished { forest: self, row: row.clone(), repo: None, in_registry: false, is_done: false };
        let workspace = self.grow(&mut unfinished, &origin, &mut notes, progress)?;
        let created = created(&row, &origin, &workspace, notes);
        let entry = Entry::with(row.clone(), workspace);
        self.stores.home.registry().insert_workspace(&row).map_err(faults::registry)?;
        unfinished.in_registry = true;
        self.stores.unmark(row.id);
        self.mount(&entry)?;
        unfinished.finish();
        self.insert(entry);
        if let (Some(repo), None, Some(tree)) = (&row.repo_path, &row.repo_id, Oid::from_hex(&row.tree)) {
            self.packer.want(repo, tree);
        }
        claim.keep();
        Ok(created)
    }

    fn origin(
        &self,
        ask: &CreateRequest,
        notes: &mut Vec<String>,
        progress: &dyn Progress,
    ) -> Result<Origin, Fault> {
        if weald_git::url::is_url(&ask.source) {
            let (repo, clone) = self.cloned(ask, notes, progress)?;
            return self.git_origin(ask, repo, Some(clone), notes, progress);
        }
        let path = Path::new(&ask.source);
        let unknown = |why: &str| {
            Fault::new(Code::UnknownSource, format!("{why}: {}", path.display()))
                .hint("give a local repository, a URL or a directory")
        };
        let only_urls = [("--depth", ask.depth.is_some()), ("--update", ask.update)];
        if let Some((option, _)) = only_urls.iter().find(|(_, given)| *given) {
            let why = format!("{option} is for URLs; a local repository is not copied at all");
            return Err(Fault::new(Code::BadRequest, why)
                .hint(format!("leave {option} out, or use file://{}", path.display())));
        }
        let data = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => unknown("nothing is at this path"),
            _ => unknown(&error.to_string()),
        })?;
        if Repository::is_at(path) {
            return self.git_origin(ask, Repository::open(path)?, None, notes, progress);
        }
        if !data.is_dir() {
            return Err(unknown("neither a repository nor a directory"));
        }
        if ask.rev.is_some() || ask.branch.is_some() {
            let why = format!("{} is no git repository, so it has no revisions or branches", path.display());
            return Err(Fault::new(Code::BadRequest, why).hint("leave --rev and --branch out"));
        }
        Ok(Origin::Directory(path.to_owned()))
    }

    fn git_origin(
        &self,
        ask: &CreateRequest,
        repo: Repository,
        clone: Option<RepoRow>,
        notes: &mut Vec<String>,
        progress: &dyn Progress,
    ) -> Result<Origin, Fault> {
        let base = repo.resolve(ask.rev.as_deref(), ask.branch.as_deref())?;
        let time = self.stores.base_time(base.commit_time);
        let manifest = self.stores.shown(&repo, &base.tree, time, notes, progress)?;
        let (uid, gid) = owner();
        let index = self.stores.index(&manifest, &repo, uid, gid)?;
        let mut spec = GitDirSpec::new(&repo, &base, self.stores.env.now());
        let home = self.stores.home.paths().root();
        spec.fsmonitor = match self.git_asks_over_sockets() {
            true => Some(Fsmonitor::Ipc),
            false => fsmonitor::install(home).map(Fsmonitor::Hook),
        };
        if let Some(clone) = &clone {
            self.lend_submodules(clone, &manifest);
        }
        if clone.is_some() && repo.is_partial() {
            let program = upload_pack::install(home);
            spec.promisor = program.map(|program| Promisor { clone: repo.path().to_owned(), program });
        }
        Ok(Origin::Git(Box::new(GitOrigin { repo, clone, base, spec, manifest, index })))
    }

    /// What submodules other workspaces of a clone have fetched is taken into the clone, for this one to borrow.
    fn lend_submodules(&self, clone: &RepoRow, manifest: &Manifest) {
        // Damage is told when the tree is read for what is in it.
        if !matches!(manifest.child(Ino::ROOT, b".gitmodules"), Ok(Some(_))) {
            return;
        }
        let of_clone = |entry: &Arc<Entry>| entry.row().repo_id.as_deref() == Some(&*clone.id);
        for entry in self.active().iter().filter(|entry| of_clone(entry) && entry.is_mounted()) {
            let git_dir = entry.row().mount_path.join(".git");
            Wish::Lend { git_dir, clone: clone.path.clone() }.ask();
        }
    }

    fn fresh_row(
        &self,
        name: &str,
        ask: &CreateRequest,
        origin: &Origin,
        mount_path: PathBuf,
    ) -> WorkspaceRow {
        let (uid, gid) = owner();
        let now = self.stores.env.now();
        let mut row = WorkspaceRow {
            id: self.stores.fresh_id(),
            name: name.to_owned(),
            state: State::Active,
            origin: None,
            source: weald_git::url::mask(&ask.source),
            repo_path: None,
            repo_id: None,
            tree: String::new(),
            commit: None,
            branch: None,
            base_time: now,
            created_at: now.secs,
            trashed_at: None,
            mount_path,
            uid,
            gid,
            allow_other: ask.allow_other,
            index_hash: None,
            files: 0,
            size_bytes: 0,
            private_bytes: 0,
        };
        if let Origin::Git(git) = origin {
            row.repo_path = Some(git.repo.path().to_owned());
            row.repo_id = git.clone.as_ref().map(|clone| clone.id.clone());
            row.tree = git.manifest.tree().to_string();
            row.commit = Some(git.base.commit.to_string());
            row.branch = git.base.branch.clone();
            row.base_time = git.manifest.time();
            row.index_hash = Some(cas::hex(&git.index.0));
        }
        row
    }

    /// Makes the log with everything in it; durable when it returns.
    fn grow(
        &self,
        unfinished: &mut Unfinished<'_>,
        origin: &Origin,
        notes: &mut Vec<String>,
        progress: &dyn Progress,
    ) -> Result<Arc<Workspace>, Fault> {
        let row = &unfinished.row;
        if let Origin::Git(git) = origin {
            unfinished.repo = Some(git.repo.clone());
            weald_git::pin::pin(&git.repo, row.id, &git.base.commit)?;
            weald_git::pin::keep(&git.repo, row.id, &git.base.commit, &git.spec.tips())?;
            weald_git::submodule::pin_modules(&git.repo, row.id)?;
        }
        let base = match origin {
            Origin::Git(git) => {
                let source = self.stores.source_of(&git.manifest.tree(), git.repo.path())?;
                Base::new(git.manifest.clone(), source, row.uid, row.gid)
            }
            Origin::Directory(_) => Base::empty(row.uid, row.gid, row.base_time),
        };
        self.stores.mark(row.id)?;
        let workspace = Workspace::create(self.stores.shared.clone(), row.id, base, &card::write(row))
            .map_err(|error| faults::open(&row.name, &error))?;
        let caller = Caller::owner(row.uid, row.gid);
        match origin {
            Origin::Git(git) => {
                let (index, exclude) = lay_git_dir(&workspace, &caller, git)?;
                let (hash, format) = (&git.index.0, git.repo.format());
                let settled = self.stores.settle_index(hash, format, &row.mount_path, &exclude);
                for (offset, bytes) in settled.iter().flat_map(|settled| &settled.writes) {
                    let failed = |error| faults::errno("making .git/index", error);
                    workspace.write(&caller, index, *offset, bytes).map_err(failed)?;
                }
            }
            Origin::Directory(path) => {
                let home = self.stores.home.paths().root();
                notes.extend(take_in::take_in(&workspace, &caller, path, home, progress)?.notes);
            }
        }
        workspace.sync().map_err(|error| faults::errno("making the workspace durable", error))?;
        Ok(workspace)
    }
}

/// A workspace in the making; dropped, it is undone.
struct Unfinished<'a> {
    forest: &'a Forest,
    row: WorkspaceRow,
    repo: Option<Repository>,
    in_registry: bool,
    is_done: bool,
}

impl Unfinished<'_> {
    fn finish(mut self) {
        self.is_done = true;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let stores = &self.forest.stores;
        if self.in_registry {
            // Its log goes all the same: a row without one would be found at the next start.
            let _ = stores.home.registry().delete_workspace(self.row.id);
        }
        stores.discard(self.row.id, self.repo.as_ref());
        mount_point::discard(&self.row.mount_path);
    }
}

/// Makes `.git`; gives the inode of its index, and what its `info/exclude` says.
fn lay_git_dir(workspace: &Workspace, caller: &Caller, git: &GitOrigin) -> Result<(Ino, Vec<u8>), Fault> {
    let failed = |error| faults::errno("making .git", error);
    let mut dirs: Vec<(Vec<u8>, Ino)> = vec![(Vec::new(), Ino::ROOT)];
    let mut exclude = Vec::new();
    for file in git_dir(&git.spec)? {
        let (parent, name) = split(&file.path);
        let dir = dirs.iter().rev().find(|(path, _)| path == parent).map(|(_, ino)| *ino);
        let dir =
            dir.ok_or_else(|| Fault::new(Code::Internal, "a file of .git comes before its directory"))?;
        match file.content {
            GitContent::Dir => {
                let made =
                    workspace.make_node(caller, dir, name, FileKind::Dir, file.perm, 0).map_err(failed)?;
                dirs.push((file.path, made.ino));
            }
            GitContent::File(bytes) => {
                let made =
                    workspace.make_node(caller, dir, name, FileKind::File, file.perm, 0).map_err(failed)?;
                workspace.write(caller, made.ino, 0, &bytes).map_err(failed)?;
                if file.path == b".git/info/exclude" {
                    exclude = bytes;
                }
            }
        }
    }
    let dot_git = workspace.lookup(Ino::ROOT, b".git").map_err(failed)?.ino;
    let index = workspace.make_node(caller, dot_git, b"index", FileKind::File, 0o644, 0).map_err(failed)?;
    workspace.attach(caller, index.ino, git.index.0, git.index.1).map_err(failed)?;
    Ok((index.ino, exclude))
}

/// Parent path and last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn created(row: &WorkspaceRow, origin: &Origin, workspace: &Workspace, notes: Vec<String>) -> Created {
    let summary = workspace.summary();
    let base = match origin {
        Origin::Git(git) => Some(BaseReport {
            commit: git.base.commit.to_string(),
            tree: git.base.tree.to_string(),
            subject: Some(git.base.summary.clone()),
            time: Moment(git.base.commit_time.secs),
            branch: git.base.branch.clone(),
            upstream: git.base.upstream.clone(),
            behind: git.base.behind,
        }),
        Origin::Directory(_) => None,
    };
    Created {
        name: row.name.clone(),
        id: row.id.to_string(),
        path: row.mount_path.display().to_string(),
        repo: row.source.clone(),
        base,
        files: summary.files,
        size_bytes: summary.size_bytes,
        asked_at: match origin {
            Origin::Git(git) => git.clone.as_ref().map(|clone| Moment(clone.fetched_at)),
            Origin::Directory(_) => None,
        },
        notes,
    }
}

/// Files belong to whoever runs the daemon.
fn owner() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// The base commit of a row.
pub(crate) fn base_commit(row: &WorkspaceRow) -> Option<Oid> {
    row.commit.as_deref().and_then(Oid::from_hex)
}

/// The last part of a path or URL, without `.git`, as a workspace's name.
fn default_name(source: &str) -> String {
    let trimmed = source.trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/.git").unwrap_or(trimmed);
    let last = trimmed.rsplit(['/', ':']).next().unwrap_or_default();
    let stem = last.strip_suffix(".git").unwrap_or(last);
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = stem.chars().map(plain).collect();
    let name = name.trim_start_matches(['-', '.']).trim_end_matches('.');
    let mut end = name.len().min(80);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    if name.is_empty() { "workspace".to_owned() } else { name[..end].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weald_model::WorkspaceName;

    #[test]
    fn names_come_from_the_end_of_a_source() {
        for (source, name) in [
            ("/src/linux", "linux"),
            ("/src/linux/", "linux"),
            ("/src/linux/.git", "linux"),
            ("https://host/a/tool.git", "tool"),
            ("git@host:tool.git", "tool"),
            ("git@host:me/tool.git/", "tool"),
            ("/src/my project", "my-project"),
            ("/src/.dotfiles", "dotfiles"),
            ("/", "workspace"),
        ] {
            assert_eq!(default_name(source), name, "{source}");
        }
    }

    #[test]
    fn any_default_name_is_valid() {
        for source in
            ["/é".repeat(200), "/a..b".into(), "/@{1}".into(), "/\u{1b}[31m".into(), "/x.lock".into()]
        {
            let name = default_name(&source);
            // What is left unusual is refused with a reason when claimed.
            let unusual = name.contains("..") || name.ends_with(".lock");
            assert!(unusual || WorkspaceName::new(&name).is_ok(), "{source} -> {name}");
        }
    }
}
