-- idempotency_key: what the caller calls a request; it makes one run, however often it is asked for.
-- request: the digest of what was asked for, to tell whether another request is the same.
ALTER TABLE runs ADD COLUMN idempotency_key TEXT;
ALTER TABLE runs ADD COLUMN request TEXT;
CREATE UNIQUE INDEX runs_key ON runs (idempotency_key);

-- Whether a tenant is worked is asked at every claim.
CREATE INDEX targets_unfinished ON targets (tenant_id) WHERE state IN ('pending', 'running', 'retryable');
