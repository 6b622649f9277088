//! What is wrong with a home and its machine, and exactly how to put it right.
//!
//! Invariants: looking changes nothing; `fix` does only what loses nothing and what start-up would do as well. What
//! the daemon cannot see, because it does not run, is found from the command's side ([`environment`]).
//! Read next: `doctor/checks.rs` (the home), `doctor/machine.rs` (the machine).

use crate::forest::Forest;
use crate::report::{Checkup, Finding, Severity};
use weald_model::Fault;

mod checks;
mod machine;

pub use machine::environment;

/// Gathers what is found.
#[derive(Default)]
pub(crate) struct Chart {
    checkup: Checkup,
    fixes: bool,
}

impl Chart {
    /// Counts one thing that was looked at.
    fn looked(&mut self) {
        self.checkup.checked += 1;
    }

    /// Notes what only a person can put right.
    fn note(&mut self, area: &str, severity: Severity, message: impl Into<String>, fix: impl Into<String>) {
        self.checkup.findings.push(Finding {
            area: area.to_owned(),
            severity,
            message: message.into(),
            fix: fix.into(),
            is_fixable: false,
            is_fixed: false,
        });
    }

    /// Notes what can be put right safely, and does so when asked to.
    fn fixable(
        &mut self,
        area: &str,
        severity: Severity,
        message: impl Into<String>,
        put_right: impl FnOnce() -> Result<(), Fault>,
    ) {
        let mut finding = Finding {
            area: area.to_owned(),
            severity,
            message: message.into(),
            fix: "weald doctor --fix".to_owned(),
            is_fixable: true,
            is_fixed: false,
        };
        if self.fixes {
            match put_right() {
                Ok(()) => finding.is_fixed = true,
                Err(fault) => {
                    finding.message.push_str(&format!("; it could not be put right: {fault}"));
                    finding.fix = fault.hint.unwrap_or_else(|| finding.fix.clone());
                }
            }
        }
        self.checkup.findings.push(finding);
    }

    /// The same with a fault's own words.
    fn fault(&mut self, area: &str, name: &str, fault: &Fault) {
        let fix = fault.hint.clone().unwrap_or_else(|| format!("weald explain {}", fault.code));
        let message =
            if name.is_empty() { fault.message.clone() } else { format!("{name}: {}", fault.message) };
        self.note(area, Severity::Error, format!("{message} [{}]", fault.code), fix);
    }

    fn finish(mut self) -> Checkup {
        self.checkup.findings.sort_by(|a, b| a.severity.cmp(&b.severity).then_with(|| a.area.cmp(&b.area)));
        self.checkup
    }
}

impl Forest {
    /// Looks at everything in the home; puts right what is safe to when asked.
    pub(crate) fn examine(&self, fix: bool) -> Result<Checkup, Fault> {
        if fix {
            self.open_for_work()?;
        }
        let mut chart = Chart { fixes: fix, ..Chart::default() };
        self.check_layout(&mut chart);
        self.check_config(&mut chart);
        self.check_mounts(&mut chart);
        self.check_logs(&mut chart)?;
        self.check_lineage(&mut chart);
        self.check_sources(&mut chart);
        self.check_manifests(&mut chart);
        self.check_chunks(&mut chart);
        self.check_store(&mut chart);
        Ok(chart.finish())
    }
}
