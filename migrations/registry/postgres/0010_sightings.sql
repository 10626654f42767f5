-- What an attempt that takes long was last seen doing, and what it waits for. It is there only while the attempt runs.
-- sighting: the migration, the statement and the lock, as JSON. sighted_since: since when it does that. waits_since:
-- since when it is known to wait.
ALTER TABLE targets
    ADD COLUMN sighting TEXT,
    ADD COLUMN sighted_since BIGINT,
    ADD COLUMN waits_since BIGINT;
