//! The git directory a workspace starts with: plain files and directories to be laid into its overlay.
//!
//! Invariants: nothing of the source's configuration is copied but its remote's URL, the committer's name and how lines end, so no
//! hook, filter or alias of the source runs in the workspace; all objects come from the source by
//! `objects/info/alternates`; the index is not among the files, since it is shared (see [`crate::index`]).

use crate::fault::quote;
use crate::program::Git;
use crate::refs::{RefLine, Remote};
use crate::repo::{Identity, path_bytes};
use crate::{ObjectFormat, Repository, Resolved};
use std::path::{Path, PathBuf};
use weald_model::{Fault, Oid, Timestamp};

/// Who tells git what changed, so that it need not look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fsmonitor {
    /// A program that git runs (githooks(5), fsmonitor-watchman).
    Hook(PathBuf),
    /// Whoever listens on the socket in the git directory.
    Ipc,
}

/// Whether the git at hand can ask over a socket (`core.fsmonitor = true`, git-fsmonitor--daemon(1)): it says how it was built.
pub fn can_ask_over_ipc() -> bool {
    let said = Git::new(Path::new("/")).said(&["version", "--build-options"], b"");
    said.is_ok_and(|said| {
        String::from_utf8_lossy(&said.out).lines().any(|line| line == "feature: fsmonitor--daemon")
    })
}

/// What the git directory is made from.
#[derive(Clone, Debug)]
pub struct GitDirSpec {
    /// Format of the objects.
    pub format: ObjectFormat,
    /// The base commit.
    pub commit: Oid,
    /// The branch to be on; `None` detaches HEAD.
    pub branch: Option<String>,
    /// Absolute paths of the object directories to read from.
    pub object_dirs: Vec<PathBuf>,
    /// Remotes with their branches.
    pub remotes: Vec<Remote>,
    /// Tags, names without `refs/tags/`.
    pub tags: Vec<RefLine>,
    /// Content of the `shallow` file.
    pub shallow: Option<Vec<u8>>,
    /// Committer set in the source's own configuration.
    pub identity: Identity,
    /// What the source's own configuration says about line ends (`autocrlf`, `eol`), which decides what `git checkout` writes.
    pub line_ends: Vec<(&'static str, Vec<u8>)>,
    /// The moment for the reflog.
    pub time: Timestamp,
    /// Who tells git what changed (`core.fsmonitor`).
    pub fsmonitor: Option<Fsmonitor>,
    /// Who brings objects that the source left out.
    pub promisor: Option<Promisor>,
}

/// A clone that lacks content, and the program that brings it there (`remote.weald`).
#[derive(Clone, Debug)]
pub struct Promisor {
    /// The clone.
    pub clone: PathBuf,
    /// The program, as `remote.weald.uploadpack` will name it.
    pub program: PathBuf,
}

/// Content of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GitContent {
    /// A directory.
    Dir,
    /// A regular file with these bytes.
    File(Vec<u8>),
}

/// One path to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitFile {
    /// Path from the root of the workspace, beginning with `.git`.
    pub path: Vec<u8>,
    /// Permission bits.
    pub perm: u32,
    /// What to create there.
    pub content: GitContent,
}

impl GitDirSpec {
    /// Everything a workspace takes over from its source.
    pub fn new(source: &Repository, base: &Resolved, time: Timestamp) -> Self {
        Self {
            format: source.format(),
            commit: base.commit,
            branch: base.branch.clone(),
            object_dirs: source.object_dirs(),
            remotes: source.remotes(),
            tags: source.tags(),
            shallow: source.shallow(),
            identity: source.identity(),
            line_ends: source.line_ends(),
            time,
            fsmonitor: None,
            promisor: None,
        }
    }

    /// Everything its refs name but the base: what must stay alive in the source beside it (see [`crate::pin`]).
    pub fn tips(&self) -> Vec<Oid> {
        let branches = self.remotes.iter().flat_map(|remote| &remote.branches);
        let mut tips: Vec<Oid> = branches.chain(&self.tags).map(|line| line.target).collect();
        tips.sort();
        tips.dedup();
        tips.retain(|tip| *tip != self.commit);
        tips
    }
}

