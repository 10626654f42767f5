-- What each tenant's schema was after the last look at it: a digest, and each distinct catalog once.
CREATE TABLE catalogs (
    digest     TEXT PRIMARY KEY,
    content    TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
ALTER TABLE tenants ADD COLUMN schema_digest TEXT;
ALTER TABLE targets ADD COLUMN schema_digest TEXT;

-- What appeared outside of every tenant's schema while a tenant was migrated in a run, by their names.
-- id: the digest of the object's name.
CREATE TABLE outsiders (
    server_id     INTEGER NOT NULL REFERENCES servers (id),
    database_name TEXT NOT NULL,
    id            TEXT NOT NULL,
    name          TEXT NOT NULL,
    schema_name   TEXT NOT NULL,
    tenant        TEXT NOT NULL,
    run           INTEGER NOT NULL,
    seen_at       INTEGER NOT NULL,
    PRIMARY KEY (server_id, database_name, id)
) STRICT, WITHOUT ROWID;
