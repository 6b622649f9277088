//! Where the git directory of a working tree is: `.git`, or where the file of that name says (gitrepository-layout(5)).

use crate::repo::read_small;
use std::path::{Path, PathBuf};

/// The git directory of a working tree, if there is one.
pub(crate) fn git_dir(tree: &Path) -> Option<PathBuf> {
    let dot_git = tree.join(".git");
    if dot_git.is_dir() {
        return Some(dot_git);
    }
    Some(tree.join(named(&read_small(&dot_git)?)?)).filter(|dir| dir.is_dir())
}

/// The path a `.git` file names; relative to the directory the file is in.
pub fn named(text: &[u8]) -> Option<PathBuf> {
    let path = text.strip_prefix(b"gitdir: ")?;
    let end = path.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'))?;
    Some(PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&path[..=end])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_git_file_names_a_path_and_nothing_else() {
        assert_eq!(named(b"gitdir: ../x y/.git\n"), Some(PathBuf::from("../x y/.git")));
        assert_eq!(named(b"gitdir: /a\r\n"), Some(PathBuf::from("/a")));
        for text in [&b"gitdir: \n"[..], b"gitdir:/a\n", b"", b"ref: refs/heads/main\n"] {
            assert_eq!(named(text), None);
        }
    }
}
