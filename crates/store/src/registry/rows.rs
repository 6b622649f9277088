//! What the registry keeps, and how it is put into columns.
//!
//! Invariant: a value written is the value read; a column that holds nonsense is an error, not a default.

use rusqlite::types::Type;
use rusqlite::{Connection, Row, named_params};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use weald_model::{Timestamp, WorkspaceId};

/// Where a workspace is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can be used.
    Active,
    /// It is in the trash and can be restored.
    Trashed,
    /// It is gone for the user; its log stays because forks read from it.
    Lineage,
}

impl State {
    const fn to_sql(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Trashed => "trashed",
            State::Lineage => "lineage",
        }
    }

    fn from_sql(text: &str) -> Option<Self> {
        [State::Active, State::Trashed, State::Lineage].into_iter().find(|state| state.to_sql() == text)
    }
}

/// The log and record a fork began at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The log of the workspace it was forked from.
    pub parent: WorkspaceId,
    /// The last record shared with it.
    pub seq: u64,
}

/// A workspace. Times are in seconds since 1970 but for `base_time`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceRow {
    /// Its id, for ever.
    pub id: WorkspaceId,
    /// Its name; unique among active ones.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// What it was forked from.
    pub origin: Option<Origin>,
    /// The source as the user gave it.
    pub source: String,
    /// The git repository its objects are in.
    pub repo_path: Option<PathBuf>,
    /// The repository row, when Weald cloned it.
    pub repo_id: Option<String>,
    /// The base tree, in hexadecimal.
    pub tree: String,
    /// The base commit, in hexadecimal.
    pub commit: Option<String>,
    /// The branch it was created from.
    pub branch: Option<String>,
    /// The time all base files carry.
    pub base_time: Timestamp,
    /// When it was created.
    pub created_at: i64,
    /// When it went to the trash.
    pub trashed_at: Option<i64>,
    /// Where it is mounted.
    pub mount_path: PathBuf,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whether other users may use the mount.
    pub allow_other: bool,
    /// Hash of the git index in the content store, in hexadecimal.
    pub index_hash: Option<String>,
    /// Number of files when last counted.
    pub files: u64,
    /// Bytes of all files when last counted.
    pub size_bytes: u64,
    /// Bytes of its own on disk when last counted.
    pub private_bytes: u64,
}

/// A repository that Weald cloned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoRow {
    /// Its id: the name of its directory.
    pub id: String,
    /// Where it came from.
    pub url: String,
    /// Where it is.
    pub path: PathBuf,
    /// Depth of a shallow clone.
    pub depth: Option<u32>,
    /// When it was last fetched, in seconds since 1970.
    pub fetched_at: i64,
}

/// A file in the content store that is derived from a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The tree, in hexadecimal, with whatever else it was derived from.
    pub tree: String,
    /// What it is.
    pub kind: String,
    /// Its hash, in hexadecimal.
    pub hash: String,
}

const COLUMNS: &str = "name, state, parent, parent_seq, source, repo_path, repo_id, tree, commit_id, branch, \
    base_secs, base_nanos, created_at, trashed_at, mount_path, uid, gid, allow_other, index_hash, files, \
    size_bytes, private_bytes";
const VALUES: &str = ":name, :state, :parent, :parent_seq, :source, :repo_path, :repo_id, :tree, :commit_id, \
    :branch, :base_secs, :base_nanos, :created_at, :trashed_at, :mount_path, :uid, :gid, :allow_other, \
    :index_hash, :files, :size_bytes, :private_bytes";

pub(super) fn insert(connection: &Connection, row: &WorkspaceRow) -> rusqlite::Result<usize> {
    write(connection, &format!("INSERT INTO workspace (id, {COLUMNS}) VALUES (:id, {VALUES})"), row)
}

pub(super) fn update(connection: &Connection, row: &WorkspaceRow) -> rusqlite::Result<usize> {
    write(connection, &format!("UPDATE workspace SET ({COLUMNS}) = ({VALUES}) WHERE id = :id"), row)
}

