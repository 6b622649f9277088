//! Tokens in URLs: they work, and nobody else gets to see them.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use support::{Home, wait_for};
use weald_testkit::server::{Failing, Server};

const SECRET: &str = "s3cr3t-t0ken";
/// `user:s3cr3t-t0ken`, as HTTP sends it.
const HEADER: &str = "Basic dXNlcjpzM2NyM3QtdDBrZW4=";

/// A server that lets in who has the token, and the URL that holds it.
fn served(home: &Home) -> (Server, String) {
    home.repo("src");
    home.run(&home.path().join("user"), "git clone -q --bare src repo.git").ok();
    let server = Server::http(&home.path().join("user")).unwrap();
    server.demand(HEADER);
    let url = server.url("repo.git").replace("://", &format!("://user:{SECRET}@"));
    (server, url)
}

/// Words of the processes that have the token among them, but for the command that was given it.
fn seen_in_arguments() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let words = processes.filter_map(|process| std::fs::read(process.join("cmdline")).ok());
    let words = words.map(|words| String::from_utf8_lossy(&words).replace('\0', " "));
    words.filter(|words| words.contains(SECRET) && !words.contains("weald create")).collect()
}

fn is_fetching(server: &Server) -> bool {
    let url = server.url("repo.git");
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    processes.filter_map(|process| std::fs::read(process.join("cmdline")).ok()).any(|words| {
        let words = String::from_utf8_lossy(&words).into_owned();
        words.contains("remote-http") && words.contains(&url)
    })
}

/// Files that hold the token.
fn files_with_it(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_with_it(&entry.path()));
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            if bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()) {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn a_token_in_a_url_works_and_is_in_no_arguments() {
    let home = Home::new();
    let (server, url) = served(&home);
    server.fail(Failing::Hanging);
    std::thread::scope(|scope| {
        let making = scope.spawn(|| home.weald(&["create", &url, "w"]).ok());
        wait_for("git to ask the server", || is_fetching(&server));
        assert_eq!(seen_in_arguments(), Vec::<String>::new());
        server.fail(Failing::Never);
        making.join().unwrap();
    });
    assert_eq!(std::fs::read_to_string(home.at("w/a.txt")).unwrap(), "one\ntwo\n");
    let push = "echo more >> a.txt; git commit -q -a -m more; git push -q origin HEAD:refs/heads/pushed";
    home.run(&home.at("w"), push).ok();
    home.weald(&["fetch", "w"]).ok();
    let there = home.run(&home.path().join("user"), "git -C repo.git log -1 --format=%s pushed").ok();
    assert_eq!(there, "more\n");
}

#[test]
fn a_token_is_kept_in_one_file_for_its_owner_alone_and_told_to_nobody() {
    let home = Home::new();
    let (server, url) = served(&home);
    let said = home.weald(&["create", &url, "w"]);
    assert!(said.code == 0 && !format!("{said:?}").contains(SECRET), "{said:?}");
    for command in
        [&["info", "w", "--json"][..], &["list", "--json"], &["fetch", "w"], &["doctor"], &["gc", "plan"]]
    {
        let said = home.weald(command);
        assert!(!format!("{said:?}").contains(SECRET), "{said:?}");
    }
    server.fail(Failing::Unauthorized);
    let refused = home.weald(&["create", &url, "x", "--update", "--depth", "3"]).fault("W0002");
    assert!(!refused.err.contains(SECRET), "{}", refused.err);
    server.fail(Failing::Never);
    let kept = files_with_it(&home.home());
    assert!(kept.len() == 1 && kept[0].ends_with("weald-credential"), "{kept:?}");
    assert_eq!(kept[0].metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(files_with_it(&home.at("w")), Vec::<PathBuf>::new());
}

#[test]
fn a_new_token_takes_the_place_of_the_old_one() {
    let home = Home::new();
    let (server, url) = served(&home);
    home.weald(&["create", &url, "w"]).ok();
    server.demand("Basic dXNlcjpvdGhlcg==");
    home.weald(&["fetch", "w"]).fault("W0002");
    let other = url.replace(SECRET, "other");
    home.weald(&["create", &other, "again", "--update"]).ok();
    home.weald(&["fetch", "w"]).ok();
    assert_eq!(std::fs::read_dir(home.home().join("repos")).unwrap().count(), 1, "it is the same clone");
}

#[test]
fn a_token_of_a_local_source_is_for_the_owner_of_the_workspace_alone() {
    let home = Home::new();
    let source = home.repo("src");
    home.run(&source, &format!("git remote add origin https://user:{SECRET}@example.invalid/p")).ok();
    home.weald(&["create", source.to_str().unwrap(), "w"]).ok();
    let config = home.at("w/.git/config");
    assert!(std::fs::read_to_string(&config).unwrap().contains(SECRET), "git push works as in the source");
    assert_eq!(config.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    for command in [&["info", "w", "--json"][..], &["promote", "w", "-m", "x"], &["doctor"]] {
        let said = home.weald(command);
        assert!(!format!("{said:?}").contains(SECRET), "{said:?}");
    }
    let log = std::fs::read_to_string(home.home().join("daemon.log")).unwrap();
    assert!(!log.contains(SECRET), "{log}");
}
