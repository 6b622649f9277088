//! A source that shows a tree converted.
//!
//! Invariant: content is checked against what the table or a pointer says before it is handed out.

use super::table::{Dir, File, Place, Table};
use crate::stores::Stores;
use crate::{faults, note};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weald_git::Repository;
use weald_git::convert::{Pointer, Room, Rules};
use weald_model::{Fault, Oid, Source, SourceError, TreeEntry, Wait};
use weald_store::cas::{self, Cas};
use weald_store::home::Home;
use weald_store::registry::Artifact;

/// The parts of the store it needs.
pub(super) struct ConvertedSource {
    home: Arc<Home>,
    inner: Arc<dyn Source>,
    table: Arc<Table>,
    repo: PathBuf,
}

impl ConvertedSource {
    pub(super) fn new(stores: &Stores, inner: Arc<dyn Source>, table: Arc<Table>, repo: &Path) -> Self {
        Self { home: stores.home.clone(), inner, table, repo: repo.to_owned() }
    }

    fn cas(&self) -> &Cas {
        self.home.cas()
    }

    fn packed(&self, id: &Oid, file: &File, pack: usize, at: u64) -> Result<Vec<u8>, SourceError> {
        let damaged = |why: String| SourceError::Damaged(*id, why);
        let size = usize::try_from(file.size).map_err(|_| damaged("it is too large".into()))?;
        let hash = &self.table.packs[pack];
        let length = self.cas().len(hash).map_err(|error| damaged(error.to_string()))?;
        if at.checked_add(file.size).is_none_or(|end| end > length) {
            return Err(damaged("its pack is too short".into()));
        }
        let mut bytes = vec![0; size];
        let mut done = 0;
        while done < size {
            match self.cas().read(hash, at + done as u64, &mut bytes[done..]) {
                Ok(0) => return Err(damaged("its pack is too short".into())),
                Ok(count) => done += count,
                Err(error) => return Err(damaged(error.to_string())),
            }
        }
        Ok(bytes)
    }

    /// Content that Git LFS has, from the store or through the user's own filter.
    fn lfs_content(&self, id: &Oid, file: &File, path: &[u8]) -> Result<Vec<u8>, SourceError> {
        let (tree, kind) = (self.table.root.to_string(), format!("{}{id}", super::CONVERTED));
        let registry = self.home.registry();
        // This tree has it, or another one.
        let known = registry.artifact(&tree, &kind).ok().flatten().into_iter();
        let all = || registry.artifacts().unwrap_or_default().into_iter();
        let others =
            std::iter::once_with(all).flatten().filter(|file| file.kind == kind).map(|file| file.hash);
        let kept = known.chain(others).find_map(|hash| {
            let bytes = self.cas().get_all(&cas::from_hex(&hash)?).ok()?;
            Some((hash, bytes))
        });
        let told = |fault: Fault| {
            note(format_args!("{}: {fault}", String::from_utf8_lossy(path)));
            SourceError::Unavailable(fault.message)
        };
        let (hash, bytes) = match kept {
            Some(kept) => kept,
            None => {
                let bytes = self.smudged(file, path).map_err(told)?;
                let hash = self.cas().put(&bytes).map_err(|error| told(faults::cas(&error)))?;
                (cas::hex(&hash), bytes)
            }
        };
        let artifact = Artifact { tree, kind, hash };
        registry.put_artifact(&artifact).map_err(|error| told(faults::registry(error)))?;
        Ok(bytes)
    }

    fn smudged(&self, file: &File, path: &[u8]) -> Result<Vec<u8>, Fault> {
        let failed = |why: &str| Fault::new(weald_model::Code::GitFailed, format!("Git LFS: {why}"));
        let pointer = self.inner.blob(&file.real).ok().and_then(|text| Pointer::parse(&text));
        let pointer = pointer.ok_or_else(|| failed("the pointer cannot be read"))?;
        let repo = Repository::open(&self.repo)?;
        let config = self.table.lfs_config.and_then(|id| self.inner.blob(&id).ok());
        let room = Room::for_lfs(&repo, &Rules::of(&repo), config.as_deref())?;
        let (bytes, trouble) = room.smudge(path, &file.real)?;
        match pointer.names(&bytes) {
            true => Ok(bytes),
            false => {
                Err(failed(&trouble.unwrap_or_else(|| "its pointer names other content than came".into())))
            }
        }
    }
}

impl Source for ConvertedSource {
    fn tree(&self, id: &Oid) -> Result<Vec<TreeEntry>, SourceError> {
        let Some(Dir { real, names }) = self.table.dirs.get(id) else { return self.inner.tree(id) };
        let mut entries = self.inner.tree(real)?;
        for entry in &mut entries {
            if let Ok(at) = names.binary_search_by(|(name, _)| name.cmp(&entry.name)) {
                entry.oid = names[at].1;
            }
        }
        Ok(entries)
    }

    fn blob_sizes(&self, ids: &[Oid]) -> Vec<Result<u64, SourceError>> {
        let others: Vec<Oid> = ids.iter().filter(|id| !self.table.files.contains_key(id)).copied().collect();
        let mut sizes = self.inner.blob_sizes(&others).into_iter();
        let missing = |id: &Oid| Err(SourceError::Missing(*id));
        let size = |id: &Oid| match self.table.files.get(id) {
            Some(file) => Ok(file.size),
            None => sizes.next().unwrap_or_else(|| missing(id)),
        };
        ids.iter().map(size).collect()
    }

    fn blob(&self, id: &Oid) -> Result<Vec<u8>, SourceError> {
        let Some(file) = self.table.files.get(id) else { return self.inner.blob(id) };
        match &file.place {
            Place::Pack(pack, at) => self.packed(id, file, *pack, *at),
            Place::Lfs(path) => self.lfs_content(id, file, path),
        }
    }

    fn is_lazy(&self) -> bool {
        self.inner.is_lazy()
    }

    fn fetch(&self, ids: &[Oid], wait: &Wait) -> Result<(), SourceError> {
        let others: Vec<Oid> = ids.iter().filter(|id| !self.table.files.contains_key(id)).copied().collect();
        if others.is_empty() { Ok(()) } else { self.inner.fetch(&others, wait) }
    }
}
