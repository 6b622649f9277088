//! Snapshots, restore and undo as a user has them: the real program, real mounts, real programs inside.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use support::Home;
use support::programs::{Mapper, Shell};
use support::states::*;

fn names(dir: &Path) -> Vec<String> {
    let list = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = list.collect();
    names.sort();
    names
}

#[test]
fn one_command_brings_back_all_that_rm_rf_took() {
    let home = Home::new();
    let root = of_repo(&home);
    fs::write(root.join("untracked"), "not in git").unwrap();
    home.run(&root, "echo ignored > .git/info/exclude; echo x > ignored; git checkout -q -b topic").ok();
    home.run(&root, "echo three >> a.txt; git commit -q -am third").ok();
    let before =
        home.run(&root, "GIT_OPTIONAL_LOCKS=0 git status --porcelain; git log --oneline; find . | sort").ok();
    snapshot(&home, &["all is well"]);
    home.run(&root, "rm -rf -- * .[a-z]*").ok();
    assert_eq!(names(&root), Vec::<String>::new());

    home.weald(&["restore", "ws@1"]).ok();
    assert_eq!(
        home.run(&root, "GIT_OPTIONAL_LOCKS=0 git status --porcelain; git log --oneline; find . | sort").ok(),
        before
    );
    assert_eq!(
        home.run(&root, "GIT_OPTIONAL_LOCKS=0 git status --porcelain; git fsck --no-dangling 2>&1")
            .ok()
            .trim(),
        "?? untracked"
    );
    assert_eq!(home.run(&root, "git diff HEAD").ok(), "");
}

#[test]
fn undo_brings_back_all_that_rm_rf_took_without_any_snapshot() {
    let home = Home::new();
    let root = of_repo(&home);
    fs::write(root.join("untracked"), "not in git").unwrap();
    // A step of undo begins when nobody changed anything for two seconds.
    let before = names(&root);
    std::thread::sleep(std::time::Duration::from_millis(2200));
    home.run(&root, "rm -rf -- * .[a-z]*").ok();
    let undone = home.weald(&["undo", "ws"]).ok();
    assert!(undone.contains("there again"), "{undone}");
    assert_eq!(names(&root), before);
    assert_eq!(home.run(&root, "GIT_OPTIONAL_LOCKS=0 git status --porcelain").ok().trim(), "?? untracked");
    home.weald(&["redo", "ws"]).ok();
    assert_eq!(names(&root), Vec::<String>::new());
    home.weald(&["undo", "ws"]).ok();
    assert_eq!(names(&root), before);
}

#[test]
fn a_restore_first_snapshots_the_present_and_can_be_undone() {
    let home = Home::new();
    let root = empty(&home);
    fs::write(root.join("file"), "first").unwrap();
    let first = snapshot(&home, &["first", "--tag", "one"]);
    fs::write(root.join("file"), "second").unwrap();
    fs::write(root.join("unsaved"), "work").unwrap();

    let report = home.weald(&["restore", "ws@one", "--json"]).json();
    assert_eq!(read(root.join("file")), "first");
    assert_eq!(names(&root), ["file"]);
    assert_eq!(report["state"]["snapshot"], first.as_str());
    assert_eq!((&report["totals"]["modified"], &report["totals"]["removed"]), (&1.into(), &1.into()));
    let kept = report["before"]["id"].as_str().unwrap();
    let list = history(&home);
    assert_eq!(texts(&list, "id"), [kept, &first]);
    assert_eq!(list[0]["occasion"], "before-restore");

    home.weald(&["undo", "ws"]).ok();
    assert_eq!((read(root.join("file")).as_str(), read(root.join("unsaved")).as_str()), ("second", "work"));
    home.weald(&["redo", "ws"]).ok();
    assert_eq!(names(&root), ["file"]);
    home.weald(&["restore", &format!("ws@{}", &kept[..8])]).ok();
    assert_eq!(read(root.join("unsaved")), "work");
    // Nothing differs, so nothing is done.
    let count = history(&home).len();
    let again = home.weald(&["restore", &format!("ws@{kept}")]).ok();
    assert!(again.contains("already"), "{again}");
    assert_eq!(history(&home).len(), count);
}

