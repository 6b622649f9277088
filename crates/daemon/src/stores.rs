//! What all workspaces of a home share: the store, manifests opened once, and sources (`sources`).
//!
//! Invariant: no lock here is held across a call to a source; two threads that want the same manifest at once may
//! both build it, and one result is kept (equal bytes, one name).

use crate::config::ConfigFile;
use crate::conversions::Table;
use crate::first_status::Ready;
use crate::programs::RunningPrograms;
use crate::sources::{LateSource, Sources};
use crate::{faults, locked, memory};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weald_engine::{Base, Shared, Workspace};
use weald_git::{IndexNode, Repository, index_of_tree};
use weald_model::{Env, Fault, HostEnv, Oid, Progress, Silent, Source, Timestamp, WorkspaceId};
use weald_store::cas::{self, Cas};
use weald_store::home::{Home, HomeError, HomeManifestError};
use weald_store::manifest::{Manifest, ManifestError};
use weald_store::registry::{Artifact, WorkspaceRow};

/// Memory for decompressed base content, all workspaces together. Large enough for the files a build reads at once,
/// small beside the page cache that holds them afterwards.
const BLOB_CACHE_BYTES_MAX: usize = 32 << 20;

/// Base files are this much older than the manifest, so that git never takes an entry of the generated index for
/// one that was changed in the second it was written ("racily clean", gitformat-index(5)).
const SETTLED_SECS: i64 = 2;

/// The shared parts.
pub(crate) struct Stores {
    pub(crate) home: Arc<Home>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) config: ConfigFile,
    manifests: Mutex<HashMap<Oid, Manifest>>,
    pub(crate) tables: Mutex<HashMap<Oid, Arc<Table>>>,
    pub(crate) sources: Sources,
    pub(crate) ready_indexes: Ready,
}

impl Stores {
    /// Takes the home.
    pub(crate) fn open(root: &Path) -> Result<Self, Fault> {
        memory::keep_little();
        let home = take(root).map_err(faults::home)?;
        let env: Arc<dyn Env> = Arc::new(HostEnv::default());
        let cas = Cas::new(home.disk().clone(), home.paths().cas());
        let (disk, logs, chunks) = (home.disk().clone(), home.logs().clone(), home.chunks().clone());
        let shared = Shared::new(disk, logs, cas, chunks, env.clone(), BLOB_CACHE_BYTES_MAX);
        let config = ConfigFile::new(root);
        shared.set_programs(Arc::new(RunningPrograms::default()));
        let sources = Sources::new(home.paths().repos(), env.clone(), home.content().clone());
        let cached = Arc::downgrade(&shared);
        sources.when_at_rest(Box::new(move || {
            if let Some(shared) = cached.upgrade() {
                shared.forget_blobs();
            }
        }));
        let stores = Self {
            home: Arc::new(home),
            shared,
            env,
            config,
            manifests: Mutex::default(),
            sources,
            ready_indexes: Ready::default(),
            tables: Mutex::default(),
        };
        stores.shared.set_reserve(stores.room());
        Ok(stores)
    }

    /// Seconds since 1970, now.
    pub(crate) fn now(&self) -> i64 {
        self.env.now().secs
    }

    /// A source over the repository at `path`, opened when first asked.
    pub(crate) fn source(&self, path: &Path) -> Arc<LateSource> {
        self.sources.at(path)
    }

    /// The manifest of a tree, from memory, from the home, or built from `source`. Damaged ones are built anew.
    pub(crate) fn manifest(
        &self,
        tree: &Oid,
        source: &dyn Source,
        time: Timestamp,
        progress: &dyn Progress,
    ) -> Result<Manifest, Fault> {
        if let Some(manifest) = locked(&self.manifests).get(tree) {
            return Ok(manifest.clone());
        }
        let manifest = match self.home.checked_manifest(tree) {
            Ok(Some(manifest)) => manifest,
            missing @ (Ok(None)
            | Err(HomeManifestError::Manifest(
                ManifestError::Damaged(_) | ManifestError::Version(_),
            ))) => {
                if let Err(damaged) = missing {
                    crate::note(format_args!("{tree}: {damaged}; it is made anew"));
                }
                let bytes =
                    Manifest::build(source, tree, time, progress).map_err(|error| faults::built(&error))?;
                self.home.put_manifest(tree, &bytes).map_err(|error| faults::manifest(&error))?
            }
            Err(error) => return Err(faults::manifest(&error)),
        };
        let manifest = locked(&self.manifests).entry(*tree).or_insert(manifest).clone();
        manifest.keep_sizes(&**self.home.disk(), &self.home.paths().sizes(tree));
        Ok(manifest)
    }

    /// The manifest of a tree, when there is one.
    pub(crate) fn known_manifest(&self, tree: &Oid) -> Option<Manifest> {
        if let Some(manifest) = locked(&self.manifests).get(tree) {
            return Some(manifest.clone());
        }
        let manifest = self.home.checked_manifest(tree).ok().flatten()?;
        let manifest = locked(&self.manifests).entry(*tree).or_insert(manifest).clone();
        manifest.keep_sizes(&**self.home.disk(), &self.home.paths().sizes(tree));
        Some(manifest)
    }

    /// Forgets the manifest of a tree whose file is about to go. Who has it open keeps it.
    pub(crate) fn forget_manifest(&self, tree: &Oid) {
        locked(&self.manifests).remove(tree);
    }

