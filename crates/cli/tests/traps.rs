//! What file systems over FUSE got wrong before: a test by name for each, through the whole program.
//!
//! What random calls against ext4 (`differential.rs`) and the public suites (`suites.rs`) cannot see is here: what others
//! do meanwhile, how long things are, and what programs of the kernel build on top.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, RawDir, SeekFrom, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::Home;

/// A workspace made of an empty directory; where it is mounted.
fn workspace(home: &Home, options: &[&str]) -> PathBuf {
    fs::create_dir_all(home.path().join("user/empty")).unwrap();
    home.weald(&[&["create", "user/empty", "ws"], options].concat()).ok();
    home.at("ws")
}

fn dir(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// Names from where a directory stands to its end, each with the place behind it.
fn names_and_places(dir: &OwnedFd) -> Vec<(String, u64)> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = RawDir::new(dir, &mut buffer);
    let mut all = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = entry.unwrap();
        all.push((entry.file_name().to_str().unwrap().to_owned(), entry.next_entry_cookie()));
    }
    all
}

#[test]
fn who_has_a_file_open_keeps_it_when_another_is_renamed_over_it() {
    let home = Home::new();
    let root = workspace(&home, &[]);
    fs::write(root.join("target"), "old").unwrap();
    let mut old = OpenOptions::new().read(true).append(true).open(root.join("target")).unwrap();
    fs::write(root.join("new"), "new").unwrap();
    let number = fs::metadata(root.join("new")).unwrap().ino();
    fs::rename(root.join("new"), root.join("target")).unwrap();
    old.write_all(b" and more").unwrap();
    let mut text = [0; 12];
    old.read_exact_at(&mut text, 0).unwrap();
    assert_eq!((&text, old.metadata().unwrap().nlink()), (b"old and more", 0));
    assert_eq!(fs::read(root.join("target")).unwrap(), b"new");
    assert_eq!(fs::metadata(root.join("target")).unwrap().ino(), number);
    // A file without a name is given none again.
    let again = rustix::fs::linkat(&old, "", CWD, root.join("back"), AtFlags::EMPTY_PATH);
    assert_eq!(again, Err(Errno::NOENT));
}

#[test]
fn a_listing_has_each_name_that_stays_once_whatever_changes_meanwhile() {
    let home = Home::new();
    let root = workspace(&home, &[]);
    for number in 0..1000 {
        File::create(root.join(format!("stays-{number:04}"))).unwrap();
        File::create(root.join(format!("moves-{number:04}"))).unwrap();
    }
    let stays: BTreeSet<String> = (0..1000).map(|number| format!("stays-{number:04}")).collect();
    for round in 0..3 {
        let open = dir(&root);
        let mut buffer = [MaybeUninit::uninit(); 2048];
        let mut reader = RawDir::new(&open, &mut buffer);
        let (mut seen, mut listed) = (BTreeSet::new(), 0);
        while let Some(entry) = reader.next() {
            let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
            if name.starts_with("stays") {
                assert!(seen.insert(name.clone()), "{name} is listed twice");
            }
            // Between any two entries something before and something behind goes, comes and is renamed.
            let at = (listed * 7) % 1000;
            let moved = root.join(format!("moves-{at:04}"));
            let _ = match round {
                0 => fs::rename(&moved, root.join(format!("moved-{listed:06}"))),
                1 => fs::remove_file(root.join(format!("moved-{listed:06}"))),
                _ => File::create(&moved).map(drop),
            };
            listed += 1;
        }
        assert_eq!(seen, stays, "round {round}");
    }
}

#[test]
fn a_place_in_a_directory_is_gone_back_to_after_entries_came_and_went() {
    let home = Home::new();
    let root = workspace(&home, &[]);
    for number in 0..500 {
        File::create(root.join(format!("{number:03}"))).unwrap();
    }
    let open = dir(&root);
    let all = names_and_places(&open);
    assert_eq!(all.len(), 502);
    for at in [0, 1, 2, 100, 499, 501] {
        rustix::fs::seek(&open, SeekFrom::Start(all[at].1)).unwrap();
        assert_eq!(names_and_places(&open), all[at + 1..], "behind entry {at}");
    }
    // The entry the place is behind may go; those that stay follow it as they did.
    let (before, after) = (&all[250], &all[251..]);
    fs::remove_file(root.join(&before.0)).unwrap();
    fs::remove_file(root.join(&all[10].0)).unwrap();
    fs::remove_file(root.join(&after[0].0)).unwrap();
    rustix::fs::seek(&open, SeekFrom::Start(before.1)).unwrap();
    // Whether a listing that was begun before still shows what went, POSIX leaves open.
    let mut found = names_and_places(&open);
    found.retain(|entry| entry.0 != after[0].0);
    assert!(found == after[1..], "{} instead of {}", found.len(), after.len() - 1);
    rustix::fs::seek(&open, SeekFrom::Start(0)).unwrap();
    assert_eq!(names_and_places(&open).len(), 499);
}

