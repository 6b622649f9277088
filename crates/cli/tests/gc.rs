//! Taking away what nobody needs, as a user does.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not taken for tests")]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use support::Home;

fn plan(home: &Home) -> Value {
    home.weald(&["gc", "plan", "--json"]).json()
}

fn id(plan: &Value) -> String {
    plan["id"].as_str().unwrap().to_owned()
}

fn kinds(plan: &Value) -> Vec<String> {
    let items = plan["items"].as_array().unwrap();
    items.iter().map(|item| item["kind"].as_str().unwrap().to_owned()).collect()
}

fn remove_for_good(home: &Home, name: &str) {
    home.weald(&["remove", name]).ok();
    home.weald(&["trash", "empty"]).ok();
}

/// Every file of the home that a plan could touch, with its length.
fn files(home: &Home) -> Vec<(PathBuf, u64)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, u64)>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let data = entry.metadata().unwrap();
            if data.is_dir() { walk(&entry.path(), found) } else { found.push((entry.path(), data.len())) }
        }
    }
    let mut found = Vec::new();
    for dir in ["manifests", "cas", "chunks", "logs", "repos"] {
        walk(&home.home().join(dir), &mut found);
    }
    found.sort();
    found
}

#[test]
fn what_can_be_made_again_goes_by_itself_when_the_disk_gets_full_and_nothing_else() {
    let home = Home::new();
    let (used, unused) = (home.repo("used"), home.repo("unused"));
    home.run(&unused, "echo other > other; git add .; git commit -qm other").ok();
    home.weald(&["create", used.to_str().unwrap(), "w"]).ok();
    home.weald(&["create", unused.to_str().unwrap(), "gone"]).ok();
    home.weald(&["remove", "gone"]).ok();
    home.weald(&["trash", "empty"]).ok();
    let manifests = || std::fs::read_dir(home.home().join("manifests")).unwrap().count();
    home.run(&home.at("w"), "echo mine > mine").ok();
    assert!(manifests() == 2 && !home.weald(&["status"]).ok().contains("warning"));
    let plan = home.weald(&["gc", "plan", "--json"]).json();
    assert!(plan["freed_bytes"].as_u64().unwrap() > 0, "{plan}");
    home.weald(&["config", "disk.free_min", "900000GB"]).ok();
    support::wait_for("the manifest nobody uses to go", || manifests() == 1);
    let status = home.weald(&["status"]).ok();
    assert!(status.contains("warning: only") && status.contains("weald gc plan"), "{status}");
    assert_eq!(home.weald(&["status", "--json"]).json()["is_disk_low"], true);
    let log = std::fs::read_to_string(home.home().join("daemon.log")).unwrap();
    assert!(log.contains("the manifest of tree") && log.contains("no workspace is on this tree"), "{log}");
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(
        home.run(&home.at("w"), "cat mine; git status --short; git log --oneline | wc -l").ok(),
        "mine\n?? mine\n2\n"
    );
    home.weald(&["create", unused.to_str().unwrap(), "again"]).ok();
    assert_eq!(home.run(&home.at("again"), "cat other; git status --short").ok(), "other\n");
    home.weald(&["verify", "--all"]).ok();
}

#[test]
fn a_plan_changes_nothing_and_two_are_equal() {
    let home = Home::new();
    let repo = home.repo("src");
    home.weald(&["create", repo.to_str().unwrap(), "a"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "b", "--rev", "HEAD~1"]).ok();
    remove_for_good(&home, "b");
    let before = files(&home);
    let first = plan(&home);
    assert_eq!(kinds(&first), ["manifest", "stored"]);
    assert!(first["freed_bytes"].as_u64().unwrap() > 0);
    assert_eq!(first, plan(&home));
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(first, plan(&home));
    assert_eq!(before, files(&home));
}

