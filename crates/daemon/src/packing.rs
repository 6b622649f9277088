//! Copying the content of a base into content packs.
//!
//! What git has compressed against other versions, in the order they were made in, becomes one run in the order of paths,
//! decompressed faster. Invariants: content is read from the repository, where it is checked against its id; the work is done
//! aside and takes no lock that a reader waits for; whatever fails costs only the copy. Read next: `packer` (when).

use crate::aside::aside;
use crate::fetching::ahead::in_order_of_paths;
use weald_model::{Oid, Source};
use weald_store::content_packs::{Added, ContentPackError, ContentPacks, Writer};
use weald_store::manifest::{Manifest, ManifestError};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackingError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Pack(#[from] ContentPackError),
}

/// Copies what no pack has yet of a base's content. None when `goes_on`, asked before each blob with the bytes that new packs
/// take so far, or `is_used`, asked before they are made readable, said no. What is not here, or damaged, is left out.
pub(crate) fn pack(
    packs: &ContentPacks,
    manifest: &Manifest,
    source: &dyn Source,
    goes_on: &(dyn Fn(u64) -> bool + Sync),
    is_used: &dyn Fn() -> bool,
) -> Result<Option<Added>, PackingError> {
    let mut ids = Vec::new();
    in_order_of_paths(manifest, &mut |(_, id)| ids.push(id))?;
    let (mut ids, mut writer) = (ids.into_iter(), packs.writer(&manifest.tree()));
    loop {
        let mut filled = Ok(true);
        aside(&mut || filled = fill(&mut writer, &mut ids, source, goes_on));
        if !filled? || !is_used() {
            return Ok(None);
        }
        if !writer.is_full() {
            return Ok(Some(writer.finish()?));
        }
        writer.publish()?;
    }
}

/// Fills one pack. False when told to stop.
fn fill(
    writer: &mut Writer<'_>,
    ids: &mut dyn Iterator<Item = Oid>,
    source: &dyn Source,
    goes_on: &dyn Fn(u64) -> bool,
) -> Result<bool, ContentPackError> {
    while !writer.is_full() {
        let Some(id) = ids.next() else { break };
        if !goes_on(writer.disk_bytes()) {
            return Ok(false);
        }
        if writer.wants(&id)
            && let Ok(bytes) = source.blob(&id)
        {
            writer.put(&id, &bytes)?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::{LateSource, Sources};
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use weald_model::{HostEnv, Silent, SourceError, Timestamp};
    use weald_store::disk::{HostDisk, Map};
    use weald_testkit::repo::Repo;

    struct Scene {
        repo: Repo,
        dir: tempfile::TempDir,
        packs: Arc<ContentPacks>,
        source: Arc<LateSource>,
        manifest: Manifest,
    }

    fn scene() -> Scene {
        let mut repo = Repo::new();
        for at in 0..40 {
            repo.write(&format!("d{}/f{at}", at % 4), format!("content {at}\n").repeat(30));
        }
        repo.write("z", "");
        repo.commit("first");
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(HostDisk::new(dir.path()));
        let packs = Arc::new(ContentPacks::new(disk, dir.path().to_owned()));
        let sources = Sources::new(PathBuf::from("/none"), Arc::new(HostEnv::default()), packs.clone());
        let source = sources.at(repo.path());
        let tree = Oid::from_hex(&repo.git(&["rev-parse", "HEAD^{tree}"])).unwrap();
        let bytes = Manifest::build(&*source, &tree, Timestamp::default(), &Silent).unwrap();
        let manifest = Manifest::open(Map::from_bytes(bytes)).unwrap();
        Scene { repo, dir, packs, source, manifest }
    }

    fn blob(scene: &Scene, path: &str) -> Oid {
        Oid::from_hex(&scene.repo.git(&["rev-parse", &format!("HEAD:{path}")])).unwrap()
    }

    #[test]
    fn what_was_copied_is_read_when_the_repository_has_it_no_more() {
        let scene = scene();
        assert_eq!(pack(&scene.packs, &scene.manifest, &*scene.source, &|_| false, &|| true).unwrap(), None);
        let added =
            pack(&scene.packs, &scene.manifest, &*scene.source, &|_| true, &|| true).unwrap().unwrap();
        assert_eq!(added.blobs, 41);
        let again =
            pack(&scene.packs, &scene.manifest, &*scene.source, &|_| true, &|| true).unwrap().unwrap();
        assert_eq!(again, Added::default());
        let some = blob(&scene, "d3/f7");
        let hex = some.to_string();
        let file = format!(".git/objects/{}/{}", &hex[..2], &hex[2..]);
        std::fs::remove_file(scene.repo.path().join(file)).unwrap();
        assert_eq!(scene.source.blob(&some).unwrap(), "content 7\n".repeat(30).into_bytes());
        assert_eq!(scene.source.blob_sizes(&[some]), [Ok(300)]);
        assert!(scene.source.checked_blob(&some).is_err());
    }

    #[test]
    fn a_damaged_copy_is_passed_over() {
        let scene = scene();
        pack(&scene.packs, &scene.manifest, &*scene.source, &|_| true, &|| true).unwrap();
        let file = scene.packs.list().unwrap().remove(0).path;
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[64..200].fill(0xff);
        std::fs::write(&file, bytes).unwrap();
        for path in ["d0/f0", "d0/f12", "d3/f39"] {
            let content = scene.source.blob(&blob(&scene, path)).unwrap();
            assert_eq!(content, scene.source.checked_blob(&blob(&scene, path)).unwrap());
        }
        assert!(!scene.packs.verify(&|_, _| true).unwrap().problems.is_empty());
        assert!(scene.dir.path().exists());
    }

    #[test]
    fn readers_get_the_blob_while_packs_are_written_damaged_and_removed() {
        let scene = scene();
        let mut ids = Vec::new();
        in_order_of_paths(&scene.manifest, &mut |(_, id)| ids.push(id)).unwrap();
        let right: Vec<Vec<u8>> = ids.iter().map(|id| scene.source.checked_blob(id).unwrap()).collect();
        let ended = AtomicBool::new(false);
        let (source, ids, right, ended) = (&scene.source, &ids, &right, &ended);
        std::thread::scope(|scope| {
            for reader in 0..3 {
                scope.spawn(move || {
                    let mut at = reader * 7;
                    while !ended.load(Ordering::Relaxed) {
                        at = (at * 5 + 11) % ids.len();
                        assert_eq!(source.blob(&ids[at]).unwrap(), right[at]);
                    }
                });
            }
            for round in 0..40_u64 {
                pack(&scene.packs, &scene.manifest, &**source, &|_| true, &|| true).unwrap().unwrap();
                let file = scene.packs.list().unwrap().remove(0).path;
                if round % 2 == 0 {
                    let pack = std::fs::File::options().write(true).open(&file).unwrap();
                    pack.write_all_at(&[round as u8; 16], 64 + round * 20).unwrap();
                }
                assert!(source.reads() > 0);
                scene.packs.remove(&file).unwrap();
            }
            ended.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_tree_nobody_is_on_any_more_gets_no_pack() {
        let scene = scene();
        let packed = pack(&scene.packs, &scene.manifest, &*scene.source, &|_| true, &|| false).unwrap();
        assert_eq!((packed, scene.packs.list().unwrap()), (None, Vec::new()));
        let left: Vec<_> = std::fs::read_dir(scene.dir.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn what_is_nowhere_is_missing() {
        let scene = scene();
        let none = Oid::new(&[7; 20]).unwrap();
        assert_eq!(scene.source.blob(&none), Err(SourceError::Missing(none)));
    }
}
