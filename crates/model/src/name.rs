//! Names, checked once in their constructors.

use std::fmt;
use std::sync::Arc;

/// Longest name of a directory entry in bytes (NAME_MAX, limits.h).
pub const NAME_BYTES_MAX: usize = 255;

/// The name of a directory entry: 1 to 255 bytes, no `/`, no NUL, neither `.` nor `..`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

/// Why bytes are not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, `.`, `..`, or with `/` or NUL.
    #[error("not a file name")]
    Invalid,
    /// Over 255 bytes.
    #[error("longer than 255 bytes")]
    TooLong,
}

impl Name {
    /// Checks and takes a name.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        Self::check(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// Checks bytes without taking them.
    pub fn check(bytes: &[u8]) -> Result<(), NameError> {
        if bytes.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(NameError::Invalid);
        }
        Ok(())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Longest workspace name in bytes: it is also a directory name, a ref component and a file-system source.
pub const WORKSPACE_NAME_BYTES_MAX: usize = 100;

/// The name of a workspace: 1 to 100 bytes of UTF-8 that are a directory name and a git ref component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspaceName(String);

impl WorkspaceName {
    /// Checks a name. The error is a sentence part that says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, &'static str> {
        let refused = |c: char| {
            c.is_control()
                || c.is_whitespace()
                || matches!(c, '/' | '\\' | '~' | '^' | ':' | '?' | '*' | '[' | '@')
        };
        Err(if name.is_empty() {
            "it is empty"
        } else if name.len() > WORKSPACE_NAME_BYTES_MAX {
            "it is longer than 100 bytes"
        } else if name.starts_with(['-', '.']) {
            "it starts with `-` or `.`"
        } else if name.contains("..") || name.ends_with('.') || name.ends_with(".lock") {
            "git refuses it as a part of a ref (`..`, a final `.`, or `.lock`)"
        } else if matches!(name, "pins" | "anchors" | "asked") {
            "Weald keeps refs of its own under refs/weald/pins, anchors and asked"
        } else if name.chars().any(refused) {
            "it has a space, a control character or one of / \\ ~ ^ : ? * [ @"
        } else {
            return Ok(Self(name.to_owned()));
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
