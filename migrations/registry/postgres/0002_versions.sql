-- A version is a text: other formats have dotted ones, and whole file names.

ALTER TABLE tenants ALTER COLUMN version TYPE TEXT USING version::TEXT;
ALTER TABLE runs ALTER COLUMN target_version TYPE TEXT USING target_version::TEXT;
ALTER TABLE targets
    ALTER COLUMN from_version TYPE TEXT USING from_version::TEXT,
    ALTER COLUMN to_version TYPE TEXT USING to_version::TEXT,
    ALTER COLUMN version TYPE TEXT USING version::TEXT;
ALTER TABLE attempts ALTER COLUMN version TYPE TEXT USING version::TEXT;

-- What a run does to its tenants, and when a target may begin: those of a wave wait for the wave before.
ALTER TABLE runs ADD COLUMN action TEXT NOT NULL DEFAULT '{"kind":"apply"}';
ALTER TABLE runs DROP CONSTRAINT runs_state_check,
    ADD CONSTRAINT runs_state_check CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'halted'));
ALTER TABLE targets ADD COLUMN wave BIGINT NOT NULL DEFAULT 0;
ALTER TABLE targets DROP CONSTRAINT targets_state_check,
    ADD CONSTRAINT targets_state_check
        CHECK (state IN ('pending', 'running', 'retryable', 'applied', 'current', 'failed', 'skipped'));

-- The central database is a tenant of its own kind: no selection chooses it.
ALTER TABLE tenants ADD COLUMN central BIGINT NOT NULL DEFAULT 0;
