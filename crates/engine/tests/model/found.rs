//! Counterexamples that random histories found, each reduced to the fact it shows.

use crate::steps::Step;
use crate::world::World;
use weald_engine::RenameMode;
use weald_model::FileKind;
use weald_testkit::crash_disk::Failure;
use weald_testkit::operation::{Data, Operation, Place};
use weald_testkit::source::Tree;

/// Enough power cuts to lose each part of a handful of unsynced changes in some.
const SEEDS: u64 = 300;

fn make(stem: usize, path: &[u8], kind: FileKind) -> Step {
    let operation = Operation::MakeNode { at: Place::at(path), kind, perm: 0o644 };
    Step::Do { stem, root: false, operation }
}

fn write(stem: usize, path: &[u8], len: usize) -> Step {
    let operation = Operation::Write { at: Place::at(path), offset: 0, data: Data { seed: 3, len } };
    Step::Do { stem, root: false, operation }
}

fn rename(from: &[u8], to: &[u8], mode: RenameMode) -> Step {
    let operation = Operation::Rename { from: Place::at(from), to: Place::at(to), mode };
    Step::Do { stem: 0, root: true, operation }
}

fn sync(stem: usize) -> Step {
    Step::Do { stem, root: false, operation: Operation::Sync }
}

/// Does the steps, which check themselves.
fn run(base: Option<&Tree>, steps: &[Step]) {
    let mut world = World::new(base);
    for (number, step) in steps.iter().enumerate() {
        world.step(step).unwrap_or_else(|why| panic!("step {number} {step:?}:\n{why}"));
    }
    world.check().unwrap_or_else(|why| panic!("at the end:\n{why}"));
}

#[test]
fn rename_over_an_own_ancestor_says_it_is_not_empty() {
    let base = Tree::dir([("a", Tree::dir([("b", Tree::file("")), ("dir", Tree::dir([]))]))]);
    for mode in [RenameMode::Replace, RenameMode::Whiteout, RenameMode::NoReplace, RenameMode::Exchange] {
        run(Some(&base), &[rename(&[0, 1], &[0], mode), rename(&[0, 2], &[0], mode)]);
    }
}

#[test]
fn whiteout_takes_the_group_of_a_sgid_directory() {
    let steps = [
        make(0, &[2], FileKind::Dir),
        make(0, &[2, 0], FileKind::File),
        Step::Do {
            stem: 0,
            root: true,
            operation: Operation::Chown { at: Place::at(&[2]), uid: None, gid: Some(4321) },
        },
        Step::Do { stem: 0, root: true, operation: Operation::Chmod { at: Place::at(&[2]), perm: 0o2775 } },
        rename(&[2, 0], &[1], RenameMode::Whiteout),
    ];
    run(None, &steps);
}

/// The parent's unsynced record of the fork may be lost while the fork's own log is kept; what the parent appends
/// later must not pass for what the fork started from.
#[test]
fn fork_whose_starting_point_was_lost_does_not_follow_its_parent_later() {
    for seed in 0..SEEDS {
        run(
            None,
            &[
                make(0, &[0], FileKind::File),
                sync(0),
                make(0, &[1], FileKind::File),
                Step::Fork { stem: 0, sync: false },
                Step::Crash { seed },
                make(0, &[2], FileKind::Dir),
                make(0, &[3], FileKind::Dir),
                make(0, &[4], FileKind::Dir),
                Step::Kill { unmount: false },
            ],
        );
    }
}

#[test]
fn fork_that_survived_a_power_cut_keeps_what_is_done_in_it_later() {
    for seed in 0..SEEDS {
        run(
            None,
            &[
                make(0, &[0], FileKind::File),
                Step::Fork { stem: 0, sync: false },
                make(1, &[1], FileKind::File),
                Step::Crash { seed },
                make(1, &[2], FileKind::Dir),
                sync(1),
                Step::Crash { seed: seed + 1 },
                make(1, &[3], FileKind::Dir),
                Step::Restart { unmount: true },
            ],
        );
    }
}

