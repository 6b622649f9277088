//! `git status` with Weald's answer to what changed is what it is when git looks for itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use support::{Home, wait_for};

/// What git says by itself, without writing its index.
const ALONE: &str = "GIT_OPTIONAL_LOCKS=0 git -c core.fsmonitor=false -c core.untrackedCache=false status --porcelain=v1 -uall";
/// What it says as it is set up.
const HELPED: &str = "git status --porcelain=v1 -uall";

/// Random changes of every kind; S is the seed.
const CHURN: &str = r#"
i=0
while [ $i -lt 12 ]; do
  i=$((i + 1)); S=$(( (S * 1103515245 + 12345) % 2147483648 ))
  n=$((S / 65536 % 7)); m=$((S / 1024 % 5)); d="d$m"
  case $((S / 8 % 20)) in
    0|1) mkdir -p "$d"; echo "$S" > "$d/f$n" ;;
    2) rm -rf "$d/f$n" ;;
    3) [ -d "$d" ] && [ ! -e "e$n" ] && mv "$d" "e$n" ;;
    4) rm -f "l$n"; ln -s "target $S" "l$n" ;;
    5) [ -f "$d/f$n" ] && chmod 755 "$d/f$n" ;;
    6) echo "more $S" >> a.txt ;;
    7) mkdir -p deep/er; echo "$S" > "deep/er/x$n.o"; echo "$S" > "deep/er/x$n.c" ;;
    8) [ -f "$d/f$n" ] && ln -f "$d/f$n" "h$n" ;;
    9) [ -e "h$n" ] && echo "$S" >> "h$n" ;;
    10) rm -rf "$d"; echo file > "$d" ;;
    11) [ -f "$d" ] && rm "$d" ;;
    12) [ -d src ] && { echo "$S" > src/new; mv src "s$n"; mkdir src; echo other > src/main.rs; } ;;
    13) [ -d "e$m" ] && rm -rf "e$m" ;;
    14) echo "x$n.c" > .gitignore ;;
    15) rm -f .gitignore ;;
    16) git add -A ;;
    17) git commit -q -a -m "$S" ;;
    18) git stash -q -u ;;
    19) git stash pop -q 2>/dev/null || git checkout -q -f ;;
  esac; :
done
"#;

#[track_caller]
fn agrees(home: &Home, root: &Path, what: &str) {
    // Looks first as it is set up: the other must not refresh anything before.
    let helped = home.run(root, HELPED).ok();
    let alone = home.run(root, ALONE).ok();
    assert_eq!(helped, alone, "{what}");
}

/// Whether git's own account of a status says that it did not look at everything.
fn is_helped(home: &Home, root: &Path) -> bool {
    let trace = home.path().join("trace");
    let _ = std::fs::remove_file(&trace);
    home.run(root, &format!("GIT_TRACE_FSMONITOR='{}' {HELPED}", trace.display())).ok();
    let said = std::fs::read_to_string(&trace).unwrap();
    said.contains("success") && !said.contains("'/'")
}

#[test]
fn status_is_what_git_finds_by_itself_after_any_changes_restores_and_forks() {
    let home = Home::new();
    let repo = home.repo("tool");
    for seed in 1..=8 {
        let mut name = format!("ws{seed}");
        home.weald(&["create", repo.to_str().unwrap(), &name]).ok();
        for round in 0..10 {
            let root = home.at(&name);
            home.run(&root, &format!("set +e; S={}; {CHURN}", seed * 1000 + round)).ok();
            let what = format!("seed {seed}, round {round}");
            // Not after every round, so that tokens of different ages are asked with.
            if round % 3 != 1 {
                agrees(&home, &root, &what);
            }
            match (seed + round) % 5 {
                0 => drop(home.weald(&["snapshot", &name])),
                1 if home.weald(&["restore", &format!("{name}@1")]).code == 0 => {
                    agrees(&home, &root, &format!("{what}, restored"));
                }
                2 => {
                    let fork = format!("{name}f");
                    home.weald(&["fork", &name, &fork]).ok();
                    agrees(&home, &home.at(&fork), &format!("{what}, forked"));
                    name = fork;
                }
                3 if home.weald(&["undo", &name]).code == 0 => {
                    agrees(&home, &root, &format!("{what}, undone"));
                }
                _ => {}
            }
        }
        home.weald(&["daemon", "restart"]).ok();
        agrees(&home, &home.at(&name), "after a restart");
    }
}

#[test]
fn git_is_told_from_the_first_status_on_in_forks_and_after_a_restart() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    let root = home.at("ws");
    assert!(is_helped(&home, &root));
    std::fs::write(root.join("a.txt"), "changed").unwrap();
    assert!(is_helped(&home, &root));
    assert_eq!(home.run(&root, HELPED).ok(), " M a.txt\n");
    home.weald(&["fork", "ws", "fork"]).ok();
    assert!(is_helped(&home, &home.at("fork")));
    home.weald(&["daemon", "restart"]).ok();
    assert!(is_helped(&home, &root) && is_helped(&home, &home.at("fork")));
}

