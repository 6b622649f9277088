//! What workspaces of a clone read before it was here: the next one fetches that first.
//!
//! Kept in the clone as paths, each ended by a zero byte, since the next workspace may stand on another tree. Losing the
//! file costs time and nothing else, so failures to read and write it are let pass.

use super::nodes;
use std::collections::HashSet;
use std::path::Path;
use weald_model::{Ino, Oid};
use weald_store::manifest::Manifest;

/// Name of the file in a clone.
const FILE_NAME: &str = "weald-early";
/// Paths kept; the newest stay.
const PATHS_MAX: usize = 2_000;
/// Longest file that is read.
const BYTES_MAX: u64 = 1 << 22;

/// The paths, the last ones read first.
pub(crate) fn load(clone: &Path) -> Vec<Vec<u8>> {
    let path = clone.join(FILE_NAME);
    if std::fs::metadata(&path).map_or(0, |data| data.len()) > BYTES_MAX {
        return Vec::new();
    }
    let bytes = std::fs::read(&path).unwrap_or_default();
    bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Adds what was read of a tree.
pub(crate) fn keep(clone: &Path, manifest: &Manifest, read: &[Oid]) {
    if read.is_empty() {
        return;
    }
    let wanted: HashSet<&Oid> = read.iter().collect();
    let mut paths = Vec::new();
    let walked = nodes::in_order_of_paths(manifest, &mut |(ino, id)| {
        if wanted.contains(&id) {
            paths.extend(path_of(manifest, ino));
        }
    });
    if walked.is_err() {
        return;
    }
    let known: HashSet<Vec<u8>> = paths.iter().cloned().collect();
    paths.extend(load(clone).into_iter().filter(|path| !known.contains(path)));
    paths.truncate(PATHS_MAX);
    let bytes: Vec<u8> = paths.into_iter().flat_map(|path| [path, vec![0]].concat()).collect();
    let new = clone.join(format!("{FILE_NAME}.tmp"));
    let _ = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, clone.join(FILE_NAME)));
}

/// The path of a node from the root. None for what is damaged.
fn path_of(manifest: &Manifest, ino: Ino) -> Option<Vec<u8>> {
    let mut names = Vec::new();
    let mut at = ino;
    while at != Ino::ROOT {
        names.push(manifest.node_name(at).ok()?);
        at = manifest.node(at).ok()?.parent;
    }
    names.reverse();
    Some(names.join(&b'/'))
}
