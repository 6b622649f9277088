//! A disk without room, and what to do about it: gc works there, and what was refused works again once there is room.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use rustix::mount::{MountFlags, UnmountFlags};
use std::fs::{self, File};
use std::io::Write;
use support::Home;
use support::disk::Disk;

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

/// Writes until there is no room, and gives what was written.
fn fill_up(path: &std::path::Path) -> u64 {
    let mut file = File::create(path).unwrap();
    let mut written = 0;
    loop {
        match file.write(&noise(written)) {
            Ok(bytes) => written += bytes as u64,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()), "{error}");
                return written;
            }
        }
    }
}

#[test]
fn on_a_full_disk_programs_are_told_at_once_and_reading_and_taking_away_go_on() {
    let home = Home::new();
    let disk = Disk::below(&home, "ext4", 48);
    fs::create_dir(home.path().join("user/plain")).unwrap();
    for name in ["ws", "other"] {
        home.weald(&["create", "user/plain", name]).ok();
    }
    for (key, value) in [("history.window", "0s"), ("snapshots.automatic", "false")] {
        home.weald(&["config", key, value]).ok();
    }
    let ws = home.at("ws");
    fs::create_dir(ws.join("many")).unwrap();
    for number in 0..500 {
        fs::write(ws.join(format!("many/file-{number}")), format!("{number}")).unwrap();
    }
    fs::write(home.at("other").join("kept"), "kept").unwrap();
    assert!(fill_up(&ws.join("big")) > 8 << 20);
    // To the last block: what is smaller than that still fits, for a while.
    let refused =
        (0..100_000).find_map(|number| fs::write(ws.join(format!("more-{number}")), [7; 3000]).err());
    assert_eq!(refused.unwrap().raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()));
    // And what the log wrote ahead of itself.
    let small = File::options().append(true).open(ws.join("more-0")).unwrap();
    let refused = (0..1_000_000).find_map(|_| (&small).write_all(b"x").err());
    assert_eq!(refused.unwrap().raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()));
    // Again, since the first may have found room that a failed write gave back.
    assert!((0..50).all(|_| fs::write(ws.join("more"), [7; 3000]).is_err()));
    for number in 0..500 {
        let path = ws.join(format!("many/file-{number}"));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{number}"));
        fs::remove_file(path).unwrap();
    }
    fs::remove_dir(ws.join("many")).unwrap();
    File::options().write(true).open(ws.join("big")).unwrap().set_len(0).unwrap();
    fs::remove_file(ws.join("big")).unwrap();
    assert_eq!(fs::read_to_string(home.at("other").join("kept")).unwrap(), "kept");
    home.weald(&["remove", "other", "--force"]).ok();
    let plan = home.weald(&["gc", "plan", "--json"]).json();
    let run = home.weald(&["gc", "run", plan["id"].as_str().unwrap(), "--json"]).json();
    assert!(run["freed_bytes"].as_u64().unwrap() > 4 << 20, "{run}");
    fs::write(ws.join("again"), noise(5)).unwrap();
    home.weald(&["snapshot", "ws"]).ok();
    home.weald(&["trash", "restore", "other"]).ok();
    home.weald(&["daemon", "restart"]).ok();
    assert!(fs::read(ws.join("again")).unwrap() == noise(5) && !ws.join("many").exists());
    assert_eq!(fs::read_to_string(home.at("other").join("kept")).unwrap(), "kept");
    assert_eq!(home.weald(&["verify", "--all", "--json"]).json()["ok"], true);
    drop(home);
    drop(disk);
}

/// A file system that found an error in itself takes no writes: that is told, reading goes on, and nothing is ended.
#[test]
fn a_disk_that_turns_read_only_refuses_changes_and_is_read_on() {
    let home = Home::new();
    let disk = Disk::below(&home, "ext4", 48);
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    let ws = home.at("ws");
    fs::write(ws.join("kept"), "kept").unwrap();
    home.run(&ws, "sync kept").ok();
    let daemon = home.daemon_pid();
    disk.refuse_writes();
    let refused = |outcome: std::io::Result<()>| {
        let error = outcome.expect_err("it cannot be kept").raw_os_error().unwrap();
        let allowed = [rustix::io::Errno::ROFS, rustix::io::Errno::IO].map(|errno| errno.raw_os_error());
        assert!(allowed.contains(&error), "{error}");
    };
    for number in 0..20 {
        refused(fs::write(ws.join(format!("new-{number}")), "lost"));
        refused(fs::remove_file(ws.join("kept")));
        refused(fs::rename(ws.join("a.txt"), ws.join("b.txt")));
        refused(fs::create_dir(ws.join("dir")));
    }
    for words in [["snapshot", "ws"].as_slice(), &["fork", "ws", "f"], &["create", "user/tool", "other"]] {
        assert_ne!(home.weald(words).code, 0, "{words:?}");
    }
    assert_eq!(fs::read_to_string(ws.join("kept")).unwrap(), "kept");
    assert_eq!(home.run(&ws, "cat a.txt src/main.rs > /dev/null; ls").ok().lines().count(), 5);
    assert_eq!(
        (home.weald(&["status", "--json"]).json()["crashes"].as_u64(), home.daemon_pid()),
        (Some(0), daemon)
    );
    let processes = home.processes();
    home.kill(processes);
    disk.power_on();
    assert_eq!(home.weald(&["list", "--json"]).json().as_array().unwrap().len(), 1);
    assert_eq!(fs::read_to_string(ws.join("kept")).unwrap(), "kept");
    fs::write(ws.join("new"), "new").unwrap();
    assert_eq!(home.weald(&["verify", "--all", "--json"]).json()["ok"], true);
    drop(home);
    drop(disk);
}
