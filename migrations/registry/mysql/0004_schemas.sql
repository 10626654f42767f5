-- What each tenant's schema was after the last look at it: a digest, and each distinct catalog once.
CREATE TABLE IF NOT EXISTS catalogs (
    digest     VARCHAR(64) PRIMARY KEY,
    content    LONGTEXT NOT NULL,
    created_at BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE tenants ADD COLUMN schema_digest VARCHAR(64)')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'tenants' AND column_name = 'schema_digest');
PREPARE change_it FROM @change;
EXECUTE change_it;
SET @change = (SELECT IF(count(*) > 0, 'DO 0', 'ALTER TABLE targets ADD COLUMN schema_digest VARCHAR(64)')
    FROM information_schema.columns WHERE table_schema = database() AND table_name = 'targets' AND column_name = 'schema_digest');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;

-- What appeared outside of every tenant's schema while a tenant was migrated in a run, by their names.
-- id: the digest of the object's name.
CREATE TABLE IF NOT EXISTS outsiders (
    server_id     BIGINT NOT NULL,
    database_name VARCHAR(255) NOT NULL,
    id            VARCHAR(64) NOT NULL,
    name          TEXT NOT NULL,
    schema_name   TEXT NOT NULL,
    tenant        VARCHAR(128) NOT NULL,
    run           BIGINT NOT NULL,
    seen_at       BIGINT NOT NULL,
    PRIMARY KEY (server_id, database_name, id),
    FOREIGN KEY (server_id) REFERENCES servers (id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