    /// Forgets a repository that is about to go.
    pub(crate) fn forget_source(&self, path: &Path) {
        self.sources.forget(path);
    }

    /// The time base files of a commit get.
    pub(crate) fn base_time(&self, commit_time: Timestamp) -> Timestamp {
        let settled = Timestamp::from_secs(self.now() - SETTLED_SECS);
        // Files from before 1970 upset tools and do not fit git's 32-bit index fields.
        commit_time.clamp(Timestamp::from_secs(0), settled)
    }

    /// The base a row describes.
    pub(crate) fn base(&self, row: &WorkspaceRow) -> Result<Base, Fault> {
        let (Some(tree), Some(path)) = (Oid::from_hex(&row.tree), &row.repo_path) else {
            return Ok(Base::empty(row.uid, row.gid, row.base_time));
        };
        if self.is_lost(&tree)? {
            self.converted_anew(None, row)?;
        }
        let source = self.source_of(&tree, path)?;
        let manifest = self.manifest(&tree, &*source, row.base_time, &Silent)?;
        Ok(Base::new(manifest, source, row.uid, row.gid))
    }

    /// Loads a workspace from its log.
    pub(crate) fn load(&self, row: &WorkspaceRow) -> Result<Arc<Workspace>, Fault> {
        let base = self.base(row)?;
        Workspace::open(self.shared.clone(), row.id, base).map_err(|error| faults::open(&row.name, &error))
    }

    /// The git index of a fresh workspace on `manifest`: hash and length of the stored file. Made once for a
    /// manifest and owner, since all its workspaces report the same stat data.
    pub(crate) fn index(
        &self,
        manifest: &Manifest,
        repo: &Repository,
        uid: u32,
        gid: u32,
    ) -> Result<(cas::Hash, u64), Fault> {
        let time = manifest.time();
        let kind = format!("index 2 {uid}:{gid} {}.{:09}", time.secs, time.nanos);
        let tree = manifest.tree().to_string();
        let known = self.home.registry().artifact(&tree, &kind).map_err(faults::registry)?;
        if let Some(hash) = known.as_deref().and_then(cas::from_hex)
            && let Ok(length) = self.home.cas().len(&hash)
        {
            return Ok((hash, length));
        }
        let bytes = self.index_of(manifest, repo, uid, gid)?;
        let hash = self.home.cas().put(&bytes).map_err(|error| faults::cas(&error))?;
        let artifact = Artifact { tree, kind, hash: cas::hex(&hash) };
        self.home.registry().put_artifact(&artifact).map_err(faults::registry)?;
        Ok((hash, bytes.len() as u64))
    }

    /// The bytes of that index.
    pub(crate) fn index_of(
        &self,
        manifest: &Manifest,
        repo: &Repository,
        uid: u32,
        gid: u32,
    ) -> Result<Vec<u8>, Fault> {
        let real = self.real_ids(&manifest.tree())?;
        index_bytes(manifest, repo, (uid, gid), &real).map_err(|error| faults::built(&error))
    }

    /// An id that no workspace has.
    pub(crate) fn fresh_id(&self) -> WorkspaceId {
        WorkspaceId(self.env.random().max(1))
    }
}

/// Opens the home. A command that waits for the end of a daemon holds the lock for an instant; only who holds it
/// longer is another daemon.
fn take(root: &Path) -> Result<Home, HomeError> {
    const LOOKS: u32 = 5;
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 1..LOOKS {
        match Home::open(root) {
            Err(HomeError::Locked { .. }) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    Home::open(root)
}

fn index_bytes(
    manifest: &Manifest,
    repo: &Repository,
    owner: (u32, u32),
    real: &dyn Fn(Oid) -> Oid,
) -> Result<Vec<u8>, ManifestError> {
    let expected = usize::try_from(manifest.len()).unwrap_or(0);
    let root = weald_model::Ino::ROOT;
    let result = index_of_tree(
        repo.format(),
        root.0,
        real(manifest.tree()),
        expected,
        Some(crate::fsmonitor::BASE_TOKEN),
        |dir, nodes| {
            for ino in manifest.children(weald_model::Ino(dir))? {
                let node = index_node(manifest, weald_model::Ino(ino), owner)?;
                nodes.push(IndexNode { oid: real(node.oid), ..node });
            }
            Ok::<(), IndexTrouble>(())
        },
    );
    result.map_err(|IndexTrouble(error)| error)
}

fn index_node(
    manifest: &Manifest,
    ino: weald_model::Ino,
    (uid, gid): (u32, u32),
) -> Result<IndexNode, ManifestError> {
    let node = manifest.node(ino)?;
    let time = manifest.time();
    let stat = weald_git::index::IndexStat {
        // Git looks at a file whose size it does not know only when it is told that it changed.
        size: node.size.unwrap_or(0),
        ino: ino.0,
        dev: 0,
        mtime: time,
        ctime: time,
        uid,
        gid,
    };
    Ok(IndexNode { name: manifest.node_name(ino)?.to_vec(), kind: node.kind, oid: node.oid, stat })
}

/// Joins the errors of both sides of the index walk.
struct IndexTrouble(ManifestError);

impl From<ManifestError> for IndexTrouble {
    fn from(error: ManifestError) -> Self {
        Self(error)
    }
}

impl From<weald_git::index::IndexError> for IndexTrouble {
    fn from(_: weald_git::index::IndexError) -> Self {
        Self(ManifestError::Damaged("its names are out of order"))
    }
}
