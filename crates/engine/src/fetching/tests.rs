//! Batches: what goes with a miss, how they grow, who waits for whom.

use super::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use weald_model::Silent;
use weald_store::disk::Map;
use weald_testkit::lazy::LazySource;
use weald_testkit::source::{MemorySource, Tree};

struct Far {
    source: Arc<LazySource>,
    base: Base,
    clock: AtomicI64,
}

impl Far {
    /// `dirs` directories of `files` files each.
    fn new(dirs: usize, files: usize, bytes: usize) -> Self {
        let file = |dir: usize, at: usize| {
            let mut content = format!("{dir} {at}").into_bytes();
            content.resize(content.len().max(bytes), b'.');
            (format!("f{at:04}").into_bytes(), Tree::File { content, executable: false })
        };
        let dir = |dir: usize| {
            let files: BTreeMap<_, _> = (0..files).map(|at| file(dir, at)).collect();
            (format!("d{dir:04}").into_bytes(), Tree::Dir(files))
        };
        let tree = Tree::Dir((0..dirs).map(dir).collect());
        let far = Arc::new(MemorySource::default());
        let id = far.add(&tree);
        let source = Arc::new(LazySource::new(far));
        let bytes = Manifest::build(&*source, &id, Timestamp::default(), &Silent).unwrap();
        let manifest = Manifest::open(Map::from_bytes(bytes)).unwrap();
        let base = Base::new(manifest, source.clone(), 0, 0);
        Self { source, base, clock: AtomicI64::new(0) }
    }

    fn ino(&self, dir: usize, at: usize) -> Ino {
        let (manifest, ..) = self.base.far_parts().unwrap();
        let dir = manifest.child(Ino::ROOT, format!("d{dir:04}").as_bytes()).unwrap().unwrap();
        manifest.child(dir, format!("f{at:04}").as_bytes()).unwrap().unwrap()
    }

    fn has(&self, dir: usize, at: usize) -> bool {
        self.source.has(&self.base.blob(self.ino(dir, at)).unwrap().0)
    }

    fn fetch(&self, ino: Ino) -> Result<()> {
        self.fetch_for(ino, &Wait::default())
    }

    fn fetch_for(&self, ino: Ino, wait: &Wait) -> Result<()> {
        self.base.fetch(ino, &|| Timestamp::from_secs(self.clock.load(Ordering::Relaxed)), wait)
    }

    fn later(&self) {
        self.clock.fetch_add(60, Ordering::Relaxed);
    }
}

#[test]
fn a_miss_brings_its_directory_and_what_follows() {
    let far = Far::new(4, 20, 0);
    far.fetch(far.ino(1, 10)).unwrap();
    assert_eq!(far.source.trips(), [BATCH_MIN]);
    assert!((0..20).all(|at| far.has(1, at)), "its whole directory");
    assert!((0..12).all(|at| far.has(2, at)) && !far.has(2, 12), "then what follows");
    assert!((0..20).all(|at| !far.has(0, at)));
    far.fetch(far.ino(1, 3)).unwrap();
    assert_eq!(far.source.trips().len(), 1, "it is here");
    assert_eq!(far.base.known_size(far.ino(1, 3)), Some(3));
    assert_eq!(far.base.known_size(far.ino(3, 3)), None);
}

#[test]
fn a_thousand_files_read_one_after_another_take_few_round_trips() {
    for backwards in [false, true] {
        let far = Far::new(40, 25, 0);
        for step in 0..1000 {
            let at = if backwards { 999 - step } else { step };
            far.fetch(far.ino(at / 25, at % 25)).unwrap();
        }
        assert_eq!(far.source.here(), 1000);
        assert_eq!(far.source.trips().len(), 6, "backwards: {backwards}: {:?}", far.source.trips());
    }
}

#[test]
fn misses_that_are_far_apart_in_time_stay_small() {
    let far = Far::new(100, 10, 0);
    for dir in [10, 30, 50, 70] {
        far.fetch(far.ino(dir, 0)).unwrap();
        far.later();
    }
    assert_eq!(far.source.trips(), [BATCH_MIN; 4]);
}

