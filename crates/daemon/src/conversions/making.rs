//! Making the table of a tree: which files a checkout writes converted, and as what.
//!
//! Cost: nothing but a walk over names where no attribute converts; else a question to git about each path, and a
//! checkout of those that may come out otherwise.

use super::table::{Place, Table};
use crate::faults;
use crate::stores::Stores;
use std::collections::BTreeMap;
use weald_git::Repository;
use weald_git::convert::{ATTRIBUTES_FILE, Pointer, Room, Rules, Way};
use weald_model::{Fault, Ino, Oid, Progress, Source, SourceError, TreeKind, Wait};
use weald_store::cas;
use weald_store::manifest::{Manifest, ManifestError};

/// The filter whose content has a size that its pointer tells.
const LFS: &str = "lfs";

/// The file with settings of Git LFS.
const LFS_CONFIG: &[u8] = b".lfsconfig";

/// Files and bytes of blobs that git writes at a time.
const FILES_PER_BATCH: usize = 1_000;
const BYTES_PER_BATCH: u64 = 64 << 20;

/// Converted bytes that lie together in one stored file.
const PACK_BYTES: usize = 64 << 20;

/// Files a filter may fail for before it is left alone.
const FAILURES_MAX: usize = 3;

/// What it needs.
pub(super) struct Making<'a> {
    pub(super) stores: &'a Stores,
    pub(super) repo: &'a Repository,
    pub(super) source: &'a dyn Source,
    /// Of the tree as the source has it.
    pub(super) manifest: &'a Manifest,
    pub(super) rules: &'a Rules,
    pub(super) progress: &'a dyn Progress,
}

/// A table, and what there is to tell.
pub(super) struct Made {
    pub(super) table: Table,
    pub(super) notes: Vec<String>,
}

/// A regular file of the tree.
struct Plain {
    ino: Ino,
    oid: Oid,
    path: Vec<u8>,
}

/// A table under construction.
struct Draft<'a> {
    making: &'a Making<'a>,
    table: Table,
    pack: Vec<u8>,
    /// Directories with the entries that differ. Children have larger numbers than their parents.
    dirs: BTreeMap<Ino, Vec<(Vec<u8>, Oid)>>,
    notes: Vec<String>,
}

impl Making<'_> {
    /// Makes it.
    pub(super) fn table(&self) -> Result<Made, Fault> {
        let tree = self.manifest.tree();
        let attributes = self.attributes()?;
        if !self.rules.may_convert(&attributes) {
            return Ok(Made { table: Table::empty(tree), notes: Vec::new() });
        }
        let files = self.files()?;
        self.progress.stage("looking for attributes", 0);
        let index = self.stores.index_of(self.manifest, self.repo, 0, 0)?;
        let room = Room::new(self.repo, self.rules, &index)?;
        let paths: Vec<Vec<u8>> = files.iter().map(|file| file.path.clone()).collect();
        let mut ways: BTreeMap<Way, Vec<&Plain>> = BTreeMap::new();
        for candidate in room.candidates(self.rules, &paths)? {
            ways.entry(candidate.way).or_default().push(&files[candidate.number]);
        }
        let wanted: Vec<Oid> = ways.values().flatten().map(|file| file.oid).collect();
        self.bring(&wanted)?;
        let mut draft = Draft {
            making: self,
            table: Table::empty(tree),
            pack: Vec::new(),
            dirs: BTreeMap::new(),
            notes: Vec::new(),
        };
        self.progress.stage("converting files", wanted.len() as u64);
        for (way, files) in ways {
            match way {
                Way::Filter(name) if name == LFS => draft.lfs(&room, files)?,
                Way::Filter(name) => draft.convert(&room, &files, Some(&name))?,
                Way::Text => draft.convert(&room, &files, None)?,
            }
        }
        draft.finish()
    }

    /// The content of every `.gitattributes` in the tree.
    fn attributes(&self) -> Result<Vec<Vec<u8>>, Fault> {
        let mut found = Vec::new();
        for at in 2..=self.manifest.len() {
            if self.manifest.node_name(Ino(at)).map_err(built)? == ATTRIBUTES_FILE {
                let node = self.manifest.node(Ino(at)).map_err(built)?;
                if is_plain(node.kind) {
                    found.push(node.oid);
                }
            }
        }
        self.bring(&found)?;
        found.iter().map(|oid| self.source.blob(oid).map_err(|error| self.unread(error))).collect()
    }

    /// Every regular file with its path.
    fn files(&self) -> Result<Vec<Plain>, Fault> {
        let mut files = Vec::new();
        let mut dirs: BTreeMap<Ino, Vec<u8>> = BTreeMap::from([(Ino::ROOT, Vec::new())]);
        for at in 2..=self.manifest.len() {
            let ino = Ino(at);
            let node = self.manifest.node(ino).map_err(built)?;
            if node.kind != TreeKind::Dir && !is_plain(node.kind) {
                continue;
            }
            let mut path = dirs.get(&node.parent).cloned().unwrap_or_default();
            path.extend_from_slice(self.manifest.node_name(ino).map_err(built)?);
            if node.kind == TreeKind::Dir {
                path.push(b'/');
                dirs.insert(ino, path);
            } else {
                files.push(Plain { ino, oid: node.oid, path });
            }
        }
        Ok(files)
    }

    /// Of a source that has content elsewhere, brings it here.
    fn bring(&self, ids: &[Oid]) -> Result<(), Fault> {
        if !self.source.is_lazy() || ids.is_empty() {
            return Ok(());
        }
        self.source.fetch(ids, &Wait::default()).map_err(|error| self.unread(error))
    }

    fn unread(&self, error: SourceError) -> Fault {
        faults::built(&ManifestError::Source(error))
    }
}

