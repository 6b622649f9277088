//! What all rounds of a job did so far: `target/torture/NAME.json`.
//!
//! Invariant: replaced whole after each round, so a run that is ended leaves it as it was after the last.

use super::directory;
use super::jobs::Job;
use super::round::Counts;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The sum of all rounds; remove the file to begin anew.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Rounds that found nothing.
    rounds: u64,
    seconds: f64,
    /// What those rounds did, by unit.
    counts: Counts,
    findings: Vec<Finding>,
}

/// A round that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Finding {
    pub(super) seed: u64,
    /// After so many rounds without a finding.
    after_rounds: u64,
}

impl Tally {
    /// Reads what was done so far; nothing where there is no file.
    pub(super) fn of(job: &Job) -> Result<Self> {
        let file = file(job);
        match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged; remove it to begin anew", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Adds a round that found nothing.
    pub(super) fn add(&mut self, counts: &Counts, seconds: f64) {
        self.rounds += 1;
        self.seconds += seconds;
        for (unit, count) in counts {
            *self.counts.entry(unit.clone()).or_default() += count;
        }
    }

    /// Adds a round that failed; it counts for nothing else.
    pub(super) fn found(&mut self, seed: u64, seconds: f64) -> Finding {
        self.seconds += seconds;
        let finding = Finding { seed, after_rounds: self.rounds };
        self.findings.push(finding.clone());
        finding
    }

    /// True once the job has done what it is to do.
    pub(super) fn reached(&self, job: &Job) -> bool {
        self.done(job) >= job.target
    }

    fn done(&self, job: &Job) -> u64 {
        self.counts.get(job.unit).copied().unwrap_or_default()
    }

    /// Tells it in a line.
    pub(super) fn line(&self, job: &Job) -> String {
        let mut line = format!(
            "{} of {} {} in {} rounds, {} min",
            self.done(job),
            job.target,
            job.unit,
            self.rounds,
            (self.seconds / 60.0).round()
        );
        for (unit, count) in self.counts.iter().filter(|(unit, _)| *unit != job.unit) {
            line += &format!(", {count} {unit}");
        }
        let seeds: Vec<String> = self.findings.iter().map(|finding| finding.seed.to_string()).collect();
        line += &format!("; {} findings", seeds.len());
        if !seeds.is_empty() {
            line += &format!(" (seeds {})", seeds.join(" "));
        }
        line
    }

    /// Writes it where the next run finds it.
    pub(super) fn keep(&self, job: &Job) -> Result<()> {
        let file = file(job);
        std::fs::create_dir_all(directory())?;
        let half = file.with_extension("part");
        std::fs::write(&half, serde_json::to_vec_pretty(self)?)
            .and_then(|()| std::fs::rename(&half, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

fn file(job: &Job) -> PathBuf {
    directory().join(format!("{}.json", job.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::JOBS;

    #[test]
    fn rounds_add_up_and_a_finding_counts_for_nothing_else() {
        let job = &JOBS[0];
        let mut tally = Tally::default();
        let counts = Counts::from([(job.unit.to_owned(), job.target - 1), ("kills".to_owned(), 2)]);
        tally.add(&counts, 60.0);
        assert!(!tally.reached(job));
        assert_eq!(tally.found(7, 60.0), Finding { seed: 7, after_rounds: 1 });
        tally.add(&counts, 0.0);
        assert!(tally.reached(job));
        let line = tally.line(job);
        assert!(line.contains("in 2 rounds, 2 min, 4 kills; 1 findings (seeds 7)"), "{line}");
        let again: Tally = serde_json::from_slice(&serde_json::to_vec(&tally).unwrap()).unwrap();
        assert_eq!(again, tally);
    }
}
