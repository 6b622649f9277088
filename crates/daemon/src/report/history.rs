//! Answers about snapshots, history and differences.
//!
//! Invariant: as in [`crate::report`], fields are only added.

use super::Moment;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes that are nearly always text, like a path: a JSON string when they are UTF-8, else an array of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> serde::de::Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or an array of bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
        Ok(Bytes(text.as_bytes().to_vec()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Bytes, E> {
        Ok(Bytes(text.into_bytes()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Bytes(bytes))
    }
}

/// A snapshot: answer to snapshot, and a line of history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReport {
    /// Id, for ever.
    pub id: String,
    /// The workspace it was taken in: for a fork, also the one it was forked from.
    pub workspace: String,
    /// The snapshot before it.
    pub parent: Option<String>,
    /// What it was taken for, in the user's words.
    pub note: String,
    /// Tags.
    pub tags: Vec<String>,
    /// When it was taken.
    pub created_at: Moment,
    /// `taken`: durable, content lies where it was written; `sealed`: also under one hash, in the store of chunks.
    pub state: String,
    /// Hash of everything it shows, once it is sealed.
    pub root: Option<String>,
    /// Why it was taken: `asked`, `timer`, `quiet`, `before-restore`, `before-remove`, `before-merge`, `before-run`.
    pub occasion: String,
    /// The N of `@N`: 1 is the last one.
    pub back: u64,
    /// The operation after which it stands, as `@{op N}` counts them in its workspace.
    pub operation: u64,
}

/// A state that a command worked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReport {
    /// The workspace.
    pub workspace: String,
    /// As it is written: `WS@REF`, or `WS` for the present.
    pub name: String,
    /// The snapshot, if it is one's.
    pub snapshot: Option<String>,
    /// The log it is in; another workspace's for what was before a fork.
    pub log: String,
    /// The last operation of that log that it has.
    pub operation: u64,
    /// The moment it is from; null when that is not known.
    pub time: Option<Moment>,
}

/// Answer to restore.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreReport {
    /// The workspace.
    pub workspace: String,
    /// The state that was brought back.
    pub state: StateReport,
    /// The snapshot of the present that was taken first; null when nothing differed, so that nothing was done.
    pub before: Option<SnapshotReport>,
    /// What came back, by number.
    pub totals: Totals,
}

/// Answer to undo and redo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UndoReport {
    /// The workspace.
    pub workspace: String,
    /// The state it is in now.
    pub state: StateReport,
    /// What changed, by number.
    pub totals: Totals,
}

/// How many files differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Only in the later state.
    pub added: u64,
    /// Only in the earlier one.
    pub removed: u64,
    /// In both, with other content or attributes.
    pub modified: u64,
    /// Lines added, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_added: Option<u64>,
    /// Lines removed, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_removed: Option<u64>,
}

impl Totals {
    /// True when nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added + self.removed + self.modified == 0
    }
}

/// Answer to diff.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffReport {
    /// The earlier state.
    pub from: StateReport,
    /// The later one.
    pub to: StateReport,
    /// Only in the later one, by path.
    pub added: Vec<DiffEntry>,
    /// Only in the earlier one.
    pub removed: Vec<DiffEntry>,
    /// In both, and different.
    pub modified: Vec<DiffEntry>,
    /// How many there are of each, also those left out.
    pub totals: Totals,
    /// True when the lists or the patch were too long and end early.
    pub truncated: bool,
}

/// A path that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffEntry {
    /// Below the workspace's root.
    pub path: Bytes,
    /// `file`, `directory`, `symlink`, `fifo`, `socket`, `device`; of a removed path, what it was.
    pub kind: String,
    /// Type and permissions as in `st_mode`, in octal: `100644`.
    pub mode: String,
    /// Size; null for content that was not fetched yet.
    pub size_bytes: Option<u64>,
    /// What it was, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_mode: Option<String>,
    /// The size it had, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_size_bytes: Option<u64>,
    /// For a modified path: whether its bytes differ, or only its attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<bool>,
    /// With `--stat` or `--patch`, for text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<LineCounts>,
    /// With `--patch`: as `git diff` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Bytes>,
}

/// Lines that came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineCounts {
    /// Added.
    pub added: u64,
    /// Removed.
    pub removed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_no_text_survive_json() {
        for (path, json) in [(&b"a b"[..], "\"a b\""), (b"a\xff", "[97,255]"), (b"", "\"\"")] {
            let bytes = Bytes(path.to_vec());
            assert_eq!(serde_json::to_string(&bytes).unwrap(), json);
            assert_eq!(serde_json::from_str::<Bytes>(json).unwrap(), bytes);
        }
    }
}