/// Returns the git directory in order of creation: each directory stands before what is in it.
///
/// Errors: `BadRequest` when the branch is no branch name.
pub fn git_dir(spec: &GitDirSpec) -> Result<Vec<GitFile>, Fault> {
    if let Some(branch) = &spec.branch {
        crate::resolve::check_branch(branch)?;
    }
    let mut files = Files::default();
    let commit = spec.commit;
    for dir in ["", "/hooks", "/info", "/objects", "/objects/info", "/objects/pack", "/refs"] {
        files.dir(dir.as_bytes());
    }
    files.dir(b"/refs/tags");
    files.file(b"/config", config(spec));
    let is_secret = |remote: &Remote| {
        let url = String::from_utf8_lossy(&remote.url);
        crate::url::mask(&url) != url
    };
    if let Some(config) = files.list.last_mut().filter(|_| spec.remotes.iter().any(is_secret)) {
        config.perm = 0o600;
    }
    files.file(
        b"/description",
        b"Unnamed repository; edit this file 'description' to name the repository.\n".to_vec(),
    );
    files.file(
        b"/info/exclude",
        b"# Paths git ignores in this workspace only, one pattern a line.\n".to_vec(),
    );
    files.file(b"/objects/info/alternates", alternates(&spec.object_dirs));
    if let Some(shallow) = &spec.shallow {
        files.file(b"/shallow", shallow.clone());
    }
    files.file(b"/packed-refs", packed_refs(spec));
    let log = reflog_line(spec);
    files.file(b"/logs/HEAD", log.clone());
    for remote in &spec.remotes {
        if let Some(head) = &remote.head
            && remote.branches.iter().any(|branch| branch.name == *head)
        {
            let path = format!("/refs/remotes/{}/HEAD", remote.name);
            let target =
                [format!("ref: refs/remotes/{}/", remote.name).as_bytes(), head.as_slice(), b"\n"].concat();
            files.file(path.as_bytes(), target);
        }
    }
    match &spec.branch {
        Some(branch) => {
            files.file(format!("/refs/heads/{branch}").as_bytes(), format!("{commit}\n").into_bytes());
            files.file(format!("/logs/refs/heads/{branch}").as_bytes(), log);
            files.file(b"/HEAD", format!("ref: refs/heads/{branch}\n").into_bytes());
        }
        None => {
            files.dir(b"/refs/heads");
            files.file(b"/HEAD", format!("{commit}\n").into_bytes());
        }
    }
    Ok(files.list)
}

/// Collects files, making parents as they are needed.
#[derive(Default)]
struct Files {
    list: Vec<GitFile>,
}

impl Files {
    fn dir(&mut self, below: &[u8]) {
        let path = [b".git".as_slice(), below].concat();
        if !self.list.iter().any(|file| file.path == path) {
            self.list.push(GitFile { path, perm: 0o755, content: GitContent::Dir });
        }
    }

    fn file(&mut self, below: &[u8], content: Vec<u8>) {
        for (at, _) in below.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/') {
            self.dir(&below[..at]);
        }
        let path = [b".git".as_slice(), below].concat();
        self.list.push(GitFile { path, perm: 0o644, content: GitContent::File(content) });
    }
}

fn config(spec: &GitDirSpec) -> Vec<u8> {
    let mut config = Config::default();
    let version = if spec.format == ObjectFormat::Sha1 { "0" } else { "1" };
    config.section("core", None);
    config.value("repositoryformatversion", version.as_bytes());
    config.value("filemode", b"true");
    config.value("bare", b"false");
    config.value("logallrefupdates", b"true");
    spec.line_ends.iter().for_each(|(key, value)| config.value(key, value));
    if let Some(fsmonitor) = &spec.fsmonitor {
        config.value(
            "fsmonitor",
            match fsmonitor {
                Fsmonitor::Hook(program) => path_bytes(program),
                Fsmonitor::Ipc => b"true",
            },
        );
        config.value("untrackedCache", b"true");
        // Told what changed, git has nothing to look at in threads, which it would start all the same.
        config.value("preloadIndex", b"false");
        config.section("index", None);
        config.value("threads", b"true");
    }
    if spec.format != ObjectFormat::Sha1 {
        config.section("extensions", None);
        config.value("objectformat", spec.format.name().as_bytes());
    }
    // What the source has of its submodules is borrowed, as its own objects are, and what it has not is fetched.
    config.section("submodule", None);
    config.value("alternateLocation", b"superproject");
    config.value("alternateErrorStrategy", b"ignore");
    if let Some(promisor) = &spec.promisor {
        // Git asks in the order of the file.
        config.section("remote", Some(b"weald"));
        config.value("url", path_bytes(&promisor.clone));
        config.value("uploadpack", quote(&promisor.program).as_bytes());
        config.value("promisor", b"true");
        config.value("partialclonefilter", b"blob:none");
        config.value("skipFetchAll", b"true");
    }
    for remote in &spec.remotes {
        config.section("remote", Some(remote.name.as_bytes()));
        config.value("url", &remote.url);
        config.value("fetch", format!("+refs/heads/*:refs/remotes/{}/*", remote.name).as_bytes());
        if let Some(filter) = &remote.left_out {
            config.value("promisor", b"true");
            config.value("partialclonefilter", filter);
        }
    }
    for remote in &spec.remotes {
        if let Some(asking) = &remote.asking {
            config.section("credential", Some(&remote.url));
            config.value("helper", b"");
            config.value("helper", asking.as_bytes());
        }
    }
    if spec.remotes.len() > 1 {
        // `git switch BRANCH` finds it at origin, though another remote may have it too.
        config.section("checkout", None);
        config.value("defaultRemote", spec.remotes[0].name.as_bytes());
    }
    if let Some(branch) = &spec.branch {
        let has = |remote: &&Remote| remote.branches.iter().any(|line| line.name == branch.as_bytes());
        if let Some(remote) = spec.remotes.iter().find(has) {
            config.section("branch", Some(branch.as_bytes()));
            config.value("remote", remote.name.as_bytes());
            config.value("merge", format!("refs/heads/{branch}").as_bytes());
        }
    }
    if spec.identity != Identity::default() {
        config.section("user", None);
        spec.identity.name.iter().for_each(|name| config.value("name", name));
        spec.identity.email.iter().for_each(|email| config.value("email", email));
    }
    config.text
}