#[test]
fn a_run_takes_away_what_the_plan_says_and_all_of_it_can_be_made_again() {
    let home = Home::new();
    let repo = home.repo("src");
    home.weald(&["create", repo.to_str().unwrap(), "a"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "b", "--rev", "HEAD~1"]).ok();
    std::fs::write(home.at("a").join("own"), "kept").unwrap();
    remove_for_good(&home, "b");
    let plan = plan(&home);
    let run = home.weald(&["gc", "run", &id(&plan), "--json"]).json();
    assert_eq!(run["done"], 2);
    assert_eq!(run["freed_bytes"], plan["freed_bytes"]);
    assert_eq!(kinds(&self::plan(&home)), Vec::<String>::new());
    home.weald(&["gc", "run", &id(&plan)]).fault("W0042");
    assert_eq!(std::fs::read(home.at("a").join("own")).unwrap(), b"kept");
    home.run(&home.at("a"), "git status --porcelain | grep -q own").ok();
    home.weald(&["create", repo.to_str().unwrap(), "b", "--rev", "HEAD~1"]).ok();
    assert_eq!(home.run(&home.at("b"), "git status --porcelain; cat a.txt").ok(), "one\n");
}

#[test]
fn a_stale_plan_is_refused_and_nothing_is_done() {
    let home = Home::new();
    let repo = home.repo("src");
    home.weald(&["create", repo.to_str().unwrap(), "a"]).ok();
    home.weald(&["create", repo.to_str().unwrap(), "b", "--rev", "HEAD~1"]).ok();
    remove_for_good(&home, "b");
    let plan = id(&plan(&home));
    home.weald(&["create", repo.to_str().unwrap(), "c", "--rev", "HEAD~1"]).ok();
    let before = files(&home);
    let said = home.weald(&["gc", "run", &plan]).fault("W0043");
    assert_eq!(said.code, 1);
    assert_eq!(before, files(&home));
    assert_eq!(home.run(&home.at("c"), "git status --porcelain; cat a.txt").ok(), "one\n");
    home.weald(&["gc", "run", "no-such-plan"]).fault("W0042");
}

#[test]
fn a_clone_goes_with_its_last_workspace_and_comes_back_with_the_next() {
    let home = Home::new();
    let url = format!("file://{}", home.repo("src").display());
    home.weald(&["create", &url, "a"]).ok();
    home.weald(&["create", &url, "b"]).ok();
    remove_for_good(&home, "b");
    assert_eq!(kinds(&plan(&home)), Vec::<String>::new());
    home.weald(&["fork", "a", "f"]).ok();
    remove_for_good(&home, "a");
    // The fork reads from the log, the manifest and the clone of what is gone.
    assert_eq!(kinds(&plan(&home)), Vec::<String>::new());
    remove_for_good(&home, "f");
    let all = plan(&home);
    assert_eq!(kinds(&all), ["clone", "manifest", "stored"]);
    home.weald(&["gc", "run", &id(&all)]).ok();
    assert_eq!(files(&home), Vec::new());
    home.weald(&["create", &url, "a"]).ok();
    assert_eq!(home.run(&home.at("a"), "git status --porcelain; cat link").ok(), "one\ntwo\n");
}

#[test]
fn what_a_dead_daemon_left_half_written_is_taken_away() {
    let home = Home::new();
    home.weald(&["status"]).ok();
    let left = home.home().join("manifests/tmp-1-0");
    std::fs::write(&left, [7; 10_000]).unwrap();
    std::fs::create_dir_all(home.home().join("repos/00000000000000aa.git.part/objects")).unwrap();
    let plan = plan(&home);
    assert_eq!(kinds(&plan), ["temporary", "temporary"]);
    home.weald(&["gc", "run", &id(&plan)]).ok();
    assert_eq!(files(&home), Vec::new());
}

/// Bytes that no file system stores in less space.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(step).collect()
}

const MEGABYTE: usize = 1 << 20;

/// A plain directory's workspace, a window of nothing, and nothing done by itself.
fn scratch(home: &Home) -> PathBuf {
    let source = home.path().join("user/plain");
    std::fs::create_dir(&source).unwrap();
    home.weald(&["create", source.to_str().unwrap(), "a"]).ok();
    for (key, value) in
        [("history.window", "0s"), ("snapshots.automatic", "false"), ("snapshots.seal", "off")]
    {
        home.weald(&["config", key, value]).ok();
    }
    home.at("a").join("big")
}

