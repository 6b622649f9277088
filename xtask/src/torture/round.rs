//! One round of a job: its program is run, what it says is passed on, and what it counted is taken from that.
//!
//! Invariant: a round that fails, or that counted nothing, is an error.

use super::jobs::{Job, Program};
use crate::run::command;
use crate::tools;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What was done in a round, by unit.
pub(super) type Counts = BTreeMap<String, u64>;

/// Runs a round and returns what it did.
pub(super) fn run(job: &Job, seed: u64) -> Result<Counts> {
    let counts = match &job.program {
        Program::Own(own) => own(seed)?,
        Program::Tests { package, filter, environment, release, prepare } => {
            tools::system_packages(tools::FOR_TESTS)?;
            prepare()?;
            let mut arguments = vec![
                "nextest",
                "run",
                "--locked",
                "--profile",
                "torture",
                "--no-capture",
                "--package",
                package,
            ];
            arguments.extend(["--filterset", filter]);
            arguments.extend(release.then_some("--release"));
            let mut tests = command(tools::cargo_nextest()?, &arguments);
            tests.envs(environment.iter().copied()).env("WEALD_SEED", seed.to_string());
            eprintln!("$ WEALD_SEED={seed} {}", line(environment, &arguments));
            heard(&mut tests)?
        }
    };
    if counts.get(job.unit).is_none_or(|count| *count == 0) {
        bail!("{} did not say how many {} it did", job.name, job.unit);
    }
    Ok(counts)
}

fn line(environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let settings = environment.iter().map(|(name, value)| format!("{name}={value} "));
    format!("{}cargo {}", settings.collect::<String>(), arguments.join(" "))
}

/// Runs a program, passes on what it prints and adds up its counts.
fn heard(program: &mut Command) -> Result<Counts> {
    let mut child = program.stdout(Stdio::piped()).spawn().context("cannot run the tests")?;
    let mut counts = Counts::new();
    let out = child.stdout.take().expect("it is piped");
    for line in BufReader::new(out).split(b'\n') {
        let line = line.context("cannot read what the tests say")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        add(&mut counts, &line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the round failed ({status})");
    }
    Ok(counts)
}

/// Adds what a line `torture: operations=12 restarts=3` says; other lines say nothing.
fn add(counts: &mut Counts, line: &str) {
    let Some((_, said)) = line.split_once("torture: ") else { return };
    for (unit, number) in said.split_whitespace().filter_map(|word| word.split_once('=')) {
        if let Ok(number) = number.parse::<u64>() {
            *counts.entry(unit.to_owned()).or_default() += number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_taken_from_the_lines_that_have_them() {
        let mut counts = Counts::new();
        for line in [
            "torture: operations=12 kills=3",
            "test a ... torture: operations=5",
            "operations=9",
            "torture: x",
        ] {
            add(&mut counts, line);
        }
        assert_eq!(counts, Counts::from([("operations".to_owned(), 17), ("kills".to_owned(), 3)]));
    }

    #[test]
    fn a_program_that_fails_is_an_error_whatever_it_counted() {
        let said = |script| heard(command("sh", &["-c", script]).stderr(Stdio::null()));
        assert_eq!(said("echo torture: states=4").unwrap().get("states"), Some(&4));
        assert!(said("echo torture: states=4; exit 1").is_err());
    }
}
