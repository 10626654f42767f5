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

-- Tenants that failed for good in a migration, with what they failed with: a run that goes by labels, or takes all, does
-- not try them with the same bytes again. run: the number of the run in which it was; tried: of the last one since then
-- that takes the tenant all the same.
CREATE TABLE IF NOT EXISTS held (
    tenant_id   VARCHAR(36) PRIMARY KEY,
    bytes       VARCHAR(64) NOT NULL,
    run         BIGINT NOT NULL,
    tried       BIGINT,
    code        TEXT NOT NULL,
    message     LONGTEXT NOT NULL,
    hint        LONGTEXT,
    version     VARCHAR(512) NOT NULL,
    statement   BIGINT,
    line        BIGINT,
    fingerprint VARCHAR(255) NOT NULL,
    INDEX held_bytes (bytes),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The run in which a target's tenant failed, where it was not tried again. It is in wave -1 then.
SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE targets ADD COLUMN held BIGINT')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'targets' AND column_name = 'held');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
