//! Samples, medians and what is compared with what.
//!
//! Invariant: the two sides of a comparison are measured in turn, so that a slow minute of the machine hits both.

use anyhow::{Context, Result};
use serde::Serialize;
use std::time::{Duration, Instant};

/// The values of one side of a row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// All values, in the order they were taken.
    values: Vec<f64>,
}

impl Sample {
    /// Takes values; there must be at least one.
    pub(crate) fn new(values: Vec<f64>) -> Result<Self> {
        values.first().context("nothing was measured")?;
        Ok(Self { values })
    }

    /// Takes durations as milliseconds.
    pub(crate) fn millis(durations: &[Duration]) -> Result<Self> {
        Self::new(durations.iter().map(|duration| duration.as_secs_f64() * 1000.0).collect())
    }

    /// The middle value.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
    }

    /// The smallest and the largest value.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let sorted = self.sorted();
        (sorted[0], sorted[sorted.len() - 1])
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// What a row must reach.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// Weald's median divided by the peer's.
    Ratio(f64),
    /// Weald's median, in the row's unit.
    AtMost(f64),
}

/// A finished row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// What was done.
    pub(crate) what: String,
    /// Unit of all values.
    pub(crate) unit: &'static str,
    /// Weald's values.
    pub(crate) weald: Sample,
    /// What it is compared with, and its values.
    pub(crate) peer: Option<(String, Sample)>,
    /// What it must reach.
    pub(crate) target: Target,
}

impl Measured {
    /// Weald's median divided by the peer's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|(_, peer)| self.weald.median() / peer.median())
    }

    /// True when the target is reached.
    pub(crate) fn reached(&self) -> bool {
        match self.target {
            Target::Ratio(most) => self.ratio().is_some_and(|ratio| ratio <= most),
            Target::AtMost(most) => self.weald.median() <= most,
        }
    }
}

/// Times one piece of work.
pub(crate) fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// Measures two sides in turn, the first one first in every other round. Each side gets the number of the round.
pub(crate) fn in_turn(
    rounds: usize,
    mut one: impl FnMut(usize) -> Result<Duration>,
    mut other: impl FnMut(usize) -> Result<Duration>,
) -> Result<(Sample, Sample)> {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            ones.push(one(round)?);
            others.push(other(round)?);
        } else {
            others.push(other(round)?);
            ones.push(one(round)?);
        }
    }
    Ok((Sample::millis(&ones)?, Sample::millis(&others)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values.to_vec()).unwrap()
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middle_values() {
        assert_eq!(sample(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(sample(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(sample(&[4.0, 1.0, 2.0]).spread(), (1.0, 4.0));
        assert!(Sample::new(vec![]).is_err());
    }

    #[test]
    fn a_target_is_reached_by_ratio_or_by_value() {
        let mut row = Measured {
            what: String::new(),
            unit: "ms",
            weald: sample(&[3.0]),
            peer: Some(("ext4".to_owned(), sample(&[2.0]))),
            target: Target::Ratio(1.5),
        };
        assert!(row.reached());
        row.target = Target::Ratio(1.4);
        assert!(!row.reached());
        row.target = Target::AtMost(2.9);
        assert!(!row.reached());
    }

    #[test]
    fn the_sides_take_turns_in_going_first() {
        let order = std::cell::RefCell::new(String::new());
        let say = |letter| {
            order.borrow_mut().push(letter);
            Ok(Duration::ZERO)
        };
        in_turn(3, |_| say('a'), |_| say('b')).unwrap();
        assert_eq!(order.into_inner(), "abbaab");
    }
}
