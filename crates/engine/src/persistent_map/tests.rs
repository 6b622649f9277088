//! The map against `BTreeMap`, and clones that must not see each other.

use super::Map;
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
            prop_assert_eq!(map.len(), model.len());
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(map.from(|k| k.cmp(&300)).eq(model.range(300..)));
        }
    }
}

#[test]
fn ascending_keys_fill_nodes() {
    let mut map = Map::default();
    (0..100_000u32).for_each(|key| assert!(map.insert(key, ()).is_none()));
    assert!(map.iter().map(|(key, ())| *key).eq(0..100_000));
    (0..100_000u32).for_each(|key| assert!(map.remove(&key).is_some()));
    assert_eq!(map.iter().count(), 0);
}
