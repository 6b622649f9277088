//! The daemon's life: it starts by itself, ends cleanly, is alone in its home, and comes back after being killed.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use rustix::process::Signal;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;
use support::Home;

#[test]
fn it_starts_by_itself_stops_and_everything_is_there_again() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let w = home.at("w");
    home.run(&w, "echo new > new; mkdir d; ln new d/hard; touch -d '2001-01-01 00:00:00.123456789' new").ok();
    let before = std::fs::metadata(w.join("new")).unwrap();
    let base = std::fs::metadata(w.join("a.txt")).unwrap();
    assert!(home.weald(&["daemon", "stop"]).ok().contains("1 workspace"));
    assert!(!w.join("new").exists() && !home.has_daemon());
    assert!(home.weald(&["daemon", "stop"]).ok().contains("No daemon"));
    home.weald(&["daemon", "start"]).ok();
    assert!(home.weald(&["daemon", "start"]).ok().contains("already"));
    let after = std::fs::metadata(w.join("new")).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec(), before.nlink()),
        (after.ino(), after.mtime_nsec(), after.nlink())
    );
    assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()));
    let again = std::fs::metadata(w.join("a.txt")).unwrap();
    assert_eq!((base.ino(), base.mtime(), base.ctime()), (again.ino(), again.mtime(), again.ctime()));
    assert_eq!(home.run(&w, "git status --porcelain").ok(), "?? d/\n?? new\n");
}

#[test]
fn a_second_daemon_is_refused() {
    let home = Home::new();
    home.weald(&["daemon", "start"]).ok();
    home.weald(&["daemon", "run"]).fault("W0015");
    assert_eq!(
        home.weald(&["status", "--json"]).json()["pid"].as_i64().unwrap() as i32,
        home.daemon_pid().unwrap()
    );
}

#[test]
fn many_commands_at_once_start_one_daemon() {
    let home = Home::new();
    let spawn = |_| home.command().args(["status", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let children: Vec<_> = (0..8).map(spawn).collect();
    let pids: Vec<serde_json::Value> = children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .map(|output| serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["pid"].clone())
        .collect();
    assert!(pids.iter().all(|pid| pid == &pids[0]), "{pids:?}");
}

#[test]
fn creates_at_once_share_a_base_and_one_name_goes_to_one_of_them() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["daemon", "start"]).ok();
    let spawn = |name: &str| home.command().args(["create", repo.to_str().unwrap(), name]).output().unwrap();
    let outcomes: Vec<bool> = std::thread::scope(|scope| {
        let names = ["a", "b", "c", "same", "same", "same"];
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(|| spawn(name).status.success())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|made| **made).count(), 4, "{outcomes:?}");
    assert_eq!(std::fs::read_dir(home.home().join("manifests")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(home.home().join("logs")).unwrap().count(), 4);
    for name in ["a", "b", "c", "same"] {
        assert_eq!(home.run(&home.at(name), "git status --porcelain").ok(), "", "{name}");
    }
}

#[test]
fn signals_unmount_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let repo = home.repo("tool");
        home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
        assert_eq!(home.mounts().len(), 1);
        home.signal_daemon(signal);
        assert_eq!(home.mounts().len(), 0);
        assert_eq!(home.weald(&["list", "--json"]).json()[0]["status"], "mounted");
    }
}

#[test]
fn stale_mounts_of_a_killed_daemon_are_cleaned_by_the_next_command() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.weald(&["fork", "w", "f"]).ok();
    home.run(&home.at("f"), "echo kept > kept; echo gone > gone; rm gone; git add kept; git commit -qm kept")
        .ok();
    home.crash();
    assert_eq!(home.mounts().len(), 2);
    assert_eq!(std::fs::metadata(home.at("f/kept")).unwrap_err().raw_os_error(), Some(107), "ENOTCONN");
    assert_eq!(home.weald(&["list", "--json"]).json()[0]["status"], "mounted");
    assert_eq!(home.mounts().len(), 2);
    assert_eq!(
        home.run(&home.at("f"), "cat kept; git status --porcelain; git log -1 --format=%s").ok(),
        "kept\nkept\n"
    );
}

