//! Workspaces of repositories behind ssh, with a real server and OpenSSH's own client and agent.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use support::{Home, wait_for};
use weald_testkit::server::{Failing, Server};
use weald_testkit::ssh_server::Keys;

/// A repository behind ssh, and the keys of its server.
fn served(home: &Home) -> (Server, Keys) {
    let user = home.path().join("user");
    home.run(
        &user,
        "git init -q -b main src; cd src; mkdir a
         for number in $(seq 40); do echo \"file $number\" > a/f$number; done
         git add .; git commit -q -m first; cd ..; git clone -q --bare src repo.git",
    )
    .ok();
    Server::ssh(&user).unwrap()
}

/// Has git use ssh with these settings and none of the machine's.
fn ssh_with(home: &Home, settings: &[String]) {
    let settings: Vec<String> = settings.iter().map(|setting| format!("-o {setting}")).collect();
    let command = format!("ssh -F /dev/null {}", settings.join(" "));
    home.run(&home.path().join("user"), &format!("git config --global core.sshCommand '{command}'")).ok();
}

fn known(keys: &Keys) -> String {
    format!("UserKnownHostsFile={}", keys.known_hosts.display())
}

fn identity(keys: &Keys) -> String {
    format!("IdentityFile={}", keys.user.display())
}

#[test]
fn a_repository_behind_ssh_is_browsed_read_updated_and_pushed_to() {
    let home = Home::new();
    let (server, keys) = served(&home);
    ssh_with(&home, &[known(&keys), identity(&keys)]);
    let url = server.ssh_url("repo.git");
    let created = home.weald(&["create", &url, "w", "--json"]).json();
    assert_eq!(created["notes"], serde_json::json!([]), "content can be left out");
    let at = home.at("w");
    assert_eq!(home.run(&at, "git status --porcelain; cat a/f7").ok(), "file 7\n");
    home.run(&at, "echo mine > a/f1; git commit -q -a -m mine; git push -q origin main").ok();
    let pushed = home.run(&home.path().join("user/repo.git"), "git log --format=%s -1 main");
    assert_eq!(pushed.ok(), "mine\n");
    let updated = home.weald(&["create", &url, "updated", "--update", "--json"]).json();
    assert_eq!(updated["base"]["subject"], "mine");
    server.fail(Failing::Away);
    home.weald(&["create", &url, "again"]).ok();
    home.weald(&["create", &server.ssh_url("other.git"), "none"]).fault("W0002");
}

#[test]
fn a_host_nobody_knows_and_a_key_that_is_refused_are_told_and_leave_nothing() {
    let home = Home::new();
    let (server, keys) = served(&home);
    let url = server.ssh_url("repo.git");
    ssh_with(&home, &["UserKnownHostsFile=/dev/null".into(), identity(&keys)]);
    let unknown = home.weald(&["create", &url, "w"]).fault("W0002");
    assert!(unknown.err.contains("Host key verification failed"), "{}", unknown.err);
    assert!(unknown.err.contains("accept it"), "{}", unknown.err);
    ssh_with(&home, &[known(&keys), "IdentityFile=none".into(), "IdentityAgent=SSH_AUTH_SOCK".into()]);
    let refused = home.weald(&["create", &url, "w"]).fault("W0002");
    assert!(
        refused.err.contains("Permission denied") && refused.err.contains("ssh agent"),
        "{}",
        refused.err
    );
    assert_eq!(std::fs::read_dir(home.home().join("repos")).unwrap().count(), 0);
    assert_eq!(home.weald(&["list", "--json"]).json(), serde_json::json!([]));
}

/// OpenSSH's agent with the user's key; ends when dropped.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(home: &Home, name: &str, keys: &Keys) -> Self {
        let socket = home.path().join(name);
        let process =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self { process, socket };
        wait_for("the agent", || agent.socket.exists());
        let add = format!("SSH_AUTH_SOCK='{}' ssh-add -q '{}'", agent.socket.display(), keys.user.display());
        home.run(home.path(), &add).ok();
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

#[test]
fn the_agent_of_the_last_command_answers_for_a_daemon_that_was_started_without_one() {
    let home = Home::new();
    let (server, keys) = served(&home);
    ssh_with(&home, &[known(&keys), "IdentityFile=none".into()]);
    home.weald(&["config", "fetch.prefetch", "off"]).ok();
    home.weald(&["daemon", "restart"]).ok();
    let url = server.ssh_url("repo.git");
    let with = |agent: &Agent, args: &[&str]| {
        let output = home.command().env("SSH_AUTH_SOCK", &agent.socket).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let first = Agent::start(&home, "first", &keys);
    with(&first, &["create", &url, "w"]);
    assert_eq!(home.run(&home.at("w"), "cat a/f7").ok(), "file 7\n");
    // The login it belonged to ends; another one comes.
    drop(first);
    let second = Agent::start(&home, "second", &keys);
    with(&second, &["status"]);
    home.run(
        &home.path().join("user/src"),
        "echo new > new; git add .; git commit -q -m new; git push -q ../repo.git main",
    )
    .ok();
    with(&second, &["create", &url, "updated", "--update"]);
    assert_eq!(home.run(&home.at("updated"), "cat new").ok(), "new\n");
}
