//! `cargo xtask fuzz`: the random tests again and again, each round with seeds of its own, until the time is up.
//!
//! Invariant: the same tests that `check` runs, so whatever this finds can be run there as well: a failure prints the input
//! it shrank to, or the call and the seed.

use crate::run::{command, show};
use crate::tools;
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// Minutes for all targets together unless told otherwise.
const MINUTES: u64 = 10;

/// Random tests that belong together.
struct Target {
    name: &'static str,
    /// Which tests: a filter of the runner.
    tests: &'static str,
    /// Cases of each in one round: a minute or so, far below the runner's limit.
    cases: &'static str,
}

const TARGETS: &[Target] = &[
    Target { name: "log", tests: "package(weald-store) & binary(crash)", cases: "2000" },
    Target { name: "model", tests: "package(weald-engine) & binary(model)", cases: "2000" },
    Target { name: "gc", tests: "package(weald-engine) & binary(reach)", cases: "1500" },
    Target { name: "rules", tests: "package(weald-engine) & binary(rules)", cases: "20000" },
    Target { name: "injection", tests: "binary(injection)", cases: "300" },
    Target { name: "mount", tests: "package(weald-testkit) & binary(mounted)", cases: "2000" },
];

/// Runs the named targets by turns; all of them when none is named.
pub(crate) fn fuzz(words: &[&str]) -> Result<()> {
    let (names, minutes) = read(words)?;
    if names == ["list"] {
        TARGETS.iter().for_each(|target| println!("{:10} {}", target.name, target.tests));
        return Ok(());
    }
    if let Some(unknown) = names.iter().find(|name| TARGETS.iter().all(|target| target.name != **name)) {
        bail!("no target `{unknown}`; `cargo xtask fuzz list` names them");
    }
    let chosen = || TARGETS.iter().filter(|target| names.is_empty() || names.contains(&target.name));
    let nextest = tools::cargo_nextest()?;
    let (since, patience) = (Instant::now(), Duration::from_secs(minutes * 60));
    for target in chosen().cycle() {
        if since.elapsed() >= patience {
            break;
        }
        eprintln!("== {} after {} min of {minutes}", target.name, since.elapsed().as_secs() / 60);
        let arguments = ["nextest", "run", "--locked", "--workspace", "--filterset", target.tests];
        show(command(&nextest, &arguments).env("WEALD_CASES", target.cases))?;
    }
    Ok(())
}

/// The targets and the minutes.
fn read<'a>(words: &[&'a str]) -> Result<(Vec<&'a str>, u64)> {
    let (mut names, mut minutes) = (Vec::new(), MINUTES);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--minutes" => {
                let number = words.next().context("--minutes needs a number")?;
                minutes = number.parse().with_context(|| format!("`{number}` is no number of minutes"))?;
            }
            name => names.push(name),
        }
    }
    Ok((names, minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_minutes_are_read_in_any_order() {
        assert_eq!(read(&["--minutes", "3", "log"]).unwrap(), (vec!["log"], 3));
        assert_eq!(read(&[]).unwrap(), (Vec::new(), MINUTES));
        assert!(read(&["--minutes"]).is_err() && read(&["--minutes", "x"]).is_err());
    }
}
