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
    /// The exact command that writes it anew from the source; null when nothing but a copy helps.
    pub fix: Option<String>,
    /// True when that was done.
    pub is_healed: bool,
}

/// A log whose first records were given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBegin {
    /// Its workspace; null when it has no name any more.
    pub workspace: Option<String>,
    /// The last record that was given up.
    pub last_record: u64,
    /// Anchors and kept heads from before, which could be compared with nothing.
    pub anchors_before: u64,
}

/// Answer to verify.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verification {
    /// True when there is no problem left.
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
    /// Those of them that are signed. The daemon does not check signatures: keys are the user's.
    pub signed_anchors: Vec<SignedAnchor>,
    /// Signatures that were checked.
    pub checked_signatures: u64,
    /// Logs whose first records were given up: what is before cannot be verified.
    #[serde(default)]
    pub given_up: Vec<LogBegin>,
    /// What is wrong; at most a thousand are listed.
    pub problems: Vec<VerifyProblem>,
    /// Problems there was no room to list.
    pub more_problems: u64,
}

/// An anchor with a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAnchor {
    /// The workspace; null when it has no name any more.
    pub workspace: Option<String>,
    /// The repository it is in.
    pub repository: String,
    /// The ref.
    pub name: String,
    /// Id of the tag object.
    pub tag: String,
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
    /// True when that points at a signed tag.
    pub signed: bool,
    /// The source repository; null without git.
    pub repository: Option<String>,
    /// The commit in it that an anchor points at, itself or through a tag.
    pub base_commit: Option<String>,
}
