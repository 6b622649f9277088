//! A laid-out workspace under git's own commands.

use crate::support::{Lab, git_in, lay, oid, try_git, workspace, write};
use std::path::Path;
use std::process::Command;
use weald_git::Repository;
use weald_model::Code;

const FORMATS: [&str; 2] = ["sha1", "sha256"];

#[test]
fn first_status_is_clean_and_leaves_the_index_alone() {
    for format in FORMATS {
        let lab = Lab::new();
        let ws = lab.path("ws");
        workspace(&lab.repository("repo", format), None, None, &ws);
        let before = std::fs::read(ws.join(".git/index")).unwrap();
        assert_eq!(git_in(&ws, &["diff-files", "--raw"]), "", "{format}");
        assert_eq!(git_in(&ws, &["status", "--porcelain"]), "", "{format}");
        assert_eq!(git_in(&ws, &["diff-index", "--cached", "HEAD"]), "");
        assert_eq!(std::fs::read(ws.join(".git/index")).unwrap(), before, "status had nothing to refresh");
    }
}

#[test]
fn first_status_opens_no_file_of_the_work_tree() {
    if Command::new("strace").arg("-V").output().is_err() {
        return;
    }
    let lab = Lab::new();
    let (ws, trace) = (lab.path("ws"), lab.path("trace"));
    workspace(&lab.repository("repo", "sha1"), None, None, &ws);
    let status = Command::new("strace")
        .args(["-f", "-e", "trace=open,openat,readlink,readlinkat", "-o"])
        .arg(&trace)
        .args(["git", "status", "--porcelain"])
        .current_dir(&ws)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(trace.contains(".git/index"), "the trace works");
    for name in ["\"README\"", "\"a.c\"", "\"a/one\"", "\"empty\"", "\"link\"", "\"run.sh\""] {
        assert!(!trace.contains(name), "{name} was read:\n{trace}");
    }
    for line in trace.lines().filter(|line| line.contains("/objects/")) {
        assert!(
            !line.contains(".git/objects/")
                || line.contains("alternates")
                || line.contains("ENOENT")
                || line.contains("O_DIRECTORY")
                || line.contains("repo/"),
            "{line}"
        );
    }
}

#[test]
fn index_equals_the_one_git_writes_but_for_the_refreshed_index() {
    for format in FORMATS {
        let lab = Lab::new();
        let ws = lab.path("ws");
        workspace(&lab.repository("repo", format), None, None, &ws);
        let ours = git_in(&ws, &["ls-files", "--debug", "--stage"]);
        let trees = cached_trees(&ws);
        std::fs::remove_file(ws.join(".git/index")).unwrap();
        git_in(&ws, &["read-tree", "HEAD"]);
        git_in(&ws, &["update-index", "--refresh"]);
        assert_eq!(
            ours,
            without_gitlink_stat(&git_in(&ws, &["ls-files", "--debug", "--stage"]), &ours),
            "{format}"
        );
        assert_eq!(trees, cached_trees(&ws), "TREE extension, {format}");
    }
}

/// `update-index --refresh` leaves the stat data of gitlinks zero and never looks at it; `git reset --hard` fills it.
fn without_gitlink_stat(theirs: &str, ours: &str) -> String {
    let (mut out, mut ours) = (Vec::new(), ours.lines());
    let mut gitlink = false;
    for line in theirs.lines() {
        let our = ours.next().unwrap_or_default();
        if !line.starts_with("  ") {
            gitlink = line.starts_with("160000");
        }
        out.push(if gitlink && line.starts_with("  ") { our } else { line });
    }
    out.join("\n")
}

/// The bytes of the TREE extension.
fn cached_trees(ws: &Path) -> Vec<u8> {
    let index = std::fs::read(ws.join(".git/index")).unwrap();
    let at = index.windows(4).rposition(|window| window == b"TREE").expect("there is a TREE extension");
    let length = u32::from_be_bytes(index[at + 4..at + 8].try_into().unwrap()) as usize;
    index[at + 8..at + 8 + length].to_vec()
}

#[test]
fn index_passes_gits_own_checks() {
    for format in FORMATS {
        let lab = Lab::new();
        let ws = lab.path("ws");
        workspace(&lab.repository("repo", format), None, None, &ws);
        let tree = git_in(&ws, &["rev-parse", "HEAD^{tree}"]);
        assert_eq!(git_in(&ws, &["write-tree", "--missing-ok"]), tree, "{format}");
        let fsck = try_git(&ws, &["fsck", "--no-dangling"]);
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
    }
}

