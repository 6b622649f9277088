//! Where `HEAD` of a workspace stands, read from its own git directory through the engine.
//!
//! Invariant: the bytes are the user's (or an attacker's): bounded, never trusted to be UTF-8 or a ref.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, PathBuf};
use weald_engine::Workspace;
use weald_model::{FileKind, Ino, Oid, Result};

/// Largest file that is read whole; a packed-refs of 100,000 refs has about 7 MB.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Longest chain of symbolic refs, as in git (SYMREF_MAXDEPTH).
const CHAIN_MAX: usize = 5;

/// Where `HEAD` stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Short name of the branch; None when detached or without git.
    pub(crate) branch: Option<String>,
    /// Commit id in hexadecimal; None for an unborn branch or without git.
    pub(crate) commit: Option<String>,
}

/// Reads where `HEAD` stands. Anything unreadable counts as no git.
pub(crate) fn head(workspace: &Workspace) -> Head {
    let Some(git) = git_dir(workspace) else { return Head::default() };
    let Some(text) = git.file(b"HEAD") else { return Head::default() };
    match reference(&text) {
        Some(name) => Head { branch: Some(short(name)), commit: follow(&git, b"", name) },
        None => Head { branch: None, commit: oid(&text) },
    }
}

/// The commit a ref leads to, or `HEAD`; of a submodule when its git directory is given, relative to the workspace's.
pub(crate) fn resolve(workspace: &Workspace, module: &[u8], name: &[u8]) -> Option<String> {
    follow(&git_dir(workspace)?, module, name)
}

/// Where an outside git directory is, when `.git` is a file that leads out of the workspace.
pub(crate) fn outside(workspace: &Workspace) -> Option<PathBuf> {
    match git_dir(workspace)? {
        GitDir::Outside(path) => Some(path),
        GitDir::Inside(..) => None,
    }
}

/// A git directory: in the workspace, or on the host, where a file `.git` says (gitrepository-layout(5)).
enum GitDir<'a> {
    Inside(&'a Workspace, Ino),
    Outside(PathBuf),
}

fn git_dir(workspace: &Workspace) -> Option<GitDir<'_>> {
    if let Some(git) = directory(workspace, Ino::ROOT, b".git") {
        return Some(GitDir::Inside(workspace, git));
    }
    let path = weald_git::named_by_git_file(&file(workspace, Ino::ROOT, b".git")?)?;
    if path.is_absolute() {
        return Some(GitDir::Outside(path));
    }
    let mut at = Ino::ROOT;
    for part in path.components().filter(|part| *part != Component::CurDir) {
        let Component::Normal(name) = part else { return None };
        at = directory(workspace, at, name.as_bytes())?;
    }
    Some(GitDir::Inside(workspace, at))
}

impl GitDir<'_> {
    /// The content of a file below it.
    fn file(&self, name: &[u8]) -> Option<Vec<u8>> {
        match self {
            GitDir::Inside(workspace, git) => {
                let mut parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
                let last = parts.pop()?;
                let mut dir = *git;
                for part in parts {
                    dir = directory(workspace, dir, part)?;
                }
                file(workspace, dir, last)
            }
            GitDir::Outside(path) => {
                let path = path.join(OsStr::from_bytes(name));
                let size = path.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
                if size > FILE_BYTES_MAX { None } else { std::fs::read(path).ok() }
            }
        }
    }
}

/// The ref a symbolic ref points to.
fn reference(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"ref:").map(<[u8]>::trim_ascii)
}

fn short(name: &[u8]) -> String {
    let short = name.strip_prefix(b"refs/heads/").unwrap_or(name);
    String::from_utf8_lossy(short).into_owned()
}

fn oid(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    Oid::from_hex(text).map(|oid| oid.to_string())
}

fn follow(git: &GitDir<'_>, module: &[u8], name: &[u8]) -> Option<String> {
    let below = |name: &[u8]| if module.is_empty() { name.to_owned() } else { [module, b"/", name].concat() };
    let mut name = name.to_owned();
    for _ in 0..CHAIN_MAX {
        match git.file(&below(&name)) {
            Some(text) => match reference(&text) {
                Some(next) => name = next.to_owned(),
                None => return oid(&text),
            },
            None => return packed(&git.file(&below(b"packed-refs"))?, &name),
        }
    }
    None
}

/// Finds a ref in packed-refs (gitrepository-layout(5)): `<oid> <name>` lines.
fn packed(text: &[u8], name: &[u8]) -> Option<String> {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let at = line.iter().position(|byte| *byte == b' ')?;
        (&line[at + 1..] == name).then(|| oid(&line[..at]))?
    })
}

fn directory(workspace: &Workspace, parent: Ino, name: &[u8]) -> Option<Ino> {
    let attr = workspace.lookup(parent, name).ok()?;
    (attr.kind == FileKind::Dir).then_some(attr.ino)
}

fn file(workspace: &Workspace, parent: Ino, name: &[u8]) -> Option<Vec<u8>> {
    let attr = workspace.lookup(parent, name).ok()?;
    if attr.kind != FileKind::File || attr.size > FILE_BYTES_MAX {
        return None;
    }
    let read = || -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        workspace.read(attr.ino, 0, usize::try_from(attr.size).unwrap_or(0), &mut bytes)?;
        Ok(bytes)
    };
    read().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_refs_are_searched_by_whole_name() {
        let id = "1".repeat(40);
        let text = format!(
            "# pack-refs with: peeled\n{id} refs/heads/main2\n^{id}\nrubbish\n{id} refs/heads/main\n"
        );
        assert_eq!(packed(text.as_bytes(), b"refs/heads/main"), Some(id));
        assert_eq!(packed(text.as_bytes(), b"refs/heads/mai"), None);
    }

    #[test]
    fn ids_must_be_whole() {
        assert_eq!(oid(b"1234\n"), None);
        assert_eq!(oid(b"\xff"), None);
        assert!(oid(format!("{}\n", "a".repeat(64)).as_bytes()).is_some());
    }
}
