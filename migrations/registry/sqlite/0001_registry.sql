-- The registry: tenants, bundles, and the ledger of runs. Times are milliseconds since 1970.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO counters (name, value) VALUES ('run', 0);

CREATE TABLE servers (
    id      INTEGER PRIMARY KEY,
    engine  TEXT NOT NULL,
    address TEXT NOT NULL,
    UNIQUE (engine, address)
) STRICT;

CREATE TABLE tenants (
    id            TEXT PRIMARY KEY,
    slug          TEXT NOT NULL UNIQUE,
    status        TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'archived')),
    server_id     INTEGER NOT NULL REFERENCES servers (id),
    database_name TEXT NOT NULL,
    schema_name   TEXT,
    sealed_url    TEXT NOT NULL,
    version       INTEGER,
    version_at    INTEGER,
    created_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX tenants_place ON tenants (server_id, database_name, schema_name);

CREATE TABLE tenant_labels (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name      TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tenant_labels_value ON tenant_labels (name, value);

CREATE TABLE bundles (
    digest     TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE bundle_files (
    digest  TEXT NOT NULL REFERENCES bundles (digest),
    name    TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (digest, name)
) STRICT;

CREATE TABLE runs (
    id             TEXT PRIMARY KEY,
    number         INTEGER NOT NULL UNIQUE,
    digest         TEXT NOT NULL REFERENCES bundles (digest),
    target_version INTEGER NOT NULL,
    description    TEXT NOT NULL,
    selection      TEXT NOT NULL,
    policy         TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'failed')),
    parent_id      TEXT REFERENCES runs (id),
    requested_by   TEXT NOT NULL,
    reason         TEXT,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER,
    finished_at    INTEGER
) STRICT;
CREATE INDEX runs_open ON runs (state) WHERE state IN ('pending', 'running');

-- due_at: pending and retryable: not before; running: when the lease lapses; ended: null.
-- sent_at: when its job was handed to a queue that is not this database; null otherwise.
CREATE TABLE targets (
    run_id       TEXT NOT NULL REFERENCES runs (id),
    tenant_id    TEXT NOT NULL REFERENCES tenants (id),
    state        TEXT NOT NULL CHECK (state IN ('pending', 'running', 'retryable', 'applied', 'current', 'failed')),
    attempt      INTEGER NOT NULL DEFAULT 0,
    uncounted    INTEGER NOT NULL DEFAULT 0,
    lapses       INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    due_at       INTEGER,
    sent_at      INTEGER,
    owner        TEXT,
    started_at   INTEGER,
    finished_at  INTEGER,
    from_version INTEGER,
    to_version   INTEGER,
    class        TEXT,
    code         TEXT,
    message      TEXT,
    hint         TEXT,
    version      INTEGER,
    statement    INTEGER,
    line         INTEGER,
    refused      INTEGER,
    fingerprint  TEXT,
    PRIMARY KEY (run_id, tenant_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX targets_due ON targets (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX targets_state ON targets (run_id, state);
CREATE INDEX targets_tenant ON targets (tenant_id);

CREATE TABLE attempts (
    run_id      TEXT NOT NULL,
    tenant_id   TEXT NOT NULL,
    number      INTEGER NOT NULL,
    worker      TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('applied', 'current', 'failed', 'interrupted')),
    steps       TEXT NOT NULL,
    class       TEXT,
    code        TEXT,
    message     TEXT,
    hint        TEXT,
    version     INTEGER,
    statement   INTEGER,
    line        INTEGER,
    PRIMARY KEY (run_id, tenant_id, number),
    FOREIGN KEY (run_id, tenant_id) REFERENCES targets (run_id, tenant_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    id           TEXT PRIMARY KEY,
    host         TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    program      TEXT NOT NULL,
    slots        INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('running', 'draining', 'stopped')),
    started_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) STRICT;

CREATE TABLE leases (
    name     TEXT PRIMARY KEY,
    holder   TEXT NOT NULL,
    until_at INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    run_id TEXT,
    actor  TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
