-- head_start: how many milliseconds earlier than others a tenant is due in its next run, by how long it took when it was
-- changed last.
--
-- It asks first whether the column is there, so that this may be run again.
SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE tenants ADD COLUMN head_start BIGINT NOT NULL DEFAULT 0')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'tenants' AND column_name = 'head_start');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