fn snapshot(home: &Home, name: &str, note: &str) -> String {
    home.weald(&["snapshot", name, note, "--json"]).json()["id"].as_str().unwrap().to_owned()
}

/// Disk space of all data segments.
fn data_bytes(home: &Home) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let data = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("data-");
    let files = files(home).into_iter().map(|(path, _)| path).filter(data);
    files.map(|path| std::fs::metadata(path).unwrap().blocks() * 512).sum()
}

fn plan_with(home: &Home, options: &[&str]) -> Value {
    let mut args = vec!["gc", "plan", "--json"];
    args.extend(options);
    home.weald(&args).json()
}

fn sound(home: &Home) {
    let report = home.weald(&["verify", "--all", "--json"]).json();
    assert_eq!(report["ok"], true, "{report}");
}

#[test]
fn content_of_dropped_snapshots_is_given_back_and_what_stays_is_whole() {
    let home = Home::new();
    let big = scratch(&home);
    let (first, second, third) = (noise(MEGABYTE, 1), noise(MEGABYTE, 2), noise(MEGABYTE, 3));
    std::fs::write(&big, &first).unwrap();
    let dropped = snapshot(&home, "a", "one");
    std::fs::write(&big, &second).unwrap();
    let kept = snapshot(&home, "a", "two");
    std::fs::write(&big, &third).unwrap();
    // All is reached by a snapshot or the present.
    assert_eq!(kinds(&plan(&home)), Vec::<String>::new());
    let plan = plan_with(&home, &["--keep-last", "1"]);
    assert_eq!(kinds(&plan), ["snapshot", "content"]);
    let promised = plan["freed_bytes"].as_u64().unwrap();
    assert!((900_000..1_100_000).contains(&promised), "{plan}");
    let before = data_bytes(&home);
    let run = home.weald(&["gc", "run", &id(&plan), "--json"]).json();
    assert_eq!((&run["freed_bytes"], run["refused"].as_array().unwrap().len()), (&plan["freed_bytes"], 0));
    assert_eq!(before - data_bytes(&home), promised);
    assert_eq!(std::fs::read(&big).unwrap(), third);
    sound(&home);
    home.weald(&["daemon", "restart"]).ok();
    sound(&home);
    assert_eq!(std::fs::read(&big).unwrap(), third);
    home.weald(&["restore", &format!("a@{dropped}")]).fault("W0030");
    home.weald(&["fork", &format!("a@{kept}"), "f"]).ok();
    assert_eq!(std::fs::read(home.at("f").join("big")).unwrap(), second);
    home.weald(&["restore", &format!("a@{kept}")]).ok();
    assert_eq!(std::fs::read(&big).unwrap(), second);
}

#[test]
fn what_nobody_needs_is_given_back_by_itself_and_what_a_user_keeps_stays() {
    let home = Home::new();
    let big = scratch(&home);
    std::fs::write(&big, noise(MEGABYTE, 1)).unwrap();
    let asked = snapshot(&home, "a", "asked");
    std::fs::write(&big, noise(MEGABYTE, 2)).unwrap();
    let taken = home.weald(&["snapshot", "a", "y", "--json"]).json();
    let pin = format!("a@{{op {}}}", taken["operation"].as_u64().unwrap() - 1);
    home.weald(&["pin", &pin]).ok();
    home.weald(&["fork", "a", "f"]).ok();
    for seed in 3..8 {
        std::fs::write(&big, noise(MEGABYTE, seed)).unwrap();
    }
    std::fs::write(home.at("f").join("big"), noise(MEGABYTE, 8)).unwrap();
    let full = data_bytes(&home);
    assert!(full > 7 * MEGABYTE as u64);
    assert_eq!(home.weald(&["status", "--json"]).json()["reclaimed"], Value::Null);
    home.weald(&["config", "gc.every", "1s"]).ok();
    std::fs::write(home.at("a").join("small"), "one more change").unwrap();
    // Of eight, those of the snapshots, of both presents: four.
    support::wait_for("what nobody needs to be given back", || data_bytes(&home) < 5 * MEGABYTE as u64);
    let status = home.weald(&["status", "--json"]).json();
    assert!(status["reclaimed"]["bytes"].as_u64().unwrap() > 3 * MEGABYTE as u64, "{status}");
    assert!(home.weald(&["status"]).ok().contains("given back"));
    let log = std::fs::read_to_string(home.home().join("daemon.log")).unwrap();
    assert!(log.contains("were given back"), "{log}");
    sound(&home);
    assert_eq!(std::fs::read(&big).unwrap(), noise(MEGABYTE, 7));
    assert_eq!(std::fs::read(home.at("f").join("big")).unwrap(), noise(MEGABYTE, 8));
    home.weald(&["fork", &pin, "p"]).ok();
    assert_eq!(std::fs::read(home.at("p").join("big")).unwrap(), noise(MEGABYTE, 2));
    home.weald(&["restore", &format!("a@{asked}")]).ok();
    assert_eq!(std::fs::read(&big).unwrap(), noise(MEGABYTE, 1));
    sound(&home);
}

