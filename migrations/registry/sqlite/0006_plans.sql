-- What a rollback is to revert in a tenant, decided before the first change: an attempt that is made again must not
-- count its steps from where an earlier one stopped.
ALTER TABLE targets ADD COLUMN plan TEXT;
