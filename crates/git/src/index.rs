//! Writes git's index, version 2 (gitformat-index(5)), with the stat data a file system will report, so that the
//! first `git status` finds every file unchanged without reading one.
//!
//! Invariant: entries are in git's order and each path is there once; the trailer covers every byte before it.
//! The file's own mtime must be later than every entry's mtime, or git takes the entries for racy and reads files
//! (git's Documentation/technical/racy-git); the caller sees to that by dating base files in the past.
//!
//! Entries say what the tree holds. Where attributes or `core.autocrlf` would make checked-out content differ from
//! the blob, git will see a difference only once it has a reason to read the file.
//!
//! Read [`crate::cached_tree`] for the walk over a whole tree.

mod refreshed;
pub(crate) mod untracked;

pub use refreshed::is_refreshed;
pub use untracked::{Settled, Unsettled};

use crate::ObjectFormat;
use crate::cached_tree::CachedTrees;
use crate::repo::guarded;
use gix::index::decode;
use std::cmp::Ordering;
use weald_model::{Code, Fault, Oid, Timestamp, TreeKind};

/// Fixed part of an entry before the object id: ten 32-bit fields.
const STAT_BYTES: usize = 40;

/// The flags' field for the length of a name; longer ones store this and are ended by their NUL.
const NAME_LENGTH_MAX: usize = 0xFFF;

/// Entries that are worth a thread to read them; an index of two such blocks says where each begins.
const BLOCK: u32 = 10_000;

/// What `lstat` will say about a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStat {
    /// `st_size`.
    pub size: u64,
    /// `st_ino`.
    pub ino: u64,
    /// `st_dev`; git ignores it unless built otherwise, 0 lets one index serve many mounts.
    pub dev: u64,
    /// `st_mtim`.
    pub mtime: Timestamp,
    /// `st_ctim`.
    pub ctime: Timestamp,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// One path of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry<'a> {
    /// Path from the root of the work tree, `/` between names, none at the ends.
    pub(crate) path: &'a [u8],
    /// What the tree has there; never [`TreeKind::Dir`].
    pub(crate) kind: TreeKind,
    /// Blob, or commit of a submodule.
    pub(crate) oid: Oid,
    /// Its stat data.
    pub(crate) stat: IndexStat,
}

/// Why an index cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// A path is empty, comes twice, or before its predecessor.
    #[error("index path `{0}` is empty, doubled or out of order")]
    OutOfOrder(String),
    /// A directory is no index entry.
    #[error("index path `{0}` is a directory")]
    Directory(String),
    /// More entries than 32 bits count.
    #[error("too many index entries")]
    TooMany,
}

impl From<IndexError> for Fault {
    fn from(error: IndexError) -> Self {
        Fault::new(Code::Internal, error.to_string())
    }
}

/// Compares two names of one directory as git sorts the paths below them: a directory as if it ended in `/`.
pub(crate) fn index_order(a: &[u8], a_is_dir: bool, b: &[u8], b_is_dir: bool) -> Ordering {
    gix::objs::tree::name_order(a, a_is_dir, b, b_is_dir)
}

/// Takes entries in index order and gives the bytes of the file.
#[derive(Debug)]
pub(crate) struct IndexWriter {
    format: ObjectFormat,
    out: Vec<u8>,
    entries: u32,
    /// Where the last path stands in `out`.
    last_path: std::ops::Range<usize>,
    /// Content of the FSMN extension; empty for none.
    fsmonitor: Vec<u8>,
    /// Where each [`BLOCK`] of entries begins.
    blocks: Vec<u32>,
    /// Signatures and lengths of the extensions so far.
    extensions: Vec<u8>,
}

