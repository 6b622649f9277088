//! Which snapshots stay and which are dropped.
//!
//! Invariants: what somebody asked for or tagged stays unless the options of a plan say otherwise; the newest snapshot
//! always stays; the answer depends on the snapshots and the policy alone, and a snapshot that was dropped would
//! be dropped again. Read next: `keeper` (takes them), `gc` (plans).

use crate::config::Keep;
use crate::report::GcOptions;
use std::collections::HashSet;
use weald_engine::{Occasion, Snapshot};

const HOUR_SECS: i64 = 3_600;
const DAY_SECS: i64 = 86_400;

/// What stays.
#[derive(Clone, Debug)]
pub(crate) enum Policy {
    /// Automatic ones are thinned.
    Settings(Keep),
    /// All but tagged ones are; a plan's options, and the time it is.
    Options(GcOptions, i64),
}

impl Policy {
    /// The policy of a plan: its options if it has any.
    pub(crate) fn of_plan(options: &GcOptions, keep: Keep, now: i64) -> Self {
        if *options == GcOptions::default() {
            Policy::Settings(keep)
        } else {
            Policy::Options(options.clone(), now)
        }
    }

    /// Those that are dropped, the oldest first, and why. `snapshots` are in the order they were taken.
    pub(crate) fn dropped<'a>(&self, snapshots: &'a [Snapshot]) -> Vec<&'a Snapshot> {
        let last = snapshots.last().map(|snapshot| snapshot.id);
        let thinned: Vec<&Snapshot> = snapshots.iter().filter(|snapshot| self.thins(snapshot)).collect();
        let kept: HashSet<usize> = match self {
            Policy::Settings(keep) => kept_by_settings(&thinned, keep),
            Policy::Options(options, now) => kept_by_options(&thinned, options, *now),
        };
        let dropped = thinned.into_iter().enumerate().filter(|(at, _)| !kept.contains(at));
        dropped.map(|(_, snapshot)| snapshot).filter(|snapshot| Some(snapshot.id) != last).collect()
    }

    /// Why, for people.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Policy::Settings(_) => "taken by itself, and others near it are kept",
            Policy::Options(..) => "outside what --keep-last, --keep-days and --keep-tag keep",
        }
    }

    /// True for one that can be dropped at all.
    fn thins(&self, snapshot: &Snapshot) -> bool {
        match self {
            Policy::Settings(_) => snapshot.occasion != Occasion::Asked && snapshot.tags.is_empty(),
            Policy::Options(options, _) if options.keep_tags.is_empty() => snapshot.tags.is_empty(),
            Policy::Options(options, _) => !snapshot.tags.iter().any(|tag| options.keep_tags.contains(tag)),
        }
    }
}

/// The newest of all, of each hour and of each day.
fn kept_by_settings(thinned: &[&Snapshot], keep: &Keep) -> HashSet<usize> {
    let mut kept: HashSet<usize> = newest(thinned.len(), keep.last);
    for (unit, most) in [(HOUR_SECS, keep.hourly), (DAY_SECS, keep.daily)] {
        let mut spans = HashSet::new();
        for (at, snapshot) in thinned.iter().enumerate().rev() {
            let span = snapshot.time.secs.div_euclid(unit);
            if (spans.len() as u64) < most && spans.insert(span) {
                kept.insert(at);
            }
        }
    }
    kept
}

fn kept_by_options(thinned: &[&Snapshot], options: &GcOptions, now: i64) -> HashSet<usize> {
    let mut kept = newest(thinned.len(), options.keep_last.unwrap_or(0));
    if let Some(days) = options.keep_days {
        let span = i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(DAY_SECS);
        let from = now.saturating_sub(span);
        kept.extend((0..thinned.len()).filter(|at| thinned[*at].time.secs >= from));
    }
    kept
}

fn newest(count: usize, keep: u64) -> HashSet<usize> {
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    (count.saturating_sub(keep)..count).collect()
}

#[cfg(test)]
mod tests;
