//! A mounted workspace whose content is elsewhere: what the kernel asks for, and when.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod common;

use common::Scene;
use rustix::fs::{AtFlags, CWD, FallocateFlags, OFlags, SeekFrom, StatxFlags};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use weald_engine::{Base, Shared, Workspace};
use weald_fuse::adapter::Adapter;
use weald_fuse::{Caching, Limits, Pool};
use weald_model::{HostEnv, Silent, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, HostDisk, Map};
use weald_store::log::Logs;
use weald_store::manifest::Manifest;
use weald_testkit::lazy::LazySource;
use weald_testkit::source::{MemorySource, Tree};

/// A mounted workspace on a base that is elsewhere.
struct World {
    scene: Scene,
    source: Arc<LazySource>,
    workspace: Arc<Workspace>,
    _home: tempfile::TempDir,
}

impl World {
    fn new(pool: &Pool, tree: &Tree) -> Self {
        let home = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(HostDisk::new(home.path()));
        let [logs, cas, chunks] = ["logs", "cas", "chunks"].map(|name| home.path().join(name));
        for dir in [&logs, &cas, &chunks] {
            disk.make_dir(dir).unwrap();
        }
        let logs = Logs::new(disk.clone(), logs);
        let cas = Cas::new(disk.clone(), cas);
        let chunks = Arc::new(Chunks::new(disk.clone(), chunks));
        let shared = Shared::new(disk, logs, cas, chunks, Arc::new(HostEnv::default()), 1 << 20);
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let far = Arc::new(MemorySource::default());
        let id = far.add(tree);
        let source = Arc::new(LazySource::new(far));
        let bytes = Manifest::build(&*source, &id, Timestamp::from_secs(1_700_000_000), &Silent).unwrap();
        let manifest = Manifest::open(Map::from_bytes(bytes)).unwrap();
        let base = Base::new(manifest, source.clone(), uid, gid);
        let workspace = Workspace::create(shared, WorkspaceId(1), base, b"").unwrap();
        let adapter = Arc::new(Adapter::new(workspace.clone()).unwrap());
        let scene = Scene::with(pool, "workspace", adapter, Caching::WriteThrough, Box::new(|_| ()));
        Self { scene, source, workspace, _home: home }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scene.at(name)
    }

    fn until_waiting(&self) {
        let start = Instant::now();
        while self.source.waiting() == 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "nobody asked for content");
            std::thread::yield_now();
        }
    }
}

fn pool() -> Pool {
    Pool::new(Limits::default()).unwrap()
}

fn script(text: &str) -> Tree {
    Tree::File { content: text.into(), executable: true }
}

fn few() -> Tree {
    Tree::dir([
        ("f", Tree::file("hello, world\n")),
        ("g", Tree::file(vec![b'g'; 300_000])),
        ("empty", Tree::file("")),
        ("run", script("#!/bin/sh\necho it ran\n")),
        ("link", Tree::Symlink(b"dir/target".to_vec())),
        ("dir", Tree::dir([("target", Tree::file("at the end of a link"))])),
    ])
}

