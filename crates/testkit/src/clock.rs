//! A clock and randomness that tests control.
//!
//! Invariant: time never repeats. Each reading moves it by one nanosecond and [`FakeClock::tick`] by a whole
//! second, so the second tells which operation a time stamp came from, whatever the number of readings.

use std::sync::Mutex;
use weald_model::{Env, Timestamp};

/// Where a new clock stands: 2033-05-18, safely after every base time in tests.
pub const START_SECS: i64 = 2_000_000_000;

/// A strictly increasing clock and a reproducible stream of random numbers.
#[derive(Debug)]
pub struct FakeClock {
    state: Mutex<(Timestamp, u64)>,
}

impl Default for FakeClock {
    fn default() -> Self {
        Self { state: Mutex::new((Timestamp::from_secs(START_SECS), 0)) }
    }
}

impl FakeClock {
    /// Moves to the next whole second and returns it.
    pub fn tick(&self) -> Timestamp {
        let mut state = self.state.lock().expect("no test panics while it holds the clock");
        state.0 = Timestamp::from_secs(state.0.secs + 1);
        state.0
    }

    /// Sets the time, which may be in the past: the host's clock can do that too.
    pub fn set(&self, now: Timestamp) {
        self.state.lock().expect("no test panics while it holds the clock").0 = now;
    }
}

impl Env for FakeClock {
    fn now(&self) -> Timestamp {
        let mut state = self.state.lock().expect("no test panics while it holds the clock");
        state.0.nanos += 1;
        state.0
    }

    fn random(&self) -> u64 {
        let mut state = self.state.lock().expect("no test panics while it holds the clock");
        state.1 += 1;
        mix(state.1)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): spreads a counter over 64 bits.
pub fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
