//! What gc, pins and doctor answer.

use super::{Moment, Refusal};
use serde::{Deserialize, Serialize};

/// Which snapshots a plan keeps. Without any of them, what config.toml says about automatic ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcOptions {
    /// The newest of each workspace.
    pub keep_last: Option<u64>,
    /// Those of so many last days.
    pub keep_days: Option<u64>,
    /// Those with one of these tags; all tagged ones when empty.
    pub keep_tags: Vec<String>,
}

/// A pin: a state that is kept whatever the settings say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinRow {
    /// Its id.
    pub id: String,
    /// The workspace, by name, or by id once that is gone.
    pub workspace: String,
    /// The log the state is in: the workspace's own, or of one it was forked from.
    pub log: String,
    /// The number of the last record in it.
    pub record: u64,
    /// What was said about it.
    pub note: String,
    /// When it was pinned.
    pub created_at: Moment,
}

/// What can be taken away, in the order it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GcKind {
    /// A snapshot that is no longer listed.
    Snapshot,
    /// Written content that no state which stays reaches.
    Content,
    /// The first records of a log, that no state which stays needs.
    Records,
    /// The log of an emptied workspace.
    Log,
    /// A pin in a clone.
    Pin,
    /// A clone.
    Clone,
    /// A manifest.
    Manifest,
    /// Stored content.
    Stored,
    /// A file that was never finished.
    Temporary,
    /// Chunks that no sealed snapshot and no log names.
    Chunk,
    /// A copy of a source's content.
    ContentPack,
}

/// One thing a plan takes away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcItem {
    /// What it is.
    pub kind: GcKind,
    /// Names it among its kind.
    pub id: String,
    /// It, for people.
    pub what: String,
    /// Why nobody needs it.
    pub why: String,
    /// Bytes of disk that gives back.
    pub bytes: u64,
    /// Of content: file of the log, first byte, and the byte after the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<(u32, u64, u64)>,
}

/// Answer to gc plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GcPlan {
    /// Names it for `weald gc run`; the same for the same store and options.
    pub id: String,
    /// What it was made with.
    pub options: GcOptions,
    /// What it takes away.
    pub items: Vec<GcItem>,
    /// Bytes of disk all that gives back.
    pub freed_bytes: u64,
    /// What could not be looked at, and stays.
    pub skipped: Vec<Refusal>,
}

/// Answer to gc run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GcRun {
    /// The plan.
    pub plan: String,
    /// Items taken away.
    pub done: u64,
    /// Bytes of disk that gave back.
    pub freed_bytes: u64,
    /// What could not be taken away, and why.
    pub refused: Vec<Refusal>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something cannot be used.
    Error,
    /// Something will go wrong, or costs something.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something `weald doctor` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The part: `layout`, `config`, `mounts`, `registry`, `lineage`, `pins`, `manifests`, `store`, `environment`.
    pub area: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// The exact command or change that puts it right.
    pub fix: String,
    /// True when `weald doctor --fix` does so.
    pub is_fixable: bool,
    /// True when it was put right just now.
    pub is_fixed: bool,
}

/// Answer to doctor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Checkup {
    /// Things that were looked at.
    pub checked: u64,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}
