//! `weald verify` and `weald anchor` as a user has them: what is not as it was written is named, whatever it is.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use support::{Home, Said};

/// A home with work in it: small and large files, a fork, a stored index, a removed workspace.
fn worked_in() -> Home {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    home.run(
        &home.at("w"),
        "echo small > small; dd if=/dev/urandom of=large bs=50000 count=2 iflag=fullblock status=none; mv small renamed; git add .; git commit -qm work; sync large",
    )
    .ok();
    home.weald(&["fork", "w", "f"]).ok();
    home.run(
        &home.at("f"),
        "echo more >> renamed; dd if=/dev/urandom of=own bs=30000 count=1 iflag=fullblock status=none",
    )
    .ok();
    home.weald(&["create", repo.to_str().unwrap(), "gone"]).ok();
    home.weald(&["remove", "gone"]).ok();
    home
}

fn stop(home: &Home) {
    home.weald(&["daemon", "stop"]).ok();
}

/// Whoever looks at a mount, such as a program that lists them all, has its log opened, which cuts a torn tail; and a flip
/// in the last commit is one, as is a log that was cut. So nothing can be mounted from here on.
fn stop_for_good(home: &Home) {
    stop(home);
    for name in ["w", "f"] {
        std::fs::create_dir_all(home.at(name)).unwrap();
        std::fs::write(home.at(name).join("in the way"), "").unwrap();
    }
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn problems(said: Said) -> Vec<Value> {
    assert!(said.code == 0 || said.code == 1, "{said:?}");
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let problems = found["problems"].as_array().unwrap().clone();
    assert_eq!((found["ok"].as_bool().unwrap(), said.code == 0), (problems.is_empty(), problems.is_empty()));
    problems
}

fn names(problems: &[Value], file: &Path) -> bool {
    let file = file.to_str().unwrap();
    problems.iter().any(|problem| problem["file"] == file || problem["what"].as_str().unwrap().contains(file))
}

/// Files below a directory, without sockets.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn a_home_that_was_worked_in_verifies_in_use_and_at_rest() {
    let home = worked_in();
    for _ in 0..2 {
        let found = home.weald(&["verify", "--all", "--base", "--json"]).json();
        assert_eq!((&found["ok"], &found["problems"]), (&true.into(), &Value::Array(Vec::new())), "{found}");
        assert_eq!(found["workspaces"], serde_json::json!(["f", "gone", "w"]));
        assert!(found["checked_bytes"].as_u64().unwrap() > 130_000, "{found}");
        assert!(found["checked_objects"].as_u64().unwrap() > 50, "{found}");
        stop(&home);
    }
    home.weald(&["status"]).ok();
    let found = home.weald_in(&home.at("f"), &["verify", "--json"]).json();
    assert_eq!(found["workspaces"], serde_json::json!(["f"]));
    assert!(
        found["checked_bytes"].as_u64().unwrap() > 130_000,
        "the parent's data is part of a fork: {found}"
    );
    assert!(home.weald(&["verify", "w"]).ok().starts_with("ok"));
}

#[test]
fn a_flip_in_any_file_of_the_home_is_named() {
    let home = worked_in();
    stop_for_good(&home);
    let root = home.home();
    let checked = ["logs", "manifests", "cas", "anchors"];
    let all: Vec<PathBuf> = checked.iter().flat_map(|dir| files(&root.join(dir))).collect();
    assert!(all.len() > 8, "{all:?}");
    for path in &all {
        let whole = std::fs::read(path).unwrap();
        let len = whole.len() as u64;
        // Start, header fields, the middle, the end.
        let spread = [0, 9, 33, 45, 78, 81, 100, len / 3, len / 2, len - 2, len - 1];
        let places: std::collections::BTreeSet<u64> = spread.into_iter().filter(|at| *at < len).collect();
        for at in places {
            flip(path, at);
            let found = problems(home.weald(&["verify", "--all", "--json"]));
            assert!(names(&found, path), "byte {at} of {}: {found:?}", path.display());
            flip(path, at);
            assert!(std::fs::read(path).unwrap() == whole, "verify changed {}", path.display());
            // A daemon that saw damage must not be what answers next.
            home.crash();
        }
    }
    assert_eq!(problems(home.weald(&["verify", "--all", "--json"])), Vec::<Value>::new());
}

