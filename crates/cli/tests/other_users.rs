//! Other users of the machine: what they can see, reach and do to somebody's Weald.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Home, NOBODY, where_users_may_mount};

/// Neither root nor the user whose Weald it is.
const STRANGER: u32 = 65_533;

/// Runs a line of shell as somebody who has nothing to do with a home.
fn stranger(dir: &Path, line: &str) -> (bool, String) {
    let uid = STRANGER.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--", "sh", "-ec", line]);
    let output = command.current_dir(dir).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Everything below a directory but what links lead to, and the directory.
fn all(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(all(&entry.path())),
            kind if !kind.is_symlink() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

fn options_of(mount: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.split(' ').nth(4) == mount.to_str()).unwrap();
    let (of_mount, of_type) = line.split_once(" - ").unwrap();
    let options = [of_mount.split(' ').nth(5).unwrap(), of_type.split(' ').nth(2).unwrap()];
    options.iter().flat_map(|options| options.split(',')).map(str::to_owned).collect()
}

#[test]
fn all_that_a_home_holds_is_for_its_owner_alone() {
    let home = Home::new();
    let repo = home.repo("tool");
    std::fs::set_permissions(home.home(), PermissionsExt::from_mode(0o755)).unwrap();
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.weald(&["create", &format!("file://{}", repo.display()), "u"]).ok();
    home.run(&home.at("w"), "seq 100000 > large; echo x > small").ok();
    home.weald(&["snapshot", "w", "--tag", "t"]).ok();
    home.weald(&["pin", "w@t"]).ok();
    home.weald(&["gc", "plan"]).ok();
    home.weald(&["config", "snapshots.every", "5m"]).ok();
    home.weald(&["fork", "w", "f"]).ok();
    home.weald(&["daemon", "restart"]).ok();
    let paths = all(&home.home());
    assert!(paths.len() > 30, "{paths:?}");
    for path in paths {
        let mode = path.symlink_metadata().unwrap().mode();
        // Programs in the home are links; what git makes inside a clone is behind directories of 0700.
        let is_of_git =
            path.strip_prefix(home.home().join("repos")).is_ok_and(|rest| rest.components().count() > 1);
        assert!(mode & 0o077 == 0 || is_of_git, "{} {mode:o}", path.display());
    }
    let read = format!("ls {0} || cat {0}/config.toml || ls {0}/repos", home.home().display());
    assert!(!stranger(home.path(), &read).0);
}

#[test]
fn links_planted_in_a_loose_home_get_nowhere() {
    let planted = ["logs", "cas", "manifests", "chunks", "content", "repos"];
    let files = ["daemon.lock", "supervisor.lock", "registry.db", "format", "daemon.log"];
    for name in planted.iter().chain(&files) {
        let home = Home::of_nobody();
        let target = home.path().join("user/target");
        let is_dir = planted.contains(name);
        match is_dir {
            true => std::fs::create_dir(&target).unwrap(),
            false => std::fs::write(&target, "theirs\n").unwrap(),
        }
        std::os::unix::fs::chown(&target, Some(NOBODY), Some(NOBODY)).unwrap();
        std::fs::set_permissions(home.home(), PermissionsExt::from_mode(0o777)).unwrap();
        let plant = format!("ln -s {} {}", target.display(), home.home().join(name).display());
        assert!(stranger(home.path(), &plant).0);
        let said = home.weald(&["daemon", "start"]);
        assert!(said.code != 0, "{name}: {said:?}");
        match is_dir {
            true => assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "{name}"),
            false => assert_eq!(std::fs::read_to_string(&target).unwrap(), "theirs\n", "{name}"),
        }
    }
}

#[test]
fn a_socket_that_somebody_planted_is_replaced_by_our_own() {
    let home = Home::of_nobody();
    let target = home.path().join("user/target");
    std::fs::write(&target, "theirs\n").unwrap();
    std::os::unix::fs::chown(&target, Some(NOBODY), Some(NOBODY)).unwrap();
    symlink(&target, home.home().join("weald.sock")).unwrap();
    home.weald(&["daemon", "start"]).ok();
    let socket = home.home().join("weald.sock").symlink_metadata().unwrap();
    assert_eq!((socket.uid(), socket.mode() & 0o7777), (NOBODY, 0o600));
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "theirs\n");
}

