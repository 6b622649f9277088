//! Every `weald` command in README.md is one.

use crate::args::Cli;
use clap::Parser;

const README: &str = include_str!("../../../README.md");

/// Commands in code blocks, without comments and shell syntax around them.
fn commands() -> Vec<Vec<String>> {
    let blocks = README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let quoted = README.split('`').skip(1).step_by(2).filter(|text| text.starts_with("weald "));
    let lines = blocks.flat_map(str::lines).chain(quoted);
    lines
        .filter_map(|line| {
            let code = line.split(" #").next()?;
            let from = code.find("weald ").filter(|at| *at == 0 || code[..*at].ends_with(['(', ' ']))?;
            // `cd "$(weald path review)"`: what closes was opened before the command.
            Some(words(if from == 0 { code } else { code[from..].trim_end_matches([')', '"']) }))
        })
        .collect()
}

/// Splits as a shell does, with quotes around whole words.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = command.trim();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '\'' | '"' => rest[1..].split_once(first).expect("a quote is closed"),
            _ => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

#[test]
fn every_command_in_the_readme_parses() {
    let commands = commands();
    assert!(commands.len() >= 15, "{commands:?}");
    for command in commands {
        if let Err(error) = Cli::try_parse_from(&command) {
            panic!("{command:?}: {error}");
        }
    }
}
