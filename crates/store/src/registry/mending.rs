//! A registry that is damaged is put aside, and made anew from the rows of it that can still be read.
//!
//! Invariant: the damaged file stays beside the new one, and takes its place only once that is whole. What could not be read is for the
//! caller to find in the logs. Read next: the daemon's `reconcile`.

use super::{Artifact, Registry, RegistryError, RepoRow, TABLES, VERSION, WorkspaceRow, rows};
use crate::NOT_POISONED;
use rusqlite::{Connection, OpenFlags, Row};
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What was damaged, and where it lies now.
#[derive(Clone, Debug)]
pub struct Mended {
    /// What was wrong.
    pub why: String,
    /// The damaged file.
    pub aside: PathBuf,
}

impl Registry {
    /// Opens the database; one that is damaged is made anew, as [`Registry::mended`] tells.
    pub fn open_or_mend(path: &Path) -> Result<Self, RegistryError> {
        match Self::open(path) {
            Err(RegistryError::Damaged(why)) => anew(path, why),
            other => other,
        }
    }

    /// Set when the registry was made anew because it was damaged.
    pub fn mended(&self) -> Option<&Mended> {
        self.mended.as_ref()
    }

    /// Looks at everything in it: what SQLite finds wrong, other tables than ours, rows that make no sense.
    pub(super) fn examine(&self) -> Result<(), RegistryError> {
        let version = self.once(|tables| {
            let found = tables.rows("PRAGMA integrity_check(1)", |row| row.get::<_, String>(0))?;
            if let Some(line) = found.into_iter().find(|line| line != "ok") {
                return Err(RegistryError::Damaged(line));
            }
            Ok(tables.rows("PRAGMA user_version", |row| row.get(0))?.first().copied().unwrap_or(VERSION))
        })?;
        let is_ours = schema(&self.connection.lock().expect(NOT_POISONED)).ok() == Some(our_schema());
        match (version, is_ours) {
            (VERSION, true) => {}
            // A newer Weald has other tables, else it would have no other version.
            (VERSION, false) => return Err(RegistryError::Damaged("it has other tables".to_owned())),
            (_, true) => {
                return Err(RegistryError::Damaged(format!("it says that its version is {version}")));
            }
            (_, false) => return Err(RegistryError::Version(version)),
        }
        self.once(|tables| {
            tables.workspaces()?;
            tables.repos()?;
            tables.artifacts().map(drop)
        })
    }
}

/// True where SQLite would take the file for one that must not be written, though nobody but damage says so.
pub(super) fn has_strange_header(path: &Path) -> bool {
    const WRITE_VERSION: u64 = 18;
    let mut versions = [0; 2];
    let read = std::fs::File::open(path).and_then(|file| file.read_exact_at(&mut versions, WRITE_VERSION));
    read.is_ok() && versions.iter().any(|one| *one > 2)
}

type Schema = Vec<(String, Option<String>)>;

fn schema(connection: &Connection) -> rusqlite::Result<Schema> {
    let mut all = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn our_schema() -> Schema {
    let made = || {
        let memory = Connection::open_in_memory()?;
        memory.execute_batch(TABLES)?;
        schema(&memory)
    };
    made().unwrap_or_default()
}

/// What can be read of a damaged database.
#[derive(Default)]
struct Left {
    workspaces: Vec<WorkspaceRow>,
    repos: Vec<RepoRow>,
    artifacts: Vec<Artifact>,
}

fn anew(path: &Path, why: String) -> Result<Registry, RegistryError> {
    let left = read_what_is_left(path);
    let new = beside(path, ".new");
    remove(&new)?;
    let registry = Registry::open(&new)?;
    for row in &left.workspaces {
        // A row that does not fit, such as one of two of a name, comes back from its log.
        let _ = registry.insert_workspace(row);
    }
    left.repos.iter().for_each(|row| drop(registry.put_repo(row)));
    left.artifacts.iter().for_each(|row| drop(registry.put_artifact(row)));
    registry.settle()?;
    // Closed, it has no file beside it, so a rename is all there is to do.
    drop(registry);
    let aside = beside(path, ".damaged");
    remove(&aside)?;
    // Its log first: it must never meet the new database.
    for (from, to) in [(beside(path, "-wal"), beside(&aside, "-wal")), (path.to_owned(), aside.clone())] {
        rename(&from, &to)?;
    }
    remove_file(&beside(path, "-shm"))?;
    rename(&new, path)?;
    let mut registry = Registry::open(path)?;
    registry.mended = Some(Mended { why, aside });
    Ok(registry)
}

fn read_what_is_left(path: &Path) -> Left {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let Ok(connection) = Connection::open_with_flags(path, flags) else { return Left::default() };
    Left {
        workspaces: left_of(&connection, "workspace NOT INDEXED", "id", rows::workspace, |row| row.id),
        repos: left_of(&connection, "repo", "id", rows::repo, |row| row.id.clone()),
        artifacts: left_of(&connection, "artifact", "tree, kind", rows::artifact, |row| {
            (row.tree.clone(), row.kind.clone())
        }),
    }
}

/// The rows from the first on and from the last back, each until a page cannot be read.
fn left_of<T, K: Ord>(
    connection: &Connection,
    table: &str,
    key: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    key_of: impl Fn(&T) -> K,
) -> Vec<T> {
    let mut known = BTreeSet::new();
    let mut all = Vec::new();
    let backwards = key.split(", ").map(|one| format!("{one} DESC")).collect::<Vec<_>>().join(", ");
    for order in [key, &backwards] {
        let Ok(mut statement) = connection.prepare(&format!("SELECT * FROM {table} ORDER BY {order}")) else {
            continue;
        };
        let Ok(mut found) = statement.query([]) else { continue };
        while let Ok(Some(row)) = found.next() {
            if let Ok(row) = read(row)
                && known.insert(key_of(&row))
            {
                all.push(row);
            }
        }
    }
    all
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Removes a database and what lies beside it.
fn remove(path: &Path) -> Result<(), RegistryError> {
    ["", "-wal", "-shm"].iter().try_for_each(|end| remove_file(&beside(path, end)))
}

fn remove_file(path: &Path) -> Result<(), RegistryError> {
    absent_is_fine(path, std::fs::remove_file(path))
}

fn rename(from: &Path, to: &Path) -> Result<(), RegistryError> {
    absent_is_fine(from, std::fs::rename(from, to))
}

fn absent_is_fine(path: &Path, done: std::io::Result<()>) -> Result<(), RegistryError> {
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let error = rusqlite::Error::ToSqlConversionFailure(Box::new(error));
            Err(RegistryError::Sqlite { path: path.to_owned(), error })
        }
        _ => Ok(()),
    }
}
