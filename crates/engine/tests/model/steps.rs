//! What may happen to a world, at random.

use proptest::collection::vec;
use proptest::prelude::*;
use weald_testkit::crash_disk::Failure;
use weald_testkit::operation::{GOOD_NAMES, Operation};
use weald_testkit::strategy::operation;

/// Most workspaces in a world.
pub(crate) const STEMS_MAX: usize = 3;

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An operation by an ordinary user, or by root.
    Do { stem: usize, root: bool, operation: Operation },
    /// A fork, made durable or not.
    Fork { stem: usize, sync: bool },
    /// Stop and start; with `unmount`, nothing is held open any more.
    Restart { unmount: bool },
    /// kill -9 and start.
    Kill { unmount: bool },
    /// Power cut and start.
    Crash { seed: u64 },
    /// An operation during which the n-th change of the disk fails.
    Fault { stem: usize, nth: u64, failure: Failure, operation: Operation },
    /// fsync that fails, then kill and start.
    FailedSync { stem: usize, nth: u64 },
    /// Operations on a disk with so much space left.
    Full { stem: usize, free: u64, operations: Vec<Operation> },
    /// Nothing for a while, so that a step of undo ends.
    Wait,
    /// A snapshot, which is durable.
    Snapshot { stem: usize },
    /// One of the snapshots is sealed.
    Seal { stem: usize, which: usize },
    /// One of the snapshots gets a tag.
    Tag { stem: usize, which: usize },
    /// What lies in the log of a sealed snapshot moves to its chunks.
    Move { stem: usize, which: usize },
    /// One of the snapshots is dropped from the list; its moment can still be gone to.
    Drop { stem: usize, which: usize },
    /// A look at one moment of the past, and at what differs from it in another.
    Look { stem: usize, moment: usize, other: usize },
    /// Everything, or these paths, becomes what it was; the kernel forgets what it does not hold, or not.
    Restore { stem: usize, moment: usize, paths: Vec<Chosen>, forget: bool },
    /// One step back.
    Undo { stem: usize },
    /// One step on again.
    Redo { stem: usize },
    /// A fork of a moment of the past.
    ForkAt { stem: usize, moment: usize, sync: bool },
}

/// A path to restore.
#[derive(Clone, Debug)]
pub(crate) enum Chosen {
    /// One of those that are there now or were then.
    There(usize),
    /// Any, of these names.
    Any(Vec<u8>),
}

/// Weights of the kinds of steps beside operations, which have 40.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    fork: u32,
    restart: u32,
    crash: u32,
    fault: u32,
    travel: u32,
}

impl Mix {
    /// Operations and forks.
    pub(crate) const FORKS: Mix = Mix { fork: 2, restart: 0, crash: 0, fault: 0, travel: 0 };
    /// Also clean stops and kills.
    pub(crate) const RESTARTS: Mix = Mix { fork: 2, restart: 4, crash: 0, fault: 0, travel: 0 };
    /// Also power cuts.
    pub(crate) const CRASHES: Mix = Mix { fork: 2, restart: 1, crash: 5, fault: 0, travel: 0 };
    /// Going back and forth in time, with restarts and power cuts.
    pub(crate) const TRAVELS: Mix = Mix { fork: 1, restart: 2, crash: 1, fault: 0, travel: 5 };
    /// Operations and all that is done to the past, nothing of it interrupted.
    pub(crate) const WORK: Mix = Mix { fork: 2, restart: 0, crash: 0, fault: 0, travel: 4 };
    /// Everything, mostly faults.
    pub(crate) const FAULTS: Mix = Mix { fork: 2, restart: 1, crash: 2, fault: 12, travel: 1 };
}

/// A random history of at most `most` steps.
pub(crate) fn steps(mix: Mix, most: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(step(mix), 1..most)
}

fn step(mix: Mix) -> impl Strategy<Value = Step> {
    let stem = || 0..STEMS_MAX;
    let mut choices = vec![
        (
            40,
            (stem(), prop::bool::weighted(0.2), operation())
                .prop_map(|(stem, root, operation)| Step::Do { stem, root, operation })
                .boxed(),
        ),
        (mix.fork, (stem(), any::<bool>()).prop_map(|(stem, sync)| Step::Fork { stem, sync }).boxed()),
        (mix.restart, any::<bool>().prop_map(|unmount| Step::Restart { unmount }).boxed()),
        (mix.restart, any::<bool>().prop_map(|unmount| Step::Kill { unmount }).boxed()),
        (mix.crash, any::<u64>().prop_map(|seed| Step::Crash { seed }).boxed()),
        (
            mix.fault,
            (stem(), 0u64..6, failure(), operation())
                .prop_map(|(stem, nth, failure, operation)| Step::Fault { stem, nth, failure, operation })
                .boxed(),
        ),
        (mix.fault / 4, (stem(), 0u64..4).prop_map(|(stem, nth)| Step::FailedSync { stem, nth }).boxed()),
        (
            mix.fault / 4,
            (stem(), 0u64..300_000, vec(operation(), 1..8))
                .prop_map(|(stem, free, operations)| Step::Full { stem, free, operations })
                .boxed(),
        ),
    ];
    choices.extend(travels(mix.travel));
    choices.retain(|choice| choice.0 > 0);
    prop::strategy::Union::new_weighted(choices)
}

/// Steps that have to do with the past.
fn travels(weight: u32) -> Vec<(u32, BoxedStrategy<Step>)> {
    let stem = || 0..STEMS_MAX;
    let moment = any::<usize>;
    let which = any::<usize>;
    let names = || vec(prop_oneof![8 => 0u8..3, 1 => 3u8..GOOD_NAMES], 0..4);
    let path =
        || prop_oneof![9 => any::<usize>().prop_map(Chosen::There), 1 => names().prop_map(Chosen::Any)];
    let paths = prop_oneof![
        1 => Just(Vec::new()),
        4 => vec(path(), 1..4),
    ];
    vec![
        (weight, Just(Step::Wait).boxed()),
        (weight, stem().prop_map(|stem| Step::Snapshot { stem }).boxed()),
        (weight, (stem(), which()).prop_map(|(stem, which)| Step::Seal { stem, which }).boxed()),
        (weight / 2, (stem(), which()).prop_map(|(stem, which)| Step::Tag { stem, which }).boxed()),
        (weight / 2, (stem(), which()).prop_map(|(stem, which)| Step::Move { stem, which }).boxed()),
        (weight / 4, (stem(), which()).prop_map(|(stem, which)| Step::Drop { stem, which }).boxed()),
        (
            weight,
            (stem(), moment(), moment())
                .prop_map(|(stem, moment, other)| Step::Look { stem, moment, other })
                .boxed(),
        ),
        (
            3 * weight,
            (stem(), moment(), paths, any::<bool>())
                .prop_map(|(stem, moment, paths, forget)| Step::Restore { stem, moment, paths, forget })
                .boxed(),
        ),
        (weight, stem().prop_map(|stem| Step::Undo { stem }).boxed()),
        (weight, stem().prop_map(|stem| Step::Redo { stem }).boxed()),
        (
            weight / 2,
            (stem(), moment(), any::<bool>())
                .prop_map(|(stem, moment, sync)| Step::ForkAt { stem, moment, sync })
                .boxed(),
        ),
    ]
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![4 => Just(Failure::NoSpace), 3 => Just(Failure::Short), 1 => Just(Failure::Io)]
}
