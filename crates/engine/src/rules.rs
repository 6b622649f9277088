//! Rules of a workspace: what programs in it must leave alone, what they do not see, how much they may write and delete.
//!
//! Invariants: rules are in the log, whole with each change of them, so that they come back with it; forks inherit them,
//! a restore leaves them alone. They hold in the operations of [`Workspace`](crate::Workspace), so for every front end;
//! going to the past and back is the user's own act and asks no rule. A workspace without rules pays one look at a pointer.
//! Read next: `rules/guard` (paths), `rules/room` (quota, deletions), `rules/set` (changing them).

use crate::persistent_map::Map;
use crate::record::{Malformed, Reader, Writer};
use std::collections::BTreeMap;
use weald_model::{Errno, Name, Result, Timestamp};

mod guard;
mod room;
mod set;

pub(crate) use guard::Guard;
pub use set::RulesNow;
pub(crate) use set::told;

/// Most paths with a rule.
const PATHS_MAX: usize = 1000;
/// Most bytes of them all: a record holds them.
const PATH_BYTES_MAX: usize = 512 << 10;
/// Largest number of deletions that a limit may name, and the longest span: so many times are remembered.
const DELETIONS_MAX: u32 = 100_000;
const SECONDS_MAX: u32 = 86_400;

/// What is forbidden in a workspace. The default forbids nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// By path from the root: names with single slashes between them, empty for the root. A rule holds for all below it.
    pub paths: BTreeMap<Vec<u8>, PathRule>,
    /// Most bytes of content that are not the base's: [`Summary::private_bytes`](crate::Summary).
    pub max_bytes: Option<u64>,
    /// Most files and symbolic links: [`Summary::files`](crate::Summary).
    pub max_files: Option<u64>,
    /// Most deletions in a span of time.
    pub max_deletions: Option<DeletionLimit>,
}

/// What holds for a path. The later one is the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathRule {
    /// It can be read, and nothing of it changed.
    ReadOnly = 0,
    /// It reads as absent.
    Masked = 1,
}

/// So many deletions in so many seconds, and no more until somebody says that they are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletionLimit {
    /// How many names may be deleted.
    pub count: u32,
    /// In how many seconds.
    pub seconds: u32,
}

/// A change of rules, or of what follows from them, as a record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RuleChange {
    /// These are the rules from here on.
    Set(Rules),
    /// There were as many deletions as may be; none goes from here on.
    Stopped,
    /// Deletions go again, and do not count until then.
    Confirmed { until: Timestamp },
}

/// The deletions that count, and whether they were stopped. A clone is O(1).
#[derive(Clone, Default)]
pub(crate) struct Deletions {
    /// When the last ones were, at most as many as the limit says, in order.
    pub(crate) recent: Map<u64, Timestamp>,
    pub(crate) next: u64,
    pub(crate) stopped: Option<Timestamp>,
    pub(crate) free_until: Option<Timestamp>,
}

impl Rules {
    /// True when nothing is forbidden.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// EINVAL for a path that is not as [`Rules::paths`] says, a masked root and a limit out of bounds; EFBIG
    /// for too many paths.
    pub fn check(&self) -> Result<()> {
        let bytes: usize = self.paths.keys().map(Vec::len).sum();
        if self.paths.len() > PATHS_MAX || bytes > PATH_BYTES_MAX {
            return Err(Errno::TooBig);
        }
        let is_path = |path: &[u8]| path.is_empty() || names(path).all(|name| Name::new(name).is_ok());
        let is_limit = |limit: &DeletionLimit| {
            limit.count <= DELETIONS_MAX && (1..=SECONDS_MAX).contains(&limit.seconds)
        };
        let is_root_masked = self.paths.get(&b""[..]) == Some(&PathRule::Masked);
        match self.paths.keys().all(|path| is_path(path))
            && self.max_deletions.iter().all(is_limit)
            && !is_root_masked
        {
            true => Ok(()),
            false => Err(Errno::Invalid),
        }
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.number(self.paths.len() as u64);
        for (path, rule) in &self.paths {
            w.bytes(path);
            w.tag(*rule as u8);
        }
        w.optional(self.max_bytes);
        w.optional(self.max_files);
        w.bool(self.max_deletions.is_some());
        if let Some(limit) = self.max_deletions {
            w.number(u64::from(limit.count));
            w.number(u64::from(limit.seconds));
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> std::result::Result<Self, Malformed> {
        let mut rules = Self::default();
        for _ in 0..r.number()? {
            let path = r.bytes()?.to_vec();
            let rule = match r.tag()? {
                0 => PathRule::ReadOnly,
                1 => PathRule::Masked,
                _ => return Err(Malformed("a rule")),
            };
            if rules.paths.last_key_value().is_some_and(|(last, _)| *last >= path) {
                return Err(Malformed("the order of rules"));
            }
            rules.paths.insert(path, rule);
        }
        rules.max_bytes = r.optional()?;
        rules.max_files = r.optional()?;
        if r.bool()? {
            rules.max_deletions = Some(DeletionLimit { count: r.small()?, seconds: r.small()? });
        }
        rules.check().map_err(|_| Malformed("rules"))?;
        Ok(rules)
    }
}

impl RuleChange {
    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        match self {
            RuleChange::Set(rules) => {
                w.tag(0);
                rules.encode(w);
            }
            RuleChange::Stopped => w.tag(1),
            RuleChange::Confirmed { until } => {
                w.tag(2);
                w.time(*until);
            }
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> std::result::Result<Self, Malformed> {
        Ok(match r.tag()? {
            0 => RuleChange::Set(Rules::decode(r)?),
            1 => RuleChange::Stopped,
            2 => RuleChange::Confirmed { until: r.time()? },
            _ => return Err(Malformed("a change of rules")),
        })
    }
}

/// The names of a path that is not the root's.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
}