impl IndexWriter {
    /// Starts an index; `entries_expected` only sizes the buffer, up to a bound.
    pub(crate) fn new(format: ObjectFormat, entries_expected: usize) -> Self {
        let mut out = Vec::with_capacity(128 * entries_expected.min(1 << 20) + 4096);
        out.extend_from_slice(b"DIRC");
        out.extend_from_slice(&2_u32.to_be_bytes());
        out.extend_from_slice(&0_u32.to_be_bytes());
        Self {
            format,
            out,
            entries: 0,
            last_path: 0..0,
            fsmonitor: Vec::new(),
            blocks: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// Number of entries so far.
    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }

    /// Appends an entry.
    pub(crate) fn push(&mut self, entry: &IndexEntry<'_>) -> Result<(), IndexError> {
        let name = || String::from_utf8_lossy(entry.path).into_owned();
        if entry.path <= &self.out[self.last_path.clone()] {
            return Err(IndexError::OutOfOrder(name()));
        }
        let mode = mode_of(entry.kind).ok_or_else(|| IndexError::Directory(name()))?;
        let start = self.out.len();
        if self.entries.is_multiple_of(BLOCK) {
            self.blocks.push(u32::try_from(start).map_err(|_| IndexError::TooMany)?);
        }
        self.entries = self.entries.checked_add(1).ok_or(IndexError::TooMany)?;
        self.out.extend_from_slice(&stat_fields(&entry.stat, mode));
        self.out.extend_from_slice(entry.oid.as_bytes());
        let length = entry.path.len().min(NAME_LENGTH_MAX) as u16;
        self.out.extend_from_slice(&length.to_be_bytes());
        let path = self.out.len();
        self.out.extend_from_slice(entry.path);
        self.last_path = path..self.out.len();
        // One to eight NULs, so that entries stay aligned and names are ended.
        let padded = (self.out.len() - start + 8) & !7;
        self.out.resize(start + padded, 0);
        Ok(())
    }

    /// Says that the file system can tell what changed since `token`, when nothing had: the FSMN extension, version 2
    /// (gitformat-index(5)), with an empty bitmap of entries to look at.
    pub(crate) fn fsmonitor(&mut self, token: &str) {
        // An EWAH bitmap of no bits: number of bits, number of words, one empty word, position of the last word.
        const EMPTY: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut body = 2_u32.to_be_bytes().to_vec();
        body.extend_from_slice(token.as_bytes());
        body.push(0);
        body.extend_from_slice(&(EMPTY.len() as u32).to_be_bytes());
        body.extend_from_slice(&EMPTY);
        self.fsmonitor = body;
    }

    /// Ends the index; `trees` becomes the TREE extension, which spares the first `git status` the walk over HEAD.
    pub(crate) fn finish(mut self, trees: Option<&CachedTrees>) -> Vec<u8> {
        self.out[8..12].copy_from_slice(&self.entries.to_be_bytes());
        let end = self.out.len() as u32;
        let is_large = self.entries >= 2 * BLOCK;
        if is_large {
            let body = self.block_table();
            self.extension(b"IEOT", &body);
        }
        if let Some(trees) = trees {
            let mut body = Vec::new();
            trees.write(&mut body);
            self.extension(b"TREE", &body);
        }
        if !self.fsmonitor.is_empty() {
            let body = std::mem::take(&mut self.fsmonitor);
            self.extension(b"FSMN", &body);
            if let Some(trees) = trees {
                let body = untracked::extension(self.format, trees);
                self.extension(b"UNTR", &body);
            }
        }
        if is_large {
            let sum = self.format.hash(&[&self.extensions]);
            self.extension(b"EOIE", &[&end.to_be_bytes()[..], sum.as_bytes()].concat());
        }
        let trailer = self.format.hash(&[&self.out]);
        self.out.extend_from_slice(trailer.as_bytes());
        self.out
    }

    /// Which entries begin where, so that several threads can read them: version 1, then offset and number of each block.
    fn block_table(&self) -> Vec<u8> {
        let mut body = 1_u32.to_be_bytes().to_vec();
        for (at, offset) in self.blocks.iter().enumerate() {
            let count = BLOCK.min(self.entries - at as u32 * BLOCK);
            body.extend_from_slice(&offset.to_be_bytes());
            body.extend_from_slice(&count.to_be_bytes());
        }
        body
    }

    fn extension(&mut self, signature: &[u8; 4], body: &[u8]) {
        let head = [&signature[..], &(body.len() as u32).to_be_bytes()].concat();
        self.extensions.extend_from_slice(&head);
        self.out.extend_from_slice(&head);
        self.out.extend_from_slice(body);
    }
}

fn mode_of(kind: TreeKind) -> Option<u32> {
    Some(match kind {
        TreeKind::File => 0o100_644,
        TreeKind::Executable => 0o100_755,
        TreeKind::Symlink => 0o120_000,
        TreeKind::Gitlink => 0o160_000,
        TreeKind::Dir => return None,
    })
}

fn stat_fields(stat: &IndexStat, mode: u32) -> [u8; STAT_BYTES] {
    let fields = [
        stat.ctime.secs as u32,
        stat.ctime.nanos,
        stat.mtime.secs as u32,
        stat.mtime.nanos,
        stat.dev as u32,
        stat.ino as u32,
        mode,
        stat.uid,
        stat.gid,
        truncated_size(stat.size),
    ];
    let mut bytes = [0; STAT_BYTES];
    for (slot, field) in bytes.chunks_exact_mut(4).zip(fields) {
        slot.copy_from_slice(&field.to_be_bytes());
    }
    bytes
}

/// The low 32 bits, but never 0 for a file that is not empty (git's `munge_st_size`): 0 means "racy, look closer".
fn truncated_size(size: u64) -> u32 {
    match size as u32 {
        0 if size != 0 => 0x8000_0000,
        low => low,
    }
}

/// Reads an index; None for what is none, and for a split one: what it says lies elsewhere.
pub(crate) fn read(bytes: &[u8], format: ObjectFormat) -> Option<gix::index::State> {
    // Lengths are checked against the bytes there are; the limit is for what entries take in memory.
    let options =
        decode::Options { alloc_limit_bytes: bytes.len().checked_mul(8), ..decode::Options::default() };
    let time = filetime::FileTime::zero();
    let read = guarded(|| gix::index::State::from_bytes(bytes, time, format.kind(), options).ok())??;
    read.0.link().is_none().then_some(read.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &[u8]) -> IndexEntry<'_> {
        IndexEntry {
            path,
            kind: TreeKind::File,
            oid: ObjectFormat::Sha1.hash(&[b"x"]),
            stat: IndexStat { size: 1, ino: 1, ..IndexStat::default() },
        }
    }

