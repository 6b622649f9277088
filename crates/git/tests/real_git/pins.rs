//! Pins keep bases alive and leave without a trace.

use crate::support::{Lab, fault, git_in, oid, try_git};
use weald_git::Repository;
use weald_git::pin::{pin, pin_name, pinned, unpin};
use weald_model::{Code, WorkspaceId};

const ID: WorkspaceId = WorkspaceId(0xABCD);

#[test]
fn a_pinned_commit_survives_gc_and_an_unpinned_one_does_not() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let repository = Repository::open(&repo).unwrap();
    let base = repository.resolve(None, None).unwrap().commit;
    pin(&repository, ID, &base).unwrap();
    pin(&repository, ID, &base).unwrap();
    assert_eq!(git_in(&repo, &["rev-parse", &pin_name(ID)]), base.to_string());
    git_in(&repo, &["reset", "-q", "--hard", "HEAD~1"]);
    let gc = || {
        git_in(&repo, &["reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all"]);
        git_in(&repo, &["gc", "-q", "--prune=now"]);
    };
    gc();
    assert_eq!(git_in(&repo, &["cat-file", "-t", &base.to_string()]), "commit");
    assert_eq!(pinned(&repository, ID), Some(base), "packed by gc");
    unpin(&repository, ID).unwrap();
    unpin(&repository, ID).unwrap();
    assert_eq!(pinned(&repository, ID), None);
    assert!(!try_git(&repo, &["rev-parse", "--verify", "-q", &pin_name(ID)]).status.success());
    gc();
    assert!(!try_git(&repo, &["cat-file", "-e", &base.to_string()]).status.success());
    git_in(&repo, &["fsck"]);
}

#[test]
fn a_pin_moves_after_it_was_packed() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha256");
    let repository = Repository::open(&repo).unwrap();
    let (new, old) = (git_in(&repo, &["rev-parse", "HEAD"]), git_in(&repo, &["rev-parse", "HEAD~1"]));
    pin(&repository, ID, &oid(&old)).unwrap();
    git_in(&repo, &["pack-refs", "--all"]);
    pin(&repository, ID, &oid(&new)).unwrap();
    assert_eq!(git_in(&repo, &["rev-parse", &pin_name(ID)]), new);
    unpin(&repository, ID).unwrap();
    assert_eq!(git_in(&repo, &["for-each-ref", "refs/weald"]), "");
}

#[test]
fn a_linked_worktree_is_pinned_in_the_shared_directory() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    git_in(&repo, &["worktree", "add", "-q", "../tree"]);
    let repository = Repository::open(&lab.path("tree")).unwrap();
    pin(&repository, ID, &repository.resolve(None, None).unwrap().commit).unwrap();
    assert!(repo.join(".git").join(pin_name(ID)).is_file());
}

#[test]
fn a_held_lock_is_told_and_left_to_its_owner() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let repository = Repository::open(&repo).unwrap();
    let lock = repo.join(".git").join(format!("{}.lock", pin_name(ID)));
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    std::fs::write(&lock, b"").unwrap();
    let base = repository.resolve(None, None).unwrap().commit;
    assert_eq!(fault(pin(&repository, ID, &base)).code, Code::HostIo);
    assert!(lock.exists());
}
