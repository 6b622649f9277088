//! The job `fuzz`: each target of `crates/fuzz` for a while, with inputs chosen by the code they reach.
//!
//! The program is built apart from everything else, since all of it is built to tell which code runs; that takes some minutes
//! the first time, and a C++ compiler. Inputs that reach something new stay in `target/torture/fuzz/inputs`, so that each round
//! goes on from there; `crates/fuzz/src/main.rs` says how they are kept for everybody. Invariant: what is counted was executed, as libFuzzer says at the end of a run.

use super::round::Counts;
use crate::run::{cargo, command, output, root, show};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What makes each part of the code tell that it ran, and what it compared (cargo-fuzz does the same).
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Seconds for each target in a round.
const SECONDS: u64 = 20;
/// An input that takes as long or as much is a finding.
const LIMITS: [&str; 3] = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=4096"];

/// Runs every target for [`SECONDS`].
pub(super) fn round(seed: u64) -> Result<Counts> {
    let program = build()?;
    let state = root().join("target/torture/fuzz");
    std::fs::create_dir_all(&state)?;
    show(command(&program, &[] as &[&str]).env("WEALD_SEEDS", state.join("inputs")).stderr(Stdio::null()))?;
    let mut executions = 0;
    for target in targets(&state.join("inputs"))? {
        let done = run(&program, &state, &target, seed)?;
        println!("{target}: {done} executions");
        executions += done;
    }
    Ok(Counts::from([("executions".to_owned(), executions)]))
}

fn build() -> Result<PathBuf> {
    let about = output(&mut command("rustc", &["-vV"]))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc tells no host")?;
    let arguments =
        ["build", "--locked", "--profile", "fuzz", "--package", "weald-fuzz", "--features", "guided"];
    let mut build = cargo(&arguments);
    // With a target named, programs that only help to build are built as ever.
    build.args(["--target", host, "--target-dir", "target/guided"]).env("RUSTFLAGS", FLAGS);
    show(&mut build)?;
    Ok(root().join("target/guided").join(host).join("fuzz/weald-fuzz"))
}

/// The names of all targets: the program has made a directory for each.
fn targets(inputs: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(inputs)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn run(program: &Path, state: &Path, target: &str, seed: u64) -> Result<u64> {
    let log = state.join(format!("{target}.log"));
    let mut fuzz = command(program, &LIMITS);
    fuzz.arg(format!("-max_total_time={SECONDS}")).arg(format!("-seed={}", seed as u32));
    fuzz.arg("-print_final_stats=1").arg(format!("-artifact_prefix={}/{target}-", state.display()));
    fuzz.arg(state.join("inputs").join(target));
    let said = std::fs::File::create(&log)?;
    let status = fuzz.env("WEALD_TARGET", target).stdout(Stdio::null()).stderr(said).status()?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    if !status.success() {
        bail!("{target} found something; {} and the input beside it tell what", log.display());
    }
    executed(&text).with_context(|| format!("{target} does not say how often it ran"))
}

fn executed(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_what_the_program_says_at_its_end() {
        assert_eq!(
            executed("#5\tDONE\nstat::number_of_executed_units: 1284746\nstat::x: 1"),
            Some(1_284_746)
        );
        assert_eq!(executed("==12== ERROR: libFuzzer: deadly signal"), None);
    }
}
