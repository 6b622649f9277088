//! Repositories that somebody made to harm: nothing they name is run, nothing is written outside.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::Home;
use weald_testkit::server::Server;

/// Settings that name a program.
const PROGRAMS: [&str; 19] = [
    "core.fsmonitor",
    "core.sshCommand",
    "core.editor",
    "core.pager",
    "core.askPass",
    "core.gitProxy",
    "core.alternateRefsCommand",
    "alias.status",
    "filter.x.smudge",
    "filter.x.clean",
    "filter.x.process",
    "diff.external",
    "diff.x.textconv",
    "merge.x.driver",
    "credential.helper",
    "uploadpack.packObjectsHook",
    "gpg.program",
    "interactive.diffFilter",
    "sequence.editor",
];
const HOOKS: [&str; 9] = [
    "post-checkout",
    "pre-commit",
    "post-index-change",
    "reference-transaction",
    "post-merge",
    "pre-push",
    "fsmonitor-watchman",
    "pre-auto-gc",
    "post-rewrite",
];

/// Lays programs that leave a mark wherever git could find one, below a git directory, and names filters and drivers in
/// the tree. Returns the mark.
fn trap(home: &Home, repo: &Path, git_dir: &Path) -> PathBuf {
    let mark = home.path().join("user/ran");
    let touch = format!("touch {}", mark.display());
    home.run(
        repo,
        "echo '* filter=x diff=x merge=x' > .gitattributes; git add .; git commit -q --allow-empty -m trap",
    )
    .ok();
    for key in PROGRAMS {
        home.run(repo, &format!("git --git-dir={} config {key} '{touch}'", git_dir.display())).ok();
    }
    for hook in HOOKS {
        let file = git_dir.join("hooks").join(hook);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("#!/bin/sh\n{touch}-{hook}\n")).unwrap();
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    mark
}

fn must_be_unmarked(home: &Home, what: &str) {
    let names = std::fs::read_dir(home.path().join("user")).unwrap();
    let marks: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!marks.iter().any(|name| name.to_string_lossy().starts_with("ran")), "{what}: {marks:?}");
}

/// All commands that no program of the user's own is meant to run in.
fn do_everything(home: &Home, source: &str) {
    home.weald(&["create", source, "w"]).ok();
    let w = home.at("w");
    home.run(
        &w,
        "cat a.txt link; git status --porcelain; git log -1; git diff; echo new >> a.txt; git add a.txt",
    )
    .ok();
    must_be_unmarked(home, "git in the workspace");
    for command in [
        &["snapshot", "w"][..],
        &["history", "w"],
        &["diff", "w@1", "w", "--patch"],
        &["info", "w"],
        &["list"],
        &["fork", "w", "f"],
        &["conflicts"],
        &["restore", "w@1"],
        &["verify", "w", "--base"],
        &["gc", "plan"],
        &["doctor"],
        &["remove", "f", "--force"],
        &["daemon", "restart"],
        &["create", source, "again"],
    ] {
        let said = home.weald(command);
        assert!(said.code < 2, "{command:?}: {said:?}");
        must_be_unmarked(home, command[0]);
    }
}

#[test]
fn nothing_that_a_local_source_names_is_run_by_itself() {
    let home = Home::new();
    let repo = home.repo("tool");
    let mark = trap(&home, &repo, &repo.join(".git"));
    // What the trap did while it was laid.
    for entry in std::fs::read_dir(mark.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_name().unwrap().to_string_lossy().starts_with("ran") {
            std::fs::remove_file(entry).unwrap();
        }
    }
    do_everything(&home, repo.to_str().unwrap());
}