#[test]
fn a_flip_under_a_workspace_in_use_is_named_and_never_served() {
    let home = worked_in();
    stop(&home);
    let id = home.weald(&["info", "w", "--json"]).json()["id"].as_str().unwrap().to_owned();
    let data = home.home().join("logs").join(&id).join("data-00000000");
    flip(&data, 50_000);
    let read = home.run(&home.at("w"), "cat large > /dev/null");
    assert!(read.code != 0 && read.err.contains("Input/output error"), "{read:?}");
    assert_eq!(home.run(&home.at("w"), "cat renamed").ok(), "small\n");
    let found = problems(home.weald(&["verify", "w", "--json"]));
    assert_eq!((found.len(), &found[0]["workspace"]), (1, &"w".into()), "{found:?}");
    assert!(names(&found, &data));
    let text = home.weald(&["verify", "w"]);
    assert!(text.code == 1 && text.out.contains(data.to_str().unwrap()), "{text:?}");
    assert!(text.out.contains("at byte") && text.out.contains("1 problem"), "{text:?}");
    let found = problems(home.weald(&["verify", "f", "--json"]));
    assert!(names(&found, &data), "a fork reads its parent's data: {found:?}");
}

#[test]
fn a_damaged_stored_file_is_named_and_all_else_can_be_read() {
    let home = worked_in();
    let repo = home.path().join("user/tool");
    home.weald(&["create", repo.to_str().unwrap(), "fresh"]).ok();
    stop(&home);
    let stored = files(&home.home().join("cas"));
    assert!(!stored.is_empty(), "the git index of a fresh workspace is a stored file");
    stored.iter().for_each(|path| flip(path, 20));
    let fresh = home.at("fresh");
    home.weald(&["status"]).ok();
    assert_eq!(
        home.run(&fresh, "cat a.txt src/main.rs .git/HEAD").ok(),
        "one\ntwo\nfn main() {}\nref: refs/heads/main\n"
    );
    let read = home.run(&fresh, "cat .git/index > /dev/null");
    assert!(read.code != 0 && read.err.contains("Input/output error"), "{read:?}");
    assert_eq!(home.run(&home.at("w"), "cat renamed; git status --porcelain").ok(), "small\n");
    let found = problems(home.weald(&["verify", "--all", "--json"]));
    stored.iter().for_each(|path| assert!(names(&found, path), "{found:?}"));
}

#[test]
fn a_kept_head_that_a_power_cut_left_empty_is_no_problem() {
    let home = worked_in();
    stop(&home);
    let kept = files(&home.home().join("anchors"));
    for (path, left) in kept.iter().zip([&b""[..], &[0; 80]].into_iter().cycle()) {
        std::fs::write(path, left).unwrap();
    }
    assert!(kept.len() > 1);
    assert_eq!(problems(home.weald(&["verify", "--all", "--json"])), Vec::<Value>::new());
}

#[test]
fn a_row_of_the_registry_that_was_changed_is_named() {
    let home = worked_in();
    stop(&home);
    let db = home.home().join("registry.db");
    let script = format!(
        "import sqlite3; c=sqlite3.connect('{}'); \
        c.execute(\"UPDATE workspace SET tree = replace(tree, substr(tree, 1, 4), '0000') WHERE name='f'\"); c.commit()",
        db.display()
    );
    home.run(home.path(), &format!("python3 -c \"{}\"", script.replace('"', "\\\""))).ok();
    let found = problems(home.weald(&["verify", "--all", "--json"]));
    assert!(names(&found, &db) && found[0]["workspace"] == "f", "{found:?}");
}

#[test]
fn what_was_made_from_the_source_is_healed_from_it_under_a_workspace_in_use() {
    let home = worked_in();
    let made: Vec<PathBuf> =
        ["manifests", "cas"].iter().flat_map(|dir| files(&home.home().join(dir))).collect();
    assert_eq!(made.len(), 2, "{made:?}");
    let right: Vec<Vec<u8>> = made.iter().map(|path| std::fs::read(path).unwrap()).collect();
    for restarts in [false, true] {
        home.run(&home.at("w"), "ls -l; git status").ok();
        for (path, bytes) in made.iter().zip(&right) {
            flip(path, bytes.len() as u64 / 2);
        }
        if restarts {
            home.crash();
        }
        let said = home.weald(&["verify", "w"]);
        assert!(said.code == 1 && said.out.matches("fix: weald verify w --heal").count() == 2, "{said:?}");
        let healed = home.weald(&["verify", "w", "--heal"]).ok();
        assert!(healed.contains("2 files healed") && healed.contains("ok  "), "{healed}");
        for (path, bytes) in made.iter().zip(&right) {
            assert!(std::fs::read(path).unwrap() == *bytes, "{}", path.display());
        }
        assert_eq!(problems(home.weald(&["verify", "--all", "--json"])), Vec::<Value>::new());
        home.run(&home.at("w"), "ls -l; git status").ok();
    }
    // Cut, and gone: the same.
    std::fs::write(&made[0], &right[0][..right[0].len() / 2]).unwrap();
    std::fs::remove_file(&made[1]).unwrap();
    home.crash();
    let found = home.weald(&["verify", "--all", "--heal", "--json"]).json();
    assert!(found["ok"] == true && found["problems"].as_array().unwrap().len() == 2, "{found}");
    assert!(made.iter().zip(&right).all(|(path, bytes)| std::fs::read(path).unwrap() == *bytes));
    // What nobody refers to only saves work: it goes. What nothing can give back stays as it is, and is told.
    let log = home.weald(&["info", "w", "--json"]).json()["id"].as_str().unwrap().to_owned();
    let data = home.home().join("logs").join(log).join("data-00000000");
    flip(&data, 50_000);
    let damaged = std::fs::read(&data).unwrap();
    let stray = home.home().join("cas/ab").join("ab".repeat(32));
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::write(&stray, "stray").unwrap();
    let said = home.weald(&["verify", "--all", "--heal"]);
    assert!(said.code == 1 && said.out.contains("1 file healed") && !stray.exists(), "{said:?}");
    assert!(said.out.contains("1 problem") && std::fs::read(&data).unwrap() == damaged, "{said:?}");
}

