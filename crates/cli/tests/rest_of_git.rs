//! What else git has: submodules, sparse working trees, SHA-256, git directories elsewhere, and sources of every make.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use std::path::{Path, PathBuf};
use support::Home;

/// Output of a command without its last newline.
fn line(home: &Home, dir: &Path, command: &str) -> String {
    home.run(dir, command).ok().trim_end().to_owned()
}

/// A repository `app` with `lib` as its submodule at `dep/lib`, cloned there.
fn with_submodule(home: &Home) -> PathBuf {
    home.repo("lib");
    let app = home.repo("app");
    // From a path git would copy the objects, whatever else has them.
    home.run(&app, "git submodule --quiet add file://$(realpath ../lib) dep/lib; git commit -qm third").ok();
    app
}

/// A home whose user allows submodules from local paths.
fn home() -> Home {
    Home::with_git_config("[protocol \"file\"]\n\tallow = always\n")
}

#[test]
fn a_submodule_is_empty_until_git_fills_it_with_the_objects_its_source_has() {
    let home = home();
    let app = with_submodule(&home);
    home.weald(&["create", app.to_str().unwrap(), "a"]).ok();
    home.weald(&["create", app.to_str().unwrap(), "b"]).ok();
    for name in ["a", "b"] {
        let root = home.at(name);
        assert_eq!(std::fs::read_dir(root.join("dep/lib")).unwrap().count(), 0);
        assert_eq!(line(&home, &root, "git status --porcelain"), "");
        home.run(&root, "git submodule --quiet update --init").ok();
        assert_eq!(line(&home, &root, "git status --porcelain; cat dep/lib/a.txt"), "one\ntwo");
        let kept = line(&home, &root, "git -C dep/lib count-objects -v | grep -E '^(count|in-pack)'");
        assert_eq!(kept, "count: 0\nin-pack: 0", "{name} has none of its own");
        home.run(&root, "git -C dep/lib fsck").ok();
    }
    // Whatever happens there, the objects stay as long as the workspaces.
    let module = app.join(".git/modules/dep/lib");
    let forget = "git update-ref -d refs/heads/main; git update-ref -d refs/remotes/origin/main; rm -f HEAD.lock; \
        git symbolic-ref HEAD refs/heads/gone; rm -rf logs/HEAD logs/refs/heads logs/refs/remotes; \
        git symbolic-ref -d refs/remotes/origin/HEAD; rm -f index; git gc -q --prune=now";
    home.run(&module, forget).ok();
    home.run(&home.at("a"), "git -C dep/lib fsck; git -C dep/lib log --format=%s").ok();
    for name in ["a", "b"] {
        home.weald(&["remove", name]).ok();
    }
    home.weald(&["trash", "empty"]).ok();
    assert_eq!(line(&home, &module, "git for-each-ref refs/weald"), "");
}

#[test]
fn what_is_committed_in_a_submodule_is_not_lost_unseen() {
    let home = home();
    let app = with_submodule(&home);
    home.weald(&["create", app.to_str().unwrap(), "a"]).ok();
    let root = home.at("a");
    home.run(
        &root,
        "git submodule --quiet update --init; cd dep/lib; echo x >> a.txt; git commit -qam inner",
    )
    .ok();
    assert_eq!(line(&home, &root, "git status --porcelain"), " M dep/lib", "found without being told");
    let promoted = home.weald(&["promote", "a", "--json"]).json();
    let note = promoted["notes"][0].as_str().unwrap();
    assert!(note.contains("submodule dep/lib") && note.contains("push"), "{note}");
    let inner = line(&home, &root, "git -C dep/lib rev-parse HEAD");
    assert_eq!(line(&home, &app, "git rev-parse refs/weald/a:dep/lib"), inner);
    let said = home.weald(&["remove", "a"]).fault("W0019");
    assert!(said.err.contains("1 commit on HEAD of the submodule dep/lib"), "{said:?}");
    // A fork has it, too: removing one of them loses nothing.
    home.weald(&["fork", "a", "b"]).ok();
    assert_eq!(
        line(&home, &home.at("b"), "git -C dep/lib log -1 --format=%s; git status --porcelain"),
        "inner\n M dep/lib"
    );
    home.weald(&["remove", "b"]).ok();
    home.run(&root.join("dep/lib"), "git push -q origin HEAD:refs/heads/topic").ok();
    assert_eq!(home.weald(&["promote", "a", "--json"]).json()["notes"].as_array().unwrap().len(), 0);
    home.weald(&["remove", "a"]).ok();
}

