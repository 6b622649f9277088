CREATE TABLE workspace (
    id            INTEGER PRIMARY KEY,
    name          TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('active', 'trashed', 'lineage')),
    parent        INTEGER,
    parent_seq    INTEGER,
    source        TEXT NOT NULL,
    repo_path     BLOB,
    repo_id       TEXT,
    tree          TEXT NOT NULL,
    commit_id     TEXT,
    branch        TEXT,
    base_secs     INTEGER NOT NULL,
    base_nanos    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    trashed_at    INTEGER,
    mount_path    BLOB NOT NULL,
    uid           INTEGER NOT NULL,
    gid           INTEGER NOT NULL,
    allow_other   INTEGER NOT NULL,
    index_hash    TEXT,
    files         INTEGER NOT NULL,
    size_bytes    INTEGER NOT NULL,
    private_bytes INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX workspace_active_name ON workspace (name) WHERE state = 'active';
CREATE TABLE repo (
    id         TEXT PRIMARY KEY,
    url        TEXT NOT NULL,
    path       BLOB NOT NULL,
    depth      INTEGER,
    fetched_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE artifact (
    tree TEXT NOT NULL,
    kind TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (tree, kind)
) STRICT, WITHOUT ROWID;
