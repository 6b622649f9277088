//! Work of workspaces comes into a branch.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use support::Home;

/// A repository with fifty lines in a file, and workspaces of it.
fn scene(home: &Home, names: &[&str]) -> PathBuf {
    let repo = home.repo("tool");
    home.run(
        &repo,
        "seq 1 50 > lines; mkdir old; echo x > old/x; echo y > old/y; git add .; git commit -q -m lines",
    )
    .ok();
    for name in names {
        home.weald(&["create", repo.to_str().unwrap(), name]).ok();
    }
    repo
}

fn line(home: &Home, dir: &Path, command: &str) -> String {
    home.run(dir, command).ok().trim_end().to_owned()
}

fn outcomes(rows: &serde_json::Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["outcome"].as_str().unwrap()).collect()
}

#[test]
fn two_workspaces_that_edit_one_file_keep_both_edits_and_all_that_is_no_text() {
    let home = Home::new();
    let repo = scene(&home, &["one", "two"]);
    home.run(&home.at("one"), "sed -i 's/^3$/three/' lines; rm a.txt; chmod +x src/main.rs").ok();
    home.run(&home.at("two"), "sed -i 's/^40$/forty/' lines; mv old new; rm link; ln -s lines link").ok();
    assert_eq!(outcomes(&home.weald(&["merge", "one", "--json"]).json()), ["fast_forward"]);
    assert_eq!(outcomes(&home.weald(&["merge", "two", "--json"]).json()), ["merged"]);
    let lines = fs::read_to_string(repo.join("lines")).unwrap();
    assert!(lines.contains("three\n") && lines.contains("forty\n"));
    assert!(!repo.join("a.txt").exists() && !repo.join("old").exists() && repo.join("new/y").exists());
    let modes = line(&home, &repo, "git ls-files -s src/main.rs link | cut -c1-6; readlink link");
    assert_eq!(modes, "120000\n100755\nlines");
    assert_eq!(line(&home, &repo, "git status --porcelain"), "");
    home.run(&repo, "git fsck --strict 2>&1").ok();
}

#[test]
fn a_merge_again_does_not_meet_its_own_earlier_work() {
    let home = Home::new();
    let repo = scene(&home, &["one", "two"]);
    let root = home.at("one");
    home.run(&root, "sed -i 's/^3$/three/' lines").ok();
    home.weald(&["merge", "one"]).ok();
    home.run(&home.at("two"), "sed -i 's/^40$/forty/' lines").ok();
    home.weald(&["merge", "two"]).ok();
    home.run(&root, "sed -i 's/^three$/THREE/; s/^4$/four/' lines").ok();
    assert_eq!(outcomes(&home.weald(&["merge", "one", "--json"]).json()), ["merged"]);
    home.run(&root, "git commit -q -a -m mine; sed -i 's/^THREE$/3/' lines").ok();
    assert_eq!(outcomes(&home.weald(&["merge", "one", "--json"]).json()), ["merged"]);
    assert_eq!(line(&home, &repo, "sed -n '3p;4p;40p' lines"), "3\nfour\nforty");
    assert_eq!(outcomes(&home.weald(&["merge", "one", "--json"]).json()), ["up_to_date"]);
}

#[test]
fn conflicts_are_kept_in_the_workspace_resolved_with_git_and_gone_on_with() {
    let home = Home::new();
    let repo = scene(&home, &["one", "two"]);
    home.run(&home.at("one"), "sed -i 's/^3$/three/' lines").ok();
    home.weald(&["merge", "one"]).ok();
    let root = home.at("two");
    home.run(&root, "sed -i 's/^3$/drei/' lines; echo mine > mine").ok();
    let said = home.weald(&["merge", "two", "--json"]);
    assert_eq!(said.code, 1);
    let rows: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((outcomes(&rows), rows[0]["conflicts"][0].as_str()), (vec!["conflicts"], Some("lines")));
    assert_eq!(line(&home, &root, "git status --porcelain lines"), "UU lines");
    let branch = "git rev-parse main";
    let tip = line(&home, &repo, branch);
    home.weald(&["merge", "two"]).fault("W0050");
    home.weald(&["merge", "two", "--continue"]).fault("W0050");
    assert_eq!(line(&home, &repo, branch), tip, "conflicts change nothing in the source");
    home.run(&root, "sed -i '/^<<<<<<<\\|^=======\\|^>>>>>>>\\|^three$/d' lines; git add lines").ok();
    assert_eq!(outcomes(&home.weald(&["merge", "two", "--continue", "--json"]).json()), ["fast_forward"]);
    assert_eq!(line(&home, &repo, "sed -n 3p lines; cat mine; git status --porcelain"), "drei\nmine");
    home.weald(&["merge", "two", "--continue"]).fault("W0052");
}

