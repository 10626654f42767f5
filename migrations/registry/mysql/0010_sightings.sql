-- What an attempt that takes long was last seen doing, and what it waits for. It is there only while the attempt runs.
-- sighting: the migration, the statement and the lock, as JSON. sighted_since: since when it does that. waits_since:
-- since when it is known to wait.

SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE targets
    ADD COLUMN sighting LONGTEXT,
    ADD COLUMN sighted_since BIGINT,
    ADD COLUMN waits_since BIGINT')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'targets' AND column_name = 'sighting');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
