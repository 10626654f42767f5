-- A version is a text: other formats have dotted ones, and whole file names.
--
-- What adds a column asks first whether it is there, so that this may be run again, and changes its table in one statement.

ALTER TABLE attempts MODIFY version TEXT;

-- What a run does to its tenants, and when a target may begin: those of a wave wait for the wave before.
SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE runs
    MODIFY target_version TEXT NOT NULL,
    ADD COLUMN action LONGTEXT NOT NULL DEFAULT (''{"kind":"apply"}''),
    DROP CONSTRAINT runs_state_check,
    ADD CONSTRAINT runs_state_check CHECK (state IN (''pending'', ''running'', ''succeeded'', ''failed'', ''halted''))')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'runs' AND column_name = 'action');
PREPARE change_it FROM @change;
EXECUTE change_it;
SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE targets
    MODIFY from_version TEXT,
    MODIFY to_version TEXT,
    MODIFY version TEXT,
    ADD COLUMN wave BIGINT NOT NULL DEFAULT 0,
    DROP CONSTRAINT targets_state_check,
    ADD CONSTRAINT targets_state_check
        CHECK (state IN (''pending'', ''running'', ''retryable'', ''applied'', ''current'', ''failed'', ''skipped''))')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'targets' AND column_name = 'wave');
PREPARE change_it FROM @change;
EXECUTE change_it;

-- The central database is a tenant of its own kind: no selection chooses it.
SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE tenants
    MODIFY version TEXT,
    ADD COLUMN central BIGINT NOT NULL DEFAULT 0')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'tenants' AND column_name = 'central');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
