//! Merges of random histories come out as `git merge-tree` says, which is asked for all of them in one run.

use crate::support::{Lab, git_in};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use weald_git::merge::{Branch, Merge};
use weald_model::Oid;

/// Histories merged; each has up to some ten paths changed on either side.
const HISTORIES: usize = 1000;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn path(&mut self) -> String {
        let dirs = ["", "src/", "src/deep/", "lib/", "doc/"];
        format!("{}{}", dirs[self.roll(5) as usize], ["a", "b", "c", "d.txt", "e"][self.roll(5) as usize])
    }
}

/// Mode and content of each path.
type Tree = BTreeMap<String, (&'static str, Vec<u8>)>;

fn text(dice: &mut Dice) -> Vec<u8> {
    let kind = dice.roll(3);
    (0..10 + dice.roll(15)).flat_map(|line| format!("line {line} of {kind}\n").into_bytes()).collect()
}

fn fresh(dice: &mut Dice) -> (&'static str, Vec<u8>) {
    match dice.roll(8) {
        0 => ("120000", format!("to/{}", dice.roll(4)).into_bytes()),
        1 => ("100755", text(dice)),
        2 => ("100644", [&b"\0binary"[..], &text(dice)].concat()),
        3 => ("100644", Vec::new()),
        _ => ("100644", text(dice)),
    }
}

/// Puts a path in; what is in the way of it goes.
fn put(tree: &mut Tree, path: String, entry: (&'static str, Vec<u8>)) {
    let below = format!("{path}/");
    tree.retain(|other, _| !other.starts_with(&below) && !path.starts_with(&format!("{other}/")));
    tree.insert(path, entry);
}

/// One random change: an edit, a deletion, another mode, a rename with or without an edit, a new path, a file in the
/// place of a directory and the other way round.
fn change(tree: &mut Tree, dice: &mut Dice) {
    let there: Vec<String> = tree.keys().cloned().collect();
    let Some(path) = (!there.is_empty()).then(|| there[dice.roll(there.len() as u64) as usize].clone())
    else {
        return put(tree, dice.path(), fresh(dice));
    };
    let (mode, mut content) = tree[&path].clone();
    match dice.roll(12) {
        0..=3 if mode != "120000" => {
            let mut lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
            let at = dice.roll(lines.len() as u64 + 1) as usize;
            let new = format!("changed {}\n", dice.roll(3)).into_bytes();
            match dice.roll(3) {
                0 if at < lines.len() => drop(lines.remove(at)),
                1 if at < lines.len() => lines[at] = &new,
                _ => lines.insert(at, &new),
            }
            let content = lines.concat();
            tree.insert(path, (mode, content));
        }
        4 | 5 => drop(tree.remove(&path)),
        6 if mode != "120000" => {
            tree.insert(path, (if mode == "100644" { "100755" } else { "100644" }, content));
        }
        7 | 8 => {
            tree.remove(&path);
            if dice.roll(2) == 0 {
                content.extend_from_slice(b"moved\n");
            }
            put(tree, dice.path(), (mode, content));
        }
        9 => {
            let (from, to) =
                (["src/", "lib/", "doc/"][dice.roll(3) as usize], ["new/", "lib/"][dice.roll(2) as usize]);
            let moved: Vec<String> = tree.keys().filter(|path| path.starts_with(from)).cloned().collect();
            for path in moved {
                if let Some(entry) = tree.remove(&path) {
                    put(tree, path.replacen(from, to, 1), entry);
                }
            }
        }
        10 => put(tree, format!("{path}/below"), fresh(dice)),
        _ => put(tree, dice.path(), fresh(dice)),
    }
}

/// A stream for git-fast-import(1).
struct Stream {
    out: Vec<u8>,
    commits: usize,
}

impl Stream {
    fn commit(&mut self, reference: &str, parents: &[usize], tree: &Tree) -> usize {
        self.commits += 1;
        let mark = self.commits;
        let when = 1_700_000_000 + mark;
        let head = format!(
            "commit {reference}\nmark :{mark}\ncommitter C <c@example.org> {when} +0000\ndata 1\nx\n"
        );
        self.out.extend_from_slice(head.as_bytes());
        for (at, parent) in parents.iter().enumerate() {
            let word = if at == 0 { "from" } else { "merge" };
            self.out.extend_from_slice(format!("{word} :{parent}\n").as_bytes());
        }
        self.out.extend_from_slice(b"deleteall\n");
        for (path, (mode, content)) in tree {
            self.out
                .extend_from_slice(format!("M {mode} inline {path}\ndata {}\n", content.len()).as_bytes());
            self.out.extend_from_slice(content);
            self.out.push(b'\n');
        }
        self.out.push(b'\n');
        mark
    }

    /// One history with a branch for each side.
    fn history(&mut self, number: usize, dice: &mut Dice) {
        let mut base = Tree::new();
        (0..4 + dice.roll(6)).for_each(|_| put(&mut base, dice.path(), fresh(dice)));
        let (ours_ref, theirs_ref) =
            (format!("refs/heads/ours-{number}"), format!("refs/heads/theirs-{number}"));
        let root = self.commit(&format!("refs/tags/base-{number}"), &[], &base);
        let changed = |from: &Tree, dice: &mut Dice, most: u64| {
            let mut tree = from.clone();
            (0..dice.roll(most)).for_each(|_| change(&mut tree, dice));
            tree
        };
        let (ours, theirs) = (changed(&base, dice, 6), changed(&base, dice, 6));
        let a = self.commit(&ours_ref, &[root], &ours);
        let behind = match dice.roll(10) {
            0 => a,
            _ => root,
        };
        let b = self.commit(&theirs_ref, &[behind], &theirs);
        if dice.roll(3) == 0 {
            // Criss-cross: each side merged the other, and came to its own conclusion.
            let (one, two) = (changed(&ours, dice, 3), changed(&theirs, dice, 3));
            let c = self.commit(&ours_ref, &[a, b], &one);
            let d = self.commit(&theirs_ref, &[b, a], &two);
            self.commit(&ours_ref, &[c], &changed(&one, dice, 4));
            self.commit(&theirs_ref, &[d], &changed(&two, dice, 4));
        }
    }
}

fn fed(repo: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(repo)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "git {args:?}");
    output.stdout
}

/// The tree, and the paths in conflict unless it is clean.
type Outcome = (Oid, Option<Vec<Vec<u8>>>);

/// What git says of all of them, in order.
fn outcomes(repo: &Path, ours: &[Oid], theirs: &[Oid]) -> Vec<Outcome> {
    let pairs: String = ours.iter().zip(theirs).map(|(ours, theirs)| format!("{ours} {theirs}\n")).collect();
    let said = fed(repo, &["merge-tree", "--stdin", "--name-only", "--no-messages"], pairs.as_bytes());
    let mut parts = said.split(|byte| *byte == 0);
    let mut outcomes = Vec::new();
    while let Some(state @ (b"0" | b"1")) = parts.next() {
        let tree = Oid::from_hex(std::str::from_utf8(parts.next().unwrap()).unwrap()).unwrap();
        let paths: Vec<Vec<u8>> =
            parts.by_ref().take_while(|path| !path.is_empty()).map(<[u8]>::to_vec).collect();
        outcomes.push((tree, (state == b"0").then_some(paths)));
    }
    outcomes
}

/// The branches of one side, in order.
fn commits(repo: &Path, side: &str) -> Vec<Oid> {
    let list = git_in(repo, &["for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads/"]);
    let mut found: Vec<(usize, Oid)> = list
        .lines()
        .filter_map(|line| {
            let (name, commit) = line.split_once(' ')?;
            Some((name.strip_prefix(side)?.strip_prefix('-')?.parse().ok()?, Oid::from_hex(commit)?))
        })
        .collect();
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, commit)| commit).collect()
}

