//! What would be lost with a workspace.

use crate::support::{Lab, fault, git_in, workspace, write};
use std::path::Path;
use weald_git::{UnpushedBranch, current_branch, unpushed};
use weald_model::{Code, Oid};

fn found(ws: &Path, base: &Oid) -> Vec<(String, u64)> {
    let list = unpushed(ws, &[*base]).unwrap();
    list.into_iter().map(|UnpushedBranch { branch, commits, .. }| (branch, commits)).collect()
}

fn commit(ws: &Path, name: &str) {
    write(ws, name, name.as_bytes());
    git_in(ws, &["add", name]);
    git_in(ws, &["commit", "-q", "-m", name]);
}

#[test]
fn commits_branches_stashes_and_a_detached_head_are_listed_until_pushed() {
    for format in ["sha1", "sha256"] {
        let lab = Lab::new();
        let (repo, ws) = (lab.repository("repo", format), lab.path("ws"));
        let base = workspace(&repo, None, None, &ws).1.commit;
        assert_eq!(found(&ws, &base), []);
        assert_eq!(current_branch(&ws).as_deref(), Some("main"));
        commit(&ws, "x");
        commit(&ws, "y");
        git_in(&ws, &["switch", "-q", "-c", "topic/a"]);
        commit(&ws, "z");
        assert_eq!(current_branch(&ws).as_deref(), Some("topic/a"));
        for content in ["s1", "s2"] {
            write(&ws, "x", content.as_bytes());
            git_in(&ws, &["stash", "-q"]);
        }
        git_in(&ws, &["gc", "-q"]);
        // Two stashes with one index commit between them (their dates are equal here); below are z, y and x.
        let all = [("main".to_owned(), 2), ("stash".to_owned(), 6), ("topic/a".to_owned(), 3)];
        assert_eq!(found(&ws, &base), all, "{format}");
        git_in(&ws, &["push", "-q", "origin", "topic/a"]);
        assert_eq!(found(&ws, &base), [("stash".to_owned(), 3)]);
        git_in(&ws, &["stash", "clear"]);
        assert_eq!(found(&ws, &base), []);
        git_in(&ws, &["switch", "-q", "--detach"]);
        commit(&ws, "d");
        assert_eq!(current_branch(&ws), None);
        assert_eq!(found(&ws, &base), [("HEAD".to_owned(), 1)]);
    }
}

#[test]
fn a_base_that_is_on_no_branch_of_the_source_is_not_unpushed() {
    let lab = Lab::new();
    let (repo, ws) = (lab.repository("repo", "sha1"), lab.path("ws"));
    let orphan = git_in(&repo, &["commit-tree", "-m", "orphan", "HEAD^{tree}"]);
    let base = workspace(&repo, Some(&orphan), Some("b"), &ws).1.commit;
    assert_eq!(found(&ws, &base), []);
    commit(&ws, "one");
    assert_eq!(found(&ws, &base), [("b".to_owned(), 1)]);
}

#[test]
fn hostile_git_directories_run_nothing_and_do_not_hang() {
    let lab = Lab::new();
    let (repo, ws) = (lab.repository("repo", "sha1"), lab.path("ws"));
    let base = workspace(&repo, None, None, &ws).1.commit;
    let marker = lab.path("ran");
    for key in ["core.fsmonitor", "core.sshCommand", "alias.log", "core.pager", "core.gitProxy"] {
        git_in(&ws, &["config", key, &format!("touch {}", marker.display())]);
    }
    assert_eq!(found(&ws, &base), []);
    assert!(!marker.exists());
    std::fs::remove_file(ws.join(".git/packed-refs")).unwrap();
    assert!(
        std::process::Command::new("mkfifo").arg(ws.join(".git/packed-refs")).status().unwrap().success()
    );
    let start = std::time::Instant::now();
    assert_eq!(fault(unpushed(&ws, &[base])).code, Code::GitFailed);
    assert!(start.elapsed().as_secs() < 5);
    std::fs::remove_file(ws.join(".git/HEAD")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(ws.join(".git/HEAD")).status().unwrap().success());
    assert_eq!(current_branch(&ws), None);
    std::fs::remove_dir_all(ws.join(".git")).unwrap();
    assert_eq!(unpushed(&ws, &[base]), Ok(Vec::new()));
}
