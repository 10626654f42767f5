-- head_start: how many milliseconds earlier than others a tenant is due in its next run, by how long it took when it was
-- changed last.
ALTER TABLE tenants ADD COLUMN head_start INTEGER NOT NULL DEFAULT 0;

-- Every change of a target writes all of its indexes. Who is looked for by tenant is unfinished.
DROP INDEX targets_tenant;