#[test]
fn a_sparse_working_tree_is_gits_own_and_its_work_gets_back_whole() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.run(&repo, "mkdir -p a b; echo 1 > a/f; echo 2 > b/f; git add .; git commit -qm third; git sparse-checkout set a").ok();
    for cone in ["", "--no-cone ", "--sparse-index "] {
        home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
        let root = home.at("w");
        assert!(root.join("b/f").exists(), "what the source's own working tree leaves out is its affair");
        home.run(&root, &format!("git sparse-checkout set {cone}a")).ok();
        assert!(!root.join("b").exists() && root.join("a/f").exists());
        assert_eq!(line(&home, &root, "git status --porcelain"), "");
        home.run(&root, "mkdir b; echo new > b/new; echo changed > a/f").ok();
        home.weald(&["promote", "w"]).ok();
        let shown = line(&home, &repo, "git diff --name-status main refs/weald/w");
        assert_eq!(shown, "M\ta/f\nA\tb/new", "{cone}");
        home.weald(&["fork", "w", "f"]).ok();
        home.run(&home.at("f"), "git sparse-checkout disable 2> /dev/null; cat b/f").ok();
        assert_eq!(line(&home, &home.at("f"), "git status --porcelain"), " M a/f\n?? b/new");
        for name in ["w", "f"] {
            home.weald(&["remove", name, "--force"]).ok();
        }
        home.run(&repo, "git update-ref -d refs/weald/w").ok();
    }
}

#[test]
fn a_sha256_repository_is_used_like_any_other() {
    let home = Home::new();
    let repo = home.path().join("user/new");
    home.run(home.path(), "cd user; git init -q -b main --object-format=sha256 new; cd new; echo 1 > f; git add .; git commit -qm one")
        .ok();
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let root = home.at("w");
    assert_eq!(line(&home, &root, "git status --porcelain; git log --format=%s"), "one");
    home.run(&root, "echo 2 >> f; git commit -qam two; echo 3 > untracked").ok();
    home.weald(&["remove", "w"]).fault("W0019");
    home.weald(&["promote", "w", "-m", "three"]).ok();
    home.weald(&["merge", "w"]).ok();
    assert_eq!(line(&home, &repo, "git log --format=%s; git status --porcelain"), "three\ntwo\none");
    home.weald(&["snapshot", "w"]).ok();
    home.weald(&["verify", "w", "--base"]).ok();
    home.weald(&["create", &format!("file://{}", repo.display()), "u", "--depth", "1"]).ok();
    assert_eq!(line(&home, &home.at("u"), "git status --porcelain; git log --format=%s"), "three");
    home.weald(&["remove", "w"]).ok();
}

#[test]
fn reftable_is_refused_as_a_source_and_cloned_from_a_url() {
    let home = Home::with_git_config("[init]\n\tdefaultRefFormat = reftable\n");
    let repo = home.repo("tool");
    if line(&home, &repo, "git rev-parse --show-ref-format 2> /dev/null || true") != "reftable" {
        return;
    }
    let said = home.weald(&["create", repo.to_str().unwrap()]).fault("W0028");
    assert!(said.err.contains("reftable") && said.err.contains("git clone --bare"), "{said:?}");
    home.weald(&["create", &format!("file://{}", repo.display()), "u"]).ok();
    assert_eq!(line(&home, &home.at("u"), "git status --porcelain; git log -1 --format=%s"), "second commit");
}

