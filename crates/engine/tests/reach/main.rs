//! Giving content back against snapshots, forks, restores, writes and crashes: what stays is readable to the byte, and
//! what does not is told, never wrong.
//!
//! The lessons: a gc that deleted first and wrote tombstones after; one that took what a snapshot being written needs.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod home;
mod moves;
mod phases;
mod records;
mod threads;

use home::{Home, Step};
use proptest::prelude::*;

fn cases() -> ProptestConfig {
    let cases = std::env::var("WEALD_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(cases.unwrap_or(200)) }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (0usize..4, 0usize..3, 0u64..20_000, 1u32..20_000)
            .prop_map(|(stem, file, offset, len)| Step::Write { stem, file, offset, len }),
        6 => (0usize..4, 0usize..3, 0u64..20_000, 1u32..4_000)
            .prop_map(|(stem, file, offset, len)| Step::Write { stem, file, offset, len }),
        2 => (0usize..4, 0usize..3, 0u64..20_000).prop_map(|(stem, file, size)| Step::Truncate { stem, file, size }),
        2 => (0usize..4, 0usize..3, 0usize..3).prop_map(|(stem, from, to)| Step::Copy { stem, from, to }),
        4 => (0usize..4).prop_map(|stem| Step::Snapshot { stem }),
        3 => (0usize..4, any::<usize>()).prop_map(|(stem, which)| Step::Drop { stem, which }),
        2 => (0usize..4).prop_map(|stem| Step::Fork { stem }),
        2 => (0usize..4, any::<usize>()).prop_map(|(stem, which)| Step::ForkAt { stem, which }),
        2 => (0usize..4, any::<usize>()).prop_map(|(stem, which)| Step::Restore { stem, which }),
        1 => (0usize..4).prop_map(|stem| Step::Undo { stem }),
        1 => (0usize..4).prop_map(|stem| Step::Sync { stem }),
        1 => Just(Step::Restart),
        2 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
        3 => (0usize..4).prop_map(|stem| Step::Move { stem }),
        3 => (0usize..4, any::<usize>()).prop_map(|(stem, which)| Step::Seal { stem, which }),
        2 => Just(Step::DropChunks),
        1 => (0u64..20, any::<u64>()).prop_map(|(call, seed)| Step::DropChunksCrash { call, seed }),
        3 => (0usize..4, 0u64..14, any::<u64>()).prop_map(|(stem, call, seed)| Step::MoveCrash { stem, call, seed }),
        5 => (0i64..30, 0u64..60_000).prop_map(|(secs, bytes)| Step::Gc { secs, bytes }),
        3 => (0i64..10, 0u64..12, any::<u64>()).prop_map(|(secs, call, seed)| Step::GcCrash { secs, call, seed }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The same without power cuts, and giving back in its phases between them.
fn steps_between_phases() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0usize..4, 0usize..3, 0u64..20_000, 4_000u32..20_000)
            .prop_map(|(stem, file, offset, len)| Step::Write { stem, file, offset, len }),
        5 => (0usize..4, 0usize..3, 0u64..20_000, 1u32..4_000)
            .prop_map(|(stem, file, offset, len)| Step::Write { stem, file, offset, len }),
        1 => (0usize..4, 0usize..3, 0u64..20_000).prop_map(|(stem, file, size)| Step::Truncate { stem, file, size }),
        2 => (0usize..4, 0usize..3, 0usize..3).prop_map(|(stem, from, to)| Step::Copy { stem, from, to }),
        4 => (0usize..4).prop_map(|stem| Step::Snapshot { stem }),
        4 => (0usize..4, any::<usize>()).prop_map(|(stem, which)| Step::Drop { stem, which }),
        1 => (0usize..4).prop_map(|stem| Step::Fork { stem }),
        1 => (0usize..4, any::<usize>()).prop_map(|(stem, which)| Step::ForkAt { stem, which }),
        1 => (0usize..4, any::<usize>()).prop_map(|(stem, which)| Step::Restore { stem, which }),
        1 => (0usize..4).prop_map(|stem| Step::Undo { stem }),
        1 => Just(Step::Restart),
        2 => (0usize..4).prop_map(|stem| Step::Move { stem }),
        2 => (0usize..4, any::<usize>()).prop_map(|(stem, which)| Step::Seal { stem, which }),
        2 => Just(Step::DropChunks),
        12 => (0i64..12).prop_map(|secs| Step::GcPhase { secs }),
    ];
    proptest::collection::vec(step, 10..80)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_is_done_between_the_phases_of_giving_back_everything_that_stays_is_whole(
        steps in steps_between_phases(),
    ) {
        let mut home = Home::new();
        for step in &steps {
            home.take(step);
        }
        home.check();
    }

    #[test]
    fn whatever_is_given_back_everything_that_stays_is_readable_to_the_byte(steps in steps()) {
        let mut home = Home::new();
        for step in &steps {
            home.take(step);
        }
        home.check();
        prop_assert_eq!(home.problems(), Vec::<String>::new());
    }
}

