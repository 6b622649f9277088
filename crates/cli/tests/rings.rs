//! Workspaces over io_uring: who joins, what an upgrade and a killed daemon do to programs.
//!
//! The kernel's parameter is root's and holds for the whole machine. Where these tests may set it they do, one at a time, and
//! put it back; elsewhere they say that they tested nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::fs::FlockOperation;
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Home, wait_for};

const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";
/// What the kernel answers to a request that it gave to a daemon which was ending: ECANCELED; EFAULT or, where it would have
/// pinned the page, EINTR when a page of the daemon's was to be there for it first.
const NOT_BEGUN: [i32; 3] = [125, 14, 4];

/// The parameter set to Y, and put back.
struct Enabled {
    before: String,
    /// The parameter's file, locked: one test at a time.
    _alone: File,
}

impl Enabled {
    fn new() -> Option<Self> {
        let enabled = Self::set().ok();
        if enabled.is_none() {
            println!("not tested: {PARAMETER} cannot be set here");
        }
        enabled
    }

    fn set() -> io::Result<Self> {
        let alone = File::open(PARAMETER)?;
        rustix::fs::flock(&alone, FlockOperation::LockExclusive)?;
        let before = fs::read_to_string(PARAMETER)?;
        fs::write(PARAMETER, "Y")?;
        Ok(Self { before, _alone: alone })
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        let _ = fs::write(PARAMETER, self.before.trim());
    }
}

/// A home whose busy mounts join.
fn home() -> Home {
    let home = Home::new();
    fs::write(home.home().join("config.toml"), "[mount]\ntransport = \"io_uring\"\n").unwrap();
    home
}

fn joined(home: &Home) -> u64 {
    home.weald(&["status", "--json"]).json()["over_io_uring"].as_u64().unwrap()
}

/// Makes a workspace busy, so that it has joined.
fn make_busy(home: &Home, dir: &Path) {
    wait_for("the workspace to join", || {
        for number in 0..50 {
            let file = dir.join(format!("busy{number}"));
            fs::write(&file, "x").unwrap();
            fs::remove_file(file).unwrap();
        }
        joined(home) > 0
    });
}

/// Processor time of the thread that serves all queues of a daemon. See proc(5), `schedstat`.
fn gatherer_time(daemon: i32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{daemon}/task")).unwrap().map(|thread| thread.unwrap().path());
    let is_it = |thread: &PathBuf| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "weald-rings")
    };
    let Some(gatherer) = threads.into_iter().find(is_it) else { return Duration::ZERO };
    let spent = fs::read_to_string(gatherer.join("schedstat")).unwrap();
    Duration::from_nanos(spent.split(' ').next().unwrap().parse().unwrap())
}

/// One round of changes, each of which succeeds once; one that was not begun is made again.
fn round(dir: &Path, number: u32) -> io::Result<()> {
    let again = |mut change: Box<dyn FnMut() -> io::Result<()> + '_>| loop {
        match change() {
            Err(error) if error.raw_os_error().is_some_and(|number| NOT_BEGUN.contains(&number)) => {}
            outcome => return outcome,
        }
    };
    let (one, other, log) = (dir.join("one"), dir.join("other"), dir.join("log"));
    again(Box::new(|| fs::create_dir(&one)))?;
    again(Box::new(|| fs::rename(&one, &other)))?;
    let mut file = None;
    again(Box::new(|| {
        file = Some(File::options().append(true).create(true).open(&log)?);
        Ok(())
    }))?;
    let mut file = file.unwrap();
    again(Box::new(|| file.write_all(format!("{number}\n").as_bytes())))?;
    if number.is_multiple_of(7) {
        again(Box::new(|| file.sync_all()))?;
    }
    again(Box::new(|| fs::remove_dir(&other)))
}

/// Several at once are served by the threads of the CPUs, one alone by the gatherer.
const AT_ONCE: [usize; 2] = [4, 1];

/// Rounds in so many directories at once, while `disturb` runs; every one must have been carried out once.
fn work(dir: &Path, at_once: usize, disturb: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once)
            .map(|number| {
                let (dir, stop) = (dir.join(format!("{number}-of-{at_once}")), &stop);
                fs::create_dir(&dir).unwrap();
                scope.spawn(move || {
                    let mut number = 0;
                    while !stop.load(Ordering::Acquire) {
                        if let Err(error) = round(&dir, number) {
                            panic!("round {number} in {}: {error}", dir.display());
                        }
                        number += 1;
                    }
                    let expected: String = (0..number).map(|number| format!("{number}\n")).collect();
                    assert_eq!(fs::read_to_string(dir.join("log")).unwrap(), expected, "appended once each");
                    number
                })
            })
            .collect();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(disturb));
        stop.store(true, Ordering::Release);
        for worker in workers {
            assert!(worker.join().unwrap() > 0);
        }
        outcome.unwrap();
    });
}

