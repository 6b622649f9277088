//! The `weald` command: arguments in, one request to the daemon, text or JSON out.
//!
//! Invariants: the command never opens the store, and starts no thread pool; `weald daemon run` is the one
//! exception to the first. Read next: `args` (the words), `commands` (one file per command), `failure` (exit
//! codes).

mod args;
mod commands;
mod context;
mod failure;
mod output;
mod progress;
#[cfg(test)]
mod readme_tests;
mod words;

use clap::Parser;
use context::Context;
use failure::Outcome;
use std::path::PathBuf;
use std::process::ExitCode;
use weald_daemon::{fsmonitor, upload_pack};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = PathBuf::from(words.next().unwrap_or_default());
    if program.file_name().is_some_and(|name| name == fsmonitor::PROGRAM) {
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        return if fsmonitor::run(&program, &words).is_some() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    if program.file_name().is_some_and(|name| name == upload_pack::PROGRAM) {
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        return if upload_pack::run(&program, &words).is_some() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let cli = args::Cli::parse();
    let json = cli.json;
    let outcome = Context::new(json).and_then(|context| commands::run(&context, cli.command));
    match outcome {
        Ok(Outcome::Yes) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Ok(Outcome::Code(code)) => ExitCode::from(code),
        Err(fault) => failure::tell(&fault, json),
    }
}
