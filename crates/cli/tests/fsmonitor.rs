//! `git status` with Weald's answer to what changed is what it is when git looks for itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use support::Home;

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
