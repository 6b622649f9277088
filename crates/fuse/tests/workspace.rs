//! Workspaces through the real /dev/fuse: what the adapter makes of the engine's answers.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod common;

use common::Scene;
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, RenameFlags, SeekFrom, StatxFlags, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use weald_engine::{Base, Shared, Workspace};
use weald_fuse::adapter::{Adapter, CreateAnswer};
use weald_fuse::connection::Handler;
use weald_fuse::reply::Reply;
use weald_fuse::request::{Operation, Request};
use weald_fuse::{Caching, Limits, Pool};
use weald_model::{HostEnv, Ino, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, HostDisk};
use weald_store::log::Logs;

/// A mounted workspace with an empty base.
struct World {
    scene: Scene,
    adapter: Arc<Adapter>,
    workspace: Arc<Workspace>,
    _pool: Pool,
    _home: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Caching::WriteThrough, CreateAnswer::Create)
    }

    fn with(caching: Caching, create: CreateAnswer) -> Self {
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
        let base = Base::empty(uid, gid, Timestamp::from_secs(1_700_000_000));
        let workspace = Workspace::create(shared, WorkspaceId(1), base, b"").unwrap();
        let adapter = Arc::new(Adapter::with_create_answer(workspace.clone(), create).unwrap());
        let pool = Pool::new(Limits::default()).unwrap();
        let scene = Scene::with(&pool, "workspace", adapter.clone(), caching, Box::new(|_| ()));
        Self { scene, adapter, workspace, _pool: pool, _home: home }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scene.at(name)
    }

    /// Waits until the kernel has dropped its references to an inode; FORGET has no answer to wait for.
    fn until_forgotten(&self, ino: u64) {
        let start = Instant::now();
        while self.adapter.lookups().count(ino) > 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "no FORGET came");
            std::thread::yield_now();
        }
    }
}

#[test]
fn every_mode_of_caching_and_creating_keeps_content() {
    for caching in [Caching::WriteThrough, Caching::WriteBack] {
        for create in [CreateAnswer::Create, CreateAnswer::Mknod] {
            let world = World::with(caching, create);
            let content: Vec<u8> =
                (0..3_000_001u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            fs::write(world.at("f"), &content).unwrap();
            let mut file = File::options().append(true).read(true).open(world.at("f")).unwrap();
            file.write_all(b"end").unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            let mut read = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut read).unwrap();
            assert!(read.len() == 3_000_004 && read[..3_000_001] == content && read.ends_with(b"end"));
            fs::write(world.at("f"), b"short").unwrap();
            assert_eq!(fs::read(world.at("f")).unwrap(), b"short");
        }
    }
}

#[test]
fn names_of_any_bytes_and_every_kind_are_kept() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::new();
    let odd = world.scene.path.join(std::ffi::OsStr::from_bytes(b"\xff\xfe \n"));
    fs::write(&odd, b"x").unwrap();
    symlink("nowhere\n", world.at("link")).unwrap();
    fs::hard_link(&odd, world.at("hard")).unwrap();
    fs::create_dir(world.at("dir")).unwrap();
    rustix::fs::mkfifoat(CWD, world.at("fifo"), Mode::RUSR).unwrap();
    let names: BTreeSet<_> =
        fs::read_dir(&world.scene.path).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 5);
    assert!(names.contains(&odd));
    assert_eq!(fs::read_link(world.at("link")).unwrap().as_os_str(), "nowhere\n");
    assert_eq!(fs::metadata(world.at("hard")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(&odd).unwrap().ino(), fs::metadata(world.at("hard")).unwrap().ino());
    assert_eq!(fs::metadata(&world.scene.path).unwrap().nlink(), 3);
}

#[test]
fn an_unlinked_file_lives_until_its_last_close() {
    let world = World::new();
    fs::write(world.at("f"), b"still here").unwrap();
    let file = File::open(world.at("f")).unwrap();
    let ino = file.metadata().unwrap().ino();
    fs::remove_file(world.at("f")).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let mut text = String::new();
    (&file).read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    drop(file);
    world.until_forgotten(ino);
    // Counted down before it is purged, so the purge may still be on its way.
    let start = Instant::now();
    while world.workspace.attr(Ino(ino)).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(20), "not purged");
        std::thread::yield_now();
    }
}

#[test]
fn references_are_counted_as_the_kernel_counts_them() {
    let world = World::new();
    for at in 0..300 {
        fs::write(world.at(&format!("f{at}")), b"").unwrap();
    }
    let inos: Vec<u64> = fs::read_dir(&world.scene.path)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().ino())
        .collect();
    for _ in 0..3 {
        fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
        assert_eq!(fs::read_dir(&world.scene.path).unwrap().count(), 300);
    }
    for at in 0..300 {
        fs::remove_file(world.at(&format!("f{at}"))).unwrap();
    }
    inos.iter().for_each(|ino| world.until_forgotten(*ino));
}

