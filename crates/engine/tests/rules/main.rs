//! Rules on the engine alone, against a naive model: the same operations are refused for the same reason, and what can be
//! seen is what should be, through renames, links, restores, restarts and forks.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod examples;
mod naive;

use naive::{Naive, What, above};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use weald_engine::{Base, Cookie, DeletionLimit, PathRule, RenameMode, Rules, Shared, Workspace};
use weald_model::{Caller, Env, Errno, FileKind, Ino, Silent, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, Map};
use weald_store::log::Logs;
use weald_store::manifest::Manifest;
use weald_testkit::cases;
use weald_testkit::clock::FakeClock;
use weald_testkit::crash_disk::CrashDisk;
use weald_testkit::source::{MemorySource, Tree};

const WHO: Caller = Caller { uid: 7, gid: 7, pid: 40, umask: 0, kill_privileges: false, request: 0 };

/// One step; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Make {
        dir: usize,
        name: u8,
        is_dir: bool,
    },
    Write {
        path: usize,
        len: u16,
    },
    Read {
        path: usize,
    },
    Link {
        from: usize,
        dir: usize,
        name: u8,
    },
    Remove {
        path: usize,
        is_rmdir: bool,
    },
    Rename {
        from: usize,
        dir: usize,
        name: u8,
        exchange: bool,
    },
    Rules {
        paths: Vec<(usize, u8, PathRule)>,
        bytes: Option<u16>,
        files: Option<u8>,
        deletions: Option<(u8, u8)>,
    },
    Confirm,
    Wait {
        seconds: u8,
    },
    Note,
    Restore {
        which: usize,
    },
    Restart,
    Fork,
    ForkAt {
        which: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0usize..1000;
    let name = 0u8..4;
    let rule = prop_oneof![Just(PathRule::ReadOnly), Just(PathRule::Masked)];
    let rules = (
        prop::collection::vec((number.clone(), name.clone(), rule), 0..3),
        prop::option::weighted(0.3, 0u16..9000),
        prop::option::weighted(0.2, 3u8..14),
        prop::option::weighted(0.4, (0u8..4, 1u8..20)),
    )
        .prop_map(|(paths, bytes, files, deletions)| Step::Rules { paths, bytes, files, deletions });
    let step = prop_oneof![
        8 => (number.clone(), name.clone(), any::<bool>()).prop_map(|(dir, name, is_dir)| Step::Make { dir, name, is_dir }),
        6 => (number.clone(), prop_oneof![1u16..100, 4000u16..7000]).prop_map(|(path, len)| Step::Write { path, len }),
        3 => number.clone().prop_map(|path| Step::Read { path }),
        4 => (number.clone(), number.clone(), name.clone()).prop_map(|(from, dir, name)| Step::Link { from, dir, name }),
        5 => (number.clone(), any::<bool>()).prop_map(|(path, is_rmdir)| Step::Remove { path, is_rmdir }),
        8 => (number.clone(), number.clone(), name, any::<bool>())
            .prop_map(|(from, dir, name, exchange)| Step::Rename { from, dir, name, exchange }),
        5 => rules,
        1 => Just(Step::Confirm),
        2 => (0u8..10).prop_map(|seconds| Step::Wait { seconds }),
        2 => Just(Step::Note),
        2 => number.clone().prop_map(|which| Step::Restore { which }),
        1 => Just(Step::Restart),
        1 => Just(Step::Fork),
        1 => number.prop_map(|which| Step::ForkAt { which }),
    ];
    prop::collection::vec(step, 1..70)
}

/// A workspace and what it should be.
pub(crate) struct World {
    shared: Arc<Shared>,
    disk: CrashDisk,
    clock: Arc<FakeClock>,
    base: Base,
    pub(crate) engine: Arc<Workspace>,
    pub(crate) naive: Naive,
    notes: Vec<(weald_engine::Point, Naive)>,
    forks: u64,
}

pub(crate) fn open_shared(disk: &CrashDisk, clock: &Arc<FakeClock>) -> Arc<Shared> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    for dir in ["/home", "/home/logs", "/home/cas", "/home/chunks"] {
        let _ = disk.make_dir(Path::new(dir));
    }
    let logs = Logs::new(disk.clone(), "/home/logs".into());
    let cas = Cas::new(disk.clone(), "/home/cas".into());
    let chunks = Arc::new(Chunks::new(disk.clone(), "/home/chunks".into()));
    Shared::new(disk, logs, cas, chunks, clock.clone(), 1 << 20)
}

