//! Work becomes a commit in the source repository.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use support::Home;

/// A workspace `ws` of the repository `tool`.
fn workspace(home: &Home) -> (std::path::PathBuf, std::path::PathBuf) {
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    (repo, home.at("ws"))
}

fn line(home: &Home, dir: &Path, command: &str) -> String {
    home.run(dir, command).ok().trim_end().to_owned()
}

/// Changes of every kind, different for each seed.
const CHURN: &str = r#"
i=0
while [ $i -lt 40 ]; do
  i=$((i + 1)); S=$(( (S * 1103515245 + 12345) % 2147483648 )); n=$((S / 65536 % 12)); d="d$((S / 1024 % 4))"
  case $((S / 8 % 13)) in
    0) [ -f "$d" ] && rm "$d"; mkdir -p "$d"; echo "$S" > "$d/f$n" ;;
    1) rm -rf "$d/f$n" ;;
    2) [ -d "$d" ] && [ ! -e "e$n" ] && mv "$d" "e$n" ;;
    3) rm -f "l$n"; ln -s "target $S" "l$n" ;;
    4) [ -f "$d/f$n" ] && chmod 755 "$d/f$n" ;;
    5) echo "more $S" >> a.txt ;;
    6) mkdir -p deep/er; echo "$S" > "deep/er/x$n.o"; echo "$S" > "deep/er/x$n.c" ;;
    7) [ -f run.sh ] && chmod 644 run.sh ;;
    8) git add -A; [ $((S % 3)) = 0 ] && git commit -q -m "inner $i" ;;
    9) rm -rf "$d"; echo "file $S" > "$d" ;;
    10) [ -f "$d/f$n" ] && { rm "$d/f$n"; ln -s "../a.txt" "$d/f$n"; } ;;
    11) rm -rf "e$n"; mkdir -p "e$n/f$n"; printf 'one\r\ntwo $Id$\n' > "e$n/f$n/x" ;;
    12) [ -f a.txt ] && git mv a.txt "m$n" && cp "m$n" a.txt ;;
  esac; :
done
"#;

#[test]
fn promote_gives_the_tree_that_git_add_and_commit_give_in_a_copy() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.run(&repo, "echo '*.o' > .gitignore; git add .; git commit -q -m ignore").ok();
    for seed in 1..=12 {
        let name = format!("ws{seed}");
        home.weald(&["create", repo.to_str().unwrap(), &name]).ok();
        let root = home.at(&name);
        home.run(&root, &format!("S={seed}; {CHURN}")).ok();
        let promoted = home.weald(&["promote", &name, "--json"]).json();
        let copy = home.path().join("user").join(format!("copy{seed}"));
        home.run(&root, &format!("cp -a . '{}'", copy.display())).ok();
        home.run(&copy, "git add -A; git commit -q -m all --allow-empty").ok();
        let commit = promoted["commit"].as_str().unwrap();
        assert_eq!(
            line(&home, &repo, &format!("git rev-parse {commit}^{{tree}}")),
            line(&home, &copy, "git rev-parse HEAD^{tree}"),
            "seed {seed}"
        );
        assert_eq!(line(&home, &repo, &format!("git rev-parse refs/weald/{name}")), commit);
    }
    home.run(&repo, "git fsck --strict 2>&1").ok();
}

#[test]
fn commits_made_inside_are_kept_and_the_workspace_is_not_touched() {
    let home = Home::new();
    let (repo, root) = workspace(&home);
    home.run(
        &root,
        "echo one > one; git add one; git commit -q -m inner; echo two > two; git mv a.txt b.txt",
    )
    .ok();
    let state = "GIT_OPTIONAL_LOCKS=0 git status --porcelain; find .git -type f -exec sha1sum {} + | sort";
    let before = line(&home, &root, state);
    let promoted = home.weald_in(&root, &["promote", "-m", "outer", "--json"]).json();
    assert_eq!(line(&home, &root, state), before);
    assert_eq!(promoted["is_new"], true);
    assert_eq!(line(&home, &repo, "git log --format=%s refs/weald/ws"), "outer\ninner\nsecond commit\nfirst");
    let shown = line(&home, &repo, "git show -M --name-status --format= refs/weald/ws");
    assert_eq!(shown, "R100\ta.txt\tb.txt\nA\ttwo");
    // The branches of the source are as they were.
    assert_eq!(line(&home, &repo, "git log --format=%s; git status --porcelain"), "second commit\nfirst");
}

#[test]
fn what_was_promoted_is_elsewhere_when_the_workspace_is_removed() {
    let home = Home::new();
    let (repo, root) = workspace(&home);
    home.run(&root, "echo one > one; git add one; git commit -q -m inner").ok();
    let said = home.weald(&["remove", "ws"]).fault("W0019");
    assert!(said.err.contains("weald promote ws"), "{said:?}");
    home.weald(&["promote", "ws"]).ok();
    home.weald(&["remove", "ws"]).ok();
    assert_eq!(line(&home, &repo, "git log -1 --format=%s refs/weald/ws"), "inner");
}

