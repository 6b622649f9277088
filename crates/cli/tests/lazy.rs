//! Workspaces of repositories behind a URL: content comes when it is needed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use support::{Home, wait_for};
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

/// How many files of the base are here, and how many there are.
fn here(home: &Home, name: &str) -> (u64, u64) {
    let info = home.weald(&["info", name, "--json"]).json();
    let fetched = &info["source"]["fetched"];
    (fetched["here"].as_u64().unwrap(), fetched["total"].as_u64().unwrap())
}

/// A home that fetches nothing before it is needed.
fn lazy_home() -> Home {
    let home = Home::new();
    home.weald(&["config", "fetch.prefetch", "off"]).ok();
    home
}

#[test]
fn only_what_is_read_is_fetched_in_few_round_trips_and_once_for_all() {
    let home = lazy_home();
    let server = served(&home);
    create(&home, &server, &[]);
    let at = home.at("w");
    let cloned = server.fetches();
    assert_eq!(here(&home, "w"), (0, 82));
    assert_eq!(home.run(&at, "find . -path ./.git -prune -o -print | wc -l; ls a | wc -l").ok(), "86\n40\n");
    assert_eq!(home.run(&at, "git status --porcelain").ok(), "");
    assert_eq!((server.fetches(), here(&home, "w")), (cloned, (0, 82)));
    assert_eq!(home.run(&at, "cat a/*").ok().lines().count(), 41);
    assert!(server.fetches() - cloned <= 3, "{}", server.fetches() - cloned);
    let read = server.fetches();
    home.weald(&["create", &server.url("repo.git"), "other"]).ok();
    assert_eq!(home.run(&home.at("other"), "cat a/*").ok().lines().count(), 41);
    home.weald(&["fork", "w", "fork"]).ok();
    assert_eq!(
        home.run(&home.at("fork"), "cat a/*; git grep -h -c file -- a | wc -l").ok().lines().count(),
        42
    );
    assert_eq!(server.fetches(), read);
}

#[test]
fn content_is_fetched_ahead_until_all_is_here_and_then_the_network_may_go() {
    let home = Home::new();
    let server = served(&home);
    create(&home, &server, &[]);
    wait_for("the content", || here(&home, "w") == (82, 82));
    server.fail(Failing::Away);
    let at = home.at("w");
    assert_eq!(home.run(&at, "cat a/* b/deep/* b/moved | wc -l; git status --porcelain").ok(), "81\n");
    let sizes =
        "stat -c %s a/f1 b/deep/g40; git diff HEAD; git commit -q --allow-empty -m x; git status --porcelain";
    assert_eq!(home.run(&at, sizes).ok(), "15\n8\n");
    let info = home.weald(&["info", "w"]).ok();
    assert!(info.contains("82 of 82 files"), "{info}");
}

/// The content packs of a home.
fn packs(home: &Home) -> Vec<PathBuf> {
    let all = std::fs::read_dir(home.home().join("content")).unwrap().map(|one| one.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|end| end == "wc")).collect()
}

/// A workspace whose content was fetched and copied into a pack.
fn packed() -> (Home, Server) {
    let home = Home::new();
    home.weald(&["config", "fetch.pack_min", "1"]).ok();
    let server = served(&home);
    create(&home, &server, &[]);
    wait_for("the pack", || packs(&home).len() == 1);
    (home, server)
}

