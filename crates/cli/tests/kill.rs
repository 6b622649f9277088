//! The daemon is killed at any moment, and programs at work in its mounts do not notice.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Home, wait_for};

/// How often the daemon is killed, unless `WEALD_KILLS` says otherwise.
const KILLS: u64 = 200;
/// How long a program may be kept waiting on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pauses between two kills, from short ones, in which a daemon hardly gets to serve, to long ones.
fn pause(round: u64) -> Duration {
    Duration::from_millis(round.wrapping_mul(7919) % 13 * 10)
}

/// Kills the daemon that runs now, once there is one, and only it.
fn kill(home: &Home) {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        let pid = home.has_daemon().then(|| home.daemon_pid()).flatten().and_then(Pid::from_raw);
        let process = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        // The number was looked at before the descriptor was opened; a process that has it now has its home in its environment.
        if let Some(process) = process.filter(|_| home.has_daemon()) {
            rustix::process::pidfd_send_signal(&process, Signal::KILL).unwrap();
            // Until its last thread has ended its number stands in the lock.
            let mut wait = [PollFd::new(&process, PollFlags::IN)];
            assert_eq!(poll(&mut wait, Some(&PATIENCE.try_into().unwrap())).unwrap(), 1);
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no daemon came back");
}

/// One round of changes that each succeed once and only once, with everything looked at again.
fn round(dir: &Path, number: u32) -> io::Result<()> {
    let at = |name: &str| dir.join(name);
    fs::create_dir(at("d"))?;
    let text = format!("round {number}\n");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(at("d/new"))?;
    file.write_all(text.as_bytes())?;
    file.write_all(&[number as u8; 9000])?;
    fs::hard_link(at("d/new"), at("d/link"))?;
    symlink("new", at("d/symlink"))?;
    fs::rename(at("d/new"), at("d/renamed"))?;
    if number.is_multiple_of(5) {
        file.sync_all()?;
    }
    let names: BTreeSet<String> = fs::read_dir(at("d"))?
        .map(|entry| entry.map(|entry| entry.file_name().into_string().unwrap()))
        .collect::<io::Result<_>>()?;
    assert_eq!(names, BTreeSet::from(["link", "renamed", "symlink"].map(String::from)), "round {number}");
    assert_eq!(fs::metadata(at("d/link"))?.nlink(), 2);
    fs::remove_file(at("d/link"))?;
    fs::remove_file(at("d/symlink"))?;
    // Open without a name, over whichever daemon comes next.
    fs::remove_file(at("d/renamed"))?;
    fs::remove_dir(at("d"))?;
    let mut back = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut back)?;
    assert!(back.starts_with(text.as_bytes()) && back.len() == text.len() + 9000, "round {number}");
    let mut log = OpenOptions::new().append(true).create(true).open(at("log"))?;
    log.write_all(format!("{number}\n").as_bytes())?;
    Ok(())
}

/// A file of numbered blocks, written all over and read back.
fn blocks(path: &Path, number: u64) -> io::Result<()> {
    const BLOCKS: u64 = 64;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    for block in 0..BLOCKS {
        file.write_all_at(&(number * BLOCKS + block).to_le_bytes().repeat(512), block * 4096)?;
    }
    let mut back = [0; 4096];
    for block in 0..BLOCKS {
        File::open(path)?.read_exact_at(&mut back, block * 4096)?;
        assert_eq!(back[..8], (number * BLOCKS + block).to_le_bytes(), "block {block} of {number}");
    }
    Ok(())
}

/// Tells those who work to stop, also after a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Works until told to stop; how many rounds that were.
fn work(stop: &AtomicBool, mut round: impl FnMut(u32) -> io::Result<()>) -> u32 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        round(number).unwrap_or_else(|error| panic!("round {number}: {error}"));
        number += 1;
    }
    number
}

const COMMITS: &str = r#"
i=0
while [ ! -e "$STOP" ]; do
    i=$((i + 1))
    echo "$i" > "tracked-$((i % 7))"
    git add . && git commit -q -m "$i" && git status --porcelain > /dev/null
