//! The daemon's own words in the first record of a log: what the registry's row is rebuilt from.
//!
//! Invariant: fields are only added. Unknown ones are passed over, so an older daemon reads a newer card.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use weald_engine::Origin;
use weald_model::{Timestamp, WorkspaceId};
use weald_store::registry::{self, State, WorkspaceRow};

/// What a card says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Card {
    name: String,
    source: String,
    repo_path: Option<PathBuf>,
    repo_id: Option<String>,
    commit: Option<String>,
    branch: Option<String>,
    base_secs: i64,
    base_nanos: u32,
    mount_path: PathBuf,
    allow_other: bool,
    index_hash: Option<String>,
}

/// Writes the card of a row.
pub(crate) fn write(row: &WorkspaceRow) -> Vec<u8> {
    let card = Card {
        name: row.name.clone(),
        source: row.source.clone(),
        repo_path: row.repo_path.clone(),
        repo_id: row.repo_id.clone(),
        commit: row.commit.clone(),
        branch: row.branch.clone(),
        base_secs: row.base_time.secs,
        base_nanos: row.base_time.nanos,
        mount_path: row.mount_path.clone(),
        allow_other: row.allow_other,
        index_hash: row.index_hash.clone(),
    };
    serde_json::to_vec(&card).expect("paths of a card were text when they came in")
}

/// Rebuilds the row of a workspace from its first record; None when that is no card.
pub(crate) fn read(id: WorkspaceId, origin: &Origin) -> Option<WorkspaceRow> {
    let card: Card = serde_json::from_slice(&origin.note).ok()?;
    Some(WorkspaceRow {
        id,
        name: card.name,
        state: State::Active,
        origin: origin.parent.map(|(parent, seq)| registry::Origin { parent, seq }),
        source: card.source,
        repo_path: card.repo_path,
        repo_id: card.repo_id,
        tree: origin.tree.map(|tree| tree.to_string()).unwrap_or_default(),
        commit: card.commit,
        branch: card.branch,
        base_time: Timestamp { secs: card.base_secs, nanos: card.base_nanos },
        created_at: origin.time.secs,
        trashed_at: None,
        mount_path: card.mount_path,
        uid: origin.uid,
        gid: origin.gid,
        allow_other: card.allow_other,
        index_hash: card.index_hash,
        files: 0,
        size_bytes: 0,
        private_bytes: 0,
    })
}

/// A row that may be damaged in what never changes, with that from its card. None when its name is none.
pub(crate) fn put_right(row: &WorkspaceRow, card: WorkspaceRow) -> Option<WorkspaceRow> {
    weald_model::WorkspaceName::new(&row.name).ok()?;
    let is_named_after = row.mount_path.file_name().is_some_and(|name| name == row.name.as_str());
    let follows = row.mount_path.parent() == card.mount_path.parent() && is_named_after;
    let stays = follows || row.mount_path == card.mount_path;
    Some(WorkspaceRow {
        name: row.name.clone(),
        state: row.state,
        trashed_at: row.trashed_at,
        mount_path: if stays { row.mount_path.clone() } else { card.mount_path.clone() },
        files: row.files,
        size_bytes: row.size_bytes,
        private_bytes: row.private_bytes,
        ..card
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> WorkspaceRow {
        let origin = Origin {
            tree: None,
            uid: 7,
            gid: 8,
            parent: Some((WorkspaceId(1), 9)),
            note: br#"{"name":"a","source":"/s","repo_path":null,"repo_id":null,"commit":"c","branch":"b",
                "base_secs":5,"base_nanos":6,"mount_path":"/m/a","allow_other":true,"index_hash":null,"later":1}"#
                .to_vec(),
            time: Timestamp::from_secs(3),
        };
        read(WorkspaceId(2), &origin).unwrap()
    }

    #[test]
    fn a_card_with_fields_of_a_later_version_is_read() {
        let row = row();
        assert_eq!((row.name.as_str(), row.uid, row.created_at, row.allow_other), ("a", 7, 3, true));
        assert_eq!(row.origin.map(|origin| origin.seq), Some(9));
    }

    #[test]
    fn a_row_survives_its_card() {
        let row = row();
        let origin = Origin {
            tree: None,
            uid: row.uid,
            gid: row.gid,
            parent: Some((WorkspaceId(1), 9)),
            note: write(&row),
            time: Timestamp::from_secs(row.created_at),
        };
        assert_eq!(read(row.id, &origin), Some(row));
    }

    #[test]
    fn rubbish_is_no_card() {
        let origin = Origin {
            tree: None,
            uid: 0,
            gid: 0,
            parent: None,
            note: b"\xff".to_vec(),
            time: Timestamp::default(),
        };
        assert_eq!(read(WorkspaceId(1), &origin), None);
    }
}
