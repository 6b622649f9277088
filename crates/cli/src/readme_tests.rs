//! Every `weald` command in README.md is one.

use crate::args::Cli;
use clap::Parser;

const README: &str = include_str!("../../../README.md");

/// Commands in code blocks, without comments and shell syntax around them.
fn commands() -> Vec<Vec<&'static str>> {
    let blocks = README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let quoted = README.split('`').skip(1).step_by(2).filter(|text| text.starts_with("weald "));
    let lines = blocks.flat_map(str::lines).chain(quoted);
    lines
        .filter_map(|line| {
            let code = line.split(" #").next()?;
            let from = code.find("weald ").filter(|at| *at == 0 || code[..*at].ends_with(['(', ' ']))?;
            let command = code[from..].trim_end_matches([')', '"']);
            Some(command.split_whitespace().collect())
        })
        .collect()
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