done
echo "$i"
"#;

#[test]
fn a_daemon_that_is_killed_200_times_is_not_noticed() {
    let kills = std::env::var("WEALD_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let seed = weald_testkit::seed(0);
    let home = Home::new();
    let repo = home.repo("source");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "other"]).ok();
    let (ws, other) = (home.at("ws"), home.at("other"));
    for dir in ["a", "b"] {
        fs::create_dir(ws.join(dir)).unwrap();
    }
    let stop = AtomicBool::new(false);
    let stop_file = home.path().join("stop");
    let mut commits = home.shell(&other, COMMITS);
    let commits = commits.env("STOP", &stop_file).stdout(Stdio::piped()).spawn().unwrap();
    let rounds = std::thread::scope(|scope| {
        let one = scope.spawn(|| work(&stop, |number| round(&ws.join("a"), number)));
        let two = scope.spawn(|| work(&stop, |number| round(&ws.join("b"), number)));
        let three = scope.spawn(|| work(&stop, |number| blocks(&ws.join("blocks"), number.into())));
        let stopping = Stop(&stop);
        for round in 0..kills {
            std::thread::sleep(pause(seed.wrapping_add(round)));
            kill(&home);
        }
        fs::write(&stop_file, "").unwrap();
        drop(stopping);
        [one, two, three].map(|thread| thread.join().unwrap())
    });
    let commits = commits.wait_with_output().unwrap();
    assert!(commits.status.success(), "git failed: {commits:?}");
    assert!(rounds.iter().all(|rounds| *rounds > 0), "{rounds:?}");
    for (dir, rounds) in [("a", rounds[0]), ("b", rounds[1])] {
        let expected: String = (0..rounds).map(|number| format!("{number}\n")).collect();
        assert_eq!(fs::read_to_string(ws.join(dir).join("log")).unwrap(), expected, "appended once each");
    }
    let made: u32 = String::from_utf8(commits.stdout).unwrap().trim().parse().unwrap();
    let count = home.run(&other, "git rev-list --count HEAD").ok();
    assert_eq!(count.trim(), (made + 2).to_string(), "every commit is there");
    home.run(&other, "git fsck --strict; test -z \"$(git status --porcelain)\"").ok();
    let status = home.weald(&["status", "--json"]).json();
    assert_eq!(status["crashes"], kills);
    assert_eq!(status["is_supervised"], true);
    home.weald(&["verify", "ws"]).ok();
    home.weald(&["verify", "other"]).ok();
    println!("{rounds:?} rounds and {made} commits\ntorture: kills={kills}");
    // Nothing without a name was left behind by those who closed it under another daemon.
    home.weald(&["daemon", "stop"]).ok();
}

/// Programs see what was restored, whenever the daemon that restores is killed.
#[test]
fn a_restore_whose_daemon_is_killed_is_seen_whole_or_not_at_all() {
    let home = Home::new();
    fs::create_dir_all(home.path().join("user/empty")).unwrap();
    home.weald(&["create", "user/empty", "ws"]).ok();
    let ws = home.at("ws");
    let files = 300;
    let write = |word: &str| {
        for number in 0..files {
            fs::write(ws.join(format!("file-{number}")), word).unwrap();
        }
    };
    let read = || -> BTreeSet<String> {
        (0..files).map(|number| fs::read_to_string(ws.join(format!("file-{number}"))).unwrap()).collect()
    };
    write("one");
    home.weald(&["snapshot", "ws", "--tag", "one"]).ok();
    for round in 0..12 {
        write("other");
        let mut restore = home.command().args(["restore", "ws@one"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 3));
        kill(&home);
        // The command may have been heard, and then says that it does not know how it went.
        let _ = restore.wait().unwrap();
        home.weald(&["status"]).ok();
        wait_for("one state", || read().len() == 1);
    }
}

/// Stores into every page of a shared mapping, again and again.
const STORES: &str = "
import itertools, mmap
file = open('mapped', 'r+b')
pages = mmap.mmap(file.fileno(), 0)
for number in itertools.count():
    for page in range(0, len(pages), 4096):
        pages[page] = number % 256
