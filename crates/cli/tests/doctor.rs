//! What is wrong, and putting it right, as a user does.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not taken for tests")]

mod support;

use serde_json::Value;
use support::Home;

/// Findings about the home; those about this machine are its own.
fn findings(home: &Home, args: &[&str]) -> Vec<(String, bool, bool)> {
    let mut all = vec!["doctor", "--json"];
    all.extend(args);
    let report: Value = serde_json::from_str(&home.weald(&all).out).unwrap();
    assert!(report["checked"].as_u64().unwrap() > 5);
    let ours =
        report["findings"].as_array().unwrap().iter().filter(|finding| finding["area"] != "environment");
    ours.map(|finding| {
        assert!(!finding["fix"].as_str().unwrap().is_empty(), "{finding}");
        let is = |field: &str| finding[field].as_bool().unwrap();
        (finding["area"].as_str().unwrap().to_owned(), is("is_fixable"), is("is_fixed"))
    })
    .collect()
}

fn found(area: &str, is_fixable: bool, is_fixed: bool) -> Vec<(String, bool, bool)> {
    vec![(area.to_owned(), is_fixable, is_fixed)]
}

#[test]
fn a_healthy_home_has_no_findings() {
    let home = Home::new();
    let repo = home.repo("src");
    home.weald(&["create", repo.to_str().unwrap(), "a"]).ok();
    home.weald(&["fork", "a", "f"]).ok();
    home.weald(&["remove", "f"]).ok();
    assert_eq!(findings(&home, &[]), []);
}

#[test]
fn a_lost_pin_is_found_and_set_again() {
    let home = Home::new();
    let repo = home.repo("src");
    home.weald(&["create", repo.to_str().unwrap(), "a"]).ok();
    home.run(&repo, "git for-each-ref --format='delete %(refname)' refs/weald | git update-ref --stdin").ok();
    assert_eq!(findings(&home, &[]), found("pins", true, false));
    assert_eq!(findings(&home, &["--fix"]), found("pins", true, true));
    assert_eq!(findings(&home, &[]), []);
    assert_eq!(home.run(&repo, "git for-each-ref refs/weald/pins | wc -l").ok().trim(), "1");
}

#[test]
fn a_damaged_manifest_is_found_and_built_again() {
    let home = Home::new();
    let repo = home.repo("src");
    home.weald(&["create", repo.to_str().unwrap(), "a"]).ok();
    let manifest = std::fs::read_dir(home.home().join("manifests")).unwrap().next().unwrap().unwrap().path();
    let right = std::fs::read(&manifest).unwrap();
    let mut wrong = right.clone();
    wrong[20] ^= 1;
    // Under another file: what the daemon has mapped stays as it is.
    std::fs::write(home.path().join("wrong"), wrong).unwrap();
    std::fs::rename(home.path().join("wrong"), &manifest).unwrap();
    assert_eq!(findings(&home, &["--fix"]), found("manifests", true, true));
    assert_eq!(std::fs::read(&manifest).unwrap(), right);
    assert_eq!(findings(&home, &[]), []);
}

#[test]
fn a_source_that_is_away_and_settings_that_make_no_sense_are_told_with_what_to_do() {
    let home = Home::new();
    let repo = home.repo("src");
    home.weald(&["create", repo.to_str().unwrap(), "a"]).ok();
    std::fs::rename(&repo, repo.with_extension("away")).unwrap();
    std::fs::write(home.home().join("config.toml"), "[history]\nwindwo = \"1d\"\n").unwrap();
    let said = home.weald(&["doctor"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("the source of `a` cannot be opened"), "{}", said.out);
    assert!(said.out.contains("did you mean `history.window`?"), "{}", said.out);
    std::fs::rename(repo.with_extension("away"), &repo).unwrap();
    std::fs::remove_file(home.home().join("config.toml")).unwrap();
    home.weald(&["doctor"]).ok();
}

#[test]
fn a_home_that_no_daemon_can_own_is_told() {
    let home = Home::new();
    std::fs::write(home.home().join("format"), "weald 99\n").unwrap();
    let said = home.weald(&["doctor", "--json"]);
    assert_eq!(said.code, 1);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let first = &report["findings"][0];
    assert_eq!(first["area"], "daemon");
    assert!(first["message"].as_str().unwrap().contains("weald 99"), "{first}");
}

#[test]
fn a_home_others_can_read_is_closed() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    home.weald(&["status"]).ok();
    let logs = home.home().join("logs");
    std::fs::set_permissions(&logs, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(findings(&home, &["--fix"]), found("layout", true, true));
    assert_eq!(std::fs::metadata(&logs).unwrap().permissions().mode() & 0o777, 0o700);
}
