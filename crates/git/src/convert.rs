//! Conversions: files whose content `git checkout` would write unlike the blob (gitattributes(5): `text`, `eol`,
//! `ident`, `working-tree-encoding`, `filter`).
//!
//! Git itself converts, in a repository of its own that has the index of the tree, so what comes out is what a checkout
//! writes. Invariants: what a repository's configuration or content names is never run: filters count only as the
//! user's own global and system configuration have them; whatever fails leaves the content as it was committed, and is told.
//!
//! Read [`rules`] (what the user's configuration says), then [`room`] (the repository, and what git does there).

pub mod room;
pub mod rules;

pub use room::{Candidate, Conversion, Room, Way};
pub use rules::Rules;

/// Attributes are in files of this name (gitattributes(5)).
pub const ATTRIBUTES_FILE: &[u8] = b".gitattributes";

/// A pointer to content that Git LFS keeps (its specification, version 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// SHA-256 of the content.
    pub hash: [u8; 32],
    /// Its bytes.
    pub size: u64,
}

/// Pointers are shorter than this.
const POINTER_BYTES_MAX: usize = 1024;

impl Pointer {
    /// Reads a pointer: lines of a key and a value, `version` first.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= POINTER_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let mut lines = text.lines();
        let version = lines.next()?.strip_prefix("version ")?;
        if version != "https://git-lfs.github.com/spec/v1" && version != "https://hawser.github.com/spec/v1" {
            return None;
        }
        let (mut hash, mut size) = (None, None);
        for line in lines {
            match line.split_once(' ')? {
                ("oid", value) => hash = weald_model::Oid::from_hex(value.strip_prefix("sha256:")?),
                ("size", value) => size = value.parse().ok(),
                _ => {}
            }
        }
        Some(Self { hash: hash?.as_bytes().try_into().ok()?, size: size? })
    }

    /// Whether this is the content.
    pub fn names(&self, content: &[u8]) -> bool {
        content.len() as u64 == self.size
            && crate::ObjectFormat::Sha256.hash(&[content]).as_bytes() == self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_from_anything_else() {
        let digits = "ab".repeat(32);
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{digits}\nsize 12345\n");
        assert_eq!(Pointer::parse(text.as_bytes()), Some(Pointer { hash: [0xab; 32], size: 12345 }));
        let long = format!("{text}{}", "x-y z\n".repeat(200));
        for other in ["", "version 1\n", &text.replace("sha256", "md5"), &text.replace("12345", "-1"), &long]
        {
            assert_eq!(Pointer::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Pointer::parse(b"\xff\xfe"), None);
    }

    #[test]
    fn content_is_checked_against_its_pointer() {
        let hash = crate::ObjectFormat::Sha256.hash(&[b"content"]);
        let pointer = Pointer { hash: hash.as_bytes().try_into().expect("32 bytes"), size: 7 };
        assert!(pointer.names(b"content"));
        assert!(!pointer.names(b"Content") && !pointer.names(b"content "));
    }
}