#[test]
fn a_directory_that_was_removed_says_so_to_who_stands_in_it() {
    let home = Home::new();
    let root = workspace(&home, &[]);
    fs::create_dir_all(root.join("a/gone")).unwrap();
    let held = dir(&root.join("a/gone"));
    let mut shell = support::programs::Shell::new(&root.join("a/gone"));
    fs::remove_dir(root.join("a/gone")).unwrap();
    let stat = rustix::fs::fstat(&held).unwrap();
    assert_eq!((stat.st_nlink, stat.st_mode & 0o170_000), (0, 0o040_000));
    assert_eq!(rustix::fs::mkdirat(&held, "new", Mode::RWXU), Err(Errno::NOENT));
    let made = rustix::fs::openat(&held, "new", OFlags::CREATE | OFlags::RDWR, Mode::RWXU);
    assert_eq!(made.unwrap_err(), Errno::NOENT);
    assert_eq!(rustix::fs::renameat(CWD, root.join("a"), &held, "a"), Err(Errno::NOENT));
    assert_eq!(shell.run("/bin/pwd -P > /dev/null 2>&1 || echo nowhere"), "nowhere");
    assert_eq!(shell.run("{ echo x > file; } 2> /dev/null; ls -a | wc -l"), "0");
    assert_eq!(
        shell.run("cd .. 2> /dev/null && pwd -P || echo stays"),
        format!("{}", root.join("a").display())
    );
    assert_eq!(fs::metadata(root.join("a")).unwrap().nlink(), 2);
}

#[test]
fn a_symbolic_link_has_times_and_an_owner_of_its_own() {
    let home = Home::new();
    let root = workspace(&home, &[]);
    fs::write(root.join("file"), "").unwrap();
    symlink("file", root.join("link")).unwrap();
    let before = fs::metadata(root.join("file")).unwrap();
    let time = |tv_sec| Timespec { tv_sec, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time(1_000_000_000), last_modification: time(-5) };
    rustix::fs::utimensat(CWD, root.join("link"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    std::os::unix::fs::lchown(root.join("link"), Some(1000), Some(1001)).unwrap();
    let link = fs::symlink_metadata(root.join("link")).unwrap();
    assert_eq!((link.atime(), link.mtime(), link.mtime_nsec()), (1_000_000_000, -5, 123_456_789));
    assert_eq!((link.uid(), link.gid(), link.mode()), (1000, 1001, 0o120_777));
    let after = fs::metadata(root.join("file")).unwrap();
    assert_eq!(
        (after.mtime_nsec(), after.ctime_nsec(), after.uid()),
        (before.mtime_nsec(), before.ctime_nsec(), 0)
    );
}

/// A way to change what is in a file, perhaps from another.
type Change = fn(&File, &File);

#[test]
fn every_way_another_user_changes_content_takes_set_user_id_away() {
    let home = Home::new();
    let root = workspace(&home, &["--allow-other"]);
    fs::set_permissions(&root, PermissionsExt::from_mode(0o777)).unwrap();
    fs::write(root.join("source"), "content of some length").unwrap();
    let source = File::open(root.join("source")).unwrap();
    let mut modes = Vec::new();
    let ways: &[(&str, Change)] = &[
        ("write", |mut file, _| file.write_all(b"x").unwrap()),
        ("pwrite", |file, _| file.write_all_at(b"x", 5000).unwrap()),
        ("ftruncate", |file, _| file.set_len(3).unwrap()),
        ("fallocate", |file, _| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, 9000).unwrap()),
        ("punch", |file, _| {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(file, punch, 0, 2).unwrap();
        }),
        ("copy_file_range", |file, source| {
            let copied = rustix::fs::copy_file_range(source, Some(&mut 0), file, Some(&mut 0), 9).unwrap();
            assert_eq!(copied, 9);
        }),
    ];
    for (name, way) in ways {
        let path = root.join(name);
        let file = File::create(&path).unwrap();
        file.write_all_at(b"some content", 0).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o6777)).unwrap();
        // As root first, who keeps them.
        way(&file, &source);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o6777, "{name} by root");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (user, root) = (rustix::fs::Uid::from_raw(support::NOBODY), rustix::fs::Uid::ROOT);
                rustix::thread::set_thread_res_uid(root, user, root).unwrap();
                way(&file, &source);
            });
        });
        modes.push((*name, fs::metadata(&path).unwrap().mode() & 0o7777));
    }
    assert!(modes.iter().all(|(_, mode)| *mode == 0o777), "{modes:?}");
}

