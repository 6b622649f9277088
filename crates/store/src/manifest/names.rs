//! Which names of a tree are refused: those no file can have, and those that are `.git` on some file system.
//!
//! Invariant: what git's `verify_path` refuses with core.protectHFS and core.protectNTFS set is refused here (read-cache.c,
//! path.c and utf8.c of git 2.47), for a tree is to be as harmless when it is copied out of the workspace as in it.
//! Read next: [`why_hostile`].

use weald_model::{Name, NameError, TreeKind};

/// Says why an entry must not appear in a workspace, or `None` when it may.
pub fn why_hostile(name: &[u8], kind: TreeKind) -> Option<&'static str> {
    match Name::check(name) {
        Ok(()) => {}
        Err(NameError::TooLong) => return Some("whose name is longer than 255 bytes"),
        Err(NameError::Invalid) => return Some("which is not a file name"),
    }
    if is_dotgit(name) {
        return Some("which is `.git` on some file system");
    }
    if kind == TreeKind::Symlink && is_dotgitmodules(name) {
        return Some("a symbolic link in place of `.gitmodules`");
    }
    None
}

fn is_dotgit(name: &[u8]) -> bool {
    // A backslash separates directories on NTFS, so what follows one is a name there.
    is_hfs_dot(name, b"git") || name.split(|byte| *byte == b'\\').any(is_ntfs_dotgit)
}

fn is_dotgitmodules(name: &[u8]) -> bool {
    is_hfs_dot(name, b"gitmodules") || name.split(|byte| *byte == b'\\').any(is_ntfs_dotgitmodules)
}

/// `.git` or its short name `git~1`, then anything NTFS drops: dots, spaces, a stream after a colon.
fn is_ntfs_dotgit(name: &[u8]) -> bool {
    let Some((start, rest)) = name.split_at_checked(4) else { return false };
    if start.eq_ignore_ascii_case(b".git") {
        return is_dropped_by_ntfs(rest);
    }
    match name.split_at_checked(5) {
        Some((start, rest)) => start.eq_ignore_ascii_case(b"git~1") && is_dropped_by_ntfs(rest),
        None => false,
    }
}

fn is_ntfs_dotgitmodules(name: &[u8]) -> bool {
    const LONG: &[u8] = b".gitmodules";
    if let Some((start, rest)) = name.split_at_checked(LONG.len())
        && start.eq_ignore_ascii_case(LONG)
    {
        return is_dropped_by_ntfs(rest);
    }
    let Some((short, rest)) = name.split_at_checked(8) else { return false };
    let is_short =
        short[..6].eq_ignore_ascii_case(b"gitmod") && short[6] == b'~' && matches!(short[7], b'1'..=b'4');
    (is_short || is_ntfs_fallback_name(short, b"gi7eba")) && is_dropped_by_ntfs(rest)
}

/// A short name of the second kind: some of `prefix`, a tilde, a number without leading zero; eight bytes in all.
fn is_ntfs_fallback_name(short: &[u8], prefix: &[u8; 6]) -> bool {
    let Some(tilde) = short.iter().position(|byte| *byte == b'~') else { return false };
    let number = &short[tilde + 1..];
    tilde <= prefix.len()
        && short[..tilde].eq_ignore_ascii_case(&prefix[..tilde])
        && matches!(number.first(), Some(b'1'..=b'9'))
        && number.iter().all(u8::is_ascii_digit)
}

fn is_dropped_by_ntfs(rest: &[u8]) -> bool {
    let until_stream = rest.split(|byte| *byte == b':').next().unwrap_or(rest);
    until_stream.iter().all(|byte| matches!(byte, b'.' | b' '))
}

/// `.` and `word` in any case, with any code points between that HFS+ ignores. As in git, bytes that are not UTF-8
/// end the name.
fn is_hfs_dot(name: &[u8], word: &[u8]) -> bool {
    let valid = match std::str::from_utf8(name) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&name[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut seen = valid.chars().filter(|c| !is_ignored_by_hfs(*c));
    seen.next() == Some('.')
        && word.iter().all(|byte| seen.next().is_some_and(|c| c.eq_ignore_ascii_case(&char::from(*byte))))
        && seen.next().is_none()
}

const fn is_ignored_by_hfs(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
