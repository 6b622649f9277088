//! Damage at rest, and somebody who changes the store: random changes of random files, each of which is told, and none of which
//! has a wrong byte served.
//!
//! `WEALD_OPERATIONS` is the number of changes, `WEALD_SEED` what they are.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod forge;
mod scene;

use scene::{ALL, Found, OTHER, Picture, Scene, put};
use std::path::{Path, PathBuf};
use weald_store::disk::Disk;
use weald_testkit::clock::mix;
use weald_testkit::crash_disk::CrashDisk;

/// Changes of each kind of store in a short run.
const CHANGES: u64 = 400;
/// What disks lose at once.
const SECTOR_BYTES: usize = 512;

/// Random numbers.
struct Luck(u64);

impl Luck {
    fn below(&mut self, end: usize) -> usize {
        self.0 = mix(self.0.wrapping_add(0x9E37_79B9_7F4A_7C15));
        (self.0 % end.max(1) as u64) as usize
    }
}

/// What was done to which file.
struct Change {
    path: PathBuf,
    what: String,
}

/// Changes one file so that at least one byte that says something is another one. Zeros behind the end of a log are written
/// ahead and say nothing, so they are left alone.
fn change(scene: &Scene, disk: &CrashDisk, luck: &mut Luck) -> Change {
    let files = scene.files();
    let (path, whole) = &files[luck.below(files.len())];
    let end = whole.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut new = whole.clone();
    let mut what = "removed".to_owned();
    let kind = luck.below(8);
    if kind == 7 || end == 0 {
        disk.remove_file(path).unwrap();
        disk.sync_dir(path.parent().unwrap()).unwrap();
        return Change { path: path.clone(), what };
    }
    while new == *whole {
        let from = luck.below(end);
        let len = 1 + luck.below((end - from).min(3 * SECTOR_BYTES));
        what = format!("kind {kind}, {len} bytes from {from} of {}", whole.len());
        match kind {
            0 => new[from] ^= 1 << luck.below(8),
            1 => new[from..from + len].iter_mut().for_each(|byte| *byte = luck.below(256) as u8),
            2 => new[from..from + len].fill(0),
            3 => {
                // A sector that was written to another place of the file.
                let sectors = end.div_ceil(SECTOR_BYTES);
                let (a, b) = (luck.below(sectors) * SECTOR_BYTES, luck.below(sectors) * SECTOR_BYTES);
                let len = SECTOR_BYTES.min(end - a.max(b));
                let moved = whole[a..a + len].to_vec();
                new[b..b + len].copy_from_slice(&moved);
                if sectors == 1 {
                    new.truncate(end / 2);
                }
            }
            4 => new.truncate(from),
            5 => {
                // Bytes of another file at the same place.
                let (_, other) = &files[luck.below(files.len())];
                let there = other.get(from..(from + len).min(other.len())).unwrap_or_default();
                new[from..from + there.len()].copy_from_slice(there);
            }
            // Taken out, and all behind it moved up.
            _ => drop(new.drain(from..from + len)),
        }
    }
    put(disk, path, &new);
    Change { path: path.clone(), what }
}

/// Content that was read is that of a state the workspace had; the same is asked of everything else that is shown.
fn is_shown_right(found: &Picture, known: &Picture) -> bool {
    let same = |path: &Vec<u8>| {
        let (Some(found), Some(known)) = (found.get(path), known.get(path)) else { return false };
        found.0 == known.0 && found.1.as_ref().is_none_or(|content| Some(content) == known.1.as_ref())
    };
    found.len() == known.len() && found.keys().all(same)
}

/// What may be said of a store with one change.
fn judge(scene: &Scene, found: &Found, change: &Change, is_always_told: bool) {
    let told = !found.problems.is_empty();
    let context = || format!("{} {}: {:?}", change.path.display(), change.what, found.problems);
    assert!(told || !is_always_told, "nothing is told of {}", context());
    for (id, shown) in &found.shown {
        let known = &scene.history[id];
        let present = known.last().unwrap();
        if is_shown_right(shown, present) {
            let is_whole = shown.values().all(|(_, content)| content.is_some());
            assert!(is_whole || told, "what cannot be read is not told: {}", context());
            continue;
        }
        // A log that lost its end shows an earlier state, and verifying knows how long it was.
        assert!(told, "another state is shown and nothing is told: {}", context());
        assert!(known.iter().any(|known| is_shown_right(shown, known)), "wrong bytes: {}", context());
    }
    for (id, shown) in &found.sealed {
        assert!(
            is_shown_right(shown, &scene.sealed[id]),
            "a sealed snapshot shows wrong bytes: {}",
            context()
        );
    }
    if !change.path.starts_with(Path::new("/logs").join(OTHER.to_string())) {
        let other = found.shown.get(&OTHER).expect("it can be opened");
        assert!(*other == *scene.history[&OTHER].last().unwrap(), "another workspace is hurt: {}", context());
    }
}

fn run(moves: bool, is_always_told: bool) {
    let scene = Scene::new(moves);
    let whole = scene.look(&scene.copy());
    assert_eq!(whole.problems, Vec::<String>::new());
    assert!(ALL.iter().all(|id| whole.shown[id] == *scene.history[id].last().unwrap()));
    assert_eq!(whole.sealed, scene.sealed);
    let (changes, seed) =
        (weald_testkit::operations(CHANGES), weald_testkit::seed(std::process::id().into()));
    for number in 0..changes {
        let disk = scene.copy();
        let mut luck = Luck(mix(seed ^ mix(number)));
        let change = change(&scene, &disk, &mut luck);
        let judged =
            std::panic::AssertUnwindSafe(|| judge(&scene, &scene.look(&disk), &change, is_always_told));
        if let Err(why) = std::panic::catch_unwind(judged) {
            eprintln!("change {number} with WEALD_SEED={seed}: {} {}", change.path.display(), change.what);
            std::panic::resume_unwind(why);
        }
    }
    println!("torture: changes={changes}");
}

#[test]
fn every_change_of_a_log_or_a_sealed_snapshot_is_told_and_no_wrong_byte_is_served() {
    run(false, true);
}

/// Where content was moved to chunks, what is left of it in the log is no longer read, and may be anything.
#[test]
fn no_wrong_byte_is_served_from_a_store_whose_content_was_moved() {
    run(true, false);
}

/// Mutations of logs and of sealed snapshots by somebody who knows the format. He may have every checksum and every hash of
/// a log made right; the head that is kept elsewhere, and the seals, tell him.
#[test]
fn every_forged_change_of_a_log_or_a_snapshot_is_told_by_verifying() {
    const FORGED: u64 = 300;
    let scene = Scene::new(false);
    let (count, seed) = (weald_testkit::operations(FORGED), weald_testkit::seed(std::process::id().into()));
    for number in 0..count {
        let disk = scene.copy();
        let what = forge::forge(&scene, &disk, &mut Luck(mix(seed ^ mix(number))));
        let looked = std::panic::AssertUnwindSafe(|| scene.look(&disk));
        let found = std::panic::catch_unwind(looked).unwrap_or_else(|why| {
            eprintln!("change {number} with WEALD_SEED={seed}: {what}");
            std::panic::resume_unwind(why)
        });
        assert!(
            !found.problems.is_empty(),
            "change {number} with WEALD_SEED={seed}, {what}: nothing is told"
        );
    }
    println!("torture: mutations={count}");
}
