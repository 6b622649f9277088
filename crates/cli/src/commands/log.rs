//! `weald log`.

use crate::args::LogArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use std::os::unix::ffi::OsStringExt;
use weald_daemon::protocol::{Line, LogRequest, Request};
use weald_daemon::refs::time_of;
use weald_daemon::report::{Bytes, LogEnd, LogLine, ReadsLogged};
use weald_model::Fault;

pub(super) fn run(context: &Context, args: LogArgs) -> Result<Outcome, Fault> {
    if let Some(reads) = &args.reads {
        return switch(context, args.workspace, reads == "on");
    }
    let now = jiff::Zoned::now();
    let is_filtered = args.since.is_some() || args.limit.is_some();
    let moment = |text: Option<String>| text.map(|text| time_of(&text, &now)).transpose();
    let directory = std::env::current_dir().ok().map(|path| Bytes(path.into_os_string().into_vec()));
    let request = Request::Log(LogRequest {
        target: context.target(args.workspace),
        path: args.path.map(|path| Bytes(path.into_os_string().into_vec())),
        directory,
        program: args.program,
        operation: args.operation,
        since: moment(args.since)?,
        until: moment(args.until)?,
        limit: args.limit,
        follow: args.follow,
    });
    if output::is_terminal() && !context.json {
        let heading =
            format!("{:>8}  {:<23}  {:<22} {:>5}  {:<9}  PATH", "OP", "TIME", "PROGRAM", "UID", "WHAT");
        output::text_line(&output::faint(&heading));
    }
    let mut show = |line: Line| match line {
        Line::Log { lines } => output::lines(lines.iter().map(|line| one(line, context.json, &now))),
        _ => true,
    };
    let end: Option<LogEnd> = context.converse(request, &mut show)?;
    if let Some(end) = end.filter(|end| end.given_up > 0 && !is_filtered && !context.json) {
        let text = format!("the records up to {} were given up", words::grouped(end.given_up));
        output::text_line(&output::faint(&text));
    }
    Ok(Outcome::Yes)
}

/// Switches the log of reads.
fn switch(context: &Context, workspace: Option<String>, on: bool) -> Result<Outcome, Fault> {
    let request = Request::LogReads { target: context.target(workspace), on };
    let switched: ReadsLogged = context.ask(request)?;
    if context.json {
        output::json(&switched);
        return Ok(Outcome::Yes);
    }
    let name = &switched.name;
    output::text_line(&match on {
        true => format!("the log of `{name}` has each file that is opened for reading"),
        false => format!("the log of `{name}` has no reads"),
    });
    if let Some(who) = &switched.in_use_by {
        output::text_line(&format!("from the next mount on, since {who}"));
        output::text_line(&format!("leave it, then: weald unmount {name} && weald mount {name}"));
    }
    Ok(Outcome::Yes)
}

fn one(line: &LogLine, json: bool, now: &jiff::Zoned) -> String {
    if json {
        return serde_json::to_string(line).expect("a line has string keys only");
    }
    let program = line.program.as_deref().unwrap_or("-");
    let who = match line.pid {
        0 => program.to_owned(),
        pid => format!("{program}[{pid}]"),
    };
    let mut text =
        format!("{:>8}  {}  {who:<22} {:>5}  {:<9}", line.record, time(line, now), line.uid, line.operation);
    if let Some(path) = &line.path {
        text.push_str(&format!("  {}", if path.is_empty() { "." } else { path }));
    }
    if let Some(to) = &line.to {
        text.push_str(&format!(" -> {to}"));
    }
    match (line.offset, line.bytes) {
        (Some(offset), Some(bytes)) => text.push_str(&format!("  {bytes} at {offset}")),
        (None, Some(bytes)) => text.push_str(&format!("  {bytes}")),
        _ => {}
    }
    if let Some(detail) = &line.detail {
        text.push_str(&format!("  {detail}"));
    }
    words::harmless(&text)
}

/// To the millisecond, where the user is.
fn time(line: &LogLine, now: &jiff::Zoned) -> String {
    match line.time.parse::<jiff::Timestamp>() {
        Ok(time) => time.to_zoned(now.time_zone().clone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => line.time.clone(),
    }
}
