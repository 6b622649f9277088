//! Crash injection: the process ends, the power is cut, or the disk fails at every call that an operation makes, one after
//! the other. Afterwards the operation is wholly there or absent, what was acknowledged is there, every listed snapshot
//! shows what it should, verifying finds nothing, and the same can be done again.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod operations;
mod scene;
mod view;

use operations::Operation;
use scene::{FORK, Opened, Scene};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use view::{Picture, View};
use weald_model::SnapshotId;
use weald_testkit::clock::mix;
use weald_testkit::crash_disk::Failure;

/// How an operation is interrupted at one of its calls.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The process ends, the next one tries again, and then the power is cut.
    Kill(u64),
    /// The power is cut.
    PowerCut(u64),
    /// The call fails, what failed is tried again, and then the power is cut.
    Failure(Failure, u64),
    /// Nothing interrupts it; the power is cut when it has returned.
    Afterwards(u64),
}

/// What an operation does when nothing interrupts it.
struct Undisturbed {
    /// All that was there since everything was durable: before it, then behind each of its steps.
    views: Vec<View>,
    /// How many of these were there before it.
    before: usize,
    /// The fork, which must stay as it is, and the workspace that is made, as the operation leaves it.
    fork: View,
    child: Option<View>,
    pictures: BTreeMap<SnapshotId, Picture>,
    calls: u64,
}

/// Makes the scene and what comes before the operation; returns the views since all was durable.
fn prepare(operation: Operation, loose: usize) -> (Scene, Vec<View>) {
    let mut scene = Scene::new();
    operation.prepare(&mut scene);
    scene.own().sync().unwrap();
    let mut views = vec![View::of(scene.own())];
    for number in 0..loose {
        scene.loose_act(number);
        views.push(View::of(scene.own()));
    }
    scene.pause();
    (scene, views)
}

fn undisturbed(operation: Operation, loose: usize) -> Undisturbed {
    let (mut scene, mut views) = prepare(operation, loose);
    let before = views.len();
    let fork = View::of(scene.fork.as_ref().unwrap());
    let mut pictures = BTreeMap::new();
    let mut note = |scene: &Scene| {
        for listed in scene.own().snapshots() {
            pictures
                .entry(listed.id)
                .or_insert_with(|| view::picture(&scene.own().past(listed.point).unwrap()));
        }
    };
    note(&scene);
    let calls = scene.disk.calls();
    let made = operation.run(&mut scene, &mut |scene| views.push(View::of(scene.own()))).unwrap();
    note(&scene);
    let calls = scene.disk.calls() - calls;
    let child = made.as_deref().map(View::of);
    Undisturbed { views, before, fork, child, pictures, calls }
}

/// Interrupts an operation at one call and checks what is left.
fn interrupt(operation: Operation, loose: usize, known: &Undisturbed, nth: u64, end: End) {
    let (mut scene, _) = prepare(operation, loose);
    match end {
        End::Kill(_) | End::PowerCut(_) => scene.disk.stop_at(nth),
        End::Failure(failure, _) => scene.disk.fail_call(nth, failure),
        End::Afterwards(_) => {}
    }
    let mut steps = 0;
    let child_id = operation.child(&scene);
    let outcome = operation.run(&mut scene, &mut |_| steps += 1).map(drop);
    let done = outcome.is_ok();
    // What is promised, as the first of the views that may be there.
    let kept = if steps > 0 { known.before - 1 + steps } else { 0 };
    let seed = match end {
        End::Kill(seed) => {
            scene.reopen();
            is_one_of(&scene, &known.views[known.before - 1 + steps..]);
            again_and_crash(operation, &mut scene, known, done, seed);
            seed
        }
        End::PowerCut(seed) | End::Afterwards(seed) => {
            scene.crash(seed);
            is_one_of(&scene, &known.views[kept..]);
            seed
        }
        End::Failure(_, seed) => {
            if !done {
                is_one_of(&scene, &known.views[known.before - 1..]);
            }
            again_and_crash(operation, &mut scene, known, done, seed);
            seed
        }
    };
    if let (Some(id), Some(child)) = (child_id, &known.child) {
        match scene.open(id) {
            Opened::There(found) => assert!(*found == *child, "the fork is not what it was made from"),
            Opened::NeverWas => assert!(!done, "the fork is gone"),
        }
    }
    match scene.open(FORK) {
        Opened::There(found) => assert!(*found == known.fork, "another workspace changed"),
        Opened::NeverWas => assert!(operation == Operation::Remove),
    }
    scene.is_sound(&known.pictures);
    scene.goes_on(seed);
}