/// Directories that git read in a status that is set up as `create` does it.
fn directories_read(home: &Home, root: &Path) -> u32 {
    let trace = home.path().join("trace");
    let _ = std::fs::remove_file(&trace);
    home.run(root, &format!("GIT_TRACE2_PERF='{}' git status --porcelain", trace.display())).ok();
    let said = std::fs::read_to_string(&trace).unwrap();
    let mut numbers =
        said.lines().filter_map(|line| line.split_once("opendir:")?.1.trim().parse::<u32>().ok());
    numbers.next_back().unwrap()
}

#[test]
fn the_first_status_reads_only_directories_in_which_something_changed() {
    let home = Home::new();
    let repo = home.repo("tool");
    let make = "mkdir -p a/b/c d.e/f 'g h'; echo '*.o' > a/.gitignore; echo '/x' > d.e/f/.gitignore;
        for dir in a a/b a/b/c d.e d.e/f 'g h'; do echo x > \"$dir/file\"; done; git add .; git commit -q -m dirs";
    home.run(&repo, make).ok();
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    assert_eq!(directories_read(&home, &home.at("ws")), 0);
    home.weald(&["create", repo.to_str().unwrap(), "changed"]).ok();
    let root = home.at("changed");
    home.run(&root, "echo y > a/b/y; echo y > a/b/y.o; echo x > d.e/f/x; echo x > d.e/x; rm -r 'g h'").ok();
    let read = directories_read(&home, &root);
    assert!((1..=5).contains(&read), "{read}");
    assert_eq!(home.run(&root, "git status --porcelain").ok(), " D \"g h/file\"\n?? a/b/y\n?? d.e/x\n");
    agrees(&home, &root, "after the first status");
    // In a fork the index has the path of another workspace; git looks once, and says the same.
    home.weald(&["create", repo.to_str().unwrap(), "parent"]).ok();
    home.weald(&["fork", "parent", "fork"]).ok();
    std::fs::write(home.at("fork").join("a/b/c/new"), "new").unwrap();
    agrees(&home, &home.at("fork"), "forked before the first status");
    // What the user ignores everywhere is not known to the index.
    home.weald(&["create", repo.to_str().unwrap(), "ignores"]).ok();
    let root = home.at("ignores");
    home.run(&root, "echo y > a/b/y; echo y > a/b/z; echo z > .git/info/exclude").ok();
    assert_eq!(home.run(&root, "git status --porcelain").ok(), "?? a/b/y\n");
    assert!(home.run(&root, "git fsck 2>&1").ok().is_empty());
}

#[test]
fn without_an_answer_git_looks_for_itself() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    let root = home.at("ws");
    std::fs::write(root.join("a.txt"), "changed").unwrap();
    std::fs::remove_file(home.home().join("bin/weald-fsmonitor")).unwrap();
    assert!(home.run(&root, HELPED).out.ends_with(" M a.txt\n"));
    home.weald(&["daemon", "restart"]).ok();
    assert!(is_helped(&home, &root));
}

#[test]
fn git_runs_a_small_program_and_weald_itself_where_that_is_missing() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    let link = home.home().join("bin/weald-fsmonitor");
    let small = Path::new(env!("CARGO_BIN_EXE_weald-fsmonitor"));
    assert_eq!(std::fs::read_link(&link).unwrap(), small.canonicalize().unwrap());
    assert!(is_helped(&home, &home.at("ws")));
    // As it is where only `weald` was copied to.
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weald"), &link).unwrap();
    assert!(is_helped(&home, &home.at("ws")));
}

/// What the daemon says over the socket in a git directory, as git asks (simple-ipc over pkt-line): the next token, and paths.
fn asked(root: &Path, token: &str) -> std::io::Result<(String, Vec<String>)> {
    let mut stream = UnixStream::connect(root.join(".git/fsmonitor--daemon.ipc"))?;
    write!(stream, "{:04x}{token}0000", token.len() + 4)?;
    let mut said = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = usize::from_str_radix(std::str::from_utf8(&length).unwrap(), 16).unwrap();
        if length == 0 {
            break;
        }
        let from = said.len();
        said.resize(from + length - 4, 0);
        stream.read_exact(&mut said[from..])?;
    }
    let mut parts: Vec<String> =
        String::from_utf8(said).unwrap().split_terminator('\0').map(str::to_owned).collect();
    let token = parts.remove(0);
    // A name that came is told as a directory, too, since it may have been one.
    parts.retain(|path| path == "/" || !path.ends_with('/'));
    parts.sort();
    Ok((token, parts))
}

