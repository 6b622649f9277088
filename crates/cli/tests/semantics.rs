//! The promises of docs/semantics.md, kept through a mount by the whole program.
//!
//! What crashes may do to the disk is tested below, in the store and the engine, where every moment can be tried.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::fs::{FallocateFlags, OFlags, SeekFrom, XattrFlags, inotify};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Home, wait_for};

/// What a program can see of one file, but for its device.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    ino: u64,
    mode: u32,
    links: u64,
    size: u64,
    blocks: u64,
    times: [(i64, i64); 3],
    xattr: Option<Vec<u8>>,
    content: Option<Vec<u8>>,
}

fn seen(path: &Path) -> Seen {
    let meta = fs::symlink_metadata(path).unwrap();
    let mut value = vec![0; 256];
    let xattr =
        rustix::fs::lgetxattr(path, "user.note", &mut value[..]).ok().map(|length| value[..length].to_vec());
    Seen {
        ino: meta.ino(),
        mode: meta.mode(),
        links: meta.nlink(),
        size: meta.size(),
        blocks: meta.blocks(),
        times: [
            (meta.atime(), meta.atime_nsec()),
            (meta.mtime(), meta.mtime_nsec()),
            (meta.ctime(), meta.ctime_nsec()),
        ],
        xattr,
        content: match meta.file_type() {
            kind if kind.is_file() => Some(fs::read(path).unwrap()),
            kind if kind.is_symlink() => {
                Some(fs::read_link(path).unwrap().into_os_string().into_encoded_bytes())
            }
            _ => None,
        },
    }
}

/// Everything below a directory, by path.
fn everything(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(path.strip_prefix(root).unwrap().to_owned(), seen(&path));
    }
    all
}

/// Makes one of each thing a tree can hold, in what is small and what is large.
fn fill(root: &Path) {
    fs::create_dir_all(root.join("dir/below")).unwrap();
    fs::write(root.join("small"), "small").unwrap();
    fs::write(root.join("large"), (0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    fs::write(root.join("old"), "old").unwrap();
    fs::write(root.join("new"), "new").unwrap();
    fs::rename(root.join("new"), root.join("old")).unwrap();
    fs::hard_link(root.join("small"), root.join("dir/linked")).unwrap();
    symlink("../small", root.join("dir/symlink")).unwrap();
    fs::set_permissions(root.join("old"), fs::Permissions::from_mode(0o4751)).unwrap();
    rustix::fs::setxattr(root.join("large"), "user.note", b"value", XattrFlags::empty()).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(5 << 30).unwrap();
    sparse.set_len(1 << 20).unwrap();
    fs::write(root.join("gone"), "gone").unwrap();
    fs::remove_file(root.join("gone")).unwrap();
}

/// A workspace made of an empty directory; where it is mounted.
fn empty_workspace(home: &Home, options: &[&str]) -> PathBuf {
    fs::create_dir_all(home.path().join("user/empty")).unwrap();
    home.weald(&[&["create", "user/empty", "ws"], options].concat()).ok();
    home.at("ws")
}

/// Ends the daemon as a crash of it would, and has the next command start another.
fn kill_daemon(home: &Home) {
    home.crash();
    home.weald(&["status"]).ok();
}

#[test]
fn what_was_done_survives_the_kill_of_the_daemon() {
    let home = Home::new();
    let root = empty_workspace(&home, &[]);
    fill(&root);
    // Not closed: nothing that closing would do may be needed.
    let mut open = OpenOptions::new().append(true).open(root.join("small")).unwrap();
    open.write_all(b" and more").unwrap();
    let before = everything(&root);
    kill_daemon(&home);
    assert_eq!(everything(&root), before);
    fs::write(root.join("small"), "goes on").unwrap();
    assert_eq!(fs::read(root.join("dir/linked")).unwrap(), b"goes on");
}

#[test]
fn a_fork_equals_its_parent_and_both_go_their_own_way() {
    let home = Home::new();
    let root = empty_workspace(&home, &[]);
    fill(&root);
    let before = everything(&root);
    home.weald(&["fork", "ws", "fork"]).ok();
    let fork = home.at("fork");
    assert_eq!(everything(&fork), before);
    fs::write(fork.join("small"), "the fork's").unwrap();
    fs::write(root.join("large"), "the parent's").unwrap();
    assert_eq!(fs::read(root.join("small")).unwrap(), b"small");
    assert_eq!(fs::read(fork.join("large")).unwrap().len(), 1_200_000);
    kill_daemon(&home);
    assert_eq!(fs::read(fork.join("small")).unwrap(), b"the fork's");
    assert_eq!(fs::read(fork.join("large")).unwrap().len(), 1_200_000);
}

#[test]
fn a_synchronous_write_reaches_the_disk_before_it_returns() {
    let home = Home::new();
    let root = empty_workspace(&home, &[]);
    let options = |flags: OFlags| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).custom_flags(i32::try_from(flags.bits()).unwrap());
        options
    };
    for flags in [OFlags::SYNC, OFlags::DSYNC] {
        let mut file = options(flags).open(root.join("file")).unwrap();
        let calls = syncs_during(&home, |_| file.write_all(b"synchronous").unwrap());
        assert!(calls.contains("fdatasync("), "{flags:?}: {calls}");
    }
}

