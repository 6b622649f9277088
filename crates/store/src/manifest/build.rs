//! Making a manifest from a source.
//!
//! Invariant: the same tree and time give the same bytes, whatever the threads do. A hostile name stops everything.
//! Trees are read breadth-first by a few threads, because a source spends its time in decompression; what is put
//! together in order by one thread costs a few nanoseconds per node.

use super::ManifestError;
use super::format::{Detail, Layout, NODE_BYTES, RawNode, SIZE_UNKNOWN, TRAILER_BYTES};
use super::names::why_hostile;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use weald_model::{Oid, Progress, Source, SourceError, Timestamp, TreeEntry, TreeKind};

/// Most threads that read from the source: more gain nothing on a cold disk and crowd out a build on a warm one.
const THREADS_MAX: usize = 8;

/// Directories read before their entries are put into the manifest: bounds the memory of a wide tree.
const DIRS_PER_BATCH: usize = 4096;

/// Blobs per question to the source, so that one that asks a remote asks seldom, and two threads both have work.
const SIZES_PER_BATCH: usize = 2048;

/// A node being made.
struct Draft {
    raw: RawNode,
    oid: Oid,
}

struct Builder {
    nodes_max: u64,
    nodes: Vec<Draft>,
    names: Vec<u8>,
}

/// Returns the bytes of the manifest of a tree of at most `nodes_max` nodes.
pub(super) fn build(
    source: &dyn Source,
    tree: &Oid,
    time: Timestamp,
    progress: &dyn Progress,
    nodes_max: u64,
) -> Result<Vec<u8>, ManifestError> {
    let mut builder = Builder::new(*tree, nodes_max);
    progress.stage("reading trees", 0);
    let mut level = 0..1;
    while !level.is_empty() {
        let next = builder.nodes.len();
        for start in level.clone().step_by(DIRS_PER_BATCH) {
            let batch = start..level.end.min(start + DIRS_PER_BATCH);
            builder.add_children(source, batch, progress)?;
        }
        level = next..builder.nodes.len();
    }
    if source.is_lazy() {
        builder.leave_sizes();
    } else {
        builder.fill_sizes(source, progress)?;
    }
    Ok(builder.finish(*tree, time))
}

impl Builder {
    fn new(tree: Oid, nodes_max: u64) -> Self {
        let raw = RawNode {
            parent: 0,
            name_at: 0,
            name_len: 0,
            kind: TreeKind::Dir,
            detail: Detail::Children { first: 1, count: 0, subdirs: 0 },
        };
        Self { nodes_max, nodes: vec![Draft { raw, oid: tree }], names: Vec::new() }
    }

    /// Reads the directories among some nodes of one level and appends their entries.
    fn add_children(
        &mut self,
        source: &dyn Source,
        level: std::ops::Range<usize>,
        progress: &dyn Progress,
    ) -> Result<(), ManifestError> {
        let dirs: Vec<usize> = level.filter(|at| self.nodes[*at].raw.kind == TreeKind::Dir).collect();
        let read = |index: usize| {
            let dir = self.nodes[dirs[index]].oid;
            let entries = source.tree(&dir)?;
            if entries.iter().any(|entry| entry.oid.as_bytes().len() != dir.as_bytes().len()) {
                return Err(SourceError::Damaged(dir, "it names an object of another hash".into()).into());
            }
            checked(entries).map_err(|(name, why)| self.hostile(dirs[index], &name, why))
        };
        let trees = in_parallel(dirs.len(), &|index| {
            let entries = read(index);
            progress.advance(entries.as_ref().map_or(0, |entries| entries.len() as u64));
            entries
        });
        for (dir, entries) in dirs.into_iter().zip(trees) {
            self.add_entries(dir, &entries?)?;
        }
        Ok(())
    }

    fn add_entries(&mut self, dir: usize, entries: &[TreeEntry]) -> Result<(), ManifestError> {
        let first = self.nodes.len();
        if (first + entries.len()) as u64 > self.nodes_max {
            return Err(ManifestError::TooLarge("it has too many files and directories"));
        }
        let mut subdirs = 0;
        for entry in entries {
            let name_at = u32::try_from(self.names.len())
                .map_err(|_| ManifestError::TooLarge("its names have more than 4 GiB"))?;
            self.names.extend_from_slice(&entry.name);
            subdirs += u32::from(matches!(entry.kind, TreeKind::Dir | TreeKind::Gitlink));
            self.nodes.push(Draft {
                raw: RawNode {
                    parent: dir as u32,
                    name_at,
                    name_len: entry.name.len() as u8,
                    kind: entry.kind,
                    detail: match entry.kind {
                        TreeKind::Dir => Detail::Children { first: 0, count: 0, subdirs: 0 },
                        _ => Detail::Size(0),
                    },
                },
                oid: entry.oid,
            });
        }
        let detail = Detail::Children { first: first as u32, count: entries.len() as u32, subdirs };
        self.nodes[dir].raw.detail = detail;
        Ok(())
    }