#[test]
fn what_a_killed_create_left_is_swept() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let id = home.weald(&["info", "w", "--json"]).json()["id"].as_str().unwrap().to_owned();
    home.weald(&["daemon", "stop"]).ok();
    // As after a kill between the log and the row: the marker is there, the row is not.
    std::fs::write(home.home().join("making").join(&id), "").unwrap();
    for name in ["registry.db", "registry.db-wal", "registry.db-shm"] {
        let _ = std::fs::remove_file(home.home().join(name));
    }
    assert_eq!(home.weald(&["list", "--json"]).ok(), "[]\n");
    assert_eq!(std::fs::read_dir(home.home().join("logs")).unwrap().count(), 0);
    assert_eq!(home.run(&repo, "git for-each-ref refs/weald").ok(), "");
}

#[test]
fn a_lost_registry_is_rebuilt_from_the_logs() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.weald(&["fork", "w", "f"]).ok();
    home.run(&home.at("f"), "echo kept > kept").ok();
    let before = home.weald(&["list", "--json"]).json();
    home.weald(&["daemon", "stop"]).ok();
    for name in ["registry.db", "registry.db-wal", "registry.db-shm"] {
        let _ = std::fs::remove_file(home.home().join(name));
    }
    assert_eq!(home.weald(&["list", "--json"]).json(), before);
    assert_eq!(std::fs::read_to_string(home.at("f/kept")).unwrap(), "kept\n");
}

#[test]
fn the_home_is_for_its_owner_alone() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let mut dirs = vec![home.home()];
    while let Some(dir) = dirs.pop() {
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o077, 0, "{dir:?}");
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            // The mode of a symbolic link means nothing (symlink(7)).
            if entry.file_type().unwrap().is_symlink() {
                continue;
            }
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?} {mode:o}", entry.path());
            if entry.metadata().unwrap().is_dir() {
                dirs.push(entry.path());
            }
        }
    }
}

#[test]
fn rubbish_on_the_socket_is_answered_and_harms_nothing() {
    use std::io::{Read, Write};
    let home = Home::new();
    home.weald(&["daemon", "start"]).ok();
    for bytes in [
        &b"rubbish\n"[..],
        b"\xff\xff\n",
        b"{\"version\":99,\"request\":{\"do\":\"list\"}}\n",
        b"{}\n",
        b"\n",
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(home.home().join("weald.sock")).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"fault\"") && answer.contains("W0016"), "{answer}");
    }
    home.weald(&["list"]).ok();
}

#[test]
fn a_command_that_meets_a_dying_daemon_asks_the_next_one() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    for round in 1..=10 {
        let pid = home.daemon_pid().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        let name = format!("w{round}");
        home.weald(&["fork", "w", &name]).ok();
        assert!(home.at(&name).join(".git").exists());
    }
    assert_eq!(home.weald(&["list", "--json"]).json().as_array().unwrap().len(), 11);
}

#[test]
fn completion_and_man_pages_come_out() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.weald(&["completion", shell]).ok().contains("weald"));
    }
    let dir = home.path().join("man");
    home.weald(&["man", dir.to_str().unwrap()]).ok();
    for page in ["weald.1", "weald-create.1", "weald-fork.1"] {
        assert!(std::fs::read_to_string(dir.join(page)).unwrap().contains(".TH"), "{page}");
    }
}

/// What is torn off at the end of a log is cut when the log is opened.
#[test]
fn a_program_that_asks_mounts_for_their_space_has_no_log_opened() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let id = home.weald(&["info", "w", "--json"]).json()["id"].as_str().unwrap().to_owned();
    home.weald(&["daemon", "stop"]).ok();
    let log = home.home().join("logs").join(id).join("log-00000000");
    let torn = [std::fs::read(&log).unwrap(), b"torn".to_vec()].concat();
    std::fs::write(&log, &torn).unwrap();
    home.weald(&["daemon", "start"]).ok();
    assert!(rustix::fs::statvfs(home.at("w")).unwrap().f_blocks > 0);
    assert_eq!(std::fs::read(&log).unwrap().len(), torn.len(), "not opened");
    assert!(home.at("w").join("a.txt").exists());
    assert!(std::fs::read(&log).unwrap().len() < torn.len(), "opened");
}