#[test]
fn work_goes_on_in_it_and_never_touches_the_source() {
    for format in FORMATS {
        let lab = Lab::new();
        let (repo, ws) = (lab.repository("repo", format), lab.path("ws"));
        git_in(&repo, &["branch", "side", "HEAD~1"]);
        git_in(&repo, &["tag", "-a", "-m", "annotated", "v1", "HEAD~1"]);
        let objects = |repo: &Path| git_in(repo, &["count-objects", "-v"]);
        let (refs, count) = (git_in(&repo, &["for-each-ref"]), objects(&repo));
        workspace(&repo, None, None, &ws);
        assert_eq!(git_in(&ws, &["log", "--format=%s"]), "second line here\nfirst");
        assert_eq!(git_in(&ws, &["rev-parse", "v1^{commit}"]), git_in(&repo, &["rev-parse", "side"]));
        assert_eq!(git_in(&ws, &["rev-parse", "origin/side"]), git_in(&repo, &["rev-parse", "side"]));
        assert_eq!(git_in(&ws, &["rev-parse", "--abbrev-ref", "origin"]), "origin/main");
        assert_eq!(git_in(&ws, &["rev-parse", "--abbrev-ref", "main@{upstream}"]), "origin/main");
        assert_eq!(git_in(&ws, &["reflog", "-1", "--format=%gs"]), "weald create");
        write(&ws, "new", b"new\n");
        git_in(&ws, &["add", "new"]);
        git_in(&ws, &["commit", "-q", "-m", "third"]);
        write(&ws, "new", b"stashed\n");
        git_in(&ws, &["stash"]);
        git_in(&ws, &["switch", "-q", "side"]);
        write(&ws, "other", b"other\n");
        git_in(&ws, &["add", "other"]);
        git_in(&ws, &["commit", "-q", "-m", "aside"]);
        git_in(&ws, &["rebase", "-q", "main"]);
        git_in(&ws, &["stash", "pop", "-q"]);
        assert_eq!(git_in(&ws, &["status", "--porcelain"]), " M new");
        git_in(&ws, &["commit", "-q", "-a", "-m", "popped"]);
        git_in(&ws, &["gc", "-q", "--prune=now"]);
        git_in(&ws, &["fetch", "-q", "origin"]);
        git_in(&ws, &["fsck", "--no-dangling"]);
        assert_eq!(git_in(&ws, &["log", "--format=%s"]), "popped\naside\nthird\nsecond line here\nfirst");
        assert_eq!(git_in(&repo, &["for-each-ref"]), refs, "{format}: refs of the source");
        assert_eq!(objects(&repo), count, "{format}: objects of the source");
        git_in(&ws, &["push", "-q", "origin", "side:pushed"]);
        assert_eq!(git_in(&repo, &["log", "-1", "--format=%s", "pushed"]), "popped");
    }
}

#[test]
fn a_branch_with_slashes_and_a_detached_head_work() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let (a, b) = (lab.path("a"), lab.path("b"));
    let (_, base) = workspace(&repo, Some("HEAD~1"), Some("feature/x.y/z"), &a);
    assert_eq!(base.branch.as_deref(), Some("feature/x.y/z"));
    assert_eq!(git_in(&a, &["symbolic-ref", "HEAD"]), "refs/heads/feature/x.y/z");
    assert_eq!(git_in(&a, &["status", "--porcelain"]), "");
    let (_, base) = workspace(&repo, Some("HEAD~1"), None, &b);
    assert!(base.detached && base.behind == Some(1) && base.upstream.as_deref() == Some("main"), "{base:?}");
    assert!(!try_git(&b, &["symbolic-ref", "-q", "HEAD"]).status.success());
    assert_eq!(git_in(&b, &["status", "--porcelain", "-b"]), "## HEAD (no branch)");
    assert_eq!(git_in(&b, &["switch", "-q", "-c", "on"]), "");
}

#[test]
fn a_shallow_source_gives_a_workspace_that_knows_its_history_is_cut() {
    let lab = Lab::new();
    lab.repository("repo", "sha1");
    let url = format!("file://{}", lab.path("repo").display());
    git_in(lab.dir.path(), &["clone", "-q", "--depth=1", &url, "shallow"]);
    let ws = lab.path("ws");
    let (repository, _) = workspace(&lab.path("shallow"), None, None, &ws);
    assert!(repository.shallow().is_some());
    assert_eq!(git_in(&ws, &["rev-list", "--count", "HEAD"]), "1");
    assert_eq!(git_in(&ws, &["rev-parse", "--is-shallow-repository"]), "true");
    git_in(&ws, &["fsck", "--no-dangling"]);
    assert_eq!(git_in(&ws, &["status", "--porcelain"]), "");
}

