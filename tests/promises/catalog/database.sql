SELECT d.classid, d.objid, CASE WHEN nspname = current_schema() THEN '' ELSE nspname || '.' END AS prefix
FROM pg_namespace own JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = own.oid
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
