-- idempotency_key: what the caller calls a request; it makes one run, however often it is asked for.
-- request: the digest of what was asked for, to tell whether another request is the same.
--
-- It asks first whether each is there, so that this may be run again.

SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE runs
    ADD COLUMN idempotency_key VARCHAR(255),
    ADD COLUMN request VARCHAR(64),
    ADD UNIQUE INDEX runs_key (idempotency_key)')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'runs' AND column_name = 'request');
PREPARE change_it FROM @change;
EXECUTE change_it;

-- Whether a tenant is worked is asked at every claim. The state comes first: an index that begins with the tenant could
-- serve the foreign key, and each change of a state would lock the tenant's row then.
SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE targets ADD INDEX targets_unfinished (state, tenant_id)')
    FROM information_schema.statistics
    WHERE table_schema = database() AND table_name = 'targets' AND index_name = 'targets_unfinished');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
