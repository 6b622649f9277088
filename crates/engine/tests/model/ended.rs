//! Random work ended at every call to the disk that it makes: the process is killed there, the power is cut there, or the
//! call fails. Each workspace is then what its reference was at a moment it may have gone back to, everything that was
//! acknowledged is there, snapshots show what they did, verifying finds nothing, and the work goes on.
//!
//! The work is done once; the disk is copied before each call, so every copy is what the end at that call leaves.
//! `WEALD_CASES` is the number of works, `WEALD_SEED` which they are.

use crate::steps::{Mix, Step, steps};
use crate::world::{Checked, Stem, USER, World, open_shared};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use weald_engine::verify::verify_log;
use weald_engine::{OpenError, Point, Snapshot, Workspace};
use weald_model::{SnapshotId, WorkspaceId};
use weald_store::log::verify::Expected;
use weald_store::log::{Limits, LogError};
use weald_testkit::clock::mix;
use weald_testkit::compare::Numbers;
use weald_testkit::crash_disk::{CrashDisk, Failure};
use weald_testkit::operation::{Data, Operation, Place};
use weald_testkit::reference::Reference;
use weald_testkit::source::Tree;

/// Power cuts at each call, beside the end of the process.
const CUTS: u64 = 6;
/// Most steps of one work.
const STEPS_MAX: usize = 40;

/// Random work, the same for the same seed.
struct Work {
    base: Option<(Tree, bool)>,
    limits: Limits,
    steps: Vec<Step>,
}

impl Work {
    fn new(seed: u64) -> Self {
        let bytes: Vec<u8> = (0..4).flat_map(|part| mix(seed ^ part << 60).to_le_bytes()).collect();
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let all = (crate::base(), crate::limits(), steps(Mix::WORK, STEPS_MAX));
        let (base, limits, steps) = all.new_tree(&mut runner).expect("every choice is good").current();
        Self { base, limits, steps }
    }

    fn world(&self) -> World {
        World::on(self.base.as_ref().map(|(tree, is_lazy)| (tree, *is_lazy)), self.limits)
    }
}

/// What is known of a workspace at a moment of the undisturbed work.
#[derive(Clone)]
struct Known {
    history: Vec<Reference>,
    numbers: Numbers,
    moments: Vec<(Point, Reference)>,
    durable: bool,
    snapshots: Vec<Snapshot>,
}

type All = BTreeMap<WorkspaceId, Known>;

fn known(world: &World) -> All {
    let of = |stem: &Stem| Known {
        history: stem.history.clone(),
        numbers: stem.numbers.clone(),
        moments: stem.moments.clone(),
        durable: stem.durable,
        snapshots: stem.engine.snapshots(),
    };
    world.stems.iter().map(|stem| (stem.id, of(stem))).collect()
}

/// How the work ends at one call.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    PowerCut(u64),
}

/// Does the work and judges each end of it. Returns how many there were, and the calls of each step with what was there after it.
fn ended_everywhere(work: &Work, seed: u64) -> Result<(u64, Vec<(u64, All)>), String> {
    let mut world = work.world();
    let (mut ends, mut steps) = (0, Vec::new());
    for (number, step) in work.steps.iter().enumerate() {
        let before = known(&world);
        world.disk.keep_copies();
        world.step(step).map_err(|why| format!("step {number} {step:?}, undisturbed:\n{why}"))?;
        let mut copies = world.disk.take_copies();
        let after = known(&world);
        let calls = copies.len() as u64;
        if calls > 0 {
            copies.push(world.disk.copy());
        }
        for (nth, copy) in copies.iter().enumerate() {
            let first = ends << 8;
            let cuts = (0..CUTS).map(|cut| End::PowerCut(mix(seed ^ mix(first | cut))));
            for end in [End::Kill].into_iter().chain(cuts) {
                ends += 1;
                judge(&world, copy, end, &before, &after).map_err(|why| {
                    format!("step {number} {step:?}, call {nth} of {calls}, {end:?}:\n{why}")
                })?;
            }
        }
        steps.push((calls, after));
    }
    Ok((ends, steps))
}

