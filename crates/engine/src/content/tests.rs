//! Extents against a plain array of bytes.

use super::*;
use proptest::prelude::*;

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
