//! Base content from a repository's object store.
//!
//! Invariant: every tree and blob is checked against its id before it is handed out; sizes come from headers only.

use crate::Repository;
use crate::fault::detail;
use crate::hash::{ObjectFormat, from_gix, to_gix};
use crate::repo::guarded;
use gix::objs::{Kind, tree::EntryKind};
use weald_model::{Oid, Source, SourceError, TreeEntry, TreeKind};

/// Below this many objects a second thread costs more than it saves.
const IDS_PER_THREAD_MIN: usize = 2_000;

/// More threads than this wait for memory, not for each other.
const THREADS_MAX: usize = 8;

/// A [`Source`] over an open repository.
#[derive(Clone, Debug)]
pub struct GitSource {
    repository: Repository,
    /// What is missing can be fetched.
    is_lazy: bool,
}

type Size = Result<u64, SourceError>;

impl GitSource {
    /// Reads from this repository.
    pub fn new(repository: Repository) -> Self {
        Self { repository, is_lazy: false }
    }

    /// Reads from this clone. Content that was left out is [`SourceError::Unfetched`], not missing.
    pub fn lazy(repository: Repository) -> Self {
        Self { is_lazy: repository.is_partial(), repository }
    }

    /// The repository it reads from.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    fn promised(&self, error: SourceError) -> SourceError {
        match error {
            SourceError::Missing(oid) if self.is_lazy => SourceError::Unfetched(oid),
            other => other,
        }
    }

    /// Sizes of a run of blobs with one handle. `fresh` looks for packs that appeared since the repository was opened,
    /// at the price of a directory listing for each object that is not there.
    fn sizes_of(&self, ids: &[Oid], fresh: bool) -> Vec<Size> {
        let format = self.repository.format();
        let work = |ids: &[Oid]| -> Vec<Size> {
            let mut git = self.repository.local();
            if !fresh {
                git.objects.refresh_never();
            }
            ids.iter().map(|oid| size_of(&git, format, oid)).collect()
        };
        // gix asserts on some damaged packs: then find out which object it was.
        guarded(|| work(ids)).unwrap_or_else(|| {
            let damaged = |oid: &Oid| Err(SourceError::Damaged(*oid, "its pack is inconsistent".into()));
            let one =
                |oid: &Oid| guarded(|| work(std::slice::from_ref(oid))).and_then(|mut sizes| sizes.pop());
            ids.iter().map(|oid| one(oid).unwrap_or_else(|| damaged(oid))).collect()
        })
    }

    /// A pack written since the last look holds what is missing; one object tells.
    fn retry_missing(&self, ids: &[Oid], sizes: &mut [Size]) {
        let missing: Vec<usize> =
            (0..ids.len()).filter(|at| matches!(sizes[*at], Err(SourceError::Missing(_)))).collect();
        let Some(first) = missing.first() else { return };
        let probe = self.sizes_of(&ids[*first..=*first], true);
        if matches!(probe[0], Err(SourceError::Missing(_))) {
            return;
        }
        let again: Vec<Oid> = missing.iter().map(|at| ids[*at]).collect();
        for (at, size) in missing.into_iter().zip(self.sizes_of(&again, true)) {
            sizes[at] = size;
        }
    }
}

/// The entries of a tree object, in the order they are in.
pub(crate) fn entries(id: &Oid, data: &[u8], format: ObjectFormat) -> Result<Vec<TreeEntry>, SourceError> {
    let entries = gix::objs::TreeRefIter::from_bytes(data, format.kind());
    entries
        .map(|entry| {
            let entry = entry.map_err(|error| SourceError::Damaged(*id, detail(&error)))?;
            let kind = match entry.mode.kind() {
                EntryKind::Tree => TreeKind::Dir,
                EntryKind::Blob => TreeKind::File,
                EntryKind::BlobExecutable => TreeKind::Executable,
                EntryKind::Link => TreeKind::Symlink,
                EntryKind::Commit => TreeKind::Gitlink,
            };
            Ok(TreeEntry { name: entry.filename.to_vec(), kind, oid: from_gix(entry.oid) })
        })
        .collect()
}

impl Source for GitSource {
    fn tree(&self, id: &Oid) -> Result<Vec<TreeEntry>, SourceError> {
        let data = self.repository.read_checked(id, Kind::Tree).map_err(|error| self.promised(error))?;
        entries(id, &data, self.repository.format())
    }

    fn blob_sizes(&self, ids: &[Oid]) -> Vec<Size> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let share = ids.len().div_ceil(threads).max(IDS_PER_THREAD_MIN);
        let mut sizes = std::thread::scope(|scope| {
            let mut shares = ids.chunks(share);
            let first = shares.next().unwrap_or_default();
            let others: Vec<_> = shares.map(|ids| (ids, scope.spawn(|| self.sizes_of(ids, false)))).collect();
            let mut sizes = self.sizes_of(first, false);
            for (ids, thread) in others {
                let failed =
                    |_| ids.iter().map(|oid| Err(SourceError::Damaged(*oid, "unreadable".into()))).collect();
                sizes.extend(thread.join().unwrap_or_else(failed));
            }
            sizes
        });
        self.retry_missing(ids, &mut sizes);
        sizes.into_iter().map(|size| size.map_err(|error| self.promised(error))).collect()
    }

    fn is_lazy(&self) -> bool {
        self.is_lazy
    }

    fn blob(&self, id: &Oid) -> Result<Vec<u8>, SourceError> {
        self.repository.read_checked(id, Kind::Blob).map_err(|error| self.promised(error))
    }
}

fn size_of(git: &gix::Repository, format: ObjectFormat, oid: &Oid) -> Size {
    if ObjectFormat::of(oid) != format {
        return Err(SourceError::Missing(*oid));
    }
    match gix::odb::Header::try_header(&git.objects, &to_gix(oid)) {
        Ok(Some(header)) if header.kind() == Kind::Blob => Ok(header.size()),
        Ok(Some(header)) => Err(SourceError::Damaged(*oid, format!("it is a {}, not a blob", header.kind()))),
        Ok(None) => Err(SourceError::Missing(*oid)),
        Err(error) => Err(SourceError::Damaged(*oid, detail(&error))),
    }
}