#[test]
fn a_merge_that_is_given_up_leaves_the_workspace_as_it_was() {
    let home = Home::new();
    scene(&home, &["one", "two"]);
    home.run(&home.at("one"), "sed -i 's/^3$/three/' lines").ok();
    home.weald(&["merge", "one"]).ok();
    let root = home.at("two");
    home.run(&root, "sed -i 's/^3$/drei/' lines; git add lines; echo mine > mine").ok();
    let state = "git status --porcelain; git log --format=%H; sha1sum lines mine";
    let before = line(&home, &root, state);
    assert_eq!(home.weald(&["merge", "two"]).code, 1);
    assert_ne!(line(&home, &root, state), before);
    home.weald(&["merge", "two", "--abort"]).ok();
    assert_eq!(line(&home, &root, state), before);
    home.weald(&["merge", "two", "--abort"]).fault("W0052");
}

#[test]
fn a_working_tree_with_something_of_its_own_is_never_overwritten() {
    let home = Home::new();
    let repo = scene(&home, &["one"]);
    home.run(&home.at("one"), "echo a >> lines; echo new > new").ok();
    fs::write(repo.join("lines"), "dirty").unwrap();
    home.weald(&["merge", "one"]).fault("W0051");
    assert_eq!(fs::read_to_string(repo.join("lines")).unwrap(), "dirty");
    home.run(&repo, "git checkout -q lines; echo untracked > new").ok();
    let said = home.weald(&["merge", "one"]).fault("W0051");
    assert!(said.err.contains("new"), "{said:?}");
    assert_eq!(fs::read_to_string(repo.join("new")).unwrap(), "untracked\n");
    assert_eq!(line(&home, &repo, "git log -1 --format=%s; git status --porcelain"), "lines\n?? new");
    fs::remove_file(repo.join("new")).unwrap();
    home.weald(&["merge", "one"]).ok();
    assert_eq!(fs::read_to_string(repo.join("new")).unwrap(), "new\n");
}

#[test]
fn branches_nobody_stands_on_bare_ones_and_those_of_other_working_trees_are_merged_into() {
    let home = Home::new();
    let repo = scene(&home, &["one"]);
    home.run(&home.at("one"), "echo a >> lines").ok();
    home.run(&repo, "git branch release; git worktree add -q ../linked -b side").ok();
    home.weald(&["merge", "one", "--into", "release"]).ok();
    assert!(line(&home, &repo, "git show release:lines").ends_with("\na"));
    home.weald(&["merge", "one", "--into", "side"]).ok();
    let linked = home.path().join("user/linked");
    assert_eq!(line(&home, &linked, "tail -1 lines; git status --porcelain"), "a");
    home.weald(&["merge", "one", "--into", "nowhere"]).fault("W0004");
    home.run(&home.path().join("user"), "git clone -q --bare tool bare.git").ok();
    let bare = home.path().join("user/bare.git");
    home.weald(&["create", bare.to_str().unwrap(), "three"]).ok();
    home.run(&home.at("three"), "echo b >> lines; git commit -q -a -m b").ok();
    home.weald(&["merge", "three"]).ok();
    assert_eq!(line(&home, &bare, "git log -1 --format=%s main"), "b");
}

#[test]
fn a_train_merges_each_into_the_result_of_the_last_and_one_that_fails_stops_nobody() {
    let home = Home::new();
    let repo = scene(&home, &["a", "b", "c", "d"]);
    home.run(&home.at("a"), "sed -i 's/^3$/three/' lines").ok();
    home.run(&home.at("b"), "sed -i 's/^3$/drei/' lines").ok();
    home.run(&home.at("c"), "touch broken").ok();
    home.run(&home.at("d"), "sed -i 's/^40$/forty/' lines").ok();
    let said = home.weald(&["merge", "--all", "--test", "echo testing; test ! -e broken", "--json"]);
    assert_eq!(said.code, 1);
    let rows: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(outcomes(&rows), ["fast_forward", "conflicts", "test_failed", "merged"]);
    assert_eq!(
        line(&home, &repo, "sed -n '3p;40p' lines; ls broken 2>&1 || :").lines().next(),
        Some("three")
    );
    assert!(!repo.join("broken").exists());
    // What did not get in is all there; the workspace with a conflict was not touched.
    assert!(home.at("c").join("broken").exists() && home.at("c-test").join("broken").exists());
    assert_eq!(line(&home, &home.at("b"), "git status --porcelain"), " M lines");
    assert!(!home.at("d-test").exists(), "the fork of a test that succeeded goes");
}

#[test]
fn work_on_a_remote_goes_to_its_branch_as_it_is_by_then() {
    let home = Home::new();
    let repo = scene(&home, &[]);
    home.run(&home.path().join("user"), "git clone -q --bare tool remote.git").ok();
    let remote = home.path().join("user/remote.git");
    let url = format!("file://{}", remote.display());
    home.weald(&["create", &url, "one"]).ok();
    home.run(&home.at("one"), "sed -i 's/^3$/three/' lines").ok();
    home.run(
        &repo,
        &format!(
            "sed -i 's/^40$/forty/' lines; git commit -q -a -m theirs; git push -q '{}' main",
            remote.display()
        ),
    )
    .ok();
    assert_eq!(outcomes(&home.weald(&["merge", "one", "--json"]).json()), ["merged"]);
    assert_eq!(line(&home, &remote, "git show main:lines | sed -n '3p;40p'"), "three\nforty");
    assert_eq!(line(&home, &remote, "git log -1 --format=%s main"), "Merge workspace 'one' into main");
}
