//! The protocol layer through the real /dev/fuse, with a tiny file system behind it.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod common;

use common::{Creation, Scene, Tiny, mount, need_fuse};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};
use weald_fuse::abi::Opcode;
use weald_fuse::connection::{Caching, Connection, Handler};
use weald_fuse::mount::{Unmount, Unmounted, stale, table};
use weald_fuse::reply::Reply;
use weald_fuse::request::{Operation, Request};
use weald_fuse::{Device, Limits, Pool};
use weald_model::Code;

/// Long enough for any machine; passing tests never wait for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn pool() -> Pool {
    Pool::new(Limits::default()).unwrap()
}

fn use_files(scene: &Scene) {
    fs::create_dir(scene.at("d")).unwrap();
    fs::write(scene.at("d/hello"), b"hello").unwrap();
    assert_eq!(fs::read(scene.at("d/hello")).unwrap(), b"hello");
    assert_eq!(fs::metadata(scene.at("d/hello")).unwrap().len(), 5);
    assert!(fs::metadata(scene.at("missing")).is_err());
    let file = File::options().read(true).write(true).open(scene.at("d/hello")).unwrap();
    file.write_at(b"J", 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(fs::read(scene.at("d/hello")).unwrap(), b"Jello");
    fs::remove_file(scene.at("d/hello")).unwrap();
    let mut left = Vec::new();
    (&file).read_to_end(&mut left).unwrap();
    assert_eq!(left, b"Jello");
    fs::remove_dir(scene.at("d")).unwrap();
}

#[test]
fn files_are_made_read_written_and_removed() {
    for creation in [Creation::Create, Creation::Mknod] {
        for caching in [Caching::WriteThrough, Caching::WriteBack] {
            let pool = pool();
            let tiny = Tiny::new(creation);
            let scene = Scene::with(&pool, "files", tiny.clone(), caching, Box::new(|_| ()));
            use_files(&scene);
            // No-open and no-flush hold for the whole mount after the first answer.
            assert!(tiny.seen(Opcode::Open) <= 1 && tiny.seen(Opcode::Flush) <= 1);
        }
    }
}

#[test]
fn large_and_unaligned_content_survives() {
    let (pool, tiny) = (pool(), Tiny::new(Creation::Create));
    let scene = Scene::new(&pool, "large", tiny);
    let content: Vec<u8> = (0..5_000_001u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(scene.at("f"), &content).unwrap();
    // Written through, then read back by the kernel after its pages are dropped.
    let file = File::open(scene.at("f")).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert!(fs::read(scene.at("f")).unwrap() == content);
}

#[test]
fn a_large_file_is_read_ahead_in_large_requests() {
    let (pool, tiny) = (pool(), Tiny::new(Creation::Create));
    let scene = Scene::new(&pool, "ahead", tiny.clone());
    let (major, minor) = scene.mount.identity.device;
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if File::options().write(true).open(&setting).is_err() {
        // An ordinary user's mount, or a container's /sys: what the kernel begins with stays.
        assert_eq!(fs::read_to_string(&setting).unwrap().trim(), "128");
        return;
    }
    fs::write(scene.at("f"), vec![7; 16 << 20]).unwrap();
    let mut file = File::open(scene.at("f")).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let before = tiny.seen(Opcode::Read);
    let mut piece = vec![0; 128 << 10];
    while file.read(&mut piece).unwrap() > 0 {}
    let reads = tiny.seen(Opcode::Read) - before;
    assert!((16..64).contains(&reads), "{reads} requests for 128 pieces");
}

#[test]
fn directories_of_many_pages_are_listed_whole() {
    let (pool, tiny) = (pool(), Tiny::new(Creation::Create));
    let scene = Scene::new(&pool, "many", tiny.clone());
    for at in 0..3000 {
        File::create(scene.at(&format!("file-{at:05}"))).unwrap();
    }
    let mut names: Vec<_> =
        fs::read_dir(&scene.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 3000);
    assert_eq!(names[2999], "file-02999");
    assert!(tiny.seen(Opcode::Readdirplus) > 0 && tiny.seen(Opcode::Readdir) == 0);
}

#[test]
fn a_panic_is_one_programs_error() {
    let (pool, tiny) = (pool(), Tiny::new(Creation::Create));
    let scene = Scene::new(&pool, "panic", tiny);
    fs::write(scene.at("f"), b"panic").unwrap();
    let file = File::open(scene.at("f")).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert_eq!(fs::read(scene.at("f")).unwrap_err().raw_os_error(), Some(5));
    fs::write(scene.at("g"), b"fine").unwrap();
    assert_eq!(fs::read(scene.at("g")).unwrap(), b"fine");
}

#[test]
fn a_hundred_mounts_share_one_pool() {
    let pool = pool();
    let scenes: Vec<_> = (0..100)
        .map(|at| {
            let tiny = Tiny::new(Creation::Create);
            (Scene::new(&pool, &format!("many-{at}"), tiny.clone()), tiny)
        })
        .collect();
    assert_eq!(pool.len(), 100);
    std::thread::scope(|scope| {
        for part in scenes.chunks(25) {
            scope.spawn(move || {
                for (at, (scene, _)) in part.iter().enumerate() {
                    fs::write(scene.at("f"), at.to_string()).unwrap();
                }
            });
        }
    });
    for (at, (scene, _)) in scenes.iter().enumerate() {
        assert_eq!(fs::read(scene.at("f")).unwrap(), (at % 25).to_string().as_bytes());
    }
    assert!(table().unwrap().iter().filter(|entry| entry.name.starts_with(b"many-")).count() >= 100);
}

#[test]
fn an_unmount_from_outside_is_told_once() {
    let (pool, tiny) = (pool(), Tiny::new(Creation::Create));
    let (told, tell) = mpsc::channel();
    let scene = Scene::with(
        &pool,
        "outside",
        tiny.clone(),
        Caching::WriteThrough,
        Box::new(move |id| told.send(id).unwrap()),
    );
    fs::write(scene.at("f"), b"x").unwrap();
    assert!(Command::new("umount").arg(&scene.path).status().unwrap().success());
    assert_eq!(tell.recv_timeout(PATIENCE).unwrap(), scene.member);
    assert!(tiny.ended.load(Ordering::Acquire));
    assert!(pool.is_empty());
    assert!(tell.recv_timeout(PATIENCE).is_err(), "the callback is dropped after its one call");
    assert_eq!(scene.mount.unmount(Unmount::Normal).unwrap(), Unmounted::NotThere);
}

#[test]
fn what_somebody_else_mounted_there_is_left_alone() {
    let (pool, other) = (pool(), Tiny::new(Creation::Create));
    let scene = Scene::new(&pool, "mine", Tiny::new(Creation::Create));
    rustix::mount::unmount(&scene.path, rustix::mount::UnmountFlags::empty()).unwrap();
    let theirs = mount("theirs", &scene.path);
    let device = Arc::new(Device::new(theirs.device).unwrap());
    pool.add(Connection::new(device, other, Caching::WriteThrough), Box::new(|_| ())).unwrap();
    assert_eq!(scene.mount.unmount(Unmount::Lazy).unwrap(), Unmounted::NotThere);
    assert!(theirs.mount.is_there());
    assert_eq!(theirs.mount.unmount(Unmount::Normal).unwrap(), Unmounted::Done);
}

#[test]
fn a_mount_in_use_is_not_unmounted_unless_lazily() {
    let (pool, tiny) = (pool(), Tiny::new(Creation::Create));
    let scene = Scene::new(&pool, "busy", tiny);
    let file = File::create(scene.at("f")).unwrap();
    assert_eq!(scene.mount.unmount(Unmount::Normal).unwrap_err().code, Code::WorkspaceInUse);
    assert_eq!(scene.mount.unmount(Unmount::Lazy).unwrap(), Unmounted::Done);
    (&file).write_all(b"still works").unwrap();
    assert_eq!(file.metadata().unwrap().size(), 11);
}

#[test]
fn a_mount_whose_server_died_is_stale_and_can_be_cleared() {
    need_fuse();
    let dir = tempfile::tempdir().unwrap();
    let mounted = mount("dead, with \\ and space", dir.path());
    drop(mounted.device);
    let found: Vec<_> = stale().unwrap().into_iter().filter(|entry| entry.path == dir.path()).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name, b"dead, with \\ and space");
    assert_eq!(found[0].unmount().unwrap(), Unmounted::Done);
    assert_eq!(found[0].unmount().unwrap(), Unmounted::NotThere);
    assert!(!mounted.mount.is_there());
}

#[test]
fn a_removed_connection_answers_no_more() {
    let (pool, tiny) = (pool(), Tiny::new(Creation::Create));
    let scene = Scene::new(&pool, "removed", tiny.clone());
    fs::write(scene.at("f"), b"x").unwrap();
    assert!(pool.remove(scene.member));
    assert!(!pool.remove(scene.member));
    assert!(tiny.ended.load(Ordering::Acquire));
    // A thread that was looking for the next request just then may still take one.
    let refused = (0..1000).find_map(|_| fs::write(scene.at("g"), b"x").err()).unwrap();
    assert!(matches!(refused.raw_os_error(), Some(103 | 107)), "{refused}");
}

/// Answers READ with a file of another mount: a workspace whose source lies in a workspace.
struct Nested {
    outer: Arc<Tiny>,
    inner: std::path::PathBuf,
}

impl Handler for Nested {
    fn answer(&self, request: &Request<'_>, reply: &mut Reply) -> weald_model::Result<()> {
        if let Operation::Read { .. } = request.operation {
            reply.data().extend_from_slice(&fs::read(&self.inner).map_err(|_| weald_model::Errno::Io)?);
            return Ok(());
        }
        self.outer.answer(request, reply)
    }

    fn ended(&self) {}
}

/// Syncs that wait for each other, once they are told to.
struct Meeting {
    files: Arc<Tiny>,
    meets: Arc<AtomicBool>,
    together: Arc<Barrier>,
}

impl Handler for Meeting {
    fn answer(&self, request: &Request<'_>, reply: &mut Reply) -> weald_model::Result<()> {
        if matches!(request.operation, Operation::Fsync { .. }) && self.meets.load(Ordering::SeqCst) {
            self.together.wait();
        }
        self.files.answer(request, reply)
    }

    fn ended(&self) {}
}

#[test]
fn syncs_of_several_programs_and_mounts_are_under_way_at_once_also_after_many_that_were_alone() {
    let pool = pool();
    let (meets, together) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(4)));
    let scenes = ["one", "other"].map(|name| {
        let (meets, together) = (meets.clone(), together.clone());
        Scene::new(&pool, name, Arc::new(Meeting { files: Tiny::new(Creation::Create), meets, together }))
    });
    let files = [("a", 0), ("b", 0), ("c", 1), ("d", 1)]
        .map(|(name, scene): (_, usize)| File::create(scenes[scene].at(name)).unwrap());
    for _ in 0..3 {
        meets.store(false, Ordering::SeqCst);
        for _ in 0..200 {
            files[0].sync_all().unwrap();
        }
        meets.store(true, Ordering::SeqCst);
        std::thread::scope(|scope| {
            files.iter().for_each(|file| drop(scope.spawn(|| file.sync_all().unwrap())))
        });
    }
}