#[test]
fn the_daemon_hears_its_owner_and_root_whatever_the_socket_lets_in() {
    let home = Home::of_nobody();
    home.weald(&["daemon", "start"]).ok();
    let socket = home.home().join("weald.sock");
    for path in [home.home(), socket.clone()] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let ask = format!(
        "exec python3 -c \"import socket\ns=socket.socket(socket.AF_UNIX)\ns.connect('{}')\n\
         s.settimeout(10)\nprint(s.makefile().read())\"",
        socket.display()
    );
    let (asked, said) = stranger(home.path(), &ask);
    assert!(asked && said.contains("W0026") && !said.contains("hearing"), "{said}");
    home.weald(&["list"]).ok();
}

#[test]
fn nothing_is_said_to_a_daemon_of_somebody_else() {
    let home = Home::of_nobody();
    std::fs::remove_dir(home.home()).unwrap();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let listen = format!(
        "mkdir -m 777 {0}; exec python3 -c \"import socket,sys\ns=socket.socket(socket.AF_UNIX)\n\
         s.bind('{0}/weald.sock')\nimport os\nos.chmod('{0}/weald.sock',0o777)\ns.listen()\n\
         print('ready',flush=True)\nc,_=s.accept()\nc.settimeout(10)\nprint(c.recv(100))\"",
        home.home().display()
    );
    let uid = STRANGER.to_string();
    let mut listening = Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--", "sh", "-ec", &listen])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut heard = std::io::BufReader::new(listening.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut heard, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    home.weald(&["create", "https://user:token@example.invalid/p", "w"]).fault("W0026");
    line.clear();
    std::io::BufRead::read_line(&mut heard, &mut line).unwrap();
    assert_eq!(line, "b''\n", "the connection was ended and nothing was sent");
    listening.wait().unwrap();
    // The same without a socket: nothing is made or written there.
    std::fs::remove_file(home.home().join("weald.sock")).unwrap();
    home.weald(&["list"]).fault("W0026");
    assert_eq!(std::fs::read_dir(home.home()).unwrap().count(), 0);
}

#[test]
fn others_enter_a_workspace_only_when_asked_for_and_as_its_modes_say() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "closed"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "open", "--allow-other"]).ok();
    home.run(&home.at("open"), "echo s > secret; chmod 600 secret; mkdir -m 700 private; echo x > private/x")
        .ok();
    home.run(&home.at("open"), "cp /bin/sh run; chmod 4755 run; echo own > theirs; chmod 666 theirs").ok();
    let options = options_of(&home.at("closed"));
    assert!(
        !options.contains(&"allow_other".to_owned()) && options.contains(&"default_permissions".to_owned())
    );
    let options = options_of(&home.at("open"));
    assert!(
        options.contains(&"allow_other".to_owned()) && options.contains(&"default_permissions".to_owned())
    );
    let closed = format!("ls {0} || stat {0}/a.txt", home.at("closed").display());
    assert!(!stranger(home.path(), &closed).0);
    let open = home.at("open");
    assert_eq!(stranger(&open, "cat a.txt"), (true, "one\ntwo\n".to_owned()));
    for line in [
        "cat secret",
        "cat private/x",
        "echo x > new",
        "echo x >> a.txt",
        "rm a.txt",
        "chmod 777 a.txt",
        "mv a.txt b",
    ] {
        assert!(!stranger(&open, line).0, "{line}");
    }
    assert!(stranger(&open, "echo more >> theirs").0);
    assert_eq!(home.run(&open, "cat theirs").ok(), "own\nmore\n");
}

#[test]
fn a_workspace_of_an_ordinary_user_lends_no_powers() {
    if !where_users_may_mount("a_workspace_of_an_ordinary_user_lends_no_powers") {
        return;
    }
    let home = Home::of_nobody();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.weald(&["fork", "w", "f"]).ok();
    for name in ["w", "f"] {
        let options = options_of(&home.at(name));
        for option in ["nosuid", "nodev", "default_permissions"] {
            assert!(options.contains(&option.to_owned()), "{option} {options:?}");
        }
        assert!(!options.contains(&"allow_other".to_owned()), "{options:?}");
    }
    assert!(home.run(&home.at("w"), "mknod null c 1 3").code != 0);
}
