//! A workspace's life as a user sees it: create, list, info, path, fork, rename, remove, trash.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use support::Home;

#[test]
fn a_repository_becomes_a_workspace_that_git_finds_clean() {
    let home = Home::new();
    let repo = home.repo("tool");
    let text = home.weald(&["create", repo.to_str().unwrap()]).ok();
    let path = home.at("tool");
    assert!(text.contains(path.to_str().unwrap()) && text.contains("second commit"), "{text}");
    assert!(text.contains("just now") || text.contains("seconds ago"), "{text}");
    assert_eq!(std::fs::read_to_string(path.join("a.txt")).unwrap(), "one\ntwo\n");
    assert_eq!(std::fs::read_link(path.join("link")).unwrap(), Path::new("a.txt"));
    assert_eq!(std::fs::metadata(path.join("run.sh")).unwrap().mode() & 0o777, 0o755);
    assert_eq!(home.run(&path, "git status --porcelain; git log --format=%s").ok(), "second commit\nfirst\n");
    assert_eq!(home.run(&path, "git fsck 2>&1; git branch --show-current").ok().lines().last(), Some("main"));
    let pins = home.run(&repo, "git for-each-ref --format='%(refname)' refs/weald").ok();
    assert_eq!(pins.lines().count(), 1, "{pins}");
    assert_eq!(home.run(&repo, "git status --porcelain").ok(), "");
}

#[test]
fn work_is_committed_inside_and_the_source_is_not_touched() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w", "--branch", "topic"]).ok();
    let path = home.at("w");
    home.run(
        &path,
        "echo three >> a.txt; git commit -qam third; git switch -q -c other; git stash list; git gc -q",
    )
    .ok();
    assert_eq!(home.run(&path, "git log --format=%s topic -1").ok(), "third\n");
    assert_eq!(home.run(&repo, "git log --all --format=%s").ok(), "second commit\nfirst\n");
}

#[test]
fn bare_repositories_revisions_and_file_urls_are_sources() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.run(&home.path().join("user"), "git clone -q --bare tool bare.git").ok();
    let bare = home.path().join("user/bare.git");
    home.weald(&["create", bare.to_str().unwrap(), "b"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "old", "--rev", "HEAD~1"]).ok();
    home.weald(&["create", &format!("file://{}", repo.display()), "u", "--depth", "1"]).ok();
    for (name, text) in [("b", "one\ntwo\n"), ("old", "one\n"), ("u", "one\ntwo\n")] {
        assert_eq!(std::fs::read_to_string(home.at(name).join("a.txt")).unwrap(), text, "{name}");
        assert_eq!(home.run(&home.at(name), "git status --porcelain").ok(), "", "{name}");
    }
    assert_eq!(home.run(&home.at("u"), "git log --format=%s").ok(), "second commit\n");
    let again = home.weald(&["create", &format!("file://{}", repo.display()), "u2", "--json"]).json();
    assert_eq!(again["base"]["subject"], "second commit");
}

#[test]
fn create_tells_how_far_the_base_is_behind() {
    let home = Home::new();
    home.repo("up");
    let user = home.path().join("user");
    home.run(&user, "git clone -q up down; cd down; git reset -q --hard HEAD~1").ok();
    let down = user.join("down");
    let created = home.weald(&["create", down.to_str().unwrap(), "--json"]).json();
    assert_eq!(
        (&created["base"]["behind"], &created["base"]["upstream"]),
        (&1.into(), &"origin/main".into())
    );
    let text = home.weald(&["create", down.to_str().unwrap(), "again"]).ok();
    assert!(text.contains("1 commit behind origin/main"), "{text}");
}