#[test]
fn a_read_that_needs_another_mount_of_the_pool_is_answered() {
    let pool = Pool::new(Limits { threads: 1, threads_max: 8 }).unwrap();
    let mut scenes = vec![Scene::new(&pool, "depth-0", Tiny::new(Creation::Create))];
    fs::write(scenes[0].at("f"), b"content").unwrap();
    for depth in 1..5 {
        let inner = scenes[depth - 1].at("f");
        let nested = Nested { outer: Tiny::new(Creation::Create), inner };
        scenes.push(Scene::new(&pool, &format!("depth-{depth}"), Arc::new(nested)));
        fs::write(scenes[depth].at("f"), b"7 bytes").unwrap();
    }
    for scene in &scenes {
        let file = File::open(scene.at("f")).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    assert_eq!(fs::read(scenes[4].at("f")).unwrap(), b"content");
    drop(scenes);
    let start = Instant::now();
    while pool.threads() > 1 {
        assert!(start.elapsed() < PATIENCE, "threads that were needed once stay: {}", pool.threads());
        std::thread::yield_now();
    }
}

#[test]
fn an_idle_pool_sleeps() {
    let (pool, tiny) = (pool(), Tiny::new(Creation::Create));
    let scene = Scene::new(&pool, "idle", tiny);
    fs::write(scene.at("f"), b"x").unwrap();
    let switches = || -> u64 {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        tasks
            .map(|task| task.unwrap().path())
            .filter(|task| {
                fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "weald-fuse")
            })
            .map(|task| {
                let status = fs::read_to_string(task.join("status")).unwrap();
                let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
                line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
            })
            .sum()
    };
    // Other tests of this program may run pools of their own, so the least of several looks counts.
    let quiet = (0..50).any(|_| {
        let before = switches();
        std::thread::sleep(Duration::from_millis(50));
        switches() == before
    });
    assert!(quiet, "threads woke up without a request");
}

#[test]
fn a_mount_point_that_is_missing_is_said_so() {
    need_fuse();
    let missing = std::path::Path::new("/nonexistent/weald");
    let fault = weald_fuse::mount::mount(&common::options("x", missing)).unwrap_err();
    assert!(matches!(fault.code, Code::MountPointBusy | Code::NotAllowed), "{fault:?}");
}
