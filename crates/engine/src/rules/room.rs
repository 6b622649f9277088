//! How much may be written, made and deleted.
//!
//! What counts are the figures that `list` shows, which every state has at hand. Deletions are counted by the times of
//! their records, so that a replay comes to the same.

use super::{DeletionLimit, Deletions, RuleChange};
use crate::base::Base;
use crate::content::Content;
use crate::record::Change;
use crate::state::{Body, Inode, State};
use std::sync::Arc;
use weald_model::{Errno, Ino, Result, Timestamp};

impl State {
    /// EDQUOT when `len` bytes written at `offset` would be more than may be. Overwriting takes no more.
    pub(crate) fn must_have_bytes(&self, base: &Base, ino: Ino, offset: u64, len: u64) -> Result<()> {
        let Some(max) = self.history.rules.as_ref().and_then(|rules| rules.max_bytes) else { return Ok(()) };
        if self.private_bytes.saturating_add(len) <= max {
            return Ok(());
        }
        let hidden = self.with(base, ino, |inode| match &inode.body {
            Body::File(content) => Ok(content.private_in(offset, offset.saturating_add(len))),
            _ => Ok(0),
        })?;
        let grown = len.saturating_sub(hidden);
        // What was deleted goes when the kernel says so, a moment later or when the last program closes it. It counts by
        // itself, up to as much again, so that deleting makes room at once.
        let private = |inode: Option<&Arc<Inode>>| inode.map_or(0, |inode| inode.private());
        let unnamed: u64 = self.orphan_inodes().map(|(_, inode)| private(inode)).sum();
        let counted = if self.is_orphan(ino) { unnamed } else { self.private_bytes - unnamed };
        if grown == 0 || counted.saturating_add(grown) <= max { Ok(()) } else { Err(Errno::Quota) }
    }

    /// The same for a range of one file copied over a range of another.
    pub(crate) fn must_have_copied(
        &self,
        base: &Base,
        (from, from_offset): (Ino, u64),
        (to, to_offset): (Ino, u64),
        len: u64,
    ) -> Result<()> {
        if self.history.rules.as_ref().is_none_or(|rules| rules.max_bytes.is_none()) {
            return Ok(());
        }
        let private =
            self.with(base, from, |inode| Ok(inode.content()?.private_in(from_offset, from_offset + len)))?;
        self.must_have_bytes(base, to, to_offset, private)
    }

    /// EDQUOT when there are as many files as may be.
    pub(crate) fn must_have_a_file(&self) -> Result<()> {
        let max = self.history.rules.as_ref().and_then(|rules| rules.max_files);
        if max.is_some_and(|max| self.files >= max) { Err(Errno::Quota) } else { Ok(()) }
    }

    /// EPERM inside when no name may be deleted now; what is to be logged for it, if anything.
    pub(crate) fn plan_deletion(&self, time: Timestamp) -> Option<Option<Change>> {
        let limit = self.history.rules.as_ref()?.max_deletions?;
        match self.history.deletions.verdict(limit, time) {
            Verdict::Free => None,
            Verdict::Stop => Some(Some(Change::Rules(Box::new(RuleChange::Stopped)))),
            Verdict::Stopped => Some(None),
        }
    }

    /// A name was deleted.
    pub(crate) fn note_deletion(&mut self, time: Timestamp) {
        let limit = self.history.rules.as_ref().and_then(|rules| rules.max_deletions);
        if let Some(limit) = limit {
            self.history.deletions.note(limit, time);
        }
    }

    /// What a record about rules does.
    pub(crate) fn change_rules(&mut self, change: &RuleChange, time: Timestamp) {
        let history = &mut self.history;
        match change {
            RuleChange::Set(rules) => {
                let before = history.rules.as_ref().and_then(|rules| rules.max_deletions);
                if before != rules.max_deletions {
                    history.deletions = Deletions::default();
                }
                history.rules = (!rules.is_empty()).then(|| rules.clone().into());
                self.guard = std::sync::OnceLock::new();
            }
            RuleChange::Stopped => history.deletions.stopped = Some(time),
            RuleChange::Confirmed { until } => {
                history.deletions = Deletions { free_until: Some(*until), ..Deletions::default() };
            }
        }
    }
}

