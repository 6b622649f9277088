//! Where content is cut into chunks: content-defined, so that a change moves the cuts near it and no others.
//!
//! FastCDC with a gear hash of its own: the format names every constant, so that no dependency can change it.
//! Invariant: whether there is a cut behind a byte depends on the bytes from the cut before up to that byte, and, at the
//! end of data, on its being the end. Read next: `recipe`, which relies on it to cut only what changed.

use std::sync::LazyLock;

/// No chunk is smaller, but the last of a run. What lies before is not looked at: a third of all bytes is.
pub(crate) const CUT_BYTES_MIN: usize = 48 << 10;
/// From here on a cut is easier: most chunks end within 32 KiB behind it.
const CUT_BYTES_NORMAL: usize = 56 << 10;
/// No chunk is larger.
pub(crate) const CUT_BYTES_MAX: usize = 256 << 10;
/// Bytes that the hash at a byte depends on: it starts so many before the first possible cut.
const WINDOW_BYTES: usize = 64;
/// Bits of the hash that are zero at a cut: 17 before the normal size, 14 behind it.
const MASK_BEFORE: u64 = 0xffff_8000_0000_0000;
const MASK_BEHIND: u64 = 0xfffc_0000_0000_0000;

/// What each byte adds to the hash, and twice that, so that two bytes are one step of the chain of dependent operations.
type Gear = ([u64; 256], [u64; 256]);

/// BLAKE3 in its key derivation mode, read as little-endian numbers.
static GEAR: LazyLock<Gear> = LazyLock::new(|| {
    let mut bytes = [0; 2048];
    blake3::Hasher::new_derive_key("weald 2026 gear table of content-defined cuts")
        .finalize_xof()
        .fill(&mut bytes);
    let mut gear = [0; 256];
    for (number, word) in gear.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *number = u64::from_le_bytes(*word);
    }
    (gear, gear.map(|number| number << 1))
});

/// The length of the first chunk of `data`. When `data` does not reach the end of its run, it must have at least
/// [`CUT_BYTES_MAX`] bytes.
pub(crate) fn first_cut(data: &[u8]) -> usize {
    if data.len() <= CUT_BYTES_MIN {
        return data.len();
    }
    let gear = &*GEAR;
    let end = data.len().min(CUT_BYTES_MAX);
    let normal = end.min(CUT_BYTES_NORMAL);
    let mut hash = 0u64;
    for byte in &data[CUT_BYTES_MIN - WINDOW_BYTES..CUT_BYTES_MIN] {
        hash = (hash << 1).wrapping_add(gear.0[usize::from(*byte)]);
    }
    let before = search(&data[CUT_BYTES_MIN..normal], &mut hash, MASK_BEFORE, gear);
    let found = before.map(|at| CUT_BYTES_MIN + at);
    let behind = || search(&data[normal..end], &mut hash, MASK_BEHIND, gear).map(|at| normal + at);
    found.or_else(behind).unwrap_or(end)
}

/// How many bytes there are up to the first behind which there is a cut.
fn search(data: &[u8], hash: &mut u64, mask: u64, (gear, twice): &Gear) -> Option<usize> {
    let (pairs, rest) = data.as_chunks::<2>();
    for (at, [one, other]) in pairs.iter().enumerate() {
        let between = (*hash << 1).wrapping_add(gear[usize::from(*one)]);
        let both = twice[usize::from(*one)].wrapping_add(gear[usize::from(*other)]);
        *hash = (*hash << 2).wrapping_add(both);
        if between & mask == 0 {
            return Some(2 * at + 1);
        }
        if *hash & mask == 0 {
            return Some(2 * at + 2);
        }
    }
    for byte in rest {
        *hash = (*hash << 1).wrapping_add(gear[usize::from(*byte)]);
    }
    (!rest.is_empty() && *hash & mask == 0).then_some(data.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weald_testkit::clock::mix;

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        (0..len as u64 / 8 + 1)
            .flat_map(|at| mix(seed.wrapping_mul(0x9e37) + at).to_le_bytes())
            .take(len)
            .collect()
    }

    fn cuts(data: &[u8]) -> Vec<usize> {
        let (mut cuts, mut at) = (Vec::new(), 0);
        while at < data.len() {
            at += first_cut(&data[at..]);
            cuts.push(at);
        }
        cuts
    }

    /// A change of any constant changes what equal content is stored as.
    #[test]
    fn cuts_are_for_ever_the_same() {
        assert_eq!(cuts(&noise(1 << 20, 1)), GOLDEN);
        assert_eq!(cuts(&vec![0; 600 << 10]), [256 << 10, 512 << 10, 600 << 10]);
    }

    const GOLDEN: [usize; 15] = [
        86155, 177978, 278805, 345369, 405961, 471627, 547401, 605716, 683806, 742024, 821405, 872806,
        924850, 978181, 1048576,
    ];

    #[test]
    fn chunks_are_about_70_kib_and_a_change_moves_only_cuts_near_it() {
        let data = noise(16 << 20, 2);
        let before = cuts(&data);
        assert!((180..280).contains(&before.len()), "{}", before.len());
        let mut changed = data.clone();
        changed.splice(5 << 20..5 << 20, *b"inserted");
        let after: Vec<usize> = cuts(&changed);
        let moved = |cut: &usize| if *cut > 5 << 20 { cut - 8 } else { *cut };
        let kept = after.iter().filter(|cut| before.contains(&moved(cut))).count();
        assert!(kept + 8 > after.len(), "{kept} of {}", after.len());
    }
}
