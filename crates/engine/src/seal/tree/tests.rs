//! Trees against a sorted map, and each against one made in a single step.

use super::*;
use crate::seal::memory::Memory;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn made(objects: &Memory, model: &Model) -> Hash {
    let all = model.iter().map(|(key, value)| Ok((key.clone(), Some(value.clone()))));
    update(objects, None, all).expect("memory does not fail")
}

fn read(objects: &Memory, root: &Hash, from: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    walk(objects, root, from, &mut |key, value| {
        all.push((key.to_vec(), value.to_vec()));
        Ok(true)
    })
    .expect("what was made can be read");
    all
}

/// So few keys that changes meet, so many that there are pages of several levels.
fn key() -> impl Strategy<Value = Vec<u8>> {
    (0u32..3000).prop_map(|number| number.to_be_bytes().to_vec())
}

fn changes() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let value = prop_oneof![
        4 => Just(None),
        8 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        1 => Just(Some(vec![7; 3000])),
    ];
    prop::collection::vec((key(), value), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_tree_is_the_tree_of_what_is_in_it(rounds in prop::collection::vec(changes(), 1..6)) {
        let objects = Memory::default();
        let mut model = Model::new();
        let mut root = None;
        for round in rounds {
            let round: BTreeMap<_, _> = round.into_iter().collect();
            for (key, value) in &round {
                match value {
                    Some(value) => drop(model.insert(key.clone(), value.clone())),
                    None => drop(model.remove(key)),
                }
            }
            let next = update(&objects, root.as_ref(), round.into_iter().map(Ok)).expect("it can be changed");
            prop_assert_eq!(next, made(&Memory::default(), &model));
            let all: Vec<_> = model.clone().into_iter().collect();
            prop_assert_eq!(read(&objects, &next, &[]), all);
            root = Some(next);
        }
        let root = root.expect("there was a round");
        let from = 1500u32.to_be_bytes();
        let behind: Vec<_> = model.range(from.to_vec()..).map(|(key, value)| (key.clone(), value.clone())).collect();
        prop_assert_eq!(read(&objects, &root, &from), behind);
        for (key, value) in model.iter().take(20) {
            prop_assert_eq!(get(&objects, &root, key).expect("it is there"), Some(value.clone()));
        }
        prop_assert_eq!(get(&objects, &root, b"elsewhere").expect("it can be asked for"), None);
    }
}

#[test]
fn a_change_in_a_large_tree_makes_few_pages() {
    let objects = Memory::default();
    let model: Model = (0..100_000u32).map(|at| (at.to_be_bytes().to_vec(), vec![1; 20])).collect();
    let root = made(&objects, &model);
    let before = objects.len();
    assert!((1400..1900).contains(&before), "{before} pages");
    for at in [0u32, 50_000, 99_999] {
        let change = std::iter::once(Ok((at.to_be_bytes().to_vec(), Some(vec![2]))));
        update(&objects, Some(&root), change).expect("it can be changed");
    }
    assert!(objects.len() - before <= 3 * 4, "{} more", objects.len() - before);
}

#[test]
fn bytes_that_are_no_page_are_told() {
    let objects = Memory::default();
    for bytes in [
        &b""[..],
        b"\x00",
        b"\x00\x02\x01a\x00",
        b"\x00\x02\x01b\x00\x01a\x00",
        b"\x01\x01\x01a",
        b"\x44\x00",
        b"\x00\x00x",
    ] {
        let hash = objects.put(bytes).expect("memory does not fail");
        let read = walk(&objects, &hash, &[], &mut |_, _| Ok(true));
        assert!(matches!(read, Err(SealError::Malformed(..))), "{bytes:?}: {read:?}");
    }
}