#[test]
fn a_clone_keeps_its_remote_and_comes_as_a_second_one_itself() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    git_in(lab.dir.path(), &["clone", "-q", "repo", "clone"]);
    let clone = lab.path("clone");
    git_in(&clone, &["branch", "local-only", "HEAD~1"]);
    git_in(&clone, &["config", "user.name", "Own \"N\" <x>"]);
    git_in(&clone, &["config", "user.email", "own@example.org"]);
    let ws = lab.path("ws");
    workspace(&clone, None, None, &ws);
    assert_eq!(git_in(&ws, &["remote", "get-url", "origin"]), repo.display().to_string());
    assert_eq!(git_in(&ws, &["config", "user.name"]), "Own \"N\" <x>");
    assert_eq!(git_in(&ws, &["rev-parse", "--abbrev-ref", "main@{upstream}"]), "origin/main");
    assert_eq!(
        git_in(&ws, &["switch", "local-only"]).lines().next(),
        Some("branch 'local-only' set up to track 'source/local-only'.")
    );
    git_in(&ws, &["fetch", "-q", "--all"]);
    git_in(&ws, &["fsck", "--no-dangling"]);
}

#[test]
fn odd_paths_of_the_source_are_quoted_as_git_reads_them() {
    for name in ["#hash", "\"quoted\"", "new\nline", "back\\slash", "sp ace", "tab\tbed", "semi;colon#x"] {
        let lab = Lab::new();
        lab.repository("plain", "sha1");
        // A relative alternates line cannot begin with these, but what is behind a symlink is made absolute.
        let repo = lab.path(name);
        std::fs::rename(lab.path("plain"), &repo).unwrap();
        let ws = lab.path("ws");
        workspace(&repo, None, None, &ws);
        assert_eq!(git_in(&ws, &["status", "--porcelain"]), "", "{name:?}");
        assert_eq!(git_in(&ws, &["config", "remote.origin.url"]), repo.display().to_string(), "{name:?}");
        git_in(&ws, &["fetch", "-q", "origin"]);
    }
}

#[test]
fn alternates_of_the_source_are_followed_whatever_their_depth() {
    let lab = Lab::new();
    lab.repository("r0", "sha1");
    for depth in 1..=8 {
        let (from, to) = (format!("r{}", depth - 1), format!("r{depth}"));
        if depth < 6 {
            git_in(lab.dir.path(), &["clone", "-q", "-s", &from, &to]);
        }
    }
    let ws = lab.path("ws");
    let (repository, _) = workspace(&lab.path("r5"), None, None, &ws);
    assert_eq!(repository.object_dirs().len(), 6);
    git_in(&ws, &["fsck", "--no-dangling"]);
    assert_eq!(git_in(&ws, &["status", "--porcelain"]), "");
}

#[test]
fn nothing_of_a_hostile_source_configuration_runs_or_is_taken_over() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let marker = lab.path("ran");
    let touch = format!("touch {}", marker.display());
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.editor",
        "core.pager",
        "alias.status",
        "filter.x.smudge",
        "filter.x.clean",
        "filter.x.process",
        "diff.external",
        "credential.helper",
        "uploadpack.packObjectsHook",
        "gpg.program",
        "core.askPass",
        "core.gitProxy",
        "core.alternateRefsCommand",
    ] {
        git_in(&repo, &["config", key, &touch]);
    }
    let hook = repo.join(".git/hooks/post-checkout");
    write(&repo, ".git/hooks/post-checkout", format!("#!/bin/sh\n{touch}\n").as_bytes());
    std::fs::set_permissions(hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ws = lab.path("ws");
    workspace(&repo, None, None, &ws);
    let config = std::fs::read_to_string(ws.join(".git/config")).unwrap();
    assert!(!config.contains("touch"), "{config}");
    git_in(&ws, &["status"]);
    git_in(&ws, &["switch", "-q", "-c", "x"]);
    assert!(!marker.exists());
}

#[test]
fn a_branch_name_git_refuses_is_refused() {
    let lab = Lab::new();
    let repository = Repository::open(&lab.repository("repo", "sha1")).unwrap();
    for name in [
        "",
        "-x",
        "a..b",
        "HEAD",
        "a b",
        "x.lock",
        "/x",
        "x/",
        "../../hooks/x",
        "a\nb",
        "@{x",
        "a//b",
        "a/.b",
    ] {
        assert_eq!(repository.resolve(None, Some(name)).expect_err(name).code, Code::BadRequest, "{name:?}");
    }
    let base = repository.resolve(None, Some("fine/name")).unwrap();
    assert_eq!(base.branch.as_deref(), Some("fine/name"));
    lay(&repository, &base, &lab.path("ws"));
    assert_eq!(oid(&git_in(&lab.path("ws"), &["rev-parse", "fine/name"])), base.commit);
}

#[test]
fn a_partial_clone_as_source_tells_git_where_the_rest_is() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    git_in(&repo, &["config", "uploadpack.allowFilter", "true"]);
    git_in(&repo, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let url = format!("file://{}", repo.display());
    git_in(lab.dir.path(), &["clone", "-q", "--filter=blob:none", &url, "partial"]);
    let ws = lab.path("ws");
    workspace(&lab.path("partial"), None, None, &ws);
    assert_eq!(git_in(&ws, &["status", "--porcelain"]), "");
    git_in(&ws, &["fsck"]);
    assert_eq!(git_in(&ws, &["show", "HEAD~1:a/one"]), "1", "fetched when needed");
}
