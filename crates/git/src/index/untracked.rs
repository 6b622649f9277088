//! The untracked cache of an index (gitformat-index(5), "Untracked cache") of a tree in which nothing is untracked: with it,
//! and told that nothing changed, git reads no directory even at the first status.
//!
//! It holds the path of the working tree, so it is not the same for all who share an index. That part has a fixed length, and
//! [`Unsettled`] fills it in afterwards. Invariant: an index that was not settled has the path of none, and git makes the
//! cache anew. What `lstat` says of directories is left zero: git looks at it only when nobody tells what changed, and then
//! it reads the directory.

use crate::ObjectFormat;
use crate::cached_tree::CachedTrees;
use crate::hash::{Digest, object_id};
use gix::objs::Kind;
use std::path::Path;
use weald_model::Oid;

/// Room for the path. Git takes the text up to the first zero byte.
const PLACE_BYTES: usize = 1000;
/// What git keeps of an `lstat`.
const STAT_BYTES: usize = 36;
/// `DIR_SHOW_OTHER_DIRECTORIES` and `DIR_HIDE_EMPTY_DIRECTORIES`: what `git status` asks for unless told otherwise.
const FLAGS: u32 = 6;
const SIGNATURE: &[u8; 4] = b"UNTR";
/// Bytes of an index before its first entry, and of an entry before its id.
const HEAD_BYTES: usize = 12;
const ENTRY_BYTES: usize = 40;

/// Content of the extension, with no path in it.
pub(crate) fn extension(format: ObjectFormat, trees: &CachedTrees) -> Vec<u8> {
    let mut out = Vec::new();
    varint(PLACE_BYTES as u64, &mut out);
    out.resize(out.len() + PLACE_BYTES + 2 * STAT_BYTES, 0);
    out.extend_from_slice(&FLAGS.to_be_bytes());
    out.resize(out.len() + 2 * format.oid_bytes(), 0);
    out.extend_from_slice(b".gitignore\0");
    let dirs = trees.depth_first();
    varint(dirs.len() as u64, &mut out);
    for dir in &dirs {
        varint(0, &mut out);
        varint(dir.children as u64, &mut out);
        out.extend_from_slice(dir.name);
        out.push(0);
    }
    bitmap(dirs.len(), |_| true, &mut out);
    bitmap(0, |_| false, &mut out);
    bitmap(dirs.len(), |at| dirs[at].ignore.is_some(), &mut out);
    out.resize(out.len() + STAT_BYTES * dirs.len(), 0);
    dirs.iter().filter_map(|dir| dir.ignore).for_each(|ignore| out.extend_from_slice(ignore.as_bytes()));
    out.push(0);
    out
}

/// Git's numbers of variable length (`varint.h`): every length has its own range.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    let mut bytes = vec![(value & 0x7F) as u8];
    value >>= 7;
    while value > 0 {
        value -= 1;
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.extend(bytes.into_iter().rev());
}

/// An EWAH bitmap without runs: bits, words, one word that counts the others, these, and where the first of them is.
fn bitmap(bits: usize, is_set: impl Fn(usize) -> bool, out: &mut Vec<u8>) {
    let words: Vec<u64> = (0..bits.div_ceil(64))
        .map(|word| {
            (0..64).filter(|bit| word * 64 + bit < bits && is_set(word * 64 + bit)).map(|bit| 1 << bit).sum()
        })
        .collect();
    out.extend_from_slice(&(bits as u32).to_be_bytes());
    out.extend_from_slice(&(words.len() as u32 + 1).to_be_bytes());
    out.extend_from_slice(&((words.len() as u64) << 33).to_be_bytes());
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
    out.extend_from_slice(&0_u32.to_be_bytes());
}

/// An index whose cache has no path yet, ready to be given one as often as needed.
#[derive(Clone)]
pub struct Unsettled {
    format: ObjectFormat,
    /// The hash of what comes before the part that is filled in.
    before: Digest,
    /// Where that part begins.
    offset: u64,
    /// What comes behind it, without the hash at the end.
    behind: Vec<u8>,
}

/// What to write into a copy of an index.
#[derive(Debug)]
pub struct Settled {
    /// Offset and bytes, in order.
    pub writes: [(u64, Vec<u8>); 2],
}

