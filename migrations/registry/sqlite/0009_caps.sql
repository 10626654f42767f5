-- cap: how many tenants of a server may be migrated at once, set by a person; cap_config: the same from the configuration,
-- which holds where nobody has set one.
-- limit_now: the same, found out: the server refuses connections since limited_at, last at refused_at. limit_top: what ran
-- there at first, with which the limit ends; stepped_at: when it was changed last.
-- capped: 1 where any of them holds.
ALTER TABLE servers ADD COLUMN cap INTEGER;
ALTER TABLE servers ADD COLUMN cap_config INTEGER;
ALTER TABLE servers ADD COLUMN limit_now INTEGER;
ALTER TABLE servers ADD COLUMN limit_top INTEGER;
ALTER TABLE servers ADD COLUMN limited_at INTEGER;
ALTER TABLE servers ADD COLUMN refused_at INTEGER;
ALTER TABLE servers ADD COLUMN stepped_at INTEGER;
ALTER TABLE servers ADD COLUMN capped INTEGER GENERATED ALWAYS AS (CASE WHEN COALESCE(cap, cap_config, limit_now) IS NOT NULL THEN 1 END) VIRTUAL;
CREATE INDEX servers_capped ON servers (capped) WHERE capped IS NOT NULL;

-- server_id: the server of a tenant that waits or runs; 0 for an SQLite file, whose directory has no connections to count.
ALTER TABLE targets ADD COLUMN server_id INTEGER NOT NULL DEFAULT 0;
UPDATE targets SET server_id = COALESCE((SELECT s.id FROM tenants t JOIN servers s ON s.id = t.server_id
        WHERE t.id = targets.tenant_id AND s.engine <> 'sqlite'), 0)
    WHERE state IN ('pending', 'running', 'retryable');
CREATE INDEX targets_server ON targets (server_id, due_at) WHERE due_at IS NOT NULL;