#[test]
fn a_shell_in_a_subdirectory_and_open_files_see_what_was_restored() {
    let home = Home::new();
    let root = empty(&home);
    let dir = root.join("src/deep");
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join("file");
    fs::write(&file, "restored").unwrap();
    fs::write(dir.join("gone"), "there again").unwrap();
    symlink("file", dir.join("link")).unwrap();
    snapshot(&home, &[]);

    fs::write(&file, "something else, and longer").unwrap();
    fs::remove_file(dir.join("gone")).unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    fs::write(dir.join("later"), "not then").unwrap();
    let mut shell = Shell::new(&dir);
    let mut open = File::open(&file).unwrap();
    let mut mapper = Mapper::new(&file);
    // All of it is in the kernel's caches now: pages, attributes, the listing, and that there is no `gone`.
    assert_eq!(shell.run("cat file; ls; stat -c %s file"), "something else, and longerfile later 26");
    assert_eq!(shell.run("test -e gone || echo no"), "no");
    assert_eq!(mapper.ask("load"), "somethin");

    home.weald(&["restore", "ws@1"]).ok();
    assert_eq!(shell.run("cat file; ls; stat -c %s file"), "restoredfile gone link 8");
    assert_eq!(
        shell.run("cat gone; readlink link; cat later"),
        "there againfile cat: later: No such file or directory"
    );
    assert_eq!(shell.run("pwd; test . -ef \"$PWD\" && echo same"), format!("{} same", dir.display()));
    assert_eq!(shell.run("echo new > made && cat made"), "new");
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "restored");
    assert_eq!(mapper.ask("load"), "restored");
}

#[test]
fn a_shell_in_a_directory_that_was_removed_goes_on_in_the_restored_one() {
    let home = Home::new();
    let root = empty(&home);
    let dir = root.join("src/deep");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("file"), "restored").unwrap();
    snapshot(&home, &[]);
    let mut shell = Shell::new(&dir);
    let mut open = OpenOptions::new().read(true).write(true).open(dir.join("file")).unwrap();
    for round in 1..=3 {
        fs::remove_dir_all(root.join("src")).unwrap();
        assert!(shell.run("ls; echo x > y").contains("No such file") || shell.run("ls").is_empty());
        home.weald(&["undo", "ws"]).ok();
        // As in any shell whose directory was replaced.
        assert_eq!(shell.run("cd \"$PWD\"; cat file; ls"), "restoredfile", "round {round}");
        assert_eq!(shell.run("echo y > made; cat made; rm made; pwd"), format!("y {}", dir.display()));
    }
    // The file is the same one again for who has it open.
    open.seek(SeekFrom::Start(0)).unwrap();
    open.write_all(b"RE").unwrap();
    assert_eq!(read(dir.join("file")), "REstored");
    assert_eq!(open.metadata().unwrap().nlink(), 1);
}

#[test]
fn a_program_in_a_directory_that_the_restore_takes_away_keeps_its_files_and_gets_it_back() {
    let home = Home::new();
    let root = empty(&home);
    fs::write(root.join("base"), "").unwrap();
    snapshot(&home, &[]);
    let dir = root.join("later");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "held").unwrap();
    let mut shell = Shell::new(&dir);
    let mut open = File::open(dir.join("file")).unwrap();
    home.weald(&["restore", "ws@1"]).ok();
    assert_eq!(names(&root), ["base"]);
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), open.metadata().unwrap().nlink()), ("held", 0));
    assert_eq!(shell.run("ls"), "");
    home.weald(&["undo", "ws"]).ok();
    assert_eq!(shell.run("cat file; pwd; ls"), format!("held{} file", dir.display()));
}

