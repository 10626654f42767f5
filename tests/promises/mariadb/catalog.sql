-- Every object of a MariaDB tenant's database as kind, table, name and definition, in one query: what a look at it must
-- tell, however it asks. {db} is the database.
SELECT 'table', CAST(NULL AS CHAR), CAST(table_name AS CHAR), CAST(CONCAT_WS(' ', engine, row_format, table_collation, create_options) AS CHAR)
FROM information_schema.tables
WHERE table_schema = {db} AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')

UNION ALL
SELECT 'sequence', NULL, table_name, '' FROM information_schema.tables WHERE table_schema = {db} AND table_type = 'SEQUENCE'

UNION ALL
SELECT 'column order', table_name, table_name, GROUP_CONCAT(column_name ORDER BY ordinal_position SEPARATOR '\n')
FROM information_schema.columns
WHERE table_schema = {db}
GROUP BY table_name

UNION ALL
SELECT 'column', table_name, column_name, CONCAT_WS(' ', column_type, CONCAT('collate ', collation_name),
    IF(is_nullable = 'NO', 'not null', NULL), CONCAT('default ', column_default), NULLIF(extra, ''),
    CONCAT('as ', NULLIF(generation_expression, '')))
FROM information_schema.columns
WHERE table_schema = {db}

UNION ALL
SELECT IF(index_name = 'PRIMARY', 'constraint', 'index'), table_name, index_name,
    CONCAT(IF(non_unique = 0, 'unique ', ''), LOWER(index_type), ' (', GROUP_CONCAT(CONCAT(COALESCE(column_name, ''),
        IF(sub_part IS NULL, '', CONCAT('(', sub_part, ')')), IF(collation = 'D', ' desc', '')) ORDER BY seq_in_index SEPARATOR ', '), ')')
FROM information_schema.statistics
WHERE table_schema = {db}
GROUP BY table_name, index_name, non_unique, index_type

UNION ALL
SELECT 'constraint', r.table_name, r.constraint_name,
    CONCAT('foreign key (', GROUP_CONCAT(column_name ORDER BY ordinal_position SEPARATOR ', '), ') references ',
        IF(r.unique_constraint_schema = {db}, '', CONCAT(r.unique_constraint_schema, '.')), r.referenced_table_name, ' (',
        GROUP_CONCAT(referenced_column_name ORDER BY ordinal_position SEPARATOR ', '), ') on update ', update_rule, ' on delete ', delete_rule)
FROM information_schema.referential_constraints r JOIN information_schema.key_column_usage k
    ON k.constraint_schema = r.constraint_schema AND k.constraint_name = r.constraint_name AND k.table_name = r.table_name
WHERE r.constraint_schema = {db} AND k.table_schema = {db}
GROUP BY r.table_name, r.constraint_name, r.unique_constraint_schema, r.referenced_table_name, update_rule, delete_rule

UNION ALL
SELECT 'constraint', t.table_name, t.constraint_name, CONCAT('check ', check_clause)
FROM information_schema.table_constraints t JOIN information_schema.check_constraints c
    ON c.constraint_name = t.constraint_name AND c.table_name = t.table_name
WHERE t.table_schema = {db} AND c.constraint_schema = {db} AND constraint_type = 'CHECK'

UNION ALL
SELECT 'partition', table_name, CONCAT_WS('.', partition_name, subpartition_name),
    CONCAT_WS(' ', partition_method, partition_expression, partition_description, subpartition_method, subpartition_expression)
FROM information_schema.partitions
WHERE table_schema = {db} AND partition_name IS NOT NULL

UNION ALL
SELECT 'view', NULL, table_name, CONCAT_WS(' ', view_definition, 'security', security_type, 'check', check_option)
FROM information_schema.views
WHERE table_schema = {db}

UNION ALL
SELECT 'trigger', event_object_table, trigger_name, CONCAT_WS(' ', action_timing, event_manipulation, action_order, action_statement)
FROM information_schema.triggers
WHERE event_object_schema = {db}

UNION ALL
SELECT 'function', NULL, CONCAT(routine_name, IF(routine_type = 'PROCEDURE', ' (procedure)', '')),
    CONCAT_WS(' ', (SELECT CONCAT('(', GROUP_CONCAT(CONCAT_WS(' ', parameter_mode, parameter_name, dtd_identifier) ORDER BY ordinal_position SEPARATOR ', '), ')')
            FROM information_schema.parameters p WHERE p.specific_schema = {db} AND p.specific_name = r.specific_name AND p.routine_type = r.routine_type),
        IF(is_deterministic = 'YES', 'deterministic', NULL), sql_data_access, 'security', security_type, routine_definition)
FROM information_schema.routines r
WHERE routine_schema = {db} AND routine_type IN ('FUNCTION', 'PROCEDURE')

UNION ALL
SELECT 'event', NULL, event_name, CONCAT_WS(' ', status, execute_at, interval_value, interval_field, on_completion, event_definition)
FROM information_schema.events
WHERE event_schema = {db}
