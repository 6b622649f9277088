//! Naming states, listing, comparing and forking them, and running commands, as a user does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use support::Home;
use support::states::*;

#[test]
fn a_path_that_never_existed_is_refused_and_nothing_is_done() {
    let home = Home::new();
    let root = empty(&home);
    fs::write(root.join("file"), "old").unwrap();
    snapshot(&home, &[]);
    fs::write(root.join("file"), "new").unwrap();
    for path in ["nowhere", "file/below", "no/such/dir"] {
        let said = home.weald(&["restore", "ws@1", "file", path]).fault("W0032");
        assert!(said.err.contains(&format!("`{path}`")) && said.err.contains("hint: "), "{said:?}");
        assert_eq!(said.code, 1);
    }
    home.weald(&["restore", "ws@1", "../escape"]).fault("W0020");
    home.weald(&["restore", "ws@1", "/etc/passwd"]).fault("W0020");
    assert!(home.weald(&["restore", "ws"]).fault("W0020").err.contains("which state"));
    assert_eq!(read(root.join("file")), "new");
    assert_eq!(history(&home).len(), 1);
}

#[test]
fn unknown_and_ambiguous_references_list_what_there_is() {
    let home = Home::new();
    let root = empty(&home);
    let said = home.weald(&["restore", "ws@1"]).fault("W0030");
    assert!(said.err.contains("has no snapshot") && said.err.contains("weald snapshot ws"), "{said:?}");
    fs::write(root.join("file"), "1").unwrap();
    let one = snapshot(&home, &["try one", "--tag", "twice"]);
    let two = snapshot(&home, &["try two", "--tag", "twice"]);
    for word in ["try", "twice"] {
        let said = home.weald(&["restore", &format!("ws@{word}")]).fault("W0031");
        assert_eq!(said.code, 1);
        for needed in [one.as_str(), &two, "try one", "try two", "[twice]", "hint: use the id"] {
            assert!(said.err.contains(needed), "{needed}: {said:?}");
        }
    }
    for word in ["three", "3", "abc"] {
        let said = home.weald(&["diff", &format!("ws@{word}")]).fault("W0030");
        assert!(said.err.contains(&one) && said.err.contains("weald history ws"), "{said:?}");
    }
    for (reference, why) in [
        ("{soon}", "no time"),
        ("{2099-01-01}", "still to come"),
        ("{op 99999}", "last operation"),
        ("", "nothing stands"),
    ] {
        let said = home.weald(&["fork", &format!("ws@{reference}"), "new"]).fault("W0030");
        assert!(said.err.contains(why), "{said:?}");
    }
    home.weald(&["restore", "ws@{1 year ago}"]).fault("W0030");
    home.weald(&["restore", "other@1"]).fault("W0009");
    assert!(home.weald(&["restore", "twice"]).fault("W0009").err.contains("NAME@twice"));
}

#[test]
fn a_fork_of_a_snapshot_equals_the_workspace_then() {
    let home = Home::new();
    let root = of_repo(&home);
    home.run(&root, "echo built > out; chmod 640 out; git add out; git commit -q -m built").ok();
    let all = "GIT_OPTIONAL_LOCKS=0 git status --porcelain; git log --oneline; find . ! -name . -printf '%p %i %m %s %T@ %l\\n' | sort; \
               find . -type f | sort | xargs -d '\\n' md5sum";
    let then = home.run(&root, all).ok();
    let id = snapshot(&home, &["then"]);
    home.run(&root, "rm out; echo changed > a.txt; git commit -q -am later; mkdir more").ok();
    let now = home.run(&root, all).ok();

    let forked = home.weald(&["fork", &format!("ws@{id}"), "old", "--json"]).json();
    assert_eq!(forked["state"]["snapshot"], id.as_str());
    assert_eq!(home.run(&home.at("old"), all).ok(), then);
    home.weald(&["fork", "ws@then", "many", "--count", "2"]).ok();
    assert_eq!(home.run(&home.at("many-2"), all).ok(), then);
    assert_eq!(home.run(&root, all).ok(), now);

    // The fork knows the history up to where it was made, and no more.
    let list = home.weald(&["history", "old", "--json"]).json();
    assert_eq!(texts(list.as_array().unwrap(), "id"), [&id]);
    fs::write(home.at("old").join("a.txt"), "other").unwrap();
    home.weald(&["restore", &format!("old@{id}")]).ok();
    assert_eq!(home.run(&home.at("old"), all).ok(), then);
    // And survives its parent, the daemon, and both.
    home.weald(&["remove", "ws", "--force"]).ok();
    home.weald(&["trash", "empty"]).ok();
    kill_daemon(&home);
    assert_eq!(home.run(&home.at("old"), all).ok(), then);
    assert_eq!(home.run(&home.at("many-1"), all).ok(), then);
    home.weald(&["diff", &format!("old@{id}"), "many-1"]).ok();
}

