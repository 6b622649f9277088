//! `weald explain`, `weald completion` and `weald man`: no daemon is asked.

use crate::args::{Cli, CompletionArgs, ExplainArgs, ManArgs};
use crate::context::Context;
use crate::failure::Outcome;
use crate::output;
use clap::CommandFactory;
use serde_json::json;
use std::path::Path;
use weald_model::{Code, Fault};

/// Prints what a code means.
pub(super) fn explain(context: &Context, args: ExplainArgs) -> Result<Outcome, Fault> {
    let codes = match &args.code {
        None => Code::ALL.to_vec(),
        Some(text) => vec![Code::parse(text).ok_or_else(|| unknown_code(text))?],
    };
    if context.json {
        let list: Vec<_> =
            codes.iter().map(|code| json!({ "code": code.to_string(), "text": text(*code) })).collect();
        match args.code {
            Some(_) => output::json(&list[0]),
            None => output::json(&list),
        }
        return Ok(Outcome::Yes);
    }
    for code in codes {
        output::text_line(&format!("{}  {}", output::strong(&code.to_string()), text(code)));
    }
    Ok(Outcome::Yes)
}

/// The explanation as one paragraph.
fn text(code: Code) -> String {
    code.explanation().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unknown_code(text: &str) -> Fault {
    Fault::new(Code::BadRequest, format!("`{text}` is no error code")).hint("weald explain")
}

/// Prints a completion script.
pub(super) fn completion(args: CompletionArgs) -> Result<Outcome, Fault> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weald", &mut script);
    output::text_line(String::from_utf8_lossy(&script).trim_end());
    Ok(Outcome::Yes)
}

/// Writes `weald.1`, `weald-create.1` and so on.
pub(super) fn man(args: ManArgs) -> Result<Outcome, Fault> {
    let told = |error: std::io::Error| {
        Fault::host(&format!("writing man pages to {}", args.directory.display()), &error)
    };
    std::fs::create_dir_all(&args.directory).map_err(told)?;
    let mut command = Cli::command();
    command.build();
    page(&args.directory, "weald", &command).map_err(told)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        page(&args.directory, &format!("weald-{}", sub.get_name()), sub).map_err(told)?;
    }
    Ok(Outcome::Yes)
}

fn page(directory: &Path, name: &str, command: &clap::Command) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut bytes)?;
    std::fs::write(directory.join(format!("{name}.1")), bytes)
}
