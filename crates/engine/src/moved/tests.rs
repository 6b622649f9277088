//! Tables of moved content: bytes and look-ups.

use super::*;
use proptest::prelude::*;

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let part = (any::<[u8; 32]>(), 0u32..1000, 1u32..100_000);
    let part = part.prop_map(|(chunk, skip, len)| Part { chunk, skip, len });
    let entry = (any::<u32>(), any::<u64>(), prop::collection::vec(part, 0..4))
        .prop_map(|(file, offset, parts)| Entry { file, offset, parts });
    prop::collection::vec(entry, 0..6).prop_map(|mut entries| {
        entries.sort_by_key(|entry| (entry.file, entry.offset));
        entries.dedup_by_key(|entry| (entry.file, entry.offset));
        entries
    })
}

proptest! {
    #[test]
    fn a_table_decodes_to_what_was_encoded(entries in entries()) {
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| Table::encode(entry, &mut bytes));
        prop_assert_eq!(Table::decode(&bytes).unwrap(), Table { entries });
    }

    #[test]
    fn random_bytes_are_a_table_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Table::decode(&bytes);
    }
}

#[test]
fn a_place_is_in_a_table_when_its_piece_is() {
    let mut log = MovedLog::default();
    log.add([1; 32], &[Piece { file: 7, from: 80, to: 200 }, Piece { file: 7, from: 300, to: 400 }]);
    log.add([2; 32], &[Piece { file: 8, from: 80, to: 100 }]);
    assert_eq!(log.table(7, 88), Some([1; 32]));
    assert_eq!(log.table(7, 200), None);
    assert_eq!(log.table(7, 308), Some([1; 32]));
    assert_eq!(log.table(8, 88), Some([2; 32]));
    assert_eq!((log.table(8, 40), log.table(9, 88)), (None, None));
    assert_eq!(log.pieces().iter().count(), 3);
}
