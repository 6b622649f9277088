//! Bad input and faults: each is refused with its code, and harms nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::Value;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use support::Home;

#[test]
fn sources_that_are_none_are_refused() {
    let home = Home::new();
    let user = home.path().join("user");
    std::fs::write(user.join("file"), "").unwrap();
    home.run(
        &user,
        "git init -q empty; git init -q -b main unborn; cd unborn; git commit -q --allow-empty -m x; \
                     git checkout -q --orphan new",
    )
    .ok();
    for (source, code) in [
        ("user/nothing-here", "W0001"),
        ("user/file", "W0001"),
        ("user/empty", "W0003"),
        ("user/unborn", "W0003"),
        ("file:///nonexistent/repo.git", "W0002"),
        ("http://127.0.0.1:1/repo.git", "W0002"),
        ("gopher://host/repo", "W0028"),
        ("ext::sh -c id", "W0020"),
    ] {
        home.weald(&["create", source, "w"]).fault(code);
    }
    assert_eq!(home.weald(&["list", "--json"]).ok(), "[]\n");
    assert_eq!(std::fs::read_dir(home.home().join("logs")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(home.path().join("mnt")).unwrap().count(), 0);
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let home = Home::new();
    let repo = home.repo("tool");
    let repo = repo.to_str().unwrap();
    std::fs::create_dir(home.path().join("user/plain")).unwrap();
    home.weald(&["create", repo, "w", "--rev", "no-such-branch"]).fault("W0004");
    home.weald(&["create", repo, "w", "--branch", "..bad"]).fault("W0020");
    home.weald(&["create", repo, "w", "--depth", "1"]).fault("W0020");
    home.weald(&["create", "user/plain", "w", "--rev", "HEAD"]).fault("W0020");
    assert_eq!(home.weald(&["create"]).code, 2);
    assert_eq!(home.weald(&["create", repo, "w", "--depth", "0"]).code, 2);
    assert_eq!(home.weald(&["no-such-command"]).code, 2);
}

#[test]
fn bad_names_are_refused_everywhere() {
    let home = Home::new();
    let repo = home.repo("tool");
    let repo = repo.to_str().unwrap();
    home.weald(&["create", repo, "w"]).ok();
    let long = "x".repeat(300);
    for name in
        ["a/b", "..", "../x", "-x", ".hidden", "a\nb", "a\u{7f}b", "a b", "", "x.lock", "a@b", long.as_str()]
    {
        home.weald(&["create", repo, name]).fault("W0007");
        home.weald(&["fork", "w", name]).fault("W0007");
        home.weald(&["rename", "w", name]).fault("W0007");
    }
    home.weald(&["create", repo, "w"]).fault("W0008");
    home.weald(&["fork", "w", "w"]).fault("W0008");
    home.weald(&["fork", "nobody", "x"]).fault("W0009");
    home.weald(&["info", "../w"]).fault("W0009");
    assert_eq!(home.weald(&["list", "--json"]).json().as_array().unwrap().len(), 1);
}

#[test]
fn mount_points_in_use_are_refused() {
    let home = Home::new();
    let repo = home.repo("tool");
    let repo = repo.to_str().unwrap();
    std::fs::create_dir_all(home.at("full/x")).unwrap();
    std::fs::write(home.at("file"), "").unwrap();
    home.weald(&["create", repo, "full"]).fault("W0010");
    home.weald(&["create", repo, "file"]).fault("W0010");
    home.weald(&["create", repo, "w", "--at", "/proc"]).fault("W0010");
    home.weald(&["create", repo, "w"]).ok();
    home.weald(&["create", repo, "v", "--at", home.at("w").to_str().unwrap()]).fault("W0010");
    home.weald(&["create", repo, "v", "--at", home.at("w/src").to_str().unwrap()]).fault("W0010");
    assert!(home.at("full/x").is_dir() && home.at("w/a.txt").exists());
    assert_eq!(home.weald(&["list", "--json"]).json().as_array().unwrap().len(), 1);
    home.weald(&["create", repo, "elsewhere", "--at", home.path().join("user/there").to_str().unwrap()]).ok();
    assert!(home.path().join("user/there/a.txt").exists());
}

#[test]
fn faults_are_told_in_json_as_well() {
    let home = Home::new();
    let said = home.weald(&["info", "nobody", "--json"]).fault("W0009");
    let value: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(value["error"]["code"], "W0009");
    assert!(value["error"]["hint"].is_string() && said.err.contains("hint: "), "{said:?}");
    assert_eq!(said.code, 1);
}

#[test]
fn a_missing_object_is_named() {
    let home = Home::new();
    let repo = home.repo("tool");
    let tree = home.run(&repo, "git rev-parse HEAD:src").ok();
    let (dir, file) = tree.trim().split_at(2);
    std::fs::remove_file(repo.join(".git/objects").join(dir).join(file)).unwrap();
    let said = home.weald(&["create", repo.to_str().unwrap(), "w"]).fault("W0005");
    assert!(said.err.contains(tree.trim()), "{said:?}");
    assert_eq!(home.weald(&["list", "--json"]).ok(), "[]\n");
    assert_eq!(home.run(&repo, "git for-each-ref refs/weald").ok(), "");
}

/// Makes a commit whose tree has one entry of this mode and name, and returns its id.
fn hostile(home: &Home, repo: &Path, mode: &str, kind: &str, name: &str) -> String {
    let script = "import subprocess,sys\nmode,kind,name=sys.argv[1:]\n\
        def git(*a,data=b''): return subprocess.run(['git',*a],input=data,stdout=subprocess.PIPE,check=True).stdout.decode().strip()\n\
        blob=git('hash-object','-w','--stdin',data=b'/etc' if mode=='120000' else b'[core]\\n')\n\
        if kind=='tree':\n raw=b'100644 config\\0'+bytes.fromhex(blob); oid=git('hash-object','-t','tree','-w','--literally','--stdin',data=raw)\n\
        else: oid=blob\n\
        raw=mode.encode()+b' '+name.encode()+b'\\0'+bytes.fromhex(oid)\n\
        tree=git('hash-object','-t','tree','-w','--literally','--stdin',data=raw)\n\
        print(git('commit-tree','-m','hostile',tree))\n";
    let file = home.path().join("user/hostile.py");
    std::fs::write(&file, script).unwrap();
    let line = format!("python3 {} {mode} {kind} \"$(printf '{name}')\"", file.display());
    home.run(repo, &line).ok().trim().to_owned()
}

#[test]
fn hostile_trees_are_refused_whole() {
    let home = Home::new();
    let repo = home.repo("tool");
    for (mode, kind, name) in [
        ("40000", "tree", ".git"),
        ("40000", "tree", ".GIT"),
        ("40000", "tree", "..."),
        ("40000", "tree", ".."),
        ("40000", "tree", "."),
        ("100644", "blob", ".git"),
        ("120000", "blob", ".Git"),
        ("40000", "tree", "git~1"),
        ("100644", "blob", "a/b"),
    ] {
        let commit = hostile(&home, &repo, mode, kind, name);
        let said = home.weald(&["create", repo.to_str().unwrap(), "w", "--rev", &commit]);
        if name == "..." {
            said.ok();
            home.weald(&["remove", "w"]).ok();
        } else {
            said.fault("W0006");
        }
    }
    // A symbolic link that leads out is content, not an attack: nothing is written through it.
    let commit = hostile(&home, &repo, "120000", "blob", "link");
    home.weald(&["create", repo.to_str().unwrap(), "w", "--rev", &commit]).ok();
    assert_eq!(std::fs::read_link(home.at("w/link")).unwrap(), Path::new("/etc"));
}

fn segments(home: &Home, name: &str) -> Vec<PathBuf> {
    let info = home.weald(&["info", name, "--json"]).json();
    let dir = home.home().join("logs").join(info["id"].as_str().unwrap());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_damaged_log_closes_its_workspace_only() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "good"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "bad"]).ok();
    home.run(&home.at("bad"), "echo work > new; sync new").ok();
    let files = segments(&home, "bad");
    home.weald(&["daemon", "stop"]).ok();
    let log = std::fs::OpenOptions::new().read(true).write(true).open(&files[0]).unwrap();
    let mut byte = [0];
    log.read_exact_at(&mut byte, 700).unwrap();
    log.write_all_at(&[byte[0] ^ 0x40], 700).unwrap();
    drop(log);
    let before = std::fs::read(&files[0]).unwrap();
    let list = home.weald(&["list", "--json"]).json();
    let row = |name: &str| list.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!((&row("bad")["status"], &row("bad")["fault"]["code"]), (&"damaged".into(), &"W0017".into()));
    assert_eq!(row("good")["status"], "mounted");
    assert_eq!(home.run(&home.at("good"), "git status --porcelain").ok(), "");
    home.weald(&["mount", "bad"]).fault("W0017");
    home.weald(&["fork", "bad", "x"]).fault("W0017");
    let said = home.weald(&["info", "bad"]).fault("W0017");
    assert_eq!(said.code, 1);
    assert!(
        std::fs::read_dir(home.at("bad")).is_err() || std::fs::read_dir(home.at("bad")).unwrap().count() == 0
    );
    assert_eq!(std::fs::read(&files[0]).unwrap(), before, "nothing was changed on disk");
    home.weald(&["remove", "bad", "--force"]).ok();
    assert_eq!(home.weald(&["list", "--json"]).json().as_array().unwrap().len(), 1);
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_is_there() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.run(&home.at("w"), "echo kept > kept; sync kept").ok();
    let files = segments(&home, "w");
    home.weald(&["daemon", "stop"]).ok();
    let bytes = std::fs::read(&files[0]).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let log = std::fs::OpenOptions::new().write(true).open(&files[0]).unwrap();
    // The beginning of a frame that was never finished.
    log.write_all_at(&[0x60, 0, 0, 0, 0xAB, 0xCD, 0xEF], end as u64 + 8).unwrap();
    drop(log);
    assert_eq!(home.weald(&["list", "--json"]).json()[0]["status"], "mounted");
    assert_eq!(std::fs::read_to_string(home.at("w/kept")).unwrap(), "kept\n");
    home.run(&home.at("w"), "echo more > more; sync more").ok();
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(std::fs::read_to_string(home.at("w/more")).unwrap(), "more\n");
}

