//! `weald verify`.

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use weald_daemon::protocol::Request;
use weald_daemon::refs::Spot;
use weald_daemon::report::{LogBegin, Verification, VerifyProblem};
use weald_daemon::signing;
use weald_model::Fault;

pub(super) fn run(context: &Context, args: VerifyArgs) -> Result<Outcome, Fault> {
    let state = match (args.all, args.workspace) {
        (true, _) => None,
        (false, Some(text)) => Some(context.spot(&text)?),
        (false, None) => Some(Spot { target: context.target(None), reference: None }),
    };
    let request = Request::Verify { state, base: args.base, heal: args.heal, anchors: args.anchors };
    let mut found: Verification = context.ask(request)?;
    if args.signatures {
        signing::check(&mut found)?;
    }
    if context.json {
        output::json(&found);
    } else {
        show(&found);
    }
    Ok(if found.ok { Outcome::Yes } else { Outcome::No })
}

fn show(found: &Verification) {
    for problem in &found.problems {
        output::text_line(&line(problem));
        if let Some(fix) = &problem.fix {
            output::text_line(&format!("  fix: {}", words::harmless(fix)));
        }
    }
    if found.more_problems > 0 {
        output::text_line(&format!("and {} more", words::grouped(found.more_problems)));
    }
    for log in &found.given_up {
        output::text_line(&output::faint(&words::harmless(&begin(log))));
    }
    let healed = found.problems.iter().filter(|problem| problem.is_healed).count() as u64;
    if healed > 0 {
        output::text_line(&format!("{} healed", words::count(healed, "file")));
    }
    let verdict = match found.problems.len() as u64 - healed + found.more_problems {
        0 => output::strong("ok"),
        count => output::alarming(&words::count(count, "problem")),
    };
    output::text_line(&format!(
        "{verdict}  {}, {}, {}, {}{} checked",
        words::count(found.checked_objects, "object"),
        words::size(found.checked_bytes),
        words::count(found.checked_roots, "sealed snapshot"),
        words::count(found.checked_anchors, "anchor"),
        signatures(found),
    ));
    let unchecked = found.signed_anchors.len() as u64 - found.checked_signatures;
    if unchecked > 0 {
        let text = format!("{} not checked: weald verify --signatures", words::count(unchecked, "signature"));
        output::text_line(&output::faint(&text));
    }
}

fn begin(log: &LogBegin) -> String {
    let name = log.workspace.as_deref().unwrap_or("a log");
    let records = words::grouped(log.last_record);
    let anchors = match log.anchors_before {
        0 => String::new(),
        count => format!("; {} from before can be compared with nothing", words::count(count, "anchor")),
    };
    format!("{name}: the records up to {records} were given up{anchors}")
}

fn signatures(found: &Verification) -> String {
    match found.checked_signatures {
        0 => String::new(),
        count => format!(", {}", words::count(count, "signature")),
    }
}

fn line(problem: &VerifyProblem) -> String {
    let place = match problem.offset {
        Some(offset) => format!("{} at byte {offset}", problem.file),
        None => problem.file.clone(),
    };
    let whose = problem.workspace.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let mark = if problem.is_healed { "healed: " } else { "" };
    words::harmless(&format!("{mark}{whose}{place}: {}", problem.what))
}