#[test]
fn names_are_listed_moved_and_removed_without_any_content() {
    let pool = pool();
    let world = World::new(&pool, &few());
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|one| one.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&world.scene.path), ["dir", "empty", "f", "g", "link", "run"]);
    assert!(fs::read_dir(&world.scene.path).unwrap().all(|one| one.unwrap().file_type().is_ok()));
    fs::rename(world.at("f"), world.at("dir/moved")).unwrap();
    fs::set_permissions(world.at("g"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(world.at("empty")).unwrap();
    fs::rename(world.at("link"), world.at("other")).unwrap();
    fs::create_dir(world.at("new")).unwrap();
    fs::write(world.at("new/own"), "own").unwrap();
    assert_eq!(fs::read(world.at("new/own")).unwrap(), b"own");
    assert!(world.source.trips().is_empty());
    assert_eq!(fs::read(world.at("dir/moved")).unwrap(), b"hello, world\n");
    let stat = fs::metadata(world.at("g")).unwrap();
    assert_eq!((stat.size(), stat.mode() & 0o777), (300_000, 0o600));
    assert!(world.workspace.now_past().check().unwrap().is_ok());
}

#[allow(unsafe_code, reason = "a map of a file is what is to be looked at")]
fn map(file: &File) -> memmap2::Mmap {
    // SAFETY: nobody cuts the file while it is mapped.
    unsafe { memmap2::Mmap::map(file).unwrap() }
}

/// What a program does first with a file, and what must come of it.
type FirstUse = fn(&World);

const FIRST_USES: &[(&str, FirstUse)] = &[
    ("open and read", |world| assert_eq!(fs::read(world.at("f")).unwrap(), b"hello, world\n")),
    ("stat", |world| {
        let stat = fs::metadata(world.at("g")).unwrap();
        assert_eq!((stat.size(), stat.blocks()), (300_000, 592));
    }),
    ("stat of an empty file", |world| assert_eq!(fs::metadata(world.at("empty")).unwrap().size(), 0)),
    ("statx with a birth time", |world| {
        let stat = rustix::fs::statx(CWD, world.at("g"), AtFlags::empty(), StatxFlags::ALL).unwrap();
        assert_eq!(stat.stx_size, 300_000);
    }),
    ("fstat of a path that is not opened", |world| {
        let fd = rustix::fs::open(world.at("g"), OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        assert_eq!(rustix::fs::fstat(&fd).unwrap().st_size, 300_000);
    }),
    ("mmap", |world| {
        let map = map(&File::open(world.at("g")).unwrap());
        assert!(map.len() == 300_000 && map.iter().all(|byte| *byte == b'g'));
    }),
    ("exec", |world| {
        let output = Command::new(world.at("run")).output().unwrap();
        assert_eq!(output.stdout, b"it ran\n");
    }),
    ("append", |world| {
        let mut file = File::options().append(true).open(world.at("f")).unwrap();
        file.write_all(b"more\n").unwrap();
        assert_eq!(fs::read(world.at("f")).unwrap(), b"hello, world\nmore\n");
    }),
    ("write in the middle", |world| {
        File::options().write(true).open(world.at("f")).unwrap().write_all_at(b"HELLO", 0).unwrap();
        assert_eq!(fs::read(world.at("f")).unwrap(), b"HELLO, world\n");
    }),
    ("truncate", |world| {
        assert!(Command::new("truncate").args(["-s", "5"]).arg(world.at("g")).status().unwrap().success());
        assert_eq!(fs::read(world.at("g")).unwrap(), b"ggggg");
    }),
    ("grow", |world| {
        File::options().write(true).open(world.at("f")).unwrap().set_len(20).unwrap();
        assert_eq!(fs::read(world.at("f")).unwrap(), b"hello, world\n\0\0\0\0\0\0\0");
    }),
    ("truncate on open", |world| {
        fs::write(world.at("f"), b"new").unwrap();
        assert_eq!(fs::read(world.at("f")).unwrap(), b"new");
    }),
    ("copy_file_range", |world| {
        let (from, to) = (File::open(world.at("f")).unwrap(), File::create(world.at("to")).unwrap());
        assert_eq!(rustix::fs::copy_file_range(&from, None, &to, None, 1000).unwrap(), 13);
        assert_eq!(fs::read(world.at("to")).unwrap(), b"hello, world\n");
    }),
    ("copy_file_range into it", |world| {
        fs::write(world.at("from"), b"HELLO").unwrap();
        let from = File::open(world.at("from")).unwrap();
        let to = File::options().write(true).open(world.at("f")).unwrap();
        assert_eq!(rustix::fs::copy_file_range(&from, None, &to, None, 5).unwrap(), 5);
        assert_eq!(fs::read(world.at("f")).unwrap(), b"HELLO, world\n");
    }),
    ("lseek to the end", |world| {
        let file = File::open(world.at("g")).unwrap();
        assert_eq!(rustix::fs::seek(&file, SeekFrom::End(-1)).unwrap(), 299_999);
        assert_eq!(rustix::fs::seek(&file, SeekFrom::Hole(0)).unwrap(), 300_000);
    }),
    ("sendfile", |world| {
        let from = File::open(world.at("f")).unwrap();
        let to = File::create(world.at("to")).unwrap();
        assert_eq!(rustix::fs::sendfile(&to, &from, None, 1000).unwrap(), 13);
        assert_eq!(fs::read(world.at("to")).unwrap(), b"hello, world\n");
    }),
    ("fallocate", |world| {
        let file = File::options().write(true).open(world.at("f")).unwrap();
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 16).unwrap();
        assert_eq!(fs::read(world.at("f")).unwrap(), b"hello, world\n\0\0\0");
    }),
    ("a way through a link", |world| {
        assert_eq!(fs::read(world.at("link")).unwrap(), b"at the end of a link");
        assert_eq!(fs::read_link(world.at("link")).unwrap(), Path::new("dir/target"));
        assert_eq!(fs::symlink_metadata(world.at("link")).unwrap().size(), 10);
    }),
    ("lstat of a link", |world| {
        assert_eq!(fs::symlink_metadata(world.at("link")).unwrap().size(), 10);
        assert_eq!(fs::read_link(world.at("link")).unwrap(), Path::new("dir/target"));
    }),
    ("hard link", |world| {
        fs::hard_link(world.at("f"), world.at("hard")).unwrap();
        assert_eq!(fs::read(world.at("hard")).unwrap(), b"hello, world\n");
        assert_eq!(fs::metadata(world.at("f")).unwrap().size(), 13);
    }),
    ("read after a listing with attributes", |world| {
        let listed =
            fs::read_dir(&world.scene.path).unwrap().map(|one| one.unwrap().metadata().unwrap().size());
        assert_eq!(listed.sum::<u64>(), 13 + 300_000 + 22 + 10 + 4096);
    }),
];

#[test]
fn every_first_use_of_a_file_sees_its_size_and_its_content() {
    let pool = pool();
    for (what, first_use) in FIRST_USES {
        let world = World::new(&pool, &few());
        // Whatever the kernel knows from a listing is not enough.
        assert_eq!(fs::read_dir(&world.scene.path).unwrap().count(), 6);
        assert!(world.source.trips().is_empty());
        first_use(&world);
        assert!((1..=2).contains(&world.source.trips().len()), "{what}: {:?}", world.source.trips());
        assert!(world.workspace.now_past().check().unwrap().is_ok(), "{what}");
    }
}

#[test]
fn a_size_once_known_is_not_asked_for_again() {
    let pool = pool();
    let world = World::new(&pool, &few());
    fs::read(world.at("f")).unwrap();
    let trips = world.source.trips().len();
    world.source.refuse(Some("no network"));
    for _ in 0..3 {
        assert_eq!(fs::metadata(world.at("g")).unwrap().size(), 300_000);
        assert_eq!(fs::read(world.at("dir/target")).unwrap(), b"at the end of a link");
    }
    assert_eq!(world.source.trips().len(), trips, "all of it came at once");
}

#[test]
fn content_that_cannot_be_had_is_eio_until_it_can() {
    let pool = pool();
    let world = World::new(&pool, &few());
    world.source.refuse(Some("no network"));
    for _ in 0..2 {
        assert_eq!(File::open(world.at("f")).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(fs::metadata(world.at("g")).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(fs::read_link(world.at("link")).unwrap_err().raw_os_error(), Some(5));
    }
    assert_eq!(fs::read_dir(&world.scene.path).unwrap().count(), 6);
    world.source.refuse(None);
    assert_eq!(fs::read(world.at("f")).unwrap(), b"hello, world\n");
    assert_eq!(fs::read_link(world.at("link")).unwrap(), Path::new("dir/target"));
}

fn cat(path: &Path) -> Command {
    let mut cat = Command::new("cat");
    cat.arg(path).stdin(Stdio::null()).stdout(Stdio::piped());
    cat
}

#[test]
fn a_reader_that_waits_for_content_can_be_interrupted() {
    let pool = pool();
    let world = World::new(&pool, &few());
    world.source.hang();
    let mut reader = cat(&world.at("f")).spawn().unwrap();
    world.until_waiting();
    let pid = rustix::process::Pid::from_child(&reader);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(reader.wait().unwrap().signal(), Some(2));
    // What was begun goes on and is there for the next one.
    let next = cat(&world.at("f")).spawn().unwrap();
    world.source.go_on();
    assert_eq!(next.wait_with_output().unwrap().stdout, b"hello, world\n");
    assert_eq!(world.source.trips().len(), 1);
}

#[test]
fn a_program_whose_handler_returns_sees_eintr_and_may_go_on() {
    let pool = pool();
    let world = World::new(&pool, &few());
    world.source.hang();
    let text = "trap 'echo signal' USR1; echo ready; cat \"$1\"; echo then \"$?\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", text, "sh"]).arg(world.at("f")).stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let mut out = shell.stdout.take().unwrap();
    let mut ready = [0; 6];
    out.read_exact(&mut ready).unwrap();
    world.until_waiting();
    rustix::process::kill_process(rustix::process::Pid::from_child(&shell), rustix::process::Signal::USR1)
        .unwrap();
    world.source.go_on();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    shell.wait().unwrap();
    assert_eq!(rest, "hello, world\nsignal\nthen 0\n", "the shell waits for its child, which was not told");
}

#[test]
fn two_hundred_who_wait_keep_nobody_else_from_working() {
    let pool = pool();
    let files: BTreeMap<_, _> =
        (0..200).map(|at| (format!("f{at:03}").into_bytes(), Tree::file(format!("{at}")))).collect();
    let (stuck, other) = (World::new(&pool, &Tree::Dir(files)), World::new(&pool, &few()));
    stuck.source.hang();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..200)
            .map(|at| {
                let path = stuck.at(&format!("f{at:03}"));
                scope.spawn(move || fs::read_to_string(path).unwrap())
            })
            .collect();
        stuck.until_waiting();
        // All of them have looked their file up, and have then been sent away to wait.
        let start = Instant::now();
        while pool.waiting() < 200 {
            assert!(start.elapsed() < Duration::from_secs(20), "only {} wait", pool.waiting());
            std::thread::yield_now();
        }
        assert_eq!(fs::read(other.at("f")).unwrap(), b"hello, world\n");
        fs::write(other.at("own"), "own").unwrap();
        fs::write(stuck.at("own"), "own").unwrap();
        assert_eq!(fs::read(stuck.at("own")).unwrap(), b"own");
        assert_eq!(fs::read_dir(&stuck.scene.path).unwrap().count(), 201);
        assert!(pool.threads() <= Limits::default().threads_max);
        stuck.source.go_on();
        for (at, reader) in readers.into_iter().enumerate() {
            assert_eq!(reader.join().unwrap(), at.to_string());
        }
    });
    assert!(stuck.source.trips().len() <= 20, "{:?}", stuck.source.trips());
}

