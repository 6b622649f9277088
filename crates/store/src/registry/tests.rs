//! Rows read are rows written; what does not fit is told.

use super::*;
use weald_model::Timestamp;

fn registry() -> (tempfile::TempDir, Registry) {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("registry.db")).unwrap();
    (dir, registry)
}

fn row(id: u64, name: &str) -> WorkspaceRow {
    WorkspaceRow {
        id: WorkspaceId(id),
        name: name.into(),
        state: State::Active,
        origin: Some(Origin { parent: WorkspaceId(u64::MAX), seq: 17 }),
        source: "/src".into(),
        repo_path: Some(PathBuf::from(OsStr::from_bytes(b"/r\xff"))),
        repo_id: None,
        tree: "aa".into(),
        commit: Some("bb".into()),
        branch: None,
        base_time: Timestamp { secs: -5, nanos: 999 },
        created_at: 100,
        trashed_at: None,
        mount_path: "/home/u/weald/a".into(),
        uid: u32::MAX,
        gid: 2,
        allow_other: true,
        index_hash: None,
        files: 1,
        size_bytes: u64::MAX,
        private_bytes: 3,
    }
}

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use weald_testkit::clock::mix;

#[test]
fn a_row_read_is_the_row_written_also_after_reopening() {
    let (dir, registry) = registry();
    registry.insert_workspace(&row(u64::MAX - 1, "a")).unwrap();
    drop(registry);
    let registry = Registry::open(&dir.path().join("registry.db")).unwrap();
    assert_eq!(registry.workspace(WorkspaceId(u64::MAX - 1)).unwrap().unwrap(), row(u64::MAX - 1, "a"));
    assert_eq!(registry.workspace_named("a").unwrap().unwrap().id.0, u64::MAX - 1);
    assert_eq!(registry.workspaces().unwrap().len(), 1);
}

#[test]
fn names_are_unique_among_active_workspaces_only() {
    let (_dir, registry) = registry();
    registry.insert_workspace(&row(1, "a")).unwrap();
    assert!(matches!(registry.insert_workspace(&row(2, "a")), Err(RegistryError::Exists)));
    assert!(matches!(registry.insert_workspace(&row(1, "b")), Err(RegistryError::Exists)));
    let mut trashed = row(1, "a");
    trashed.state = State::Trashed;
    trashed.trashed_at = Some(5);
    registry.update_workspace(&trashed).unwrap();
    registry.insert_workspace(&row(2, "a")).unwrap();
    assert_eq!(registry.workspace_named("a").unwrap().unwrap().id, WorkspaceId(2));
    assert!(matches!(registry.update_workspace(&row(1, "a")), Err(RegistryError::Exists)));
}

#[test]
fn changing_or_deleting_what_is_absent_is_an_error() {
    let (_dir, registry) = registry();
    assert!(matches!(registry.update_workspace(&row(1, "a")), Err(RegistryError::Missing)));
    assert!(matches!(registry.delete_workspace(WorkspaceId(1)), Err(RegistryError::Missing)));
}

#[test]
fn a_failed_transaction_changes_nothing() {
    let (_dir, registry) = registry();
    let done: Result<(), RegistryError> = registry.transaction(|tables| {
        tables.insert_workspace(&row(1, "a"))?;
        tables.insert_workspace(&row(2, "a"))
    });
    assert!(matches!(done, Err(RegistryError::Exists)));
    assert!(registry.workspaces().unwrap().is_empty());
    registry
        .transaction(|tables| {
            tables.insert_workspace(&row(1, "a"))?;
            tables.insert_workspace(&row(2, "b"))
        })
        .map_err(|error: RegistryError| error)
        .unwrap();
    assert_eq!(registry.workspaces().unwrap().len(), 2);
}

#[test]
fn repos_and_artifacts_are_kept() {
    let (_dir, registry) = registry();
    let mut repo =
        RepoRow { id: "r".into(), url: "u".into(), path: "/p".into(), depth: Some(1), fetched_at: 9 };
    registry.put_repo(&repo).unwrap();
    repo.depth = None;
    registry.put_repo(&repo).unwrap();
    assert_eq!(registry.repos().unwrap(), [repo]);
    registry.delete_repo("r").unwrap();
    assert!(registry.repos().unwrap().is_empty());
    let artifact = Artifact { tree: "t".into(), kind: "index".into(), hash: "h".into() };
    registry.put_artifact(&artifact).unwrap();
    assert_eq!(registry.artifact("t", "index").unwrap().as_deref(), Some("h"));
    assert_eq!(registry.artifacts().unwrap(), [artifact]);
    registry.delete_artifact("t", "index").unwrap();
    assert_eq!(registry.artifact("t", "index").unwrap(), None);
}

