//! Answers about proof: what verification found, and anchors.

use super::Moment;
use serde::{Deserialize, Serialize};

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyProblem {
    /// The workspace it harms; null when it is none's alone.
    pub workspace: Option<String>,
    /// The file, or the repository.
    pub file: String,
    /// Where in the file; null when it is about the whole.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// Answer to verify.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verification {
    /// True when there is no problem.
    pub ok: bool,
    /// Workspaces that were verified, by name.
    pub workspaces: Vec<String>,
    /// Headers, records, pieces of data, manifests, stored files, git objects and rows that were checked.
    pub checked_objects: u64,
    /// Bytes that were checked.
    pub checked_bytes: u64,
    /// Sealed snapshots whose root was computed again, from their objects and from the log.
    #[serde(default)]
    pub checked_roots: u64,
    /// Anchors and kept heads that were compared.
    pub checked_anchors: u64,
    /// What is wrong; at most a thousand are listed.
    pub problems: Vec<VerifyProblem>,
    /// Problems there was no room to list.
    pub more_problems: u64,
}

/// Answer to anchor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Anchored {
    /// The workspace.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Number of its last record.
    pub record: u64,
    /// The hash over everything up to it.
    pub chain: String,
    /// All three as one word, for `weald verify --anchor`.
    pub anchor: String,
    /// When it was taken.
    pub time: Moment,
    /// The ref in the source repository; null when none was asked for.
    pub tag: Option<String>,
}