/// Whether a name may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Free,
    /// It would be one too many.
    Stop,
    /// One was.
    Stopped,
}

impl Deletions {
    fn verdict(&self, limit: DeletionLimit, time: Timestamp) -> Verdict {
        if self.stopped.is_some() {
            return Verdict::Stopped;
        }
        let is_full = self.recent.len() >= limit.count as usize;
        let oldest = self.recent.iter().next().map(|(_, time)| *time);
        let is_recent = oldest.is_none_or(|oldest| is_within(oldest, time, limit));
        if !self.is_free(time) && is_full && is_recent { Verdict::Stop } else { Verdict::Free }
    }

    fn note(&mut self, limit: DeletionLimit, time: Timestamp) {
        if self.is_free(time) {
            return;
        }
        while let Some((number, oldest)) = self.recent.iter().next().map(|(number, time)| (*number, *time))
            && (self.recent.len() >= limit.count as usize || !is_within(oldest, time, limit))
        {
            self.recent.remove(&number);
        }
        self.recent.insert(self.next, time);
        self.next += 1;
    }

    fn is_free(&self, time: Timestamp) -> bool {
        self.free_until.is_some_and(|until| time < until)
    }
}

/// True when a moment lies less than the limit's span before another, or behind it: clocks are set back, too.
pub(super) fn is_within(moment: Timestamp, now: Timestamp, limit: DeletionLimit) -> bool {
    let nanos = |time: Timestamp| i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
    nanos(now) - nanos(moment) < i128::from(limit.seconds) * 1_000_000_000
}

impl Content {
    /// The bytes of a range that were written here.
    fn private_in(&self, from: u64, to: u64) -> u64 {
        let pieces = self.pieces(from, to).into_iter();
        let private =
            pieces.filter(|piece| piece.extent.as_ref().is_some_and(|extent| extent.origin.is_private()));
        private.map(|piece| piece.len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::rules::{PathRule, Rules};
    use proptest::prelude::*;

    #[test]
    fn rules_and_deletions_that_count_come_back_from_a_checkpoint() {
        let limit = DeletionLimit { count: 3, seconds: 9 };
        let paths = [(b"a/.env".to_vec(), PathRule::Masked)].into();
        let rules = Rules { paths, max_bytes: Some(7), max_files: None, max_deletions: Some(limit) };
        let mut history = History::new();
        history.rules = Some(rules.into());
        (0..5).for_each(|second| history.deletions.note(limit, Timestamp::from_secs(second)));
        history.deletions.stopped = Some(Timestamp::from_secs(6));
        let mut again = History::new();
        for (key, value) in history.entries() {
            again.put_entry(&key, &value).unwrap();
        }
        assert!(again.entries() == history.entries() && again.entries() != History::new().entries());
        assert_eq!((again.rules, again.deletions.recent.len()), (history.rules, 3));
    }

    proptest! {
        /// Against the list of all deletions that went.
        #[test]
        fn no_more_deletions_go_than_the_limit_says_in_any_span(
            count in 0u32..6, seconds in 1u32..5, steps in prop::collection::vec(0i64..3_000_000_000, 1..60),
        ) {
            let limit = DeletionLimit { count, seconds };
            let (mut deletions, mut gone, mut now) = (Deletions::default(), Vec::<i64>::new(), 0i64);
            for step in steps {
                now += step;
                let time = Timestamp { secs: now / 1_000_000_000, nanos: (now % 1_000_000_000) as u32 };
                let span = i64::from(seconds) * 1_000_000_000;
                let recent = gone.iter().filter(|then| now - **then < span).count();
                let verdict = deletions.verdict(limit, time);
                prop_assert_eq!(verdict == Verdict::Free, recent < count as usize);
                if verdict == Verdict::Free {
                    deletions.note(limit, time);
                    gone.push(now);
                }
                prop_assert!(deletions.recent.len() <= count as usize);
            }
        }
    }
}