#[test]
fn who_appends_goes_on_at_the_end_that_was_restored() {
    let home = Home::new();
    let root = empty(&home);
    let path = root.join("log");
    fs::write(&path, "one\n").unwrap();
    snapshot(&home, &[]);
    let mut log = OpenOptions::new().append(true).open(&path).unwrap();
    log.write_all(b"two, which will be gone\n").unwrap();
    home.weald(&["restore", "ws@1"]).ok();
    log.write_all(b"three\n").unwrap();
    assert_eq!(read(&path), "one\nthree\n");
}

#[test]
fn single_paths_come_back_and_the_rest_stays() {
    let home = Home::new();
    let root = empty(&home);
    fs::create_dir_all(root.join("src/lib")).unwrap();
    for name in ["src/lib/a", "src/b", "top", "also"] {
        fs::write(root.join(name), "old").unwrap();
    }
    fs::set_permissions(root.join("top"), fs::Permissions::from_mode(0o751)).unwrap();
    snapshot(&home, &[]);
    fs::remove_dir_all(root.join("src")).unwrap();
    for name in ["top", "also", "new"] {
        fs::write(root.join(name), "new!").unwrap();
    }
    fs::set_permissions(root.join("top"), fs::Permissions::from_mode(0o600)).unwrap();

    home.weald(&["restore", "ws@1", "src/lib", "top"]).ok();
    assert_eq!(names(&root), ["also", "new", "src", "top"]);
    assert_eq!(
        (names(&root.join("src")), read(root.join("src/lib/a"))),
        (vec!["lib".to_owned()], "old".to_owned())
    );
    assert_eq!((read(root.join("top")), read(root.join("also"))), ("old".to_owned(), "new!".to_owned()));
    assert_eq!(fs::metadata(root.join("top")).unwrap().mode() & 0o7777, 0o751);

    // Where one stands in the workspace, paths begin there; absolute ones are taken as well.
    let first = history(&home).last().unwrap()["id"].as_str().unwrap().to_owned();
    home.weald_in(&root.join("src"), &["restore", &format!("@{first}"), "b", "../also"]).ok();
    assert_eq!((read(root.join("src/b")), read(root.join("also"))), ("old".to_owned(), "old".to_owned()));
    fs::write(root.join("also"), "again").unwrap();
    home.weald(&["restore", &format!("ws@{first}"), root.join("also").to_str().unwrap()]).ok();
    assert_eq!(read(root.join("also")), "old");
    // What was not there then goes.
    home.weald(&["restore", &format!("ws@{first}"), "new"]).ok();
    assert!(!root.join("new").exists());
}

#[test]
fn a_moment_between_snapshots_can_be_had_back() {
    let home = Home::new();
    let root = empty(&home);
    fs::write(root.join("file"), "early").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fs::write(root.join("file"), "late").unwrap();
    let meta = fs::metadata(root.join("file")).unwrap();
    let at = jiff::Timestamp::new(meta.mtime(), 0).unwrap();
    home.weald(&["restore", &format!("ws@{{{at}}}")]).ok();
    assert_eq!(read(root.join("file")), "early");
    home.weald(&["undo", "ws"]).ok();
    assert_eq!(read(root.join("file")), "late");
    home.weald(&["restore", "ws@{500ms ago}"]).ok();
    // Every operation is a state, too.
    let records = home.weald(&["info", "ws", "--json"]).json()["store"]["records"].as_u64().unwrap();
    for operation in 1..=records {
        home.weald(&["diff", &format!("ws@{{op {operation}}}"), "ws"]).ok();
    }
    home.weald(&["restore", "ws@{op 1}"]).ok();
    assert_eq!(names(&root), Vec::<String>::new());
}