#[test]
fn a_git_directory_that_was_moved_out_is_followed_and_never_shared() {
    let home = Home::new();
    let repo = home.repo("tool");
    let said = home.weald(&["create", repo.to_str().unwrap(), "w", "--git-file"]).fault("W0028");
    assert!(said.err.contains("gitdir: "), "{said:?}");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let (root, out) = (home.at("w"), home.path().join("user/out.git"));
    home.run(&root, &format!("mv .git '{0}'; echo 'gitdir: {0}' > .git", out.display())).ok();
    home.run(&root, "git switch -qc topic; echo x >> a.txt; git commit -qam inner; echo y >> a.txt").ok();
    assert_eq!(line(&home, &root, "git status --porcelain"), " M a.txt");
    assert_eq!(home.weald(&["info", "w", "--json"]).json()["branch"], "topic");
    home.weald(&["fork", "w", "f"]).fault("W0028");
    let said = home.weald(&["remove", "w"]).fault("W0019");
    assert!(said.err.contains("1 commit on topic"), "{said:?}");
    home.weald(&["promote", "w", "-m", "outer"]).ok();
    assert_eq!(line(&home, &repo, "git log --format=%s refs/weald/w"), "outer\ninner\nsecond commit\nfirst");
    home.run(&root, &format!("rm .git; mv '{}' .git", out.display())).ok();
    home.weald(&["fork", "w", "f"]).ok();
    home.weald(&["remove", "w"]).ok();
}

#[test]
fn working_trees_added_inside_are_gits_own() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let root = home.at("w");
    home.run(&root, "git worktree add -q -b side inner; cd inner; echo x >> a.txt; git commit -qam inner")
        .ok();
    assert_eq!(line(&home, &root, "git -C inner status --porcelain; git log -1 --format=%s side"), "inner");
    let said = home.weald(&["remove", "w"]).fault("W0019");
    assert!(said.err.contains("1 commit on side"), "{said:?}");
}

/// Sources of every make: how each comes to be out of `tool`, and the name of the directory that is then the source.
const SOURCES: &[(&str, &str, &str)] = &[
    ("a linked worktree", "git -C tool worktree add -q -b main2 ../linked", "linked"),
    ("one with alternates", "git clone -q --shared tool shared", "shared"),
    (
        "one that borrows from one that borrows",
        "git clone -q -s tool x; git clone -q -s x borrowed",
        "borrowed",
    ),
    ("a bare one", "git clone -q --bare tool bare.git", "bare.git"),
    ("a mirror", "git clone -q --mirror tool mirror.git", "mirror.git"),
    ("a shallow one", "git clone -q --depth 1 file://$PWD/tool shallow", "shallow"),
    (
        "one with replaced commits",
        "git clone -q tool replaced; git -C replaced replace --graft HEAD",
        "replaced",
    ),
    (
        "one with grafts",
        "git clone -q tool grafts; git -C grafts rev-parse HEAD > g; mv g grafts/.git/info/grafts",
        "grafts",
    ),
    ("one behind a .git file", "git clone -q --separate-git-dir=sep.git tool separate", "separate"),
    (
        "one with settings of its working tree",
        "git clone -q tool own; git -C own config extensions.worktreeConfig true; \
         git -C own config --worktree core.sparseCheckout true",
        "own",
    ),
    ("one with everything in packs", "git clone -q tool packed; git -C packed gc -q", "packed"),
    ("a submodule", "git init -q super; cd super; git submodule --quiet add ../tool sub", "super/sub"),
];

