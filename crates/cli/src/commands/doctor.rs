//! `weald doctor`.

use crate::args::DoctorArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::{output, words};
use weald_daemon::doctor;
use weald_daemon::protocol::Request;
use weald_daemon::report::{Checkup, Finding, Severity};
use weald_model::Fault;

pub(super) fn run(context: &Context, args: DoctorArgs) -> Result<Outcome, Fault> {
    let mut all = doctor::environment();
    match context.ask::<Checkup>(Request::Doctor { fix: args.fix }) {
        Ok(home) => {
            all.checked += home.checked;
            all.findings.extend(home.findings);
        }
        // A daemon that does not come up is the first thing to be told.
        Err(fault) => all.findings.insert(0, unreachable(&fault)),
    }
    all.findings.sort_by_key(|finding| finding.severity);
    if context.json {
        output::json(&all);
    } else {
        show(&all);
    }
    let bad = |finding: &Finding| finding.severity == Severity::Error && !finding.is_fixed;
    Ok(if all.findings.iter().any(bad) { Outcome::No } else { Outcome::Yes })
}

fn unreachable(fault: &Fault) -> Finding {
    Finding {
        area: "daemon".to_owned(),
        severity: Severity::Error,
        message: format!("{} [{}]", fault.message, fault.code),
        fix: fault.hint.clone().unwrap_or_else(|| format!("weald explain {}", fault.code)),
        is_fixable: false,
        is_fixed: false,
    }
}

fn show(checkup: &Checkup) {
    for finding in &checkup.findings {
        let mark = match (finding.is_fixed, finding.severity) {
            (true, _) => output::strong("fixed"),
            (false, Severity::Error) => output::alarming("error"),
            (false, Severity::Warning) => output::alarming("warning"),
            (false, Severity::Note) => output::faint("note"),
        };
        output::text_line(&format!("{mark}: {}: {}", finding.area, words::harmless(&finding.message)));
        if !finding.is_fixed {
            output::text_line(&format!("  fix: {}", words::harmless(&finding.fix)));
        }
    }
    let checked = words::count(checkup.checked, "thing");
    let open = checkup.findings.iter().filter(|finding| !finding.is_fixed).count() as u64;
    let found = if open == 0 { "all is well".to_owned() } else { words::count(open, "finding") };
    output::text_line(&format!("Looked at {checked}: {found}"));
}
