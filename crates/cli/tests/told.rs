//! A daemon that is killed while it tells the kernel what a restore changed, and programs hold what the kernel needs for that.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use rustix::process::Signal;
use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::{Home, wait_for};

/// Names that differ between the two states, in one directory.
const NAMES: u32 = 400;
/// Programs that make and remove files there: each holds the directory's lock while it waits for the daemon.
const PROGRAMS: u32 = 6;
const KILLS: u64 = 12;

#[test]
fn a_daemon_that_is_killed_while_it_tells_the_kernel_of_a_restore_ends_and_programs_go_on() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let dir = home.at("w").join("many");
    fs::create_dir(&dir).unwrap();
    (0..NAMES).for_each(|name| fs::write(dir.join(format!("old-{name}")), "1").unwrap());
    home.weald(&["snapshot", "w", "one"]).ok();
    (0..NAMES).for_each(|name| {
        fs::rename(dir.join(format!("old-{name}")), dir.join(format!("new-{name}"))).unwrap();
    });
    home.weald(&["snapshot", "w", "two"]).ok();
    let (stop, made) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 0..PROGRAMS {
            let (path, stop, made) = (dir.join(format!("of-{number}")), &stop, &made);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // A restore may take the file, or the directory was not there yet: neither is an error of the mount.
                    if File::create(&path).is_ok() {
                        made.fetch_add(1, Ordering::Relaxed);
                        let _ = fs::remove_file(&path);
                    }
                }
            });
        }
        for kill in 0..KILLS {
            let before = home.daemon_pid();
            let target = format!("w@{}", 1 + kill % 2);
            let mut restore = home.command().args(["restore", &target]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(10 + 9 * kill));
            home.signal_daemon(Signal::KILL);
            wait_for("the next daemon", || home.daemon_pid() != before && home.has_daemon());
            restore.wait().unwrap();
            let since = made.load(Ordering::Relaxed);
            wait_for("the programs", || made.load(Ordering::Relaxed) > since + 10);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let found = fs::read_dir(&dir).unwrap().count() as u32;
    assert!((NAMES..=NAMES + PROGRAMS).contains(&found), "{found} names");
    assert_eq!(home.weald(&["verify", "w", "--json"]).json()["ok"], true);
}