    fn blobs(&self) -> Vec<usize> {
        let has_size = |kind| matches!(kind, TreeKind::File | TreeKind::Executable | TreeKind::Symlink);
        (0..self.nodes.len()).filter(|at| has_size(self.nodes[*at].raw.kind)).collect()
    }

    /// No size is known: also none that could be told now, so that the same tree gives the same bytes at any time.
    fn leave_sizes(&mut self) {
        for at in self.blobs() {
            self.nodes[at].raw.detail = Detail::Size(SIZE_UNKNOWN);
        }
    }

    fn fill_sizes(&mut self, source: &dyn Source, progress: &dyn Progress) -> Result<(), ManifestError> {
        let blobs = self.blobs();
        progress.stage("reading sizes", blobs.len() as u64);
        let batches: Vec<&[usize]> = blobs.chunks(SIZES_PER_BATCH).collect();
        let nodes = &self.nodes;
        let answers = in_parallel(batches.len(), &|index| {
            let ids: Vec<Oid> = batches[index].iter().map(|at| nodes[*at].oid).collect();
            let sizes = source.blob_sizes(&ids);
            progress.advance(ids.len() as u64);
            match sizes.len() == ids.len() {
                true => sizes.into_iter().map(known).collect::<Result<Vec<u64>, SourceError>>(),
                false => Err(SourceError::Unavailable("it did not tell all sizes asked for".into())),
            }
        });
        for (batch, sizes) in blobs.chunks(SIZES_PER_BATCH).zip(answers) {
            for (at, size) in batch.iter().zip(sizes?) {
                self.nodes[*at].raw.detail = Detail::Size(size);
            }
        }
        Ok(())
    }

    fn finish(self, tree: Oid, time: Timestamp) -> Vec<u8> {
        let mut layout = Layout {
            nodes: self.nodes.len() as u64,
            files: 0,
            total_bytes: 0,
            unknown_sizes: 0,
            time,
            tree,
            name_bytes: self.names.len() as u64,
        };
        // Directories without entries still say where theirs would be, so that there is one right answer.
        let mut next_child = 1;
        let mut nodes = Vec::with_capacity(self.nodes.len() * NODE_BYTES);
        for draft in &self.nodes {
            let mut raw = draft.raw;
            match &mut raw.detail {
                Detail::Children { first, count, .. } => {
                    *first = next_child;
                    next_child += *count;
                }
                Detail::Size(size) => {
                    layout.files += u64::from(raw.kind != TreeKind::Gitlink);
                    if *size == SIZE_UNKNOWN {
                        layout.unknown_sizes += 1;
                    } else {
                        layout.total_bytes = layout.total_bytes.saturating_add(*size);
                    }
                }
            }
            nodes.extend_from_slice(&raw.encode());
        }
        let mut bytes = Vec::with_capacity(layout.trailer_at() + TRAILER_BYTES);
        bytes.extend_from_slice(&layout.encode());
        bytes.extend_from_slice(&nodes);
        for draft in &self.nodes {
            bytes.extend_from_slice(draft.oid.as_bytes());
        }
        bytes.extend_from_slice(&self.names);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    fn hostile(&self, dir: usize, name: &[u8], why: &'static str) -> ManifestError {
        let mut parts = vec![name];
        let mut at = dir;
        while at != 0 {
            let raw = &self.nodes[at].raw;
            let start = raw.name_at as usize;
            parts.push(&self.names[start..start + usize::from(raw.name_len)]);
            at = raw.parent as usize;
        }
        parts.reverse();
        ManifestError::Hostile { path: parts.join(&b'/'), why }
    }
}

/// The size as it stands in a manifest.
fn known(size: Result<u64, SourceError>) -> Result<u64, SourceError> {
    match size {
        Err(SourceError::Unfetched(_)) => Ok(SIZE_UNKNOWN),
        size => size,
    }
}

/// Checks and sorts the entries of one tree.
fn checked(mut entries: Vec<TreeEntry>) -> Result<Vec<TreeEntry>, (Vec<u8>, &'static str)> {
    // Git orders directories as if their names ended in a slash; a manifest orders plain names.
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in &entries {
        if let Some(why) = why_hostile(&entry.name, entry.kind) {
            return Err((entry.name.clone(), why));
        }
    }
    match entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err((pair[0].name.clone(), "which is there twice")),
        None => Ok(entries),
    }
}

/// Runs `work` for every index below `count` on a few threads and returns the results in order.
fn in_parallel<T: Send>(count: usize, work: &(dyn Fn(usize) -> T + Sync)) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.clamp(2, THREADS_MAX).min(count);
    if threads < 2 {
        return (0..count).map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    mine.push((index, work(index)));
                }
                done.lock().expect(crate::NOT_POISONED).append(&mut mine);
            });
        }
    });
    let mut done = done.into_inner().expect(crate::NOT_POISONED);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, value)| value).collect()
}
