//! What is taken without git is what git takes, over random changes of every kind; what is not plain is left to it.

use super::*;
use crate::scratch::Scratch;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn path(&mut self) -> String {
        let dirs = ["", "a/", "a/b/", "c/", "c/d/e/", "a.b/"];
        let names = ["one", "two", "three.c", "four.o", "b", "caf\u{e9} x"];
        format!("{}{}", dirs[self.roll(6) as usize], names[self.roll(6) as usize])
    }

    fn content(&mut self) -> String {
        let lines: String = (0..self.roll(30)).map(|at| format!("{at} {}\n", self.roll(4))).collect();
        match self.roll(12) {
            0 => lines.replace('\n', "\r\n"),
            1 => format!("$Id: {} $\n{lines}", self.roll(9)),
            2 => format!("{lines}\0\u{1}binary"),
            3 => String::new(),
            _ => lines,
        }
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(dir)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "A").env(format!("GIT_{who}_EMAIL"), "a@example.org");
    }
    let said = command.output().expect("git runs");
    assert!(said.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).into_owned()
}

fn clear(path: &Path) {
    match path.symlink_metadata() {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path).expect("it goes"),
        Ok(_) => fs::remove_file(path).expect("it goes"),
        Err(_) => {}
    }
}

/// Makes room for a path: what is in the way goes.
fn make_way(root: &Path, path: &str) -> PathBuf {
    let parts: Vec<&str> = path.split('/').collect();
    let mut at = root.to_owned();
    for part in &parts[..parts.len() - 1] {
        at.push(part);
        if at.symlink_metadata().is_ok_and(|data| !data.is_dir()) {
            clear(&at);
        }
    }
    fs::create_dir_all(&at).expect("it is made");
    let whole = root.join(path);
    clear(&whole);
    whole
}

/// One random change.
fn change(root: &Path, dice: &mut Dice) {
    let (path, other) = (dice.path(), dice.path());
    let there = root.join(&path);
    let is_file = there.symlink_metadata().is_ok_and(|data| data.is_file());
    match dice.roll(16) {
        0..=5 => fs::write(make_way(root, &path), dice.content()).expect("it is written"),
        6 => clear(&there),
        7 => symlink(format!("to {}", dice.roll(9)), make_way(root, &path)).expect("it is made"),
        8 if is_file => {
            let mode = if dice.roll(2) == 0 { 0o755 } else { 0o644 };
            fs::set_permissions(&there, fs::Permissions::from_mode(mode)).expect("it is set");
        }
        9 if is_file && path != other && !other.starts_with(&format!("{path}/")) => {
            let held = root.join("held");
            fs::rename(&there, &held).expect("it moves");
            fs::rename(&held, make_way(root, &other)).expect("it moves");
        }
        10 => drop(git(root, &["add", "-A", "--", "."])),
        11 if is_file => drop(git(root, &["add", "-f", "--", &path])),
        12 if is_file => {
            drop(Command::new("git").arg("-C").arg(root).args(["add", "-N", "--", &path]).output())
        }
        13 => drop(git(root, &["rm", "-r", "-q", "--cached", "--ignore-unmatch", "--", &path])),
        14 => {
            git(root, &["add", "-A"]);
            git(root, &["commit", "-q", "--allow-empty", "-m", "inner"]);
        }
        15 if dice.roll(3) == 0 => clear(&root.join(".gitattributes")),
        15 => {
            let lines =
                ["* text=auto\n", "*.c text eol=crlf\n", "*.c ident\n", "*.c -text\n", "*.c filter=none\n"];
            let dir = ["", "a/", "c/d/"][dice.roll(3) as usize];
            let path = make_way(root, &format!("{dir}.gitattributes"));
            fs::write(path, lines[dice.roll(5) as usize]).expect("it is written");
        }
        _ => {}
    }
}

fn repository(format: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory can be made");
    git(dir.path(), &["init", "-q", &format!("--object-format={format}")]);
    fs::write(dir.path().join(".gitignore"), "*.o\n").expect("it is written");
    dir
}

/// What is taken without git's index and with it; the first is None when it is not plain.
fn both(root: &Path) -> (Option<Taken>, Oid) {
    let scratch = Scratch::new(root, "ws").expect("it begins");
    let (odb, format) = scratch.odb().expect("gix reads it");
    let head = scratch.head().expect("it is read").map(|head| scratch.tree_of(&head).expect("it has one"));
    let git_dir = root.join(".git");
    let place = Place { workspace: root, name: "ws", git_dir: &git_dir, odb, format };
    (place.take(head.as_ref()).expect("it is taken"), scratch.add_all().expect("git takes it"))
}

