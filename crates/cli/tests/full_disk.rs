//! A disk without room, and what to do about it: gc works there, and what was refused works again once there is room.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use rustix::mount::{MountFlags, UnmountFlags};
use std::fs::{self, File};
use std::io::Write;
use support::Home;

const MEGABYTE: usize = 1 << 20;

/// Bytes that no file system stores in less space.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..MEGABYTE).map(step).collect()
}

/// A home on a disk of its own, small enough to be filled.
struct Small(Home);

impl Small {
    fn new() -> Self {
        let home = Home::new();
        let options = Some(c"size=24m,mode=0700");
        rustix::mount::mount("weald-test", home.home(), "tmpfs", MountFlags::empty(), options).unwrap();
        fs::create_dir(home.path().join("user/plain")).unwrap();
        home.weald(&["create", "user/plain", "ws"]).ok();
        for (key, value) in [("history.window", "0s"), ("snapshots.automatic", "false")] {
            home.weald(&["config", key, value]).ok();
        }
        Self(home)
    }

    /// Takes all room there is, to the last block, also what the log has in reserve.
    fn fill(&self) {
        let mut file = File::create(self.0.home().join("filler")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        for note in ["x".repeat(16 << 10), String::new()] {
            let refused =
                (0..1000).map(|_| self.0.weald(&["snapshot", "ws", &note])).find(|said| said.code != 0);
            refused.expect("the disk is full").fault("W0013");
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.home().join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.0.signal_daemon(rustix::process::Signal::TERM);
        let _ = rustix::mount::unmount(self.0.home(), UnmountFlags::DETACH);
    }
}

#[test]
fn gc_on_a_full_disk_makes_room_and_loses_nothing() {
    let small = Small::new();
    let home = &small.0;
    let big = home.at("ws").join("big");
    for round in 0..5 {
        fs::write(&big, noise(round)).unwrap();
        home.weald(&["snapshot", "ws", &format!("round {round}")]).ok();
    }
    small.fill();
    let plan = home.weald(&["gc", "plan", "--keep-last", "4", "--json"]).json();
    let run = home.weald(&["gc", "run", plan["id"].as_str().unwrap(), "--json"]).json();
    assert!(
        run["freed_bytes"].as_u64().unwrap() > 3_000_000 && run["refused"] == serde_json::json!([]),
        "{run}"
    );
    // Room for what is done next, and set aside again for the next time.
    fs::write(home.at("ws").join("after"), noise(9)).unwrap();
    home.weald(&["snapshot", "ws"]).ok();
    assert!(home.home().join("reserve").exists());
    small.make_room();
    for _ in 0..2 {
        assert!(
            fs::read(&big).unwrap() == noise(4) && fs::read(home.at("ws").join("after")).unwrap() == noise(9)
        );
        assert_eq!(home.weald(&["verify", "--all", "--json"]).json()["ok"], true);
        home.weald(&["daemon", "restart"]).ok();
    }
}

#[test]
fn the_trash_can_be_emptied_on_a_full_disk() {
    let small = Small::new();
    let home = &small.0;
    fs::create_dir(home.path().join("user/other")).unwrap();
    home.weald(&["create", "user/other", "gone"]).ok();
    fs::write(home.at("gone").join("big"), noise(1)).unwrap();
    home.weald(&["remove", "gone", "--force"]).ok();
    small.fill();
    let emptied = home.weald(&["trash", "empty", "--json"]).json();
    assert_eq!(emptied["removed"], serde_json::json!(["gone"]));
    home.weald(&["snapshot", "ws"]).ok();
}
