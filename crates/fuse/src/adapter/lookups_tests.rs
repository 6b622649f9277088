//! Counts, exact through every size.

use super::*;

#[test]
fn the_last_reference_is_told_once() {
    let lookups = Lookups::default();
    lookups.add(7);
    lookups.add(7);
    assert_eq!(lookups.count(7), 2);
    assert!(!lookups.take(7, 1));
    assert!(lookups.take(7, 1));
    assert!(!lookups.take(7, 1), "nothing is left to take");
    assert!(!lookups.take(8, 1));
    assert_eq!(lookups.count(7), 0);
}

#[test]
fn counts_beyond_a_byte_are_exact() {
    let lookups = Lookups::default();
    for _ in 0..1000 {
        lookups.add(1 << 32);
    }
    assert_eq!(lookups.count(1 << 32), 1000);
    assert!(!lookups.take(1 << 32, 700));
    assert_eq!(lookups.count(1 << 32), 300);
    assert!(!lookups.take(1 << 32, 100));
    assert_eq!(lookups.count(1 << 32), 200);
    for _ in 0..100 {
        lookups.add(1 << 32);
    }
    assert_eq!(lookups.count(1 << 32), 300);
    assert!(lookups.take(1 << 32, 300));
    assert_eq!(lookups.count(1 << 32), 0);
}

#[test]
fn forgetting_too_much_leaves_nothing_negative() {
    let lookups = Lookups::default();
    lookups.add(3);
    assert!(lookups.take(3, u64::MAX));
    lookups.add(3);
    assert_eq!(lookups.count(3), 1);
}

#[test]
fn nothing_held_takes_no_memory() {
    let lookups = Lookups::default();
    for node in (0..100_000).chain([u64::MAX]) {
        lookups.add(node);
    }
    let pages = || lookups.shards.iter().map(|shard| shard.lock().unwrap().pages.len()).sum::<usize>();
    assert_eq!(pages(), 99);
    for node in (0..100_000).chain([u64::MAX]) {
        assert!(lookups.take(node, 1));
    }
    assert_eq!(pages(), 0);
    lookups.add(5);
    lookups.clear();
    assert_eq!(lookups.count(5), 0);
}

#[test]
fn pages_spread_over_the_shards() {
    let lookups = Lookups::default();
    for page in 0..64 {
        lookups.add(page * PAGE_NODES);
    }
    let used = lookups.shards.iter().filter(|shard| !shard.lock().unwrap().pages.is_empty()).count();
    assert!(used > SHARDS / 2, "{used}");
}