#[test]
fn a_snapshot_has_what_lies_in_dirty_shared_mappings() {
    let home = Home::new();
    let root = empty(&home);
    let path = root.join("mapped");
    fs::write(&path, vec![b'.'; 20_000]).unwrap();
    let mut mapper = Mapper::new(&path);
    assert_eq!(mapper.ask("store AAAAAAAA"), "stored");
    snapshot(&home, &["a"]);
    assert_eq!(mapper.ask("store BBBBBBBB"), "stored");
    // Taken by the restore itself, of what is in no file yet.
    home.weald(&["restore", "ws@a"]).ok();
    assert_eq!(mapper.ask("load"), "AAAAAAAA");
    assert!(read(&path).starts_with("AAAAAAAA"));
    home.weald(&["restore", "ws@before restoring"]).ok();
    assert_eq!(mapper.ask("load"), "BBBBBBBB");
    assert!(read(&path).starts_with("BBBBBBBB"));
    // And the mapping goes on.
    assert_eq!(mapper.ask("store CCCCCCCC"), "stored");
    assert!(read(&path).starts_with("CCCCCCCC"));
}

#[test]
fn snapshots_survive_a_restart_and_the_kill_of_the_daemon() {
    let home = Home::new();
    let root = empty(&home);
    fs::write(root.join("file"), "one").unwrap();
    let one = snapshot(&home, &["first note", "--tag", "a", "--tag", "b"]);
    fs::write(root.join("file"), "two").unwrap();
    let two = snapshot(&home, &[]);
    let before = history(&home);
    assert_eq!(texts(&before, "id"), [two.as_str(), &one]);
    assert_eq!(before[0]["parent"], one.as_str());
    assert_eq!(before[1]["tags"], serde_json::json!(["a", "b"]));
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(history(&home), before);
    kill_daemon(&home);
    assert_eq!(history(&home), before);
    assert_eq!(home.weald(&["info", "ws", "--json"]).json()["snapshots"], Value::from(before));
    home.weald(&["restore", &format!("ws@{one}")]).ok();
    assert_eq!(read(root.join("file")), "one");
    kill_daemon(&home);
    assert_eq!(read(root.join("file")), "one");
    home.weald(&["undo", "ws"]).ok();
    assert_eq!(read(root.join("file")), "two");
}

#[test]
fn two_restores_at_once_leave_one_of_both_states_whole() {
    let home = Home::new();
    let root = empty(&home);
    let write = |text: &str| {
        for number in 0..200 {
            fs::write(root.join(format!("{number}")), text).unwrap();
        }
    };
    write("one");
    snapshot(&home, &["--tag", "one"]);
    write("two");
    snapshot(&home, &["--tag", "two"]);
    for _ in 0..5 {
        let both = ["ws@one", "ws@two"]
            .map(|state| home.command().args(["restore", state]).stdout(Stdio::null()).spawn().unwrap());
        for mut child in both {
            assert!(child.wait().unwrap().success());
        }
        let first = read(root.join("0"));
        for number in 0..200 {
            assert_eq!(read(root.join(format!("{number}"))), first);
        }
    }
    assert_eq!(home.weald(&["diff", "ws@one", "ws@two", "--json"]).json()["totals"]["modified"], 200);
}

#[test]
fn the_kill_of_the_daemon_during_a_restore_leaves_one_of_both_states_whole() {
    let home = Home::new();
    let root = empty(&home);
    let write = |text: &str| {
        for number in 0..200 {
            fs::write(root.join(format!("{number}")), text).unwrap();
        }
    };
    write("old");
    snapshot(&home, &["--tag", "old"]);
    write("new");
    fs::write(root.join("later"), "").unwrap();
    let end = snapshot(&home, &["--tag", "new"]);
    for delay in 0..12 {
        let mut command = home.command();
        command.args(["restore", if delay % 2 == 0 { "ws@old" } else { "ws@new" }]);
        let mut restore = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        kill_daemon(&home);
        restore.wait().unwrap();
        let first = read(root.join("0"));
        assert_eq!(root.join("later").exists(), first == "new", "after {delay} ms");
        for number in 0..200 {
            assert_eq!(read(root.join(format!("{number}"))), first, "after {delay} ms");
        }
    }
    assert!(texts(&history(&home), "id").contains(&end.as_str()));
}

