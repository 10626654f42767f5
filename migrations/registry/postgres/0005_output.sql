-- The end of what a program said that migrated a tenant.

ALTER TABLE attempts ADD COLUMN output TEXT;