    #[test]
    fn sizes_of_whole_4_gib_are_not_taken_for_empty() {
        assert_eq!(truncated_size(0), 0);
        assert_eq!(truncated_size(7), 7);
        assert_eq!(truncated_size(1 << 32), 0x8000_0000);
        assert_eq!(truncated_size((1 << 32) + 7), 7);
    }

    #[test]
    fn doubled_unsorted_and_empty_paths_are_refused() {
        let mut writer = IndexWriter::new(ObjectFormat::Sha1, usize::MAX);
        assert!(writer.push(&entry(b"")).is_err());
        writer.push(&entry(b"b")).expect("first");
        assert!(writer.push(&entry(b"b")).is_err());
        assert!(writer.push(&entry(b"a")).is_err());
        assert!(writer.push(&IndexEntry { kind: TreeKind::Dir, ..entry(b"c") }).is_err());
        writer.push(&entry(b"b/c")).expect("third");
        assert_eq!(writer.entries(), 2);
    }

    #[test]
    fn a_large_index_says_where_its_blocks_are_and_git_reads_it_in_threads() {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let git = |args: &[&str]| {
            let mut command = std::process::Command::new("git");
            let said = command.arg("-C").arg(dir.path()).args(args).output().expect("git runs");
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
            String::from_utf8(said.stdout).expect("git says text")
        };
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            let _ = std::fs::remove_dir_all(dir.path().join(".git"));
            git(&["init", "-q", &format!("--object-format={}", format.name())]);
            let paths: Vec<String> = (0..2 * BLOCK + 500).map(|number| format!("d/{number:07}")).collect();
            let mut writer = IndexWriter::new(format, paths.len());
            for path in &paths {
                let (oid, stat) = (format.hash(&[path.as_bytes()]), IndexStat::default());
                let entry = IndexEntry { path: path.as_bytes(), kind: TreeKind::File, oid, stat };
                writer.push(&entry).expect("in order");
            }
            let bytes = writer.finish(None);
            let state = read(&bytes, format).expect("it is an index");
            assert!(state.had_end_of_index_marker() && state.had_offset_table());
            std::fs::write(dir.path().join(".git/index"), bytes).expect("it is written");
            assert_eq!(git(&["-c", "index.threads=4", "ls-files"]), paths.join("\n") + "\n");
        }
    }

    #[test]
    fn directories_sort_as_if_they_ended_in_a_slash() {
        assert_eq!(index_order(b"a", true, b"a.c", false), Ordering::Greater);
        assert_eq!(index_order(b"a", false, b"a.c", false), Ordering::Less);
        assert_eq!(index_order(b"a", true, b"a0", false), Ordering::Less);
    }
}
