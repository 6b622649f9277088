//! Changing rules, and what they are now.

use super::{DeletionLimit, PathRule, RuleChange, Rules};
use crate::history::Changed;
use crate::record::Change;
use crate::workspace::Workspace;
use weald_model::{Caller, Errno, Ino, Result, Timestamp};

/// The rules of a workspace, and what came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesNow {
    /// What is forbidden.
    pub rules: Rules,
    /// Deletions that count now; None without a limit.
    pub deletions: Option<u32>,
    /// Since when no name can be deleted, after there were too many.
    pub stopped: Option<Timestamp>,
    /// Until when deletions do not count.
    pub free_until: Option<Timestamp>,
}

impl Workspace {
    /// The rules.
    pub fn rules(&self) -> RulesNow {
        let now = self.now();
        let state = self.read_state();
        let rules = state.history.rules.as_deref().cloned().unwrap_or_default();
        let deletions = &state.history.deletions;
        let count = |limit: DeletionLimit| deletions.count(limit, now);
        RulesNow {
            deletions: rules.max_deletions.map(count),
            rules,
            stopped: deletions.stopped,
            free_until: deletions.free_until.filter(|until| now < *until),
        }
    }

    /// True when a path is read-only, so that a front end should ask before it opens: [`Workspace::may_open`].
    pub fn has_read_only_paths(&self) -> bool {
        let state = self.read_state();
        let rules = state.history.rules.as_ref();
        rules.is_some_and(|rules| rules.paths.values().any(|rule| *rule == PathRule::ReadOnly))
    }

    /// Replaces the rules; durable when it returns. What those who cache names and content must forget; None when the
    /// rules were the same. Errors of [`Rules::check`].
    pub fn set_rules(&self, who: &Caller, rules: Rules) -> Result<Option<Changed>> {
        rules.check()?;
        let who = self.shared.author(who);
        let changed = {
            let mut state = self.write_state();
            if state.history.rules.as_deref().map_or(rules.is_empty(), |before| *before == rules) {
                return Ok(None);
            }
            let before = state.clone();
            let change = Change::Rules(Box::new(RuleChange::Set(rules)));
            self.append(&mut state, &who, self.now(), change, &[])?;
            let after = state.clone();
            drop(state);
            before.masks_changed(&self.base, &after)?
        };
        self.sync()?;
        Ok(Some(changed))
    }

    /// Lets names be deleted until then without counting, also after there were too many; durable when it returns.
    /// EINVAL without a limit.
    pub fn confirm_deletions(&self, who: &Caller, seconds: u32) -> Result<Timestamp> {
        let until = self.change_with(who, &[], |state, now| {
            let limit = state.history.rules.as_ref().and_then(|rules| rules.max_deletions);
            limit.ok_or(Errno::Invalid)?;
            let until = Timestamp { secs: now.secs.saturating_add(i64::from(seconds)), ..now };
            Ok((Some(Change::Rules(Box::new(RuleChange::Confirmed { until }))), until))
        })?;
        self.sync()?;
        Ok(until)
    }

    /// Gives a fork of the past the rules of now: who can read the past must not come past them by it.
    pub(crate) fn hand_on_rules(&self, fork: &Workspace) -> Result<()> {
        let rules = self.read_state().history.rules.clone();
        let (uid, gid) = self.base.owner();
        fork.change(&Caller::owner(uid, gid), |state, _| {
            if state.history.rules == rules {
                return Ok(None);
            }
            let rules = rules.as_ref().map(|rules| Rules::clone(rules)).unwrap_or_default();
            Ok(Some(Change::Rules(Box::new(RuleChange::Set(rules)))))
        })
    }

    /// Whether a file may be opened, for reading or also for writing: EACCES, EROFS.
    pub fn may_open(&self, ino: Ino, writes: bool) -> Result<()> {
        let state = self.read_state();
        if writes { state.must_change(&self.base, ino) } else { state.must_see(&self.base, ino) }
    }
}

impl super::Deletions {
    fn count(&self, limit: DeletionLimit, now: Timestamp) -> u32 {
        let recent = self.recent.iter().filter(|(_, time)| super::room::is_within(**time, now, limit));
        u32::try_from(recent.count()).unwrap_or(u32::MAX)
    }
}

impl PathRule {
    /// One word for people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            PathRule::ReadOnly => "read-only",
            PathRule::Masked => "masked",
        }
    }
}

/// Rules in words, for the log.
pub(crate) fn told(rules: &Rules) -> String {
    let path = |(path, rule): (&Vec<u8>, &PathRule)| {
        let path = if path.is_empty() { ".".into() } else { String::from_utf8_lossy(path) };
        format!("{} {path}", rule.as_str())
    };
    let mut parts: Vec<String> = rules.paths.iter().map(path).collect();
    parts.extend(rules.max_bytes.map(|max| format!("at most {max} bytes")));
    parts.extend(rules.max_files.map(|max| format!("at most {max} files")));
    parts.extend(
        rules
            .max_deletions
            .map(|limit| format!("at most {} deletions in {} seconds", limit.count, limit.seconds)),
    );
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}
