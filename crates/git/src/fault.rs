//! Turns what gix says into faults a user reads, on one line and with secrets masked.

use crate::url::mask;
use std::path::Path;
use weald_model::{Code, Fault, Oid, SourceError};

/// Longest part of a foreign message that is shown.
const DETAIL_CHARS_MAX: usize = 300;

/// A foreign error on one line, bounded, without secrets.
pub(crate) fn detail(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    mask(&line.chars().take(DETAIL_CHARS_MAX).collect::<String>())
}

pub(crate) fn missing(oid: &Oid, repo: &Path) -> Fault {
    Fault::new(Code::MissingObject, format!("object {oid} is missing from {}", repo.display()))
        .hint(format!("git -C {} fsck", quote(repo)))
}

pub(crate) fn damaged(oid: &Oid, repo: &Path, why: &dyn std::fmt::Display) -> Fault {
    Fault::new(Code::MissingObject, format!("object {oid} in {} is damaged: {}", repo.display(), detail(why)))
        .hint(format!("git -C {} fsck", quote(repo)))
}

pub(crate) fn from_source(error: &SourceError, repo: &Path) -> Fault {
    match error {
        SourceError::Missing(oid) => missing(oid, repo),
        SourceError::Damaged(oid, why) => damaged(oid, repo, why),
        SourceError::Unavailable(why) => Fault::new(Code::GitFailed, format!("{}: {why}", repo.display())),
        SourceError::Unfetched(_) | SourceError::Interrupted => {
            Fault::new(Code::GitFailed, format!("{}: {error}", repo.display()))
        }
    }
}

/// A path as one shell word, for hints that can be pasted.
pub(crate) fn quote(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | '@' | ':' | ',');
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
