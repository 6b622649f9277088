//! The registry: which workspaces, repositories and shared files there are.
//!
//! Invariant: everything here can be rebuilt from the logs and the files beside it, so commits are not waited for
//! (`synchronous=NORMAL`): after a power cut the last rows may be missing, never half there.
//! Read next: [`rows`], what is kept; docs/format.md for the tables.

use crate::NOT_POISONED;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use weald_model::WorkspaceId;

mod mending;
pub mod rows;

pub use mending::Mended;
pub use rows::{Artifact, Origin, RepoRow, State, WorkspaceRow};

/// The version of the tables, in `PRAGMA user_version`.
pub const VERSION: i64 = 1;

/// Bytes of a page of a new database. A row fills half of one, and the WAL takes whole pages: with the usual 4 KiB
/// fifty forks cost 600 kB there, with 1 KiB 250 kB.
const PAGE_BYTES: u32 = 1024;

const TABLES: &str = include_str!("registry/tables.sql");

/// Why the registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A row of that name or id exists already.
    #[error("the registry has that already")]
    Exists,
    /// There is no such row to change or delete.
    #[error("the registry has no such row")]
    Missing,
    /// The file is no registry, or its rows make no sense. [`Registry::open_or_mend`] makes it anew.
    #[error("the registry is damaged: {0}")]
    Damaged(String),
    /// A newer Weald wrote it.
    #[error("the registry has version {0}, which this weald does not know")]
    Version(i64),
    /// The host refused a read or write.
    #[error("the registry at {path}: {error}")]
    Sqlite {
        /// Its file.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
}

impl RegistryError {
    /// True when the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Sqlite { error, .. }
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
    }
}

/// The open registry. One lock serialises all use; no call blocks on anything but the disk.
pub struct Registry {
    path: PathBuf,
    connection: Mutex<Connection>,
    mended: Option<Mended>,
}

/// The registry within a transaction, or within a single call.
pub struct Tables<'a> {
    path: &'a Path,
    connection: &'a Connection,
}