#[test]
fn overwritten_content_is_given_back_and_a_point_that_needs_it_says_so() {
    let mut home = Home::new();
    for _ in 0..3 {
        home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
    }
    let old = home.points(0)[1];
    assert!(home.stem(0).past(old).is_ok());
    let given = home.gc(0, u64::MAX, |_| ());
    assert!(given.unwrap() >= 32_768, "two of three writes");
    assert_eq!(home.stem(0).past(old).map(drop), Err(weald_model::Errno::Stale));
    home.check();
    home.take(&Step::Restart);
    assert_eq!(home.stem(0).past(old).map(drop), Err(weald_model::Errno::Stale));
    assert_eq!(home.gc(0, u64::MAX, |_| ()), Ok(0), "there is nothing left to give back");
    home.check();
}

#[test]
fn the_window_keeps_every_moment_in_it_and_its_size_bounds_it() {
    let mut home = Home::new();
    for _ in 0..10 {
        home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
    }
    assert_eq!(home.gc(1000, u64::MAX, |_| ()), Ok(0));
    // Room for two of the writes: seven of the ten can go, and the state before the two.
    let given = home.gc(1000, 45_000, |_| ()).unwrap();
    assert!((7 * 16_384..8 * 20_480).contains(&given), "{given}");
    home.check();
}

#[test]
fn what_a_fork_reads_of_its_parent_stays() {
    let mut home = Home::new();
    home.take(&Step::Write { stem: 0, file: 1, offset: 0, len: 15_000 });
    home.take(&Step::Fork { stem: 0 });
    home.take(&Step::Write { stem: 0, file: 1, offset: 0, len: 15_000 });
    assert_eq!(home.gc(0, u64::MAX, |_| ()), Ok(0));
    home.take(&Step::Write { stem: 1, file: 1, offset: 0, len: 15_000 });
    assert!(home.gc(0, u64::MAX, |_| ()).unwrap() > 0, "now nobody reads it");
    home.check();
}

#[test]
fn a_past_brought_back_between_looking_and_giving_back_refuses_and_loses_nothing() {
    let mut home = Home::new();
    home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
    home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
    let (first, model) = home.recorded(0, 0);
    let workspace = home.stem(0).clone();
    let past = workspace.past(first).unwrap();
    let given = home.gc(0, u64::MAX, |_| {
        workspace.restore(&home::USER, &past, &[]).unwrap();
    });
    assert_eq!(given, Err(weald_model::Errno::Busy));
    home.present_is(0, model);
    home.check();
}

