//! Fetching from real servers that fail.

use super::*;
use weald_model::HostEnv;
use weald_testkit::repo::{Repo, isolated_git};
use weald_testkit::server::{Failing, Server};

/// Files in the repository.
const FILES: usize = 40;

struct Lab {
    repo: Repo,
    server: Server,
    dir: tempfile::TempDir,
    fetcher: Arc<Fetcher>,
    blobs: Vec<Oid>,
}

impl Lab {
    fn new() -> Self {
        let mut repo = Repo::new();
        for number in 0..FILES {
            // Content that does not shrink, so that answers are long enough to be cut off.
            let words: Vec<String> = (0..200_u64)
                .map(|at| format!("{:x}", (at + 7 * number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
                .collect();
            repo.write(&format!("f{number:02}"), words.join("\n"));
        }
        repo.commit("first");
        let server = Server::http(repo.path()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let clone = dir.path().join("c.git");
        let args = ["clone", "--quiet", "--bare", "--filter=blob:none", "--depth=1", &server.url(".git")];
        assert!(isolated_git(dir.path()).args(args).arg(&clone).status().unwrap().success());
        let names = repo.git(&["ls-tree", "-r", "HEAD", "--format=%(objectname)"]);
        let blobs = names.lines().map(|line| Oid::from_hex(line).unwrap()).collect();
        let fetcher = Fetcher::new(&clone, Arc::new(HostEnv::default()));
        Self { repo, server, dir, fetcher, blobs }
    }

    fn missing(&self) -> usize {
        let clone = weald_git::Repository::open(&self.dir.path().join("c.git")).unwrap();
        clone.missing(&self.blobs).len()
    }
}

#[test]
fn a_batch_is_one_round_trip_and_what_is_on_its_way_is_not_asked_for_again() {
    let lab = Lab::new();
    let before = lab.server.fetches();
    assert_eq!(lab.missing(), FILES);
    lab.fetcher.get(&lab.blobs[..30], &Wait::default()).unwrap();
    assert_eq!((lab.server.fetches() - before, lab.missing()), (1, FILES - 30));
    lab.server.fail(Failing::Hanging);
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..8).map(|_| scope.spawn(|| lab.fetcher.get(&lab.blobs[30..], &Wait::default()))).collect();
        while locked(&lab.fetcher.state).tickets.len() < 8 {
            std::thread::sleep(Duration::from_millis(1));
        }
        lab.server.fail(Failing::Never);
        waiting.into_iter().for_each(|one| one.join().unwrap().unwrap_or_default());
    });
    assert_eq!(lab.missing(), 0);
}

#[test]
fn who_gives_up_ends_a_run_that_nobody_else_waits_for() {
    let lab = Lab::new();
    lab.server.fail(Failing::Hanging);
    let wait = Wait::default();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lab.fetcher.get(&lab.blobs[..1], &wait));
        while locked(&lab.fetcher.state).on_their_way.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        wait.cancel();
        assert_eq!(waiting.join().unwrap(), Err(SourceError::Interrupted));
    });
    while locked(&lab.fetcher.state).lanes > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    lab.server.fail(Failing::Never);
    lab.fetcher.get(&lab.blobs, &Wait::default()).unwrap();
    assert_eq!(lab.missing(), 0);
}

#[test]
fn a_remote_that_is_away_is_told_and_serves_again_when_it_is_back() {
    let lab = Lab::new();
    lab.server.fail(Failing::Away);
    let first = lab.fetcher.get(&lab.blobs[..2], &Wait::default());
    assert!(
        matches!(&first, Err(SourceError::Unavailable(why)) if why.contains("could not be fetched")),
        "{first:?}"
    );
    assert!(lab.fetcher.away().is_some());
    let asked = lab.server.requests();
    assert!(lab.fetcher.get(&lab.blobs[..2], &Wait::default()).is_err(), "told at once, without asking");
    assert_eq!(lab.server.requests(), asked);
    lab.server.fail(Failing::Never);
    while lab.fetcher.get(&lab.blobs, &Wait::default()).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(lab.fetcher.away().is_none());
    assert_eq!(lab.missing(), 0);
}

#[test]
fn answers_that_are_cut_off_or_changed_bring_nothing_and_are_told() {
    for failing in [Failing::CutAt(9_000), Failing::FlipAt(9_000)] {
        let lab = Lab::new();
        lab.server.fail(failing);
        let outcome = lab.fetcher.get(&lab.blobs, &Wait::default());
        assert!(matches!(outcome, Err(SourceError::Unavailable(_))), "{failing:?}: {outcome:?}");
        assert_eq!(lab.missing(), FILES, "{failing:?}");
        locked(&lab.fetcher.state).away = None;
        lab.server.fail(Failing::Never);
        lab.fetcher.get(&lab.blobs, &Wait::default()).unwrap();
        assert_eq!(lab.missing(), 0);
    }
}

#[test]
fn objects_the_remote_does_not_have_are_told_and_the_others_come() {
    let lab = Lab::new();
    let nothing = Oid::from_hex(&"12".repeat(20)).unwrap();
    let mixed = [lab.blobs[0], nothing, lab.blobs[1]];
    lab.fetcher.get(&mixed, &Wait::default()).unwrap();
    assert_eq!(lab.missing(), FILES - 2);
    assert_eq!(lab.fetcher.get(&[nothing], &Wait::default()), Err(SourceError::Missing(nothing)));
    drop(lab.repo);
}

#[test]
fn packs_that_became_many_are_joined_and_everything_stays() {
    let lab = Lab::new();
    for blob in &lab.blobs[..30] {
        lab.fetcher.get(&[*blob], &Wait::default()).unwrap();
    }
    let path = lab.dir.path().join("c.git");
    let reader = weald_git::GitSource::lazy(weald_git::Repository::open(&path).unwrap());
    let before = weald_model::Source::blob(&reader, &lab.blobs[0]).unwrap();
    assert!(packs::count(&path) > 30);
    packs::join(&path, &|| false).unwrap();
    assert!(packs::count(&path) <= 2, "{}", packs::count(&path));
    assert_eq!(lab.missing(), FILES - 30);
    for blob in &lab.blobs[..30] {
        weald_model::Source::blob(&reader, blob).unwrap();
    }
    assert_eq!(weald_model::Source::blob(&reader, &lab.blobs[0]).unwrap(), before);
    assert_eq!(
        weald_model::Source::blob(&reader, &lab.blobs[35]),
        Err(SourceError::Unfetched(lab.blobs[35])),
        "what is missing is still promised"
    );
    lab.fetcher.get(&lab.blobs, &Wait::default()).unwrap();
}

#[test]
fn who_waits_when_the_daemon_ends_is_told() {
    let lab = Lab::new();
    lab.server.fail(Failing::Hanging);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lab.fetcher.get(&lab.blobs[..1], &Wait::default()));
        while locked(&lab.fetcher.state).on_their_way.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        lab.fetcher.end();
        assert!(matches!(waiting.join().unwrap(), Err(SourceError::Unavailable(_))));
    });
    assert_eq!(locked(&lab.fetcher.state).lanes, 0);
}