impl Registry {
    /// Opens the database, making it when absent.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut connection = Connection::open_with_flags(path, flags).map_err(|error| told(path, error))?;
        prepare(&mut connection).map_err(|error| unprepared(path, error))?;
        let registry = Self { path: path.to_owned(), connection: Mutex::new(connection), mended: None };
        registry.examine()?;
        Ok(registry)
    }

    /// Runs one or more calls; all of them happen, or, when `work` returns an error, none.
    pub fn transaction<T, E: From<RegistryError>>(
        &self,
        work: impl FnOnce(&Tables<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connection.lock().expect(NOT_POISONED);
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(|error| told(&self.path, error))?;
        let done = work(&Tables { path: &self.path, connection: &transaction })?;
        transaction.commit().map_err(|error| told(&self.path, error))?;
        Ok(done)
    }

    /// Makes everything durable and gives the WAL's space back. For the end of a daemon.
    pub fn settle(&self) -> Result<(), RegistryError> {
        self.once(|tables| {
            let settled = tables.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            settled.map_err(|error| tables.told(error))
        })
    }

    /// All workspaces, oldest first.
    pub fn workspaces(&self) -> Result<Vec<WorkspaceRow>, RegistryError> {
        self.once(|tables| tables.workspaces())
    }

    /// One workspace by id.
    pub fn workspace(&self, id: WorkspaceId) -> Result<Option<WorkspaceRow>, RegistryError> {
        self.once(|tables| tables.workspace(id))
    }

    /// The active workspace of a name.
    pub fn workspace_named(&self, name: &str) -> Result<Option<WorkspaceRow>, RegistryError> {
        self.once(|tables| tables.workspace_named(name))
    }

    /// Adds a workspace; [`RegistryError::Exists`] when its id, or the name of an active one, is taken.
    pub fn insert_workspace(&self, row: &WorkspaceRow) -> Result<(), RegistryError> {
        self.once(|tables| tables.insert_workspace(row))
    }

    /// Replaces the row of the same id.
    pub fn update_workspace(&self, row: &WorkspaceRow) -> Result<(), RegistryError> {
        self.once(|tables| tables.update_workspace(row))
    }

    /// Deletes a workspace's row.
    pub fn delete_workspace(&self, id: WorkspaceId) -> Result<(), RegistryError> {
        self.once(|tables| tables.delete_workspace(id))
    }

    /// All repositories.
    pub fn repos(&self) -> Result<Vec<RepoRow>, RegistryError> {
        self.once(|tables| tables.repos())
    }

    /// Adds a repository or replaces the row of the same id.
    pub fn put_repo(&self, row: &RepoRow) -> Result<(), RegistryError> {
        self.once(|tables| tables.put_repo(row))
    }

    /// Deletes a repository's row.
    pub fn delete_repo(&self, id: &str) -> Result<(), RegistryError> {
        self.once(|tables| tables.delete_repo(id))
    }

    /// Files derived from trees, in the order of their trees.
    pub fn artifacts(&self) -> Result<Vec<Artifact>, RegistryError> {
        self.once(|tables| tables.artifacts())
    }

    /// The hash of the file of this kind derived from a tree.
    pub fn artifact(&self, tree: &str, kind: &str) -> Result<Option<String>, RegistryError> {
        self.once(|tables| tables.artifact(tree, kind))
    }

    /// Adds or replaces a derived file.
    pub fn put_artifact(&self, artifact: &Artifact) -> Result<(), RegistryError> {
        self.once(|tables| tables.put_artifact(artifact))
    }

    /// Deletes the row of a derived file; none there is fine.
    pub fn delete_artifact(&self, tree: &str, kind: &str) -> Result<(), RegistryError> {
        self.once(|tables| tables.delete_artifact(tree, kind))
    }

    /// What SQLite finds wrong in the file: structure, indexes, constraints. Reads all of it.
    pub fn check(&self) -> Result<Vec<String>, RegistryError> {
        let lines =
            self.once(|tables| tables.rows("PRAGMA integrity_check", |row| row.get::<_, String>(0)))?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    fn once<T>(
        &self,
        work: impl FnOnce(&Tables<'_>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let connection = self.connection.lock().expect(NOT_POISONED);
        work(&Tables { path: &self.path, connection: &connection })
    }
}

/// The same calls as on [`Registry`], inside a transaction.
#[allow(missing_docs, reason = "each is described at the method of the same name of Registry")]
impl Tables<'_> {
    pub fn workspaces(&self) -> Result<Vec<WorkspaceRow>, RegistryError> {
        self.rows("SELECT * FROM workspace ORDER BY created_at, id", rows::workspace)
    }

    pub fn workspace(&self, id: WorkspaceId) -> Result<Option<WorkspaceRow>, RegistryError> {
        self.row("SELECT * FROM workspace WHERE id = ?1", params![rows::id_to_sql(id)], rows::workspace)
    }

    pub fn workspace_named(&self, name: &str) -> Result<Option<WorkspaceRow>, RegistryError> {
        self.row(
            "SELECT * FROM workspace WHERE name = ?1 AND state = 'active'",
            params![name],
            rows::workspace,
        )
    }

    pub fn insert_workspace(&self, row: &WorkspaceRow) -> Result<(), RegistryError> {
        rows::insert(self.connection, row).map(|_| ()).map_err(|error| self.told(error))
    }

    pub fn update_workspace(&self, row: &WorkspaceRow) -> Result<(), RegistryError> {
        self.one(rows::update(self.connection, row))
    }

    pub fn delete_workspace(&self, id: WorkspaceId) -> Result<(), RegistryError> {
        self.one(self.connection.execute("DELETE FROM workspace WHERE id = ?1", params![rows::id_to_sql(id)]))
    }

    pub fn repos(&self) -> Result<Vec<RepoRow>, RegistryError> {
        self.rows("SELECT * FROM repo ORDER BY id", rows::repo)
    }

    pub fn put_repo(&self, row: &RepoRow) -> Result<(), RegistryError> {
        self.one(self.connection.execute(
            "INSERT OR REPLACE INTO repo (id, url, path, depth, fetched_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![row.id, row.url, rows::path_to_sql(&row.path), row.depth, row.fetched_at],
        ))
    }

    pub fn delete_repo(&self, id: &str) -> Result<(), RegistryError> {
        self.one(self.connection.execute("DELETE FROM repo WHERE id = ?1", params![id]))
    }

    pub fn artifacts(&self) -> Result<Vec<Artifact>, RegistryError> {
        self.rows("SELECT tree, kind, hash FROM artifact ORDER BY tree, kind", rows::artifact)
    }

    pub fn artifact(&self, tree: &str, kind: &str) -> Result<Option<String>, RegistryError> {
        self.row("SELECT hash FROM artifact WHERE tree = ?1 AND kind = ?2", params![tree, kind], |row| {
            row.get(0)
        })
    }

    pub fn put_artifact(&self, artifact: &Artifact) -> Result<(), RegistryError> {
        self.one(self.connection.execute(
            "INSERT OR REPLACE INTO artifact (tree, kind, hash) VALUES (?1, ?2, ?3)",
            params![artifact.tree, artifact.kind, artifact.hash],
        ))
    }

    pub fn delete_artifact(&self, tree: &str, kind: &str) -> Result<(), RegistryError> {
        self.connection
            .execute("DELETE FROM artifact WHERE tree = ?1 AND kind = ?2", params![tree, kind])
            .map(|_| ())
            .map_err(|error| self.told(error))
    }

    fn rows<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, RegistryError> {
        let all = || -> rusqlite::Result<Vec<T>> {
            self.connection.prepare_cached(sql)?.query_map([], read)?.collect()
        };
        all().map_err(|error| self.told(error))
    }

    fn row<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, RegistryError> {
        let one = || self.connection.prepare_cached(sql)?.query_row(params, read).optional();
        one().map_err(|error| self.told(error))
    }

    fn one(&self, changed: rusqlite::Result<usize>) -> Result<(), RegistryError> {
        match changed {
            Ok(0) => Err(RegistryError::Missing),
            Ok(_) => Ok(()),
            Err(error) => Err(self.told(error)),
        }
    }

    fn told(&self, error: rusqlite::Error) -> RegistryError {
        told(self.path, error)
    }
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    // Counts for a database that is yet to be made, and only before its journal mode is set.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}

/// What SQLite itself refuses in a file that it could open is damage, too: tables that are there or missing against what it says.
fn unprepared(path: &Path, error: rusqlite::Error) -> RegistryError {
    use rusqlite::ErrorCode::{ReadOnly, Unknown};
    match error.sqlite_error_code() {
        Some(Unknown) => RegistryError::Damaged(error.to_string()),
        Some(ReadOnly) if mending::has_strange_header(path) => RegistryError::Damaged(error.to_string()),
        _ => told(path, error),
    }
}

fn told(path: &Path, error: rusqlite::Error) -> RegistryError {
    use rusqlite::ErrorCode::{ConstraintViolation, DatabaseCorrupt, NotADatabase, TypeMismatch};
    match error.sqlite_error_code() {
        Some(ConstraintViolation) => RegistryError::Exists,
        Some(DatabaseCorrupt | NotADatabase | TypeMismatch) => RegistryError::Damaged(error.to_string()),
        Some(_) => RegistryError::Sqlite { path: path.to_owned(), error },
        None => RegistryError::Damaged(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