#[test]
fn sources_of_every_make_are_cloned_from_worked_in_and_promoted_to() {
    let home = home();
    home.repo("tool");
    let user = home.path().join("user");
    for (what, make, name) in SOURCES {
        home.run(&user, make).ok();
        let source = user.join(name);
        home.weald(&["create", source.to_str().unwrap(), "w"]).ok();
        let root = home.at("w");
        assert_eq!(line(&home, &root, "git status --porcelain; cat a.txt"), "one\ntwo", "{what}");
        home.run(&root, "git fsck --no-dangling 2>&1").ok();
        home.run(&root, "echo three >> a.txt; git commit -qam third; echo new > new").ok();
        home.weald(&["promote", "w", "-m", "fourth"]).ok();
        let log = line(&home, &source, "git --no-replace-objects log -3 --format=%s refs/weald/w");
        assert_eq!(log, "fourth\nthird\nsecond commit", "{what}");
        home.weald(&["merge", "w"]).ok();
        let tip = line(&home, &source, "git log -1 --format=%s HEAD");
        assert_eq!(tip, "fourth", "{what}");
        home.weald(&["remove", "w"]).ok();
        home.weald(&["trash", "empty"]).ok();
        let pins = line(&home, &source, "git for-each-ref refs/weald/pins; git update-ref -d refs/weald/w");
        assert_eq!(pins, "", "{what}");
    }
}

/// A URL of a repository with a submodule, whose server may leave content out.
fn url_with_submodule(home: &Home) -> String {
    let app = with_submodule(home);
    let serve = "git clone -q --bare app app.git; git -C app.git config uploadpack.allowFilter true";
    home.run(&home.path().join("user"), serve).ok();
    format!("file://{}", app.with_file_name("app.git").display())
}

#[test]
fn what_one_workspace_fetched_of_a_submodule_the_next_ones_of_the_url_borrow() {
    let home = home();
    let url = url_with_submodule(&home);
    home.weald(&["create", &url, "first"]).ok();
    let fill = "git submodule --quiet update --init; cat dep/lib/a.txt; git -C dep/lib count-objects -v | grep in-pack";
    let own = line(&home, &home.at("first"), fill);
    assert!(own.starts_with("one\ntwo\n") && !own.ends_with("in-pack: 0"), "{own}");
    home.weald(&["create", &url, "second"]).ok();
    assert_eq!(line(&home, &home.at("second"), fill), "one\ntwo\nin-pack: 0", "it has none of its own");
    home.run(&home.at("second"), "git -C dep/lib fsck").ok();
    // The first one goes, with all it had.
    home.weald(&["remove", "first", "--force"]).ok();
    home.weald(&["trash", "empty"]).ok();
    home.run(&home.at("second"), "git -C dep/lib fsck; git -C dep/lib log --format=%s").ok();
    home.weald(&["create", &url, "third"]).ok();
    assert_eq!(line(&home, &home.at("third"), fill), "one\ntwo\nin-pack: 0");
}

#[test]
fn a_submodule_that_was_made_to_harm_is_not_lent_and_runs_nothing() {
    let home = home();
    let url = url_with_submodule(&home);
    let marker = home.path().join("ran");
    let settings = [
        "core.fsmonitor",
        "uploadpack.packObjectsHook",
        "core.sshCommand",
        "core.alternateRefsCommand",
        "core.hooksPath",
    ];
    for (at, harm) in
        ["rm HEAD; mkfifo HEAD", "rm config; mkfifo config", "rm -r objects/pack/*"].into_iter().enumerate()
    {
        let name = format!("w{at}");
        home.weald(&["create", &url, &name]).ok();
        home.run(&home.at(&name), "git submodule --quiet update --init").ok();
        let module = home.at(&name).join(".git/modules/dep/lib");
        for setting in settings {
            home.run(&module, &format!("git config {setting} 'touch {}'", marker.display())).ok();
        }
        home.run(&module, harm).ok();
        home.weald(&["create", &url, &format!("{name}-next")]).ok();
        assert_eq!(std::fs::read_dir(home.home().join("repos")).unwrap().count(), 1);
        let clone = std::fs::read_dir(home.home().join("repos")).unwrap().next().unwrap().unwrap().path();
        assert!(!clone.join("modules/dep/lib").exists(), "{harm}");
        home.weald(&["remove", "--force", &name]).ok();
    }
    assert!(!marker.exists());
}
