//! Workspaces of repositories behind a URL: content comes when it is needed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;
use support::Home;
use weald_testkit::server::{Failing, Server};

/// A repository with some history and many files in two directories, and a server of the directory it is in.
fn served(home: &Home) -> Server {
    let user = home.path().join("user");
    home.run(
        &user,
        "git init -q -b main src; cd src; mkdir -p a b/deep
         for number in $(seq 40); do echo \"file $number\" > a/f$number; echo \"deep $number\" > b/deep/g$number; done
         printf '#!/bin/sh\\necho hello\\n' > run.sh; chmod +x run.sh; ln -s a/f1 link; git add .; git commit -q -m first
         echo changed >> a/f1; git mv b/deep/g2 b/moved; git commit -q -a -m second
         git branch side HEAD~1; git tag -a -m tagged v1; cd ..; git clone -q --bare src repo.git",
    )
    .ok();
    Server::http(&user).unwrap()
}

fn create(home: &Home, server: &Server, more: &[&str]) -> serde_json::Value {
    let url = server.url("repo.git");
    home.weald(&[&["create", &url, "w", "--json"], more].concat()).json()
}

fn cat(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_url_is_browsed_read_and_used_with_git_as_any_workspace() {
    let home = Home::new();
    let server = served(&home);
    create(&home, &server, &["--depth", "full"]);
    let at = home.at("w");
    assert_eq!(home.run(&at, "git status --porcelain").ok(), "");
    assert_eq!(cat(&at.join("a/f1")), "file 1\nchanged\n");
    assert_eq!(cat(&at.join("link")), "file 1\nchanged\n");
    assert_eq!(home.run(&at, "./run.sh").ok(), "hello\n");
    assert_eq!(home.run(&at, "git log -p --format=%s -- a/f1 | grep -c '^+'").ok(), "4\n");
    assert_eq!(home.run(&at, "git blame -s a/f1 | wc -l").ok(), "2\n");
    assert_eq!(home.run(&at, "git grep -l changed HEAD").ok(), "HEAD:a/f1\n");
    assert_eq!(home.run(&at, "git switch -q side && cat a/f1 && git status --porcelain").ok(), "file 1\n");
    assert_eq!(
        home.run(&at, "git diff --stat -M side main | tail -n 1").ok(),
        " 2 files changed, 1 insertion(+)\n"
    );
    home.run(&at, "echo mine > a/f2; git commit -q -a -m mine; git status --porcelain").ok();
    let packs = "cd .git/objects/pack; ls *.pack | grep -v pack-029d08823bd8a8eab510ad6ac75c823cfd3ed31e.pack || true";
    assert_eq!(home.run(&at, packs).ok(), "", "what git needed is in the shared clone only");
}

#[test]
fn bad_urls_and_servers_are_told_and_leave_nothing() {
    let home = Home::new();
    let server = served(&home);
    home.weald(&["create", &server.url("nothing.git"), "w"]).fault("W0002");
    server.fail(Failing::Unauthorized);
    let refused = home.weald(&["create", &server.url("repo.git"), "w"]).fault("W0002");
    assert!(refused.err.contains("credential helper"), "{}", refused.err);
    for failing in [Failing::Away, Failing::CutAt(400)] {
        server.fail(failing);
        home.weald(&["create", &server.url("repo.git"), "w"]).fault("W0002");
    }
    assert_eq!(std::fs::read_dir(home.home().join("repos")).unwrap().count(), 0);
    assert_eq!(home.weald(&["list", "--json"]).json(), serde_json::json!([]));
    server.fail(Failing::Never);
    create(&home, &server, &[]);
}

#[test]
fn a_clone_that_is_there_is_used_without_the_network_until_news_are_asked_for() {
    let home = Home::new();
    let server = served(&home);
    create(&home, &server, &[]);
    let src = home.path().join("user/src");
    let news = "echo three > third; git add .; git commit -q -m third; git branch new; git push -q ../repo.git main new";
    home.run(&src, news).ok();
    let url = server.url("repo.git");
    let asked = server.requests();
    let again = home.weald(&["create", &url, "again", "--json"]).json();
    assert_eq!((server.requests(), &again["base"]["subject"]), (asked, &"second".into()));
    let new = home.weald(&["create", &url, "new", "--rev", "new", "--json"]).json();
    assert_eq!((&new["base"]["subject"], &new["base"]["branch"]), (&"third".into(), &"new".into()));
    let updated = home.weald(&["create", &url, "updated", "--update", "--json"]).json();
    assert_eq!(updated["base"]["subject"], "third");
    assert_eq!(home.run(&home.at("updated"), "git status --porcelain; cat third").ok(), "three\n");
    home.weald(&["create", &url, "none", "--rev", "none"]).fault("W0004");
    server.fail(Failing::Away);
    let noted = home.weald(&["create", &url, "offline", "--update", "--json"]).json();
    assert!(noted["notes"][0].as_str().unwrap().contains("could not be asked for news"), "{noted}");
}

#[test]
fn a_rewritten_history_and_a_deleted_branch_cost_nothing_that_is_there() {
    let home = Home::new();
    let server = served(&home);
    create(&home, &server, &[]);
    let url = server.url("repo.git");
    home.weald(&["create", &url, "side", "--rev", "side"]).ok();
    let src = home.path().join("user/src");
    let rewrite =
        "echo other > a/f1; git commit -q -a --amend -m rewritten; git push -q -f ../repo.git main :side
                   git -C ../repo.git reflog expire --expire=all --all; git -C ../repo.git gc -q --prune=now";
    home.run(&src, rewrite).ok();
    let updated = home.weald(&["create", &url, "updated", "--update", "--json"]).json();
    assert_eq!(updated["base"]["subject"], "rewritten");
    assert!(updated["notes"][0].as_str().unwrap().contains("the branch side is gone"), "{updated}");
    assert_eq!(cat(&home.at("updated").join("a/f1")), "other\n");
    assert_eq!(home.run(&home.at("w"), "git status --porcelain; git log --format=%s").ok(), "second\n");
    assert_eq!(home.run(&home.at("side"), "git status --porcelain; git log --format=%s").ok(), "first\n");
}

#[test]
fn a_server_that_cannot_leave_content_out_is_cloned_whole_and_that_is_told() {
    let home = Home::new();
    let _server = served(&home);
    let url = format!("file://{}", home.path().join("user/repo.git").display());
    let created = home.weald(&["create", &url, "w", "--json"]).json();
    assert!(created["notes"][0].as_str().unwrap().contains("cannot leave content out"), "{created}");
    assert_eq!(
        home.run(&home.at("w"), "git status --porcelain; cat a/f2; git remote").ok(),
        "file 2\norigin\n"
    );
}

#[test]
fn gits_own_daemon_serves_as_well() {
    let home = Home::new();
    drop(served(&home));
    let server = Server::daemon(&home.path().join("user")).unwrap();
    let created = create(&home, &server, &[]);
    assert_eq!(created["notes"], serde_json::json!([]));
    assert_eq!(home.run(&home.at("w"), "git status --porcelain; cat b/moved").ok(), "deep 2\n");
}