/// A home whose daemon is told by git that it can ask over a socket.
fn home_of_a_git_that_asks() -> Home {
    let home = Home::new();
    let git = home.run(home.path(), "command -v git").ok();
    let programs = home.programs();
    std::fs::create_dir(&programs).unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = \"-C / version --build-options\" ] && echo 'feature: fsmonitor--daemon'\nexec {} \"$@\"\n",
        git.trim()
    );
    std::fs::write(programs.join("git"), script).unwrap();
    std::fs::set_permissions(programs.join("git"), PermissionsExt::from_mode(0o755)).unwrap();
    home
}

#[test]
fn a_git_that_asks_over_a_socket_is_told_through_forks_restores_restarts_and_crashes() {
    let home = home_of_a_git_that_asks();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    let root = home.at("ws");
    assert_eq!(
        home.run(
            &root,
            "git config core.fsmonitor; git ls-files --others .git; ls .git | grep -c ipc || true"
        )
        .ok(),
        "true\n0\n"
    );
    let (base, _) = asked(&root, "weald:base").unwrap();
    std::fs::write(root.join("a.txt"), "changed").unwrap();
    let (changed, paths) = asked(&root, &base).unwrap();
    assert_eq!(paths, ["a.txt"]);
    assert_eq!(asked(&root, &changed).unwrap().1, [""; 0]);
    assert_eq!(asked(&root, "builtin:fake").unwrap().1, ["/"]);
    assert_eq!(home.run(&root, "git status --porcelain").ok(), " M a.txt\n", "whatever git makes of it");
    home.weald(&["fork", "ws", "fork"]).ok();
    let fork = home.at("fork");
    std::fs::write(fork.join("only-here"), "new").unwrap();
    assert_eq!(asked(&fork, &base).unwrap().1, ["a.txt", "only-here"]);
    assert_eq!(asked(&root, &base).unwrap().1, ["a.txt"]);
    let killed = |home: &Home| home.signal_daemon(rustix::process::Signal::KILL);
    let stopped = |home: &Home| drop(home.weald(&["daemon", "stop"]).ok());
    for end in [&stopped as &dyn Fn(&Home), &killed, &Home::crash] {
        end(&home);
        home.weald(&["status"]).ok();
        for (root, more) in [(&root, None), (&fork, Some("only-here".to_owned()))] {
            wait_for("the socket", || asked(root, &base).is_ok());
            assert_eq!(asked(root, &base).unwrap().1.get(1), more.as_ref());
        }
    }
    // Nothing of it holds a workspace in the file tree, or is in one.
    home.weald(&["remove", "fork"]).ok();
    home.weald(&["rename", "ws", "other"]).ok();
    assert_eq!(asked(&home.at("other"), &base).unwrap().1, ["a.txt"]);
    home.weald(&["snapshot", "other"]).ok();
    std::fs::write(home.at("other").join("new"), "new").unwrap();
    home.weald(&["restore", "other@1"]).ok();
    let (restored, paths) = asked(&home.at("other"), &base).unwrap();
    assert_eq!(paths, ["/"]);
    std::fs::write(home.at("other").join("newer"), "new").unwrap();
    assert_eq!(asked(&home.at("other"), &restored).unwrap().1, ["newer"]);
    home.weald(&["verify", "--all"]).ok();
    home.weald(&["config", "git.ipc", "off"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "hook"]).ok();
    assert!(is_helped(&home, &home.at("hook")));
    home.weald(&["daemon", "stop"]).ok();
    assert_eq!(home.mounts(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn the_socket_in_a_git_directory_is_for_its_owner_and_for_no_other_use() {
    let home = home_of_a_git_that_asks();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    let root = home.at("ws");
    let socket = root.join(".git/fsmonitor--daemon.ipc");
    let data = std::fs::symlink_metadata(&socket).unwrap();
    assert!(data.file_type().is_socket() && data.permissions().mode() & 0o7777 == 0o600);
    let in_git = "cd .git; mv fsmonitor--daemon.ipc x 2>&1; ln fsmonitor--daemon.ipc x 2>&1; chmod 777 fsmonitor--daemon.ipc 2>&1;
         echo > HEAD2; mv HEAD2 fsmonitor--daemon.ipc 2>&1; rm HEAD2; ls | grep -c -e ipc -e '^x$'";
    let said = home.run(&root, &format!("set +e; {in_git}; true")).ok();
    assert!(said.ends_with("\n0\n") && said.matches("mv:").count() == 2, "{said}");
    for bad in ["", "0", "zzzz", "0001", "ffff", "0008quit0000", "0009flush0000"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(bad.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0, "{bad}");
    }
    assert!(asked(&root, "weald:base").is_ok());
    // It may be removed, by git's own `fsmonitor--daemon stop` or by hand; git then looks for itself.
    std::fs::remove_file(&socket).unwrap();
    assert!(asked(&root, "weald:base").is_err());
    home.weald(&["daemon", "restart"]).ok();
    wait_for("the socket", || asked(&root, "weald:base").is_ok());
}