#[test]
fn a_restore_while_programs_write_is_whole_and_they_go_on() {
    let home = Home::new();
    let root = empty(&home);
    fs::create_dir(root.join("tree")).unwrap();
    for number in 0..300 {
        fs::write(root.join(format!("tree/{number}")), "old").unwrap();
    }
    snapshot(&home, &["--tag", "old"]);
    let writer = Command::new("sh")
        .args(["-c", "i=0; while [ ! -e stop ]; do i=$((i+1)); echo $i > other/$i 2>/dev/null; \
                      mv other/$i other/moved 2>/dev/null; ls -lR tree > /dev/null; mkdir -p other; done; echo ended"])
        .current_dir(&root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for round in 0..5 {
        for number in 0..300 {
            fs::write(root.join(format!("tree/{number}")), format!("new {round}")).unwrap();
        }
        fs::remove_file(root.join("tree/7")).unwrap();
        home.weald(&["restore", "ws@old", "tree"]).ok();
        for number in 0..300 {
            assert_eq!(read(root.join(format!("tree/{number}"))), "old", "round {round}");
        }
    }
    fs::write(root.join("stop"), "").unwrap();
    let output = writer.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"ended\n");
    // What the kernel shows is what is kept.
    let shown = home.run(&root, "find . | sort; cat tree/*").ok();
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(home.run(&root, "find . | sort; cat tree/*").ok(), shown);
}

#[test]
fn there_is_nothing_to_undo_in_a_fresh_workspace() {
    let home = Home::new();
    let root = of_repo(&home);
    assert!(home.weald(&["undo", "ws"]).fault("W0033").err.contains("weald history ws"));
    home.weald(&["redo", "ws"]).fault("W0033");
    fs::write(root.join("a.txt"), "changed").unwrap();
    home.weald_in(&root, &["undo"]).ok();
    assert_eq!(read(root.join("a.txt")), "one\ntwo\n");
    // A change after an undo ends what could be redone.
    fs::write(root.join("a.txt"), "otherwise").unwrap();
    home.weald(&["redo", "ws"]).fault("W0033");
}

#[test]
fn a_look_with_git_ends_no_redo_and_is_no_step_to_undo() {
    let home = Home::new();
    let root = of_repo(&home);
    let pause = || std::thread::sleep(std::time::Duration::from_millis(2200));
    // That git did write its index is a part of the test.
    let look = || {
        let before = fs::read(root.join(".git/index")).unwrap();
        home.run(&root, "git status").ok();
        assert_ne!(fs::read(root.join(".git/index")).unwrap(), before);
    };
    let changed = |is| assert_eq!(read(root.join("a.txt")) == "changed", is);
    pause();
    fs::write(root.join("a.txt"), "changed").unwrap();
    home.weald(&["undo", "ws"]).ok();
    look();
    pause();
    fs::write(root.join(".git/index.tmp"), fs::read(root.join(".git/index")).unwrap()).unwrap();
    home.weald(&["redo", "ws"]).fault("W0033");
    fs::remove_file(root.join(".git/index.tmp")).unwrap();
    changed(false);
    // The same index, and nothing else.
    home.weald(&["redo", "ws"]).ok();
    changed(true);
    pause();
    look();
    home.weald(&["undo", "ws"]).ok();
    changed(false);
    look();
    home.weald(&["redo", "ws"]).ok();
    changed(true);
    home.weald(&["undo", "ws"]).ok();
    home.run(&root, "git rm --cached -q a.txt").ok();
    home.weald(&["redo", "ws"]).fault("W0033");
    home.weald(&["undo", "ws"]).ok();
    assert_eq!(home.run(&root, "git status --porcelain").ok(), "");
}

#[test]
fn a_removed_workspace_has_a_snapshot_of_its_end() {
    let home = Home::new();
    let root = empty(&home);
    fs::write(root.join("file"), "last words").unwrap();
    home.weald(&["remove", "ws"]).ok();
    home.weald(&["trash", "restore", "ws"]).ok();
    let list = history(&home);
    assert_eq!(list[0]["occasion"], "before-remove");
    fs::remove_file(root.join("file")).unwrap();
    home.weald(&["restore", "ws@1"]).ok();
    assert_eq!(read(root.join("file")), "last words");
}

