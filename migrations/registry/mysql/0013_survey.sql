-- surveyed: the wave up to which somebody has looked which tenants are at the run's version already. survey_until: so long
-- that somebody is at it, and nothing of the run is claimed meanwhile.
--
-- It asks first whether the columns are there, so that this may be run again.
SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE runs
    ADD COLUMN surveyed BIGINT NOT NULL DEFAULT -1,
    ADD COLUMN survey_until BIGINT')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'runs' AND column_name = 'surveyed');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
