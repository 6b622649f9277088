//! Clock and randomness, so that tests control both.

use crate::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The only source of time and randomness.
pub trait Env: Send + Sync {
    /// Returns the present wall-clock time.
    fn now(&self) -> Timestamp;
    /// Returns 64 unpredictable bits, used for ids; never for secrets.
    fn random(&self) -> u64;
}

/// The host's clock, and ids seeded from it and the process id.
#[derive(Debug)]
pub struct HostEnv {
    state: AtomicU64,
}

impl Default for HostEnv {
    fn default() -> Self {
        let seed = wall().as_nanos() as u64 ^ (u64::from(std::process::id()) << 40);
        Self { state: AtomicU64::new(seed) }
    }
}

impl Env for HostEnv {
    fn now(&self) -> Timestamp {
        let wall = wall();
        Timestamp { secs: wall.as_secs() as i64, nanos: wall.subsec_nanos() }
    }

    fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014) over an atomic counter.
        let mut z = self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed) ^ wall().as_nanos() as u64;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn wall() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
