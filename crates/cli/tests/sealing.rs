//! Snapshots are sealed by themselves, and what is sealed is proved.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use serde_json::Value;
use std::os::unix::fs::FileExt;
use support::{Home, wait_for};

/// A workspace of a plain directory with a megabyte in it.
fn worked_in() -> Home {
    let home = Home::new();
    let source = home.path().join("user/plain");
    std::fs::create_dir(&source).unwrap();
    home.weald(&["create", source.to_str().unwrap(), "w"]).ok();
    home.run(&home.at("w"), "echo small > small; dd if=/dev/urandom of=large bs=1M count=1 status=none").ok();
    home
}

fn history(home: &Home) -> Vec<Value> {
    home.weald(&["history", "w", "--json"]).json().as_array().unwrap().clone()
}

fn wait_until_sealed(home: &Home) {
    wait_for("all to be sealed", || history(home).iter().all(|one| one["state"] == "sealed"));
}

#[test]
fn a_snapshot_is_sealed_by_itself_and_its_root_is_computed_again() {
    let home = worked_in();
    home.weald(&["snapshot", "w", "one"]).ok();
    let taken = &history(&home)[0];
    assert!(taken["state"] == "sealed" || taken["root"].is_null(), "{taken}");
    wait_until_sealed(&home);
    let sealed = &history(&home)[0];
    assert_eq!(sealed["root"].as_str().unwrap().len(), 64);
    assert!(home.weald(&["history", "w"]).ok().contains("sealed"));
    home.run(&home.at("w"), "echo more >> large").ok();
    home.weald(&["snapshot", "w", "two"]).ok();
    wait_until_sealed(&home);
    let found = home.weald(&["verify", "--all", "--json"]).json();
    assert_eq!((&found["ok"], &found["checked_roots"]), (&true.into(), &2.into()), "{found}");
    let log = home.weald(&["log", "w", "--json"]).ok();
    assert_eq!(log.matches("\"seal\"").count(), 2, "{log}");
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(history(&home)[1]["root"], sealed["root"], "it stays sealed");
    let found = home.weald(&["verify", "w", "--json"]).json();
    assert_eq!((&found["ok"], &found["checked_roots"]), (&true.into(), &2.into()), "{found}");
}

#[test]
fn nothing_is_sealed_while_the_setting_is_off_and_all_is_once_it_is_on() {
    let home = worked_in();
    home.weald(&["config", "snapshots.seal", "off"]).ok();
    home.weald(&["snapshot", "w", "one"]).ok();
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(history(&home)[0]["state"], "taken");
    home.weald(&["config", "snapshots.seal", "on"]).ok();
    wait_until_sealed(&home);
}

#[test]
fn a_flipped_bit_in_what_a_snapshot_was_sealed_as_is_named_and_the_workspace_opens() {
    let home = worked_in();
    home.weald(&["snapshot", "w", "one"]).ok();
    wait_until_sealed(&home);
    home.weald(&["daemon", "stop"]).ok();
    let files = std::fs::read_dir(home.home().join("chunks")).unwrap().flatten().map(|file| file.path());
    let packs: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "wp")).collect();
    assert!(!packs.is_empty());
    // What says where content was moved to may have a pack of its own, of a few hundred bytes.
    for path in packs {
        let middle = std::fs::metadata(&path).unwrap().len() / 2;
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 4], middle).unwrap();
        let found = home.weald(&["verify", "--all", "--json"]);
        assert_eq!(found.code, 1, "{found:?}");
        assert!(found.out.contains(path.to_str().unwrap()), "{found:?}");
    }
    assert_eq!(std::fs::read_to_string(home.at("w").join("small")).unwrap(), "small\n");
}