/// Data above 4096 bytes goes to a file of its own, which a power cut may lose while it keeps the record.
#[test]
fn power_cut_keeps_no_write_whose_data_it_lost() {
    for seed in 0..SEEDS {
        run(
            None,
            &[
                make(0, &[0], FileKind::File),
                sync(0),
                write(0, &[0], 20_000),
                write(0, &[0], 9_000),
                make(0, &[1], FileKind::File),
                Step::Crash { seed },
                write(0, &[0], 30_000),
                sync(0),
                Step::Crash { seed: seed + 1 },
            ],
        );
    }
}

/// Linux drops dirty pages after a failed fsync, so what is read back later may be in memory only.
#[test]
fn sync_after_a_failed_sync_and_a_restart_keeps_its_promise() {
    for seed in 0..SEEDS {
        for nth in 0..3 {
            run(
                None,
                &[
                    make(0, &[0], FileKind::File),
                    write(0, &[0], 10_000),
                    Step::FailedSync { stem: 0, nth },
                    make(0, &[1], FileKind::File),
                    sync(0),
                    Step::Crash { seed },
                ],
            );
        }
    }
}

/// A fork of a fork, all opened again in order: the last one must still know that it starts from the first.
#[test]
fn sync_of_a_fork_opened_again_makes_all_it_starts_from_durable() {
    for seed in 0..SEEDS {
        run(
            None,
            &[
                Step::Fork { stem: 0, sync: false },
                make(1, &[0], FileKind::File),
                Step::Fork { stem: 1, sync: false },
                Step::Kill { unmount: false },
                sync(2),
                Step::Crash { seed },
            ],
        );
    }
}

/// The failed fsync may have been that of a parent's log, whose dirty pages are gone then.
#[test]
fn sync_of_a_fork_that_failed_does_not_succeed_later_for_nothing() {
    for (nth, seed) in (0..8).flat_map(|nth| (0..SEEDS / 3).map(move |seed| (nth, seed))) {
        let mut world = World::new(None);
        let mut step = |step: Step| world.step(&step).unwrap_or_else(|why| panic!("{step:?}:\n{why}"));
        step(make(0, &[0], FileKind::File));
        step(Step::Fork { stem: 0, sync: false });
        if seed % 2 == 1 {
            step(Step::Kill { unmount: false });
        }
        world.disk.fail_call(nth, Failure::Io);
        let first = world.stems[1].sync();
        world.disk.clear_failure();
        let second = world.stems[1].sync();
        world
            .step(&Step::Crash { seed })
            .unwrap_or_else(|why| panic!("call {nth} failed, syncs said {first:?}, {second:?}:\n{why}"));
    }
}

/// The fork's failed sync can lose the mark in the parent's log that all before it is durable, and with it a page
/// that the parent goes on in.
#[test]
fn sync_of_a_parent_keeps_its_promise_after_a_failed_sync_of_its_fork() {
    for seed in 0..SEEDS {
        run(
            None,
            &[
                Step::Fork { stem: 0, sync: true },
                Step::Restart { unmount: false },
                Step::FailedSync { stem: 1, nth: 0 },
                make(0, &[0], FileKind::File),
                sync(0),
                Step::Kill { unmount: false },
                Step::Crash { seed },
            ],
        );
    }
}

/// The same where the mark ends its page, or lies across its end: the next record does not make that page dirty again.
#[test]
fn sync_of_a_parent_keeps_its_promise_after_its_mark_was_lost_at_the_end_of_a_page() {
    for (len, seed) in (3700..4096).step_by(16).flat_map(|len| (0..SEEDS / 10).map(move |seed| (len, seed))) {
        run(
            None,
            &[
                make(0, &[0], FileKind::File),
                write(0, &[0], len),
                Step::Fork { stem: 0, sync: true },
                Step::Restart { unmount: false },
                Step::FailedSync { stem: 1, nth: 0 },
                make(0, &[1], FileKind::File),
                sync(0),
                Step::Kill { unmount: false },
                Step::Crash { seed },
            ],
        );
    }
}
