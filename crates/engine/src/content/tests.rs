//! Extents against a plain array of bytes, and against a list of extents that are kept one by one.

use super::runs::RUN_EXTENTS_MAX;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use weald_model::WorkspaceId;

const SIZE: u64 = 200;

proptest! {
    #[test]
    fn pieces_say_what_an_array_of_bytes_says(
        steps in prop::collection::vec((0u8..4, 0..SIZE, 1u64..60), 0..60),
    ) {
        // Each cell: None is a hole, Some((origin, position in it)).
        let mut model: Vec<Option<(u64, u64)>> = vec![None; SIZE as usize + 60];
        let mut content = Content::default();
        for (step, (what, from, len)) in steps.into_iter().enumerate() {
            let range = from as usize..(from + len) as usize;
            match what {
                0 | 1 => {
                    let origin = 1 + step as u64;
                    content.put(from, Extent { len, skip: 0, origin: Origin::Base(Ino(origin)) });
                    range.for_each(|at| model[at] = Some((origin, at as u64 - from)));
                }
                2 => {
                    content.punch(from, from + len);
                    range.for_each(|at| model[at] = None);
                }
                _ => {
                    content.allocate(from, from + len);
                    range.for_each(|at| { model[at].get_or_insert((0, 0)); });
                }
            }
            let mut seen = Vec::new();
            for piece in content.pieces(0, model.len() as u64) {
                prop_assert_eq!(piece.offset, seen.len() as u64);
                for at in 0..piece.len {
                    seen.push(piece.extent.as_ref().map(|extent| match extent.origin {
                        Origin::Base(Ino(origin)) => (origin, extent.skip + at),
                        _ => (0, 0),
                    }));
                }
            }
            prop_assert_eq!(&seen, &model);
            prop_assert_eq!(content.allocated(), model.iter().flatten().count() as u64);
            let data = |at: usize| model[at].is_some_and(|(origin, _)| origin != 0);
            let next_data = (from as usize..SIZE as usize).find(|at| data(*at)).map(|at| at as u64);
            let next_hole = (from as usize..SIZE as usize).find(|at| !data(*at)).map_or(SIZE, |at| at as u64);
            prop_assert_eq!(content.next_data(from, SIZE), next_data);
            prop_assert_eq!(content.next_hole(from, SIZE), next_hole);
        }
    }
}

/// What packing must not be noticed beside: extents one by one.
#[derive(Clone, Default)]
struct Plain(BTreeMap<u64, Extent>);

impl Plain {
    fn punch(&mut self, from: u64, to: u64) {
        let met: Vec<u64> = self.0.range(..to).map(|(start, _)| *start).collect();
        for start in met {
            let extent = self.0[&start].clone();
            let end = start + extent.len;
            if end <= from {
                continue;
            }
            self.0.remove(&start);
            if start < from {
                self.0.insert(start, Extent { len: from - start, ..extent.clone() });
            }
            if end > to {
                let cut = to.saturating_sub(start);
                self.0.insert(
                    start + cut,
                    Extent { len: end - start - cut, skip: extent.skip + cut, ..extent },
                );
            }
        }
    }

    fn put(&mut self, from: u64, extent: Extent) {
        self.punch(from, from + extent.len);
        self.0.insert(from, extent);
    }

