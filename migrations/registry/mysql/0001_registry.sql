-- The registry: tenants, bundles, and the ledger of runs. Times are milliseconds since 1970.
--
-- MySQL commits each statement that changes a table, so what was cut off is run again from its beginning: every
-- statement here may be. What stands in an index is VARCHAR, or is indexed by its beginning.

CREATE TABLE IF NOT EXISTS settings (
    name  VARCHAR(64) PRIMARY KEY,
    value TEXT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS counters (
    name  VARCHAR(64) PRIMARY KEY,
    value BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT IGNORE INTO counters (name, value) VALUES ('run', 0);

CREATE TABLE IF NOT EXISTS servers (
    id      BIGINT AUTO_INCREMENT PRIMARY KEY,
    engine  VARCHAR(16) NOT NULL,
    address VARCHAR(700) NOT NULL,
    UNIQUE (engine, address)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS tenants (
    id            VARCHAR(36) PRIMARY KEY,
    slug          VARCHAR(128) NOT NULL UNIQUE,
    status        VARCHAR(16) NOT NULL,
    server_id     BIGINT NOT NULL,
    database_name TEXT NOT NULL,
    schema_name   TEXT,
    sealed_url    TEXT NOT NULL,
    version       BIGINT,
    version_at    BIGINT,
    created_at    BIGINT NOT NULL,
    INDEX tenants_place (server_id, database_name(200), schema_name(64)),
    FOREIGN KEY (server_id) REFERENCES servers (id),
    CONSTRAINT tenants_status_check CHECK (status IN ('active', 'suspended', 'archived'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS tenant_labels (
    tenant_id VARCHAR(36) NOT NULL,
    name      VARCHAR(255) NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (tenant_id, name),
    INDEX tenant_labels_value (name, value(200)),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS bundles (
    digest     VARCHAR(64) PRIMARY KEY,
    created_at BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS bundle_files (
    digest  VARCHAR(64) NOT NULL,
    name    VARCHAR(700) NOT NULL,
    content LONGTEXT NOT NULL,
    PRIMARY KEY (digest, name),
    FOREIGN KEY (digest) REFERENCES bundles (digest)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS runs (
    id             VARCHAR(36) PRIMARY KEY,
    number         BIGINT NOT NULL UNIQUE,
    digest         VARCHAR(64) NOT NULL,
    target_version BIGINT NOT NULL,
    description    LONGTEXT NOT NULL,
    selection      LONGTEXT NOT NULL,
    policy         LONGTEXT NOT NULL,
    state          VARCHAR(16) NOT NULL,
    parent_id      VARCHAR(36),
    requested_by   LONGTEXT NOT NULL,
    reason         LONGTEXT,
    created_at     BIGINT NOT NULL,
    started_at     BIGINT,
    finished_at    BIGINT,
    INDEX runs_open (state),
    FOREIGN KEY (digest) REFERENCES bundles (digest),
    FOREIGN KEY (parent_id) REFERENCES runs (id),
    CONSTRAINT runs_state_check CHECK (state IN ('pending', 'running', 'succeeded', 'failed'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- due_at: pending and retryable: not before; running: when the lease lapses; ended: null.
-- sent_at: when its job was handed to a queue that is not this database; null otherwise.
CREATE TABLE IF NOT EXISTS targets (
    run_id       VARCHAR(36) NOT NULL,
    tenant_id    VARCHAR(36) NOT NULL,
    state        VARCHAR(16) NOT NULL,
    attempt      BIGINT NOT NULL DEFAULT 0,
    uncounted    BIGINT NOT NULL DEFAULT 0,
    lapses       BIGINT NOT NULL DEFAULT 0,
    max_attempts BIGINT NOT NULL,
    due_at       BIGINT,
    sent_at      BIGINT,
    owner        TEXT,
    started_at   BIGINT,
    finished_at  BIGINT,
    from_version BIGINT,
    to_version   BIGINT,
    class        TEXT,
    code         TEXT,
    message      LONGTEXT,
    hint         LONGTEXT,
    version      BIGINT,
    statement    BIGINT,
    line         BIGINT,
    refused      BIGINT,
    fingerprint  VARCHAR(255),
    PRIMARY KEY (run_id, tenant_id),
    INDEX targets_due (due_at),
    INDEX targets_state (run_id, state),
    INDEX targets_tenant (tenant_id),
    FOREIGN KEY (run_id) REFERENCES runs (id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT targets_state_check CHECK (state IN ('pending', 'running', 'retryable', 'applied', 'current', 'failed'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS attempts (
    run_id      VARCHAR(36) NOT NULL,
    tenant_id   VARCHAR(36) NOT NULL,
    number      BIGINT NOT NULL,
    worker      TEXT NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    outcome     VARCHAR(16) NOT NULL,
    steps       LONGTEXT NOT NULL,
    class       TEXT,
    code        TEXT,
    message     LONGTEXT,
    hint        LONGTEXT,
    version     BIGINT,
    statement   BIGINT,
    line        BIGINT,
    PRIMARY KEY (run_id, tenant_id, number),
    FOREIGN KEY (run_id, tenant_id) REFERENCES targets (run_id, tenant_id),
    CONSTRAINT attempts_outcome_check CHECK (outcome IN ('applied', 'current', 'failed', 'interrupted'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS workers (
    id           VARCHAR(255) PRIMARY KEY,
    host         TEXT NOT NULL,
    pid          BIGINT NOT NULL,
    program      TEXT NOT NULL,
    slots        BIGINT NOT NULL,
    state        VARCHAR(16) NOT NULL,
    started_at   BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL,
    CONSTRAINT workers_state_check CHECK (state IN ('running', 'draining', 'stopped'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS leases (
    name     VARCHAR(64) PRIMARY KEY,
    holder   TEXT NOT NULL,
    until_at BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS events (
    id     BIGINT AUTO_INCREMENT PRIMARY KEY,
    at     BIGINT NOT NULL,
    kind   VARCHAR(64) NOT NULL,
    run_id VARCHAR(36),
    actor  LONGTEXT NOT NULL,
    detail LONGTEXT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
