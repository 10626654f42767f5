-- Targets whose workers were lost twice are looked for by every worker, and there are few of them.
--
-- It asks first whether the index is there, so that this may be run again.
SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE targets ADD INDEX targets_lapses (lapses)')
    FROM information_schema.statistics
    WHERE table_schema = database() AND table_name = 'targets' AND index_name = 'targets_lapses');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