/// Small writes that fill log segments, each of 64 MiB.
fn fill_segments(file: &Path, count: u64, salt: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(file).unwrap();
    let page = noise(4096, salt);
    for number in 0..count * 16_000 {
        file.write_all_at(&page, number % 64 * 4096).unwrap();
    }
}

fn log_segments(home: &Home) -> usize {
    let is_log = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("log-");
    files(home).into_iter().filter(|(path, _)| is_log(path)).count()
}

#[test]
fn records_that_no_state_needs_go_with_a_plan_and_the_log_begins_later() {
    let home = Home::new();
    let big = scratch(&home);
    home.weald(&["config", "snapshots.seal", "on"]).ok();
    home.weald(&["config", "gc.background", "off"]).ok();
    std::fs::write(home.at("a").join("early"), "of the first segment").unwrap();
    let anchored = || home.weald(&["anchor", "a", "--json"]).json()["anchor"].as_str().unwrap().to_owned();
    let early = anchored();
    fill_segments(&big, 2, 1);
    let kept = snapshot(&home, "a", "kept");
    fill_segments(&big, 1, 2);
    let floor = snapshot(&home, "a", "floor");
    let is_sealed = || {
        let history = home.weald(&["history", "a", "--json"]).json();
        history.as_array().unwrap().iter().all(|one| one["state"] == "sealed")
    };
    support::wait_for("both snapshots to be sealed", is_sealed);
    std::fs::write(home.at("a").join("late"), "behind it").unwrap();
    let before = log_segments(&home);
    assert!(before >= 3, "{before} segments");
    let anchor = anchored();
    let plan = plan(&home);
    assert!(kinds(&plan).contains(&"records".to_owned()), "{plan}");
    let run = home.weald(&["gc", "run", &id(&plan), "--json"]).json();
    assert_eq!(run["refused"].as_array().unwrap().len(), 0, "{run}");
    assert!(run["freed_bytes"].as_u64().unwrap() > 120 * MEGABYTE as u64, "{run}");
    assert_eq!(log_segments(&home), before - 2);
    for _ in 0..2 {
        assert_eq!(std::fs::read_to_string(home.at("a").join("early")).unwrap(), "of the first segment");
        assert_eq!(std::fs::read_to_string(home.at("a").join("late")).unwrap(), "behind it");
        sound(&home);
        let verified = home.weald(&["verify", "a", "--anchor", &anchor, "--anchor", &early, "--json"]).json();
        assert_eq!((&verified["ok"], &verified["given_up"][0]["anchors_before"]), (&true.into(), &1.into()));
        let said = home.weald(&["verify", "a", "--anchor", &early]).ok();
        assert!(said.contains("1 anchor from before can be compared with nothing"), "{said}");
        assert!(home.weald(&["log", "a"]).ok().contains("were given up"));
        home.weald(&["restore", "a@{op 100}"]).fault("W0044");
        assert!(home.weald(&["log", "a", "--limit", "5"]).ok().lines().count() >= 2);
        home.weald(&["daemon", "restart"]).ok();
    }
    home.weald(&["fork", &format!("a@{kept}"), "f"]).ok();
    assert_eq!(std::fs::read(home.at("f").join("big")).unwrap(), noise(4096, 1).repeat(64));
    home.weald(&["restore", &format!("a@{floor}")]).ok();
    assert_eq!(std::fs::read(&big).unwrap(), noise(4096, 2).repeat(64));
    assert!(!home.at("a").join("late").exists());
    sound(&home);
}

