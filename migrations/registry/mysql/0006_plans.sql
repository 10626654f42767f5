-- What a rollback is to revert in a tenant, decided before the first change: an attempt that is made again must not
-- count its steps from where an earlier one stopped.

SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE targets ADD COLUMN plan LONGTEXT')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'targets' AND column_name = 'plan');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