/// What the next process finds on a disk.
fn judge(world: &World, disk: &CrashDisk, end: End, before: &All, after: &All) -> Checked {
    let (disk, seed) = match end {
        End::Kill => (disk.copy(), 1),
        End::PowerCut(seed) => (disk.crash(seed), seed),
    };
    let shared = open_shared(&disk, &world.clock, world.limits);
    let (limits, base) = (world.limits, world.base.clone());
    let mut next = World {
        disk,
        clock: world.clock.clone(),
        shared,
        limits,
        base,
        stems: Vec::new(),
        forks: world.forks,
    };
    for (id, after) in after {
        let was = before.get(id);
        let engine = match Workspace::open(next.shared.clone(), *id, next.base.base()) {
            Ok(engine) => engine,
            Err(error) if is_absent(&error) && !was.is_some_and(|was| must_stay(was, end)) => continue,
            Err(error) => return Err(format!("{id} does not open: {error}")),
        };
        let mut stem = Stem::new(*id, engine, may_be(was, after, end), true);
        stem.numbers = after.numbers.clone();
        stem.moments = after.moments.clone();
        stem.recover()?;
        same_snapshots(&stem, was, after, end)?;
        next.stems.push(stem);
    }
    goes_on(&mut next, seed)
}

fn is_absent(error: &OpenError) -> bool {
    matches!(error, OpenError::Log(LogError::Missing(_) | LogError::Unborn(_)) | OpenError::Unrooted(..))
}

fn must_stay(was: &Known, end: End) -> bool {
    was.durable || matches!(end, End::Kill)
}

/// The moments a workspace may be at: since its last sync when the power was cut, else those of the step.
fn may_be(was: Option<&Known>, after: &Known, end: End) -> Vec<Reference> {
    let Some(was) = was else { return after.history.clone() };
    let first = match end {
        End::Kill => was.history.len() - 1,
        End::PowerCut(_) => 0,
    };
    let synced = after.history.len() < was.history.len();
    let new = if synced { 0 } else { was.history.len().min(after.history.len() - 1) };
    was.history[first..].iter().chain(&after.history[new..]).cloned().collect()
}

/// Snapshots are those of before or after the step, and show what was there when they were taken.
fn same_snapshots(stem: &Stem, was: Option<&Known>, after: &Known, end: End) -> Checked {
    let found = stem.engine.snapshots();
    let was = was.map(|was| was.snapshots.as_slice()).unwrap_or_default();
    let is_new = |one: &Snapshot| !was.contains(one);
    for one in found.iter().filter(|one| is_new(one) && !after.snapshots.contains(one)) {
        // What was dropped, tagged or sealed and never synced may be as it was.
        let is_older = matches!(end, End::PowerCut(_)) && one.point <= stem.engine.present();
        if !is_older {
            return Err(format!("nobody took {one:?}"));
        }
    }
    for one in was.iter().filter(|one| after.snapshots.iter().any(|after| after.id == one.id)) {
        if !found.iter().any(|found| (found.id, found.point) == (one.id, one.point)) {
            return Err(format!("{one:?} is gone"));
        }
    }
    for one in &found {
        if let Some(at) = stem.moments.iter().position(|(point, _)| *point == one.point) {
            stem.look(at, at).map_err(|why| format!("{one:?}: {why}"))?;
        }
    }
    stem.check_seals()
}

/// What is done now is there after the next power cut, and nothing on the disk is other than it was written.
fn goes_on(world: &mut World, seed: u64) -> Checked {
    for number in 0..world.stems.len() {
        let at = Place { slot: None, path: vec![0] };
        let stem = world.stem(number);
        stem.operate(&USER, &Operation::MakeSymlink { at, target: Data { seed: 1, len: 9 } })?;
        world.clock.tick();
        let id = SnapshotId(1_000_000 + number as u64);
        let stem = world.stem(number);
        let taken = stem.engine.snapshot(&USER, id, "", &[], weald_engine::Occasion::Asked);
        taken.map_err(|error| format!("no snapshot afterwards: {error}"))?;
        stem.sync()?;
    }
    world.crash(seed).map_err(|why| format!("what was done afterwards: {why}"))?;
    is_whole(world)
}

fn is_whole(world: &World) -> Checked {
    for stem in &world.stems {
        let mut problems = Vec::new();
        verify_log(&world.shared, stem.id, &Expected::default(), &mut |problem| problems.push(problem))
            .map_err(|error| format!("{} cannot be verified: {error}", stem.id))?;
        if !problems.is_empty() {
            return Err(format!("verifying {} finds {problems:?}", stem.id));
        }
    }
    Ok(())
}