#[test]
fn a_file_that_is_no_database_is_told_as_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.db");
    std::fs::write(&path, vec![7; 5000]).unwrap();
    assert!(matches!(Registry::open(&path), Err(RegistryError::Damaged(_))));
}

#[test]
fn a_newer_registry_is_refused_and_left_alone() {
    let (dir, registry) = registry();
    let newer = |sql: &str| registry.connection.lock().unwrap().execute_batch(sql).unwrap();
    newer("ALTER TABLE repo ADD COLUMN later TEXT; PRAGMA user_version = 2");
    registry.settle().unwrap();
    drop(registry);
    let path = dir.path().join("registry.db");
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Registry::open_or_mend(&path), Err(RegistryError::Version(2))));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_damaged_registry_is_made_anew_from_the_rows_that_can_be_read() {
    let (dir, registry) = registry();
    let path = dir.path().join("registry.db");
    for id in 1..=40u64 {
        registry.insert_workspace(&row(id, &format!("w{id}"))).unwrap();
    }
    let trashed = WorkspaceRow { state: State::Trashed, trashed_at: Some(9), ..row(7, "renamed") };
    registry.update_workspace(&trashed).unwrap();
    registry.settle().unwrap();
    drop(registry);
    let whole = std::fs::read(&path).unwrap();
    let mut lost_pages = whole.clone();
    // A page with rows; the first ones say which tables there are.
    let middle = whole.len() - 2048;
    lost_pages[middle..middle + 1024].fill(0xA5);
    std::fs::write(&path, &lost_pages).unwrap();
    assert!(matches!(Registry::open(&path), Err(RegistryError::Damaged(_))));
    let mended = Registry::open_or_mend(&path).unwrap();
    let rows = mended.workspaces().unwrap();
    assert!(rows.len() > 25 && rows.len() < 40, "{} rows", rows.len());
    assert!(rows.contains(&trashed) && rows.contains(&row(40, "w40")));
    let aside = mended.mended().unwrap().aside.clone();
    assert_eq!(std::fs::read(aside).unwrap(), lost_pages, "the damaged one stays");
    drop(mended);
    assert!(Registry::open_or_mend(&path).unwrap().mended().is_none());
}

/// Whatever became of the file or the log beside it: it can be opened, makes sense, and is used on.
#[test]
fn a_registry_damaged_anywhere_is_opened_again() {
    const SECTOR: usize = 512;
    let (dir, registry) = registry();
    changed(&registry);
    registry.settle().unwrap();
    changed_more(&registry);
    let at = |name: &str| dir.path().join(name);
    let files = ["registry.db", "registry.db-wal"].map(|name| (name, std::fs::read(at(name)).unwrap()));
    let (mut mended, mut whole) = (0, 0);
    for number in 0..weald_testkit::operations(300) as usize {
        let copy = tempfile::tempdir().unwrap();
        let (hurt, luck) = (number / 7 % 2, |salt: u64| mix(number as u64 ^ salt << 40) as usize);
        for (which, (name, bytes)) in files.iter().enumerate() {
            let mut bytes = bytes.clone();
            // The header of the database is where damage has most ways to mislead.
            let end = if luck(9) % 4 == 0 { 100 } else { bytes.len() };
            let from = luck(1) % end;
            let len = (1 + luck(2) % SECTOR).min(bytes.len() - from);
            match number % 7 {
                _ if which != hurt => {}
                0 | 1 => bytes[from] ^= 1 << (luck(3) % 8),
                2 => bytes[from..from + len].fill(0),
                3 => (from..from + len).for_each(|at| bytes[at] = mix(at as u64 ^ number as u64) as u8),
                4 => bytes.truncate(from),
                5 => drop(bytes.drain(from..from + len)),
                _ if number % 3 == 0 => continue,
                _ => bytes.clear(),
            }
            std::fs::write(copy.path().join(name), bytes).unwrap();
        }
        let path = copy.path().join("registry.db");
        let found = Registry::open_or_mend(&path).unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(found.check().unwrap(), Vec::<String>::new(), "{number}");
        found.workspaces().unwrap();
        found.insert_workspace(&row(99, "after")).unwrap();
        *(if found.mended().is_some() { &mut mended } else { &mut whole }) += 1;
    }
    assert!(mended > 40 && whole > 40, "{mended} made anew, {whole} as they were");
    println!("torture: changes={}", mended + whole);
}

fn changed_more(registry: &Registry) {
    for id in 20..=24u64 {
        registry.insert_workspace(&row(id, &format!("w{id}"))).unwrap();
    }
}

