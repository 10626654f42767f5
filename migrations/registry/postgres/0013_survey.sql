-- surveyed: the wave up to which somebody has looked which tenants are at the run's version already. survey_until: so long
-- that somebody is at it, and nothing of the run is claimed meanwhile.
ALTER TABLE runs
    ADD COLUMN surveyed BIGINT NOT NULL DEFAULT -1,
    ADD COLUMN survey_until BIGINT;
