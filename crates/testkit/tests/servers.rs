//! The servers for tests are real ones, and fail as they are told.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Stdio;
use weald_testkit::repo::{Repo, isolated_git};
use weald_testkit::server::{Failing, Server};

fn clone(url: &str, to: &Path) -> bool {
    let args = ["clone", "--quiet", "--bare", "--filter=blob:none", url];
    isolated_git(Path::new("/")).args(args).arg(to).stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn both_servers_serve_clones_and_fail_as_they_are_told() {
    let mut repo = Repo::new();
    repo.write("a.txt", "one\n");
    repo.commit("first");
    let to = tempfile::tempdir().unwrap();
    for (at, server) in
        [Server::http(repo.path()).unwrap(), Server::daemon(repo.path()).unwrap()].iter().enumerate()
    {
        let (url, to) = (server.url(".git"), to.path().join(at.to_string()));
        server.fail(Failing::Away);
        assert!(!clone(&url, &to));
        server.fail(Failing::Never);
        assert!(clone(&url, &to), "{url}");
        assert!(server.fetches() >= 1);
    }
    let server = Server::http(repo.path()).unwrap();
    for failing in [Failing::Unauthorized, Failing::CutAt(40)] {
        server.fail(failing);
        assert!(!clone(&server.url(".git"), &to.path().join("no")), "{failing:?}");
    }
    assert!(!clone(&server.url("nothing.git"), &to.path().join("no")));
}
