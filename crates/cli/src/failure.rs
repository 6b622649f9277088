//! Exit codes and the printing of faults.

use crate::output;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use weald_daemon::protocol::FaultLine;
use weald_model::{Code, Fault};

/// How a command ended when nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done; exit code 0.
    Yes,
    /// The answer is no, or a part was refused and told; exit code 1.
    No,
    /// That of a command that was run.
    Code(u8),
}

/// Prints a fault and returns its exit code. With `--json` standard output gets it as an object, too.
pub(crate) fn tell(fault: &Fault, json: bool) -> ExitCode {
    if json {
        output::json(&json!({ "error": FaultLine::from(fault) }));
    }
    tell_line(fault);
    ExitCode::from(exit_code(fault.code))
}

/// Prints a fault on standard error.
pub(crate) fn tell_line(fault: &Fault) {
    let paint = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (red, cyan, off) = if paint { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
    // A list below the first line is not to end with the code.
    let message = clean(&fault.message);
    let (first, rest) = message.split_at(message.find('\n').unwrap_or(message.len()));
    let mut text = format!("{red}error:{off} {first} [{}]{rest}\n", fault.code);
    if let Some(hint) = &fault.hint {
        text.push_str(&format!("{cyan}hint:{off} {}\n", clean(hint)));
    }
    // Nobody is left to tell when standard error is gone.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Messages may quote what git or a hostile repository said; lines stay, escape sequences do not.
fn clean(text: &str) -> String {
    text.lines().map(crate::words::harmless).collect::<Vec<_>>().join("\n  ")
}

/// 1 when Weald understood and declined, 2 when it tried and failed.
const fn exit_code(code: Code) -> u8 {
    match code {
        Code::HostileTree
        | Code::BadName
        | Code::NameTaken
        | Code::UnknownWorkspace
        | Code::MountPointBusy
        | Code::DaemonRunning
        | Code::WorkspaceInUse
        | Code::UnpushedCommits
        | Code::NotMounted
        | Code::NotInWorkspace
        | Code::StalePlan
        | Code::ContentGivenBack
        | Code::NotAllowed
        | Code::UnknownState
        | Code::AmbiguousState
        | Code::UnknownPath
        | Code::NothingToUndo
        | Code::UnfinishedMerge
        | Code::DirtyBranch
        | Code::NoMerge => 1,
        _ => 2,
    }
}
