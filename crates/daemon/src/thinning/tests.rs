//! Policies over made-up snapshots.

use super::*;
use weald_engine::Point;
use weald_model::{SnapshotId, Timestamp, WorkspaceId};

fn snapshot(id: u64, secs: i64, occasion: Occasion, tags: &[&str]) -> Snapshot {
    Snapshot {
        id: SnapshotId(id),
        point: Point { log: WorkspaceId(1), seq: id },
        time: Timestamp::from_secs(secs),
        parent: None,
        note: String::new(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        occasion,
        seal: None,
    }
}

/// One each minute.
fn minutes(count: u64) -> Vec<Snapshot> {
    (0..count).map(|at| snapshot(at, at as i64 * 60, Occasion::Timer, &[])).collect()
}

fn left(policy: &Policy, snapshots: &[Snapshot]) -> Vec<u64> {
    let dropped: Vec<u64> = policy.dropped(snapshots).iter().map(|snapshot| snapshot.id.0).collect();
    snapshots.iter().map(|snapshot| snapshot.id.0).filter(|id| !dropped.contains(id)).collect()
}

#[test]
fn the_newest_of_each_hour_and_day_stay() {
    let keep = Keep { last: 2, hourly: 3, daily: 0 };
    assert_eq!(left(&Policy::Settings(keep), &minutes(240)), [119, 179, 238, 239]);
    let keep = Keep { last: 0, hourly: 0, daily: 10 };
    assert_eq!(left(&Policy::Settings(keep), &minutes(3000)), [1439, 2879, 2999]);
}

#[test]
fn what_was_asked_for_or_tagged_and_the_newest_always_stay() {
    let none = Policy::Settings(Keep { last: 0, hourly: 0, daily: 0 });
    let snapshots = [
        snapshot(1, 0, Occasion::Asked, &[]),
        snapshot(2, 1, Occasion::Timer, &["good"]),
        snapshot(3, 2, Occasion::Quiet, &[]),
        snapshot(4, 3, Occasion::BeforeRestore, &[]),
        snapshot(5, 4, Occasion::Timer, &[]),
    ];
    assert_eq!(left(&none, &snapshots), [1, 2, 5]);
}

#[test]
fn thinning_what_was_thinned_drops_nothing_more() {
    let policy = Policy::Settings(Keep { last: 5, hourly: 4, daily: 2 });
    let mut snapshots = minutes(5000);
    let kept = left(&policy, &snapshots);
    snapshots.retain(|snapshot| kept.contains(&snapshot.id.0));
    assert_eq!(left(&policy, &snapshots), kept);
    assert!(kept.len() <= 5 + 4 + 2);
}

#[test]
fn options_of_a_plan_take_asked_ones_too_but_never_the_tags_they_name() {
    let snapshots = [
        snapshot(1, 0, Occasion::Asked, &[]),
        snapshot(2, 10, Occasion::Asked, &["a"]),
        snapshot(3, 20, Occasion::Asked, &["b"]),
        snapshot(4, 10 * DAY_SECS, Occasion::Timer, &[]),
        snapshot(5, 11 * DAY_SECS, Occasion::Asked, &[]),
    ];
    let now = 11 * DAY_SECS + 5;
    let options = |keep_last, keep_days, tags: &[&str]| {
        let keep_tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Policy::Options(GcOptions { keep_last, keep_days, keep_tags }, now)
    };
    assert_eq!(left(&options(Some(1), None, &[]), &snapshots), [2, 3, 5]);
    assert_eq!(left(&options(Some(1), None, &["a"]), &snapshots), [2, 5]);
    assert_eq!(left(&options(None, Some(2), &[]), &snapshots), [2, 3, 4, 5]);
    assert_eq!(left(&options(Some(9), None, &[]), &snapshots), [1, 2, 3, 4, 5]);
}
