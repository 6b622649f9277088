//! Rules of a workspace as programs in it meet them: through a mount, with open files, mappings, links and git.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use std::fs;
use std::path::PathBuf;
use support::Home;
use support::programs::{Mapper, Shell};

fn with_workspace() -> (Home, PathBuf) {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let w = home.at("w");
    (home, w)
}

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn what_is_read_only_is_refused_as_on_a_read_only_mount_and_everything_else_goes_on() {
    let (home, w) = with_workspace();
    fs::create_dir_all(w.join("vendor/lib")).unwrap();
    fs::write(w.join("vendor/lib/code"), "theirs").unwrap();
    home.weald(&["snapshot", "w", "vendored"]).ok();
    let said = home.weald_in(&w, &["rules", "add", "--read-only", "vendor", "--read-only", "a.txt"]).ok();
    assert!(said.contains("read-only  vendor") && said.contains("read-only  a.txt"), "{said}");
    const EROFS: i32 = 30;
    assert_eq!(fs::read_to_string(w.join("vendor/lib/code")).unwrap(), "theirs");
    assert_eq!(errno(fs::write(w.join("vendor/lib/code"), "mine")), EROFS);
    assert_eq!(errno(fs::OpenOptions::new().append(true).open(w.join("a.txt"))), EROFS, "at open already");
    assert_eq!(errno(fs::write(w.join("vendor/new"), "mine")), EROFS);
    assert_eq!(errno(fs::remove_file(w.join("a.txt"))), EROFS);
    assert_eq!(errno(fs::rename(w.join("vendor"), w.join("mine"))), EROFS);
    assert_eq!(errno(fs::hard_link(w.join("a.txt"), w.join("b.txt"))), EROFS);
    fs::write(w.join("mine"), "goes").unwrap();
    home.run(&w, "cp -a vendor copy && echo more >> copy/lib/code && cat vendor/lib/code").ok();
    // A restart, a fork and a restore keep the rules; what they protect comes back by the user's own act only.
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(errno(fs::write(w.join("a.txt"), "mine")), EROFS);
    home.weald(&["fork", "w", "f"]).ok();
    assert_eq!(errno(fs::write(home.at("f").join("a.txt"), "mine")), EROFS);
    home.weald(&["undo", "w"]).ok();
    assert_eq!(errno(fs::write(w.join("a.txt"), "mine")), EROFS);
    home.weald(&["rules", "remove", "w", "--path", "a.txt"]).ok();
    fs::write(w.join("a.txt"), "mine").unwrap();
    assert_eq!(errno(fs::write(w.join("vendor/lib/code"), "mine")), EROFS);
    home.weald(&["rules", "remove", "w", "--path", "a.txt"]).fault("W0046");
    let told = home.weald(&["log", "w", "--op", "rules"]).ok();
    assert!(told.contains("read-only a.txt, read-only vendor"), "{told}");
    home.weald(&["verify", "--all"]).ok();
}

#[test]
fn what_is_masked_reads_as_absent_also_for_who_has_looked_at_it_has_it_open_or_stands_in_it() {
    let (home, w) = with_workspace();
    fs::create_dir(w.join("keys")).unwrap();
    fs::write(w.join("keys/id"), "secret").unwrap();
    fs::write(w.join(".env"), "TOKEN=secret").unwrap();
    home.run(&w, "ln .env other; ls -la . keys; cat .env other keys/id").ok();
    let open = fs::File::open(w.join(".env")).unwrap();
    fs::write(w.join("keys/mapped"), "secret..").unwrap();
    let mut mapper = Mapper::new(&w.join("keys/mapped"));
    assert_eq!(mapper.ask("load"), "secret..");
    let mut inside = Shell::new(&w.join("keys"));
    assert!(inside.run("cat id").contains("secret"));
    let rules = home.weald(&["rules", "add", "w", "--mask", ".env", "--mask", "keys", "--json"]).json();
    assert!(rules["paths"][0]["rule"] == "masked" && rules["in_force"] == true, "{rules}");
    assert!(!w.join(".env").exists() && !w.join("other").exists() && !w.join("keys").exists());
    let names = home.run(&w, "ls -A1").ok();
    assert!(!names.contains("env") && !names.contains("keys") && !names.contains("other"), "{names}");
    let mut buffer = [0; 6];
    assert_eq!(
        errno(std::os::unix::fs::FileExt::read_at(&open, &mut buffer, 0)),
        13,
        "pages at hand went, too"
    );
    assert!(!inside.run("cat id 2>&1").contains("secret"));
    assert!(!inside.run("ls -a 2>&1; cat \"$PWD/id\" 2>&1").contains("secret"));
    assert_eq!(errno(fs::write(w.join(".env"), "mine")), 13, "nothing takes its place");
    assert!(home.run(&w, "grep -r secret . 2>&1 || echo none").ok().trim() == "none");
    assert_eq!(mapper.ask("load"), "", "the kernel ended it");
    drop((inside, mapper));
    home.crash();
    assert!(home.weald(&["path", "w"]).ok().contains('w') && !w.join(".env").exists());
    let rules = home.weald(&["rules", "remove", "w", "--all", "--json"]).json();
    assert_eq!(rules["paths"].as_array().unwrap().len(), 0);
    assert_eq!(fs::read_to_string(w.join(".env")).unwrap(), "TOKEN=secret");
    assert_eq!(fs::read_to_string(w.join("keys/id")).unwrap(), "secret");
}

