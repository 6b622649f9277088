//! When a workspace goes from memory.

use super::*;
use weald_engine::Base;
use weald_model::Timestamp;

/// A workspace in memory.
fn entry(stores: &Stores, state: State) -> Arc<Entry> {
    let id = WorkspaceId(7);
    let base_time = Timestamp { secs: 1_700_000_000, nanos: 0 };
    let row = WorkspaceRow {
        id,
        name: "w".to_owned(),
        state,
        origin: None,
        source: "/empty".to_owned(),
        repo_path: None,
        repo_id: None,
        tree: String::new(),
        commit: None,
        branch: None,
        base_time,
        created_at: base_time.secs,
        trashed_at: None,
        mount_path: "/w".into(),
        uid: 0,
        gid: 0,
        allow_other: false,
        index_hash: None,
        files: 0,
        size_bytes: 0,
        private_bytes: 0,
    };
    let workspace =
        Workspace::create(Arc::clone(&stores.shared), id, Base::empty(0, 0, base_time), b"").unwrap();
    Entry::with(row, workspace)
}

#[test]
fn a_removed_workspace_that_was_in_use_goes_from_memory_once_it_is_not() {
    let home = tempfile::tempdir().unwrap();
    let stores = Stores::open(home.path()).unwrap();
    let entry = entry(&stores, State::Trashed);
    let user = entry.loaded();
    entry.unload(&stores);
    assert!(entry.unload_late(&stores) && entry.loaded().is_some(), "somebody uses it");
    drop(user);
    assert!(!entry.unload_late(&stores) && entry.loaded().is_none());
    assert!(!entry.unload_late(&stores), "nothing is left to do");
}

#[test]
fn a_workspace_that_was_not_removed_stays_in_memory() {
    let home = tempfile::tempdir().unwrap();
    let stores = Stores::open(home.path()).unwrap();
    let entry = entry(&stores, State::Active);
    assert!(!entry.unload_late(&stores) && entry.loaded().is_some());
}
