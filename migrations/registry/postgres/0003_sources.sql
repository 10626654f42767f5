-- Which source lists a tenant; null: it was added by hand, and no source touches it.
-- sync_suspended_at: when a sync took it out of runs; null where a person did, or nobody.

ALTER TABLE tenants ADD COLUMN source TEXT;
ALTER TABLE tenants ADD COLUMN sync_suspended_at BIGINT;
