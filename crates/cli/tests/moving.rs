//! What was sealed is kept once, whoever wrote it, and its space comes back when nobody needs it.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use support::{Home, wait_for};

const MEGABYTE: u64 = 1 << 20;

/// Bytes of disk below a directory.
fn disk_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let each = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    });
    each.sum()
}

/// A workspace of an empty directory.
fn create(home: &Home, name: &str) {
    let source = home.path().join("user").join(format!("{name}-source"));
    std::fs::create_dir(&source).unwrap();
    home.weald(&["create", source.to_str().unwrap(), name]).ok();
}

fn sums(home: &Home, name: &str) -> String {
    home.run(&home.at(name), "find . -type f | sort | xargs sha256sum").ok()
}

fn plan(home: &Home) -> Value {
    home.weald(&["gc", "plan", "--json"]).json()
}

fn run(home: &Home, plan: &Value) {
    home.weald(&["gc", "run", plan["id"].as_str().unwrap()]).ok();
}

fn remove_for_good(home: &Home, name: &str) {
    home.weald(&["remove", name]).ok();
    home.weald(&["trash", "empty"]).ok();
}

#[test]
fn equal_output_of_two_workspaces_takes_its_space_once_and_gives_it_back_with_the_last() {
    let home = Home::new();
    let (logs, chunks) = (home.home().join("logs"), home.home().join("chunks"));
    create(&home, "a");
    create(&home, "b");
    let build = "for i in $(seq 50); do dd if=/dev/urandom of=out-$i bs=1M count=1 status=none; done";
    home.run(&home.at("a"), build).ok();
    home.run(&home.at("b"), &format!("cp {}/out-* .", home.at("a").display())).ok();
    let before = sums(&home, "a");
    assert_eq!(before, sums(&home, "b"));
    assert!(disk_bytes(&logs) > 100 * MEGABYTE, "each has its own");
    home.weald(&["snapshot", "a"]).ok();
    home.weald(&["snapshot", "b"]).ok();
    wait_for("the logs to have given back what was sealed", || disk_bytes(&logs) < 4 * MEGABYTE);
    let kept = disk_bytes(&chunks);
    assert!((50 * MEGABYTE..54 * MEGABYTE).contains(&kept), "{kept} bytes of chunks");
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(sums(&home, "a"), before);
    assert_eq!(sums(&home, "b"), before);
    let found = home.weald(&["verify", "--all", "--json"]).json();
    assert_eq!(found["ok"], true, "{found}");
    remove_for_good(&home, "a");
    run(&home, &plan(&home));
    assert!(disk_bytes(&chunks) >= 50 * MEGABYTE, "the other has it");
    assert_eq!(sums(&home, "b"), before);
    remove_for_good(&home, "b");
    let last = plan(&home);
    assert!(last["freed_bytes"].as_u64().unwrap() >= 50 * MEGABYTE, "{last}");
    run(&home, &last);
    assert!(disk_bytes(&chunks) < MEGABYTE);
    assert_eq!(plan(&home)["items"].as_array().unwrap().len(), 0);
}

/// A pack whose index is damaged is named by doctor, and what was moved into it by verify; the rest can be read.
#[test]
fn a_damaged_pack_is_named_and_everything_else_can_be_read() {
    let home = Home::new();
    let (logs, chunks) = (home.home().join("logs"), home.home().join("chunks"));
    create(&home, "w");
    home.run(&home.at("w"), "echo small > small; dd if=/dev/urandom of=large bs=1M count=4 status=none").ok();
    home.weald(&["snapshot", "w", "one"]).ok();
    wait_for("it to be moved", || disk_bytes(&logs) < MEGABYTE && disk_bytes(&chunks) > 4 * MEGABYTE);
    let info = home.weald(&["info", "w", "--json"]).json();
    assert!(info["store"]["chunk_bytes"].as_u64().unwrap() >= 4_000_000, "{info}");
    home.weald(&["daemon", "stop"]).ok();
    let packs = std::fs::read_dir(&chunks).unwrap().flatten().map(|file| file.path());
    let largest = packs.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let near_end = bytes.len() - 60;
    bytes[near_end] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    let doctor = home.weald(&["doctor"]);
    assert!(doctor.out.contains(largest.to_str().unwrap()), "{doctor:?}");
    let verify = home.weald(&["verify", "w"]);
    assert_eq!(verify.code, 1, "{verify:?}");
    assert!(verify.out.contains("was moved to the store of chunks"), "{verify:?}");
    assert_eq!(std::fs::read_to_string(home.at("w").join("small")).unwrap(), "small\n");
    assert!(std::fs::read(home.at("w").join("large")).is_err(), "nothing wrong is served");
}

#[test]
fn moved_content_comes_back_by_restore_and_goes_with_its_snapshot() {
    let home = Home::new();
    let (logs, chunks) = (home.home().join("logs"), home.home().join("chunks"));
    create(&home, "w");
    for (key, value) in [("history.window", "0s"), ("snapshots.automatic", "false")] {
        home.weald(&["config", key, value]).ok();
    }
    home.run(&home.at("w"), "dd if=/dev/urandom of=file bs=1M count=8 status=none").ok();
    let one = home.weald(&["snapshot", "w", "one", "--json"]).json()["id"].as_str().unwrap().to_owned();
    wait_for("it to be moved", || disk_bytes(&logs) < MEGABYTE && disk_bytes(&chunks) > 8 * MEGABYTE);
    let kept = sums(&home, "w");
    home.run(&home.at("w"), "dd if=/dev/urandom of=file bs=1M count=8 status=none").ok();
    let second = sums(&home, "w");
    home.weald(&["restore", &format!("w@{one}")]).ok();
    assert_eq!(sums(&home, "w"), kept, "what was moved comes back");
    home.weald(&["undo", "w"]).ok();
    assert_eq!(sums(&home, "w"), second);
    assert_eq!(home.weald(&["verify", "w", "--json"]).json()["ok"], true);
}
