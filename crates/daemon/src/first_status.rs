//! What spares the first `git status` in a new workspace a look into every directory: the index that all workspaces on a
//! tree share gets the one part that is a workspace's own, the path it is at.
//!
//! Invariant: nothing depends on it. What cannot be told here (no home, another file of ignored paths in the user's
//! settings) git finds out by looking.

use crate::locked;
use crate::stores::Stores;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use weald_git::ObjectFormat;
use weald_git::index::{Settled, Unsettled};
use weald_store::cas;

/// Indexes kept ready, the last used last. Each is as long as the names of its directories.
const READY_MAX: usize = 4;
/// Largest file of ignored paths of the user that is read.
const EXCLUDES_BYTES_MAX: u64 = 1 << 20;

/// Indexes that are ready to be given a path; None for one that cannot be.
#[derive(Default)]
pub(crate) struct Ready(Mutex<Vec<(cas::Hash, Option<Arc<Unsettled>>)>>);

impl Stores {
    /// What to write into an index for a workspace at a path.
    pub(crate) fn settle_index(
        &self,
        hash: &cas::Hash,
        format: ObjectFormat,
        mount_path: &Path,
        exclude: &[u8],
    ) -> Option<Settled> {
        let known = {
            let mut ready = locked(&self.ready_indexes.0);
            let at = ready.iter().position(|(other, _)| other == hash);
            at.map(|at| {
                let found = ready.remove(at);
                ready.push(found.clone());
                found.1
            })
        };
        let index = known.unwrap_or_else(|| {
            let bytes = self.home.cas().get_all(hash).ok();
            let index = bytes.and_then(|bytes| Unsettled::find(&bytes, format)).map(Arc::new);
            let mut ready = locked(&self.ready_indexes.0);
            ready.push((*hash, index.clone()));
            if ready.len() > READY_MAX {
                ready.remove(0);
            }
            index
        });
        let worktree = mount_path.canonicalize().ok()?;
        index?.settle(&worktree, exclude, excludes_file().as_deref())
    }
}

/// What the user's own file of ignored paths says, where git looks for it unless told otherwise (gitignore(5)).
fn excludes_file() -> Option<Vec<u8>> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    let path = config.join("git/ignore");
    path.metadata().ok().filter(|data| data.is_file() && data.len() <= EXCLUDES_BYTES_MAX)?;
    std::fs::read(path).ok()
}