#[test]
fn merges_of_random_histories_are_those_of_git_merge_tree() {
    let lab = Lab::new();
    git_in(lab.dir.path(), &["init", "-q", "--bare", "repo"]);
    let repo = lab.path("repo");
    git_in(&repo, &["config", "user.name", "A"]);
    git_in(&repo, &["config", "user.email", "a@example.org"]);
    let (mut stream, mut dice) = (Stream { out: Vec::new(), commits: 0 }, Dice(7));
    (0..HISTORIES).for_each(|number| stream.history(number, &mut dice));
    fed(&repo, &["fast-import", "--quiet"], &stream.out);
    let tips = commits(&repo, "theirs");
    let expected = outcomes(&repo, &commits(&repo, "ours"), &tips);
    assert_eq!(expected.len(), HISTORIES);
    let mut results = Vec::new();
    for (number, commit) in tips.iter().enumerate() {
        let branch = Branch { repo: &repo, name: &format!("ours-{number}") };
        results.push(branch.take_in(commit, "merged\n", "test").unwrap());
    }
    let (mut clean, mut conflicts, mut forward) = (0, 0, 0);
    let after = commits(&repo, "ours");
    let wanted: String = after.iter().map(|commit| format!("{commit}\n")).collect();
    let made = fed(&repo, &["log", "--no-walk=unsorted", "--stdin", "--format=%T %P"], wanted.as_bytes());
    let made: Vec<&str> = std::str::from_utf8(&made).unwrap().lines().collect();
    for (number, ((tree, paths), merged)) in expected.iter().zip(&results).enumerate() {
        match (merged, paths) {
            (Merge::Conflicts { tip, paths: told }, Some(paths)) => {
                conflicts += 1;
                assert_eq!((tip, told), (&after[number], paths), "{number}: conflicts move nothing");
            }
            (Merge::Clean { tip, commit, is_fast_forward }, None) => {
                clean += 1;
                assert_eq!(*commit, after[number], "{number}");
                let (is, parents) = made[number].split_once(' ').unwrap();
                assert_eq!(is, tree.to_string(), "{number}");
                if *is_fast_forward {
                    forward += 1;
                    assert_eq!(*commit, tips[number]);
                } else {
                    assert_eq!(parents, format!("{tip} {}", tips[number]), "{number}");
                }
            }
            (Merge::UpToDate { tip }, None) => assert_eq!(*tip, after[number]),
            _ => panic!("{number}: {merged:?}, and git says {paths:?}"),
        }
    }
    assert!(
        clean > HISTORIES / 5 && conflicts > HISTORIES / 5 && forward > 0,
        "{clean}, {conflicts}, {forward}"
    );
    git_in(&repo, &["fsck", "--strict"]);
}