#[test]
fn history_filters_and_says_what_was_taken_why() {
    let home = Home::new();
    let root = empty(&home);
    fs::write(root.join("file"), "one").unwrap();
    snapshot(&home, &["Fix the parser", "--tag", "good"]);
    // In the workspace a single word that names none is the note.
    home.weald_in(&root, &["snapshot", "rename things"]).ok();
    home.weald_in(&root, &["snapshot"]).ok();
    let ids = |args: &[&str]| {
        let list = home.weald(&[&["history", "ws", "--json"], args].concat()).json();
        list.as_array()
            .unwrap()
            .iter()
            .map(|one| one["note"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["", "rename things", "Fix the parser"]);
    assert_eq!(ids(&["--limit", "1"]), [""]);
    assert_eq!(ids(&["--grep", "PARSER"]), ["Fix the parser"]);
    assert_eq!(ids(&["--tag", "good"]), ["Fix the parser"]);
    assert_eq!(ids(&["--tag", "bad"]), Vec::<String>::new());
    let text = home.weald(&["history", "ws"]).ok();
    assert!(text.contains("rename things") && text.contains("asked") && text.contains("good"), "{text}");
    home.weald(&["fork", "ws", "two"]).ok();
    let all = home.weald(&["history", "--all", "--json"]).json();
    assert_eq!(all.as_array().unwrap().len(), 3, "each once");
    home.weald(&["snapshot", "ws", "--tag", "7"]).fault("W0020");
    home.weald(&["snapshot", "nowhere"]).fault("W0009");
}

#[test]
fn a_diff_tells_each_path_that_differs_and_its_patch_applies() {
    let home = Home::new();
    let root = of_repo(&home);
    fs::write(root.join("bin"), [0_u8, 1, 2]).unwrap();
    fs::write(root.join("with space"), "one\ntwo\n").unwrap();
    snapshot(&home, &[]);
    let nothing = home.weald(&["diff", "ws"]).ok();
    assert!(nothing.contains("Nothing differs"), "{nothing}");
    fs::write(root.join("a.txt"), "one\nTWO\nthree").unwrap();
    fs::remove_dir_all(root.join("src")).unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("dir/nëw"), "new\n").unwrap();
    fs::write(root.join("with space"), "one\n2\n").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(root.join("link")).unwrap();
    symlink("run.sh", root.join("link")).unwrap();
    fs::write(root.join("bin"), [0_u8, 1]).unwrap();

    let report = home.weald(&["diff", "ws@1", "ws", "--json"]).json();
    let paths = |list: &str| texts(report[list].as_array().unwrap(), "path").join(" ");
    assert_eq!(paths("added"), "dir dir/nëw");
    assert_eq!(paths("removed"), "src src/main.rs");
    assert_eq!(paths("modified"), "a.txt bin link run.sh with space");
    assert_eq!(report["totals"]["modified"], 5);
    let script = &report["modified"][3];
    assert_eq!(
        (&script["mode"], &script["old_mode"], &script["content"]),
        (&"100644".into(), &"100755".into(), &false.into())
    );
    assert_eq!(
        (&report["added"][0]["kind"], &report["modified"][2]["kind"]),
        (&"directory".into(), &"symlink".into())
    );
    assert_eq!(report["modified"][0]["size_bytes"], 13);

    let text = home.weald_in(&root, &["diff"]).ok();
    for line in [
        "A dir/\n",
        "A dir/nëw\n",
        "D src/main.rs\n",
        "M a.txt",
        "mode 100755 → 100644",
        "2 added, 2 removed, 5 modified",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let stat = home.weald(&["diff", "ws", "--stat"]).ok();
    assert!(stat.contains(" a.txt ") && stat.contains("++") && stat.contains("lines(+)"), "{stat}");

    // The patch, applied to the old state, gives the new one.
    let patch = home.path().join("patch");
    let out = home.command().args(["diff", "ws@1", "ws", "--patch"]).output().unwrap().stdout;
    let binary = b"Binary files a/bin and b/bin differ\n";
    assert!(out.windows(binary.len()).any(|part| part == binary));
    let text = String::from_utf8(out).unwrap();
    let blocks: Vec<&str> =
        text.split("diff --git ").skip(1).filter(|block| !block.starts_with("a/bin ")).collect();
    fs::write(&patch, blocks.iter().map(|block| format!("diff --git {block}")).collect::<String>()).unwrap();
    home.weald(&["fork", "ws@1", "old"]).ok();
    home.run(&home.at("old"), &format!("git apply '{}'", patch.display())).ok();
    let left = home.weald(&["diff", "old", "ws", "--json"]).json();
    assert_eq!((&left["added"], &left["removed"]), (&serde_json::json!([]), &serde_json::json!([])));
    // Times differ, content does not.
    let modified = left["modified"].as_array().unwrap().iter().filter(|entry| entry["content"] == true);
    let paths: Vec<_> = modified.filter_map(|entry| entry["path"].as_str()).collect();
    assert_eq!(paths, ["bin"]);
}

#[test]
fn the_first_diff_is_against_how_the_workspace_began() {
    let home = Home::new();
    let root = empty(&home);
    fs::write(root.join("made"), "x").unwrap();
    let report = home.weald(&["diff", "ws", "--json"]).json();
    assert_eq!(texts(report["added"].as_array().unwrap(), "path"), ["made"]);
    home.weald(&["fork", "ws", "two"]).ok();
    fs::write(home.at("two").join("other"), "y").unwrap();
    let report = home.weald(&["diff", "ws", "two", "--json"]).json();
    assert_eq!(texts(report["added"].as_array().unwrap(), "path"), ["other"]);
}

#[test]
fn names_that_are_no_text_are_told_and_restored() {
    use std::os::unix::ffi::OsStrExt;
    let home = Home::new();
    let root = empty(&home);
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    fs::write(root.join(name), "latin\n").unwrap();
    snapshot(&home, &[]);
    fs::remove_file(root.join(name)).unwrap();
    let report = home.weald(&["diff", "ws", "--json"]).json();
    assert_eq!(report["removed"][0]["path"], serde_json::json!([99, 97, 102, 233]));
    let patch = home.command().args(["diff", "ws", "--patch"]).output().unwrap().stdout;
    assert!(
        patch.starts_with(br#"diff --git "a/caf\351" "b/caf\351""#),
        "{}",
        String::from_utf8_lossy(&patch)
    );
    let mut command = home.command();
    assert!(command.arg("restore").arg("ws@1").arg(name).output().unwrap().status.success());
    assert_eq!(read(root.join(name)), "latin\n");
}

#[test]
fn a_command_runs_in_the_workspace_and_its_exit_code_is_passed_on() {
    let home = Home::new();
    let root = of_repo(&home);
    let said = home.weald(&["run", "ws", "--", "sh", "-c", "pwd; echo $WEALD_WORKSPACE; exit 7"]);
    assert_eq!((said.code, said.out.as_str()), (7, format!("{}\nws\n", root.display()).as_str()));
    // In a subdirectory, options of the command are its own.
    let said = home.weald_in(&root.join("src"), &["run", "--", "ls", "-a"]);
    assert_eq!((said.code, said.out.as_str()), (0, ".\n..\nmain.rs\n"));
    assert_eq!(home.weald(&["run", "ws", "--", "no-such-program"]).code, 127);
    assert_eq!(home.weald(&["run", "ws", "--", "./a.txt"]).code, 126);

    let said = home.weald(&["run", "ws", "--snapshot", "--", "rm", "a.txt"]);
    assert!(said.code == 0 && said.err.contains("snapshot "), "{said:?}");
    let list = history(&home);
    assert_eq!((&list[0]["occasion"], &list[0]["note"]), (&"before-run".into(), &"before rm a.txt".into()));
    home.weald(&["restore", "ws@1", "a.txt"]).ok();
    assert_eq!(read(root.join("a.txt")), "one\ntwo\n");

    let said = home.weald_in(&root.join("src"), &["run", "--fork", "--", "sh", "-c", "pwd; rm main.rs"]);
    assert_eq!((said.code, said.out.trim()), (0, home.at("ws-run/src").to_str().unwrap()));
    assert!(root.join("src/main.rs").exists() && !home.at("ws-run/src/main.rs").exists());
    let report = home.weald(&["run", "ws", "--fork", "--json", "--", "echo", "to standard error"]).json();
    assert_eq!((&report["fork"], &report["exit_code"]), (&"ws-run-2".into(), &0.into()));
    home.weald(&["unmount", "ws"]).ok();
    home.weald(&["run", "ws", "--", "true"]).fault("W0023");
}
