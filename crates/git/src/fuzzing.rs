//! Ways in for `crates/fuzz`, to what reads bytes and is no part of the interface.

use crate::ObjectFormat;
use crate::index::{IndexEntry, IndexStat, IndexWriter, is_refreshed};
use weald_model::{Oid, SourceError, TreeEntry, TreeKind};

const FORMATS: [ObjectFormat; 2] = [ObjectFormat::Sha1, ObjectFormat::Sha256];

/// The entries of a tree object.
pub fn tree(data: &[u8], format: ObjectFormat) -> Result<Vec<TreeEntry>, SourceError> {
    let id = Oid::new(&[1; 20]).expect("20 bytes are an id");
    crate::source::entries(&id, data, format)
}

/// What git says of its progress, and the lists it prints.
pub fn said(text: &str) {
    if let Some((title, ..)) = crate::clone::transfer::parse_progress(text) {
        assert!(text.contains(title));
    }
    let parts = crate::program::split(text.as_bytes());
    assert!(parts.iter().all(|part| !part.is_empty() && !part.contains(&0)));
}

/// An index, its hash put right. The first byte says which hash.
pub fn index(bytes: &[u8]) {
    let Some((&format, data)) = bytes.split_first() else { return };
    let format = FORMATS[usize::from(format & 1)];
    let body = &data[..data.len().saturating_sub(format.hash(&[]).as_bytes().len())];
    let whole = [body, format.hash(&[body]).as_bytes()].concat();
    let _ = is_refreshed(data, data);
    let is_index = is_refreshed(&whole, &whole);
    assert!(!is_index || whole.starts_with(b"DIRC"));
}

/// Indexes as a new workspace has them.
pub fn index_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, format) in FORMATS.into_iter().enumerate() {
        for token in [None, Some("weald:base")] {
            let mut writer = IndexWriter::new(format, 3);
            if let Some(token) = token {
                writer.fsmonitor(token);
            }
            for path in [&b"a"[..], b"b/c", b"b/d"] {
                let stat = IndexStat { ino: 7, size: 9, ..IndexStat::default() };
                let entry = IndexEntry { path, kind: TreeKind::File, oid: format.hash(&[path]), stat };
                writer.push(&entry).expect("they are in order");
            }
            seeds.push([&[number as u8][..], &writer.finish(None)].concat());
        }
    }
    seeds
}
