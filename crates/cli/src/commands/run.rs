//! `weald run`: a command in a workspace, perhaps in a fork of it, perhaps with a snapshot before.
//!
//! Invariant: the exit code is the command's own; 126 and 127 as in a shell when it could not be run.

use crate::args::RunArgs;
use crate::context::Context;
use crate::failure::{Outcome, tell_line};
use crate::{output, words};
use serde_json::json;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use weald_daemon::protocol::{Before, ForkRequest, Request, SnapshotRequest, Target};
use weald_daemon::refs::Spot;
use weald_daemon::report::{Forked, Located, SnapshotReport};
use weald_model::{Code, Fault};

/// Forks of one workspace that are tried for a free name.
const NAMES_MAX: u32 = 10_000;

/// Where the command is to run, and what was made for it.
struct Place {
    workspace: String,
    path: PathBuf,
    fork: Option<String>,
    snapshot: Option<String>,
}

pub(super) fn run(context: &Context, args: RunArgs) -> Result<Outcome, Fault> {
    let stood = std::env::current_dir().ok();
    let target = context.target(args.workspace);
    let located: Located = context.ask(Request::Path { target: target.clone() })?;
    if !located.mounted {
        return Err(Fault::new(Code::NotMounted, format!("`{}` is not mounted", located.name))
            .hint(format!("weald mount {}", located.name)));
    }
    let named = Target { name: Some(located.name.clone()), directory: None, device: None };
    let snapshot = args.snapshot.then(|| snapshot(context, &named, &args.command)).transpose()?;
    let root = PathBuf::from(&located.path);
    let (workspace, path, fork) = match args.fork {
        true => {
            let (name, path) = fork(context, &located.name, &named, "run")?;
            (name.clone(), path, Some(name))
        }
        false => (located.name.clone(), root.clone(), None),
    };
    // Who stands in a subdirectory goes on there, in the fork too.
    let below = stood.as_deref().and_then(|dir| dir.strip_prefix(&root).ok());
    let path = match below.filter(|below| !below.as_os_str().is_empty()) {
        Some(below) => path.join(below),
        None => path,
    };
    let place = Place { workspace, path, fork, snapshot };
    if !context.json {
        announce(&place);
    }
    start(context, &place, &args.command)
}

fn snapshot(context: &Context, target: &Target, command: &[OsString]) -> Result<String, Fault> {
    let line: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let note: String = format!("before {}", line.join(" ")).chars().take(200).collect();
    let request = SnapshotRequest {
        target: target.clone(),
        here: target.clone(),
        note: Some(note),
        tags: Vec::new(),
        before: Some(Before::Run),
    };
    let report: SnapshotReport = context.ask(Request::Snapshot(request))?;
    Ok(report.id)
}

/// Forks under the first free of NAME-run, NAME-run-2, and so on, with `run` as the word.
pub(super) fn fork(
    context: &Context,
    name: &str,
    target: &Target,
    word: &str,
) -> Result<(String, PathBuf), Fault> {
    let mut number = 1;
    loop {
        let new = if number == 1 { format!("{name}-{word}") } else { format!("{name}-{word}-{number}") };
        let request = ForkRequest {
            from: Spot { target: target.clone(), reference: None },
            name: new,
            count: None,
            at: None,
            mount_root: context.mount_root()?,
        };
        match context.ask::<Forked>(Request::Fork(request)) {
            Ok(forked) => {
                let made = forked.forks.into_iter().next();
                let made = made.ok_or_else(|| Fault::new(Code::Internal, "a fork has no name"))?;
                return Ok((made.name, PathBuf::from(made.path)));
            }
            Err(fault) if fault.code == Code::NameTaken && number < NAMES_MAX => number += 1,
            Err(fault) => return Err(fault),
        }
    }
}

/// Tells on standard error what was made, so that the command's own output stays as it is.
fn announce(place: &Place) {
    if let Some(id) = &place.snapshot {
        eprintln!("weald: snapshot {id}");
    }
    if let Some(fork) = &place.fork {
        eprintln!("weald: in {fork}, a fork, at {}", words::tilde(&place.path.display().to_string()));
    }
}

fn start(context: &Context, place: &Place, line: &[OsString]) -> Result<Outcome, Fault> {
    let (program, arguments) =
        line.split_first().ok_or_else(|| Fault::new(Code::BadRequest, "there is no command to run"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&place.path);
    command.env("PWD", &place.path).env("WEALD_WORKSPACE", &place.workspace);
    let error = if context.json {
        // Standard output is for JSON.
        command.stdout(Stdio::from(
            rustix::io::dup(rustix::stdio::stderr())
                .map_err(|error| Fault::new(Code::HostIo, format!("standard error: {error}")))?,
        ));
        match command.status() {
            Ok(status) => {
                let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(2);
                output::json(&json!({
                    "workspace": place.workspace, "path": place.path, "fork": place.fork,
                    "snapshot": place.snapshot, "exit_code": code,
                }));
                return Ok(Outcome::Code(u8::try_from(code).unwrap_or(2)));
            }
            Err(error) => error,
        }
    } else {
        command.exec()
    };
    let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
    tell_line(&Fault::new(Code::BadRequest, format!("running `{}`: {error}", program.to_string_lossy())));
    Ok(Outcome::Code(code))
}