#[test]
fn renames_replace_exchange_and_refuse() {
    let world = World::new();
    let rename = |from: &str, to: &str, flags| {
        rustix::fs::renameat_with(CWD, world.at(from), CWD, world.at(to), flags)
    };
    fs::write(world.at("a"), b"a").unwrap();
    fs::write(world.at("b"), b"b").unwrap();
    assert_eq!(rename("a", "b", RenameFlags::NOREPLACE), Err(Errno::EXIST));
    rename("a", "b", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read(world.at("a")).unwrap(), b"b");
    let open = File::open(world.at("b")).unwrap();
    fs::rename(world.at("a"), world.at("b")).unwrap();
    assert_eq!(fs::read(world.at("b")).unwrap(), b"b");
    assert_eq!(fs::read(world.at("a")).unwrap_err().raw_os_error(), Some(2));
    let mut old = String::new();
    (&open).read_to_string(&mut old).unwrap();
    assert_eq!(old, "a");
}

#[test]
fn attributes_are_set_and_told_exactly() {
    let world = World::new();
    fs::write(world.at("f"), b"x").unwrap();
    fs::set_permissions(world.at("f"), fs::Permissions::from_mode(0o4751)).unwrap();
    let time = rustix::fs::Timespec { tv_sec: -5, tv_nsec: 123_456_789 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, world.at("f"), &times, AtFlags::empty()).unwrap();
    let meta = fs::metadata(world.at("f")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()), (0o4751, -5, 123_456_789));
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let statx = rustix::fs::statx(CWD, world.at("f"), AtFlags::empty(), mask).unwrap();
    assert!(statx.stx_mask & StatxFlags::BTIME.bits() != 0 && statx.stx_btime.tv_sec > 1_700_000_000);
    let file = File::options().write(true).open(world.at("f")).unwrap();
    file.set_len(10_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 10_000);
}

/// Counts how often the kernel asks for a birth time.
struct Asked {
    adapter: Adapter,
    times: AtomicUsize,
}

impl Handler for Asked {
    fn answer(&self, request: &Request<'_>, reply: &mut Reply) -> Result<(), weald_model::Errno> {
        if matches!(request.operation, Operation::Statx { .. }) {
            self.times.fetch_add(1, Ordering::Relaxed);
        }
        self.adapter.answer(request, reply)
    }

    fn ended(&self) {
        self.adapter.ended();
    }
}

#[test]
fn without_birth_times_the_kernel_asks_for_one_and_then_keeps_all_attributes_of_its_own() {
    let names = ["a", "b", "c"];
    for (tells, asked) in [(true, names.len()), (false, 1)] {
        let world = World::new();
        let mut adapter = Adapter::new(world.workspace.clone()).unwrap();
        if !tells {
            adapter = adapter.without_birth_times();
        }
        let handler = Arc::new(Asked { adapter, times: 0.into() });
        let pool = Pool::new(Limits::default()).unwrap();
        let scene = Scene::with(&pool, "birth", handler.clone(), Caching::WriteThrough, Box::new(|_| ()));
        for name in names {
            fs::write(scene.at(name), name).unwrap();
        }
        let before = handler.times.load(Ordering::Relaxed);
        for name in names.iter().chain(&names) {
            let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
            let statx = rustix::fs::statx(CWD, scene.at(name), AtFlags::empty(), mask).unwrap();
            assert_eq!(statx.stx_mask & StatxFlags::BTIME.bits() != 0, tells);
            assert_eq!((statx.stx_size, statx.stx_mode & 0o7777), (1, 0o644));
        }
        assert_eq!(handler.times.load(Ordering::Relaxed) - before, asked);
    }
}

#[test]
fn the_umask_is_applied_once() {
    let world = World::new();
    let status = std::process::Command::new("sh")
        .args(["-c", "umask 027; mkdir d; : > f; mkfifo p"])
        .current_dir(&world.scene.path)
        .status()
        .unwrap();
    assert!(status.success());
    for (name, mode) in [("d", 0o750), ("f", 0o640), ("p", 0o640)] {
        assert_eq!(fs::metadata(world.at(name)).unwrap().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn holes_are_punched_and_found() {
    let world = World::new();
    let mut file = File::options().create_new(true).read(true).write(true).open(world.at("f")).unwrap();
    file.write_all(&[7; 1 << 20]).unwrap();
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, hole, 65_536, 131_072).unwrap();
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Hole(0)), Ok(65_536));
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Data(65_536)), Ok(196_608));
    let mut inside = [1; 8];
    file.read_exact_at(&mut inside, 100_000).unwrap();
    assert_eq!(inside, [0; 8]);
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 1 << 20, 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (1 << 20) + 4096);
    assert_eq!(rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096), Err(Errno::OPNOTSUPP));
}

