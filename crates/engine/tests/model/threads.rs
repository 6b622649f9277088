//! Many threads in one workspace, each in a directory of its own beside a reference of its own: whatever the others
//! do, each sees what it would see alone, and all of it is there after a kill.

use crate::world::{SMALL_FILES, USER, World, open_shared};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};
use std::sync::Arc;
use weald_engine::Workspace;
use weald_model::{FileKind, Ino, Timestamp};
use weald_store::log::Limits;
use weald_testkit::compare::{Clock, Description, Numbers, describe, same, same_outcome};
use weald_testkit::operation::{Operation, Place, SLOTS, Slots, apply};
use weald_testkit::reference::Reference;
use weald_testkit::{cases, strategy};

const THREADS: usize = 4;
/// The slot that holds a thread's own directory.
const HOME: usize = SLOTS - 1;

/// An operation that starts at the thread's directory wherever it would start at the root, and lets it be.
fn at_home(mut operation: Operation) -> Operation {
    let home = |place: &mut Place| place.slot = place.slot.or(Some(HOME));
    let keep = |slot: &mut usize| *slot %= HOME;
    match &mut operation {
        Operation::MakeNode { at, .. }
        | Operation::MakeSymlink { at, .. }
        | Operation::Unlink { at }
        | Operation::Rmdir { at }
        | Operation::Write { at, .. }
        | Operation::Read { at, .. }
        | Operation::Truncate { at, .. }
        | Operation::Allocate { at, .. }
        | Operation::Chmod { at, .. }
        | Operation::Chown { at, .. }
        | Operation::SetTimes { at, .. }
        | Operation::SetXattr { at, .. }
        | Operation::RemoveXattr { at, .. }
        | Operation::List { at, .. }
        | Operation::ForgetNamed { at } => home(at),
        Operation::Link { from, to }
        | Operation::Rename { from, to, .. }
        | Operation::CopyRange { from, to, .. } => {
            home(from);
            home(to);
        }
        Operation::MakeTmpfile { dir, slot, .. } => {
            home(dir);
            keep(slot);
        }
        Operation::Hold { at, slot } => {
            home(at);
            keep(slot);
        }
        // An empty slot stands for the root, which is everybody's.
        Operation::Release { slot } => {
            let at = Place { slot: Some(HOME), path: Vec::new() };
            return Operation::Hold { at, slot: *slot % HOME };
        }
        Operation::Sync => {}
    }
    operation
}

/// What one thread has.
struct Worker {
    workspace: Arc<Workspace>,
    slots: Slots,
    reference: Reference,
    reference_slots: Slots,
    numbers: Numbers,
}

impl Worker {
    fn new(workspace: &Arc<Workspace>, number: usize) -> Self {
        let mut reference = Reference::empty(0, 0, Timestamp::from_secs(1));
        let (mut slots, mut reference_slots) = (Slots::default(), Slots::default());
        let name = [b'0' + number as u8];
        let own = workspace.make_node(&USER, Ino::ROOT, &name, FileKind::Dir, 0o755, 0);
        let own_reference = reference.make_node(&USER, Ino::ROOT, &name, FileKind::Dir, 0o755, 0);
        slots.held = [Some(own.expect("a directory can be made").ino); SLOTS];
        reference_slots.held = [Some(own_reference.expect("a directory can be made").ino); SLOTS];
        Self { workspace: workspace.clone(), slots, reference, reference_slots, numbers: Numbers::default() }
    }

    fn work(&mut self, operations: &[Operation]) {
        for (number, operation) in operations.iter().enumerate() {
            let wanted = apply(&mut self.reference, &mut self.reference_slots, &USER, operation);
            let found = apply(&mut self.workspace, &mut self.slots, &USER, operation);
            same_outcome(&found, &wanted, Clock::Own)
                .unwrap_or_else(|why| panic!("operation {number} {operation:?}: {why}"));
        }
    }

    fn check(&mut self) {
        let own = |all: Description| all.into_iter().filter(|(path, _)| path.starts_with(b"<")).collect();
        let found = own(describe(&mut self.workspace, &self.slots).expect("it can be walked"));
        let wanted = own(describe(&mut self.reference, &self.reference_slots).expect("it can be walked"));
        self.numbers.keep_known(&self.reference);
        same(&found, &wanted, &mut self.numbers, Clock::Own).unwrap_or_else(|why| panic!("{why}"));
    }
}

fn run(histories: &[Vec<Operation>], limits: Limits) {
    let world = World::with_limits(None, limits);
    let workspace = &world.stems[0].engine;
    let mut workers: Vec<Worker> = (0..THREADS).map(|number| Worker::new(workspace, number)).collect();
    std::thread::scope(|scope| {
        for (worker, history) in workers.iter_mut().zip(histories) {
            scope.spawn(|| worker.work(history));
        }
    });
    workers.iter_mut().for_each(Worker::check);
    let again = world.open_again(open_shared(&world.disk, &world.clock, limits));
    for worker in &mut workers {
        worker.workspace = again.clone();
        worker.check();
    }
}

#[test]
fn threads_in_their_own_directories_do_not_disturb_each_other() {
    for case in 0..u64::from(cases(300)) {
        let config = ProptestConfig { rng_seed: RngSeed::Fixed(case), ..ProptestConfig::default() };
        let history = vec(strategy::operation().prop_map(at_home), 20..120);
        let tree = vec(history, THREADS).new_tree(&mut TestRunner::new(config)).expect("a history is made");
        run(&tree.current(), if case % 2 == 0 { Limits::default() } else { SMALL_FILES });
    }
}