#[test]
fn changes_become_durable_by_themselves() {
    let home = Home::new();
    let root = empty_workspace(&home, &[]);
    let calls = syncs_during(&home, |calls| {
        fs::write(root.join("file"), "nobody syncs this").unwrap();
        wait_for("the daemon to sync", || calls().contains("fdatasync("));
    });
    assert!(calls.contains("fdatasync("));
}

/// The daemon's calls that make data durable while `work` goes on; `work` may look at those so far.
fn syncs_during(home: &Home, work: impl FnOnce(&dyn Fn() -> String)) -> String {
    let log = home.path().join("strace.log");
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=fdatasync,fsync", "-o"])
        .arg(&log)
        .args(["-p", &home.daemon_pid().unwrap().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It tells when it has attached to the threads there are.
    let mut said = BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("attached"), "{line}");
    work(&|| fs::read_to_string(&log).unwrap());
    let pid = rustix::process::Pid::from_child(&strace);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    strace.wait().unwrap();
    fs::read_to_string(log).unwrap()
}

#[test]
fn reading_never_changes_the_access_time() {
    let home = Home::new();
    let root = empty_workspace(&home, &[]);
    fs::write(root.join("file"), "content").unwrap();
    // Older than a day, where `relatime` would act.
    let past =
        fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 7));
    OpenOptions::new().write(true).open(root.join("file")).unwrap().set_times(past).unwrap();
    let time = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (meta.atime(), meta.atime_nsec())
    };
    let dir = time(&root);
    assert_eq!(fs::read(root.join("file")).unwrap(), b"content");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    kill_daemon(&home);
    assert_eq!(fs::read(root.join("file")).unwrap(), b"content");
    assert_eq!((time(&root.join("file")), time(&root)), ((1_000_000, 7), dir));
}

#[test]
fn blocks_count_data_and_not_holes() {
    let home = Home::new();
    let path = empty_workspace(&home, &[]).join("file");
    let mut file = File::create(&path).unwrap();
    let blocks = || fs::metadata(&path).unwrap().blocks();
    file.set_len(1 << 20).unwrap();
    assert_eq!(blocks(), 0);
    file.write_all(&[1; 64 << 10]).unwrap();
    assert_eq!(blocks(), 128);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 16 << 10, 16 << 10).unwrap();
    assert_eq!(blocks(), 96);
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Hole(0)), Ok(16 << 10));
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Data(16 << 10)), Ok(32 << 10));
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Hole(32 << 10)), Ok(64 << 10));
    let unsupported = rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096);
    assert_eq!(unsupported, Err(rustix::io::Errno::OPNOTSUPP));
}

#[test]
fn a_directory_has_a_link_for_each_subdirectory() {
    let home = Home::new();
    let root = empty_workspace(&home, &[]);
    let links = || fs::metadata(&root).unwrap().nlink();
    assert_eq!(links(), 2);
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir(root.join("c")).unwrap();
    fs::write(root.join("file"), "").unwrap();
    assert_eq!(links(), 4);
    fs::rename(root.join("a/b"), root.join("b")).unwrap();
    assert_eq!(links(), 5);
    fs::remove_dir_all(root.join("a")).unwrap();
    assert_eq!(links(), 4);
    assert_eq!(fs::metadata(&root).unwrap().size(), 4096);
}

#[test]
fn locks_exclude_each_other_between_programs() {
    let home = Home::new();
    let path = empty_workspace(&home, &[]).join("file");
    let file = File::create(&path).unwrap();
    let other_program_gets_it = || {
        let status = Command::new("flock").arg("--nonblock").arg(&path).arg("true").status().unwrap();
        status.success()
    };
    file.lock().unwrap();
    assert!(!other_program_gets_it());
    file.unlock().unwrap();
    assert!(other_program_gets_it());
}

#[test]
fn sqlite_in_wal_mode_survives_the_kill_of_the_daemon() {
    let home = Home::new();
    let path = empty_workspace(&home, &[]).join("base.db");
    let sql = |text: &str| {
        let out = Command::new("sqlite3").arg(&path).arg(text).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    // The WAL index is a shared writable mapping.
    assert_eq!(sql("PRAGMA journal_mode=WAL; PRAGMA mmap_size=1000000;"), "wal\n1000000\n");
    sql("CREATE TABLE t(n); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<10000) \
         INSERT INTO t SELECT n FROM c;");
    kill_daemon(&home);
    assert_eq!(sql("PRAGMA integrity_check; SELECT count(*), sum(n) FROM t;"), "ok\n10000|50005000\n");
}

#[test]
fn a_watch_sees_what_others_do() {
    let home = Home::new();
    let root = empty_workspace(&home, &[]);
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, &root, inotify::WatchFlags::CREATE | inotify::WatchFlags::MODIFY).unwrap();
    let status = Command::new("sh").arg("-c").arg("echo content > file").current_dir(&root).status().unwrap();
    assert!(status.success());
    let mut buffer = [std::mem::MaybeUninit::uninit(); 512];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    let mut kinds = Vec::new();
    while let Ok(event) = reader.next() {
        assert_eq!(event.file_name().unwrap().to_bytes(), b"file");
        kinds.push(event.events());
    }
    assert!(
        kinds.contains(&inotify::ReadFlags::CREATE) && kinds.contains(&inotify::ReadFlags::MODIFY),
        "{kinds:?}"
    );
}
