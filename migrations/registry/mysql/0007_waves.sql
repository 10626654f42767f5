-- waves: how many tenants are in each wave, from wave 1 on, as JSON. wave: the last one that was opened; the central
-- database is wave 0. soak_until: when the one after it opens.
-- stop_code, stop_reason: why nothing more of the run is begun; stop_force: what runs of it is to stop, too.
-- paused_at: since when nothing of it is claimed.
--
-- It asks first whether the columns are there, so that this may be run again.

SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE runs
    ADD COLUMN wave BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN waves LONGTEXT NOT NULL DEFAULT (''[]''),
    ADD COLUMN soak_until BIGINT,
    ADD COLUMN paused_at BIGINT,
    ADD COLUMN deadline_at BIGINT,
    ADD COLUMN stop_code VARCHAR(16),
    ADD COLUMN stop_reason LONGTEXT,
    ADD COLUMN stop_force BIGINT NOT NULL DEFAULT 0')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'runs' AND column_name = 'waves');
PREPARE change_it FROM @change;
EXECUTE change_it;

-- The gate of a wave counts its targets by state.
SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE targets DROP INDEX targets_state, ADD INDEX targets_state (run_id, state, wave)')
    FROM information_schema.statistics
    WHERE table_schema = database() AND table_name = 'targets' AND index_name = 'targets_state' AND column_name = 'wave');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;

-- A run that waits for its central database has its tenants in wave 1.
UPDATE runs SET waves = concat('[', (SELECT count(*) FROM targets g WHERE g.run_id = runs.id AND g.wave = 1), ']')
    WHERE state IN ('pending', 'running') AND EXISTS (SELECT 1 FROM targets g WHERE g.run_id = runs.id AND g.wave = 1);