#[test]
fn what_is_in_no_commit_is_named_when_a_workspace_is_removed() {
    let home = Home::new();
    let (repo, root) = workspace(&home);
    home.run(&root, "echo more >> a.txt; mkdir new; touch new/one new/two; rm run.sh").ok();
    home.weald(&["fork", "ws", "promoted"]).ok();
    home.weald(&["fork", "ws", "clean"]).ok();
    home.weald(&["promote", "promoted"]).ok();
    home.run(&home.at("clean"), "git clean -q -f -d; git checkout -q -f").ok();
    let said = home.weald(&["remove", "promoted", "clean"]).ok();
    assert!(!said.contains("in no commit"), "{said}");
    let said = home.weald(&["remove", "ws"]).ok();
    assert!(said.contains("in no commit: a.txt, run.sh, new/\n"), "{said}");
    home.weald(&["trash", "restore", "ws"]).ok();
    home.run(&root, "git commit -q --allow-empty -m inner").ok();
    let said = home.weald(&["remove", "ws"]).fault("W0019");
    assert!(said.err.contains("1 commit") && said.err.contains("a.txt"), "{said:?}");
    home.run(&root, "git push -q origin HEAD:refs/heads/inner").ok();
    let said = home.weald(&["remove", "ws", "--json"]).json();
    assert_eq!(said["uncommitted"]["ws"]["paths"], 3);
    assert_eq!(line(&home, &repo, "git log -1 --format=%s inner"), "inner");
}

#[test]
fn an_unchanged_state_is_the_same_commit_again_and_a_clean_one_is_head() {
    let home = Home::new();
    let (_, root) = workspace(&home);
    let clean = home.weald(&["promote", "ws", "--json"]).json();
    assert_eq!(clean["commit"], clean["head"]);
    assert_eq!(clean["is_new"], false);
    std::fs::write(root.join("new"), "new").unwrap();
    let first = home.weald(&["promote", "ws", "--json"]).json();
    let second = home.weald(&["promote", "ws", "--json"]).json();
    assert_eq!((&first["commit"], &second["before"]), (&second["commit"], &first["commit"]));
    assert!(home.weald(&["promote", "ws"]).ok().contains("as it was promoted before"));
}

#[test]
fn what_a_hook_of_the_source_refuses_is_told_and_nothing_is_done() {
    let home = Home::new();
    let (repo, root) = workspace(&home);
    let hook = repo.join(".git/hooks/pre-receive");
    home.run(
        &repo,
        "mkdir -p .git/hooks; printf '#!/bin/sh\\necho no entry >&2; exit 1' > .git/hooks/pre-receive",
    )
    .ok();
    home.run(&repo, "chmod +x .git/hooks/pre-receive").ok();
    std::fs::write(root.join("new"), "new").unwrap();
    let said = home.weald(&["promote", "ws"]).fault("W0022");
    assert!(said.err.contains("pre-receive hook declined"), "{said:?}");
    assert_eq!(line(&home, &repo, "git for-each-ref refs/weald/ws"), "");
    std::fs::remove_file(hook).unwrap();
    home.weald(&["promote", "ws"]).ok();
}

#[test]
fn signing_the_user_asked_for_is_done() {
    let home = Home::new();
    let (repo, root) = workspace(&home);
    // What git wants of a program that signs: a signature, and word of it.
    let program = home.path().join("sign");
    let script = "#!/bin/sh\ncat > /dev/null\necho '[GNUPG:] SIG_CREATED ' >&2\n\
        printf -- '-----BEGIN PGP SIGNATURE-----\\nx\\n-----END PGP SIGNATURE-----\\n'\n";
    std::fs::write(&program, script).unwrap();
    home.run(&root, &format!("chmod +x '{0}'; git config gpg.program '{0}'", program.display())).ok();
    home.run(&root, "git config commit.gpgSign true; echo new > new").ok();
    home.weald(&["promote", "ws"]).ok();
    assert!(line(&home, &repo, "git cat-file commit refs/weald/ws").contains("gpgsig -----BEGIN PGP"));
}

#[test]
fn provenance_names_the_programs_that_wrote() {
    let home = Home::new();
    let (repo, root) = workspace(&home);
    home.run(&root, "touch one; cp a.txt two").ok();
    home.weald(&["promote", "ws", "--provenance", "-m", "work"]).ok();
    let said =
        line(&home, &repo, "git log -1 --format='%(trailers:key=Weald-Written-By,valueonly)' refs/weald/ws");
    assert!(said.contains("touch (1 path)") && said.contains("cp (1 path)"), "{said}");
}

#[test]
fn what_cannot_be_promoted_is_refused() {
    let home = Home::new();
    let (repo, root) = workspace(&home);
    home.run(&root, "git switch -q -c other HEAD~1; echo theirs >> a.txt; git commit -q -a -m theirs").ok();
    assert_ne!(home.run(&root, "git merge -q main").code, 0);
    let said = home.weald(&["promote", "ws"]).fault("W0050");
    assert!(said.err.contains("a.txt"), "{said:?}");
    home.run(&root, "echo both > a.txt; git add a.txt").ok();
    home.weald(&["promote", "ws"]).ok();
    let parents = line(&home, &repo, "git log -1 --format=%P refs/weald/ws");
    assert_eq!(parents.split(' ').count(), 2, "a merge under way is one");
    home.weald(&["unmount", "ws"]).ok();
    home.weald(&["promote", "ws"]).fault("W0023");
    let plain = home.path().join("user/plain");
    home.run(home.path(), &format!("mkdir '{0}'; echo x > '{0}/x'", plain.display())).ok();
    home.weald(&["create", plain.to_str().unwrap(), "plain"]).ok();
    home.weald(&["promote", "plain"]).fault("W0028");
    home.weald(&["promote", "nobody"]).fault("W0009");
}
