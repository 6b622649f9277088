//! What may happen to a world, at random.

use proptest::collection::vec;
use proptest::prelude::*;
use weald_testkit::crash_disk::Failure;
use weald_testkit::operation::Operation;
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
}

/// Weights of the kinds of steps beside operations, which have 40.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    fork: u32,
    restart: u32,
    crash: u32,
    fault: u32,
}

impl Mix {
    /// Operations and forks.
    pub(crate) const FORKS: Mix = Mix { fork: 2, restart: 0, crash: 0, fault: 0 };
    /// Also clean stops and kills.
    pub(crate) const RESTARTS: Mix = Mix { fork: 2, restart: 4, crash: 0, fault: 0 };
    /// Also power cuts.
    pub(crate) const CRASHES: Mix = Mix { fork: 2, restart: 1, crash: 5, fault: 0 };
    /// Everything, mostly faults.
    pub(crate) const FAULTS: Mix = Mix { fork: 2, restart: 1, crash: 2, fault: 12 };
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
    choices.retain(|choice| choice.0 > 0);
    prop::strategy::Union::new_weighted(choices)
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![4 => Just(Failure::NoSpace), 3 => Just(Failure::Short), 1 => Just(Failure::Io)]
}
