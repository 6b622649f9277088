//! `cargo xtask torture`: what needs hours, in rounds with a fresh seed each, by turns, until the time is up.
//!
//! Invariant: what was done is written to `target/torture/NAME.json` after each round, so that runs add up and one that is
//! ended loses a round at most. A round counts only what it says in a line `torture: UNIT=N`. The jobs are in `jobs.rs`,
//! how a round runs is in `round.rs`, what is kept of it in `tally.rs`.

mod git_suite;
mod guided;
mod jobs;
mod round;
mod tally;

use crate::run::root;
use anyhow::{Context, Result, bail};
use jobs::{JOBS, Job};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tally::{Finding, Tally};

/// How long all jobs run together unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// What the command line asks for.
#[derive(Debug, PartialEq)]
struct Wish<'a> {
    names: Vec<&'a str>,
    patience: Duration,
    /// One round with this seed, to see a finding again; it is not counted.
    seed: Option<u64>,
    list: bool,
}

/// Runs the named jobs by turns until the time is up or each has reached its target; all jobs when none is named.
pub(crate) fn torture(words: &[&str]) -> Result<()> {
    let wish = read(words)?;
    if let Some(unknown) = wish.names.iter().find(|name| JOBS.iter().all(|job| job.name != **name)) {
        bail!("no job `{unknown}`; `cargo xtask torture --list` names them");
    }
    let chosen: Vec<&Job> =
        JOBS.iter().filter(|job| wish.names.is_empty() || wish.names.contains(&job.name)).collect();
    match (wish.list, wish.seed) {
        (true, _) => list(&chosen),
        (false, Some(seed)) => once(&chosen, seed),
        (false, None) => by_turns(&chosen, wish.patience),
    }
}

fn list(chosen: &[&Job]) -> Result<()> {
    for job in chosen {
        println!("{:12} {}; {} {}: {}", job.name, job.does, job.target, job.unit, Tally::of(job)?.line(job));
    }
    Ok(())
}

fn once(chosen: &[&Job], seed: u64) -> Result<()> {
    let [job] = chosen else { bail!("--seed goes with the name of one job") };
    round::run(job, seed).map(|_| ())
}

fn by_turns(chosen: &[&Job], patience: Duration) -> Result<()> {
    let since = Instant::now();
    let mut found = Vec::new();
    let mut open: Vec<&Job> = chosen.to_vec();
    while !open.is_empty() {
        for job in std::mem::take(&mut open) {
            if Tally::of(job)?.reached(job) {
                continue;
            }
            if since.elapsed() >= patience {
                return end(chosen, &found);
            }
            eprintln!(
                "== {} after {} min of {}",
                job.name,
                since.elapsed().as_secs() / 60,
                patience.as_secs() / 60
            );
            // A job that found something is not run again: what comes next is likely the same.
            match next_round(job)? {
                Some(finding) => found.push((job.name, finding)),
                None => open.push(job),
            }
        }
    }
    end(chosen, &found)
}

/// Runs a round and adds it to what is kept; returns what it found.
fn next_round(job: &Job) -> Result<Option<Finding>> {
    let mut tally = Tally::of(job)?;
    let (seed, since) = (fresh_seed(), Instant::now());
    let outcome = round::run(job, seed);
    let seconds = since.elapsed().as_secs_f64();
    let finding = match outcome {
        Ok(counts) => {
            tally.add(&counts, seconds);
            None
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            Some(tally.found(seed, seconds))
        }
    };
    tally.keep(job)?;
    Ok(finding)
}

fn end(chosen: &[&Job], found: &[(&str, Finding)]) -> Result<()> {
    eprintln!("== so far");
    for job in chosen {
        println!("{:12} {}", job.name, Tally::of(job)?.line(job));
    }
    if found.is_empty() {
        return Ok(());
    }
    let again =
        found.iter().map(|(name, finding)| format!("  cargo xtask torture {name} --seed {}", finding.seed));
    bail!("found something; to see it again:\n{}", again.collect::<Vec<_>>().join("\n"))
}

/// Short enough to be typed.
fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

/// Where the tallies are.
fn directory() -> PathBuf {
    root().join("target/torture")
}

fn read<'a>(words: &[&'a str]) -> Result<Wish<'a>> {
    let mut wish = Wish { names: Vec::new(), patience: PATIENCE, seed: None, list: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--list" | "list" => wish.list = true,
            "--for" => wish.patience = span(words.next().context("--for needs a time, such as 10m or 2h")?)?,
            "--seed" => {
                let number = words.next().context("--seed needs a number")?;
                wish.seed = Some(number.parse().with_context(|| format!("`{number}` is no seed"))?);
            }
            option if option.starts_with('-') => bail!("no option `{option}`"),
            name => wish.names.push(name),
        }
    }
    Ok(wish)
}

/// Reads `90s`, `10m` or `2h`.
fn span(text: &str) -> Result<Duration> {
    let (number, unit) =
        text.split_at(text.len().saturating_sub(text.chars().last().map_or(0, char::len_utf8)));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => bail!("`{text}` is no time; it is written 90s, 10m or 2h"),
    };
    let number: u32 = number.parse().with_context(|| format!("`{text}` is no time"))?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_time_and_seed_are_read_in_any_order() {
        let wish = read(&["--for", "2h", "fsx", "--seed", "7"]).unwrap();
        assert_eq!(
            (wish.names, wish.patience.as_secs(), wish.seed, wish.list),
            (vec!["fsx"], 7200, Some(7), false)
        );
        assert!(read(&["--list"]).unwrap().list);
        for wrong in [["--for", "2"], ["--for", "h"], ["--for", "5ä"], ["--seed", "x"], ["--fast", "fsx"]] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_of_jobs_differ_and_each_has_a_target() {
        for (at, job) in JOBS.iter().enumerate() {
            assert!(JOBS[..at].iter().all(|other| other.name != job.name) && job.target > 0, "{}", job.name);
        }
    }
}