#[test]
fn a_plain_directory_is_taken_in_exactly() {
    let home = Home::new();
    let user = home.path().join("user");
    home.run(
        &user,
        "mkdir -p data/deep data/empty; echo x > data/deep/f; chmod 4751 data/deep/f; ln data/deep/f data/hard; \
         ln -s nowhere data/dangling; mkfifo data/pipe; truncate -s 10M data/sparse; \
         printf end | dd of=data/sparse bs=1 seek=5000000 conv=notrunc status=none; \
         touch -h -d '2001-02-03 04:05:06.123456789' data/dangling data/deep/f; setfattr -n user.k -v v data/deep/f; \
         touch -d '2002-02-02 02:02:02.000000002' data/deep",
    )
    .ok();
    let data = user.join("data");
    home.weald(&["create", data.to_str().unwrap()]).ok();
    let path = home.at("data");
    assert_eq!(
        home.run(&path, "diff -r --no-dereference -x pipe . ../../user/data; find . | sort | wc -l").ok(),
        "8\n"
    );
    for name in ["deep", "deep/f", "dangling", "hard", "pipe", "empty"] {
        let (a, b) = (
            std::fs::symlink_metadata(data.join(name)).unwrap(),
            std::fs::symlink_metadata(path.join(name)).unwrap(),
        );
        assert_eq!((a.mode(), a.mtime(), a.mtime_nsec()), (b.mode(), b.mtime(), b.mtime_nsec()), "{name}");
        assert_eq!(
            (a.nlink(), a.uid(), a.size()),
            (b.nlink(), b.uid(), if a.is_dir() { a.size() } else { b.size() }),
            "{name}"
        );
    }
    let (hard, file) =
        (std::fs::metadata(path.join("hard")).unwrap(), std::fs::metadata(path.join("deep/f")).unwrap());
    assert_eq!(hard.ino(), file.ino());
    assert!(std::fs::metadata(path.join("sparse")).unwrap().blocks() < 1000);
    assert_eq!(home.run(&path, "getfattr --only-values -n user.k deep/f").ok(), "v");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 6);
}

#[test]
fn a_fork_has_everything_and_git_and_make_have_nothing_to_do() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let w = home.at("w");
    home.run(
        &w,
        "printf 'out: a.txt\\n\\tcp a.txt out\\n' > Makefile; make -s; echo ignored > .git/info/exclude; echo i > ignored; \
         echo staged > s; git add s Makefile; echo untracked > u; ln u u2; git switch -qc topic; git stash list; \
         touch -d '2001-01-01 00:00:00.000000001' u; setfattr -n user.k -v v u",
    )
    .ok();
    let before = home.run(&w, "git status --porcelain --ignored; git branch").ok();
    home.weald(&["fork", "w", "f"]).ok();
    let f = home.at("f");
    assert_eq!(home.run(&f, "git status --porcelain --ignored; git branch").ok(), before);
    assert_eq!(home.run(&f, "make").ok(), "make: 'out' is up to date.\n");
    let (a, b) = (std::fs::metadata(w.join("u")).unwrap(), std::fs::metadata(f.join("u")).unwrap());
    assert_eq!(
        (a.ino(), a.mtime(), a.mtime_nsec(), a.ctime_nsec(), a.nlink()),
        (b.ino(), b.mtime(), b.mtime_nsec(), b.ctime_nsec(), b.nlink())
    );
    assert_eq!(home.run(&f, "getfattr --only-values -n user.k u2").ok(), "v");
    home.run(&f, "echo changed > u; rm a.txt").ok();
    assert_eq!(std::fs::read_to_string(w.join("u")).unwrap(), "untracked\n");
    assert!(w.join("a.txt").exists());
}

#[test]
fn many_forks_are_numbered_and_independent() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let forked = home.weald(&["fork", "w", "try", "--count", "3", "--json"]).json();
    let names: Vec<&str> =
        forked["forks"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["try-1", "try-2", "try-3"]);
    std::fs::write(home.at("try-2").join("only"), "here").unwrap();
    assert!(!home.at("try-3").join("only").exists());
    home.weald(&["fork", "try-2", "deeper"]).ok();
    assert_eq!(std::fs::read_to_string(home.at("deeper").join("only")).unwrap(), "here");
}

#[test]
fn shared_mappings_are_in_the_fork() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let w = home.at("w");
    let script = "import mmap,subprocess,sys\nf=open('m','wb+'); f.truncate(8192); f.flush()\n\
                  m=mmap.mmap(f.fileno(),8192); m[5000:5003]=b'abc'\n\
                  subprocess.check_call(sys.argv[1:])\n";
    std::fs::write(home.path().join("user/m.py"), script).unwrap();
    let binary = env!("CARGO_BIN_EXE_weald");
    home.run(&w, &format!("python3 ../../user/m.py {binary} fork w f")).ok();
    assert_eq!(&std::fs::read(home.at("f").join("m")).unwrap()[5000..5003], b"abc");
}

