//! Workspaces through the kernel: the same random operations by system calls in a real mount, and on the reference.
//!
//! Needs root and /dev/fuse; elsewhere the tests pass without testing, which the first of them says.

use proptest::collection::vec;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use weald_engine::{Base, Shared, Workspace};
use weald_fuse::mount::Unmount;
use weald_fuse::{Access, Adapter, Caching, Connection, Device, Limits, Mount, MountOptions, Pool};
use weald_model::{Silent, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, Map};
use weald_store::log::Logs;
use weald_store::manifest::Manifest;
use weald_testkit::clock::FakeClock;
use weald_testkit::compare::{Clock, Numbers, describe, same, same_outcome};
use weald_testkit::crash_disk::CrashDisk;
use weald_testkit::host::{Host, ROOT};
use weald_testkit::operation::{Operation, Slots, apply};
use weald_testkit::reference::Reference;
use weald_testkit::source::{MemorySource, Tree};
use weald_testkit::{cases, strategy, tree_compare};

const BASE_TIME: Timestamp = Timestamp { secs: 1_600_000_000, nanos: 5 };

/// Whether this machine can mount.
fn can_mount() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists()
}

/// A mounted workspace; unmounted when dropped, whatever happened.
struct Scene {
    mount: Mount,
    _pool: Pool,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(workspace: &Arc<Workspace>, caching: Caching) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let pool = Pool::new(Limits::default()).expect("threads can be started");
        let options = MountOptions {
            name: "test".to_owned(),
            path: dir.path().to_owned(),
            uid: 0,
            gid: 0,
            access: Access::Everybody,
        };
        let mounted = weald_fuse::mount::mount(&options).expect("root can mount");
        let scene = Self { mount: mounted.mount, _pool: pool, dir };
        let device = Device::new(mounted.device).expect("the device can be used");
        let adapter = Adapter::new(workspace.clone()).expect("a workspace can be served");
        let connection = Connection::new(Arc::new(device), Arc::new(adapter), caching);
        scene._pool.add(connection, Box::new(|_| ())).expect("the connection can be served");
        scene
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.mount.unmount(Unmount::Lazy);
    }
}

fn workspace(base: &Tree) -> Arc<Workspace> {
    let disk: Arc<dyn Disk> = Arc::new(CrashDisk::default());
    for dir in ["/logs", "/cas", "/chunks"] {
        disk.make_dir(Path::new(dir)).expect("directories can be made");
    }
    let (logs, cas) = (Logs::new(disk.clone(), "/logs".into()), Cas::new(disk.clone(), "/cas".into()));
    let chunks = Arc::new(Chunks::new(disk.clone(), "/chunks".into()));
    let shared = Shared::new(disk, logs, cas, chunks, Arc::new(FakeClock::default()), 1 << 20);
    let source = Arc::new(MemorySource::default());
    let tree = source.add(base);
    let bytes = Manifest::build(&*source, &tree, BASE_TIME, &Silent).expect("a random tree is a good tree");
    let manifest = Manifest::open(Map::from_bytes(bytes)).expect("a built manifest opens");
    let base = Base::new(manifest, source, 0, 0);
    Workspace::create(shared, WorkspaceId(1), base, b"").expect("a workspace can be made")
}

/// Applies everything through the mount and to the reference, then compares: warm, and after a remount, cold.
fn run(base: &Tree, operations: &[Operation], caching: Caching) -> Result<(), String> {
    let mut workspace = workspace(base);
    let mut reference = Reference::from_tree(base, 0, 0, BASE_TIME);
    reference.now = Timestamp::from_secs(BASE_TIME.secs + 1);
    let mut slots = Slots::default();
    let mut numbers = Numbers::default();
    {
        let scene = Scene::new(&workspace, caching);
        let mut host = Host::new(scene.path()).map_err(|error| error.to_string())?;
        for (number, operation) in operations.iter().enumerate() {
            let wanted = apply(&mut reference, &mut slots, &ROOT, operation);
            let found = host.apply(operation);
            same_outcome(&found, &wanted, Clock::Own)
                .map_err(|why| format!("operation {number} {operation:?}: {why}"))?;
        }
        let found = host.describe().map_err(|error| format!("the mount cannot be walked: {error}"))?;
        let wanted = describe(&mut reference, &slots).expect("the reference can be walked");
        same(&found, &wanted, &mut numbers, Clock::Own).map_err(|why| format!("warm: {why}"))?;
    }
    reference.purge_orphans();
    numbers.keep_known(&reference);
    let wanted = describe(&mut reference, &Slots::default()).expect("the reference can be walked");
    {
        let scene = Scene::new(&workspace, caching);
        let host = Host::new(scene.path()).map_err(|error| error.to_string())?;
        let found = host.describe().map_err(|error| format!("the mount cannot be walked: {error}"))?;
        same(&found, &wanted, &mut numbers, Clock::Own).map_err(|why| format!("after a remount: {why}"))?;
    }
    let found = describe(&mut workspace, &Slots::default()).map_err(|error| error.to_string())?;
    same(&found, &wanted, &mut numbers, Clock::Own).map_err(|why| format!("in the engine: {why}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mount_answers_as_the_reference(
        base in strategy::tree(),
        operations in vec(strategy::operation(), 1..80),
        write_back in any::<bool>(),
    ) {
        if can_mount() {
            let caching = if write_back { Caching::WriteBack } else { Caching::WriteThrough };
            run(&base, &operations, caching).map_err(TestCaseError::fail)?;
        }
    }
}

#[test]
fn found_operations_are_answered_as_the_reference_does() {
    if can_mount() {
        for caching in [Caching::WriteBack, Caching::WriteThrough] {
            let operations = weald_testkit::found::names_too_long_in_a_removed_directory();
            run(&Tree::dir([]), &operations, caching).expect("the mount answers as the reference");
        }
    }
}

#[test]
fn fork_shows_the_same_files_with_the_same_numbers_and_times() {
    if !can_mount() {
        eprintln!("not root or no /dev/fuse: nothing is tested");
        return;
    }
    let base = Tree::dir([
        ("kept", Tree::file("base")),
        ("changed", Tree::file("base")),
        ("sub", Tree::dir([("deep", Tree::file(vec![7; 100_000]))])),
    ]);
    let parent = workspace(&base);
    let scene = Scene::new(&parent, Caching::WriteThrough);
    let at = |name: &str| scene.path().join(name);
    std::fs::write(at("changed"), "own").expect("it can be written");
    std::fs::write(at("new"), vec![1; 10_000]).expect("it can be written");
    std::fs::hard_link(at("new"), at("sub/hard")).expect("it can be linked");
    std::os::unix::fs::symlink("new", at("soft")).expect("it can be linked");
    let fork = parent.fork(WorkspaceId(2), b"").expect("it can be forked");
    let other = Scene::new(&fork, Caching::WriteThrough);
    let exact = tree_compare::Exactness::Numbers;
    tree_compare::compare(other.path(), scene.path(), exact).expect("the fork is the same");
    std::fs::write(at("changed"), "later").expect("it can be written");
    std::fs::remove_file(other.path().join("kept")).expect("it can be removed");
    assert_eq!(std::fs::read(other.path().join("changed")).expect("it can be read"), b"own");
    assert_eq!(std::fs::read(at("kept")).expect("it can be read"), b"base");
}
