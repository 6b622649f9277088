//! Settings, as a user changes them.

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
