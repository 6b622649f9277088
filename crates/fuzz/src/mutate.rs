//! Changes of inputs, reproducible from a seed, for runs that are not guided.
//!
//! Invariant: the same inputs and seed give the same changes. Each is small, since most of what is wrong is wrong in one place.

/// Longest input that is made.
const BYTES_MAX: usize = 4096;
/// Numbers on which lengths and counts turn.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// A stream of changed inputs.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Begins a stream.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number below `end`; 0 below 0.
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % end.max(1) as u64) as usize
    }

    /// One of the inputs with one to four changes.
    pub fn change(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = match inputs.get(self.below(inputs.len())) {
            Some(input) => input.clone(),
            None => Vec::new(),
        };
        for _ in 0..=self.below(4) {
            self.step(&mut bytes, inputs);
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }

    fn step(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(bytes.len());
        let len = self.below(bytes.len() - at.min(bytes.len())) + 1;
        match self.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + len).min(bytes.len()))),
            4 => {
                let copy = bytes[at..(at + len).min(bytes.len())].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            5 => {
                let edge = EDGES[self.below(EDGES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&edge[..width]);
            }
            _ => {
                let Some(other) = inputs.get(self.below(inputs.len())) else { return };
                bytes.truncate(at);
                bytes.extend_from_slice(&other[self.below(other.len()).min(other.len())..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_changes_and_another_others() {
        let inputs = vec![b"one input".to_vec(), b"another".to_vec(), Vec::new()];
        let stream = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..500).map(|_| mutator.change(&inputs)).collect::<Vec<_>>()
        };
        assert_eq!(stream(1), stream(1));
        assert_ne!(stream(1), stream(2));
        assert!(stream(3).iter().any(|bytes| !inputs.contains(bytes)));
    }
}