/// Does the work with one call failing, and goes on. `steps` is what the undisturbed work came to.
fn with_a_failure(
    work: &Work,
    steps: &[(u64, All)],
    at: usize,
    nth: u64,
    failure: Failure,
    seed: u64,
) -> Checked {
    let mut world = work.world();
    for (number, step) in work.steps.iter().enumerate() {
        let told =
            |why| format!("step {number} {step:?}, after {failure:?} at call {nth} of step {at}:\n{why}");
        if number == at {
            disturbed(&mut world, step, &steps[at].1, nth, failure).map_err(told)?;
        } else {
            world.step(step).map_err(told)?;
        }
    }
    world.check()?;
    world
        .crash(seed)
        .map_err(|why| format!("a power cut after {failure:?} at call {nth} of step {at}:\n{why}"))?;
    is_whole(&world)
}

/// One step, a call of which fails: it is there or absent, whatever it answered, and can be done again.
fn disturbed(world: &mut World, step: &Step, after: &All, nth: u64, failure: Failure) -> Checked {
    if let Step::Do { stem, operation, .. } = step {
        return world.step(&Step::Fault { stem: *stem, nth, failure, operation: operation.clone() });
    }
    let before = known(world);
    world.disk.fail_call(nth, failure);
    let answer = world.step(step);
    let failed = !world.disk.clear_failure();
    match answer {
        Ok(()) if failed && failure == Failure::Io => world.reopen(false),
        Ok(()) => Ok(()),
        Err(why) if !failed => Err(why),
        Err(_) => {
            if settled(world, &before, after, false).is_err() || world.step(step).is_err() {
                // As a failed sync demands.
                settled(world, &before, after, true)?;
                return world.step(step);
            }
            Ok(())
        }
    }
}

/// Each workspace is as before the step or as after it; the references follow.
fn settled(world: &mut World, before: &All, after: &All, anew: bool) -> Checked {
    if anew {
        world.shared = open_shared(&world.disk, &world.clock, world.limits);
    }
    for stem in &mut world.stems {
        if anew {
            stem.engine = Workspace::open(world.shared.clone(), stem.id, world.base.base())
                .map_err(|error| format!("{} does not open again: {error}", stem.id))?;
        }
        let Some(was) = before.get(&stem.id) else { continue };
        stem.history = was.history.last().into_iter().cloned().collect();
        stem.history.extend(after.get(&stem.id).and_then(|after| after.history.last()).cloned());
        stem.moments = was.moments.clone();
        stem.recover()?;
        stem.durable = was.durable;
        stem.history.splice(..0, was.history.iter().cloned());
        stem.note();
    }
    Ok(())
}

/// Where something was found, it says how to see it again.
fn run(judge: impl Fn(&Work, u64) -> Result<u64, String>, works: u32) {
    let first = weald_testkit::seed(RandomState::new().hash_one(1) >> 32);
    let mut states = 0;
    for number in 0..u64::from(weald_testkit::cases(works)) {
        let seed = first.wrapping_add(number);
        let work = Work::new(seed);
        match judge(&work, seed) {
            Ok(count) => states += count,
            Err(why) => panic!(
                "WEALD_SEED={seed}\nbase {:?}\nlimits {:?}\nsteps {:#?}\n{why}",
                work.base, work.limits, work.steps
            ),
        }
    }
    println!("torture: states={states}");
}

#[test]
fn random_work_that_is_killed_or_loses_power_at_any_call_keeps_what_was_acknowledged() {
    run(|work, seed| ended_everywhere(work, seed).map(|(ends, _)| ends), 30);
}

#[test]
fn random_work_in_which_any_call_fails_goes_on_and_keeps_what_was_acknowledged() {
    let failures = [Failure::NoSpace, Failure::Io, Failure::Short, Failure::ReadOnly];
    let judge = |work: &Work, seed: u64| {
        let (mut world, mut steps) = (work.world(), Vec::new());
        for step in &work.steps {
            let calls = world.disk.calls();
            world.step(step)?;
            steps.push((world.disk.calls() - calls, known(&world)));
        }
        let mut count = 0;
        for (at, (calls, _)) in steps.iter().enumerate() {
            for nth in 0..*calls {
                let luck = mix(seed ^ mix((at as u64) << 32 | nth));
                with_a_failure(work, &steps, at, nth, failures[luck as usize % 4], luck)?;
                count += 1;
            }
        }
        Ok(count)
    };
    run(judge, 12);
}

#[test]
fn the_same_seed_is_the_same_work() {
    let steps = |seed| format!("{:?}", Work::new(seed).steps);
    assert_eq!(steps(7), steps(7));
    assert_ne!(steps(7), steps(8));
}
