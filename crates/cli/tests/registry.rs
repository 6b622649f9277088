//! The registry that is damaged, and the disk that refuses it a call: nothing is lost, and the next start is right.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use support::{Home, Said};

/// Calls by which SQLite changes files.
const CALLS: &str = "write,pwrite64,fsync,fdatasync,ftruncate";
/// Most calls of one command that are looked at.
const CALLS_MAX: u32 = 40;

/// A home with a workspace, a fork that has another name by now, and one in the trash.
fn home() -> Home {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.run(&home.at("w"), "echo kept > kept; sync kept").ok();
    for name in ["f", "gone"] {
        home.weald(&["fork", "w", name]).ok();
        home.run(&home.at(name), &format!("echo {name} > own; sync own")).ok();
    }
    home.weald(&["rename", "f", "fork"]).ok();
    home.weald(&["remove", "gone"]).ok();
    home
}

/// Every workspace by name, with what its own files say.
fn shown(home: &Home) -> BTreeMap<String, String> {
    let list = home.weald(&["list", "--json"]).json();
    let names = list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned());
    names
        .map(|name| {
            let said = home.run(&home.at(&name), "cat kept own 2>/dev/null || true; git status --porcelain");
            assert_eq!(said.code, 0, "{said:?} in {list}");
            (name, said.out)
        })
        .collect()
}

fn trash(home: &Home) -> usize {
    home.weald(&["trash", "list", "--json"]).json().as_array().unwrap().len()
}

#[test]
fn a_registry_that_is_cut_empty_or_damaged_is_made_anew_at_the_next_start_and_that_is_told() {
    let home = home();
    let before = shown(&home);
    assert_eq!(before.len(), 2);
    home.weald(&["daemon", "stop"]).ok();
    let db = home.home().join("registry.db");
    let whole = std::fs::read(&db).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    // What is left of it, and whether all rows can be read from that.
    let damages: Vec<(&str, Vec<u8>, bool)> = vec![
        ("cut", with(&|bytes| bytes.truncate(3_000)), false),
        ("rubbish", vec![0x5A; 9_000], false),
        ("another version", with(&|bytes| bytes[63] = 77), true),
        ("written by nobody we know", with(&|bytes| bytes[18..20].fill(9)), false),
        ("an index without its entries", with(&|bytes| bytes[2 * 1024..3 * 1024].fill(0)), true),
    ];
    for (what, bytes, is_readable) in damages {
        std::fs::write(&db, bytes).unwrap();
        let mut found = shown(&home);
        if !is_readable {
            // From the logs alone nobody knows that a workspace was renamed or removed: they are back as they were made.
            assert!(found.len() >= 3 && trash(&home) == 0, "{what}: {found:?}");
            assert_eq!(found.remove("f"), before.get("fork").cloned(), "{what}");
            assert_eq!(found.get("w"), before.get("w"), "{what}");
        } else {
            assert_eq!((found, trash(&home)), (before.clone(), 1), "{what}");
        }
        let is_told = || home.weald(&["status", "--json"]).ok().contains("registry.db.damaged");
        assert!(is_told(), "{what}");
        assert_eq!(home.weald(&["verify", "--all", "--json"]).json()["ok"], true, "{what}");
        home.weald(&["daemon", "restart"]).ok();
        assert!(!is_told(), "it is told once: {what}");
        home.weald(&["daemon", "stop"]).ok();
    }
}

/// The tracer of a daemon, which has one call to the registry's files fail.
struct Tracer {
    child: Child,
    told: PathBuf,
}

impl Tracer {
    fn new(home: &Home, error: &str, nth: u32) -> Self {
        let told = home.path().join("told");
        let pid = home.daemon_pid().unwrap().to_string();
        let db = home.home().join("registry.db");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-p", &pid, "-o"]).arg(&told).arg("-P").arg(&db);
        for end in ["-wal", "-shm", "-journal"] {
            strace.arg("-P").arg(format!("{}{end}", db.display()));
        }
        strace.args([
            "-e",
            &format!("trace={CALLS}"),
            "-e",
            &format!("inject={CALLS}:error={error}:when={nth}"),
        ]);
        let mut child = strace.stderr(Stdio::piped()).spawn().expect("this test needs strace(1)");
        // It says so once it is attached to every thread there is.
        let said = BufReader::new(child.stderr.as_mut().unwrap()).lines().next();
        let said = said.and_then(Result::ok).unwrap_or_default();
        assert!(said.contains("attached"), "{said}");
        Self { child, told }
    }

    /// Lets go; true when a call was refused.
    fn end(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap();
        std::fs::read_to_string(&self.told).unwrap().contains("(INJECTED)")
    }
}

/// A command, what makes room for it again, and whether the workspace it makes is there.
struct Act {
    line: &'static [&'static str],
    undo: &'static [&'static str],
}

const ACTS: &[Act] = &[
    Act { line: &["fork", "w", "new"], undo: &["remove", "new", "--force"] },
    Act { line: &["rename", "fork", "other"], undo: &["rename", "other", "fork"] },
    Act { line: &["remove", "fork"], undo: &["trash", "restore", "fork"] },
];

fn is_refused(said: &Said) -> bool {
    let is_told = said.err.starts_with("error: ") && said.err.contains("[W");
    assert!(said.code == 0 || ((said.code == 1 || said.code == 2) && is_told), "{said:?}");
    assert!(!said.err.contains("panick"), "{said:?}");
    said.code != 0
}

/// Each call to the registry's files that a command makes is refused once.
fn refused_everywhere(error: &str, acts: &[Act]) {
    let home = home();
    let before = shown(&home);
    let (mut refusals, mut told) = (0, 0);
    for act in acts {
        home.weald(act.line).ok();
        let after = shown(&home);
        home.weald(act.undo).ok();
        for nth in 1..=CALLS_MAX {
            let tracer = Tracer::new(&home, error, nth);
            let said = home.weald(act.line);
            if !tracer.end() {
                is_refused(&said);
                if said.code == 0 {
                    home.weald(act.undo).ok();
                }
                break;
            }
            refusals += 1;
            told += usize::from(is_refused(&said));
            let context = || format!("{error} at call {nth} of {:?}: {said:?}", act.line);
            let wanted = if said.code == 0 { &after } else { &before };
            assert_eq!(shown(&home), *wanted, "{}", context());
            // The next daemon finds the same, and nothing to put right.
            home.crash();
            assert_eq!(shown(&home), *wanted, "after a kill, {}", context());
            assert_eq!(home.weald(&["verify", "--all", "--json"]).json()["ok"], true, "{}", context());
            if said.code == 0 {
                home.weald(act.undo).ok();
            }
            assert_eq!(shown(&home), before, "{}", context());
        }
    }
    println!("{refusals} calls were refused with {error}, {told} of them were told");
    assert!(refusals >= 3 * acts.len() && told > acts.len(), "{refusals} {told}");
}

#[test]
fn a_command_whose_registry_meets_eio_at_any_call_is_done_or_refused_and_the_next_start_is_right() {
    refused_everywhere("EIO", ACTS);
}

#[test]
fn a_command_whose_registry_meets_a_full_disk_at_any_call_is_done_or_refused_and_the_next_start_is_right() {
    refused_everywhere("ENOSPC", &ACTS[..1]);
}