#[test]
fn the_tree_is_the_one_git_add_gives_whatever_was_done() {
    let (mut plain, mut all) = (0, 0);
    for seed in 0..24 {
        let dir = repository(if seed % 4 == 3 { "sha256" } else { "sha1" });
        let mut dice = Dice(seed);
        for round in 0..6 {
            (0..8).for_each(|_| change(dir.path(), &mut dice));
            let (taken, tree) = both(dir.path());
            all += 1;
            let Some(taken) = taken else { continue };
            plain += 1;
            // All that it is made of is there: git finds every object.
            let scratch = Scratch::new(dir.path(), "ws").expect("it begins");
            scratch.keep(&taken.objects).expect("they are kept");
            let there = scratch.git();
            there.run(&["rev-list", "--objects", &taken.tree.to_string()]).expect("it is whole");
            scratch.add_all().expect("git takes it");
            let list = |tree: &Oid| {
                let list = there.run(&["ls-tree", "-r", "-t", &tree.to_string()]).expect("it is there");
                String::from_utf8_lossy(&list).into_owned()
            };
            assert_eq!(list(&taken.tree), list(&tree), "seed {seed}, round {round}");
            assert_eq!(taken.tree, tree);
        }
    }
    assert!(plain * 2 > all && plain < all, "{plain} of {all}");
}

#[test]
fn what_is_not_plain_is_left_to_git() {
    let dir = repository("sha1");
    let root = dir.path();
    fs::write(root.join("file"), "one\n").expect("it is written");
    assert!(both(root).0.is_some());
    for (content, attributes) in [("one\r\n", "* text=auto\n"), ("$Id: x $\n", "file ident\n")] {
        fs::write(root.join("file"), content).expect("it is written");
        assert!(both(root).0.is_some(), "nothing says that it is to be converted");
        fs::write(root.join(".gitattributes"), attributes).expect("it is written");
        assert!(both(root).0.is_none(), "it might be converted");
        fs::write(root.join("file"), "one\n").expect("it is written");
        assert!(both(root).0.is_some(), "there is nothing to convert");
        clear(&root.join(".gitattributes"));
    }
    fs::write(root.join(".gitattributes"), "* text=auto\n").expect("it is written");
    git(root, &["add", "-A"]);
    clear(&root.join(".gitattributes"));
    fs::write(root.join("file"), "one\r\n").expect("it is written");
    assert!(both(root).0.is_none(), "what is only in the index counts, too");
    git(root, &["rm", "-r", "-f", "-q", "--cached", "."]);
    git(root, &["config", "core.autocrlf", "input"]);
    assert!(both(root).0.is_none());
    git(root, &["config", "--unset", "core.autocrlf"]);
    fs::create_dir(root.join("sub")).expect("it is made");
    git(&root.join("sub"), &["init", "-q"]);
    git(&root.join("sub"), &["commit", "-q", "--allow-empty", "-m", "inner"]);
    assert!(both(root).0.is_none(), "a repository inside is a submodule to git");
    clear(&root.join("sub"));
    // Ignored files with attributes count all the same.
    fs::write(root.join(".gitignore"), ".gitattributes\n").expect("it is written");
    fs::write(root.join(".gitattributes"), "file filter=upper\n").expect("it is written");
    git(root, &["config", "filter.upper.clean", "tr a-z A-Z"]);
    let (taken, tree) = both(root);
    assert!(taken.is_none());
    assert!(git(root, &["ls-files", "--others", "--exclude-standard"]).contains("file"));
    clear(&root.join(".gitattributes"));
    assert_ne!(both(root).1, tree, "the filter did its work");
    git(root, &["config", "core.fileMode", "false"]);
    assert!(both(root).0.is_none());
}

#[test]
fn names_that_git_might_refuse_are_odd() {
    for name in [".git", "a/.GIT", ".git /x", ".g\u{200c}it/x", "git~1", "x/.git::$INDEX"] {
        assert!(is_odd(name.as_bytes()), "{name}");
    }
    for name in [".gitignore", "a/.gitattributes", ".github/x", "git", "a.git"] {
        assert!(!is_odd(name.as_bytes()), "{name}");
    }
}