impl World {
    /// On a base with `a/b/a`, `a/c` and `b`.
    pub(crate) fn new() -> Self {
        let tree = Tree::dir([
            ("a", Tree::dir([("b", Tree::dir([("a", Tree::file("1234"))])), ("c", Tree::file("12"))])),
            ("b", Tree::file("1")),
        ]);
        let source = Arc::new(MemorySource::default());
        let id = source.add(&tree);
        let bytes = Manifest::build(&*source, &id, Timestamp::from_secs(1), &Silent).unwrap();
        let base = Base::new(Manifest::open(Map::from_bytes(bytes)).unwrap(), source, 7, 7);
        let (disk, clock) = (CrashDisk::default(), Arc::new(FakeClock::default()));
        let shared = open_shared(&disk, &clock);
        let engine = Workspace::create(shared.clone(), WorkspaceId(1), base.clone(), b"").unwrap();
        let mut naive = Naive::default();
        naive.tree.extend([(b"a".to_vec(), What::Dir), (b"a/b".to_vec(), What::Dir)]);
        for (number, (path, size)) in [("a/b/a", 4), ("a/c", 2), ("b", 1)].into_iter().enumerate() {
            naive.tree.insert(path.as_bytes().to_vec(), What::File(number as u64));
            naive.files.insert(number as u64, (size, 0));
        }
        naive.next = 10;
        Self { shared, disk, clock, base, engine, naive, notes: Vec::new(), forks: 1 }
    }

    /// The inode at a path, whatever the rules say.
    pub(crate) fn ino(&self, path: &[u8]) -> Ino {
        self.engine.now_past().resolve(path).unwrap().ino
    }

    fn place(&self, path: &[u8]) -> (Ino, Vec<u8>) {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap();
        (self.ino(above(path)), name.to_vec())
    }

    fn choose(&self, number: usize) -> Option<Vec<u8>> {
        self.naive.tree.keys().nth(number % self.naive.tree.len().max(1)).cloned()
    }

    fn choose_file(&self, number: usize) -> Option<Vec<u8>> {
        self.choose(number).filter(|path| self.naive.tree[path] != What::Dir)
    }

    fn name(&self, dir: usize, name: u8) -> Vec<u8> {
        let dirs = self.naive.dirs();
        let dir = &dirs[dir % dirs.len()];
        let name = [b'a' + name];
        if dir.is_empty() { name.to_vec() } else { [dir, &b"/"[..], &name].concat() }
    }

    fn step(&mut self, step: &Step) -> (Result<u64, Errno>, Result<u64, Errno>) {
        let now = self.clock.now().secs;
        let done = |result: Result<(), Errno>| result.map(|()| 0);
        match step {
            Step::Make { dir, name, is_dir } => {
                let path = self.name(*dir, *name);
                let (parent, name) = self.place(&path);
                let kind = if *is_dir { FileKind::Dir } else { FileKind::File };
                let made = self.engine.make_node(&WHO, parent, &name, kind, 0o755, 0);
                (done(made.map(drop)), done(self.naive.make(&path, *is_dir)))
            }
            Step::Write { path, len } => {
                let Some(path) = self.choose_file(*path) else {
                    return (Ok(0), Ok(0));
                };
                let written = self.engine.write(&WHO, self.ino(&path), 0, &vec![b'w'; usize::from(*len)]);
                (done(written), done(self.naive.write(&path, u64::from(*len))))
            }
            Step::Read { path } => {
                let Some(path) = self.choose_file(*path) else { return (Ok(0), Ok(0)) };
                let mut bytes = Vec::new();
                let read = self.engine.read(self.ino(&path), 0, 100_000, &mut bytes);
                (read.map(|()| bytes.len() as u64), self.naive.read(&path))
            }
            Step::Link { from, dir, name } => {
                let Some(from) = self.choose(*from) else { return (Ok(0), Ok(0)) };
                let to = self.name(*dir, *name);
                let (parent, name) = self.place(&to);
                let linked = self.engine.link(&WHO, self.ino(&from), parent, &name);
                (done(linked.map(drop)), done(self.naive.link(&from, &to)))
            }
            Step::Remove { path, is_rmdir } => {
                let Some(path) = self.choose(*path) else { return (Ok(0), Ok(0)) };
                let (parent, name) = self.place(&path);
                let removed = match is_rmdir {
                    true => self.engine.rmdir(&WHO, parent, &name),
                    false => self.engine.unlink(&WHO, parent, &name),
                };
                self.engine.purge_orphans().unwrap();
                (done(removed.map(drop)), done(self.naive.remove(&path, *is_rmdir, now)))
            }
            Step::Rename { from, dir, name, exchange } => {
                let Some(from) = self.choose(*from) else { return (Ok(0), Ok(0)) };
                let to = self.name(*dir, *name);
                let ((one, old), (other, new)) = (self.place(&from), self.place(&to));
                let mode = if *exchange { RenameMode::Exchange } else { RenameMode::Replace };
                let renamed = self.engine.rename(&WHO, one, &old, other, &new, mode);
                self.engine.purge_orphans().unwrap();
                (done(renamed), done(self.naive.rename(&from, &to, *exchange)))
            }
            _ => {
                self.around(step, now);
                (Ok(0), Ok(0))
            }
        }
    }

