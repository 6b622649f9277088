//! Settings, as a user changes them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not taken for tests")]

mod support;

use serde_json::json;
use support::Home;

#[test]
fn a_setting_is_shown_changed_and_kept_over_a_restart() {
    let home = Home::new();
    let all = home.weald(&["config", "--json"]).json();
    assert!(all.as_array().unwrap().iter().any(|setting| setting["key"] == "snapshots.every"));
    assert_eq!(home.weald(&["config", "history.window"]).ok(), "7d\n");
    home.weald(&["config", "history.window", "3d"]).ok();
    home.weald(&["daemon", "restart"]).ok();
    let shown = home.weald(&["config", "history.window", "--json"]).json();
    assert_eq!(
        (&shown["value"], &shown["default"], &shown["is_set"]),
        (&json!("3d"), &json!("7d"), &json!(true))
    );
    home.weald(&["config", "history.window", "--unset"]).ok();
    assert_eq!(home.weald(&["config", "history.window"]).ok(), "7d\n");
}

#[test]
fn a_misspelt_setting_is_refused_with_the_nearest() {
    let home = Home::new();
    let said = home.weald(&["config", "snapshots.evry", "1m"]).fault("W0041");
    assert!(said.err.contains("did you mean `snapshots.every`?"), "{}", said.err);
    home.weald(&["config", "snapshots.every", "soon"]).fault("W0020");
    std::fs::write(home.home().join("config.toml"), "[snapshots]\nevrey = \"1m\"\n").unwrap();
    home.weald(&["config"]).fault("W0041");
    std::fs::write(home.home().join("config.toml"), "[snapshots\n").unwrap();
    home.weald(&["config"]).fault("W0040");
    // Nothing else stops working.
    home.weald(&["list"]).ok();
}

/// Why the snapshots of `a` were taken, newest first.
fn occasions(home: &Home) -> Vec<String> {
    let history = home.weald(&["history", "a", "--json"]).json();
    history.as_array().unwrap().iter().map(|one| one["occasion"].as_str().unwrap().to_owned()).collect()
}

/// How often the thread that takes snapshots was woken.
fn wakings(home: &Home) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", home.daemon_pid().unwrap())).unwrap();
    let keeper = tasks
        .flatten()
        .map(|task| task.path())
        .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "keeper"));
    let status = std::fs::read_to_string(keeper.unwrap().join("status")).unwrap();
    status.lines().filter(|line| line.contains("ctxt_switches")).collect()
}

#[test]
fn a_workspace_that_came_to_rest_has_a_snapshot_and_then_nothing_wakes() {
    let home = Home::new();
    let source = home.path().join("user/plain");
    std::fs::create_dir(&source).unwrap();
    home.weald(&["config", "snapshots.quiet", "1s"]).ok();
    home.weald(&["create", source.to_str().unwrap(), "a"]).ok();
    support::wait_for("a first snapshot", || occasions(&home) == ["quiet"]);
    std::fs::write(home.at("a").join("f"), "one").unwrap();
    support::wait_for("a snapshot of the change", || occasions(&home) == ["quiet", "quiet"]);
    let is_sealed = || {
        let history = home.weald(&["history", "a", "--json"]).json();
        history[0]["state"] == "sealed"
    };
    support::wait_for("the last one to be sealed", is_sealed);
    // Sealing is a change of the log itself, which the flusher tells of once more.
    std::thread::sleep(std::time::Duration::from_secs(7));
    let before = wakings(&home);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(wakings(&home), before);
    assert_eq!(occasions(&home), ["quiet", "quiet"]);
    std::fs::write(home.at("a").join("f"), "two").unwrap();
    home.weald(&["restore", "a@1", "f"]).ok();
    assert_eq!(std::fs::read(home.at("a").join("f")).unwrap(), b"one");
}

#[test]
fn a_busy_workspace_has_one_every_so_often_and_the_old_ones_are_thinned() {
    let home = Home::new();
    let source = home.path().join("user/plain");
    std::fs::create_dir(&source).unwrap();
    for (key, value) in [
        ("snapshots.every", "1s"),
        ("snapshots.quiet", "1h"),
        ("snapshots.keep_last", "1"),
        ("snapshots.keep_hourly", "0"),
        ("snapshots.keep_daily", "0"),
    ] {
        home.weald(&["config", key, value]).ok();
    }
    home.weald(&["create", source.to_str().unwrap(), "a"]).ok();
    home.weald(&["snapshot", "a", "mine"]).ok();
    let mut seen = std::collections::BTreeSet::new();
    let mut round = 0;
    support::wait_for("two snapshots by the clock", || {
        round += 1;
        std::fs::write(home.at("a").join("f"), round.to_string()).unwrap();
        let history = home.weald(&["history", "a", "--json"]).json();
        let all = history.as_array().unwrap();
        assert!(all.len() <= 3, "{history}");
        let timed = all.iter().filter(|one| one["occasion"] == "timer");
        seen.extend(timed.map(|one| one["id"].as_str().unwrap().to_owned()));
        std::thread::sleep(std::time::Duration::from_millis(200));
        seen.len() >= 2
    });
    assert!(occasions(&home).contains(&"asked".to_owned()), "what somebody asked for stays");
}
