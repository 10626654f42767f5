-- waves: how many tenants are in each wave, from wave 1 on, as JSON. wave: the last one that was opened; the central
-- database is wave 0. soak_until: when the one after it opens.
-- stop_code, stop_reason: why nothing more of the run is begun; stop_force: what runs of it is to stop, too.
-- paused_at: since when nothing of it is claimed.
ALTER TABLE runs ADD COLUMN wave INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN waves TEXT NOT NULL DEFAULT '[]';
ALTER TABLE runs ADD COLUMN soak_until INTEGER;
ALTER TABLE runs ADD COLUMN paused_at INTEGER;
ALTER TABLE runs ADD COLUMN deadline_at INTEGER;
ALTER TABLE runs ADD COLUMN stop_code TEXT;
ALTER TABLE runs ADD COLUMN stop_reason TEXT;
ALTER TABLE runs ADD COLUMN stop_force INTEGER NOT NULL DEFAULT 0;

-- The gate of a wave counts its targets by state.
DROP INDEX targets_state;
CREATE INDEX targets_state ON targets (run_id, state, wave);

-- A run that waits for its central database has its tenants in wave 1.
UPDATE runs SET waves = '[' || (SELECT count(*) FROM targets g WHERE g.run_id = runs.id AND g.wave = 1) || ']'
    WHERE state IN ('pending', 'running') AND EXISTS (SELECT 1 FROM targets g WHERE g.run_id = runs.id AND g.wave = 1);
