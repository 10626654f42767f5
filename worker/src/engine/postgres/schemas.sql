-- The schemas that may be anybody's: those without one of these history tables, one more than are looked into at
-- the most, and before them the newest schema of all, whether there is `public`, and whether anything depends on that. Very
-- many without a history are tenants that have none yet.
SELECT CAST(max(oid) AS text), CAST(bool_or(nspname = 'public') AS text),
    CAST(EXISTS (SELECT FROM pg_depend WHERE refclassid = '2615' AND refobjid = (SELECT oid FROM pg_namespace WHERE nspname = 'public')) AS text)
FROM pg_namespace
UNION ALL
(SELECT CAST(oid AS text), NULL, NULL FROM pg_namespace
WHERE nspname <> 'public' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
    AND oid NOT IN (SELECT relnamespace FROM pg_class WHERE relname IN ({histories}))
LIMIT {most} + 1)
