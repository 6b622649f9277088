//! A workspace does what ext4 does: the same random system calls by several users in both, and whatever differs is told.
//!
//! Needs root, for the users and for an ext4 of its own on a loop device, so that its options are known.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::mount::UnmountFlags;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::Home;
use weald_testkit::differential::{Done, Trees};

/// System calls of a short run.
const OPERATIONS: u64 = 100_000;

/// Calls of one sequence, after which both sides begin anew.
const SEQUENCE: usize = 400;

/// Sequences after which everything is read from the log again.
const REMOUNTS: u64 = 50;

/// An ext4 on a loop device; unmounted when dropped.
struct Ext4(tempfile::TempDir);

impl Ext4 {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("weald-ext4-").tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(512 << 20).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let out =
                Command::new(program).args(arguments).arg(&image).current_dir(dir.path()).output().unwrap();
            assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
        };
        run("mkfs.ext4", &["-q", "-I", "256"]);
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        let out = Command::new("mount")
            .args(["-o", "loop,noatime"])
            .arg(&image)
            .arg(dir.path().join("mnt"))
            .output()
            .unwrap();
        assert!(out.status.success(), "no loop device: {}", String::from_utf8_lossy(&out.stderr));
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("mnt")
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.path(), UnmountFlags::DETACH);
    }
}

/// A repository whose tree has the same directory two thousand times: files, an executable, a link, directories.
const STOCK: &str = r"
git init -q -b main stock; cd stock; mkdir -p one/a/a one/b/a
printf c > one/c; head -c 5000 /dev/zero | tr '\0' x > one/d; cp one/d one/a/c; chmod +x one/a/c
ln -s c one/e.txt; ln -s a one/a/b; echo deep > one/b/a/c; head -c 100000 /dev/zero | tr '\0' y > one/b/d
git add one; git commit -q -m one
one=$(git rev-parse HEAD:one)
all=$(for number in $(seq -w 0000 1999); do printf '040000 tree %s\t%s\n' $one $number; done | git mktree)
root=$(printf '040000 tree %s\tstock\n' $all | git mktree)
git update-ref refs/heads/main $(git commit-tree $root -m stock)";

/// A workspace everybody may enter, with much the same to begin with.
fn open_workspace(home: &Home) -> PathBuf {
    home.run(&home.path().join("user"), STOCK).ok();
    home.weald(&["create", "user/stock", "ws", "--allow-other"]).ok();
    assert!(home.at("ws").join("stock/1999/b/a/c").exists());
    home.at("ws")
}

fn trees(ours: &Path, native: &Path) -> Trees {
    Trees::new(ours.to_owned(), native.to_owned()).unwrap()
}

#[test]
fn random_calls_of_several_users_do_what_they_do_on_ext4() {
    let (home, ext4) = (Home::new(), Ext4::new());
    let trees = trees(&open_workspace(&home), &ext4.path());
    if !trees.compares_times() {
        eprintln!("ext4 of this kernel has coarse times (Linux before 6.13): times are not compared");
    }
    let (mut seed, operations) = (weald_testkit::seed(20_261_121), weald_testkit::operations(OPERATIONS));
    let mut all = Done::default();
    while all.calls < operations {
        let done = trees.run(seed, SEQUENCE).unwrap_or_else(|finding| panic!("{finding}"));
        all.calls += done.calls;
        all.refused += done.refused;
        all.files += done.files;
        seed += 1;
        if seed % REMOUNTS == 0 {
            // Nothing is left but what is on the disk.
            home.crash();
            home.weald(&["status"]).ok();
            trees.compare().unwrap_or_else(|what| panic!("seed {}, after a crash: {what}", seed - 1));
        }
    }
    println!("torture: operations={} refused={} files={}", all.calls, all.refused, all.files);
}
