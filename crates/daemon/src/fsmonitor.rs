//! Telling git what changed: the program that `core.fsmonitor` names, and the daemon's answer to it.
//!
//! Git runs `weald-fsmonitor 2 TOKEN` in the root of the working tree and reads the next token and paths, each ended by a
//! zero byte; `/` is everything (githooks(5), fsmonitor-watchman, version 2). What git directories name is a link in the
//! home, a path that stays: to the small program of that name beside the one that runs the daemon, or to that one, which can do the
//! same but takes longer to start. Invariant: when in doubt, everything; when there is no answer, a failure, upon which git looks
//! for itself.

use crate::ask::{self, unseen};
use crate::entry::Entry;
use crate::forest::Forest;
use crate::launch;
use crate::protocol::{Request, Target};
use crate::report::{Bytes, ChangedPaths};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use weald_engine::Since;
use weald_model::{Fault, WorkspaceId};

/// Name of the program.
pub const PROGRAM: &str = "weald-fsmonitor";
/// The directory it is in, in a home.
pub(crate) const DIR: &str = "bin";
/// The version of the protocol.
const VERSION: &str = "2";
/// The token of an index that is as the base is.
pub(crate) const BASE_TOKEN: &str = "weald:base";

/// Answers git, from the program's name and its arguments. None: there is no answer.
pub fn run(program: &Path, arguments: &[String]) -> Option<()> {
    let [version, token] = arguments else { return None };
    if version != VERSION {
        return None;
    }
    let home = program.parent()?.parent()?;
    let directory = std::env::current_dir().ok()?;
    let device = std::fs::metadata(".").ok()?.dev();
    let target = Target { name: None, directory: Some(directory.to_str()?.to_owned()), device: Some(device) };
    let stream = launch::connect(home).ok()??;
    let request = Request::Changes { target, since: token.clone() };
    let changed: ChangedPaths = ask::ask(stream, &request, &mut unseen).ok()?;
    io::stdout().write_all(&changed.as_git_reads_it()).ok()
}

impl ChangedPaths {
    /// The token, then the paths, each ended by a zero byte; `/` is everything.
    pub(crate) fn as_git_reads_it(&self) -> Vec<u8> {
        let everything = [Bytes(b"/".to_vec())];
        let paths = self.paths.as_deref().unwrap_or(&everything);
        let mut said = Vec::new();
        for part in std::iter::once(self.token.as_bytes()).chain(paths.iter().map(|Bytes(path)| &path[..])) {
            said.extend_from_slice(part);
            said.push(0);
        }
        said
    }
}

/// Makes the link in a home; gives its path, or None when git could not run it there: it takes the path for a line of shell.
pub(crate) fn install(home: &Path) -> Option<PathBuf> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@:,".contains(byte) || !byte.is_ascii();
    let path = home.join(DIR).join(PROGRAM);
    if !path.as_os_str().as_bytes().iter().all(is_plain) {
        return None;
    }
    link(home, PROGRAM).map(|()| path)
}

/// Makes a link of this name in a home to the program of that name beside the one that runs, or to the latter.
pub(crate) fn link(home: &Path, name: &str) -> Option<()> {
    let path = home.join(DIR).join(name);
    let running = std::env::current_exe().ok()?;
    let program = Some(running.with_file_name(name)).filter(|own| own.is_file()).unwrap_or(running);
    if std::fs::read_link(&path).ok().as_deref() == Some(&program) {
        return Some(());
    }
    std::fs::create_dir_all(home.join(DIR)).ok()?;
    let new = home.join(DIR).join(format!("tmp-{name}"));
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(&program, &new).ok()?;
    std::fs::rename(&new, &path).ok()
}

impl Forest {
    /// What changed in a workspace since a token.
    pub(crate) fn changes(&self, target: &Target, token: &str) -> Result<ChangedPaths, Fault> {
        self.changes_in(&*self.find(target)?, token)
    }

    /// The same for one that was found.
    pub(crate) fn changes_in(&self, entry: &Entry, token: &str) -> Result<ChangedPaths, Fault> {
        let workspace = entry.load(&self.stores)?;
        let since = parse(token);
        // An unknown token is one of no workspace.
        let since = since.unwrap_or(Since::Record(WorkspaceId(0), 0));
        let changes = workspace.changes(since, b".git").map_err(|error| {
            crate::faults::errno(&format!("looking for what changed in `{}`", entry.name()), error)
        })?;
        let paths = changes.paths.map(|paths| paths.into_iter().map(Bytes).collect());
        Ok(ChangedPaths { token: text(changes.now), paths })
    }
}

pub(crate) fn text(since: Since) -> String {
    match since {
        Since::Base => BASE_TOKEN.to_owned(),
        Since::Record(log, seq) => format!("weald:{log}:{seq}"),
    }
}

pub(crate) fn parse(token: &str) -> Option<Since> {
    if token == BASE_TOKEN {
        return Some(Since::Base);
    }
    let (log, seq) = token.strip_prefix("weald:")?.split_once(':')?;
    let log = u64::from_str_radix(log, 16).ok().filter(|_| log.len() == 16)?;
    Some(Since::Record(WorkspaceId(log), seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_no_other_is_one() {
        for since in
            [Since::Base, Since::Record(WorkspaceId(1), 0), Since::Record(WorkspaceId(u64::MAX), 1 << 40)]
        {
            assert_eq!(parse(&text(since)), Some(since));
        }
        for other in [
            "",
            "1234",
            "builtin:1:2",
            "weald:",
            "weald:1:2",
            "weald:zzzzzzzzzzzzzzzz:1",
            "weald:0000000000000001:-1",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_home_with_a_name_the_shell_would_split_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory can be made");
        assert!(install(dir.path()).is_some_and(|path| path.exists()));
        assert_eq!(install(&dir.path().join("with space")), None);
        assert_eq!(install(&dir.path().join("$HOME")), None);
    }
}
