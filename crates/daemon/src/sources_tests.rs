//! Idle repositories are closed, used ones are not, and closing is not noticed by who reads.

use super::*;
use weald_model::HostEnv;
use weald_store::disk::HostDisk;
use weald_testkit::repo::Repo;

/// A repository with everything in one pack, and the id of a blob in it.
fn packed() -> (Repo, Oid) {
    let mut repo = Repo::new();
    repo.write("a.txt", "one\n");
    repo.commit("first");
    repo.git(&["repack", "-a", "-d", "--quiet"]);
    let blob = Oid::from_hex(&repo.git(&["rev-parse", "HEAD:a.txt"])).unwrap();
    (repo, blob)
}

fn is_mapped(repo: &Repo) -> bool {
    let packs = repo.path().join(".git/objects/pack");
    std::fs::read_to_string("/proc/self/maps").unwrap().contains(packs.to_str().unwrap())
}

/// Sources of a home without content packs.
fn new_sources() -> Sources {
    let none = tempfile::tempdir().unwrap();
    let packs = ContentPacks::new(Arc::new(HostDisk::new(none.path())), none.path().to_owned());
    assert_eq!(packs.list().unwrap(), []);
    Sources::new(PathBuf::from("/none"), Arc::new(HostEnv::default()), Arc::new(packs))
}

/// Sources whose rounds the test makes, not a thread.
fn sources() -> Sources {
    let sources = new_sources();
    locked(&sources.closer.watched).is_running = true;
    sources
}

#[test]
fn an_idle_repository_is_unmapped_and_opened_again_when_read() {
    let (repo, blob) = packed();
    let sources = sources();
    let source = sources.at(repo.path());
    assert!(!is_mapped(&repo), "nothing is opened before it is read");
    for _ in 0..2 {
        assert_eq!(source.blob(&blob).unwrap(), b"one\n");
        assert!(is_mapped(&repo));
        assert!(sources.closer.round(), "it was used since the last round");
        assert!(is_mapped(&repo));
        assert!(!sources.closer.round());
        assert!(!is_mapped(&repo));
        // As the thread would have been started by the next open.
        locked(&sources.closer.watched).is_running = true;
    }
}

#[test]
fn a_repository_in_use_stays_open() {
    let (repo, blob) = packed();
    let sources = sources();
    let source = sources.at(repo.path());
    for _ in 0..3 {
        assert_eq!(source.blob(&blob).unwrap(), b"one\n");
        assert!(sources.closer.round());
    }
    assert!(is_mapped(&repo));
    assert_eq!(locked(&sources.closer.watched).open.len(), 1, "it is watched once however often it is read");
}

#[test]
fn a_reader_keeps_what_it_reads_from() {
    let (repo, blob) = packed();
    let sources = sources();
    let source = sources.at(repo.path());
    let reading = source.get().unwrap();
    while sources.closer.round() {}
    assert_eq!(reading.blob(&blob).unwrap(), b"one\n");
    drop(reading);
    assert!(!is_mapped(&repo));
}

#[test]
fn a_repository_that_was_away_is_read_once_it_is_back() {
    let (repo, blob) = packed();
    let (git, away) = (repo.path().join(".git"), repo.path().join("away"));
    std::fs::rename(&git, &away).unwrap();
    let sources = sources();
    let source = sources.at(repo.path());
    assert!(matches!(source.blob(&blob), Err(SourceError::Unavailable(_))));
    std::fs::rename(&away, &git).unwrap();
    assert_eq!(source.blob(&blob).unwrap(), b"one\n");
}

#[test]
fn what_was_read_from_packs_alone_goes_from_memory_when_nobody_reads() {
    let (repo, blob) = packed();
    let dir = tempfile::tempdir().unwrap();
    let packs = ContentPacks::new(Arc::new(HostDisk::new(dir.path())), dir.path().to_owned());
    let mut writer = packs.writer(&blob);
    writer.put(&blob, b"one\n").unwrap();
    writer.finish().unwrap();
    let sources = Sources::new(PathBuf::from("/none"), Arc::new(HostEnv::default()), Arc::new(packs));
    locked(&sources.closer.watched).is_running = true;
    let rests = Arc::new(AtomicU64::new(0));
    let counted = rests.clone();
    sources.when_at_rest(Box::new(move || _ = counted.fetch_add(1, Ordering::Relaxed)));
    let source = sources.at(repo.path());
    for round in 1..3 {
        for _ in 0..3 {
            assert_eq!(source.blob(&blob).unwrap(), b"one\n");
        }
        assert!(!is_mapped(&repo), "the repository is not needed for that");
        assert_eq!(locked(&sources.closer.watched).open.len(), 1);
        assert!(sources.closer.round());
        assert_eq!(rests.load(Ordering::Relaxed), round - 1);
        assert!(!sources.closer.round());
        assert_eq!(rests.load(Ordering::Relaxed), round);
        locked(&sources.closer.watched).is_running = true;
    }
}

#[test]
fn the_thread_begins_with_the_first_open_repository() {
    let (repo, blob) = packed();
    let sources = new_sources();
    assert!(!locked(&sources.closer.watched).is_running);
    sources.at(repo.path()).blob(&blob).unwrap();
    assert!(locked(&sources.closer.watched).is_running);
}
