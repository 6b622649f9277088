//! Copying the content of a base into content packs, once all of it is here.
//!
//! A clone that was fetched in batches has a tree's content in many packs of git's, in the order it was asked for; here it
//! becomes one run in the order of paths, and is decompressed faster. Invariants: content is read from the repository,
//! where it is checked against its id; nothing waits for this, and whatever fails costs only the copy.

use crate::fetching::ahead::in_order_of_paths;
use crate::sources::LateSource;
use std::sync::Arc;
use weald_store::content_packs::{Added, ContentPackError, ContentPacks};
use weald_store::manifest::{Manifest, ManifestError};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackingError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Pack(#[from] ContentPackError),
}

/// Copies what no pack has yet of a base's content. None when `go_on` said no: then nothing was added. What is not here, or
/// damaged, is left out.
pub(crate) fn pack(
    packs: &Arc<ContentPacks>,
    manifest: &Manifest,
    source: &LateSource,
    go_on: &dyn Fn() -> bool,
) -> Result<Option<Added>, PackingError> {
    let (mut writer, mut ids) = (packs.writer(&manifest.tree()), Vec::new());
    in_order_of_paths(manifest, &mut |(_, id)| ids.push(id))?;
    for id in ids {
        if !go_on() {
            return Ok(None);
        }
        if writer.wants(&id)
            && let Ok(bytes) = source.checked_blob(&id)
        {
            writer.put(&id, &bytes)?;
        }
    }
    Ok(Some(writer.finish()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Sources;
    use std::path::PathBuf;
    use weald_model::{HostEnv, Oid, Silent, Source, SourceError, Timestamp};
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
        assert_eq!(pack(&scene.packs, &scene.manifest, &scene.source, &|| false).unwrap(), None);
        let added = pack(&scene.packs, &scene.manifest, &scene.source, &|| true).unwrap().unwrap();
        assert_eq!(added.blobs, 41);
        let again = pack(&scene.packs, &scene.manifest, &scene.source, &|| true).unwrap().unwrap();
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
        pack(&scene.packs, &scene.manifest, &scene.source, &|| true).unwrap();
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
    fn what_is_nowhere_is_missing() {
        let scene = scene();
        let none = Oid::new(&[7; 20]).unwrap();
        assert_eq!(scene.source.blob(&none), Err(SourceError::Missing(none)));
    }
}