#[test]
fn nothing_is_given_back_by_itself_while_the_setting_is_off() {
    let home = Home::new();
    let big = scratch(&home);
    home.weald(&["config", "gc.background", "off"]).ok();
    home.weald(&["config", "gc.every", "1s"]).ok();
    std::fs::write(&big, noise(MEGABYTE, 1)).unwrap();
    std::fs::write(&big, noise(MEGABYTE, 2)).unwrap();
    snapshot(&home, "a", "now durable");
    // A look would come within a second of a change.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(data_bytes(&home) > 2 * MEGABYTE as u64 - 100_000);
    home.weald(&["config", "gc.background", "on"]).ok();
    support::wait_for("what nobody needs to be given back", || data_bytes(&home) < 3 * MEGABYTE as u64 / 2);
    sound(&home);
}

#[test]
fn a_moment_whose_content_was_given_back_is_told_and_not_shown_wrong() {
    let home = Home::new();
    let big = scratch(&home);
    std::fs::write(&big, noise(MEGABYTE, 1)).unwrap();
    let operation = home.weald(&["snapshot", "a", "x", "--json"]).json()["operation"].as_u64().unwrap();
    std::fs::write(&big, noise(MEGABYTE, 2)).unwrap();
    snapshot(&home, "a", "y");
    let plan = plan_with(&home, &["--keep-last", "0"]);
    home.weald(&["gc", "run", &id(&plan)]).ok();
    let state = format!("a@{{op {operation}}}");
    for command in [vec!["restore", &state], vec!["fork", &state, "f"], vec!["pin", &state]] {
        assert_eq!(home.weald(&command).fault("W0044").code, 1, "{command:?}");
    }
    assert_eq!(std::fs::read(&big).unwrap(), noise(MEGABYTE, 2));
}

#[test]
fn a_pinned_state_is_kept_until_its_pin_is_taken_away() {
    let home = Home::new();
    let big = scratch(&home);
    std::fs::write(&big, noise(MEGABYTE, 1)).unwrap();
    let pin = home.weald(&["pin", "a", "the good one", "--json"]).json();
    assert_eq!(pin["note"], "the good one");
    std::fs::write(&big, noise(MEGABYTE, 2)).unwrap();
    home.weald(&["snapshot", "a"]).ok();
    assert_eq!(kinds(&plan(&home)), Vec::<String>::new());
    home.weald(&["daemon", "restart"]).ok();
    assert_eq!(kinds(&plan(&home)), Vec::<String>::new());
    home.weald(&["fork", &format!("a@{{op {}}}", pin["record"]), "f"]).ok();
    assert_eq!(std::fs::read(home.at("f").join("big")).unwrap(), noise(MEGABYTE, 1));
    home.weald(&["remove", "f", "--force"]).ok();
    home.weald(&["trash", "empty"]).ok();
    // A pinned workspace is not emptied away.
    home.weald(&["remove", "a", "--force"]).ok();
    let emptied = home.weald(&["trash", "empty", "--json"]).json();
    assert_eq!((&emptied["kept_for_pins"], emptied["removed"].as_array().unwrap().len()), (&1.into(), 0));
    home.weald(&["trash", "restore", "a"]).ok();
    let pin = pin["id"].as_str().unwrap();
    assert_eq!(home.weald(&["pin", "--list", "--json"]).json()[0]["id"], pin);
    home.weald(&["pin", "--remove", &pin[..6]]).ok();
    home.weald(&["pin", "--remove", pin]).fault("W0045");
    let plan = plan(&home);
    assert_eq!(kinds(&plan), ["content"]);
    home.weald(&["gc", "run", &id(&plan)]).ok();
    assert_eq!(std::fs::read(&big).unwrap(), noise(MEGABYTE, 2));
    sound(&home);
}