/// Text in the syntax of git-config(1).
#[derive(Default)]
pub(crate) struct Config {
    pub(crate) text: Vec<u8>,
}

impl Config {
    pub(crate) fn section(&mut self, name: &str, subsection: Option<&[u8]>) {
        self.text.push(b'[');
        self.text.extend_from_slice(name.as_bytes());
        if let Some(subsection) = subsection {
            self.text.extend_from_slice(b" \"");
            for byte in subsection {
                if matches!(byte, b'"' | b'\\') {
                    self.text.push(b'\\');
                }
                self.text.push(*byte);
            }
            self.text.push(b'"');
        }
        self.text.extend_from_slice(b"]\n");
    }

    pub(crate) fn value(&mut self, key: &str, value: &[u8]) {
        self.text.extend_from_slice(format!("\t{key} = ").as_bytes());
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:@*~,%=".contains(byte);
        if !value.is_empty() && value.iter().all(plain) {
            self.text.extend_from_slice(value);
        } else {
            self.text.push(b'"');
            for byte in value {
                match byte {
                    b'"' | b'\\' => self.text.extend_from_slice(&[b'\\', *byte]),
                    b'\n' => self.text.extend_from_slice(b"\\n"),
                    b'\t' => self.text.extend_from_slice(b"\\t"),
                    0x08 => self.text.extend_from_slice(b"\\b"),
                    // A NUL ends no value in git's syntax; it has no place in one.
                    0 => {}
                    _ => self.text.push(*byte),
                }
            }
            self.text.push(b'"');
        }
        self.text.push(b'\n');
    }
}

/// One path a line, in C quotes where git would misread it (gitrepository-layout(5)).
pub(crate) fn alternates(dirs: &[PathBuf]) -> Vec<u8> {
    let mut text = Vec::new();
    for dir in dirs {
        let path = path_bytes(dir);
        if path.starts_with(b"\"") || path.starts_with(b"#") || path.contains(&b'\n') {
            text.push(b'"');
            for byte in path {
                match byte {
                    b'"' | b'\\' => text.extend_from_slice(&[b'\\', *byte]),
                    0x20..=0x7E => text.push(*byte),
                    _ => text.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
                }
            }
            text.push(b'"');
        } else {
            text.extend_from_slice(path);
        }
        text.push(b'\n');
    }
    text
}

fn packed_refs(spec: &GitDirSpec) -> Vec<u8> {
    let mut lines: Vec<(Vec<u8>, &RefLine)> = Vec::new();
    for remote in &spec.remotes {
        let prefix = format!("refs/remotes/{}/", remote.name);
        lines.extend(remote.branches.iter().map(|line| ([prefix.as_bytes(), &line.name].concat(), line)));
    }
    lines.extend(spec.tags.iter().map(|line| ([b"refs/tags/", line.name.as_slice()].concat(), line)));
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    let mut text = b"# pack-refs with: peeled fully-peeled sorted \n".to_vec();
    for (name, line) in lines {
        text.extend_from_slice(format!("{} ", line.target).as_bytes());
        text.extend_from_slice(&name);
        text.push(b'\n');
        if let Some(peeled) = &line.peeled {
            text.extend_from_slice(format!("^{peeled}\n").as_bytes());
        }
    }
    text
}

fn reflog_line(spec: &GitDirSpec) -> Vec<u8> {
    let zeros = "0".repeat(spec.format.oid_bytes() * 2);
    // What would end the field or the line early has no place in a reflog.
    let clean = |text: &Option<Vec<u8>>, default: &str| -> Vec<u8> {
        let text = text.clone().unwrap_or_else(|| default.into());
        text.into_iter().filter(|byte| !matches!(byte, b'<' | b'>' | b'\n' | 0)).collect()
    };
    let mut line = format!("{zeros} {} ", spec.commit).into_bytes();
    line.extend(clean(&spec.identity.name, "Weald"));
    line.extend_from_slice(b" <");
    line.extend(clean(&spec.identity.email, "weald@localhost"));
    line.extend_from_slice(format!("> {} +0000\tweald create\n", spec.time.secs).as_bytes());
    line
}