";

/// For a snapshot the kernel is to hand over such pages, to the daemon. Whoever waits for that cannot be killed.
#[test]
fn a_daemon_that_is_killed_while_mapped_pages_are_handed_over_ends_and_the_next_goes_on() {
    let home = Home::new();
    fs::create_dir_all(home.path().join("user/empty")).unwrap();
    home.weald(&["create", "user/empty", "ws"]).ok();
    fs::write(home.at("ws").join("mapped"), vec![0; 16 << 20]).unwrap();
    let mut stores = home.shell(&home.at("ws"), &format!("exec python3 -c \"{STORES}\"")).spawn().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stopping = Stop(&stop);
        for _ in 0..2 {
            // What is asked of a daemon that is killed may fail.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    home.weald(&["snapshot", "ws"]);
                }
            });
        }
        for round in 0..25 {
            std::thread::sleep(Duration::from_millis(100) + pause(round));
            kill(&home);
        }
        drop(stopping);
    });
    assert!(stores.try_wait().unwrap().is_none(), "the program noticed");
    stores.kill().unwrap();
    stores.wait().unwrap();
    home.weald(&["snapshot", "ws"]).ok();
    home.weald(&["verify", "ws"]).ok();
}

#[test]
fn an_upgrade_in_the_middle_of_work_is_not_noticed() {
    let home = Home::new();
    fs::create_dir_all(home.path().join("user/empty")).unwrap();
    home.weald(&["create", "user/empty", "ws"]).ok();
    let ws = home.at("ws");
    let stop = AtomicBool::new(false);
    let mut before = home.daemon_pid();
    std::thread::scope(|scope| {
        let work = scope.spawn(|| work(&stop, |number| round(&ws, number)));
        let stopping = Stop(&stop);
        for _ in 0..5 {
            let said = home.weald(&["daemon", "restart", "--upgrade", "--json"]).json();
            let now = said["pid"].as_i64().map(|pid| pid as i32);
            assert!(now.is_some() && now != before && now == home.daemon_pid(), "{said}");
            before = now;
        }
        drop(stopping);
        assert!(work.join().unwrap() > 0);
    });
    assert_eq!(home.weald(&["status", "--json"]).json()["crashes"], 0);
}

#[test]
fn when_the_supervisor_dies_too_the_next_command_repairs_the_mounts() {
    let home = Home::new();
    let repo = home.repo("source");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    fs::write(home.at("ws").join("new"), "kept").unwrap();
    home.crash();
    assert!(fs::read(home.at("ws").join("new")).is_err(), "nobody serves it");
    home.weald(&["list"]).ok();
    assert_eq!(fs::read_to_string(home.at("ws").join("new")).unwrap(), "kept");
}

#[test]
fn a_daemon_whose_supervisor_is_gone_says_so_and_goes_on() {
    let home = Home::new();
    let repo = home.repo("source");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    home.kill_supervisor();
    home.weald(&["fork", "ws", "fork"]).ok();
    assert_eq!(home.weald(&["status", "--json"]).json()["is_supervised"], false);
    home.weald(&["daemon", "restart", "--upgrade"]).fault("W0020");
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(home.weald(&["status", "--json"]).json()["is_supervised"], true);
    assert!(home.at("fork").join("a.txt").exists());
}

/// A cat that waits for the end of a pipe in the mount, a shell that stands there: what people have open.
#[test]
fn who_stands_in_a_directory_stays_there() {
    let home = Home::new();
    let repo = home.repo("source");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    let mut shell = Command::new("sh")
        .args(["-ec", "read line; cat main.rs; echo \"$line\" > written; read line; cat written; pwd"])
        .current_dir(home.at("ws").join("src"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    kill(&home);
    writeln!(input, "hello").unwrap();
    wait_for("what it wrote", || home.at("ws").join("src/written").exists());
    kill(&home);
    writeln!(input).unwrap();
    let said = shell.wait_with_output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.starts_with("fn main() {}\nhello\n") && said.trim_end().ends_with("ws/src"), "{said}");
}