/// Bytes of the database and of the files beside it that grow.
fn bytes(dir: &tempfile::TempDir) -> [u64; 2] {
    ["registry.db", "registry.db-wal"]
        .map(|name| std::fs::metadata(dir.path().join(name)).map_or(0, |data| data.len()))
}

#[test]
fn a_row_costs_little_disk_while_nothing_is_settled() {
    const ROWS: u64 = 50;
    let (dir, registry) = registry();
    let before: u64 = bytes(&dir).iter().sum();
    for number in 0..ROWS {
        // Ids are random, so that rows go to any page.
        let id = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut row = row(id, &format!("fork-{number}"));
        (row.tree, row.commit, row.index_hash) = ("a".repeat(40), Some("b".repeat(40)), Some("c".repeat(64)));
        row.mount_path = "/home/somebody/weald/a-workspace".into();
        registry.insert_workspace(&row).unwrap();
    }
    let grown = bytes(&dir).iter().sum::<u64>() - before;
    assert!(grown < ROWS * 6_000, "{grown} bytes for {ROWS} rows");
}

#[test]
fn a_settled_registry_has_an_empty_wal_and_goes_on() {
    let (dir, registry) = registry();
    registry.insert_workspace(&row(1, "a")).unwrap();
    assert!(bytes(&dir)[1] > 0);
    registry.settle().unwrap();
    assert_eq!(bytes(&dir)[1], 0);
    registry.insert_workspace(&row(2, "b")).unwrap();
    assert_eq!(registry.workspaces().unwrap().len(), 2);
}

/// Changes of every kind, and all rows behind each of them.
fn changed(registry: &Registry) -> Vec<Vec<WorkspaceRow>> {
    let mut states = vec![registry.workspaces().unwrap()];
    for id in 1..=12u64 {
        registry.insert_workspace(&row(id, &format!("w{id}"))).unwrap();
        states.push(registry.workspaces().unwrap());
        if id % 3 == 0 {
            let renamed = WorkspaceRow { state: State::Trashed, ..row(id - 1, &format!("renamed-{id}")) };
            let done = registry.transaction::<_, RegistryError>(|tables| {
                tables.update_workspace(&renamed)?;
                tables.delete_workspace(WorkspaceId(id - 2))
            });
            done.unwrap();
            states.push(registry.workspaces().unwrap());
        }
    }
    states
}

/// What a power cut leaves of the WAL is any part of what was written to it since it was last synced.
#[test]
fn whatever_a_power_cut_leaves_of_the_registry_has_the_rows_behind_some_change() {
    const SECTOR: usize = 512;
    let (dir, registry) = registry();
    let at = |name: &str| dir.path().join(name);
    let states = changed(&registry);
    let (db, wal) =
        (std::fs::read(at("registry.db")).unwrap(), std::fs::read(at("registry.db-wal")).unwrap());
    assert!(wal.len() > 50 * SECTOR, "the changes are in the WAL");
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..600 {
        let mut left = wal.clone();
        let place = number * 7919 % wal.len();
        match number % 3 {
            0 => left.truncate(place),
            1 => left[place..].fill(0),
            _ => left[place / SECTOR * SECTOR..].iter_mut().take(SECTOR).for_each(|byte| *byte = 0),
        }
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("registry.db");
        std::fs::write(&path, &db).unwrap();
        std::fs::write(copy.path().join("registry.db-wal"), &left).unwrap();
        let found = Registry::open(&path).unwrap();
        assert_eq!(found.check().unwrap(), Vec::<String>::new());
        let rows = found.workspaces().unwrap();
        let state = states.iter().position(|state| *state == rows);
        seen.insert(state.unwrap_or_else(|| panic!("rows of no moment after {number}: {rows:?}")));
        found.insert_workspace(&row(99, "after")).unwrap();
    }
    assert!(seen.len() > states.len() / 2, "{seen:?}");
}

/// The daemon is killed: a copy of the files at any moment is what the next one finds.
#[test]
fn a_kill_after_any_change_loses_none_of_the_rows() {
    let (dir, registry) = registry();
    for id in 1..=20u64 {
        registry.insert_workspace(&row(id, &format!("w{id}"))).unwrap();
        if id == 10 {
            registry.settle().unwrap();
        }
        let copy = tempfile::tempdir().unwrap();
        for name in ["registry.db", "registry.db-wal"] {
            std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let found = Registry::open(&copy.path().join("registry.db")).unwrap();
        assert_eq!(found.workspaces().unwrap(), registry.workspaces().unwrap());
    }
}
