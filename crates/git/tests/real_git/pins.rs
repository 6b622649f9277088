//! Pins keep bases alive and leave without a trace.

use crate::support::{Lab, fault, git_in, oid, try_git, workspace};
use std::os::unix::fs::MetadataExt as _;
use weald_git::pin::{keep, pin, pin_name, pinned, unpin};
use weald_git::{GitDirSpec, Repository};
use weald_model::{Code, Timestamp, WorkspaceId};

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
        git_in(
            &repo,
            &["reflog", "expire", "--expire=now", "--expire-unreachable=now", "HEAD", "refs/heads/main"],
        );
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

#[test]
fn branches_and_tags_of_a_workspace_survive_their_deletion_in_the_source() {
    for format in ["sha1", "sha256"] {
        let lab = Lab::new();
        let (repo, ws) = (lab.repository("repo", format), lab.path("ws"));
        git_in(&repo, &["switch", "-q", "-c", "gone"]);
        git_in(&repo, &["commit", "-q", "--allow-empty", "-m", "on a branch"]);
        git_in(&repo, &["switch", "-q", "--detach", "main"]);
        git_in(&repo, &["commit", "-q", "--allow-empty", "-m", "on a tag"]);
        git_in(&repo, &["tag", "-a", "-m", "tag", "v1"]);
        git_in(&repo, &["switch", "-q", "main"]);
        let (repository, base) = workspace(&repo, None, None, &ws);
        let spec = GitDirSpec::new(&repository, &base, Timestamp::from_secs(1));
        assert_eq!(spec.tips().len(), 2);
        pin(&repository, ID, &base.commit).unwrap();
        keep(&repository, ID, &base.commit, &spec.tips()).unwrap();
        git_in(&repo, &["branch", "-D", "gone"]);
        git_in(&repo, &["tag", "-d", "v1"]);
        git_in(&repo, &["reflog", "expire", "--expire=now", "--expire-unreachable=now", "HEAD"]);
        git_in(&repo, &["gc", "-q", "--prune=now"]);
        git_in(&ws, &["merge", "-q", "-m", "m", "origin/gone", "v1"]);
        git_in(&ws, &["gc", "-q", "--prune=now"]);
        git_in(&ws, &["fsck"]);
        assert!(
            !git_in(&repo, &["log", "--all", "--format=%s"]).contains("on a"),
            "nothing shows in the source"
        );
        git_in(&repo, &["fsck"]);
        unpin(&repository, ID).unwrap();
        assert!(!repo.join(".git/logs").join(pin_name(ID)).exists());
    }
}

#[test]
fn a_pin_made_by_root_belongs_to_the_owner_of_the_repository() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    // Only root can give a file away; for others the owner is right anyway.
    let owner = if std::os::unix::fs::chown(repo.join(".git"), Some(12345), None).is_ok() {
        Some(12345)
    } else {
        None
    };
    let repository = Repository::open(&repo).unwrap();
    pin(&repository, ID, &repository.resolve(None, None).unwrap().commit).unwrap();
    keep(&repository, ID, &repository.resolve(None, None).unwrap().commit, &[]).unwrap();
    let owner = owner.unwrap_or(repo.metadata().unwrap().uid());
    for path in ["refs/weald", "refs/weald/pins", &pin_name(ID), "logs/refs/weald/pins"] {
        assert_eq!(repo.join(".git").join(path).metadata().unwrap().uid(), owner, "{path}");
    }
}
