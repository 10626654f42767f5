-- A version is a text: other formats have dotted ones, and whole file names. SQLite changes neither the type nor the
-- condition of a column, so the tables are made anew.

ALTER TABLE tenants ADD COLUMN new_version TEXT;
UPDATE tenants SET new_version = version;
ALTER TABLE tenants DROP COLUMN version;
ALTER TABLE tenants RENAME COLUMN new_version TO version;

-- The central database is a tenant of its own kind: no selection chooses it.
ALTER TABLE tenants ADD COLUMN central INTEGER NOT NULL DEFAULT 0;

-- action: what a run does to its tenants.
CREATE TABLE new_runs (
    id             TEXT PRIMARY KEY,
    number         INTEGER NOT NULL UNIQUE,
    digest         TEXT NOT NULL REFERENCES bundles (digest),
    target_version TEXT NOT NULL,
    description    TEXT NOT NULL,
    selection      TEXT NOT NULL,
    policy         TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'halted')),
    parent_id      TEXT REFERENCES runs (id),
    requested_by   TEXT NOT NULL,
    reason         TEXT,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER,
    finished_at    INTEGER,
    action         TEXT NOT NULL DEFAULT '{"kind":"apply"}'
) STRICT;
INSERT INTO new_runs (id, number, digest, target_version, description, selection, policy, state, parent_id, requested_by, reason, created_at, started_at, finished_at)
    SELECT id, number, digest, target_version, description, selection, policy, state, parent_id, requested_by, reason, created_at, started_at, finished_at FROM runs;
DROP TABLE runs;
ALTER TABLE new_runs RENAME TO runs;
CREATE INDEX runs_open ON runs (state) WHERE state IN ('pending', 'running');

-- wave: a target waits for those of the wave before.
CREATE TABLE new_targets (
    run_id       TEXT NOT NULL REFERENCES runs (id),
    tenant_id    TEXT NOT NULL REFERENCES tenants (id),
    state        TEXT NOT NULL CHECK (state IN ('pending', 'running', 'retryable', 'applied', 'current', 'failed', 'skipped')),
    attempt      INTEGER NOT NULL DEFAULT 0,
    uncounted    INTEGER NOT NULL DEFAULT 0,
    lapses       INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    due_at       INTEGER,
    sent_at      INTEGER,
    owner        TEXT,
    started_at   INTEGER,
    finished_at  INTEGER,
    from_version TEXT,
    to_version   TEXT,
    class        TEXT,
    code         TEXT,
    message      TEXT,
    hint         TEXT,
    version      TEXT,
    statement    INTEGER,
    line         INTEGER,
    refused      INTEGER,
    fingerprint  TEXT,
    wave         INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, tenant_id)
) STRICT, WITHOUT ROWID;
INSERT INTO new_targets (run_id, tenant_id, state, attempt, uncounted, lapses, max_attempts, due_at, sent_at, owner, started_at, finished_at, from_version, to_version, class, code, message, hint, version, statement, line, refused, fingerprint)
    SELECT run_id, tenant_id, state, attempt, uncounted, lapses, max_attempts, due_at, sent_at, owner, started_at, finished_at, from_version, to_version, class, code, message, hint, version, statement, line, refused, fingerprint FROM targets;
DROP TABLE targets;
ALTER TABLE new_targets RENAME TO targets;
CREATE INDEX targets_due ON targets (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX targets_state ON targets (run_id, state);
CREATE INDEX targets_tenant ON targets (tenant_id);

ALTER TABLE attempts ADD COLUMN new_version TEXT;
UPDATE attempts SET new_version = version;
ALTER TABLE attempts DROP COLUMN version;
ALTER TABLE attempts RENAME COLUMN new_version TO version;
