-- The end of what a program said that migrated a tenant.

SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE attempts ADD COLUMN output LONGTEXT')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'attempts' AND column_name = 'output');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
