//! Files as `git checkout` writes them: line ends, `ident`, encodings, filters, Git LFS.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use support::Home;

/// Output of a command without its last newline.
fn line(home: &Home, dir: &Path, command: &str) -> String {
    home.run(dir, command).ok().trim_end().to_owned()
}

/// An empty repository.
fn empty(home: &Home, name: &str) -> PathBuf {
    let repo = home.path().join("user").join(name);
    home.run(home.path(), &format!("git init -q -b main '{}'", repo.display())).ok();
    repo
}

fn write(dir: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Git finds nothing changed, also when it reads every file again.
fn assert_clean(home: &Home, root: &Path, what: &str) {
    assert_eq!(line(home, root, "git status --porcelain"), "", "{what}");
    let again = "git -c core.fsmonitor=false -c core.checkStat=default update-index --really-refresh 2>&1; \
        rm -f .git/index; git reset -q 2>&1; git status --porcelain";
    assert_eq!(line(home, root, again), "", "{what}: read again");
}

/// The same files with the same bytes as in a clone that git made.
fn assert_like_a_clone(home: &Home, source: &Path, root: &Path, what: &str) {
    let clone = home.path().join("user/clone");
    let command = format!("rm -rf '{0}'; git clone -q '{1}' '{0}'", clone.display(), source.display());
    home.run(home.path(), &command).ok();
    let said =
        home.run(home.path(), &format!("diff -r --exclude=.git '{}' '{}'", clone.display(), root.display()));
    assert!(said.code == 0, "{what}: {said:?}");
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const PATTERNS: &[&str] = &["*", "*.txt", "*.bat", "a/*", "/a/d/**", "x*", "*.bin", "sp*", "b", "[a-c]1.txt"];
const ATTRIBUTES: &[&str] = &[
    "text",
    "-text",
    "text=auto",
    "!text",
    "eol=crlf",
    "eol=lf",
    "-eol",
    "crlf",
    "-crlf",
    "crlf=input",
    "ident",
    "-ident",
    "working-tree-encoding=UTF-16",
    "working-tree-encoding=UTF-16LE-BOM",
    "working-tree-encoding=ISO-8859-1",
    "-working-tree-encoding",
    "filter=upper",
    "-filter",
    "filter=absent",
    "binary",
    "mine",
    "export-ignore",
    "diff=cpp",
];
const CONTENTS: &[&str] = &[
    "",
    "one\n",
    "one\ntwo\nthree",
    "$Id$\n",
    "x $Id: 0123 $ y\n$Id$",
    "caf\u{e9}\n",
    "bin\0ary\n",
    "lone\rcr\n",
    "\n\n\n",
    "$Id",
];
const NAMES: &[&str] =
    &["x.txt", "y.bat", "b", "a1.txt", "sp ace.txt", "z.bin", "line\nend.txt", "\u{e4}.txt", " lead.bat"];
const DIRS: &[&str] = &["", "a/", "a/d/", "c/", "c/sp dir/"];
const SETTINGS: &[&str] =
    &["", "autocrlf = true", "autocrlf = input", "eol = crlf", "autocrlf = false\n\teol = crlf", "eol = lf"];

fn random_attributes(random: &mut Random) -> String {
    let mut text = String::from("# rules\n");
    if random.below(3) == 0 {
        text += "[attr]mine eol=crlf ident\n";
    }
    for _ in 0..1 + random.below(4) {
        let (first, second) = (random.of(ATTRIBUTES), random.of(ATTRIBUTES));
        writeln!(text, "{} {first} {second}", random.of(PATTERNS)).unwrap();
    }
    text
}

#[test]
fn files_are_what_git_writes_whatever_attributes_say() {
    let mut converted = 0;
    for seed in 0..12 {
        let mut random = Random(seed);
        let setting = random.of(SETTINGS);
        let filters = "[filter \"upper\"]\n\tsmudge = tr a-z A-Z\n\tclean = tr A-Z a-z\n";
        let home = Home::with_git_config(&format!("[core]\n\t{setting}\n{filters}"));
        let repo = empty(&home, "repo");
        // What is committed is as it is here, whatever rules say later: also what a checkin would not make.
        home.run(&repo, "git config core.autocrlf false; git config core.eol lf").ok();
        for dir in DIRS {
            for name in NAMES {
                if random.below(3) > 0 {
                    write(&repo, &format!("{dir}{name}"), random.of(CONTENTS));
                }
            }
        }
        home.run(&repo, "git add -A; git commit -q --allow-empty -m files").ok();
        write(&repo, ".gitattributes", random_attributes(&mut random));
        write(&repo, "a/.gitattributes", random_attributes(&mut random));
        // As rules that git cannot apply to what is there would hinder the commit, it is made without a working tree.
        let rules = "for f in .gitattributes a/.gitattributes; do git update-index --add --cacheinfo \
            100644,$(git hash-object -w --no-filters $f),$f; done; git commit -q -m rules; \
            git config --unset core.autocrlf; git config --unset core.eol";
        home.run(&repo, rules).ok();
        home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
        let what = format!("seed {seed}, {setting:?}");
        assert_like_a_clone(&home, &repo, &home.at("w"), &what);
        assert_eq!(line(&home, &home.at("w"), "git status --porcelain"), "", "{what}");
        let differ = "git ls-files -z | while IFS= read -r -d '' f; do git cat-file blob :\"$f\" | cmp -s - \"$f\" || echo x; done";
        converted += line(&home, &home.at("w"), &format!("bash -c '{}'", differ.replace('\'', "'\\''")))
            .lines()
            .count();
        home.weald(&["verify", "w", "--base"]).ok();
    }
    assert!(converted > 50, "{converted} files were converted");
}

#[test]
fn a_converted_tree_is_like_any_other_to_every_command() {
    let home = Home::new();
    let repo = empty(&home, "tool");
    write(&repo, ".gitattributes", "*.bat text eol=crlf\n*.c ident\n");
    write(&repo, "run.bat", "one\ntwo\n");
    write(&repo, "deep/er/run.bat", "one\ntwo\n");
    write(&repo, "a.c", "/* $Id$ */\n");
    write(&repo, "plain", "plain\n");
    home.run(&repo, "git add -A; git commit -q -m first").ok();
    let created = home.weald(&["create", repo.to_str().unwrap(), "w", "--json"]).json();
    assert_eq!(created["notes"].as_array().unwrap().len(), 0);
    let root = home.at("w");
    let read = |name: &str, path: &str| std::fs::read_to_string(home.at(name).join(path)).unwrap();
    assert_eq!(read("w", "run.bat"), "one\r\ntwo\r\n");
    assert_eq!(read("w", "deep/er/run.bat"), "one\r\ntwo\r\n");
    assert_eq!(read("w", "a.c"), format!("/* $Id: {} $ */\n", line(&home, &repo, "git rev-parse HEAD:a.c")));
    assert_clean(&home, &root, "fresh");
    assert_eq!(
        home.weald(&["info", "w", "--json"]).json()["source"]["tree"],
        line(&home, &repo, "git rev-parse HEAD^{tree}")
    );
    // Again from what is kept, after a restart, and in a fork.
    home.weald(&["snapshot", "w", "fresh"]).ok();
    home.weald(&["daemon", "restart"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "again"]).ok();
    home.weald(&["fork", "w", "f"]).ok();
    for name in ["w", "again", "f"] {
        assert_eq!(read(name, "deep/er/run.bat"), "one\r\ntwo\r\n", "{name}");
        assert_clean(&home, &home.at(name), name);
    }
    // Work goes back as git cleans it.
    home.run(&root, "printf 'three\\r\\n' >> run.bat; echo x >> plain").ok();
    assert_eq!(line(&home, &root, "git status --porcelain"), " M plain\n M run.bat");
    home.weald(&["merge", "w"]).ok();
    assert_eq!(line(&home, &repo, "git show HEAD:run.bat"), "one\ntwo\nthree");
    assert_eq!(line(&home, &repo, "git diff --shortstat HEAD~1 HEAD"), " 2 files changed, 2 insertions(+)");
    home.weald(&["restore", "w@fresh", "run.bat"]).ok();
    assert_eq!(read("w", "run.bat"), "one\r\ntwo\r\n");
    // What nobody needs goes, what is needed stays.
    for name in ["again", "f"] {
        home.weald(&["remove", name, "--force"]).ok();
    }
    home.weald(&["trash", "empty"]).ok();
    let plan = home.weald(&["gc", "plan", "--json"]).json();
    home.weald(&["gc", "run", plan["id"].as_str().unwrap()]).ok();
    home.weald(&["verify", "w", "--base"]).ok();
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(read("w", "deep/er/run.bat"), "one\r\ntwo\r\n");
}

#[test]
fn filters_run_as_the_user_has_them_and_never_as_a_repository_says() {
    let home = Home::with_git_config("[filter \"mine\"]\n\tsmudge = tr a-z A-Z\n\tclean = tr A-Z a-z\n");
    let repo = empty(&home, "tool");
    write(&repo, ".gitattributes", "*.up filter=mine\n*.x filter=theirs\n");
    write(&repo, "a.up", "low\n");
    write(&repo, "b.x", "low\n");
    let ran = home.path().join("ran");
    home.run(&repo, "git add -A; git commit -q -m first").ok();
    home.run(&repo, &format!("git config filter.theirs.smudge 'touch {}; cat'", ran.display())).ok();
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.weald(&["create", &format!("file://{}", repo.display()), "u"]).ok();
    for name in ["w", "u"] {
        assert_eq!(line(&home, &home.at(name), "cat a.up b.x"), "LOW\nlow", "{name}");
        assert_clean(&home, &home.at(name), name);
    }
    assert!(!ran.exists(), "the source's own configuration ran");
}

#[test]
fn a_filter_that_fails_leaves_what_was_committed_and_is_told() {
    for required in ["false", "true"] {
        let script = "grep -q bad && { echo no luck >&2; exit 1; }; echo converted";
        let home = Home::with_git_config(&format!(
            "[filter \"f\"]\n\tsmudge = \"f() {{ {script}; }}; f\"\n\trequired = {required}\n\tclean = cat\n"
        ));
        let repo = empty(&home, "tool");
        write(&repo, ".gitattributes", "*.f filter=f\n*.bat eol=crlf\n");
        for (name, content) in [("a.f", "good\n"), ("b.f", "bad\n"), ("c.f", "good\n"), ("d.bat", "x\n")] {
            write(&repo, name, content);
        }
        home.run(&repo, "git -c filter.f.required=false add -A; git commit -q -m first").ok();
        let created = home.weald(&["create", repo.to_str().unwrap(), "w", "--json"]).json();
        let note = created["notes"][0].as_str().unwrap_or_default();
        assert!(note.contains("the filter `f` failed") && note.contains("no luck"), "{created}");
        let root = home.at("w");
        assert_eq!(
            line(&home, &root, "cat a.f b.f c.f d.bat"),
            "converted\nbad\nconverted\nx\r".trim_end(),
            "{required}"
        );
        assert_eq!(line(&home, &root, "git status --porcelain"), "", "{required}");
        // It is tried again for the next workspace.
        home.run(&root, "git config --global filter.f.smudge 'echo converted'").ok();
        let created = home.weald(&["create", repo.to_str().unwrap(), "v", "--json"]).json();
        assert_eq!(created["notes"].as_array().unwrap().len(), 0, "{created}");
        assert_eq!(line(&home, &home.at("v"), "cat b.f"), "converted");
        assert_eq!(line(&home, &root, "cat b.f"), "bad", "a workspace does not change under its user");
    }
}

/// A filter that gives content by its pointer from a directory, and says when it ran.
const LFS: &str = r#"#!/bin/sh
oid=$(sed -n 's/^oid sha256://p')
echo "$oid" >> "$0.ran"
cat "$(dirname "$0")/store/$oid"
"#;

/// A repository with two files of Git LFS, whose content lies in `store`.
fn with_lfs(home: &Home) -> PathBuf {
    let dir = home.path();
    std::fs::create_dir(dir.join("store")).unwrap();
    write(dir, "lfs", LFS);
    home.run(dir, "chmod +x lfs").ok();
    let repo = empty(home, "tool");
    write(&repo, ".gitattributes", "*.big filter=lfs diff=lfs merge=lfs -text\n");
    put_in_lfs(home, &repo, "small.big", "small\n");
    put_in_lfs(home, &repo, "deep/large.big", &"large\r\n".repeat(100_000));
    home.run(&repo, "git -c filter.lfs.clean=cat add -A; git commit -q -m first").ok();
    repo
}

fn put_in_lfs(home: &Home, repo: &Path, name: &str, content: &str) {
    let dir = home.path();
    write(dir, "content", content);
    let hash = line(home, dir, "sha256sum < content | cut -d' ' -f1");
    std::fs::write(dir.join("store").join(&hash), content).unwrap();
    let text =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{hash}\nsize {}\n", content.len());
    write(repo, name, text);
}

fn lfs_config(home: &Home) {
    let command = format!(
        "git config --global filter.lfs.smudge '{}/lfs'; git config --global filter.lfs.clean cat",
        home.path().display()
    );
    home.run(home.path(), &command).ok();
}

#[test]
fn content_of_git_lfs_has_its_size_at_once_and_is_brought_when_it_is_read() {
    let home = Home::new();
    let repo = with_lfs(&home);
    lfs_config(&home);
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let root = home.at("w");
    let ran = || std::fs::read_to_string(home.path().join("lfs.ran")).unwrap().lines().count();
    assert_eq!(line(&home, &root, "stat -c %s small.big deep/large.big"), "6\n700000");
    assert_eq!(line(&home, &root, "git status --porcelain"), "");
    assert_eq!(ran(), 1, "the smallest was tried");
    assert_eq!(std::fs::read_to_string(root.join("deep/large.big")).unwrap(), "large\r\n".repeat(100_000));
    assert_eq!(ran(), 2);
    home.weald(&["create", repo.to_str().unwrap(), "v"]).ok();
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(std::fs::metadata(home.at("v").join("deep/large.big")).unwrap().len(), 700_000);
    assert_eq!(std::fs::read_to_string(home.at("v").join("deep/large.big")).unwrap().len(), 700_000);
    assert_eq!(ran(), 2, "it is kept for all workspaces");
    assert_eq!(line(&home, &root, "git diff --stat; cat small.big"), "small");
    // What cannot be had now is an error, and can be read once it can.
    let store = home.path().join("store");
    put_in_lfs(&home, &repo, "new.big", "new content\n");
    home.run(&repo, "git -c filter.lfs.clean=cat add -A; git commit -qm again").ok();
    home.weald(&["create", repo.to_str().unwrap(), "x"]).ok();
    std::fs::rename(&store, home.path().join("away")).unwrap();
    let at = home.at("x");
    assert_eq!(std::fs::read(at.join("deep/large.big")).unwrap().len(), 700_000, "another tree has it");
    let error = std::fs::read(at.join("new.big")).map(|bytes| bytes.len()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5));
    let log = std::fs::read_to_string(home.home().join("daemon.log")).unwrap();
    assert!(log.contains("new.big: Git LFS: "), "{log}");
    std::fs::rename(home.path().join("away"), &store).unwrap();
    assert_eq!(std::fs::read_to_string(at.join("new.big")).unwrap(), "new content\n");
}

#[test]
fn without_git_lfs_its_pointers_are_shown_and_that_is_told_when_it_is_set_up() {
    let home = Home::new();
    let repo = with_lfs(&home);
    let created = home.weald(&["create", repo.to_str().unwrap(), "w", "--json"]).json();
    assert_eq!(created["notes"].as_array().unwrap().len(), 0, "git says nothing either: {created}");
    assert!(line(&home, &home.at("w"), "cat small.big").starts_with("version https://git-lfs"));
    lfs_config(&home);
    std::fs::rename(home.path().join("store"), home.path().join("away")).unwrap();
    let created = home.weald(&["create", repo.to_str().unwrap(), "v", "--json"]).json();
    let note = created["notes"][0].as_str().unwrap_or_default();
    assert!(note.contains("Git LFS failed") && note.contains("2 files are the pointers"), "{created}");
    assert!(
        line(&home, &home.at("v"), "cat small.big; git status --porcelain")
            .starts_with("version https://git-lfs")
    );
    std::fs::rename(home.path().join("away"), home.path().join("store")).unwrap();
    home.weald(&["create", repo.to_str().unwrap(), "x"]).ok();
    assert_eq!(line(&home, &home.at("x"), "cat small.big"), "small");
}

#[test]
fn content_behind_a_url_is_converted_and_the_rest_stays_there() {
    let home = Home::new();
    let repo = empty(&home, "tool");
    write(&repo, ".gitattributes", "*.bat eol=crlf\n");
    write(&repo, "a.bat", "x\n");
    write(&repo, "deep/b.bat", "y\n");
    write(&repo, "plain", "plain\n");
    home.run(&repo, "git add -A; git commit -q -m first; git config uploadpack.allowFilter true").ok();
    home.run(&repo, "git config uploadpack.allowAnySHA1InWant true").ok();
    home.weald(&["config", "fetch.prefetch", "off"]).ok();
    home.weald(&["create", &format!("file://{}", repo.display()), "u"]).ok();
    let clone =
        PathBuf::from(home.weald(&["info", "u", "--json"]).json()["source"]["git_dir"].as_str().unwrap());
    let plain = line(&home, &repo, "git rev-parse HEAD:plain");
    let has_plain = || home.run(&clone, &format!("GIT_NO_LAZY_FETCH=1 git cat-file -e {plain}")).code == 0;
    let root = home.at("u");
    assert_eq!(line(&home, &root, "cat a.bat deep/b.bat; git status --porcelain"), "x\r\ny");
    assert!(!has_plain(), "only what is converted was fetched");
    assert_eq!(line(&home, &root, "cat plain"), "plain");
    assert!(has_plain());
    home.weald(&["config", "fetch.prefetch", "on"]).ok();
    home.weald(&["verify", "u", "--base"]).ok();
}

#[test]
fn converted_content_that_was_damaged_or_forgotten_is_made_again() {
    let home = Home::new();
    let repo = empty(&home, "tool");
    write(&repo, ".gitattributes", "*.bat eol=crlf\n");
    write(&repo, "a.bat", "unmistakable\n");
    home.run(&repo, "git add -A; git commit -q -m first").ok();
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let file = home.at("w").join("a.bat");
    home.weald(&["daemon", "stop"]).ok();
    let kept = PathBuf::from(line(&home, &home.home(), "grep -rl unmistakable $PWD/cas"));
    std::fs::write(&kept, "unmistakeable\r\n").unwrap();
    home.weald(&["mount", "w"]).ok();
    assert_eq!(std::fs::read(&file).map(|bytes| bytes.len()).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(home.weald(&["verify", "--all"]).code, 1);
    home.weald(&["verify", "--all", "--heal"]).ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "unmistakable\r\n");
    home.weald(&["daemon", "stop"]).ok();
    home.run(&home.home(), "rm registry.db*").ok();
    home.weald(&["mount", "w"]).ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "unmistakable\r\n");
    assert_clean(&home, &home.at("w"), "after the loss of the registry");
}

#[test]
fn content_added_to_git_lfs_goes_back_with_the_commits_that_point_to_it() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let root = home.at("w");
    let below = format!("lfs/objects/ab/ab/{}", "ab".repeat(32));
    write(&root, &format!(".git/{below}"), "content");
    write(&root, ".git/lfs/objects/ab/ab/no-object", "content");
    home.run(&root, "echo pointer > a.txt; git commit -qam pointer").ok();
    home.weald(&["promote", "w"]).ok();
    assert_eq!(std::fs::read_to_string(repo.join(".git").join(&below)).unwrap(), "content");
    assert_eq!(line(&home, &repo, "find .git/lfs -type f | wc -l"), "1");
}