#[test]
fn nothing_that_a_remote_names_is_run_here() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.run(
        &repo,
        "echo '* filter=x diff=x merge=x' > .gitattributes; git add .; git commit -q --allow-empty -m trap",
    )
    .ok();
    home.run(&home.path().join("user"), "git clone -q --bare tool repo.git").ok();
    let bare = home.path().join("user/repo.git");
    trap(&home, &repo, &bare);
    must_be_unmarked(&home, "laying the trap");
    do_everything(&home, &format!("file://{}", bare.display()));
    let server = Server::http(&home.path().join("user")).unwrap();
    home.weald(&["create", &server.url("repo.git"), "h"]).ok();
    home.weald(&["fetch", "h"]).ok();
    home.run(&home.at("h"), "cat a.txt; git fetch -q; git status").ok();
    must_be_unmarked(&home, "HTTP");
}

/// What it is, and the entries of its tree: mode, name, and the content of the blob or the id.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str, &'a str)>);

/// Makes a commit of a tree with these entries (mode, name, content of the blob or the id) whatever git says of them.
fn commit_of(home: &Home, repo: &Path, entries: &[(&str, &str, &str)]) -> String {
    const MAKE: &str = "import subprocess,sys\n\
        def git(*a,data=b''): return subprocess.run(['git',*a],input=data,stdout=subprocess.PIPE,check=True).stdout.decode().strip()\n\
        def tree(entries):\n raw=b''\n \
         for mode,name,what in entries:\n  \
          oid=what if mode in ('160000','40000') and len(what)==40 else git('hash-object','-w','--stdin',data=what.encode())\n  \
          raw+=mode.encode()+b' '+name.encode()+b'\\0'+bytes.fromhex(oid)\n \
         return git('hash-object','-t','tree','-w','--literally','--stdin',data=raw)\n\
        words=[line.split('\\x1f') for line in sys.argv[1].split('\\x1e')]\n\
        print(git('commit-tree','-m','crafted',tree(words)))\n";
    let words: Vec<String> =
        entries.iter().map(|(mode, name, what)| format!("{mode}\x1f{name}\x1f{what}")).collect();
    let file = home.path().join("user/make.py");
    std::fs::write(&file, MAKE).unwrap();
    home.run(repo, &format!("python3 {} '{}'", file.display(), words.join("\x1e"))).ok().trim().to_owned()
}

#[test]
fn trees_made_for_the_holes_of_git_write_nothing_outside_and_run_nothing() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.run(
        &home.path().join("user"),
        "git init -q -b main evil; cd evil; git commit -q --allow-empty -m x",
    )
    .ok();
    let evil = home.path().join("user/evil");
    trap(&home, &evil, &evil.join(".git"));
    let names = std::fs::read_dir(home.path().join("user")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("ran")).for_each(|path| {
        std::fs::remove_file(path).unwrap();
    });
    let link = home.run(&evil, "git rev-parse HEAD").ok().trim().to_owned();
    let modules = |name: &str, path: &str, url: &str| {
        format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n")
    };
    let there = evil.to_str().unwrap();
    let update =
        format!("{}\tupdate = !touch {}/user/ran\n", modules("s", "sub", there), home.path().display());
    let carriage = modules("s", "sub\r", there);
    let (up, dash, plain) = (
        modules("../../hooks", "sub", there),
        modules("s", "sub", "-u./x"),
        modules("x", "A/modules/x", there),
    );
    let cases: [Case<'_>; 9] = [
        // CVE-2024-32002: a link that on other file systems is the directory a submodule is put into.
        (
            "link beside submodule",
            vec![("120000", "a", ".git"), ("100644", ".gitmodules", &plain), ("160000", "A", &link)],
        ),
        // CVE-2018-11235: a submodule whose name leads out of .git/modules.
        ("name that leads out", vec![("100644", ".gitmodules", &up), ("160000", "sub", &link)]),
        // CVE-2018-17456: a URL that is taken for an option.
        ("url that is an option", vec![("100644", ".gitmodules", &dash), ("160000", "sub", &link)]),
        ("command for updating", vec![("100644", ".gitmodules", &update), ("160000", "sub", &link)]),
        // CVE-2025-48384: a path whose last character is lost when it is read again.
        (
            "path with a carriage return",
            vec![("100644", ".gitmodules", &carriage), ("160000", "sub\r", &link)],
        ),
        (
            "links that lead out",
            vec![("120000", "etc", "/etc"), ("120000", "up", "../../../.."), ("120000", "git", ".git/hooks")],
        ),
        (
            "a bare repository inside",
            vec![
                ("100644", "HEAD", "ref: refs/heads/x"),
                ("100644", "config", "[core]\n\tfsmonitor = touch ran\n"),
            ],
        ),
        (
            "attributes of everything",
            vec![
                ("100644", ".gitattributes", "* filter=x working-tree-encoding=UTF-99 text eol=crlf\n"),
                ("100644", "a", "b"),
            ],
        ),
        (
            "mail map and ignore",
            vec![
                ("120000", ".gitignore", "/etc/passwd"),
                ("120000", ".gitattributes", "/etc/passwd"),
                ("120000", ".mailmap", "/dev/zero"),
            ],
        ),
    ];
    for (what, entries) in cases {
        let commit = commit_of(&home, &repo, &entries);
        home.weald(&["create", repo.to_str().unwrap(), "w", "--rev", &commit]).ok();
        // Git may refuse such a tree.
        let _ = home.run(
            &home.at("w"),
            "git status --porcelain || true; git diff --stat || true; find . | xargs stat",
        );
        assert_eq!(
            home.run(&home.at("w"), "ls .git/hooks .git/modules 2> /dev/null | grep -v : || true")
                .ok()
                .trim(),
            "",
            "{what}"
        );
        home.weald(&["verify", "w", "--base"]).ok();
        home.weald(&["remove", "w"]).ok();
        home.weald(&["trash", "empty"]).ok();
        must_be_unmarked(&home, what);
    }
}