/// A state inside the window may show what is older than the window, because a restore brought it back there.
#[test]
fn what_a_restore_inside_the_window_brought_back_stays() {
    let mut home = Home::new();
    let write = |home: &mut Home, len| home.take(&Step::Write { stem: 0, file: 0, offset: 0, len });
    write(&mut home, 20_000);
    write(&mut home, 19_000);
    write(&mut home, 18_000);
    home.take(&Step::Restore { stem: 0, which: 1 });
    let (restored, model) = home.recorded(0, 3);
    home.take(&Step::Restore { stem: 0, which: 3 });
    // Room for none of the writes: the window begins with the last of them.
    home.gc(1000, 0, |_| ()).unwrap();
    home.is_at(0, restored, &model);
    home.check();
}

/// A power cut may take the record that made content needless, and leave the one that says it is given back.
#[test]
fn no_failure_and_power_cut_takes_what_an_unsynced_restore_no_longer_needed() {
    for (call, seed) in (0..14).flat_map(|call| (0..24).map(move |seed| (call, seed))) {
        let mut home = Home::new();
        home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
        home.take(&Step::Fork { stem: 0 });
        home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
        home.take(&Step::Sync { stem: 0 });
        home.take(&Step::Sync { stem: 1 });
        home.take(&Step::Restore { stem: 1, which: 0 });
        home.take(&Step::GcCrash { secs: 0, call, seed });
    }
}

/// Lesson: a gc against a snapshot being written.
#[test]
fn a_snapshot_taken_between_looking_and_giving_back_is_whole() {
    let mut home = Home::new();
    home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
    home.take(&Step::Write { stem: 0, file: 0, offset: 5_000, len: 9_000 });
    let workspace = home.stem(0).clone();
    let mut taken = None;
    home.gc(0, u64::MAX, |_| {
        let id = weald_model::SnapshotId(77);
        let occasion = weald_engine::Occasion::Asked;
        taken = Some(workspace.snapshot(&home::USER, id, "", &[], occasion).unwrap());
    })
    .unwrap();
    let (_, model) = home.recorded(0, 1);
    home.is_at(0, taken.unwrap().point, &model);
    home.check();
}

/// Content that was put and moved while others looked for what nobody reaches.
#[test]
fn content_moved_between_looking_and_giving_back_stays_in_a_snapshot_taken_meanwhile() {
    let mut home = Home::new();
    let write = |home: &mut Home, len| home.take(&Step::Write { stem: 0, file: 0, offset: 0, len });
    write(&mut home, 20_000);
    (0..2).for_each(|_| home.next_phase(0));
    write(&mut home, 19_000);
    home.take(&Step::Snapshot { stem: 0 });
    home.take(&Step::Move { stem: 0 });
    write(&mut home, 18_000);
    (0..2).for_each(|_| home.next_phase(0));
    let taken = home.stem(0).snapshots()[0].point;
    assert!(home.stem(0).past(taken).is_ok(), "a listed snapshot is whole");
}

/// Bad input: a clock that goes backwards.
#[test]
fn a_clock_that_was_set_back_lets_the_window_keep_more_and_never_less() {
    let mut home = Home::new();
    let write = |home: &mut Home, len| home.take(&Step::Write { stem: 0, file: 0, offset: 0, len });
    write(&mut home, 20_000);
    home.take(&Step::Snapshot { stem: 0 });
    let year_ago = weald_testkit::clock::START_SECS - 365 * 86_400;
    home.clock.set(weald_model::Timestamp::from_secs(year_ago));
    write(&mut home, 19_000);
    write(&mut home, 18_000);
    let all: Vec<_> = (0..4).map(|number| home.recorded(0, number)).collect();
    assert_eq!(home.gc(10, u64::MAX, |_| ()), Ok(0));
    all.iter().for_each(|(point, model)| home.is_at(0, *point, model));
    home.take(&Step::Restore { stem: 0, which: 1 });
    home.take(&Step::Undo { stem: 0 });
    home.take(&Step::Restart);
    // Set right again: what is older than the window goes, snapshots and the present stay.
    home.clock.set(weald_model::Timestamp::from_secs(weald_testkit::clock::START_SECS + 86_400));
    home.gc(10, u64::MAX, |_| ()).unwrap();
    home.check();
}