impl Draft<'_> {
    /// Has git write files, in the order given, and takes those that come out converted.
    fn convert(&mut self, room: &Room, files: &[&Plain], filter: Option<&str>) -> Result<(), Fault> {
        let ids: Vec<Oid> = files.iter().map(|file| file.oid).collect();
        let sizes = self.making.source.blob_sizes(&ids).into_iter().map(|size| size.unwrap_or(0));
        let sized: Vec<(&Plain, u64)> = files.iter().copied().zip(sizes).collect();
        let mut rest = &sized[..];
        let (mut failures, mut left, mut trouble) = (0, 0, None);
        while !rest.is_empty() && failures < FAILURES_MAX {
            let (batch, after) = rest.split_at(batch_len(rest));
            let paths: Vec<&[u8]> = batch.iter().map(|(file, _)| file.path.as_slice()).collect();
            let done = room.convert(&paths)?;
            let missing = done.contents.iter().position(Option::is_none);
            for ((file, size), content) in batch.iter().zip(done.contents) {
                if let Some(content) = content {
                    self.take(file, *size, content)?;
                }
            }
            self.making.progress.advance(batch.len() as u64);
            trouble = trouble.or(done.trouble);
            rest = match missing {
                // The filter failed for this one, and git ended; what comes after was not tried.
                Some(at) => {
                    (failures, left) = (failures + 1, left + 1);
                    &rest[at + 1..]
                }
                None => after,
            };
        }
        left += rest.len();
        if let Some(words) = trouble {
            let what = filter.map_or("converting files".to_owned(), |name| format!("the filter `{name}`"));
            let left =
                if left == 0 { String::new() } else { format!("; {left} files are as they were committed") };
            self.notes.push(format!("{what} failed: {words}{left}"));
        }
        Ok(())
    }

    /// Files of Git LFS are brought when they are read. Whether that works is tried with the smallest.
    fn lfs(&mut self, room: &Room, files: Vec<&Plain>) -> Result<(), Fault> {
        let mut pointers = Vec::new();
        let mut others = Vec::new();
        for file in files {
            let text = self.making.source.blob(&file.oid).map_err(|error| self.making.unread(error))?;
            match Pointer::parse(&text) {
                Some(pointer) => pointers.push((pointer.size, file, pointer)),
                None => others.push(file),
            }
        }
        self.convert(room, &others, Some(LFS))?;
        pointers.sort_by_key(|(size, file, _)| (*size, file.ino));
        let Some((_, smallest, pointer)) = pointers.first() else { return Ok(()) };
        self.lay_lfs_config(room)?;
        let tried = room.convert(&[&smallest.path])?;
        let content = tried.contents.into_iter().next().flatten();
        if !content.is_some_and(|content| pointer.names(&content)) {
            let words = tried.trouble.unwrap_or_else(|| "it gives the pointers back".to_owned());
            let count = pointers.len();
            self.notes
                .push(format!("Git LFS failed: {words}; {count} files are the pointers that were committed"));
            return Ok(());
        }
        for (size, file, pointer) in pointers {
            let id = self.table.add_file(file.oid, size, &pointer.hash, Place::Lfs(file.path.clone()));
            self.put(file.ino, id)?;
            self.making.progress.advance(1);
        }
        Ok(())
    }

    fn lay_lfs_config(&mut self, room: &Room) -> Result<(), Fault> {
        let manifest = self.making.manifest;
        let Some(ino) = manifest.child(Ino::ROOT, LFS_CONFIG).map_err(built)? else { return Ok(()) };
        let node = manifest.node(ino).map_err(built)?;
        if is_plain(node.kind) {
            self.making.bring(&[node.oid])?;
            let text = self.making.source.blob(&node.oid).map_err(|error| self.making.unread(error))?;
            room.lay_lfs_config(&text)?;
            self.table.lfs_config = Some(node.oid);
        }
        Ok(())
    }

    /// Takes a file as git wrote it, unless that is the blob.
    fn take(&mut self, file: &Plain, blob_bytes: u64, content: Vec<u8>) -> Result<(), Fault> {
        if content.len() as u64 == blob_bytes {
            let blob = self.making.source.blob(&file.oid).map_err(|error| self.making.unread(error))?;
            if blob == content {
                return Ok(());
            }
        }
        if !self.pack.is_empty() && self.pack.len() + content.len() > PACK_BYTES {
            self.put_pack()?;
        }
        let place = Place::Pack(self.table.packs.len(), self.pack.len() as u64);
        let known = self.table.files.len();
        let id = self.table.add_file(file.oid, content.len() as u64, &cas::hash(&content), place);
        if self.table.files.len() > known {
            self.pack.extend_from_slice(&content);
        }
        self.put(file.ino, id)
    }

    fn put_pack(&mut self) -> Result<(), Fault> {
        let pack = std::mem::take(&mut self.pack);
        let hash = self.making.stores.home.cas().put(&pack).map_err(|error| faults::cas(&error))?;
        self.table.packs.push(hash);
        Ok(())
    }

    /// Says under which id an entry is shown.
    fn put(&mut self, ino: Ino, id: Oid) -> Result<(), Fault> {
        let manifest = self.making.manifest;
        let name = manifest.node_name(ino).map_err(built)?.to_vec();
        let parent = manifest.node(ino).map_err(built)?.parent;
        self.dirs.entry(parent).or_default().push((name, id));
        Ok(())
    }

    fn finish(mut self) -> Result<Made, Fault> {
        if !self.pack.is_empty() {
            self.put_pack()?;
        }
        while let Some((ino, names)) = self.dirs.pop_last() {
            let real = match ino {
                Ino::ROOT => self.table.tree,
                _ => self.making.manifest.node(ino).map_err(built)?.oid,
            };
            let id = self.table.add_dir(real, names);
            match ino {
                Ino::ROOT => self.table.root = id,
                _ => self.put(ino, id)?,
            }
        }
        if self.table.is_empty() {
            self.table = Table::empty(self.table.tree);
        }
        Ok(Made { table: self.table, notes: self.notes })
    }
}

/// How many of some files are written at a time.
fn batch_len(files: &[(&Plain, u64)]) -> usize {
    let mut bytes = 0_u64;
    let fits = |(_, size): &&(&Plain, u64)| {
        bytes = bytes.saturating_add(*size);
        bytes <= BYTES_PER_BATCH
    };
    files.iter().take(FILES_PER_BATCH).take_while(fits).count().max(1)
}

const fn is_plain(kind: TreeKind) -> bool {
    matches!(kind, TreeKind::File | TreeKind::Executable)
}

fn built(error: ManifestError) -> Fault {
    faults::built(&error)
}
