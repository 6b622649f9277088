//! The file system that the benchmarks take for what the kernel costs: a true one, and asked for the same as a workspace.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod common;
#[path = "../examples/hollow/durable.rs"]
mod durable;
#[path = "../examples/hollow/hollow.rs"]
mod hollow;
#[path = "../examples/hollow/tree.rs"]
mod tree;

use common::Scene;
use hollow::Hollow;
use rustix::fs::{SeekFrom, seek};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};
use weald_engine::{Base, Shared, Workspace};
use weald_fuse::abi::Opcode;
use weald_fuse::adapter::Adapter;
use weald_fuse::connection::Handler;
use weald_fuse::reply::Reply;
use weald_fuse::request::Request;
use weald_fuse::{Limits, Pool};
use weald_model::{HostEnv, Result, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, HostDisk};
use weald_store::log::Logs;

/// Counts what is asked. FORGET comes when the kernel likes.
struct Counted {
    inner: Arc<dyn Handler>,
    by_opcode: Mutex<BTreeMap<u32, u64>>,
}

impl Handler for Counted {
    fn answer(&self, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
        let opcode = request.header.opcode;
        if ![Opcode::Forget, Opcode::BatchForget].iter().any(|forget| *forget as u32 == opcode) {
            *self.by_opcode.lock().unwrap().entry(opcode).or_default() += 1;
        }
        self.inner.answer(request, reply)
    }

    fn ended(&self) {
        self.inner.ended();
    }
}

fn owner() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn empty_hollow() -> Arc<Hollow> {
    Arc::new(Hollow::new(owner(), None).unwrap())
}

fn empty_workspace(home: &Path) -> Arc<Adapter> {
    let disk: Arc<dyn Disk> = Arc::new(HostDisk::new(home));
    let [logs, cas, chunks] = ["logs", "cas", "chunks"].map(|name| home.join(name));
    for dir in [&logs, &cas, &chunks] {
        disk.make_dir(dir).unwrap();
    }
    let (logs, cas) = (Logs::new(disk.clone(), logs), Cas::new(disk.clone(), cas));
    let chunks = Arc::new(Chunks::new(disk.clone(), chunks));
    let shared = Shared::new(disk, logs, cas, chunks, Arc::new(HostEnv::default()), 1 << 20);
    let base = Base::empty(owner().0, owner().1, Timestamp::from_secs(1_700_000_000));
    let workspace = Workspace::create(shared, WorkspaceId(1), base, b"").unwrap();
    // As the daemon makes it unless it is told otherwise.
    Arc::new(Adapter::new(workspace).unwrap().without_birth_times())
}

/// The work of the benchmarks, each kind a little.
fn work(root: &Path) {
    fs::create_dir(root.join("many")).unwrap();
    for at in 0..50 {
        File::create_new(root.join(format!("many/{at}"))).unwrap().write_all(&[7; 4096]).unwrap();
    }
    let file = File::create_new(root.join("blocks")).unwrap();
    for at in [0, 1, 2, 9, 5, 5] {
        file.write_all_at(&[at as u8; 4096], at * 4096).unwrap();
    }
    file.sync_all().unwrap();
    for at in [0, 9 * 4096] {
        assert_eq!(seek(&file, SeekFrom::Data(at)), Ok(at));
    }
    assert_eq!(seek(&file, SeekFrom::Hole(9 * 4096)), Ok(10 * 4096));
    fs::write(root.join("stream"), vec![3; 5 << 20]).unwrap();
    symlink("blocks", root.join("link")).unwrap();
    fs::rename(root.join("stream"), root.join("many/stream")).unwrap();
    assert!(fs::symlink_metadata(root.join("none")).is_err());
    for entry in fs::read_dir(root.join("many")).unwrap() {
        entry.unwrap().metadata().unwrap();
    }
    assert_eq!(fs::read(root.join("link")).unwrap().len(), 10 * 4096);
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert_eq!(fs::read(root.join("blocks")).unwrap()[9 * 4096..], [9; 4096]);
    fs::remove_dir_all(root.join("many")).unwrap();
}

#[test]
fn a_hollow_file_system_is_asked_for_what_a_workspace_is_asked_for() {
    let pool = Pool::new(Limits::default()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let asked = |inner: Arc<dyn Handler>| {
        let counted = Arc::new(Counted { inner, by_opcode: Mutex::default() });
        let scene = Scene::new(&pool, "counted", counted.clone());
        work(&scene.path);
        counted.by_opcode.lock().unwrap().clone()
    };
    let of_workspace = asked(empty_workspace(home.path()));
    let of_hollow = asked(empty_hollow());
    assert!(of_workspace[&(Opcode::Write as u32)] > 50);
    assert_eq!(of_hollow, of_workspace);
}

#[test]
fn a_loaded_tree_is_the_one_that_was_loaded() {
    let from = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..100_001u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::create_dir_all(from.path().join("a/b")).unwrap();
    fs::write(from.path().join("a/b/content"), &content).unwrap();
    symlink("a/b", from.path().join("link")).unwrap();
    let hollow = empty_hollow();
    hollow.load(from.path()).unwrap();
    let pool = Pool::new(Limits::default()).unwrap();
    let scene = Scene::new(&pool, "loaded", hollow);
    assert_eq!(fs::read(scene.at("link/content")).unwrap(), content);
    let times = [from.path(), &scene.path].map(|root| {
        let meta = fs::metadata(root.join("a/b/content")).unwrap();
        (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.mode())
    });
    assert_eq!(times[0], times[1]);
    assert_eq!(fs::metadata(scene.at("a")).unwrap().nlink(), 3);
}

#[test]
fn pages_that_are_used_again_show_nothing_of_before() {
    let pool = Pool::new(Limits::default()).unwrap();
    let hollow = empty_hollow();
    let scene = Scene::new(&pool, "again", hollow.clone());
    fs::write(scene.at("old"), [1; 8192]).unwrap();
    fs::remove_file(scene.at("old")).unwrap();
    let file = File::options().read(true).write(true).create_new(true).open(scene.at("new")).unwrap();
    file.write_all_at(b"x", 5000).unwrap();
    file.write_all_at(b"y", 10).unwrap();
    file.set_len(4000).unwrap();
    file.set_len(6000).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let mut expected = vec![0; 6000];
    expected[10] = b'y';
    assert_eq!(fs::read(scene.at("new")).unwrap(), expected);
}

#[test]
fn what_fsync_waits_for_is_as_much_as_was_written() {
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(4 << 20).unwrap();
    let hollow = Arc::new(Hollow::new(owner(), Some(disk.path())).unwrap());
    let pool = Pool::new(Limits::default()).unwrap();
    let scene = Scene::new(&pool, "durable", hollow);
    let mut file = File::create_new(scene.at("f")).unwrap();
    let written = || {
        let content = fs::read(disk.path()).unwrap();
        content.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
    };
    file.write_all(&[1; 10_000]).unwrap();
    assert_eq!(written(), 0);
    file.sync_all().unwrap();
    let first = written();
    assert!((10_000..10_500).contains(&first), "{first}");
    // A stream, which goes there by itself.
    file.write_all(&vec![1; 3 << 20]).unwrap();
    file.sync_all().unwrap();
    let second = written() - first;
    assert!(((3 << 20)..(3 << 20) + 1000).contains(&second), "{second}");
}
