//! The engine against the reference file system: the same random operations on both, with forks, restarts, kills,
//! power cuts and failing disks between them.
//!
//! Number of cases: `WEALD_CASES` (weald_testkit::cases). A counterexample that was found is kept in `found.rs` as a test of
//! its own. Read next: `world.rs` (what a step does and what must hold after it).

mod base;
mod ended;
mod found;
mod history;
mod large;
mod seals;
mod steps;
mod stream;
mod threads;
mod travel;
mod world;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use steps::{Mix, steps};
use weald_store::log::Limits;
use weald_testkit::source::Tree;
use weald_testkit::{cases, strategy};
use world::{SMALL_FILES, World};

fn config(default_cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: cases(default_cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    }
}

/// A tree, and whether its content is elsewhere.
fn base() -> impl Strategy<Value = Option<(Tree, bool)>> {
    prop_oneof![1 => Just(None), 3 => (strategy::tree(), any::<bool>()).prop_map(Some)]
}

fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![Just(Limits::default()), Just(SMALL_FILES)]
}

/// Runs steps in a new world and compares everything at the end.
fn run(base: Option<(Tree, bool)>, limits: Limits, steps: &[steps::Step]) -> Result<(), TestCaseError> {
    let mut world = World::on(base.as_ref().map(|(tree, is_lazy)| (tree, *is_lazy)), limits);
    for (number, step) in steps.iter().enumerate() {
        world.step(step).map_err(|why| TestCaseError::fail(format!("step {number} {step:?}:\n{why}")))?;
    }
    world.check().map_err(|why| TestCaseError::fail(format!("at the end:\n{why}")))
}

proptest! {
    #![proptest_config(config(800))]

    #[test]
    fn operations_and_forks_answer_as_the_reference(base in base(), limits in limits(), steps in steps(Mix::FORKS, 80)) {
        run(base, limits, &steps)?;
    }

    #[test]
    fn restart_and_kill_change_nothing(base in base(), limits in limits(), steps in steps(Mix::RESTARTS, 50)) {
        run(base, limits, &steps)?;
    }

    #[test]
    fn past_is_what_was_and_restore_brings_it_back(base in base(), limits in limits(), steps in steps(Mix::TRAVELS, 60)) {
        run(base, limits, &steps)?;
    }

    #[test]
    fn power_cut_leaves_a_prefix_with_all_that_was_synced(base in base(), limits in limits(), steps in steps(Mix::CRASHES, 50)) {
        run(base, limits, &steps)?;
    }

    #[test]
    fn failing_disk_fails_the_operation_and_changes_nothing(base in base(), limits in limits(), steps in steps(Mix::FAULTS, 50)) {
        run(base, limits, &steps)?;
    }
}
