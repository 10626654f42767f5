-- idempotency_key: what the caller calls a request; it makes one run, however often it is asked for.
-- request: the digest of what was asked for, to tell whether another request is the same.
ALTER TABLE runs ADD COLUMN idempotency_key TEXT;
ALTER TABLE runs ADD COLUMN request TEXT;
CREATE UNIQUE INDEX runs_key ON runs (idempotency_key);

-- Whether a tenant is worked is asked at every claim.
CREATE INDEX targets_unfinished ON targets (tenant_id) WHERE state IN ('pending', 'running', 'retryable');

-- Tenants that failed for good in a migration, with what they failed with: a run that goes by labels, or takes all, does
-- not try them with the same bytes again. run: the number of the run in which it was; tried: of the last one since then
-- that takes the tenant all the same.
CREATE TABLE held (
    tenant_id   TEXT PRIMARY KEY REFERENCES tenants (id),
    bytes       TEXT NOT NULL,
    run         INTEGER NOT NULL,
    tried       INTEGER,
    code        TEXT NOT NULL,
    message     TEXT NOT NULL,
    hint        TEXT,
    version     TEXT NOT NULL,
    statement   INTEGER,
    line        INTEGER,
    fingerprint TEXT NOT NULL
) STRICT;
CREATE INDEX held_bytes ON held (bytes);

-- The run in which a target's tenant failed, where it was not tried again. It is in wave -1 then.
ALTER TABLE targets ADD COLUMN held INTEGER;
