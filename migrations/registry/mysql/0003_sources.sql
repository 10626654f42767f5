-- Which source lists a tenant; null: it was added by hand, and no source touches it.
-- sync_suspended_at: when a sync took it out of runs; null where a person did, or nobody.
--
-- It asks first whether the columns are there, so that this may be run again.

SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE tenants
    ADD COLUMN source VARCHAR(128),
    ADD COLUMN sync_suspended_at BIGINT')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'tenants' AND column_name = 'source');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