fn write(connection: &Connection, sql: &str, row: &WorkspaceRow) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(named_params! {
        ":id": id_to_sql(row.id),
        ":name": row.name,
        ":state": row.state.to_sql(),
        ":parent": row.origin.map(|origin| id_to_sql(origin.parent)),
        ":parent_seq": row.origin.map(|origin| origin.seq.cast_signed()),
        ":source": row.source,
        ":repo_path": row.repo_path.as_deref().map(path_to_sql),
        ":repo_id": row.repo_id,
        ":tree": row.tree,
        ":commit_id": row.commit,
        ":branch": row.branch,
        ":base_secs": row.base_time.secs,
        ":base_nanos": row.base_time.nanos,
        ":created_at": row.created_at,
        ":trashed_at": row.trashed_at,
        ":mount_path": path_to_sql(&row.mount_path),
        ":uid": row.uid,
        ":gid": row.gid,
        ":allow_other": row.allow_other,
        ":index_hash": row.index_hash,
        ":files": row.files.cast_signed(),
        ":size_bytes": row.size_bytes.cast_signed(),
        ":private_bytes": row.private_bytes.cast_signed(),
    })
}

pub(super) fn workspace(row: &Row<'_>) -> rusqlite::Result<WorkspaceRow> {
    let state: String = row.get("state")?;
    let parent: Option<i64> = row.get("parent")?;
    let seq: Option<i64> = row.get("parent_seq")?;
    Ok(WorkspaceRow {
        id: id_from_sql(row.get("id")?),
        name: row.get("name")?,
        state: State::from_sql(&state).ok_or_else(|| nonsense(2, "state"))?,
        origin: origin(parent, seq)?,
        source: row.get("source")?,
        repo_path: row.get::<_, Option<Vec<u8>>>("repo_path")?.map(path_from_sql),
        repo_id: row.get("repo_id")?,
        tree: row.get("tree")?,
        commit: row.get("commit_id")?,
        branch: row.get("branch")?,
        base_time: Timestamp { secs: row.get("base_secs")?, nanos: row.get("base_nanos")? },
        created_at: row.get("created_at")?,
        trashed_at: row.get("trashed_at")?,
        mount_path: path_from_sql(row.get("mount_path")?),
        uid: row.get("uid")?,
        gid: row.get("gid")?,
        allow_other: row.get("allow_other")?,
        index_hash: row.get("index_hash")?,
        files: row.get::<_, i64>("files")?.cast_unsigned(),
        size_bytes: row.get::<_, i64>("size_bytes")?.cast_unsigned(),
        private_bytes: row.get::<_, i64>("private_bytes")?.cast_unsigned(),
    })
}

fn origin(parent: Option<i64>, seq: Option<i64>) -> rusqlite::Result<Option<Origin>> {
    match (parent, seq) {
        (Some(parent), Some(seq)) => {
            Ok(Some(Origin { parent: id_from_sql(parent), seq: seq.cast_unsigned() }))
        }
        (None, None) => Ok(None),
        _ => Err(nonsense(3, "parent without parent_seq")),
    }
}

pub(super) fn repo(row: &Row<'_>) -> rusqlite::Result<RepoRow> {
    Ok(RepoRow {
        id: row.get("id")?,
        url: row.get("url")?,
        path: path_from_sql(row.get("path")?),
        depth: row.get("depth")?,
        fetched_at: row.get("fetched_at")?,
    })
}

pub(super) fn artifact(row: &Row<'_>) -> rusqlite::Result<Artifact> {
    Ok(Artifact { tree: row.get("tree")?, kind: row.get("kind")?, hash: row.get("hash")? })
}

/// SQLite has signed integers only: the same 64 bits.
pub(super) const fn id_to_sql(id: WorkspaceId) -> i64 {
    id.0.cast_signed()
}

const fn id_from_sql(id: i64) -> WorkspaceId {
    WorkspaceId(id.cast_unsigned())
}

/// Paths are bytes on the host, and need not be UTF-8.
pub(super) fn path_to_sql(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn path_from_sql(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&bytes))
}

fn nonsense(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}