/// A fork is durable with the first sync in it. Before that a power cut may leave its name and nothing else, in the store and
/// in the registry.
#[test]
fn a_fork_of_which_a_power_cut_left_only_names_is_gone_and_nothing_is_to_be_repaired() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    for (left, has_row) in [(0, true), (0, false), (4096, true), (4096, false)] {
        home.weald(&["fork", "w", "f"]).ok();
        let log = segments(&home, "f").remove(0);
        home.crash();
        // No mount outlives the power.
        rustix::mount::unmount(home.at("f"), UnmountFlags::DETACH).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&log).unwrap();
        file.set_len(0).unwrap();
        file.set_len(left).unwrap();
        if !has_row {
            let db = home.home().join("registry.db");
            let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); \
                c.execute('DELETE FROM workspace WHERE name = ?', ('f',)); c.commit()";
            home.run(home.path(), &format!("python3 -c \"{script}\" {}", db.display())).ok();
        }
        let list = home.weald(&["list", "--json"]).json();
        assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
        assert!(!log.exists());
        assert_eq!(home.weald(&["verify", "--all", "--json"]).json()["ok"], true);
        let doctor = home.weald(&["doctor", "--json"]);
        assert!(!doctor.out.contains("\"severity\":\"error\""), "{doctor:?}");
    }
    home.weald(&["fork", "w", "f"]).ok();
    assert!(home.at("f/a.txt").exists());
}

