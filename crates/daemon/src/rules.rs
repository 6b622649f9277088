//! The rules of a workspace: shown, changed, and its stopped deletions let go on.
//!
//! Order of the steps: the kernel hands over its changed pages, so that what was written before the rules is not refused by
//! them; the rules become a record, durable; the kernel forgets what is no longer to be seen, or is again. A crash between the
//! last two is made up for like that of a restore. Programs go on meanwhile.

use crate::config::words;
use crate::entry::Entry;
use crate::forest::Forest;
use crate::protocol::{RulesEdit, RulesRequest};
use crate::report::{Bytes, DeletionLimitReport, Moment, PathRuleReport, RulesReport};
use crate::restore::path_inside;
use std::sync::Arc;
use weald_engine::{DeletionLimit, PathRule, Rules, RulesNow, Workspace};
use weald_model::{Caller, Code, Errno, Fault};

impl Forest {
    /// Shows the rules, or changes them first.
    pub(crate) fn rules_of(&self, who: &Caller, ask: &RulesRequest) -> Result<RulesReport, Fault> {
        let entry = self.find(&ask.target)?;
        let workspace = entry.load(&self.stores)?;
        let (mut is_changed, mut in_use_by) = (false, None);
        if !matches!(ask.edit, RulesEdit::Show) {
            self.open_for_work()?;
            let _alone = entry.travel();
            is_changed = match &ask.edit {
                RulesEdit::Confirm { span } => confirm(&entry, &workspace, who, span)?,
                edit => self.set_rules(&entry, &workspace, who, ask, edit)?,
            };
            in_use_by = self.ask_for_opens(&entry)?;
        }
        Ok(report(&entry, &workspace, is_changed, in_use_by))
    }

    fn set_rules(
        &self,
        entry: &Arc<Entry>,
        workspace: &Workspace,
        who: &Caller,
        ask: &RulesRequest,
        edit: &RulesEdit,
    ) -> Result<bool, Fault> {
        let rules = edited(workspace.rules().rules, entry, ask, edit)?;
        entry.flush();
        let restoring = self.restoring(entry, workspace);
        let changed = workspace.set_rules(who, rules).map_err(|error| failed(entry, error))?;
        if let Some(changed) = &changed {
            entry.refresh(changed);
        }
        drop(restoring);
        Ok(changed.is_some())
    }
}

fn confirm(entry: &Entry, workspace: &Workspace, who: &Caller, span: &str) -> Result<bool, Fault> {
    let seconds = words::span(span).ok().and_then(|seconds| u32::try_from(seconds).ok());
    let seconds = seconds.ok_or_else(|| bad(format!("`{span}` is no span of time"), "like 90s, 5m or 1h"))?;
    match workspace.confirm_deletions(who, seconds) {
        Ok(_) => Ok(true),
        Err(Errno::Invalid) => {
            let name = entry.name();
            Err(bad(
                format!("`{name}` has no limit of deletions"),
                &format!("weald rules add {name} --max-deletions 200/10s"),
            ))
        }
        Err(error) => Err(crate::faults::errno("letting deletions go on", error)),
    }
}

/// The rules after an edit.
fn edited(mut rules: Rules, entry: &Entry, ask: &RulesRequest, edit: &RulesEdit) -> Result<Rules, Fault> {
    let path = |typed: &Bytes| path_inside(typed, ask.directory.as_ref(), entry);
    match edit {
        RulesEdit::Show | RulesEdit::Confirm { .. } => {}
        RulesEdit::Add { read_only, masked, max_bytes, max_files, max_deletions } => {
            for (typed, rule) in [(read_only, PathRule::ReadOnly), (masked, PathRule::Masked)] {
                for typed in typed {
                    rules.paths.insert(path(typed)?, rule);
                }
            }
            if let Some(text) = max_bytes {
                rules.max_bytes =
                    Some(words::size(text).map_err(|why| bad(format!("`{text}`: {why}"), "2GB"))?);
            }
            rules.max_files = max_files.or(rules.max_files);
            if let Some(text) = max_deletions {
                rules.max_deletions = Some(deletion_limit(text)?);
            }
        }
        RulesEdit::Remove { all: true, .. } => rules = Rules::default(),
        RulesEdit::Remove { paths, max_bytes, max_files, max_deletions, .. } => {
            for typed in paths {
                let path = path(typed)?;
                rules.paths.remove(&path).ok_or_else(|| no_rule(entry, &path))?;
            }
            rules.max_bytes = rules.max_bytes.filter(|_| !max_bytes);
            rules.max_files = rules.max_files.filter(|_| !max_files);
            rules.max_deletions = rules.max_deletions.filter(|_| !max_deletions);
        }
    }
    Ok(rules)
}

/// Reads `200/10s`.
fn deletion_limit(text: &str) -> Result<DeletionLimit, Fault> {
    let parts = text.split_once('/');
    let limit = parts.and_then(|(count, span)| {
        let seconds = words::span(span).ok().and_then(|seconds| u32::try_from(seconds).ok())?;
        Some(DeletionLimit { count: count.parse().ok()?, seconds })
    });
    limit
        .ok_or_else(|| bad(format!("`{text}` is no limit of deletions"), "a number and a span, like 200/10s"))
}

fn report(entry: &Entry, workspace: &Workspace, is_changed: bool, in_use_by: Option<String>) -> RulesReport {
    let RulesNow { rules, deletions, stopped, free_until } = workspace.rules();
    let summary = workspace.summary();
    let path = |(path, rule): (Vec<u8>, PathRule)| PathRuleReport {
        path: Bytes(path),
        rule: rule.as_str().to_owned(),
    };
    RulesReport {
        workspace: entry.name(),
        id: entry.id.to_string(),
        paths: rules.paths.into_iter().map(path).collect(),
        max_bytes: rules.max_bytes,
        bytes: summary.private_bytes,
        max_files: rules.max_files,
        files: summary.files,
        max_deletions: rules
            .max_deletions
            .map(|DeletionLimit { count, seconds }| DeletionLimitReport { count, seconds }),
        deletions,
        stopped_at: stopped.map(|time| Moment(time.secs)),
        confirmed_until: free_until.map(|time| Moment(time.secs)),
        is_changed,
        in_force: in_use_by.is_none(),
        in_use_by,
    }
}

fn failed(entry: &Entry, error: Errno) -> Fault {
    match error {
        Errno::Invalid => bad(
            format!("these rules of `{}` cannot hold", entry.name()),
            "the root cannot be masked; deletions are at most 100,000 in at most a day",
        ),
        Errno::TooBig => bad(
            format!("these are too many rules for `{}`", entry.name()),
            "1,000 paths are the most; name a directory for all that is in it",
        ),
        error => crate::faults::errno("changing rules", error),
    }
}

fn no_rule(entry: &Entry, path: &[u8]) -> Fault {
    let (path, name) = (String::from_utf8_lossy(path).escape_debug().to_string(), entry.name());
    Fault::new(Code::UnknownRule, format!("`{name}` has no rule for `{path}`"))
        .hint(format!("weald rules {name}"))
}

fn bad(what: String, hint: &str) -> Fault {
    Fault::new(Code::BadRequest, what).hint(hint)
}
