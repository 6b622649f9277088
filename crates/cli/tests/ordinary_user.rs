//! As an ordinary user, through fusermount3.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use std::os::unix::fs::PermissionsExt;
use support::{Home, NOBODY, where_users_may_mount};

#[test]
fn an_ordinary_user_creates_works_forks_and_removes() {
    if !where_users_may_mount("an_ordinary_user_creates_works_forks_and_removes") {
        return;
    }
    let home = Home::of_nobody();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let w = home.at("w");
    assert_eq!(
        home.run(&w, "git status --porcelain; id -u; stat -c %u a.txt").ok(),
        format!("{NOBODY}\n{NOBODY}\n")
    );
    home.run(&w, "echo mine >> a.txt; git commit -qam mine").ok();
    home.weald(&["fork", "w", "f"]).ok();
    assert_eq!(home.run(&home.at("f"), "git log -1 --format=%s; git status --porcelain").ok(), "mine\n");
    home.weald(&["rename", "f", "g"]).ok();
    home.weald(&["remove", "g"]).ok();
    home.weald(&["trash", "restore", "g"]).ok();
    assert_eq!(home.run(&home.at("g"), "tail -1 a.txt").ok(), "mine\n");
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(home.run(&w, "tail -1 a.txt").ok(), "mine\n");
}

#[test]
fn an_ordinary_user_goes_back_and_programs_see_it() {
    if !where_users_may_mount("an_ordinary_user_goes_back_and_programs_see_it") {
        return;
    }
    let home = Home::of_nobody();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let w = home.at("w");
    home.run(&w, "printf AAAAAAAA > mapped; echo one > log").ok();
    home.weald(&["snapshot", "w", "--tag", "a"]).ok();
    // Stores through a mapping that stays, appends to a file that stays open, and removes everything else.
    let script = "import mmap, os, subprocess\n\
        file = open('mapped', 'r+b'); pages = mmap.mmap(file.fileno(), 0)\n\
        log = open('log', 'a')\n\
        pages[0:8] = b'BBBBBBBB'\n\
        log.write('two\\n'); log.flush()\n\
        subprocess.run('rm -rf .git src a.txt; ls > /dev/null', shell=True, check=True)\n\
        subprocess.run([os.environ['WEALD'], 'restore', '@a'], check=True, stdout=subprocess.DEVNULL)\n\
        log.write('three\\n'); log.flush()\n\
        print(pages[0:8].decode(), open('log').read().split(), sorted(os.listdir('.')))\n\
        subprocess.run([os.environ['WEALD'], 'restore', '@before restoring', 'mapped'],\n\
            check=True, stdout=subprocess.DEVNULL)\n\
        print(pages[0:8].decode())\n";
    let weald = home.path().join("weald");
    let line = format!("WEALD='{}' python3 -c \"{script}\"; git status --porcelain", weald.display());
    assert_eq!(
        home.run(&w, &line).ok(),
        "AAAAAAAA ['one', 'three'] ['.git', 'a.txt', 'link', 'log', 'mapped', 'run.sh', 'src']\nBBBBBBBB\n\
         ?? log\n?? mapped\n"
    );
}

#[test]
fn stale_mounts_are_cleaned_without_root() {
    if !where_users_may_mount("stale_mounts_are_cleaned_without_root") {
        return;
    }
    let home = Home::of_nobody();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.run(&home.at("w"), "echo kept > kept").ok();
    home.crash();
    assert_eq!(home.weald(&["list", "--json"]).json()[0]["status"], "mounted");
    assert_eq!(home.run(&home.at("w"), "cat kept").ok(), "kept\n");
}

#[test]
fn without_fusermount3_the_reason_is_told() {
    if !where_users_may_mount("without_fusermount3_the_reason_is_told") {
        return;
    }
    let home = Home::of_nobody();
    let repo = home.repo("tool");
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for program in ["git", "setpriv"] {
        let path = home.run(home.path(), &format!("command -v {program}")).ok();
        std::os::unix::fs::symlink(path.trim(), bin.join(program)).unwrap();
    }
    let mut command = home.command();
    let output = command.env("PATH", &bin).args(["create", repo.to_str().unwrap(), "w"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("[W0012]"), "{text}");
    assert_eq!(home.weald(&["list", "--json"]).ok(), "[]\n");
}

#[test]
fn another_users_files_are_not_taken_in_halfway() {
    let home = Home::of_nobody();
    let data = home.path().join("user/data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("secret"), "x").unwrap();
    std::fs::set_permissions(data.join("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    home.weald(&["create", data.to_str().unwrap(), "w"]).fault("W0026");
    assert_eq!(home.weald(&["list", "--json"]).ok(), "[]\n");
}

#[test]
fn the_socket_hears_only_its_owner() {
    let home = Home::new();
    home.weald(&["daemon", "start"]).ok();
    let other = Home::of_nobody();
    let mut command = other.command();
    let output = command.env("WEALD_HOME", home.home()).arg("list").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("[W0026]"), "{output:?}");
}