#[test]
fn list_and_info_have_their_fields() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.weald(&["fork", "w", "f"]).ok();
    home.run(&home.at("f"), "echo 12345 > new; git switch -qc topic").ok();
    let list = home.weald(&["list", "--json"]).json();
    let f = list.as_array().unwrap().iter().find(|row| row["name"] == "f").unwrap().clone();
    for field in
        ["name", "status", "branch", "commit", "files", "size_bytes", "private_bytes", "path", "repo"]
    {
        assert!(!f[field].is_null(), "{field}: {f}");
    }
    assert_eq!((&f["status"], &f["branch"], &f["parent"]), (&"mounted".into(), &"topic".into(), &"w".into()));
    assert_eq!(f["commit"].as_str().unwrap().trim(), home.run(&repo, "git rev-parse HEAD").ok().trim());
    assert_eq!(Path::new(f["path"].as_str().unwrap()), home.at("f"));
    let info = home.weald(&["info", "f", "--json"]).json();
    for field in ["mount", "source", "snapshots", "store", "name"] {
        assert!(!info[field].is_null(), "{field}");
    }
    for field in ["disk_bytes", "logical_bytes", "shared_by", "dedup_ratio", "compression_ratio"] {
        assert!(info["store"][field].is_number(), "{field}: {info}");
    }
    assert_eq!(info["store"]["shared_by"], 1);
    let text = home.weald(&["list"]).ok();
    let heading = text.lines().next().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(heading, ["NAME", "STATUS", "BRANCH", "FILES", "SIZE", "PRIVATE", "PATH", "REPO"]);
    assert!(!text.contains('\x1b'), "{text:?}");
    assert!(home.weald(&["info", "f"]).ok().contains("topic"));
    assert!(home.weald(&["status"]).ok().contains("2 mounted"));
}

#[test]
fn inside_a_workspace_its_name_may_be_left_out() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let inside = home.at("w").join("src");
    assert_eq!(home.weald_in(&inside, &["path"]).ok().trim(), home.at("w").to_str().unwrap());
    assert_eq!(home.weald_in(&inside, &["info", "--json"]).json()["name"], "w");
    home.weald_in(&inside, &["fork", "f"]).ok();
    assert!(home.at("f").join("a.txt").exists());
    home.weald(&["path"]).fault("W0024");
}

#[test]
fn a_mount_root_behind_a_symbolic_link_works() {
    let home = Home::new();
    let repo = home.repo("tool");
    std::os::unix::fs::symlink("mnt", home.path().join("alias")).unwrap();
    let run = |args: &[&str]| {
        let output =
            home.command().env("WEALD_MOUNT", home.path().join("alias")).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run(&["create", repo.to_str().unwrap(), "w"]);
    assert_eq!(home.weald_in(&home.at("w"), &["info", "--json"]).json()["name"], "w");
    run(&["rename", "w", "v"]);
    run(&["remove", "v"]);
    assert!(home.mounts().is_empty());
}

#[test]
fn rename_moves_the_mount_and_keeps_who_is_inside() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    std::fs::write(home.at("w").join("new"), "kept").unwrap();
    home.weald(&["rename", "w", "v"]).ok();
    assert!(!home.at("w").exists());
    assert_eq!(std::fs::read_to_string(home.at("v").join("new")).unwrap(), "kept");
    home.weald(&["info", "w"]).fault("W0009");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.weald(&["rename", "w", "v"]).fault("W0008");
}

#[test]
fn what_is_removed_can_be_restored_until_the_trash_is_emptied() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    std::fs::write(home.at("w").join("new"), "kept").unwrap();
    let ino = std::fs::metadata(home.at("w").join("new")).unwrap().ino();
    home.weald(&["remove", "w"]).ok();
    assert!(!home.at("w").exists());
    assert_eq!(home.weald(&["list", "--json"]).ok(), "[]\n");
    assert_eq!(home.weald(&["trash", "list", "--json"]).json()[0]["name"], "w");
    home.weald(&["info", "w"]).fault("W0009");
    home.weald(&["trash", "restore", "w"]).ok();
    assert_eq!(std::fs::metadata(home.at("w").join("new")).unwrap().ino(), ino);
    assert_eq!(home.run(&home.at("w"), "cat new; git status --porcelain").ok(), "kept?? new\n");
    home.weald(&["remove", "w"]).ok();
    assert_eq!(
        home.weald(&["trash", "empty", "--older-than", "1d", "--json"]).json()["removed"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    assert_eq!(home.weald(&["trash", "empty", "--json"]).json()["removed"][0], "w");
    home.weald(&["trash", "restore", "w"]).fault("W0009");
    assert_eq!(std::fs::read_dir(home.home().join("logs")).unwrap().count(), 0);
    assert_eq!(home.run(&repo, "git for-each-ref refs/weald").ok(), "");
}

#[test]
fn a_fork_outlives_its_emptied_parent() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    std::fs::write(home.at("w").join("big"), vec![7; 100_000]).unwrap();
    home.weald(&["fork", "w", "f"]).ok();
    home.weald(&["remove", "w"]).ok();
    assert_eq!(home.weald(&["trash", "empty", "--json"]).json()["kept_for_forks"], 1);
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(std::fs::read(home.at("f").join("big")).unwrap(), vec![7; 100_000]);
    assert_eq!(home.run(&home.at("f"), "git status --porcelain").ok(), "?? big\n");
    home.weald(&["remove", "f"]).ok();
    home.weald(&["trash", "empty"]).ok();
    assert_eq!(std::fs::read_dir(home.home().join("logs")).unwrap().count(), 0);
}

