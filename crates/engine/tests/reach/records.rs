//! Giving up the first records of logs: what stays is readable to the byte, what went is told, and no crash loses any.

use crate::home::{Home, Step};
use std::sync::Arc;
use weald_engine::Workspace;
use weald_engine::reach::{Reach, Unreached};
use weald_engine::shortening::Shortening;
use weald_model::{Errno, Result, Timestamp};
use weald_testkit::crash_disk::Failure;

/// What can go of the records of a family, once all that stays was named.
pub(crate) fn shortenings(reach: &mut Reach, family: &[Arc<Workspace>]) -> Vec<Shortening> {
    family.iter().filter_map(|workspace| reach.shorten(workspace).unwrap()).collect()
}

/// Gives all of it up; returns the bytes of disk.
pub(crate) fn give_up(unreached: &Unreached, shortenings: &[Shortening]) -> Result<u64> {
    let mut bytes = 0;
    for one in shortenings {
        bytes += unreached.give_up(one, &|work| work())?.expect("nobody reads");
    }
    Ok(bytes)
}

/// Small writes over several segments, and a sealed snapshot behind each dozen.
fn long(home: &mut Home, rounds: usize) {
    for round in 0..rounds {
        for number in 0..12 {
            let (file, offset) = (number % 3, (round * 500 + number * 700) as u64);
            home.take(&Step::Write { stem: 0, file, offset, len: 1_500 });
        }
        home.take(&Step::Snapshot { stem: 0 });
        let which = home.stem(0).snapshots().len() - 1;
        home.take(&Step::Seal { stem: 0, which });
    }
}

fn drop_all_but_the_last(home: &mut Home) {
    while home.stem(0).snapshots().len() > 1 {
        home.take(&Step::Drop { stem: 0, which: 0 });
    }
}

fn segments(home: &Home) -> usize {
    let files = home.disk().files();
    files.iter().filter(|(path, _)| path.to_string_lossy().contains("000001/log-")).count()
}

#[test]
fn records_that_no_state_which_stays_needs_go_and_what_stays_is_whole() {
    let mut home = Home::new();
    long(&mut home, 6);
    let old = home.points(0)[3];
    let head = home.stem(0).head();
    let before = segments(&home);
    // While snapshots list them they go as well: each is sealed, and can be had from that.
    home.gc(0, u64::MAX, |_| ()).unwrap();
    assert!(segments(&home) + 3 < before, "{before} segments, then {}", segments(&home));
    home.check();
    assert_eq!(home.problems(), Vec::<String>::new());
    assert_eq!(home.stem(0).past(old).map(drop), Err(Errno::Stale));
    let early = home.stem(0).snapshots()[0].time;
    assert_eq!(home.stem(0).point_at(early), Err(Errno::Stale));
    assert_eq!(home.stem(0).point_at(Timestamp::from_secs(1_600_000_100)), Ok(None), "before it was made");
    let given_up = home.stem(0).shared().given_up(home.stem(0).id()).unwrap().unwrap();
    assert!(given_up.seq > old.seq && given_up.seq < head.seq);
    home.take(&Step::Restart);
    home.check();
    assert_eq!(home.problems(), Vec::<String>::new());
    // And once more, further on; then also without the snapshots.
    long(&mut home, 3);
    home.gc(0, u64::MAX, |_| ()).unwrap();
    let now = home.stem(0).shared().given_up(home.stem(0).id()).unwrap().unwrap();
    assert!(now.seq > given_up.seq);
    drop_all_but_the_last(&mut home);
    home.gc(0, u64::MAX, |_| ()).unwrap();
    home.drop_chunks().unwrap();
    home.check();
    home.take(&Step::Restart);
    home.take(&Step::Restore { stem: 0, which: usize::MAX });
    home.check();
    assert_eq!(home.problems(), Vec::<String>::new());
}

#[test]
fn records_that_a_fork_a_window_or_a_restore_needs_stay() {
    for keep in 0..3 {
        let mut home = Home::new();
        if keep == 0 {
            home.take(&Step::Fork { stem: 0 });
        }
        long(&mut home, 6);
        if keep == 2 {
            // The record of the restore stays, and means nothing without the state it goes to.
            home.take(&Step::Restore { stem: 0, which: 2 });
            home.take(&Step::Sync { stem: 0 });
        }
        let before = segments(&home);
        home.gc(if keep == 1 { 1 << 40 } else { 0 }, u64::MAX, |_| ()).unwrap();
        assert_eq!(segments(&home), before, "case {keep}");
        home.take(&Step::Restart);
        home.check();
    }
}

#[test]
fn records_of_a_snapshot_that_a_fork_lists_unsealed_or_whose_chunks_went_stay() {
    let mut home = Home::new();
    for round in 0..5 {
        for number in 0..12 {
            home.take(&Step::Write { stem: 0, file: number % 3, offset: (round * 500) as u64, len: 1_500 });
        }
        home.take(&Step::Snapshot { stem: 0 });
    }
    home.take(&Step::Fork { stem: 0 });
    (0..5).for_each(|which| home.take(&Step::Seal { stem: 0, which }));
    let before = segments(&home);
    home.gc(0, u64::MAX, |_| ()).unwrap();
    // The first of them is the floor, and no later one: the fork was made before they were sealed.
    assert_eq!(segments(&home), before - 1);
    home.take(&Step::Restart);
    home.check();

    let mut home = Home::new();
    long(&mut home, 5);
    let listed = home.stem(0).present();
    (0..4).for_each(|_| home.take(&Step::Drop { stem: 0, which: 0 }));
    home.drop_chunks().unwrap();
    // It lists again what was dropped since, and has it from the records alone.
    let which = home.points(0).iter().position(|point| *point == listed).unwrap() + 1;
    home.take(&Step::ForkAt { stem: 0, which });
    assert_eq!(home.stem(1).snapshots().len(), 5);
    let before = segments(&home);
    home.gc(0, u64::MAX, |_| ()).unwrap();
    assert_eq!(segments(&home), before, "the chunks of what the fork lists are gone");
    home.take(&Step::Restart);
    home.check();
}

#[test]
fn what_is_brought_back_meanwhile_keeps_its_records() {
    let mut home = Home::new();
    long(&mut home, 6);
    let before = segments(&home);
    let workspace = home.stem(0).clone();
    let point = home.points(0)[3];
    let given = home.gc(0, u64::MAX, |_| workspace.hold(point, || ()).unwrap());
    assert_eq!(given, Err(Errno::Busy));
    assert_eq!(segments(&home), before);
    home.check();
}

#[test]
fn no_failure_and_power_cut_while_records_are_given_up_loses_any() {
    let mut is_through = false;
    for call in 0..60 {
        for seed in 0..3 {
            let mut home = Home::new();
            long(&mut home, 4);
            let disk = home.disk().clone();
            let done = home.gc(0, u64::MAX, |_| disk.fail_call(call, Failure::Io));
            is_through |= disk.clear_failure() && done.is_ok();
            home.take(&Step::Crash { seed });
            home.check();
            assert_eq!(home.problems(), Vec::<String>::new(), "call {call}");
            home.gc(0, u64::MAX, |_| ()).unwrap();
            home.check();
            assert_eq!(home.problems(), Vec::<String>::new(), "call {call}");
        }
    }
    assert!(is_through, "all calls were tried");
}
