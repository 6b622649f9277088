//! `weald log` as a user has it: who did what, when, to which path, through the mount and from outside.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use support::{Home, wait_for};

/// A home with one workspace `w` of a repository.
fn with_workspace() -> Home {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home
}

/// The lines of `weald log --json`.
fn log(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let all = [&["log", "w", "--json"], arguments].concat();
    home.weald(&all).ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or("-")
}

/// `operation path to` of each line.
fn told(lines: &[Value]) -> Vec<String> {
    let one =
        |line: &Value| format!("{} {} {}", text(line, "operation"), text(line, "path"), text(line, "to"));
    lines.iter().map(one).collect()
}

#[test]
fn every_write_through_the_mount_is_in_the_log_with_its_program() {
    // Lesson: audit claims that did not cover writes made through the mount.
    let home = with_workspace();
    let before = log(&home, &[]).len();
    let script = r#"
        mkdir new; echo one > new/file; cp new/file new/copy; mv new/copy new/moved; ln new/moved hard; ln -s a sym
        chmod 600 new/file; chown 1:2 new/file; truncate -s 3 new/file; touch -d '2001-01-01' new/file
        setfattr -n user.k -v v new/file; setfattr -x user.k new/file; fallocate -l 9999 new/file; mkfifo pipe
        fallocate -p -o 0 -l 4096 new/file; rm hard; rmdir empty 2>/dev/null || mkdir empty; rmdir empty
        dd if=/dev/zero of=direct bs=4096 count=2 oflag=direct status=none; mv src moved-src; echo x >> moved-src/main.rs
        python3 -c "
import mmap, os
f = open('mapped', 'w+b'); f.truncate(8192); m = mmap.mmap(f.fileno(), 8192); m[0:5] = b'hello'; m.flush(); m.close()
os.rename('mapped', 'mapped2')
"
    "#;
    home.run(&home.at("w"), script).ok();
    let lines = log(&home, &[]).split_off(before);
    let told = told(&lines);
    for expected in [
        "mkdir new -",
        "create new/file -",
        "write new/file -",
        "create new/copy -",
        "copy new/file new/copy",
        "rename new/copy new/moved",
        "link new/moved hard",
        "symlink sym -",
        "chmod new/file -",
        "chown new/file -",
        "truncate new/file -",
        "utimes new/file -",
        "setxattr new/file -",
        "removexattr new/file -",
        "allocate new/file -",
        "punch new/file -",
        "mknod pipe -",
        "unlink hard -",
        "mkdir empty -",
        "rmdir empty -",
        "write direct -",
        "rename src moved-src",
        "write moved-src/main.rs -",
        "truncate mapped -",
        "write mapped -",
        "rename mapped mapped2",
    ] {
        assert!(told.iter().any(|line| line == expected), "{expected} is missing in {told:#?}");
    }
    let program = |wanted: &str| {
        let at = told.iter().position(|line| line == wanted).unwrap();
        text(&lines[at], "program").to_owned()
    };
    let programs =
        ["create new/copy -", "write direct -", "chmod new/file -", "mkdir new -", "write new/file -"];
    assert_eq!(programs.map(program), ["cp", "dd", "chmod", "mkdir", "sh"]);
    for line in &lines {
        // What the kernel writes back later is nobody's any more; everything else is somebody's.
        let is_known = line["pid"].as_u64().unwrap() > 0 && !line["program"].is_null();
        assert!(is_known || text(line, "path") == "mapped", "{line}");
        assert!(line["uid"] == 0 && text(line, "time").ends_with('Z'), "{line}");
    }
    let records: Vec<u64> = lines.iter().map(|line| line["record"].as_u64().unwrap()).collect();
    assert!(records.is_sorted_by(|a, b| a < b));
}

#[test]
fn what_was_logged_survives_restart_and_goes_on_in_forks_with_their_own_log() {
    let home = with_workspace();
    home.run(&home.at("w"), "mkdir d; echo 1 > d/one").ok();
    let before = log(&home, &[]);
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(log(&home, &[]), before);
    home.weald(&["fork", "w", "f"]).ok();
    home.run(&home.at("f"), "echo 2 >> d/one; mv d e; echo 3 >> e/one").ok();
    let fork = home.weald(&["log", "f", "--json"]).ok();
    let lines: Vec<Value> = fork.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told(&lines), ["begin - -", "write d/one -", "rename d e", "write e/one -"]);
    assert!(text(&lines[0], "detail").starts_with("fork of "), "{fork}");
    assert_eq!(told(&log(&home, &["--op", "fork"])), ["fork - -"]);
}

