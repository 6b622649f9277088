//! The project's own commands: `cargo xtask check`, `fuzz`, `torture`, `bench` and `profile`.
//!
//! `check` is everything a contributor and CI need; each step can be named alone. `fuzz` runs its random tests for longer,
//! `torture` what needs hours, and adds it up. `instructions` counts those of the hot paths. `bench` measures Weald against native file systems in the same run, `profile` draws where the time of some of its rows goes. Start reading at `check.rs`.

mod bench;
mod check;
mod fuzz;
mod instructions;
mod run;
mod tidy;
mod tools;
mod torture;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask check [STEP…]     all steps, or only those named: fmt tidy clippy deny doc instructions test
       cargo xtask fuzz [--minutes N] [TARGET…]   random tests by turns, 10 minutes; `list` names the targets
       cargo xtask torture [--for 2h] [JOB…]   what needs hours, by turns, 10m; runs add up; `--list` names the jobs;
                                               `JOB --seed N` repeats a round
       cargo xtask instructions [--accept]   counts those of the hot paths; `--accept` takes them as what later counts are compared with
       cargo xtask bench [--small] [--no-host] [GROUP…]   all rows, or only those of the groups named; `--small` for a quick look;
                                                          `list` names the groups; `--write` makes the document anew
       cargo xtask profile [--program FILE] [--as NAME] [NAME…]   flame graphs of some rows, in docs/profiles";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.split_first() {
        Some((&"check", steps)) => check::check(steps),
        Some((&"fuzz", words)) => fuzz::fuzz(words),
        Some((&"torture", words)) => torture::torture(words),
        Some((&"instructions", words)) => instructions::instructions(words),
        Some((&"bench", rows)) => bench::bench(rows),
        Some((&"profile", names)) => bench::profile(names),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
