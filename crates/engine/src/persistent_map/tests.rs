//! The map against `BTreeMap`, and clones that must not see each other.

use super::{Map, Node};
use proptest::prelude::*;
use std::collections::BTreeMap;

proptest! {
    #[test]
    fn behaves_like_a_btree_map_and_clones_are_independent(
        steps in prop::collection::vec((0u8..4, 0u16..600, any::<u32>()), 0..1500),
    ) {
        let mut map = Map::default();
        let mut model = BTreeMap::new();
        let mut kept = Vec::new();
        for (what, key, value) in steps {
            match what {
                0 | 1 => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                2 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                _ if kept.len() < 8 => kept.push((map.clone(), model.clone())),
                _ => {
                    if let Some(stored) = map.get_mut(&key) { *stored = value; }
                    if let Some(stored) = model.get_mut(&key) { *stored = value; }
                }
            }
            let before: Option<(&u16, &u32)> = map.last_at_or_before(|k| k.cmp(&key));
            prop_assert_eq!(before, model.range(..=key).next_back());
        }
        kept.push((map, model));
        for (map, model) in &kept {
            first_keys_are_right(&map.root);
            prop_assert_eq!(map.len(), model.len());
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(map.from(|k| k.cmp(&300)).eq(model.range(300..)));
        }
    }
}

proptest! {
    #[test]
    fn unshared_tells_every_difference_in_order(
        first in prop::collection::vec((any::<bool>(), 0u16..3000), 0..2500),
        second in prop::collection::vec((any::<bool>(), 0u16..3000), 0..300),
        third in prop::collection::vec((any::<bool>(), 0u16..3000), 0..300),
    ) {
        let change = |map: &mut Map<u16, u32>, steps: &[(bool, u16)], value: u32| {
            for (insert, key) in steps {
                if *insert { map.insert(*key, value); } else { map.remove(key); }
            }
        };
        let mut common = Map::default();
        change(&mut common, &first, 0);
        let (mut left, mut right) = (common.clone(), common);
        change(&mut left, &second, 1);
        change(&mut right, &third, 2);
        let (a, b): (BTreeMap<_, _>, BTreeMap<_, _>) = (left.iter().collect(), right.iter().collect());
        let keys: std::collections::BTreeSet<u16> = a.keys().chain(b.keys()).map(|key| **key).collect();
        let wanted: Vec<u16> = keys.into_iter().filter(|key| a.get(key) != b.get(key)).collect();
        let mut told = Vec::new();
        left.unshared(&right, &mut |key, one, other| {
            assert_eq!((one, other), (a.get(key).copied(), b.get(key).copied()));
            if one != other { told.push(*key); }
            true
        });
        prop_assert_eq!(told, wanted);
    }
}

#[test]
fn unshared_skips_what_is_shared() {
    let mut map = Map::default();
    (0..100_000u32).for_each(|key| assert!(map.insert(key, 0).is_none()));
    let mut other = map.clone();
    (0..100u32).for_each(|at| assert!(other.insert(at * 1000, 1).is_some()));
    let mut told = 0;
    map.unshared(&other, &mut |_, _, _| {
        told += 1;
        true
    });
    assert!((100..=100 * 32).contains(&told), "{told}");
    let mut none = 0;
    map.unshared(&map.clone(), &mut |_, _, _| {
        none += 1;
        true
    });
    assert_eq!(none, 0);
}

#[test]
fn ascending_keys_fill_nodes() {
    let mut map = Map::default();
    (0..100_000u32).for_each(|key| assert!(map.insert(key, ()).is_none()));
    assert!(map.iter().map(|(key, ())| *key).eq(0..100_000));
    (0..100_000u32).for_each(|key| assert!(map.remove(&key).is_some()));
    assert_eq!(map.iter().count(), 0);
}

/// Each child is not empty and known by its first key.
fn first_keys_are_right(node: &Node<u16, u32>) {
    if let Node::Inner(children) = node {
        for (first, child) in children {
            assert!(child.len() > 0);
            assert_eq!(first, child.first_key());
            first_keys_are_right(child);
        }
    }
}

/// Entries of leaves, and what there is room for in them.
fn room<V: Clone>(node: &Node<u32, V>) -> (usize, usize) {
    match node {
        Node::Leaf(entries) => (entries.len(), entries.capacity()),
        Node::Inner(children) => children.iter().fold((0, 0), |(len, all), (_, child)| {
            let (more, room) = room(child);
            (len + more, all + room)
        }),
    }
}

#[test]
fn leaves_take_little_more_room_than_what_is_in_them() {
    let mut one = Map::default();
    one.insert(1u32, [0u64; 8]);
    assert_eq!(room(&one.root), (1, 1));
    let mut ascending = Map::default();
    (0..100_000u32).for_each(|key| assert!(ascending.insert(key, 0u64).is_none()));
    let (len, all) = room(&ascending.root);
    assert!(all * 100 <= len * 105, "{all} for {len}");
    // Clones that others keep, as states of the past are: what is copied to be changed grows again.
    let (mut mixed, mut kept) = (Map::default(), Vec::new());
    for at in 0..100_000u32 {
        mixed.insert(at.wrapping_mul(2_654_435_761), 0u64);
        if at % 10_000 == 0 {
            kept.push(mixed.clone());
        }
    }
    let (len, all) = room(&mixed.root);
    assert!(all * 100 <= len * 180, "{all} for {len}");
}
