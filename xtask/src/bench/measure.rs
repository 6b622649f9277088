//! Samples, medians and what is compared with what.
//!
//! Invariant: the two sides of a comparison are measured in turn, so that a slow minute of the machine hits both.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
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

    /// The value that a quarter is below; none of fewer than five.
    pub(crate) fn lower_quarter(&self) -> Option<f64> {
        let sorted = self.sorted();
        (sorted.len() >= 5).then(|| sorted[sorted.len() / 4])
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// What a row must reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// Weald's median divided by the peer's.
    Ratio(f64),
    /// Weald's median, in the row's unit.
    AtMost(f64),
    /// None: it is told, for who wants to know.
    Told,
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
    /// What it is compared with, and its values; the ratio is to the first.
    pub(crate) peers: Vec<(String, Sample)>,
    /// The same on a file system whose answers cost nothing, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hollow: Option<Sample>,
    /// What it must reach.
    pub(crate) target: Target,
}

impl Target {
    /// Whether it is reached by a median in the row's unit and a ratio; none where there is none.
    pub(crate) fn reached(self, median: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Target::Ratio(most) => Some(ratio.is_some_and(|ratio| ratio <= most)),
            Target::AtMost(most) => Some(median <= most),
            Target::Told => None,
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
    let [one, other] =
        all_in_turn(rounds, &mut [&mut one, &mut other])?.try_into().expect("two were measured");
    Ok((one, other))
}

/// What was measured of Weald, of native work, and of the file system whose answers cost nothing.
pub(crate) struct Sides {
    pub(crate) weald: Sample,
    pub(crate) native: Sample,
    pub(crate) hollow: Option<Sample>,
}

impl Sides {
    /// Takes durations of each, of the last one where there are any.
    pub(crate) fn millis([weald, native, hollow]: &[Vec<Duration>; 3]) -> Result<Self> {
        let hollow = if hollow.is_empty() { None } else { Some(Sample::millis(hollow)?) };
        Ok(Self { weald: Sample::millis(weald)?, native: Sample::millis(native)?, hollow })
    }
}

/// Measures these in turn, the last one where there is one.
pub(crate) fn with_hollow(
    rounds: usize,
    mut weald: impl FnMut(usize) -> Result<Duration>,
    mut native: impl FnMut(usize) -> Result<Duration>,
    mut hollow: Option<impl FnMut(usize) -> Result<Duration>>,
) -> Result<Sides> {
    let mut sides: Vec<Side> = vec![&mut weald, &mut native];
    sides.extend(hollow.as_mut().map(|hollow| hollow as Side));
    let mut samples = all_in_turn(rounds, &mut sides)?.into_iter();
    let mut next = || samples.next().context("each side was measured");
    Ok(Sides { weald: next()?, native: next()?, hollow: samples.next() })
}

/// One side of a comparison: does its work in a round and tells how long that took.
pub(crate) type Side<'a> = &'a mut dyn FnMut(usize) -> Result<Duration>;

/// Measures several sides in turn, in another order each round: every second round backwards.
pub(crate) fn all_in_turn(rounds: usize, sides: &mut [Side]) -> Result<Vec<Sample>> {
    let mut values = vec![Vec::new(); sides.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for side in order {
            values[side].push(sides[side](round)?);
        }
    }
    values.iter().map(|durations| Sample::millis(durations)).collect()
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
        assert_eq!(sample(&[4.0, 1.0, 2.0, 3.0]).lower_quarter(), None);
        assert_eq!(sample(&[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]).lower_quarter(), Some(2.0));
    }

    #[test]
    fn a_target_is_reached_by_ratio_or_by_value() {
        assert_eq!(Target::Ratio(1.5).reached(3.0, Some(1.5)), Some(true));
        assert_eq!(Target::Ratio(1.4).reached(3.0, Some(1.5)), Some(false));
        assert_eq!(Target::Ratio(1.4).reached(3.0, None), Some(false));
        assert_eq!(Target::AtMost(2.9).reached(3.0, None), Some(false));
        assert_eq!(Target::Told.reached(3.0, None), None);
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