#[test]
fn a_workspace_is_the_upper_layer_of_an_overlay() {
    let home = Home::new();
    let root = workspace(&home, &[]);
    let lower = home.path().join("lower");
    let merged = home.path().join("merged");
    for path in [&lower.join("dir/sub"), &merged, &root.join("upper"), &root.join("work")] {
        fs::create_dir_all(path).unwrap();
    }
    for name in ["kept", "changed", "removed", "dir/moved"] {
        fs::write(lower.join(name), name).unwrap();
    }
    let options = format!("lowerdir={},upperdir={0}/upper,workdir={0}/work", root.display()).replacen(
        &format!("lowerdir={}", root.display()),
        &format!("lowerdir={}", lower.display()),
        1,
    );
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount("overlay", &merged, "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .unwrap();
    let _unmount = Unmount(merged.clone());
    fs::write(merged.join("changed"), "anew").unwrap();
    fs::remove_file(merged.join("removed")).unwrap();
    fs::rename(merged.join("dir/moved"), merged.join("moved")).unwrap();
    fs::remove_dir_all(merged.join("dir")).unwrap();
    fs::create_dir(merged.join("dir")).unwrap();
    fs::write(merged.join("dir/new"), "new").unwrap();
    let read = |path: &str| fs::read_to_string(merged.join(path)).ok();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!([read("kept"), read("changed"), read("removed")], [text("kept"), text("anew"), None]);
    assert_eq!([read("moved"), read("dir/moved"), read("dir/new")], [text("dir/moved"), None, text("new")]);
    assert_eq!(fs::read_dir(merged.join("dir")).unwrap().count(), 1, "the directory hides the one below");
    // What hides a name below is a device 0, 0.
    let whiteout = fs::symlink_metadata(root.join("upper/removed")).unwrap();
    assert_eq!((whiteout.mode() & 0o170_000, whiteout.rdev()), (0o020_000, 0));
    assert_eq!(fs::read(lower.join("removed")).unwrap(), b"removed");
}

/// Unmounts when dropped.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_directory_of_a_workspace_is_bound_elsewhere_and_is_the_same() {
    let home = Home::new();
    let root = workspace(&home, &[]);
    let at = home.path().join("bound");
    fs::create_dir_all(root.join("src/deep")).unwrap();
    fs::create_dir(&at).unwrap();
    rustix::mount::mount_bind(root.join("src"), &at).unwrap();
    let _unmount = Unmount(at.clone());
    fs::write(at.join("file"), "through the one").unwrap();
    assert_eq!(fs::read(root.join("src/file")).unwrap(), b"through the one");
    let number = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).unwrap();
    assert_eq!(number(&at.join("deep")), number(&root.join("src/deep")));
    // Containers bind what is only to be read so.
    rustix::mount::mount_remount(&at, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
    let refused = fs::write(at.join("file"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::ROFS.raw_os_error()));
    fs::write(root.join("src/file"), "through the other").unwrap();
    assert_eq!(fs::read(at.join("file")).unwrap(), b"through the other");
}