#[test]
fn a_damaged_object_of_the_source_is_named_with_base() {
    let home = worked_in();
    let objects = home.path().join("user/tool/.git/objects");
    let blob = home.run(&home.path().join("user/tool"), "git rev-parse HEAD:a.txt").ok();
    let path = objects.join(&blob[..2]).join(blob[2..].trim());
    home.run(home.path(), &format!("chmod u+w '{0}'; printf x > '{0}'", path.display())).ok();
    assert_eq!(problems(home.weald(&["verify", "w", "--json"])), Vec::<Value>::new());
    let found = problems(home.weald(&["verify", "w", "--base", "--json"]));
    assert!(found.iter().any(|problem| problem["what"].as_str().unwrap().contains(blob.trim())), "{found:?}");
}

#[test]
fn a_cut_log_is_told_by_an_anchor_wherever_it_is_kept() {
    let home = worked_in();
    let word = home.weald(&["anchor", "w"]).ok().trim().to_owned();
    let tagged = home.weald(&["anchor", "w", "--tag", "--json"]).json();
    assert_eq!(tagged["anchor"], word.as_str());
    let refs =
        home.run(&home.path().join("user/tool"), "git for-each-ref refs/weald/anchors; git fsck 2>&1").ok();
    assert!(refs.contains(tagged["tag"].as_str().unwrap()), "{refs}");
    home.run(&home.at("w"), "echo after > after").ok();
    assert!(home.weald(&["verify", "w", "--anchor", &word]).ok().contains("anchors checked"));
    stop_for_good(&home);

    let id = tagged["id"].as_str().unwrap();
    let (log, kept) =
        (home.home().join("logs").join(id).join("log-00000000"), home.home().join("anchors").join(id));
    let (whole, head) = (std::fs::read(&log).unwrap(), std::fs::read(&kept).unwrap());
    // Cut where the log stood long before: a shorter log that is right in itself.
    let end = end_of_record(&whole, 5);
    for (case, keeps, tellers, arguments) in [
        ("the daemon's own and the ref", true, 2, vec!["verify", "w", "--json"]),
        ("the ref", false, 1, vec!["verify", "w", "--json"]),
        ("the word", false, 1, vec!["verify", "w", "--json", "--anchor", &word]),
    ] {
        std::fs::write(&log, &whole[..end]).unwrap();
        std::fs::write(&kept, &head).unwrap();
        if !keeps {
            std::fs::remove_file(&kept).unwrap();
        }
        if case == "the word" {
            home.run(&home.path().join("user/tool"), &format!("git update-ref -d {}", tagged["tag"])).ok();
        }
        let found = problems(home.weald(&arguments));
        let cut = found.iter().filter(|problem| problem["what"].as_str().unwrap().contains("it was cut"));
        assert_eq!(cut.count(), tellers, "{case}: {found:?}");
        home.crash();
    }
    std::fs::write(&log, &whole).unwrap();
    assert_eq!(problems(home.weald(&["verify", "w", "--json", "--anchor", &word])), Vec::<Value>::new());
}

/// Where record `seq` of a log segment ends.
fn end_of_record(log: &[u8], seq: u64) -> usize {
    let mut at = 80;
    loop {
        let len = u32::from_le_bytes(log[at + 4..at + 8].try_into().unwrap()) as usize;
        let number = u64::from_le_bytes(log[at + 8..at + 16].try_into().unwrap());
        let is_record = log[at + 26] == 1;
        at += len.next_multiple_of(8);
        if is_record && number == seq {
            return at;
        }
    }
}