    /// What is done about the workspace, and is refused by no rule.
    fn around(&mut self, step: &Step, now: i64) {
        match step {
            Step::Rules { paths, bytes, files, deletions } => {
                let mut rules = Rules {
                    max_bytes: bytes.map(u64::from),
                    max_files: files.map(u64::from),
                    max_deletions: deletions.map(|(count, seconds)| DeletionLimit {
                        count: u32::from(count),
                        seconds: u32::from(seconds),
                    }),
                    ..Rules::default()
                };
                for (dir, name, rule) in paths {
                    rules.paths.insert(self.name(*dir, *name), *rule);
                }
                self.set_rules(rules);
            }
            Step::Confirm if self.naive.rules.max_deletions.is_some() => {
                self.engine.confirm_deletions(&WHO, 5).unwrap();
                (self.naive.stopped, self.naive.free_until) = (false, now + 5);
                self.naive.deletions.clear();
            }
            Step::Wait { seconds } => self.wait(i64::from(*seconds)),
            Step::Note => self.notes.push((self.engine.present(), self.naive.clone())),
            Step::Restore { which } if !self.notes.is_empty() => {
                let (point, then) = self.notes[which % self.notes.len()].clone();
                self.engine.restore(&WHO, &self.engine.past(point).unwrap(), &[]).unwrap();
                self.engine.purge_orphans().unwrap();
                let Naive { tree, files, .. } = then;
                self.naive = Naive { tree, files, ..self.naive.clone() };
            }
            Step::Restart => {
                self.engine.sync().unwrap();
                let id = self.engine.id();
                self.shared = open_shared(&self.disk, &self.clock);
                self.engine = Workspace::open(self.shared.clone(), id, self.base.clone()).unwrap();
            }
            Step::Fork => {
                self.forks += 1;
                self.engine = self.engine.fork(WorkspaceId(self.forks), b"").unwrap();
                self.forget_deletions();
            }
            Step::ForkAt { which } if !self.notes.is_empty() => {
                self.forks += 1;
                let (point, then) = self.notes[which % self.notes.len()].clone();
                self.engine = self.engine.fork_at(point, WorkspaceId(self.forks), b"").unwrap();
                self.engine.purge_orphans().unwrap();
                let rules = self.naive.rules.clone();
                self.naive = Naive { next: self.naive.next, ..then };
                self.naive.rules = rules;
                self.forget_deletions();
                self.notes.retain(|(noted, _)| *noted <= point && noted.log == point.log);
            }
            _ => {}
        }
    }

    pub(crate) fn wait(&self, seconds: i64) {
        let now = self.clock.now();
        self.clock.set(Timestamp { secs: now.secs + seconds, ..now });
    }

    fn forget_deletions(&mut self) {
        (self.naive.stopped, self.naive.free_until) = (false, 0);
        self.naive.deletions.clear();
    }

    pub(crate) fn set_rules(&mut self, rules: Rules) {
        self.engine.set_rules(&WHO, rules.clone()).unwrap();
        if self.naive.rules.max_deletions != rules.max_deletions {
            self.forget_deletions();
        }
        self.naive.rules = rules;
    }

    /// Every path that can be found from the root.
    pub(crate) fn seen(&self) -> BTreeSet<Vec<u8>> {
        let mut seen = BTreeSet::new();
        let mut left = vec![(Ino::ROOT, Vec::new())];
        while let Some((dir, path)) = left.pop() {
            let mut each = |entry: weald_engine::DirEntry<'_>| {
                let path = if path.is_empty() {
                    entry.name.to_vec()
                } else {
                    [&path, &b"/"[..], entry.name].concat()
                };
                if entry.kind == FileKind::Dir {
                    left.push((entry.ino, path.clone()));
                }
                seen.insert(path);
                true
            };
            self.engine.read_dir(dir, Cookie(0), &mut each).unwrap();
        }
        seen
    }

    /// Looking each path up finds what listing finds.
    fn found(&self) -> BTreeSet<Vec<u8>> {
        let is_found = |path: &&Vec<u8>| {
            let (parent, name) = self.place(path);
            self.engine.lookup(parent, &name).is_ok()
        };
        self.naive.tree.keys().filter(is_found).cloned().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(400),
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rules_refuse_and_hide_what_a_naive_model_does_through_renames_links_restores_restarts_and_forks(steps in steps()) {
        let mut world = World::new();
        for (number, step) in steps.iter().enumerate() {
            let (engine, naive) = world.step(step);
            prop_assert_eq!(engine, naive, "step {} {:?} of {:?}", number, step, world.naive);
            prop_assert_eq!(world.seen(), world.naive.seen(), "after step {} {:?} of {:?}", number, step, world.naive);
            prop_assert_eq!(world.found(), world.naive.seen(), "after step {} {:?} of {:?}", number, step, world.naive);
            let checked = world.engine.now_past().check();
            prop_assert_eq!(checked, Ok(Ok(())));
        }
    }
}
