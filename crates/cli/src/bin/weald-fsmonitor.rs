//! `weald-fsmonitor`: what git runs to hear what changed (`core.fsmonitor`).
//!
//! A program of its own although `weald` could do it: git starts it in every `git status`, and to load the whole of
//! `weald` takes longer than to answer. Invariant: no answer is a failure, upon which git looks for itself.
//! Read next: `weald_daemon::fsmonitor`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = PathBuf::from(words.next().unwrap_or_default());
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    match weald_daemon::fsmonitor::run(&program, &words) {
        Some(()) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}
