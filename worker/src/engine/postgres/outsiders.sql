-- Every object that a tenant, one schema of a database, has not made in its own schema: kind, table, name, definition
-- (none) and schema. Filled in: the tenant's schema, the schemas that had no history when they were last looked for and the
-- newest one then, and the history tables. A schema with one of them is another tenant's; `public` is told in any case, and
-- whoever knows that a tenant lives there leaves it out. What is behind the line that says so can be left out.
WITH around AS MATERIALIZED (
    SELECT oid, nspname, nspname || '.' AS prefix FROM pg_namespace WHERE nspname = 'public' AND nspname <> {schema}
    UNION ALL
    SELECT oid, nspname, nspname || '.'
    FROM (SELECT k FROM unnest({known}) k UNION SELECT * FROM (SELECT oid FROM pg_namespace WHERE oid > {newest} ORDER BY oid LIMIT {most}) newer) candidate (k)
        CROSS JOIN LATERAL (SELECT oid, nspname FROM pg_namespace WHERE oid = k OFFSET 0) n
    WHERE nspname <> {schema} AND nspname <> 'public' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relname = ANY ({histories}))
),
member AS MATERIALIZED (
    SELECT d.classid, d.objid, around.nspname, around.prefix
    FROM around CROSS JOIN LATERAL (
            SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = around.oid OFFSET 0) d
    WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
),
rel AS MATERIALIZED (
    SELECT c.oid, nspname, prefix || c.relname AS name, c.relkind
    FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid
)

SELECT 'schema', NULL, nspname::text, '', nspname::text FROM around

UNION ALL
SELECT 'extension', NULL, extname::text, '', nspname::text
FROM pg_extension JOIN around ON around.oid = extnamespace

-- What is in them.
UNION ALL
SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END, NULL, name, '', nspname::text
FROM rel WHERE relkind <> 'S'

UNION ALL
SELECT 'sequence', owner.name, rel.name, '', rel.nspname::text
FROM rel
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = rel.oid
        AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    LEFT JOIN rel owner ON owner.oid = d.refobjid
WHERE rel.relkind = 'S'

UNION ALL
SELECT 'column', name, attname::text, '', nspname::text
FROM rel JOIN pg_attribute ON attrelid = rel.oid
WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'S'

UNION ALL
SELECT 'constraint', name, conname::text, '', nspname::text
FROM rel JOIN pg_constraint ON conrelid = rel.oid
WHERE contype IN ('p', 'u', 'c', 'f', 'x')

UNION ALL
SELECT 'index', rel.name, i.relname::text, '', nspname::text
FROM rel JOIN pg_index ON indrelid = rel.oid JOIN pg_class i ON i.oid = indexrelid
WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid AND contype IN ('p', 'u', 'x'))

UNION ALL
SELECT 'trigger', name, tgname::text, '', nspname::text
FROM rel JOIN pg_trigger ON tgrelid = rel.oid
WHERE NOT tgisinternal

UNION ALL
SELECT 'policy', name, polname::text, '', nspname::text
FROM rel JOIN pg_policy ON polrelid = rel.oid

UNION ALL
SELECT 'type', NULL, prefix || typname, '', nspname::text
FROM member JOIN pg_type t ON classid = 'pg_type'::regclass AND t.oid = objid
WHERE typtype IN ('e', 'd', 'r', 'c')

UNION ALL
SELECT 'function', NULL, format('%s%s(%s)', prefix, proname, pg_get_function_identity_arguments(p.oid)), '', nspname::text
FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
