//! Damage at rest as a user meets it: one file of a home is changed at random, the daemon is started on it, and everything is read
//! through the mounts. No byte is ever wrong, what is harmed is told, the rest lives, and what can be made anew is healed.
//!
//! `WEALD_OPERATIONS` is the number of changes, `WEALD_SEED` which they are.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::{Home, Said, wait_for};
use weald_testkit::clock::mix;

/// Changes in a short run.
const CHANGES: u64 = 14;
/// Most bytes that are changed together.
const BYTES_MAX: usize = 1_500;
const NAMES: [&str; 3] = ["w", "f", "other"];

/// Every file of a workspace but git's own, by path; None for what cannot be read.
type Shown = BTreeMap<PathBuf, Option<Vec<u8>>>;

struct Scene {
    home: Home,
    /// The home as it was before anything was changed.
    whole: PathBuf,
    /// What each workspace shows.
    wanted: BTreeMap<&'static str, Shown>,
    /// The log of each.
    logs: BTreeMap<&'static str, PathBuf>,
}

fn fill(home: &Home, name: &str) {
    let line = "mkdir -p deep/er; echo small > small; echo more > deep/er/file; ln -s small soft; \
        dd if=/dev/urandom of=large bs=60000 count=1 iflag=fullblock status=none; \
        dd if=/dev/urandom of=deep/middle bs=9000 count=1 iflag=fullblock status=none; git add .; git commit -qm work; sync large";
    home.run(&home.at(name), line).ok();
}

impl Scene {
    fn new() -> Self {
        let home = Home::in_memory(1 << 30);
        for (repo, name) in [("one", "w"), ("two", "other")] {
            let repo = home.repo(repo);
            // Two trees that have nothing in common.
            home.run(
                &repo,
                &format!("echo {name} > a.txt; echo {name} > src/main.rs; git commit -qam {name}"),
            )
            .ok();
            home.weald(&["create", repo.to_str().unwrap(), name]).ok();
            fill(&home, name);
        }
        home.weald(&["snapshot", "w", "sealed"]).ok();
        wait_for("the seal", || {
            let history = home.weald(&["history", "w", "--json"]).json();
            history.as_array().unwrap().iter().all(|one| one["state"] == "sealed")
        });
        home.weald(&["fork", "w", "f"]).ok();
        home.run(
            &home.at("f"),
            "dd if=/dev/urandom of=own bs=30000 count=1 iflag=fullblock status=none; sync own",
        )
        .ok();
        home.weald(&["fork", "w", "gone"]).ok();
        home.weald(&["remove", "gone"]).ok();
        let wanted = NAMES.iter().map(|name| (*name, shown(&home.at(name)))).collect();
        let id = |name: &str| home.weald(&["info", name, "--json"]).json()["id"].as_str().unwrap().to_owned();
        let logs = NAMES.iter().map(|name| (*name, home.home().join("logs").join(id(name)))).collect();
        home.weald(&["daemon", "stop"]).ok();
        let whole = home.path().join("whole");
        let scene = Self { home, whole, wanted, logs };
        scene.copy(&scene.home.home(), &scene.whole);
        scene
    }

    fn copy(&self, from: &Path, to: &Path) {
        let line = format!("rm -rf '{0}'; cp -a '{1}' '{0}'", to.display(), from.display());
        self.home.run(self.home.path(), &line).ok();
    }
}

/// Reads everything below a place.
fn shown(at: &Path) -> Shown {
    let mut all = Shown::new();
    let mut open = vec![at.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            all.insert(dir.strip_prefix(at).unwrap().to_owned(), None);
            continue;
        };
        for entry in entries {
            let Ok(entry) = entry else {
                all.insert(dir.strip_prefix(at).unwrap().to_owned(), None);
                break;
            };
            let (path, kind) = (entry.path(), entry.file_type().ok());
            if path.ends_with(".git") {
                continue;
            }
            if kind.is_some_and(|kind| kind.is_dir()) {
                open.push(path);
                continue;
            }
            let is_link = kind.is_some_and(|kind| kind.is_symlink());
            let target = || std::fs::read_link(&path).map(|to| to.into_os_string().into_encoded_bytes());
            let content = if is_link { target() } else { std::fs::read(&path) };
            all.insert(path.strip_prefix(at).unwrap().to_owned(), content.ok());
        }
    }
    all
}

