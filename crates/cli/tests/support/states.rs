//! A workspace `ws`, its snapshots, and what tests of states say of them again and again.

use super::Home;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A workspace made of a repository; where it is mounted.
pub(crate) fn of_repo(home: &Home) -> PathBuf {
    home.repo("repo");
    home.weald(&["create", "user/repo", "ws"]).ok();
    home.at("ws")
}

/// A workspace made of an empty directory; where it is mounted.
pub(crate) fn empty(home: &Home) -> PathBuf {
    fs::create_dir_all(home.path().join("user/empty")).unwrap();
    home.weald(&["create", "user/empty", "ws"]).ok();
    home.at("ws")
}

pub(crate) fn snapshot(home: &Home, args: &[&str]) -> String {
    let id = home.weald(&[&["snapshot", "ws"], args].concat()).ok();
    let id = id.trim_end().to_owned();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    id
}

pub(crate) fn history(home: &Home) -> Vec<Value> {
    home.weald(&["history", "ws", "--json"]).json().as_array().unwrap().clone()
}

pub(crate) fn texts<'a>(list: &'a [Value], field: &str) -> Vec<&'a str> {
    list.iter().map(|value| value[field].as_str().unwrap()).collect()
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Ends the daemon as a crash of it would, and has the next command start another.
pub(crate) fn kill_daemon(home: &Home) {
    home.crash();
    home.weald(&["status"]).ok();
}
