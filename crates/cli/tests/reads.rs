//! The log of reads as a user has it: off unless asked for, then every open for reading with its program.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use serde_json::Value;
use std::process::Stdio;
use support::{Home, wait_for};

fn with_workspace() -> Home {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home
}

/// `path program detail` of what was opened.
fn opened(home: &Home, workspace: &str) -> Vec<String> {
    let out = home.weald(&["log", workspace, "--json", "--op", "open"]).ok();
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or("-").to_owned();
    let one = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["pid"].as_u64().unwrap() > 0, "{line}");
        format!("{} {} {}", text(&line, "path"), text(&line, "program"), text(&line, "detail"))
    };
    out.lines().map(one).collect()
}

#[test]
fn reads_are_in_the_log_once_they_are_asked_for_and_only_then() {
    let home = with_workspace();
    let read = "cat a.txt >/dev/null; cat a.txt >/dev/null; echo new >> a.txt; ./run.sh; wc -l < src/main.rs";
    home.run(&home.at("w"), read).ok();
    assert!(opened(&home, "w").is_empty());
    let on = home.weald(&["log", "w", "--reads", "on", "--json"]).json();
    assert!(on["logs_reads"] == true && on["is_changed"] == true && on["in_force"] == true, "{on}");
    home.run(&home.at("w"), read).ok();
    // The shell reads the script that it executes.
    let expected =
        ["a.txt cat -", "a.txt cat -", "run.sh sh to execute", "run.sh run.sh -", "src/main.rs sh -"];
    assert_eq!(opened(&home, "w"), expected);
    let same = home.weald(&["log", "w", "--reads", "on", "--json"]).json();
    assert!(same["is_changed"] == false && same["in_force"] == true, "{same}");
    // A restart and a fork keep it, a restore does not end it, and reading is no step of undo.
    home.weald(&["daemon", "restart"]).ok();
    home.run(&home.at("w"), "cat link >/dev/null").ok();
    assert_eq!(opened(&home, "w").last().unwrap(), "a.txt cat -");
    home.weald(&["restore", "w@{op 3}"]).ok();
    home.run(&home.at("w"), "cat src/main.rs >/dev/null").ok();
    assert_eq!(opened(&home, "w").len(), 7);
    home.weald(&["undo", "w"]).ok();
    assert_eq!(std::fs::read_to_string(home.at("w").join("a.txt")).unwrap(), "one\ntwo\nnew\nnew\n");
    home.weald(&["fork", "w", "f"]).ok();
    home.run(&home.at("f"), "cat a.txt >/dev/null").ok();
    assert_eq!(opened(&home, "f"), ["a.txt cat -"]);
    // Off holds at once, whoever is in it.
    let before = opened(&home, "w").len();
    let off = home.weald_in(&home.at("w"), &["log", "--reads", "off", "--json"]).json();
    assert!(off["logs_reads"] == false && off["in_force"] == true, "{off}");
    home.run(&home.at("w"), read).ok();
    assert_eq!(opened(&home, "w").len(), before);
    let switches = home.weald(&["log", "w", "--op", "log-reads"]).ok();
    assert_eq!(switches.lines().count(), 2, "{switches}");
    home.weald(&["verify", "--all"]).ok();
}

#[test]
fn who_stands_in_a_workspace_keeps_it_and_is_told_when_reads_will_be_logged() {
    let home = with_workspace();
    home.run(&home.at("w"), "cat a.txt >/dev/null").ok();
    let mut inside = std::process::Command::new("sh");
    let inside = inside.args(["-c", "read line; cat a.txt"]).current_dir(home.at("w"));
    let mut inside = inside.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    wait_for("the shell to be in it", || {
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", inside.id()));
        cwd.is_ok_and(|cwd| cwd == home.at("w"))
    });
    let said = home.weald(&["log", "w", "--reads", "on"]).ok();
    assert!(said.contains("next mount") && said.contains("weald unmount w && weald mount w"), "{said}");
    drop(inside.stdin.take());
    let out = inside.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "one\ntwo\n");
    assert!(opened(&home, "w").is_empty());
    home.weald(&["unmount", "w"]).ok();
    home.weald(&["mount", "w"]).ok();
    home.run(&home.at("w"), "cat a.txt >/dev/null").ok();
    assert_eq!(opened(&home, "w"), ["a.txt cat -"]);
    let info = home.weald(&["info", "w"]).ok();
    assert!(info.contains("reads included"), "{info}");
}