#[test]
fn ranges_are_copied_inside_the_workspace() {
    let world = World::new();
    fs::write(world.at("from"), [9; 300_000]).unwrap();
    let from = File::open(world.at("from")).unwrap();
    let to = File::create(world.at("to")).unwrap();
    let mut offset = 100;
    let copied = rustix::fs::copy_file_range(&from, Some(&mut offset), &to, Some(&mut 5), 200_000).unwrap();
    assert_eq!(copied, 200_000);
    let content = fs::read(world.at("to")).unwrap();
    assert!(content.len() == 200_005 && content[..5] == [0; 5] && content[5..] == [9; 200_000]);
}

#[test]
fn temporary_files_get_a_name_or_vanish() {
    let world = World::new();
    let open =
        || rustix::fs::open(&world.scene.path, OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR | Mode::WUSR);
    let file = File::from(open().unwrap());
    (&file).write_all(b"named late").unwrap();
    let ino = file.metadata().unwrap().ino();
    let magic = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    rustix::fs::linkat(CWD, magic, CWD, world.at("name"), AtFlags::SYMLINK_FOLLOW).unwrap();
    assert_eq!(fs::read(world.at("name")).unwrap(), b"named late");
    assert_eq!(fs::metadata(world.at("name")).unwrap().ino(), ino);
    let lost = File::from(open().unwrap());
    let ino = lost.metadata().unwrap().ino();
    drop(lost);
    world.until_forgotten(ino);
}

#[test]
fn extended_attributes_are_sized_listed_and_removed() {
    let world = World::new();
    fs::write(world.at("f"), b"").unwrap();
    let path = world.at("f");
    rustix::fs::setxattr(&path, "user.a", b"value", XattrFlags::CREATE).unwrap();
    assert_eq!(rustix::fs::setxattr(&path, "user.a", b"v", XattrFlags::CREATE), Err(Errno::EXIST));
    assert_eq!(rustix::fs::setxattr(&path, "user.b", b"v", XattrFlags::REPLACE), Err(Errno::NODATA));
    let mut buffer = [0u8; 64];
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut buffer[..4]), Err(Errno::RANGE));
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut buffer[..]), Ok(5));
    assert_eq!(&buffer[..5], b"value");
    assert_eq!(rustix::fs::listxattr(&path, &mut buffer[..]), Ok(7));
    rustix::fs::removexattr(&path, "user.a").unwrap();
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut buffer[..]), Err(Errno::NODATA));
}

#[test]
fn a_large_directory_is_listed_while_it_is_emptied() {
    let world = World::new();
    for at in 0..5000 {
        File::create(world.at(&format!("entry-{at:05}"))).unwrap();
    }
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(&world.scene.path).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path).unwrap();
        assert!(seen.insert(path), "told twice");
    }
    assert_eq!(seen.len(), 5000);
    assert_eq!(fs::read_dir(&world.scene.path).unwrap().count(), 0);
}

#[test]
fn locks_stay_in_the_kernel_and_ioctl_is_declined() {
    let world = World::new();
    let file = File::create(world.at("f")).unwrap();
    let other = File::open(world.at("f")).unwrap();
    file.lock().unwrap();
    assert!(other.try_lock().is_err());
    file.unlock().unwrap();
    other.try_lock().unwrap();
    let output = std::process::Command::new("lsattr").arg(world.at("f")).output().unwrap();
    assert!(!output.status.success());
}

#[test]
fn handles_are_found_again_after_the_kernel_forgot() {
    let world = World::new();
    fs::create_dir_all(world.at("a/b")).unwrap();
    fs::write(world.at("a/b/f"), b"x").unwrap();
    // `..` of a directory whose parents were evicted is asked of the adapter by number.
    let inside = rustix::fs::open(world.at("a/b"), OFlags::DIRECTORY, Mode::empty()).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    let up = rustix::fs::openat(&inside, "../..", OFlags::DIRECTORY, Mode::empty()).unwrap();
    assert_eq!(rustix::fs::fstat(&up).unwrap().st_ino, 1);
}

#[test]
fn shared_maps_see_writes_and_are_seen() {
    let world = World::new();
    let script = "import mmap,os,sys\n\
        f=os.open('m',os.O_RDWR|os.O_CREAT,0o644); os.ftruncate(f,8192)\n\
        m=mmap.mmap(f,8192); m[4096:4100]=b'mmap'; m.flush()\n\
        assert os.pread(f,4,4096)==b'mmap'; os.pwrite(f,b'pwri',0); assert m[:4]==b'pwri'\n";
    let status = std::process::Command::new("python3")
        .args(["-c", script])
        .current_dir(&world.scene.path)
        .status()
        .unwrap();
    assert!(status.success());
}