#[test]
fn a_batch_of_large_files_is_smaller() {
    let far = Far::new(4, 40, 4 << 20);
    far.fetch(far.ino(0, 0)).unwrap();
    far.fetch(far.ino(2, 0)).unwrap();
    let trips = far.source.trips();
    assert_eq!((trips[0], trips[1]), (BATCH_MIN, (BATCH_BYTES / (4 << 20)) as usize));
}

#[test]
fn who_misses_what_is_on_its_way_waits_for_that() {
    let far = Far::new(1, 32, 0);
    far.source.hang();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..16)
            .map(|at| {
                scope.spawn({
                    let far = &far;
                    move || far.fetch(far.ino(0, at))
                })
            })
            .collect();
        while far.source.waiting() == 0 {
            std::thread::yield_now();
        }
        far.source.go_on();
        for one in all {
            one.join().unwrap().unwrap();
        }
    });
    assert_eq!(far.source.trips(), [32]);
}

#[test]
fn who_gives_up_leaves_the_fetch_to_those_who_still_wait() {
    let far = Far::new(1, 4, 0);
    far.source.hang();
    let (first, second) = (Wait::default(), Wait::default());
    std::thread::scope(|scope| {
        let one = scope.spawn(|| far.fetch_for(far.ino(0, 0), &first));
        while far.source.waiting() == 0 {
            std::thread::yield_now();
        }
        first.cancel();
        assert_eq!(one.join().unwrap(), Err(Errno::Interrupted));
        let other = scope.spawn(|| far.fetch_for(far.ino(0, 1), &second));
        far.source.go_on();
        assert_eq!(other.join().unwrap(), Ok(()));
    });
    assert_eq!((far.source.trips(), far.source.here()), (vec![4], 4));
}

#[test]
fn a_fetch_that_all_gave_up_on_does_not_keep_the_next_one_waiting() {
    let far = Far::new(1, 4, 0);
    far.source.hang();
    let wait = Wait::default();
    std::thread::scope(|scope| {
        let one = scope.spawn(|| far.fetch_for(far.ino(0, 0), &wait));
        while far.source.waiting() == 0 {
            std::thread::yield_now();
        }
        wait.cancel();
        assert_eq!(one.join().unwrap(), Err(Errno::Interrupted));
        far.later();
        let next = scope.spawn(|| far.fetch(far.ino(0, 0)));
        while far.source.trips().len() < 2 {
            std::thread::yield_now();
        }
        // The first one was ended, and the source answers again.
        far.source.go_on();
        assert_eq!(next.join().unwrap(), Ok(()));
    });
    assert_eq!(far.source.trips(), [4, 4]);
}

#[test]
fn one_who_was_cancelled_before_asks_for_nothing() {
    let far = Far::new(1, 4, 0);
    let wait = Wait::default();
    wait.cancel();
    assert_eq!(far.fetch_for(far.ino(0, 0), &wait), Err(Errno::Interrupted));
    assert!(far.source.trips().is_empty());
}

#[test]
fn a_source_that_is_away_gives_an_error_that_is_not_kept() {
    let far = Far::new(1, 4, 0);
    far.source.refuse(Some("no network"));
    assert_eq!(far.fetch(far.ino(0, 0)), Err(Errno::Io));
    assert_eq!(far.fetch(far.ino(0, 0)), Err(Errno::Io));
    far.source.refuse(None);
    assert_eq!(far.fetch(far.ino(0, 0)), Ok(()));
}

#[test]
fn one_that_cannot_be_had_does_not_keep_its_neighbours_away() {
    let far = Far::new(1, 40, 0);
    let lost = far.base.blob(far.ino(0, 1)).unwrap().0;
    far.source.far().lose_blob(&lost);
    assert_eq!(far.fetch(far.ino(0, 0)), Ok(()));
    assert_eq!(far.fetch(far.ino(0, 1)), Err(Errno::Io));
    assert_eq!(far.fetch(far.ino(0, 2)), Ok(()));
}