#[test]
fn lines_that_many_programs_append_are_all_there_and_whole() {
    const WRITERS: usize = 8;
    const LINES: usize = 400;
    let home = Home::new();
    let root = workspace(&home, &[]);
    let path = root.join("log");
    // Of different lengths, across the size up to which content lies in the record.
    let line =
        |writer: usize, number: usize| format!("{writer}:{number}:{}\n", "x".repeat((number * 37) % 6000));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
            scope.spawn(move || {
                for number in 0..LINES {
                    file.write_all(line(writer, number).as_bytes()).unwrap();
                }
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    let mut next = [0; WRITERS];
    for found in text.split_inclusive('\n') {
        let writer: usize = found.split(':').next().unwrap().parse().unwrap();
        assert_eq!(found, line(writer, next[writer]), "lines of one writer keep their order");
        next[writer] += 1;
    }
    assert_eq!(next, [LINES; WRITERS]);
}

#[test]
fn a_file_may_be_tebibytes_of_nothing() {
    let home = Home::new();
    let root = workspace(&home, &[]);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(root.join("sparse")).unwrap();
    let end = 8_u64 << 40;
    file.set_len(end).unwrap();
    file.write_all_at(b"middle", end / 2).unwrap();
    assert_eq!(file.metadata().unwrap().size(), end);
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Data(0)), Ok(end / 2));
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Hole(end / 2)).unwrap(), end / 2 + 6);
    let mut bytes = [1; 12];
    file.read_exact_at(&mut bytes, end / 2 - 3).unwrap();
    assert_eq!(&bytes, b"\0\0\0middle\0\0\0");
    assert_eq!(file.read_at(&mut bytes, end - 4).unwrap(), 4);
    home.weald(&["snapshot", "ws"]).ok();
}