#[test]
fn a_full_disk_is_told_and_nothing_is_damaged() {
    let home = Home::new();
    let repo = home.repo("tool");
    rustix::mount::mount(
        "weald-test",
        home.home(),
        "tmpfs",
        MountFlags::empty(),
        Some(c"size=24m,mode=0700"),
    )
    .unwrap();
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let w = home.at("w");
    home.run(&w, "echo kept > kept").ok();
    let said = home.run(&w, "head -c 100M /dev/zero | tr '\\0' x > big");
    assert!(said.code != 0 && said.err.contains("No space left"), "{said:?}");
    assert_eq!(home.run(&w, "cat kept a.txt").ok(), "kept\none\ntwo\n");
    assert_eq!(home.weald(&["list", "--json"]).json()[0]["status"], "mounted");
    home.run(&w, "head -c 1G /dev/urandom > more 2>/dev/null || true; cat kept").ok();
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(home.run(&w, "cat kept a.txt").ok(), "kept\none\ntwo\n");
    home.signal_daemon(rustix::process::Signal::TERM);
    rustix::mount::unmount(home.home(), UnmountFlags::DETACH).unwrap();
}

#[test]
fn a_daemon_whose_log_cannot_be_written_goes_on() {
    let home = Home::new();
    let repo = home.repo("tool");
    for name in ["w", "v"] {
        home.weald(&["create", repo.to_str().unwrap(), name]).ok();
    }
    home.weald(&["daemon", "stop"]).ok();
    std::fs::create_dir_all(home.at("w")).unwrap();
    std::fs::write(home.at("w").join("in the way"), "").unwrap();
    // Every write to it fails as on a full disk, and the daemon has something to tell at its start.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut daemon = home.command().args(["daemon", "run"]).stderr(full).spawn().unwrap();
    support::wait_for("the mount", || home.at("v").join("a.txt").exists());
    assert_eq!(home.supervisor_pid(), i32::try_from(daemon.id()).ok());
    let list = home.weald(&["list", "--json"]).json();
    let status = |name: &str| {
        list.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()["status"].clone()
    };
    assert_eq!((status("v"), status("w")), ("mounted".into(), "idle".into()));
    home.weald(&["daemon", "stop"]).ok();
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn a_read_only_home_is_told() {
    let home = Home::of_nobody();
    std::fs::set_permissions(home.home(), PermissionsExt::from_mode(0o555)).unwrap();
    home.weald(&["list"]).fault("W0014");
    let other = Home::of_nobody();
    std::os::unix::fs::chown(other.home(), Some(0), Some(0)).unwrap();
    std::fs::set_permissions(other.home(), PermissionsExt::from_mode(0o700)).unwrap();
    assert_ne!(other.weald(&["list"]).code, 0);
    let root = Home::new();
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    rustix::mount::mount_bind(root.home(), root.home()).unwrap();
    rustix::mount::mount_remount(root.home(), flags, "").unwrap();
    root.weald(&["list"]).fault("W0014");
}

#[test]
fn without_the_fuse_device_nothing_is_made_and_the_reason_is_told() {
    let home = Home::new();
    let repo = home.repo("tool");
    let dev = home.path().join("dev");
    std::fs::create_dir(&dev).unwrap();
    let line = format!(
        "mount -t tmpfs tmpfs {dev}; for n in 'null 3' 'zero 5' 'urandom 9'; do set -- $n; mknod -m 666 {dev}/$1 c 1 $2; done; \
         mount --bind {dev} /dev; exec {weald} create {repo} w",
        dev = dev.display(),
        weald = env!("CARGO_BIN_EXE_weald"),
        repo = repo.display(),
    );
    let line = line.replace('\'', "'\\''");
    let said = home
        .run(home.path(), &format!("unshare --mount --propagation private -- sh -ec '{line}'"))
        .fault("W0011");
    assert!(said.err.contains("/dev/fuse"), "{said:?}");
    assert_eq!(std::fs::read_dir(home.home().join("logs")).unwrap().count(), 0);
    assert_eq!(home.run(&repo, "git for-each-ref refs/weald").ok(), "");
    assert_eq!(std::fs::read_dir(home.path().join("mnt")).unwrap().count(), 0);
}

#[test]
fn codes_are_explained() {
    let home = Home::new();
    assert!(home.weald(&["explain", "W0008"]).ok().contains("exists already"));
    assert!(home.weald(&["explain"]).ok().lines().count() > 20);
    assert_eq!(home.weald(&["explain", "8", "--json"]).json()["code"], "W0008");
    home.weald(&["explain", "W9999"]).fault("W0020");
    assert!(!home.home().join("weald.sock").exists(), "no daemon is needed for that");
}