#[test]
fn remove_refuses_while_somebody_stands_in_it_and_names_him() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let mut sleeper =
        std::process::Command::new("sleep").arg("60").current_dir(home.at("w")).spawn().unwrap();
    let said = home.weald(&["remove", "w"]).fault("W0018");
    assert!(said.err.contains(&format!("sleep (process {}) stands there", sleeper.id())), "{said:?}");
    assert!(home.at("w").join("a.txt").exists());
    home.weald(&["remove", "w", "--force"]).ok();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    home.weald(&["trash", "restore", "w"]).ok();
    assert!(home.at("w").join("a.txt").exists());
}

#[test]
fn remove_refuses_when_commits_are_nowhere_else() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.run(&home.at("w"), "echo x > x; git add x; git commit -qm mine").ok();
    home.weald(&["fork", "w", "f"]).ok();
    home.weald(&["remove", "f"]).ok();
    let said = home.weald(&["remove", "w"]).fault("W0019");
    assert!(said.err.contains("1 commit on main"), "{said:?}");
    home.weald(&["remove", "w", "--force"]).ok();
    home.weald(&["trash", "restore", "w"]).ok();
    assert_eq!(home.run(&home.at("w"), "git log -1 --format=%s").ok(), "mine\n");
}

#[test]
fn unmounted_workspaces_are_kept_and_come_back() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    std::fs::write(home.at("w").join("new"), "kept").unwrap();
    home.weald(&["unmount", "w"]).ok();
    assert!(!home.at("w").join("a.txt").exists());
    assert_eq!(home.weald(&["list", "--json"]).json()[0]["status"], "idle");
    home.weald(&["mount"]).ok();
    assert_eq!(std::fs::read_to_string(home.at("w").join("new")).unwrap(), "kept");
    home.run(home.path(), &format!("umount {}", home.at("w").display())).ok();
    support::wait_for("the daemon to notice", || {
        home.weald(&["list", "--json"]).json()[0]["status"] == "idle"
    });
    home.weald(&["mount", "w"]).ok();
    assert!(home.at("w").join("a.txt").exists());
}

#[test]
fn the_daemon_keeps_no_pack_mapped_after_create() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.run(&repo, "git gc -q").ok();
    for name in ["first", "known"] {
        home.weald(&["create", repo.to_str().unwrap(), name]).ok();
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", home.daemon_pid().unwrap())).unwrap();
        assert!(!maps.contains(".git/objects/pack"), "after `create` {name}: {maps}");
    }
}

#[test]
fn fifty_forks_of_an_unchanged_workspace_take_less_than_a_megabyte() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    let bytes = || {
        let said = home.run(&home.home(), "du -s -B1 . | cut -f1").ok();
        said.trim().parse::<u64>().unwrap()
    };
    let before = bytes();
    home.weald(&["fork", "w", "f", "--count", "50"]).ok();
    let grown = bytes() - before;
    assert!(grown < 1_000_000, "{grown} bytes");
    home.weald(&["daemon", "stop"]).ok();
    let wal = std::fs::metadata(home.home().join("registry.db-wal")).map_or(0, |data| data.len());
    assert_eq!(wal, 0, "a daemon that has ended leaves no WAL behind");
}

#[test]
fn what_was_restored_from_the_trash_stays_though_the_trash_is_emptied_meanwhile() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "base"]).ok();
    let file = home.at("w").join("mine");
    for round in 0..40 {
        home.weald(&["fork", "base", "w"]).ok();
        std::fs::write(&file, format!("{round}")).unwrap();
        home.weald(&["remove", "--force", "w"]).ok();
        let restored = std::thread::scope(|scope| {
            let emptying = scope.spawn(|| home.weald(&["trash", "empty"]).ok());
            let restored = home.weald(&["trash", "restore", "w"]);
            emptying.join().unwrap();
            restored
        });
        // Whoever came first; but what is said to be back is back.
        if restored.code == 0 {
            assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{round}"));
            std::fs::write(&file, "more").unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "more");
            home.weald(&["remove", "--force", "w"]).ok();
            home.weald(&["trash", "empty"]).ok();
        }
    }
    home.weald(&["verify", "--all"]).ok();
}