/// Files of a home that say something, but for those that only its daemon reads while it runs.
fn files(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(home).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let name = entry.file_name();
        let is_passing =
            ["lock", "sock", "daemon.log", "reserve"].iter().any(|end| name.to_string_lossy().ends_with(end));
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() && !is_passing && entry.metadata().unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Changes one file, and says how.
fn change(path: &Path, luck: &mut impl FnMut(usize) -> usize) -> String {
    let whole = std::fs::read(path).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let mut new = whole.clone();
    let mut what = "gone".to_owned();
    while new == whole {
        let (kind, from) = (luck(7), luck(end));
        let len = 1 + luck((end - from).min(BYTES_MAX));
        what = format!("kind {kind}, {len} bytes from {from} of {}", whole.len());
        match kind {
            0 | 1 => new[from] ^= 1 << luck(8),
            2 => new[from..from + len].fill(0),
            3 => new[from..from + len].iter_mut().for_each(|byte| *byte = luck(256) as u8),
            4 => new.truncate(from),
            5 => drop(new.drain(from..from + len)),
            _ => {
                std::fs::remove_file(path).unwrap();
                return "gone".to_owned();
            }
        }
    }
    std::fs::write(path, new).unwrap();
    what
}

/// What is wrong in what a workspace shows: unreadable, missing, or an earlier state. Panics at a wrong byte.
fn harm(scene: &Scene, name: &'static str) -> Vec<String> {
    let (wanted, found) = (&scene.wanted[name], shown(&scene.home.at(name)));
    for (path, content) in &found {
        let Some(content) = content else { continue };
        let right = wanted.get(path).and_then(Option::as_ref);
        let right = right.unwrap_or_else(|| panic!("{name} shows {}, which nobody made", path.display()));
        // A log whose end is gone shows how a file was while it was written.
        assert!(right.starts_with(content), "wrong bytes in {} of {name}", path.display());
    }
    let is_right = |path: &PathBuf| found.get(path) == wanted.get(path);
    wanted.keys().filter(|path| !is_right(path)).map(|path| format!("{name}: {}", path.display())).collect()
}

fn problems(said: &Said) -> Vec<Value> {
    let found: Value = serde_json::from_str(&said.out).unwrap_or_default();
    found["problems"].as_array().cloned().unwrap_or_default()
}

fn judge(scene: &Scene, file: &Path) {
    let home = &scene.home;
    let list = home.weald(&["list", "--json"]);
    if list.code != 0 {
        // A home that cannot be opened at all is told as that, and nothing is served.
        assert!(list.err.starts_with("error: ") && list.err.contains("[W"), "{list:?}");
        assert!(
            file.parent() == Some(&home.home()),
            "one file of {} closes the whole home: {list:?}",
            file.display()
        );
        return;
    }
    let harmed: Vec<String> = NAMES.iter().flat_map(|name| harm(scene, name)).collect();
    let verify = home.weald(&["verify", "--all", "--json"]);
    let told = problems(&verify);
    let status = home.weald(&["status", "--json"]);
    let is_told = !told.is_empty() || !status.json()["faults"].as_array().unwrap().is_empty();
    assert!(verify.code == 0 || verify.code == 1, "{verify:?}");
    assert!(is_told || harmed.is_empty(), "nothing is told of {harmed:?}");
    let of_other = |line: &&String| line.starts_with("other:");
    if !file.starts_with(&scene.logs["other"]) {
        assert_eq!(harmed.iter().find(of_other), None, "another workspace is harmed: {told:?} {list:?}");
    }
    // Doctor ends, and says of each workspace that cannot be used that it cannot.
    let doctor = home.weald(&["doctor", "--json"]);
    assert!(doctor.code == 0 || doctor.code == 1, "{doctor:?}");
    for row in list_of(home).iter().filter(|row| row["status"] == "damaged") {
        assert!(doctor.out.contains(row["name"].as_str().unwrap()), "{row}: {doctor:?}");
    }
    if ["manifests", "cas", "content"].iter().any(|dir| file.starts_with(home.home().join(dir))) {
        let healed = home.weald(&["verify", "--all", "--heal", "--json"]);
        assert_eq!(healed.code, 0, "it is not healed: {healed:?}");
        let harmed: Vec<String> = NAMES.iter().flat_map(|name| harm(scene, name)).collect();
        assert_eq!(harmed, Vec::<String>::new(), "still harmed");
    }
}

fn list_of(home: &Home) -> Vec<Value> {
    home.weald(&["list", "--json"]).json().as_array().unwrap().clone()
}

#[test]
fn whatever_file_of_a_home_is_damaged_no_wrong_byte_is_served_and_what_is_harmed_is_told() {
    let scene = Scene::new();
    let (changes, seed) =
        (weald_testkit::operations(CHANGES), weald_testkit::seed(std::process::id().into()));
    let mut harmless = 0;
    for number in 0..changes {
        scene.copy(&scene.whole, &scene.home.home());
        let mut state = mix(seed ^ mix(number));
        let mut luck = |end: usize| {
            state = mix(state);
            (state % end.max(1) as u64) as usize
        };
        let all = files(&scene.home.home());
        // Each kind of file has its turn, however few there are of it.
        let kind = |path: &PathBuf| {
            path.strip_prefix(scene.home.home()).unwrap().components().next().unwrap().as_os_str().to_owned()
        };
        let kinds: Vec<_> =
            all.iter().map(kind).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        let chosen = &kinds[luck(kinds.len())];
        let of_kind: Vec<&PathBuf> = all.iter().filter(|path| kind(path) == *chosen).collect();
        let file = of_kind[luck(of_kind.len())];
        let what = change(file, &mut luck);
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(&scene, file)));
        if let Err(why) = judged {
            eprintln!("change {number} with WEALD_SEED={seed}: {} {what}", file.display());
            std::panic::resume_unwind(why);
        }
        harmless += u64::from(NAMES.iter().all(|name| harm(&scene, name).is_empty()));
        scene.home.crash();
        for point in scene.home.mounts() {
            let _ = rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH);
        }
    }
    println!("torture: changes={changes}");
    println!("{harmless} of them did no harm, or were put right");
}
