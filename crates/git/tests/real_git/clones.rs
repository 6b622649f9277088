//! Clones over file:// URLs, and what goes wrong with the others.

use crate::support::{Lab, fault, git_in, oid, workspace, write};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use weald_git::clone::SILENCE_MAX;
use weald_git::{CloneRequest, Repository, clone, fetch};
use weald_model::{Code, Progress, Silent};

fn request<'a>(url: &'a str, dest: &'a Path) -> CloneRequest<'a> {
    CloneRequest { url, dest, depth: None, rev: None, silence_max: SILENCE_MAX }
}

#[derive(Default)]
struct Watched(Mutex<Vec<String>>);

impl Progress for Watched {
    fn stage(&self, title: &str, _total: u64) {
        self.0.lock().unwrap().push(title.to_owned());
    }
    fn advance(&self, _steps: u64) {}
}

#[test]
fn a_clone_is_bare_complete_and_shows_progress() {
    for format in ["sha1", "sha256"] {
        let lab = Lab::new();
        let repo = lab.repository("repo", format);
        git_in(&repo, &["branch", "side", "HEAD~1"]);
        let (url, dest) = (format!("file://{}", repo.display()), lab.path("home/clone.git"));
        let watched = Watched::default();
        clone(&request(&url, &dest), &watched).unwrap();
        assert!(watched.0.lock().unwrap().iter().any(|title| title == "Receiving objects"));
        assert!(!lab.path("home/clone.git.part").exists());
        assert!(!dest.join("hooks").exists());
        let (repository, base) = workspace(&dest, None, None, &lab.path("ws"));
        assert_eq!((base.behind, base.upstream.as_deref()), (Some(0), Some("origin/main")));
        assert_eq!(repository.remotes().len(), 1);
        assert_eq!(git_in(&lab.path("ws"), &["remote", "get-url", "origin"]), url);
        assert_eq!(git_in(&lab.path("ws"), &["status", "--porcelain"]), "");
        assert_eq!(fault(clone(&request(&url, &dest), &Silent)).code, Code::HostIo, "the place is taken");
    }
}

#[test]
fn depth_and_revision_bring_what_was_asked_for() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    git_in(&repo, &["branch", "side", "HEAD~1"]);
    git_in(&repo, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let hidden = git_in(&repo, &["commit-tree", "-m", "on no branch", "HEAD^{tree}"]);
    let url = format!("file://{}", repo.display());
    for (depth, rev, count) in [
        (Some(1), "main", 1),
        (Some(1), "side", 1),
        (None, "side", 1),
        (Some(1), hidden.as_str(), 1),
        (None, hidden.as_str(), 1),
    ] {
        let dest = lab.path("c.git");
        clone(&CloneRequest { depth, rev: Some(rev), ..request(&url, &dest) }, &Silent).unwrap();
        let base = Repository::open(&dest).unwrap().resolve(Some(rev), None).unwrap();
        assert_eq!(base.commit, oid(&git_in(&repo, &["rev-parse", rev])), "{rev}");
        assert_eq!(git_in(&dest, &["rev-list", "--count", rev]), count.to_string());
        std::fs::remove_dir_all(dest).unwrap();
    }
    let dest = lab.path("c.git");
    let wrong = CloneRequest { depth: Some(1), rev: Some("nothing"), ..request(&url, &dest) };
    assert_eq!(fault(clone(&wrong, &Silent)).code, Code::UnknownRevision);
    assert!(!dest.exists());
}

#[test]
fn fetch_follows_the_remote_and_keeps_what_workspaces_stand_on() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    git_in(&repo, &["branch", "gone"]);
    let (url, full, cut) = (format!("file://{}", repo.display()), lab.path("full.git"), lab.path("cut.git"));
    clone(&request(&url, &full), &Silent).unwrap();
    clone(&CloneRequest { depth: Some(1), ..request(&url, &cut) }, &Silent).unwrap();
    let before = oid(&git_in(&repo, &["rev-parse", "HEAD"]));
    git_in(&repo, &["branch", "-D", "gone"]);
    git_in(&repo, &["branch", "gone/deeper"]);
    write(&repo, "more", b"more\n");
    git_in(&repo, &["add", "more"]);
    git_in(&repo, &["commit", "-q", "--amend", "-m", "rewritten"]);
    let after = oid(&git_in(&repo, &["rev-parse", "HEAD"]));
    fetch(&full, None, None, &Silent).unwrap();
    fetch(&cut, Some(1), None, &Silent).unwrap();
    for dest in [&full, &cut] {
        assert_eq!(Repository::open(dest).unwrap().resolve(None, None).unwrap().commit, after);
    }
    assert_eq!(git_in(&full, &["branch", "--format=%(refname:short)"]), "gone/deeper\nmain");
    git_in(&full, &["gc", "-q"]);
    assert_eq!(git_in(&full, &["cat-file", "-t", &before.to_string()]), "commit", "gc keeps the old base");
}

#[test]
fn unusable_urls_and_unreachable_places_leave_nothing_behind() {
    let lab = Lab::new();
    let dest = lab.path("home/c.git");
    for (url, code) in [
        ("--upload-pack=touch x", Code::BadRequest),
        ("ext::sh -c true", Code::BadRequest),
        ("file:///nowhere/at/all", Code::UnreachableSource),
        ("https://user:s3cret@127.0.0.1:1/x.git?token=s3cret", Code::UnreachableSource),
        ("ssh://user:s3cret@127.0.0.1:1/x", Code::UnreachableSource),
    ] {
        let fault = fault(clone(&request(url, &dest), &Silent));
        assert_eq!(fault.code, code, "{fault:?}");
        assert!(!format!("{fault:?}").contains("s3cret"), "{fault:?}");
        assert!(!dest.exists() && !lab.path("home/c.git.part").exists());
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let lab = Lab::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x.git", server.local_addr().unwrap());
    let dest = lab.path("c.git");
    let start = std::time::Instant::now();
    let silence_max = Duration::from_millis(700);
    let fault = fault(clone(&CloneRequest { silence_max, ..request(&url, &dest) }, &Silent));
    assert_eq!(fault.code, Code::UnreachableSource);
    assert!(fault.message.contains("no progress"), "{fault:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(!dest.exists() && !lab.path("c.git.part").exists());
    drop(server);
}

#[test]
fn an_empty_remote_clones_and_is_then_told_empty() {
    let lab = Lab::new();
    git_in(lab.dir.path(), &["init", "-q", "--bare", "empty.git"]);
    let (url, dest) = (format!("file://{}", lab.path("empty.git").display()), lab.path("c.git"));
    clone(&request(&url, &dest), &Silent).unwrap();
    assert_eq!(fault(Repository::open(&dest).unwrap().resolve(None, None)).code, Code::EmptyRepository);
}