#[test]
fn a_plan_whose_content_was_brought_back_is_stale() {
    let home = Home::new();
    let big = scratch(&home);
    std::fs::write(&big, noise(MEGABYTE, 1)).unwrap();
    let operation = home.weald(&["snapshot", "a", "x", "--json"]).json()["operation"].as_u64().unwrap();
    std::fs::write(&big, noise(MEGABYTE, 2)).unwrap();
    snapshot(&home, "a", "y");
    let plan = plan_with(&home, &["--keep-last", "0"]);
    home.weald(&["restore", &format!("a@{{op {operation}}}")]).ok();
    home.weald(&["gc", "run", &id(&plan)]).fault("W0043");
    assert_eq!(std::fs::read(&big).unwrap(), noise(MEGABYTE, 1));
    sound(&home);
}

#[test]
fn a_fork_of_a_snapshot_has_all_of_it_after_its_parent_was_removed_for_good_and_gc_ran() {
    let home = Home::new();
    let big = scratch(&home);
    std::fs::write(&big, noise(MEGABYTE, 1)).unwrap();
    let kept = snapshot(&home, "a", "kept");
    std::fs::write(&big, noise(MEGABYTE, 2)).unwrap();
    snapshot(&home, "a", "needed by nobody later");
    home.weald(&["fork", &format!("a@{kept}"), "f"]).ok();
    remove_for_good(&home, "a");
    let plan = plan_with(&home, &["--keep-last", "0"]);
    home.weald(&["gc", "run", &id(&plan)]).ok();
    for _ in 0..2 {
        assert_eq!(std::fs::read(home.at("f").join("big")).unwrap(), noise(MEGABYTE, 1));
        sound(&home);
        home.weald(&["daemon", "restart"]).ok();
    }
}

#[test]
fn the_kill_of_the_daemon_during_gc_loses_nothing_that_stays() {
    let home = Home::new();
    let big = scratch(&home);
    let mut kept: Vec<(String, u64)> = Vec::new();
    for round in 0..9 {
        for part in 0..3 {
            let seed = round * 10 + part;
            std::fs::write(&big, noise(MEGABYTE, seed)).unwrap();
            kept.push((snapshot(&home, "a", "round"), seed));
        }
        let plan = plan_with(&home, &["--keep-last", "2"]);
        let mut command = home.command();
        command.args(["gc", "run", &id(&plan)]);
        let mut run =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(round * 3));
        home.crash();
        run.wait().unwrap();
        home.weald(&["status"]).ok();
        let listed = home.weald(&["history", "a", "--json"]).json();
        let listed = listed.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        let listed: Vec<String> = listed.collect();
        kept.retain(|(id, _)| listed.contains(id));
        assert!(kept.len() >= 2 && kept.len() == listed.len(), "{listed:?}");
        assert!(std::fs::read(&big).unwrap() == noise(MEGABYTE, round * 10 + 2), "after {} ms", round * 3);
        sound(&home);
    }
    for (id, seed) in kept {
        home.weald(&["restore", &format!("a@{id}"), "big"]).ok();
        assert!(std::fs::read(&big).unwrap() == noise(MEGABYTE, seed), "snapshot {id}");
    }
}

/// Forks keep the log of a workspace that is gone, not what its snapshots were sealed as.
#[test]
fn snapshots_of_a_workspace_that_is_gone_but_for_its_log_are_no_damage_once_their_chunks_went() {
    let home = Home::new();
    let big = scratch(&home);
    home.weald(&["config", "snapshots.seal", "on"]).ok();
    home.weald(&["config", "gc.background", "off"]).ok();
    home.weald(&["fork", "a", "fork"]).ok();
    std::fs::write(&big, noise(MEGABYTE, 1)).unwrap();
    snapshot(&home, "a", "sealed");
    let is_sealed = || home.weald(&["history", "a", "--json"]).json()[0]["state"] == "sealed";
    support::wait_for("the snapshot to be sealed", is_sealed);
    remove_for_good(&home, "a");
    let plan = plan(&home);
    assert!(kinds(&plan).contains(&"chunk".to_owned()), "{plan}");
    home.weald(&["gc", "run", &id(&plan)]).ok();
    sound(&home);
}
