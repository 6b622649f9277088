//! Whether one index says the same as another: what is staged, not what `lstat` said at the time.

use super::read;
use crate::ObjectFormat;
use gix::index::Entry;
use gix::index::entry::Flags;

/// What is no cache in the flags of an entry: its stage, and what a user sets with git-add(1) and git-update-index(1).
const SAID: Flags =
    Flags::STAGE_MASK.union(Flags::ASSUME_VALID).union(Flags::INTENT_TO_ADD).union(Flags::SKIP_WORKTREE);

/// True when both name the same paths with the same modes, objects and stages, so that git says the same of both
/// whatever the working tree is. False for what is no index, and for a split one: what it says lies elsewhere.
pub fn is_refreshed(old: &[u8], new: &[u8]) -> bool {
    [ObjectFormat::Sha1, ObjectFormat::Sha256].into_iter().any(|format| {
        let (Some(old), Some(new)) = (read(old, format), read(new, format)) else { return false };
        let is_same = |(a, b): (&Entry, &Entry)| {
            (a.id, a.mode, a.flags & SAID) == (b.id, b.mode, b.flags & SAID) && a.path(&old) == b.path(&new)
        };
        old.entries().len() == new.entries().len() && old.entries().iter().zip(new.entries()).all(is_same)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{IndexEntry, IndexStat, IndexWriter};
    use weald_model::TreeKind;

    fn index(format: ObjectFormat, paths: &[&[u8]], kind: TreeKind, content: &[u8], seen: u64) -> Vec<u8> {
        let mut writer = IndexWriter::new(format, paths.len());
        if seen > 1 {
            writer.fsmonitor("weald:base");
        }
        for path in paths {
            let stat = IndexStat { ino: seen, ..IndexStat::default() };
            writer.push(&IndexEntry { path, kind, oid: format.hash(&[content]), stat }).expect("in order");
        }
        writer.finish(None)
    }

    #[test]
    fn only_paths_modes_and_objects_count() {
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            let make =
                |paths: &[&[u8]], kind, content: &[u8], seen| index(format, paths, kind, content, seen);
            let old = make(&[b"a", b"b"], TreeKind::File, b"x", 1);
            assert!(is_refreshed(&old, &make(&[b"a", b"b"], TreeKind::File, b"x", 2)));
            assert!(!is_refreshed(&old, &make(&[b"a"], TreeKind::File, b"x", 1)));
            assert!(!is_refreshed(&old, &make(&[b"a", b"c"], TreeKind::File, b"x", 1)));
            assert!(!is_refreshed(&old, &make(&[b"a", b"b"], TreeKind::Executable, b"x", 1)));
            assert!(!is_refreshed(&old, &make(&[b"a", b"b"], TreeKind::File, b"y", 1)));
        }
    }

    #[test]
    fn what_is_no_index_is_like_none() {
        let whole = index(ObjectFormat::Sha1, &[b"a", b"b"], TreeKind::File, b"x", 1);
        assert!(is_refreshed(&whole, &whole));
        for end in 0..whole.len() {
            assert!(!is_refreshed(&whole, &whole[..end]) || end + 20 >= whole.len(), "{end}");
        }
        let mut many = whole.clone();
        many[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(!is_refreshed(&many, &many));
        assert!(!is_refreshed(b"", b""));
    }
}
