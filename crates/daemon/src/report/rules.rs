//! The rules of a workspace, as `weald rules` shows them.
//!
//! Invariant: as in [`crate::report`], fields are only added.

use super::{Bytes, Moment};
use serde::{Deserialize, Serialize};

/// Answer to rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesReport {
    /// The workspace.
    pub workspace: String,
    /// Its id.
    pub id: String,
    /// Rules of paths, in the order of these.
    pub paths: Vec<PathRuleReport>,
    /// Most private bytes; null without a limit.
    pub max_bytes: Option<u64>,
    /// Private bytes now.
    pub bytes: u64,
    /// Most files and symbolic links; null without a limit.
    pub max_files: Option<u64>,
    /// Files and symbolic links now.
    pub files: u64,
    /// Most deletions; null without a limit.
    pub max_deletions: Option<DeletionLimitReport>,
    /// Deletions that count now; null without a limit.
    pub deletions: Option<u32>,
    /// Since when no name can be deleted, after there were too many; null while names can be.
    pub stopped_at: Option<Moment>,
    /// Until when deletions do not count; null when they do.
    pub confirmed_until: Option<Moment>,
    /// True when the command changed anything.
    pub is_changed: bool,
    /// True when all holds already; false when programs may open read-only files for writing until the next mount, though
    /// not write to them.
    pub in_force: bool,
    /// Who prevents that, as a sentence.
    pub in_use_by: Option<String>,
}

/// The rule of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRuleReport {
    /// From the root of the workspace; empty is the root.
    pub path: Bytes,
    /// `read-only` or `masked`.
    pub rule: String,
}

/// So many deletions in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionLimitReport {
    /// How many.
    pub count: u32,
    /// In how many seconds.
    pub seconds: u32,
}