/// Gives the home's user an SSH key that git signs with and trusts.
fn with_ssh_key(home: &Home) {
    let user = home.path().join("user");
    let line = "ssh-keygen -q -t ed25519 -N '' -C t@example.org -f key && \
        printf 't@example.org %s\\n' \"$(cat key.pub)\" > allowed && \
        printf '[user]\\nname = T\\nemail = t@example.org\\nsigningKey = %s\\n' \"$PWD/key\" > config && \
        printf '[gpg]\\nformat = ssh\\n[gpg \"ssh\"]\\nallowedSignersFile = %s\\n' \"$PWD/allowed\" >> config";
    home.run(&user, line).ok();
}

#[test]
fn a_signed_anchor_is_checked_with_the_users_own_keys() {
    let home = worked_in();
    let unsigned = home.weald(&["anchor", "w", "--sign"]).fault("W0022");
    assert!(unsigned.err.contains("user.signingKey"), "{unsigned:?}");
    with_ssh_key(&home);
    let repo = home.path().join("user/tool");
    let config = home.path().join("user/config");
    let weald = |arguments: &[&str]| {
        let mut command = home.command();
        let output = command.args(arguments).env("GIT_CONFIG_GLOBAL", &config).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, out) = weald(&["anchor", "w", "--sign", "--json"]);
    assert_eq!(code, 0, "{out}");
    let anchored: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(anchored["signed"], true);
    let tag = anchored["tag"].as_str().unwrap();
    // A tag as any other: git reads it, knows its signature and finds nothing wrong; no tag of the user's is there.
    let raw = home.run(&repo, &format!("git cat-file tag {tag}; git fsck --strict 2>&1; git tag")).ok();
    assert!(
        raw.contains(anchored["anchor"].as_str().unwrap()) && raw.contains("BEGIN SSH SIGNATURE"),
        "{raw}"
    );
    assert!(!raw.contains("error") && raw.trim_end().ends_with("-----END SSH SIGNATURE-----"), "{raw}");
    let (code, out) = weald(&["verify", "w"]);
    assert!(code == 0 && out.contains("1 signature not checked: weald verify --signatures"), "{out}");
    let (code, out) = weald(&["verify", "w", "--signatures"]);
    assert!(code == 0 && out.contains("1 signature checked"), "{out}");
    // Somebody who is not trusted, and a signature of something else.
    std::fs::write(home.path().join("user/allowed"), "").unwrap();
    let (code, out) = weald(&["verify", "w", "--signatures"]);
    assert!(
        code == 1 && out.contains("the signature of refs/weald/anchors/") && out.contains("not good"),
        "{out}"
    );
    let other = tag.replace(&format!("/{}-", anchored["record"]), "/1-");
    home.run(&repo, &format!("git update-ref {other} {tag}")).ok();
    let said = home.weald(&["verify", "w"]);
    assert!(said.code == 1 && said.out.contains("was signed for something else"), "{said:?}");
}

#[test]
fn anchors_that_are_none_or_of_others_are_refused() {
    let home = worked_in();
    home.weald(&["verify", "w", "--anchor", "nonsense"]).fault("W0020");
    let other = home.weald(&["anchor", "f"]).ok();
    home.weald(&["verify", "w", "--anchor", other.trim()]).fault("W0020");
    home.weald(&["verify", "--all", "--anchor", other.trim()]).ok();
    home.weald(&["anchor", "nobody"]).fault("W0009");
    std::fs::create_dir(home.path().join("user/plain")).unwrap();
    home.weald(&["create", home.path().join("user/plain").to_str().unwrap(), "p"]).ok();
    let said = home.weald(&["anchor", "p", "--tag"]).fault("W0020");
    assert!(said.err.contains("weald verify --anchor"), "{said:?}");
    home.weald(&["anchor", "p"]).ok();
}

#[test]
fn emptying_the_trash_takes_anchors_along() {
    let home = worked_in();
    let repo = home.path().join("user/tool");
    let id = home.weald(&["anchor", "f", "--tag", "--json"]).json()["id"].as_str().unwrap().to_owned();
    home.weald(&["remove", "f"]).ok();
    assert!(home.run(&repo, "git for-each-ref refs/weald/anchors").ok().contains(&id));
    home.weald(&["trash", "empty"]).ok();
    assert_eq!(home.run(&repo, "git for-each-ref refs/weald/anchors").ok(), "");
    assert!(!home.home().join("anchors").join(&id).exists());
}
