//! Decompression with contexts that are used again: to set one up costs as much as to decompress a small file.
//!
//! Invariant: no lock is held while anything is decompressed, and idle contexts are few.

use std::sync::{Mutex, PoisonError};
use zstd::bulk::Decompressor;

/// Contexts kept for reuse, 160 kB each: more threads than this seldom decompress at once.
const IDLE_MAX: usize = 8;

static IDLE: Mutex<Vec<Decompressor<'static>>> = Mutex::new(Vec::new());

/// The content of a zstd frame; None unless it has exactly `bytes`, which is what is allocated.
pub(crate) fn expand(frame: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut context = idle.map_or_else(|| Decompressor::new().ok(), Some)?;
    let content = context.decompress(frame, bytes).ok();
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if idle.len() < IDLE_MAX {
        idle.push(context);
    }
    drop(idle);
    content.filter(|content| content.len() == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_that_met_damage_expands_what_comes_next() {
        let content: Vec<u8> = (0..40_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let frame = zstd::bulk::compress(&content, 3).unwrap();
        for at in 0..frame.len().min(400) {
            let mut bad = frame.clone();
            bad[at] ^= 1 << (at % 8);
            let _ = expand(&bad, content.len());
            assert_eq!(expand(&frame[..at], content.len()), None);
            assert_eq!(expand(&frame, content.len()).as_ref(), Some(&content));
        }
        assert_eq!(expand(&frame, content.len() - 1), None);
        assert_eq!(expand(&frame, content.len() + 1), None);
    }

    #[test]
    fn many_threads_expand_each_what_it_has() {
        std::thread::scope(|scope| {
            for seed in 0..2 * IDLE_MAX as u32 {
                scope.spawn(move || {
                    for round in 0..50 {
                        let content = format!("{seed} {round}\n").repeat(500).into_bytes();
                        let frame = zstd::bulk::compress(&content, 3).unwrap();
                        assert_eq!(expand(&frame, content.len()), Some(content));
                    }
                });
            }
        });
        assert!(IDLE.lock().unwrap().len() <= IDLE_MAX);
    }
}
