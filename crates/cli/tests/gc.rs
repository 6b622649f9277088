//! Taking away what nobody needs, as a user does.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not taken for tests")]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use support::Home;

fn plan(home: &Home) -> Value {
    home.weald(&["gc", "plan", "--json"]).json()
}

fn id(plan: &Value) -> String {
    plan["id"].as_str().unwrap().to_owned()
}

fn kinds(plan: &Value) -> Vec<String> {
    let items = plan["items"].as_array().unwrap();
    items.iter().map(|item| item["kind"].as_str().unwrap().to_owned()).collect()
}

fn remove_for_good(home: &Home, name: &str) {
    home.weald(&["remove", name]).ok();
    home.weald(&["trash", "empty"]).ok();
}

/// Every file of the home that a plan could touch, with its length.
fn files(home: &Home) -> Vec<(PathBuf, u64)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, u64)>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let data = entry.metadata().unwrap();
            if data.is_dir() { walk(&entry.path(), found) } else { found.push((entry.path(), data.len())) }
        }
    }
    let mut found = Vec::new();
    for dir in ["manifests", "cas", "logs", "repos"] {
        walk(&home.home().join(dir), &mut found);
    }
    found.sort();
    found
}

#[test]
fn a_plan_changes_nothing_and_two_are_equal() {
    let home = Home::new();
    let repo = home.repo("src");
    home.weald(&["create", repo.to_str().unwrap(), "a"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "b", "--rev", "HEAD~1"]).ok();
    remove_for_good(&home, "b");
    let before = files(&home);
    let first = plan(&home);
    assert_eq!(kinds(&first), ["manifest", "stored"]);
    assert!(first["freed_bytes"].as_u64().unwrap() > 0);
    assert_eq!(first, plan(&home));
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(first, plan(&home));
    assert_eq!(before, files(&home));
}

#[test]
fn a_run_takes_away_what_the_plan_says_and_all_of_it_can_be_made_again() {
    let home = Home::new();
    let repo = home.repo("src");
    home.weald(&["create", repo.to_str().unwrap(), "a"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "b", "--rev", "HEAD~1"]).ok();
    std::fs::write(home.at("a").join("own"), "kept").unwrap();
    remove_for_good(&home, "b");
    let plan = plan(&home);
    let run = home.weald(&["gc", "run", &id(&plan), "--json"]).json();
    assert_eq!(run["done"], 2);
    assert_eq!(run["freed_bytes"], plan["freed_bytes"]);
    assert_eq!(kinds(&self::plan(&home)), Vec::<String>::new());
    home.weald(&["gc", "run", &id(&plan)]).fault("W0042");
    assert_eq!(std::fs::read(home.at("a").join("own")).unwrap(), b"kept");
    home.run(&home.at("a"), "git status --porcelain | grep -q own").ok();
    home.weald(&["create", repo.to_str().unwrap(), "b", "--rev", "HEAD~1"]).ok();
    assert_eq!(home.run(&home.at("b"), "git status --porcelain; cat a.txt").ok(), "one\n");
}

#[test]
fn a_stale_plan_is_refused_and_nothing_is_done() {
    let home = Home::new();
    let repo = home.repo("src");
    home.weald(&["create", repo.to_str().unwrap(), "a"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "b", "--rev", "HEAD~1"]).ok();
    remove_for_good(&home, "b");
    let plan = id(&plan(&home));
    home.weald(&["create", repo.to_str().unwrap(), "c", "--rev", "HEAD~1"]).ok();
    let before = files(&home);
    let said = home.weald(&["gc", "run", &plan]).fault("W0043");
    assert_eq!(said.code, 1);
    assert_eq!(before, files(&home));
    assert_eq!(home.run(&home.at("c"), "git status --porcelain; cat a.txt").ok(), "one\n");
    home.weald(&["gc", "run", "no-such-plan"]).fault("W0042");
}

#[test]
fn a_clone_goes_with_its_last_workspace_and_comes_back_with_the_next() {
    let home = Home::new();
    let url = format!("file://{}", home.repo("src").display());
    home.weald(&["create", &url, "a"]).ok();
    home.weald(&["create", &url, "b"]).ok();
    remove_for_good(&home, "b");
    assert_eq!(kinds(&plan(&home)), Vec::<String>::new());
    home.weald(&["fork", "a", "f"]).ok();
    remove_for_good(&home, "a");
    // The fork reads from the log, the manifest and the clone of what is gone.
    assert_eq!(kinds(&plan(&home)), Vec::<String>::new());
    remove_for_good(&home, "f");
    let all = plan(&home);
    assert_eq!(kinds(&all), ["clone", "manifest", "stored"]);
    home.weald(&["gc", "run", &id(&all)]).ok();
    assert_eq!(files(&home), Vec::new());
    home.weald(&["create", &url, "a"]).ok();
    assert_eq!(home.run(&home.at("a"), "git status --porcelain; cat link").ok(), "one\ntwo\n");
}

#[test]
fn what_a_dead_daemon_left_half_written_is_taken_away() {
    let home = Home::new();
    home.weald(&["status"]).ok();
    let left = home.home().join("manifests/tmp-1-0");
    std::fs::write(&left, [7; 10_000]).unwrap();
    std::fs::create_dir_all(home.home().join("repos/00000000000000aa.git.part/objects")).unwrap();
    let plan = plan(&home);
    assert_eq!(kinds(&plan), ["temporary", "temporary"]);
    home.weald(&["gc", "run", &id(&plan)]).ok();
    assert_eq!(files(&home), Vec::new());
}