#[test]
fn lines_are_filtered_by_path_program_operation_time_and_number() {
    let home = with_workspace();
    home.run(&home.at("w"), "mkdir a ab; echo x > a/f; echo y > ab/f; cp a/f a/g; mv ab/f a/h; rm a/g").ok();
    let of_a = told(&log(&home, &["--path", "a"]));
    assert_eq!(of_a.first().unwrap(), "mkdir a -");
    assert!(
        of_a.contains(&"rename ab/f a/h".to_owned()) && !of_a.contains(&"mkdir ab -".to_owned()),
        "{of_a:?}"
    );
    assert_eq!(of_a, told(&log(&home, &["--path", home.at("w").join("a/").to_str().unwrap()])));
    let inside = home.weald_in(&home.at("w").join("a"), &["log", "--json", "--path", "h"]).ok();
    assert_eq!(inside.lines().count(), 1, "{inside}");
    assert_eq!(told(&log(&home, &["--program", "cp", "--op", "create"])), ["create a/g -"]);
    assert_eq!(told(&log(&home, &["--op", "unlink", "--path", "a"])), ["unlink a/g -"]);
    let all = log(&home, &[]);
    for limit in [1, 3, 1000] {
        let last = log(&home, &["--limit", &limit.to_string()]);
        assert_eq!(last, all[all.len().saturating_sub(limit)..], "{limit}");
    }
    let since = text(&all[all.len() - 3], "time");
    assert_eq!(log(&home, &["--since", since]), all[all.len() - 3..]);
    assert_eq!(log(&home, &["--until", since]), all[..all.len() - 2]);
    assert_eq!(log(&home, &["--since", "1h ago"]), all);
    assert_eq!(log(&home, &["--until", "1h ago"]), Vec::<Value>::new());
    home.weald(&["log", "w", "--since", "the other day"]).fault("W0020");
    let said = home.weald(&["log", "w", "--op", "eat"]).fault("W0020");
    assert!(said.err.contains("unlink"), "{said:?}");
    home.weald(&["log", "nobody"]).fault("W0009");
}

#[test]
fn paths_are_right_after_a_restore_and_operations_can_be_gone_back_to() {
    let home = with_workspace();
    home.run(&home.at("w"), "mkdir d; echo 1 > d/one; mv d e").ok();
    let rename = log(&home, &["--op", "rename", "--path", "e"]).pop().unwrap()["record"].as_u64().unwrap();
    home.weald(&["restore", &format!("w@{{op {}}}", rename - 1)]).ok();
    home.run(&home.at("w"), "echo 2 >> d/one").ok();
    let lines = told(&log(&home, &["-n", "2"]));
    assert_eq!(lines, ["restore - -", "write d/one -"]);
    assert!(log(&home, &["--op", "snapshot"]).len() == 1);
}

#[test]
fn following_shows_what_comes_and_ends_when_the_workspace_goes() {
    let home = with_workspace();
    let mut command = home.command();
    command.args(["log", "w", "--follow", "--json", "--path", "seen"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for n in 0..3 {
        home.run(&home.at("w"), &format!("echo {n} >> unseen; echo {n} >> seen")).ok();
        // The first time it is created, too.
        for _ in 0..if n == 0 { 2 } else { 1 } {
            line.clear();
            lines.read_line(&mut line).unwrap();
            assert!(line.contains("\"path\":\"seen\""), "{line}");
        }
    }
    home.weald(&["unmount", "w"]).ok();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_ends_the_following() {
    let home = with_workspace();
    let line = format!("'{}' log w --follow | head -n 1", env!("CARGO_BIN_EXE_weald"));
    let writer = home.at("w").join("beat");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for("the pipe to end", || {
                std::fs::write(&writer, b"x").unwrap();
                done.load(std::sync::atomic::Ordering::SeqCst)
            });
        });
        let out = home.run(home.path(), &line).ok();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(out.lines().count(), 1, "{out}");
    });
}

#[test]
fn a_log_as_text_is_one_line_for_each_operation() {
    let home = with_workspace();
    home.run(&home.at("w"), "printf hello > 'with\x1bescape'; printf 12345 >> a.txt").ok();
    let text = home.weald(&["log", "w", "-n", "1"]).ok();
    let fields: Vec<&str> = text.split_whitespace().collect();
    assert!(fields[3].starts_with("sh[") && fields[4..] == ["0", "write", "a.txt", "5", "at", "8"], "{text}");
    let text = home.weald(&["log", "w"]).ok();
    assert!(!text.contains('\x1b') && text.contains("escape"), "{text}");
}