    /// Where each byte comes from.
    fn bytes(&self) -> BTreeMap<u64, (Origin, u64)> {
        let bytes = |(start, extent): (&u64, &Extent)| {
            let (start, Extent { len, skip, origin }) = (*start, extent.clone());
            (0..len).map(move |at| (start + at, (origin.clone(), skip + at)))
        };
        self.0.iter().flat_map(bytes).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// So many pieces of a length behind each other.
    Write {
        log: u64,
        from: u64,
        len: u64,
        pieces: u64,
    },
    Base {
        from: u64,
        len: u64,
    },
    Allocate {
        from: u64,
        len: u64,
    },
    Punch {
        from: u64,
        len: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let from = 0u64..4000;
    prop_oneof![
        6 => (1u64..3, from.clone(), 1u64..40, 1u64..60)
            .prop_map(|(log, from, len, pieces)| Step::Write { log, from, len, pieces }),
        6 => (1u64..3, from.clone(), 1u64..40)
            .prop_map(|(log, from, len)| Step::Write { log, from, len, pieces: 1 }),
        1 => (from.clone(), 1u64..300).prop_map(|(from, len)| Step::Base { from, len }),
        1 => (from.clone(), 1u64..300).prop_map(|(from, len)| Step::Allocate { from, len }),
        2 => (from, 1u64..600).prop_map(|(from, len)| Step::Punch { from, len }),
    ]
}

/// Places as a log gives them: ascending, now and then in another file, and far apart.
fn place(log: u64, number: u64) -> Place {
    let file = (number / 50) as u32 | if number.is_multiple_of(7) { Place::DATA } else { 0 };
    Place {
        log: WorkspaceId(u64::MAX - log),
        file,
        offset: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (number % 64),
    }
}

fn take_step(step: &Step, number: &mut u64, content: &mut Content, plain: &mut Plain) {
    match *step {
        Step::Write { log, from, len, pieces } => {
            for at in 0..pieces {
                *number += 1;
                let origin = Origin::Log(place(log, *number));
                let extent = Extent { len, skip: 0, origin };
                content.put(from + at * len, extent.clone());
                plain.put(from + at * len, extent);
            }
        }
        Step::Base { from, len } => {
            let extent = Extent { len, skip: 3, origin: Origin::Base(Ino(1)) };
            content.put(from, extent.clone());
            plain.put(from, extent);
        }
        Step::Allocate { from, len } => {
            for piece in content.pieces(from, from + len) {
                if piece.extent.is_none() {
                    plain.put(piece.offset, Extent { len: piece.len, skip: 0, origin: Origin::Zero });
                }
            }
            content.allocate(from, from + len);
        }
        Step::Punch { from, len } => {
            content.punch(from, from + len);
            plain.punch(from, from + len);
        }
    }
}

fn runs_are_right(content: &Content) {
    let mut end = 0;
    for (start, run) in content.runs.iter() {
        assert!(*start >= end, "runs overlap");
        let extents: Vec<(u64, Extent)> = run.extents(*start).collect();
        assert!((1..=RUN_EXTENTS_MAX).contains(&extents.len()));
        assert_eq!(extents[0].0, *start);
        end = start + run.span();
        assert_eq!(extents.last().map(|(at, extent)| at + extent.len), Some(end));
    }
}

proptest! {
    #[test]
    fn packed_extents_are_those_that_were_put_whatever_was_written_over(
        before in prop::collection::vec(step(), 0..60),
        after in prop::collection::vec(step(), 0..12),
    ) {
        let (mut content, mut plain, mut number) = (Content::default(), Plain::default(), 0);
        for step in &before {
            take_step(step, &mut number, &mut content, &mut plain);
            runs_are_right(&content);
        }
        let (old, old_plain) = (content.clone(), plain.clone());
        for step in &after {
            take_step(step, &mut number, &mut content, &mut plain);
        }
        runs_are_right(&content);
        for (content, plain) in [(&content, &plain), (&old, &old_plain)] {
            prop_assert!(content.iter().eq(plain.0.iter().map(|(at, extent)| (*at, extent.clone()))));
            let bytes = |is_counted: &dyn Fn(&Extent) -> bool| -> u64 {
                plain.0.values().filter(|extent| is_counted(extent)).map(|extent| extent.len).sum()
            };
            prop_assert_eq!(content.allocated(), bytes(&|_| true));
            prop_assert_eq!(content.private(), bytes(&|extent| extent.origin.is_private()));
            // Made of the same extents in one go it has other runs, and is the same.
            let mut anew = Content::default();
            content.iter().for_each(|(at, extent)| anew.put(at, extent));
            prop_assert!(anew.is_same(content) && content.is_same(&anew));
            prop_assert!(anew.differences(content).is_empty());
        }
        let (mine, theirs) = (old_plain.bytes(), plain.bytes());
        prop_assert_eq!(old.is_same(&content), old_plain.0 == plain.0);
        let told: Vec<u64> = old.differences(&content).into_iter().flatten().collect();
        let is_zero = |byte: Option<&(Origin, u64)>| byte.is_some_and(|(origin, _)| *origin == Origin::Zero);
        let differs = |at: &u64| mine.get(at) != theirs.get(at) && !(is_zero(mine.get(at)) && is_zero(theirs.get(at)));
        prop_assert_eq!(told, (0..8000).filter(differs).collect::<Vec<u64>>());
        let mut shown = Vec::new();
        content.extents_since(Some(&old), &mut |extent| shown.push(extent.clone()));
        let olds: Vec<Extent> = old.iter().map(|(_, extent)| extent).collect();
        for (_, extent) in content.iter() {
            prop_assert!(shown.contains(&extent) || olds.contains(&extent));
        }
    }
}

#[test]
fn small_writes_in_order_fill_runs_and_those_at_random_leave_them_half_full() {
    let extent = |number: u64| {
        let place = Place { log: WorkspaceId(1), file: 3, offset: number * 4136 };
        Extent { len: 4096, skip: 0, origin: Origin::Log(place) }
    };
    let count = 20_000;
    let mut content = Content::default();
    (0..count).for_each(|number| content.put(number * 4096, extent(number)));
    assert_eq!(content.runs.len(), (count as usize).div_ceil(RUN_EXTENTS_MAX));
    for number in count..3 * count {
        content.put(number.wrapping_mul(2_654_435_761) % count * 4096, extent(number));
    }
    assert_eq!(content.iter().count() as u64, count);
    assert!(content.runs.len() <= count as usize / (RUN_EXTENTS_MAX / 2), "{} runs", content.runs.len());
}