#[test]
fn fetched_content_is_copied_into_a_pack_whose_damage_is_told_and_never_served() {
    let (home, _server) = packed();
    home.weald(&["verify", "--all"]).ok();
    let pack = packs(&home).remove(0);
    let file = std::fs::File::options().write(true).open(&pack).unwrap();
    file.write_all_at(&[0xff; 200], 64).unwrap();
    let found = home.weald(&["verify", "--all", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    let problems = found["problems"].as_array().unwrap();
    assert!(!problems.is_empty(), "{found}");
    for problem in problems {
        assert_eq!(problem["file"].as_str(), pack.to_str());
        assert_eq!(problem["fix"], "weald verify --all --heal");
    }
    assert_eq!(
        home.run(&home.at("w"), "cat a/* b/deep/* b/moved | sort | head -n 2").ok(),
        "changed\ndeep 1\n"
    );
    home.weald(&["verify", "--all", "--heal"]).ok();
    assert!(packs(&home).is_empty(), "the source has it all");
    home.weald(&["verify", "--all"]).ok();
    assert_eq!(home.run(&home.at("w"), "cat a/f1").ok(), "file 1\nchanged\n");
}

/// A repository of a user with 100 files; what `git rev-parse` says of its tree and of `f7`.
fn large(home: &Home) -> (PathBuf, String) {
    let user = home.path().join("user");
    let make = "git init -q -b main large; cd large; for number in $(seq 100); do echo \"file $number\" > f$number; done
                git add .; git commit -q -m first; git rev-parse HEAD^{tree} HEAD:f7";
    let ids = home.run(&user, make).ok();
    (user.join("large"), ids.trim().to_owned())
}

#[test]
fn content_of_a_local_repository_is_copied_into_a_pack_that_every_later_reader_has() {
    let home = Home::new();
    home.weald(&["config", "fetch.pack_min", "50"]).ok();
    let small = home.repo("small");
    let (large, ids) = large(&home);
    let (tree, blob) = ids.split_once('\n').unwrap();
    home.weald(&["create", small.to_str().unwrap(), "s"]).ok();
    home.weald(&["create", large.to_str().unwrap(), "w"]).ok();
    wait_for("the pack", || !packs(&home).is_empty());
    let name = packs(&home)[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert!(packs(&home).len() == 1 && name.starts_with(tree), "{:?}", packs(&home));
    assert_eq!(cat(&home.at("w").join("f3")), "file 3\n");
    home.weald(&["verify", "--all"]).ok();
    // The source lost it.
    std::fs::remove_file(large.join(".git/objects").join(&blob[..2]).join(&blob[2..])).unwrap();
    home.weald(&["fork", "w", "v"]).ok();
    assert_eq!(cat(&home.at("v").join("f7")), "file 7\n");
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(cat(&home.at("v").join("f7")), "file 7\n");
}

#[test]
fn a_pack_that_was_left_is_made_when_somebody_reads_what_it_lacks() {
    let home = Home::new();
    home.weald(&["config", "fetch.pack_min", "50"]).ok();
    home.weald(&["config", "fetch.pack", "off"]).ok();
    let (large, _) = large(&home);
    home.weald(&["create", large.to_str().unwrap(), "w"]).ok();
    home.weald(&["daemon", "stop"]).ok();
    // No daemon is told, as after one that was stopped while it copied.
    let config = home.home().join("config.toml");
    let said = cat(&config);
    assert!(said.contains("pack = false"), "{said}");
    std::fs::write(&config, said.replace("pack = false", "pack = true")).unwrap();
    home.weald(&["daemon", "start"]).ok();
    assert_eq!(cat(&home.at("w").join("f7")), "file 7\n");
    wait_for("the pack", || packs(&home).len() == 1);
}

#[test]
fn packs_end_at_their_limit_and_status_tells() {
    let home = Home::new();
    home.weald(&["config", "fetch.pack_min", "50"]).ok();
    home.weald(&["config", "fetch.pack_max", "1B"]).ok();
    let (large, _) = large(&home);
    home.weald(&["create", large.to_str().unwrap(), "w"]).ok();
    let told = || home.weald(&["status", "--json"]).json()["content_packs"].clone();
    assert!(told().is_null(), "nothing was tried");
    wait_for("the limit", || told()["held_back"] == "fetch.pack_max");
    assert!(home.weald(&["status"]).ok().contains("not all: fetch.pack_max is reached"));
    assert!(packs(&home).is_empty());
    home.weald(&["config", "--unset", "fetch.pack_max"]).ok();
    wait_for("the pack", || packs(&home).len() == 1);
    wait_for("the end of it", || told()["copying"].is_null());
    assert!(told()["held_back"].is_null() && told()["disk_bytes"].as_u64() > Some(0));
}

#[test]
fn a_pack_of_content_goes_when_no_workspace_is_on_its_tree() {
    let (home, _server) = packed();
    let kinds = || {
        let plan = home.weald(&["gc", "plan", "--json"]).json();
        let items = plan["items"].as_array().unwrap().clone();
        let packs = items.iter().filter(|item| item["kind"] == "content_pack").count();
        (plan["id"].as_str().unwrap().to_owned(), packs)
    };
    assert_eq!(kinds().1, 0);
    home.weald(&["remove", "w"]).ok();
    home.weald(&["trash", "empty"]).ok();
    let (plan, packs_planned) = kinds();
    assert_eq!(packs_planned, 1);
    home.weald(&["gc", "run", &plan]).ok();
    assert!(packs(&home).is_empty());
}

#[test]
fn without_the_network_what_was_read_stays_and_the_rest_is_told() {
    let home = lazy_home();
    let server = served(&home);
    create(&home, &server, &[]);
    let at = home.at("w");
    cat(&at.join("a/f1"));
    server.fail(Failing::Away);
    assert_eq!(cat(&at.join("a/f1")), "file 1\nchanged\n");
    let unread = home.run(&at, "cat b/deep/g7");
    assert!(unread.code != 0 && unread.err.contains("Input/output error"), "{unread:?}");
    let status = home.weald(&["status"]).ok();
    for words in ["offline", "what was read before stays readable", &server.url("repo.git"), "git ls-remote"]
    {
        assert!(status.contains(words), "{words}: {status}");
    }
    let status = home.weald(&["status", "--json"]).json();
    assert!(status["remotes"][0]["unreachable_since"].is_string(), "{status}");
    let in_git = home.run(&at, "git cat-file blob HEAD:b/deep/g9");
    assert!(in_git.code != 0 && in_git.err.contains("could not be fetched"), "{in_git:?}");
    server.fail(Failing::Never);
    wait_for("the network", || home.run(&at, "cat b/deep/g7").out == "deep 7\n");
    let status = home.weald(&["status", "--json"]).json();
    assert!(status["remotes"][0]["unreachable_since"].is_null(), "{status}");
}

#[test]
fn one_who_waits_for_a_server_that_hangs_can_be_interrupted() {
    let home = lazy_home();
    let server = served(&home);
    create(&home, &server, &[]);
    server.fail(Failing::Hanging);
    let line = "timeout -s INT 1 cat b/deep/g7 || echo ended";
    assert_eq!(home.run(&home.at("w"), line).ok(), "ended\n");
    assert_eq!(home.run(&home.at("w"), "ls a | wc -l").ok(), "40\n", "others are not held up");
    server.fail(Failing::Never);
    assert_eq!(home.run(&home.at("w"), "cat b/deep/g7").ok(), "deep 7\n");
}

#[test]
fn a_commit_fetches_what_is_beside_it_and_not_the_whole_repository() {
    let home = lazy_home();
    let user = home.path().join("user");
    home.run(
        &user,
        "git init -q -b main src; cd src; mkdir a many
         for number in $(seq 5); do echo \"file $number\" > a/f$number; done
         for number in $(seq 400); do echo \"one of many $number\" > many/m$number; done
         git add .; git commit -q -m first; cd ..; git clone -q --bare src repo.git",
    )
    .ok();
    let server = Server::http(&user).unwrap();
    create(&home, &server, &[]);
    let at = home.at("w");
    home.run(&at, "echo mine > a/f2; echo new > a/new; git add .; git commit -q -m mine").ok();
    assert!(here(&home, "w").0 <= 64, "{:?}", here(&home, "w"));
    assert_eq!(home.run(&at, "git status --porcelain; git show --stat --format=%s").ok().lines().count(), 5);
    let before = server.fetches();
    assert_eq!(home.run(&at, "git grep -c 'one of many' HEAD -- many | wc -l").ok(), "400\n");
    assert!(server.fetches() - before <= 8, "{}", server.fetches() - before);
    home.run(&at, "echo more >> many/m7; git stash -q; git stash pop -q; git diff --stat | cat").ok();
    assert_eq!(
        home.run(&at, "git fsck --connectivity-only --no-dangling 2>&1 | grep -v notice || true").ok(),
        ""
    );
    let promoted = home.weald(&["promote", "w", "-m", "all"]);
    promoted.ok();
}

#[test]
fn fetch_brings_news_and_tells_a_workspace_of_them() {
    let home = Home::new();
    let server = served(&home);
    create(&home, &server, &[]);
    let at = home.at("w");
    assert!(home.weald(&["fetch", "w"]).ok().contains("nothing new"));
    let src = home.path().join("user/src");
    home.run(&src, "echo three > third; git add .; git commit -q -m third; git push -q ../repo.git main")
        .ok();
    let news = home.weald(&["fetch", "w", "--json"]).json();
    assert_eq!((&news["workspace"], &news["branches"][0]["name"]), (&"w".into(), &"main".into()));
    assert_eq!(
        home.run(&at, "git log -1 --format=%s origin/main; git log -1 --format=%s").ok(),
        "third\nsecond\n"
    );
    assert_eq!(
        home.run(&at, "git merge -q --ff-only origin/main; cat third; git status --porcelain").ok(),
        "three\n"
    );
    assert!(home.weald(&["fetch", &server.url("repo.git")]).ok().contains("was asked for news"));
    home.weald(&["fetch", "http://127.0.0.1:1/none.git"]).fault("W0001");
    let local = home.repo("local");
    home.weald(&["create", local.to_str().unwrap(), "l"]).ok();
    home.weald(&["fetch", "l"]).fault("W0020");
}

#[test]
fn what_had_to_be_waited_for_is_fetched_first_by_the_next_workspace() {
    let home = lazy_home();
    let server = served(&home);
    create(&home, &server, &[]);
    cat(&home.at("w").join("b/deep/g9"));
    cat(&home.at("w").join("run.sh"));
    home.weald(&["config", "fetch.prefetch", "on"]).ok();
    wait_for("the content", || here(&home, "w") == (82, 82));
    let clone = std::fs::read_dir(home.home().join("repos")).unwrap().next().unwrap().unwrap().path();
    wait_for("the list", || clone.join("weald-early").exists());
    let early = cat(&clone.join("weald-early"));
    assert!(early.split('\0').any(|path| path == "b/deep/g9"), "{early:?}");
    assert!(!early.contains("a/f3"), "{early:?}");
}

#[test]
fn work_on_unfetched_content_is_promoted_and_merged_over_http() {
    let home = lazy_home();
    let server = served(&home);
    create(&home, &server, &[]);
    home.run(&home.at("w"), "echo mine >> a/f5").ok();
    let src = home.path().join("user/src");
    home.run(&src, "echo theirs >> b/moved; git commit -q -a -m theirs; git push -q ../repo.git main").ok();
    let merged = home.weald(&["merge", "w", "--json"]).json();
    assert_eq!(merged[0]["outcome"], "merged", "{merged}");
    let repo = home.path().join("user/repo.git");
    assert_eq!(home.run(&repo, "git show main:a/f5 main:b/moved").ok(), "file 5\nmine\ndeep 2\ntheirs\n");
    assert!(here(&home, "w").0 < 82, "{:?}", here(&home, "w"));
}
