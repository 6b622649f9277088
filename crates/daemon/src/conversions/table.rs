//! What a converted tree differs in from the source's; docs/format.md has its bytes.

use crate::conversions::MARK;
use crate::report::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use weald_model::Oid;
use weald_store::cas;

const VERSION: u32 = 1;

/// Ids of the source and of what is shown instead.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// The source's tree.
    pub(crate) tree: Oid,
    /// The tree that is shown; the same when nothing is converted.
    pub(crate) root: Oid,
    pub(crate) dirs: HashMap<Oid, Dir>,
    pub(crate) files: HashMap<Oid, File>,
    /// Stored content with files one behind the other.
    pub(crate) packs: Vec<cas::Hash>,
    /// The tree's `.lfsconfig`.
    pub(crate) lfs_config: Option<Oid>,
}

/// A directory with something converted in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dir {
    pub(crate) real: Oid,
    /// The entries with another id than the source's.
    pub(crate) names: Vec<(Vec<u8>, Oid)>,
}

/// A converted file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) real: Oid,
    pub(crate) size: u64,
    pub(crate) place: Place,
}

/// Where its content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a pack, from this byte on.
    Pack(usize, u64),
    /// Wherever Git LFS has it; brought when it is first read. The path is what the filter is told.
    Lfs(Vec<u8>),
}

#[derive(Serialize, Deserialize)]
struct Text {
    version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tree: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    root: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dirs: Vec<DirText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    packs: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_config: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct DirText {
    id: String,
    of: String,
    names: Vec<(Bytes, String)>,
}

#[derive(Serialize, Deserialize)]
struct FileText {
    id: String,
    of: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pack: Option<(usize, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs: Option<Bytes>,
}

impl Table {
    /// One that converts nothing.
    pub(crate) fn empty(tree: Oid) -> Self {
        let (dirs, files) = Default::default();
        Self { tree, root: tree, dirs, files, packs: Vec::new(), lfs_config: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The source's id of what is shown under this one; None when that is the same.
    pub(crate) fn real(&self, id: &Oid) -> Option<Oid> {
        self.dirs.get(id).map(|dir| dir.real).or_else(|| self.files.get(id).map(|file| file.real))
    }

    /// Adds a file and gives the id it is shown under: another one for other content.
    pub(crate) fn add_file(&mut self, real: Oid, size: u64, content: &cas::Hash, place: Place) -> Oid {
        let id = derived(&real, &[b"file", &size.to_le_bytes(), content]);
        self.files.entry(id).or_insert(File { real, size, place });
        id
    }

    /// Adds a directory and gives the id it is shown under.
    pub(crate) fn add_dir(&mut self, real: Oid, mut names: Vec<(Vec<u8>, Oid)>) -> Oid {
        names.sort();
        let parts = names.iter().flat_map(|(name, id)| [name.as_slice(), b"\0", id.as_bytes()]);
        let id = derived(&real, &[&b"dir"[..]].into_iter().chain(parts).collect::<Vec<_>>());
        self.dirs.insert(id, Dir { real, names });
        id
    }

    /// The bytes of an empty table are always the same.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = Text {
            version: VERSION,
            tree: String::new(),
            root: String::new(),
            dirs: Vec::new(),
            files: Vec::new(),
            packs: self.packs.iter().map(cas::hex).collect(),
            lfs_config: self.lfs_config.map(|id| id.to_string()),
        };
        if !self.is_empty() {
            (text.tree, text.root) = (self.tree.to_string(), self.root.to_string());
        }
        for (id, dir) in &self.dirs {
            let names = dir.names.iter().map(|(name, id)| (Bytes(name.clone()), id.to_string())).collect();
            text.dirs.push(DirText { id: id.to_string(), of: dir.real.to_string(), names });
        }
        for (id, file) in &self.files {
            let (pack, lfs) = match &file.place {
                Place::Pack(number, at) => (Some((*number, *at)), None),
                Place::Lfs(path) => (None, Some(Bytes(path.clone()))),
            };
            text.files.push(FileText {
                id: id.to_string(),
                of: file.real.to_string(),
                size: file.size,
                pack,
                lfs,
            });
        }
        text.dirs.sort_by(|a, b| a.id.cmp(&b.id));
        text.files.sort_by(|a, b| a.id.cmp(&b.id));
        serde_json::to_vec(&text).expect("a table has nothing that JSON has not")
    }