#[test]
fn a_quota_ends_writing_with_edquot_and_deleting_makes_room() {
    let (home, w) = with_workspace();
    let now = home.weald(&["rules", "w", "--json"]).json();
    let (bytes, files) = (now["bytes"].as_u64().unwrap(), now["files"].as_u64().unwrap());
    let (max_bytes, max_files) = (format!("{}B", bytes + 100_000), (files + 2).to_string());
    home.weald(&["rules", "add", "w", "--max-bytes", &max_bytes, "--max-files", &max_files]).ok();
    const EDQUOT: i32 = 122;
    fs::write(w.join("one"), vec![1; 90_000]).unwrap();
    fs::write(w.join("one"), vec![2; 90_000]).unwrap();
    assert_eq!(errno(fs::write(w.join("two"), vec![1; 20_000])), EDQUOT);
    assert_eq!(errno(fs::write(w.join("three"), "")), EDQUOT, "`two` was made");
    assert_eq!(errno(fs::create_dir(w.join("three"))), EDQUOT);
    fs::remove_file(w.join("one")).unwrap();
    fs::write(w.join("two"), vec![1; 90_000]).unwrap();
    let shown = home.weald(&["rules", "w"]).ok();
    assert!(shown.contains("bytes") && shown.contains("files"), "{shown}");
}

#[test]
fn too_many_deletions_are_stopped_and_the_log_names_who_it_was() {
    let (home, w) = with_workspace();
    home.run(&w, "mkdir many; cd many; for i in $(seq 100); do echo $i > f$i; done").ok();
    home.weald(&["rules", "add", "w", "--max-deletions", "20/1h"]).ok();
    let said = home.run(&w, "rm -rf many 2>&1 || ls many | wc -l").ok();
    assert!(said.contains("Operation not permitted") && said.trim().ends_with("80"), "{said}");
    let told = home.weald(&["log", "w", "--op", "rules-stop"]).ok();
    assert!(told.contains("rm[") && told.lines().count() == 1, "{told}");
    let shown = home.weald(&["rules", "w"]).ok();
    assert!(shown.contains("weald rules confirm w") && shown.contains("20 of 20"), "{shown}");
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(errno(fs::remove_file(w.join("a.txt"))), 1);
    home.weald(&["rules", "confirm", "w"]).ok();
    home.run(&w, "rm -rf many && test ! -e many").ok();
    home.weald(&["rules", "confirm", "w", "--for", "soon"]).fault("W0020");
    home.weald(&["rules", "remove", "w", "--max-deletions"]).ok();
    home.weald(&["rules", "confirm", "w"]).fault("W0020");
}

#[test]
fn bad_rules_are_told_and_nothing_changes() {
    let (home, w) = with_workspace();
    for bad in [
        &["rules", "add", "w"][..],
        &["rules", "add", "w", "--mask", "."],
        &["rules", "add", "w", "--mask", "../x"],
        &["rules", "add", "w", "--max-bytes", "much"],
        &["rules", "add", "w", "--max-deletions", "5"],
        &["rules", "add", "w", "--max-deletions", "5/2w"],
        &["rules", "remove", "w"],
    ] {
        home.weald(bad).fault("W0020");
    }
    assert!(home.weald_in(&w, &["rules"]).ok().contains("no rules"));
}