#[test]
fn directories_go_deeper_than_a_path_is_long() {
    const DEPTH: usize = 600;
    let home = Home::new();
    let root = workspace(&home, &[]);
    let name = "a-directory-of-some-length";
    let mut at = dir(&root);
    for _ in 0..DEPTH {
        rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(&at, "file", flags, Mode::RUSR).unwrap());
    file.write_all(b"down here").unwrap();
    let too_long = root.join([name; DEPTH].join("/"));
    assert_eq!(fs::metadata(&too_long).unwrap_err().raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
    let found = home.run(&root, "find . -name file | wc -c").ok();
    assert_eq!(found.trim(), (1 + (name.len() + 1) * DEPTH + "/file\n".len()).to_string());
    home.weald(&["fork", "ws", "other"]).ok();
    home.run(&home.at("other"), "rm -r *").ok();
    assert_eq!(fs::read_dir(home.at("other")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
}

#[test]
fn renames_that_cross_never_make_a_loop() {
    let home = Home::new();
    let root = workspace(&home, &[]);
    for name in ["a/b/c", "x/y/z"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    assert_eq!(
        fs::rename(root.join("a"), root.join("a/b/c/a")).unwrap_err().raw_os_error(),
        Some(Errno::INVAL.raw_os_error())
    );
    // Each alone is allowed; two at once would cut both off from the root.
    let moves = [("a", "x/y/a"), ("x", "a/b/x"), ("x/y/a", "a"), ("a/b/x", "x")];
    std::thread::scope(|scope| {
        for (from, to) in moves {
            let root = &root;
            scope.spawn(move || {
                for _ in 0..2000 {
                    let _ = fs::rename(root.join(from), root.join(to));
                }
            });
        }
    });
    let found = home.run(&root, "find . -mindepth 1 -printf '%f\\n' | sort | tr -d '\\n'").ok();
    assert_eq!(found, "abcxyz");
}

/// A program that takes a lock, says so, and holds it until its input ends.
const LOCKER: &str = "import fcntl,sys\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX,10,int(sys.argv[2]))\n\
                      print('has it',flush=True)\nsys.stdin.read()";

#[test]
fn locks_on_ranges_are_waited_for_and_end_with_their_holder() {
    let home = Home::new();
    let path = workspace(&home, &[]).join("file");
    fs::write(&path, "some content to lock").unwrap();
    let locker = |start: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", LOCKER]).arg(&path).arg(start);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let says = |child: &mut std::process::Child| {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    };
    let (mut first, mut beside) = (locker("0"), locker("10"));
    assert_eq!((says(&mut first), says(&mut beside)), ("has it\n".into(), "has it\n".into()));
    let mut waits = locker("5");
    drop(beside.stdin.take());
    beside.wait().unwrap();
    assert!(waits.try_wait().unwrap().is_none());
    // Killed, not ended: the kernel lets go of what it held.
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(says(&mut waits), "has it\n");
    drop(waits.stdin.take());
    assert!(waits.wait().unwrap().success());
}

#[test]
fn direct_and_cached_reads_and_writes_see_each_other() {
    let home = Home::new();
    let path = workspace(&home, &[]).join("file");
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap();
    let cached = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    let direct = OpenOptions::new().read(true).write(true).custom_flags(direct).open(&path).unwrap();
    // Memory aligned as O_DIRECT wants it: some part of a larger piece is.
    let mut room = vec![0_u8; 3 * 4096];
    let start = room.as_ptr().align_offset(4096);
    let block = &mut room[start..start + 8192];
    for round in 0..20_u8 {
        cached.write_all_at(&[round; 16_384], 0).unwrap();
        direct.read_exact_at(block, 4096).unwrap();
        assert!(block.iter().all(|byte| *byte == round), "round {round}");
        block.fill(100 + round);
        direct.write_all_at(block, 8192).unwrap();
        let mut whole = vec![0; 16_384];
        cached.read_exact_at(&mut whole, 0).unwrap();
        assert!(whole[..8192].iter().all(|byte| *byte == round), "round {round}");
        assert!(whole[8192..].iter().all(|byte| *byte == 100 + round), "round {round}");
    }
    assert_eq!(cached.metadata().unwrap().size(), 16_384);
}

/// Runs a shell line as some user, who needs no group but his own and those named.
fn run_as(user: u32, groups: &str, dir: &Path, line: &str) -> (bool, String) {
    let id = user.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--groups", groups, "--", "sh", "-c", line]);
    let out = command.current_dir(dir).output().unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn what_is_made_in_a_directory_takes_its_group_and_access_list() {
    let home = Home::new();
    let root = workspace(&home, &["--allow-other"]);
    home.run(
        &root,
        "mkdir shared; chown 1000:2000 shared; chmod 2775 shared; \
         setfacl -d -m u::rwx,u:1002:r-x,g::rwx,m::rwx,o::- shared; setfacl -m u:1002:r-x shared",
    )
    .ok();
    let shared = root.join("shared");
    // He belongs to the directory's group, and his umask would take the group's rights.
    assert!(run_as(1001, "2000", &shared, "umask 077; mkdir sub; echo text > file; mkdir sub/deep").0);
    let stat = |path: &str| {
        let meta = fs::metadata(shared.join(path)).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    assert_eq!(stat("sub"), (1001, 2000, 0o2770));
    assert_eq!(stat("sub/deep"), (1001, 2000, 0o2770));
    assert_eq!(stat("file"), (1001, 2000, 0o660));
    let list = home.run(&shared, "getfacl -cE --omit-header sub/deep | sort | tr '\\n' ' '").ok();
    for entry in ["user:1002:r-x", "default:user:1002:r-x", "default:other::---"] {
        assert!(list.contains(entry), "{list}");
    }
    // Whom the list names may read and nothing else; whom it leaves out may nothing.
    assert_eq!(run_as(1002, "1002", &shared, "cat file"), (true, "text\n".to_owned()));
    assert!(!run_as(1002, "1002", &shared, "echo more >> file || rm -f file").0);
    assert!(!run_as(1003, "1003", &shared, "cat file").0);
    // The same after a restart, and in a fork.
    home.crash();
    home.weald(&["fork", "ws", "other"]).ok();
    for dir in [shared.clone(), home.at("other").join("shared")] {
        assert_eq!(run_as(1002, "1002", &dir, "cat file"), (true, "text\n".to_owned()));
        assert!(!run_as(1003, "1003", &dir, "cat file").0);
    }
}

#[test]
fn in_a_sticky_directory_only_owners_take_away() {
    let home = Home::new();
    let root = workspace(&home, &["--allow-other"]);
    home.run(&root, "mkdir tmp; chmod 1777 tmp").ok();
    let tmp = root.join("tmp");
    assert!(run_as(1001, "1001", &tmp, "echo his > his; mkdir dir; chmod 777 his dir").0);
    for line in ["rm -f his", "mv his mine", "rmdir dir", "mv dir other", "echo x > new && mv -f new his"] {
        assert!(!run_as(1002, "1002", &tmp, line).0, "{line}");
    }
    // What he may write he may write, and what he made he may take away.
    assert!(
        run_as(1002, "1002", &tmp, "echo more >> his && rm new && echo x > dir/inside && rm dir/inside").0
    );
    assert_eq!(fs::read(tmp.join("his")).unwrap(), b"his\nmore\n");
    assert!(run_as(1001, "1001", &tmp, "mv his renamed && rm renamed && rmdir dir").0);
}
