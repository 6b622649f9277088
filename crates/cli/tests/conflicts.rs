//! Who changes the same lines is told while it happens.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use support::Home;

fn scene(home: &Home) -> std::path::PathBuf {
    let repo = home.repo("tool");
    home.run(&repo, "seq 1 50 > lines; git add .; git commit -q -m lines").ok();
    for name in ["a", "b", "c"] {
        home.weald(&["create", repo.to_str().unwrap(), name]).ok();
    }
    repo
}

/// Pairs with their conflicting paths, `-` for a branch.
fn conflicts(report: &Value) -> Vec<String> {
    let pairs = report["pairs"].as_array().unwrap().iter();
    let pairs = pairs.filter(|pair| !pair["conflicts"].as_array().unwrap().is_empty());
    let text = |pair: &Value| {
        let paths: Vec<_> =
            pair["conflicts"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
        format!(
            "{} {} {}",
            pair["one"].as_str().unwrap(),
            pair["other"].as_str().unwrap_or("-"),
            paths.join(",")
        )
    };
    pairs.map(text).collect()
}

#[test]
fn pairs_that_change_the_same_lines_are_told_and_nothing_is_changed() {
    let home = Home::new();
    let repo = scene(&home);
    let none = home.weald(&["conflicts", "--json"]).json();
    assert_eq!(none["workspaces"].as_array().unwrap().len(), 3);
    assert!(none["pairs"].as_array().unwrap().is_empty());
    home.run(&home.at("a"), "sed -i 's/^3$/three/' lines; git commit -q -a -m three").ok();
    home.run(&home.at("b"), "sed -i 's/^3$/drei/' lines; echo b > new").ok();
    home.run(&home.at("c"), "sed -i 's/^40$/forty/' lines; echo c > new").ok();
    let state = "GIT_OPTIONAL_LOCKS=0 git status --porcelain; git log --format=%H; find .git -type f | sort";
    let before = home.run(&home.at("b"), state).ok();
    let said = home.weald(&["conflicts", "--json"]);
    assert_eq!(said.code, 1);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(conflicts(&report), ["a b lines", "b c new"]);
    // Of the same file, but lines apart.
    assert_eq!(report["pairs"].as_array().unwrap().len(), 3);
    assert_eq!(home.run(&home.at("b"), state).ok(), before);
    home.run(&repo, "sed -i 's/^40$/vierzig/' lines; git commit -q -a -m main").ok();
    let report: Value = serde_json::from_str(&home.weald(&["conflicts", "--json"]).out).unwrap();
    assert_eq!(conflicts(&report), ["a b lines", "b c new", "c - lines"]);
    let text = home.weald(&["conflicts"]).out;
    assert!(text.contains("branch main") && text.contains("new"), "{text}");
}

#[test]
fn a_workspace_with_conflicts_of_its_own_is_skipped_and_told() {
    let home = Home::new();
    scene(&home);
    home.run(
        &home.at("a"),
        "git switch -q -c other HEAD~1; echo x > lines; git add lines; git commit -q -m x",
    )
    .ok();
    assert_ne!(home.run(&home.at("a"), "git merge -q main").code, 0);
    let report = home.weald(&["conflicts", "--json"]).json();
    assert_eq!(report["skipped"][0]["name"], "a");
    assert_eq!(report["skipped"][0]["fault"]["code"], "W0050");
    assert_eq!(report["workspaces"].as_array().unwrap().len(), 2);
}

#[test]
fn a_conflict_is_told_when_it_comes_up_and_when_it_is_gone() {
    let home = Home::new();
    scene(&home);
    home.run(&home.at("a"), "sed -i 's/^3$/three/' lines").ok();
    let temporary = home.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = home.command();
    command.args(["conflicts", "--watch", "--json"]).stdout(Stdio::piped()).env("TMPDIR", &temporary);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |wanted: &[&str]| {
        loop {
            let report: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if conflicts(&report) == wanted {
                return;
            }
        }
    };
    until(&[]);
    home.run(&home.at("b"), "sed -i 's/^3$/drei/' lines").ok();
    until(&["a b lines"]);
    home.run(&home.at("a"), "git checkout -q lines").ok();
    until(&[]);
    assert!(temporary.read_dir().unwrap().count() > 0);
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(temporary.read_dir().unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_watch_ends_when_nobody_reads_it_any_more() {
    let home = Home::new();
    scene(&home);
    let mut command = home.command();
    let mut child = command.args(["conflicts", "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    home.run(&home.at("a"), "echo x > x").ok();
    support::wait_for("the watch to end", || child.try_wait().unwrap().is_some());
}

#[test]
fn what_a_killed_command_left_goes_with_the_next_one() {
    let home = Home::new();
    scene(&home);
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let left = home.path().join(format!("weald-git-{}-0", ended.id()));
    let others = home.path().join(format!("weald-git-{}-0", std::process::id()));
    for dir in [&left, &others] {
        std::fs::create_dir_all(dir.join("objects")).unwrap();
    }
    assert!(home.command().args(["promote", "a"]).env("TMPDIR", home.path()).status().unwrap().success());
    assert!(!left.exists() && others.exists());
}