    /// Reads a table; None for anything else.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text: Text = serde_json::from_slice(bytes).ok().filter(|text: &Text| text.version == VERSION)?;
        if text.files.is_empty() {
            return Some(Self::empty(Oid::new(&[0; 20])?));
        }
        let (tree, root) = (Oid::from_hex(&text.tree)?, Oid::from_hex(&text.root)?);
        let mut table = Self { root, ..Self::empty(tree) };
        table.packs = text.packs.iter().map(|hash| cas::from_hex(hash)).collect::<Option<_>>()?;
        table.lfs_config = match text.lfs_config {
            Some(id) => Some(Oid::from_hex(&id)?),
            None => None,
        };
        for dir in text.dirs {
            let names = dir.names.into_iter().map(|(name, id)| Some((name.0, Oid::from_hex(&id)?)));
            let names = names.collect::<Option<_>>()?;
            table.dirs.insert(Oid::from_hex(&dir.id)?, Dir { real: Oid::from_hex(&dir.of)?, names });
        }
        for file in text.files {
            let place = match (file.pack, file.lfs) {
                (Some((number, at)), None) if number < table.packs.len() => Place::Pack(number, at),
                (None, Some(path)) => Place::Lfs(path.0),
                _ => return None,
            };
            let real = Oid::from_hex(&file.of)?;
            table.files.insert(Oid::from_hex(&file.id)?, File { real, size: file.size, place });
        }
        table.dirs.contains_key(&table.root).then_some(table)
    }
}

/// An id as long as the source's, marked as none of its own.
fn derived(real: &Oid, parts: &[&[u8]]) -> Oid {
    let mut text = b"weald converted 1\0".to_vec();
    text.extend_from_slice(real.as_bytes());
    parts.iter().for_each(|part| text.extend_from_slice(part));
    let mut id = cas::hash(&text)[..real.as_bytes().len()].to_vec();
    let at = id.len() - MARK.len();
    id[at..].copy_from_slice(&MARK);
    Oid::new(&id).expect("it is as long as another id")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> Oid {
        Oid::new(&[byte; 20]).expect("20 bytes")
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let mut table = Table::empty(id(1));
        assert!(Table::parse(&table.to_bytes()).is_some_and(|table| table.is_empty()));
        let packed = table.add_file(id(2), 7, &[3; 32], Place::Pack(0, 9));
        let far = table.add_file(id(4), 1 << 40, &[5; 32], Place::Lfs(b"caf\xe9".to_vec()));
        assert_ne!(packed, table.add_file(id(2), 7, &[4; 32], Place::Pack(0, 16)), "other content");
        table.packs.push([6; 32]);
        table.lfs_config = Some(id(7));
        let below = table.add_dir(id(8), vec![(b"b\xff".to_vec(), packed)]);
        table.root = table.add_dir(id(1), vec![(b"z".to_vec(), far), (b"a".to_vec(), below)]);
        let read = Table::parse(&table.to_bytes()).expect("a table");
        assert_eq!((read.tree, read.root, &read.packs), (id(1), table.root, &table.packs));
        assert_eq!((&read.dirs, &read.files), (&table.dirs, &table.files));
        assert_eq!(read.to_bytes(), table.to_bytes());
        assert_eq!(read.real(&read.root), Some(id(1)));
        assert_eq!((read.real(&far), read.real(&id(2))), (Some(id(4)), None));
        assert!(read.root.as_bytes().ends_with(&MARK));
    }

    #[test]
    fn other_bytes_are_no_table() {
        let mut table = Table::empty(id(1));
        let file = table.add_file(id(2), 7, &[3; 32], Place::Pack(0, 9));
        table.root = table.add_dir(id(1), vec![(b"a".to_vec(), file)]);
        assert!(Table::parse(&table.to_bytes()).is_none(), "its pack is missing");
        for text in ["", "{}", r#"{"version":2}"#, r#"{"version":1,"files":[{"id":"x","of":"y","size":1}]}"#]
        {
            assert!(Table::parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