#[test]
fn a_workspace_that_is_not_mounted_has_its_history_all_the_same() {
    let home = Home::new();
    let root = empty(&home);
    fs::write(root.join("file"), "old").unwrap();
    snapshot(&home, &["--tag", "old"]);
    fs::write(root.join("file"), "new").unwrap();
    home.weald(&["unmount", "ws"]).ok();
    snapshot(&home, &["--tag", "idle"]);
    assert_eq!(history(&home).len(), 2);
    assert_eq!(home.weald(&["diff", "ws@old", "--json"]).json()["totals"]["modified"], 1);
    home.weald(&["restore", "ws@old"]).ok();
    home.weald(&["mount", "ws"]).ok();
    assert_eq!(read(root.join("file")), "old");
}

#[test]
fn a_restore_reaches_listings_and_names_that_many_programs_have_cached() {
    let home = Home::new();
    let root = empty(&home);
    for dir in 0..20 {
        fs::create_dir(root.join(format!("d{dir}"))).unwrap();
        for file in 0..50 {
            fs::write(root.join(format!("d{dir}/f{file}")), "old").unwrap();
        }
    }
    snapshot(&home, &[]);
    for dir in 0..20 {
        for file in 0..50 {
            let path = root.join(format!("d{dir}/f{file}"));
            match file % 3 {
                0 => fs::remove_file(&path).unwrap(),
                1 => fs::rename(&path, root.join(format!("d{dir}/g{file}"))).unwrap(),
                _ => fs::write(&path, "other").unwrap(),
            }
        }
    }
    let look = "ls -lR; cat */* | md5sum; for i in 0 3 6; do test -e d1/f$i; done";
    home.run(&root, look);
    home.weald(&["restore", "ws@1"]).ok();
    for dir in 0..20 {
        assert_eq!(names(&root.join(format!("d{dir}"))).len(), 50);
        for file in 0..50 {
            assert_eq!(read(root.join(format!("d{dir}/f{file}"))), "old");
            assert!(!root.join(format!("d{dir}/g{file}")).exists());
        }
    }
}

#[test]
fn on_a_full_disk_a_restore_is_refused_whole_and_works_once_there_is_room() {
    let home = Home::new();
    let options = Some(c"size=24m,mode=0700");
    rustix::mount::mount("weald-test", home.home(), "tmpfs", MountFlags::empty(), options).unwrap();
    let root = empty(&home);
    for number in 0..50 {
        fs::write(root.join(format!("{number}")), "old").unwrap();
    }
    snapshot(&home, &["--tag", "old"]);
    for number in 0..50 {
        fs::write(root.join(format!("{number}")), "new").unwrap();
    }
    let filler = home.home().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 1 << 12]).is_ok() {}
    // What the log has in reserve goes first, then the rest of its last page.
    for note in ["x".repeat(16 << 10), String::new()] {
        let refused = (0..1000).map(|_| home.weald(&["snapshot", "ws", &note])).find(|said| said.code != 0);
        refused.expect("the disk is full").fault("W0013");
    }
    for command in [["restore", "ws@old"], ["undo", "ws"]] {
        home.weald(&command).fault("W0013");
        for number in 0..50 {
            assert_eq!(read(root.join(format!("{number}"))), "new");
        }
    }
    // Its blocks are free only when it is closed, too.
    drop(file);
    fs::remove_file(&filler).unwrap();
    home.weald(&["restore", "ws@old"]).ok();
    for number in 0..50 {
        assert_eq!(read(root.join(format!("{number}"))), "old");
    }
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(read(root.join("7")), "old");
    home.signal_daemon(rustix::process::Signal::TERM);
    rustix::mount::unmount(home.home(), UnmountFlags::DETACH).unwrap();
}