fn is_one_of(scene: &Scene, views: &[View]) {
    let found = View::of(scene.own());
    assert!(views.contains(&found), "neither there nor absent:\n{found:?}\nwhole:\n{:?}", views.last());
}

fn again_and_crash(operation: Operation, scene: &mut Scene, known: &Undisturbed, done: bool, seed: u64) {
    if !done {
        try_again(operation, scene, known);
    }
    let now = View::of(scene.own());
    scene.crash(seed);
    assert!(View::of(scene.own()) == now, "what was acknowledged is not there");
}

/// What failed is done again: at once, or once the log was opened anew, as a failed sync demands.
fn try_again(operation: Operation, scene: &mut Scene, known: &Undisturbed) {
    let is_done = |scene: &Scene| known.child.is_none() && known.views.last() == Some(&View::of(scene.own()));
    if is_done(scene) && scene.own().sync().is_ok() {
        return;
    }
    if operation.run(scene, &mut |_| ()).is_err() {
        scene.reopen();
        if !is_done(scene) {
            operation.run(scene, &mut |_| ()).unwrap();
        }
        scene.own().sync().unwrap();
    }
}

/// Interrupts an operation everywhere, in so many ways at each place.
fn everywhere(operation: Operation) {
    let seeds: u64 = std::env::var("WEALD_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let start: u64 = std::env::var("WEALD_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| RandomState::new().hash_one(1));
    let mut states = 0;
    for loose in [0, 4] {
        let known = undisturbed(operation, loose);
        assert!(known.views.len() > known.before, "it has a step");
        for nth in 0..=known.calls {
            let seed = |number: u64| mix(start ^ mix(nth << 32 | number));
            let mut ends: Vec<End> =
                (0..seeds.div_ceil(4)).map(|number| End::Kill(seed(200 + number))).collect();
            ends.extend((0..seeds).map(|number| End::PowerCut(seed(number))));
            if nth < known.calls {
                let failures = [Failure::NoSpace, Failure::Io, Failure::Short, Failure::ReadOnly];
                ends.extend(failures.map(|failure| End::Failure(failure, seed(99))));
            } else {
                ends.extend((0..seeds).map(|number| End::Afterwards(seed(100 + number))));
            }
            states += ends.len();
            for end in ends {
                let told = std::panic::AssertUnwindSafe(|| interrupt(operation, loose, &known, nth, end));
                if let Err(why) = std::panic::catch_unwind(told) {
                    eprintln!("{operation:?}, {loose} unsynced changes, at call {nth}, {end:?}");
                    std::panic::resume_unwind(why);
                }
            }
        }
    }
    println!("torture: states={states}");
}

#[test]
fn a_snapshot_interrupted_anywhere_is_there_or_absent() {
    everywhere(Operation::Snapshot);
}

#[test]
fn a_restore_interrupted_anywhere_is_there_or_absent() {
    everywhere(Operation::Restore);
}

#[test]
fn a_restore_of_paths_interrupted_anywhere_is_there_or_absent() {
    everywhere(Operation::RestorePaths);
}

#[test]
fn an_undo_and_a_redo_interrupted_anywhere_are_there_or_absent() {
    everywhere(Operation::Undo);
    everywhere(Operation::Redo);
}

#[test]
fn a_drop_and_a_tag_interrupted_anywhere_are_there_or_absent() {
    everywhere(Operation::Drop);
    everywhere(Operation::Tag);
}

#[test]
fn a_fork_interrupted_anywhere_is_there_or_absent() {
    everywhere(Operation::Fork);
}

#[test]
fn a_fork_of_a_snapshot_interrupted_anywhere_is_there_or_absent() {
    everywhere(Operation::ForkAt);
}

#[test]
fn giving_up_records_interrupted_anywhere_takes_nothing_that_stays() {
    everywhere(Operation::GiveUp);
}

/// Lesson: a gc that deleted first and wrote tombstones after.
#[test]
fn giving_back_interrupted_anywhere_takes_nothing_that_stays() {
    everywhere(Operation::GiveBack);
}

#[test]
fn a_large_write_and_its_sync_interrupted_anywhere_are_there_or_absent() {
    everywhere(Operation::Write);
}

#[test]
fn a_removal_interrupted_anywhere_leaves_the_log_whole_or_takes_all_of_it() {
    everywhere(Operation::Remove);
}

#[test]
fn sealing_interrupted_anywhere_is_there_or_absent() {
    everywhere(Operation::Seal);
}

#[test]
fn moving_content_interrupted_anywhere_loses_none() {
    everywhere(Operation::Move);
}

#[test]
fn dropping_chunks_interrupted_anywhere_takes_none_that_is_needed() {
    everywhere(Operation::DropChunks);
}