impl Unsettled {
    /// Finds the part in an index that [`crate::index_of_tree`] made; None when there is none.
    pub fn find(index: &[u8], format: ObjectFormat) -> Option<Self> {
        let hash = format.oid_bytes();
        let end = index.len().checked_sub(hash)?;
        let mut at = behind_entries(index, format)?;
        loop {
            let head = index.get(at..at + 8).filter(|_| at + 8 <= end)?;
            let length = u32::from_be_bytes(head[4..].try_into().ok()?) as usize;
            if &head[..4] == SIGNATURE {
                break;
            }
            at = at.checked_add(8 + length)?;
        }
        let mut length = Vec::new();
        varint(PLACE_BYTES as u64, &mut length);
        let offset = at + 8 + length.len();
        let behind = index.get(offset + part_bytes(format)..end)?.to_vec();
        let mut before = Digest::new(format);
        before.update(index.get(..offset)?);
        Some(Self { format, before, offset: offset as u64, behind })
    }

    /// Fills the part in: for a working tree, its `.git/info/exclude`, and the user's own file of that kind if there is one.
    /// None when the path is too long.
    pub fn settle(&self, worktree: &Path, exclude: &[u8], excludes_file: Option<&[u8]>) -> Option<Settled> {
        let mut part = [b"Location ", crate::repo::path_bytes(worktree), b", system Linux"].concat();
        if part.len() >= PLACE_BYTES {
            return None;
        }
        part.resize(PLACE_BYTES + 2 * STAT_BYTES, 0);
        part.extend_from_slice(&FLAGS.to_be_bytes());
        // Git ends what it read with a line end of its own before it hashes it, unless it is empty.
        let id = |content: &[u8]| match content {
            b"" => object_id(self.format, Kind::Blob, b""),
            _ => object_id(self.format, Kind::Blob, &[content, b"\n"].concat()),
        };
        part.extend_from_slice(id(exclude).as_bytes());
        match excludes_file {
            Some(content) => part.extend_from_slice(id(content).as_bytes()),
            None => part.resize(part.len() + self.format.oid_bytes(), 0),
        }
        let mut digest = self.before.clone();
        digest.update(&part);
        digest.update(&self.behind);
        let end = self.offset + (part.len() + self.behind.len()) as u64;
        Some(Settled { writes: [(self.offset, part), (end, digest.finish().as_bytes().to_vec())] })
    }
}

fn part_bytes(format: ObjectFormat) -> usize {
    PLACE_BYTES + 2 * STAT_BYTES + 4 + 2 * format.oid_bytes()
}

/// Where the extensions of an index of version 2 begin.
fn behind_entries(index: &[u8], format: ObjectFormat) -> Option<usize> {
    let field = |at: usize| Some(u32::from_be_bytes(index.get(at..at + 4)?.try_into().ok()?));
    if !index.starts_with(b"DIRC") || field(4)? != 2 {
        return None;
    }
    let fixed = ENTRY_BYTES + format.oid_bytes() + 2;
    let mut at = HEAD_BYTES;
    for _ in 0..field(8)? {
        let flags = index.get(at + fixed - 2..at + fixed)?;
        let length = usize::from(u16::from_be_bytes([flags[0], flags[1]]) & 0xFFF);
        let length = match length {
            0xFFF => index.get(at + fixed..)?.iter().position(|byte| *byte == 0)?,
            short => short,
        };
        at += (fixed + length + 8) & !7;
    }
    Some(at)
}

/// A directory of the cache.
pub(crate) struct Dir<'a> {
    pub(crate) name: &'a [u8],
    /// Directories in it.
    pub(crate) children: usize,
    /// Its `.gitignore`.
    pub(crate) ignore: Option<Oid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_git_reads_them() {
        let read = |bytes: &[u8]| {
            let mut value = u64::from(bytes[0] & 0x7F);
            for pair in bytes.windows(2) {
                assert_ne!(pair[0] & 0x80, 0);
                value = ((value + 1) << 7) + u64::from(pair[1] & 0x7F);
            }
            value
        };
        for value in [0, 1, 127, 128, 129, 255, 16_511, 16_512, 1 << 40] {
            let mut bytes = Vec::new();
            varint(value, &mut bytes);
            assert_eq!(read(&bytes), value);
        }
    }

    #[test]
    fn what_is_no_index_of_ours_has_no_part_to_fill_in() {
        for bytes in [&b""[..], b"DIRC", b"DIRC\0\0\0\x02\0\0\0\0", &[0xFF; 100]] {
            assert!(Unsettled::find(bytes, ObjectFormat::Sha1).is_none());
        }
    }
}