#[test]
fn a_busy_workspace_is_served_over_io_uring_and_an_idle_one_is_not() {
    let Some(_enabled) = Enabled::new() else { return };
    let home = home();
    let repo = home.repo("source");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "idle"]).ok();
    assert_eq!(joined(&home), 0);
    make_busy(&home, &home.at("ws"));
    assert_eq!(joined(&home), 1);
    let big: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    fs::write(home.at("ws").join("big"), &big).unwrap();
    fs::copy(home.at("ws").join("big"), home.at("ws").join("copy")).unwrap();
    // Read by the kernel anew.
    let mapped = File::open(home.at("ws").join("copy")).unwrap();
    rustix::fs::fadvise(&mapped, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    drop(mapped);
    assert!(fs::read(home.at("ws").join("copy")).unwrap() == big);
    home.run(
        &home.at("ws"),
        "git add . && git commit -q -m more && git status --porcelain && git fsck --strict",
    )
    .ok();
    home.weald(&["fork", "ws", "fork"]).ok();
    home.weald(&["verify", "ws"]).ok();
    home.weald(&["remove", "ws"]).ok();
    assert_eq!(joined(&home), 0);
    home.weald(&["daemon", "stop"]).ok();
}

#[test]
fn a_workspace_whose_content_comes_from_another_does_not_join() {
    let Some(_enabled) = Enabled::new() else { return };
    let home = home();
    let repo = home.repo("source");
    home.weald(&["create", repo.to_str().unwrap(), "outer"]).ok();
    let inner = home.at("outer").join("inner.git");
    home.run(&home.at("outer"), "git clone -q --bare . inner.git").ok();
    home.weald(&["create", inner.to_str().unwrap(), "inner"]).ok();
    for number in 0..200 {
        let file = home.at("inner").join(format!("f{number}"));
        fs::write(&file, "x").unwrap();
        fs::remove_file(file).unwrap();
    }
    make_busy(&home, &home.at("outer"));
    assert_eq!(joined(&home), 1, "the outer one alone");
    home.run(&home.at("inner"), "cat a.txt src/main.rs && git status --porcelain").ok();
    home.weald(&["daemon", "stop"]).ok();
}

#[test]
fn an_upgrade_in_the_middle_of_work_over_io_uring_makes_no_change_twice() {
    let Some(_enabled) = Enabled::new() else { return };
    let home = home();
    let repo = home.repo("source");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    make_busy(&home, &home.at("ws"));
    for at_once in AT_ONCE {
        work(&home.at("ws"), at_once, || {
            for _ in 0..5 {
                std::thread::sleep(Duration::from_millis(100));
                home.weald(&["daemon", "restart", "--upgrade"]).ok();
            }
        });
    }
    assert_eq!(joined(&home), 1);
    home.weald(&["verify", "ws"]).ok();
    home.weald(&["daemon", "stop"]).ok();
}

#[test]
fn after_a_kill_over_io_uring_nobody_waits_and_no_change_is_made_twice() {
    let Some(_enabled) = Enabled::new() else { return };
    let kills = std::env::var("WEALD_KILLS").map_or(20, |text| text.parse().unwrap());
    let home = home();
    let repo = home.repo("source");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    make_busy(&home, &home.at("ws"));
    for at_once in AT_ONCE {
        let mut gathered = 0;
        work(&home.at("ws"), at_once, || {
            for number in 0..kills {
                let before = home.daemon_pid();
                std::thread::sleep(Duration::from_millis(number * 7919 % 13 * 10));
                gathered += u32::from(gatherer_time(before.unwrap()) > Duration::from_millis(2));
                home.signal_daemon(Signal::KILL);
                wait_for("the next daemon", || home.has_daemon() && home.daemon_pid() != before);
            }
        });
        assert!(at_once > 1 || gathered > 0, "one alone was never served by the gatherer");
    }
    assert_eq!(joined(&home), 1);
    home.weald(&["verify", "ws"]).ok();
    println!("torture: kills={}", kills * AT_ONCE.len() as u64);
    home.weald(&["daemon", "stop"]).ok();
}
