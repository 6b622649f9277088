//! Where `HEAD` of a workspace stands, read from its own git directory through the engine.
//!
//! Invariant: the bytes are the user's (or an attacker's): bounded, never trusted to be UTF-8 or a ref.

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
    let Some(git) = directory(workspace, Ino::ROOT, b".git") else { return Head::default() };
    let Some(text) = file(workspace, git, b"HEAD") else { return Head::default() };
    match reference(&text) {
        Some(name) => Head { branch: Some(short(name)), commit: follow(workspace, git, name) },
        None => Head { branch: None, commit: oid(&text) },
    }
}

/// The commit a ref leads to.
pub(crate) fn resolve(workspace: &Workspace, name: &[u8]) -> Option<String> {
    let git = directory(workspace, Ino::ROOT, b".git")?;
    follow(workspace, git, name)
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

fn follow(workspace: &Workspace, git: Ino, name: &[u8]) -> Option<String> {
    let mut name = name.to_owned();
    for _ in 0..CHAIN_MAX {
        match loose(workspace, git, &name) {
            Some(text) => match reference(&text) {
                Some(next) => name = next.to_owned(),
                None => return oid(&text),
            },
            None => return packed(&file(workspace, git, b"packed-refs")?, &name),
        }
    }
    None
}

fn loose(workspace: &Workspace, git: Ino, name: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    let last = parts.pop()?;
    let mut dir = git;
    for part in parts {
        dir = directory(workspace, dir, part)?;
    }
    file(workspace, dir, last)
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
