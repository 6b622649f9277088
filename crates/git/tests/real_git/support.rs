//! Repositories made by `git`, and a workspace laid out on the plain disk as the file system would show it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use weald_git::{
    GitContent, GitDirSpec, GitSource, IndexError, IndexNode, IndexStat, Repository, Resolved, git_dir,
    index_of_tree,
};
use weald_model::{Fault, Oid, Source as _, Timestamp, TreeKind};

/// A directory for one test.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
}

/// Identity and dates of every commit made here.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_AUTHOR_NAME", "A"),
    ("GIT_AUTHOR_EMAIL", "a@example.org"),
    ("GIT_COMMITTER_NAME", "C"),
    ("GIT_COMMITTER_EMAIL", "c@example.org"),
    ("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"),
    ("GIT_COMMITTER_DATE", "2026-01-02T00:00:00Z"),
];

impl Lab {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A repository with every kind of entry, two commits, some objects packed and some loose.
    pub(crate) fn repository(&self, name: &str, format: &str) -> PathBuf {
        let repo = self.path(name);
        git_in(self.dir.path(), &["init", "-q", "-b", "main", &format!("--object-format={format}"), name]);
        write(&repo, "README", b"hello\n");
        write(&repo, "a.c", b"int main;\n");
        write(&repo, "a/one", b"1\n");
        write(&repo, "a/deep/er/two", b"2\n");
        write(&repo, "a0", b"sorts after a/\n");
        write(&repo, "empty", b"");
        write(&repo, "run.sh", b"#!/bin/sh\n");
        std::fs::set_permissions(repo.join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("a/one", repo.join("link")).unwrap();
        std::fs::write(repo.join(OsStr::from_bytes(b"caf\xe9 \xff")), b"latin\n").unwrap();
        git_in(&repo, &["add", "-A"]);
        git_in(&repo, &["commit", "-q", "-m", "first\n\nbody"]);
        git_in(&repo, &["gc", "-q"]);
        write(&repo, "a/one", b"one\n");
        git_in(&repo, &["add", "-A"]);
        let digits = if format == "sha1" { 40 } else { 64 };
        let submodule = format!("160000,{},mod", "1".repeat(digits));
        git_in(&repo, &["update-index", "--add", "--cacheinfo", &submodule]);
        git_in(&repo, &["commit", "-q", "-m", "second line here"]);
        std::fs::create_dir(repo.join("mod")).unwrap();
        repo
    }
}

pub(crate) fn write(dir: &Path, name: &str, content: &[u8]) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

pub(crate) fn try_git(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.args(["-c", "protocol.file.allow=always"]).args(args).current_dir(dir).envs(ENVIRONMENT);
    command.output().unwrap()
}

/// Runs git, which must succeed, and returns its output without the final newline.
pub(crate) fn git_in(dir: &Path, args: &[&str]) -> String {
    let output = try_git(dir, args);
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
}

pub(crate) fn oid(hex: &str) -> Oid {
    Oid::from_hex(hex).unwrap()
}

pub(crate) fn fault<T: std::fmt::Debug>(result: Result<T, Fault>) -> Fault {
    result.expect_err("a fault")
}

/// Opens the source, resolves, and lays a workspace out at `dest`.
pub(crate) fn workspace(
    source: &Path,
    rev: Option<&str>,
    branch: Option<&str>,
    dest: &Path,
) -> (Repository, Resolved) {
    let repository = Repository::open(source).unwrap();
    let base = repository.resolve(rev, branch).unwrap();
    lay(&repository, &base, dest);
    (repository, base)
}

/// Writes git directory, files and index of a workspace onto the plain disk.
pub(crate) fn lay(repository: &Repository, base: &Resolved, dest: &Path) {
    std::fs::create_dir(dest).unwrap();
    let spec = GitDirSpec::new(repository, base, Timestamp::from_secs(1_790_000_000));
    for file in git_dir(&spec).unwrap() {
        let path = dest.join(OsStr::from_bytes(&file.path));
        match &file.content {
            GitContent::Dir => std::fs::create_dir(&path).unwrap(),
            GitContent::File(content) => std::fs::write(&path, content).unwrap(),
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(file.perm)).unwrap();
    }
    let source = GitSource::new(repository.clone());
    lay_tree(&source, &base.tree, dest);
    let index = index_of_disk(&source, repository, base, dest);
    std::fs::write(dest.join(".git/index"), index).unwrap();
}

fn lay_tree(source: &GitSource, tree: &Oid, dest: &Path) {
    // Older than the index file, as Weald's base files are: else git would take them for racy.
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(10);
    for entry in source.tree(tree).unwrap() {
        let path = dest.join(OsStr::from_bytes(&entry.name));
        match entry.kind {
            TreeKind::Dir => {
                std::fs::create_dir(&path).unwrap();
                lay_tree(source, &entry.oid, &path);
            }
            TreeKind::Gitlink => std::fs::create_dir(&path).unwrap(),
            TreeKind::Symlink => {
                let target = source.blob(&entry.oid).unwrap();
                std::os::unix::fs::symlink(OsStr::from_bytes(&target), &path).unwrap();
                set_symlink_time(&path);
            }
            TreeKind::File | TreeKind::Executable => {
                std::fs::write(&path, source.blob(&entry.oid).unwrap()).unwrap();
                let perm = if entry.kind == TreeKind::Executable { 0o755 } else { 0o644 };
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(perm)).unwrap();
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.set_modified(past).unwrap();
            }
        }
    }
}

fn set_symlink_time(path: &Path) {
    let status = Command::new("touch").args(["-h", "-d", "10 seconds ago"]).arg(path).status().unwrap();
    assert!(status.success());
}

/// The index for what lies at `dest`, with stat data from `lstat`; inode numbers serve as keys of directories.
fn index_of_disk(source: &GitSource, repository: &Repository, base: &Resolved, dest: &Path) -> Vec<u8> {
    let mut dirs = std::collections::HashMap::from([(1, (dest.to_owned(), base.tree))]);
    let list = |key: u64, nodes: &mut Vec<IndexNode>| -> Result<(), IndexError> {
        let (path, tree) = dirs[&key].clone();
        for entry in source.tree(&tree).unwrap() {
            let path = path.join(OsStr::from_bytes(&entry.name));
            let stat = lstat(&path);
            dirs.insert(stat.ino, (path, entry.oid));
            nodes.push(IndexNode { name: entry.name, kind: entry.kind, oid: entry.oid, stat });
        }
        Ok(())
    };
    index_of_tree(repository.format(), 1, base.tree, 100, None, list).unwrap()
}

fn lstat(path: &Path) -> IndexStat {
    let data = path.symlink_metadata().unwrap();
    let time = |secs, nanos: i64| Timestamp { secs, nanos: nanos as u32 };
    IndexStat {
        size: data.len(),
        ino: data.ino(),
        dev: data.dev(),
        mtime: time(data.mtime(), data.mtime_nsec()),
        ctime: time(data.ctime(), data.ctime_nsec()),
        uid: data.uid(),
        gid: data.gid(),
    }
}