#[test]
fn trees_that_no_directory_can_be_are_refused() {
    let home = Home::new();
    let repo = home.repo("tool");
    let (empty, blob) = ("4b825dc642cb6eb9a060e54bf8d69288fbee4904", "x");
    let head = home.run(&repo, "git rev-parse HEAD").ok().trim().to_owned();
    home.run(&repo, "git hash-object -t tree -w /dev/null").ok();
    let inner = "printf '120000 blob %s\\tpost-checkout\\n' \"$(printf ../../payload | git hash-object -w --stdin)\" | git mktree";
    let inner = home.run(&repo, inner).ok().trim().to_owned();
    let cases: [Case<'_>; 10] = [
        // CVE-2026-44471: what is below the directory was written through the link.
        (
            "a link and a directory with a link",
            vec![("120000", "a", ".git/hooks"), ("40000", "a", &inner), ("100755", "payload", blob)],
        ),
        ("a link and a directory", vec![("120000", "a", "/etc"), ("40000", "a", empty)]),
        ("a file twice", vec![("100644", "a", blob), ("100644", "a", "y")]),
        ("a file and a submodule", vec![("100644", "a", blob), ("160000", "a", &head)]),
        ("a link for .gitmodules", vec![("120000", ".gitmodules", "/etc/passwd")]),
        ("its short name", vec![("120000", "gi7eba~1", "/etc/passwd")]),
        ("a submodule at .git", vec![("160000", ".git", &head)]),
        ("an invisible character", vec![("40000", ".g\u{200d}it", empty)]),
        ("a stream", vec![("100644", ".git::$INDEX_ALLOCATION", blob)]),
        ("a backslash", vec![("100644", "x\\.git\\config", blob)]),
    ];
    for (what, entries) in cases {
        let commit = commit_of(&home, &repo, &entries);
        let said = home.weald(&["create", repo.to_str().unwrap(), "w", "--rev", &commit]);
        assert!(said.code != 0 && said.err.contains("[W0006]"), "{what}: {said:?}");
    }
    assert_eq!(home.weald(&["list", "--json"]).ok(), "[]\n");
}