#[test]
fn who_waits_is_let_go_when_the_mount_goes() {
    let pool = pool();
    let world = World::new(&pool, &few());
    world.source.hang();
    let reader = std::thread::spawn({
        let path = world.at("f");
        move || fs::read(path).map_err(|error| error.raw_os_error())
    });
    world.until_waiting();
    assert!(pool.remove(world.scene.member));
    assert!(reader.join().unwrap().is_err());
}

#[test]
fn a_thousand_files_searched_take_at_most_twenty_round_trips() {
    let pool = pool();
    let dirs: BTreeMap<_, _> = (0..50)
        .map(|dir| {
            let file =
                |at: usize| (format!("f{at:02}").into_bytes(), Tree::file(format!("text {dir} {at}\n")));
            (format!("d{dir:02}").into_bytes(), Tree::Dir((0..20).map(file).collect()))
        })
        .collect();
    let tree = Tree::Dir(dirs);
    let world = World::new(&pool, &tree);
    let found = Command::new("grep").args(["-rc", "text"]).arg(&world.scene.path).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap().lines().count(), 1000);
    assert!(world.source.trips().len() <= 20, "{:?}", world.source.trips());
    // With threads that each take a directory, the last first.
    let world = World::new(&pool, &tree);
    let mut left: Vec<PathBuf> =
        fs::read_dir(&world.scene.path).unwrap().map(|dir| dir.unwrap().path()).collect();
    left.sort();
    let left = std::sync::Mutex::new(left);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(dir) = left.lock().unwrap().pop() else { return };
                    for file in fs::read_dir(dir).unwrap() {
                        assert!(fs::read(file.unwrap().path()).unwrap().starts_with(b"text"));
                    }
                }
            });
        }
    });
    assert!(world.source.trips().len() <= 20, "{:?}", world.source.trips());
}
