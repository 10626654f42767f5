//! The statements that a PostgreSQL tenant's catalog is read with: each tells one kind of thing, and its first column says
//! which.
//!
//! They are small on purpose. A new session plans a statement with many tables for longer than it takes to run ten with one,
//! and what a migration has not used already it must load first. So they have no casts, no unquoted numbers beside
//! OIDs, and no joins but where few tenants need them. What belongs together is put together by `found`.

/// A statement. `{in}` stands for what its objects are chosen by.
#[derive(PartialEq, Eq)]
pub(super) struct Part {
    columns: usize,
    of: Of,
    text: &'static str,
}

/// What a statement chooses from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Relations,
    /// Relations but for the tables that histories are kept in.
    Tables,
    Types,
    Functions,
}

impl Of {
    /// What a schema has of it.
    fn in_schema(self) -> String {
        let class = match self {
            Self::Tables => return IN_TABLES.to_owned(),
            Self::Relations => super::found::RELATION,
            Self::Types => super::found::TYPE,
            Self::Functions => super::found::FUNCTION,
        };
        IN_SCHEMA.replace("{class}", class)
    }
}

/// Below this number is what a server was made with.
const FIRST_OF_USERS: &str = ">= '16384'";

/// What belongs to a schema, which is found by what depends on it: unlike a search by schema, that takes no longer with more
/// of them. With the first look at it its path is taken on, whatever path the statement was begun under.
fn members(schema: &str, histories: &str) -> String {
    format!(
        "WITH own AS MATERIALIZED (SELECT oid FROM pg_namespace
            WHERE nspname = {schema} AND set_config('search_path', quote_ident({schema}), true) IS NOT NULL),
        member AS MATERIALIZED (SELECT classid, objid FROM pg_depend WHERE refclassid = '2615' AND refobjid = (SELECT oid FROM own)),
        tables AS MATERIALIZED (SELECT objid FROM member WHERE classid = '1259' AND objid <> ALL (ARRAY(
            SELECT oid FROM pg_class WHERE relname = ANY ({histories}) AND relnamespace = (SELECT oid FROM own)))) "
    )
}

const IN_TABLES: &str = "= ANY (ARRAY(SELECT objid FROM tables))";
const IN_SCHEMA: &str = "= ANY (ARRAY(SELECT objid FROM member WHERE classid = '{class}'))";

/// The end of a statement, which gives no row. A server that has the rows of what was prepared looks at the path once more,
/// and where that has become another one, it throws the plan away.
const LEFT: &str = "WHERE set_config('search_path', 'pg_catalog', true) IS NULL";

/// The most columns of a statement.
const MOST_COLUMNS: usize = 11;

const fn part(columns: usize, of: Of, text: &'static str) -> Part {
    Part { columns, of, text }
}

/// What is asked of every tenant.
const ALWAYS: [Part; 6] = [
    part(
        11,
        Of::Relations,
        "SELECT 'relation', oid, relname, relnamespace, relkind, relpersistence, relispartition, reloptions, relrowsecurity,
            relforcerowsecurity, relreplident FROM pg_class WHERE oid {in}",
    ),
    part(
        10,
        Of::Tables,
        "SELECT 'column', attrelid, attnum, attname, format_type(atttypid, atttypmod), atttypid, attcollation, attnotnull,
            attidentity, attgenerated FROM pg_attribute WHERE attrelid {in} AND attnum > '0' AND NOT attisdropped",
    ),
    part(
        4,
        Of::Tables,
        "SELECT 'default', adrelid, adnum, pg_get_expr(adbin, adrelid, true) FROM pg_attrdef WHERE adrelid {in}",
    ),
    part(
        6,
        Of::Tables,
        "SELECT 'constraint', conrelid, conname, contype, conindid, pg_get_constraintdef(oid, true)
        FROM pg_constraint WHERE conrelid {in}",
    ),
    // A primary key is a constraint, and so told already; the key of what is stored aside is nobody's.
    part(
        6,
        Of::Tables,
        "SELECT 'index', indrelid, indexrelid, (SELECT relname FROM pg_class WHERE oid = indexrelid), indisvalid,
            pg_get_indexdef(indexrelid, 0, true) FROM pg_index WHERE indrelid {in} AND NOT indisprimary",
    ),
    part(
        9,
        Of::Relations,
        "SELECT 'sequence', seqrelid, format_type(seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle
        FROM pg_sequence WHERE seqrelid {in}",
    ),
];

/// What there is beside relations, what belongs to an extension, who inherits, and which table owns a sequence: all that
/// objects of the tenant depend on.
const OF_DATABASE: [Part; 3] = [
    part(3, Of::Relations, "SELECT 'namespace', oid, nspname FROM pg_namespace"),
    part(
        6,
        Of::Relations,
        "SELECT 'dependency', classid, objid, refclassid, refobjid, deptype FROM pg_depend
        WHERE objid {in} AND classid IN ('1259', '1247', '1255', '2615', '2618', '2620', '3256')
            AND refclassid IN ('1259', '2615', '3079')",
    ),
    part(4, Of::Relations, EXTENSION),
];
/// What depends on the tables stands apart (`OFFSET 0`): by a plan that was made while a database had few triggers, those of all tenants
/// would be looked through later.
const OF_SCHEMA: [Part; 2] = [
    part(
        6,
        Of::Relations,
        "SELECT 'dependency', classid, objid, refclassid, refobjid, deptype FROM member JOIN pg_depend USING (classid, objid)
        WHERE classid IN ('1247', '1255') OR refclassid IN ('1259', '3079')
        UNION ALL
        SELECT 'dependency', classid, objid, refclassid, refobjid, deptype FROM (
            SELECT classid, objid, refclassid, refobjid, deptype FROM pg_depend
            WHERE refclassid = '1259' AND refobjid = ANY (ARRAY(SELECT objid FROM tables)) OFFSET 0) behind
        WHERE classid IN ('2618', '2620', '3256')",
    ),
    part(4, Of::Relations, EXTENSION),
];

const EXTENSION: &str =
    "SELECT 'extension', extname, extversion, (SELECT nspname FROM pg_namespace WHERE oid = extnamespace)
    FROM pg_extension";

/// What is asked of those that have any of it.
pub(super) const PARTITION: Part = part(
    4,
    Of::Relations,
    "SELECT 'partition', oid, CASE WHEN relkind = 'p' THEN 'partitioned by ' || pg_get_partkeydef(oid) END,
        CASE WHEN relispartition THEN pg_get_expr(relpartbound, oid) END
    FROM pg_class WHERE oid {in} AND (relkind = 'p' OR relispartition)",
);
pub(super) const INHERITS: Part = part(
    3,
    Of::Relations,
    "SELECT 'inherits', inhrelid, 'inherits ' || string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno)
    FROM pg_inherits WHERE inhrelid {in} GROUP BY inhrelid",
);
pub(super) const FOREIGN: Part = part(
    3,
    Of::Relations,
    "SELECT 'foreign', ftrelid, 'foreign, of ' || srvname || ' ' || coalesce(ftoptions::text, '')
    FROM pg_foreign_table JOIN pg_foreign_server s ON s.oid = ftserver WHERE ftrelid {in}",
);
pub(super) const COLLATION: Part = part(
    4,
    Of::Relations,
    "SELECT 'collation', attrelid, attnum, 'collate ' || quote_ident(collname)
    FROM pg_attribute JOIN pg_type t ON t.oid = atttypid JOIN pg_collation c ON c.oid = attcollation
    WHERE attrelid {in} AND attcollation <> typcollation AND attnum > 0",
);
pub(super) const VIEW: Part = part(
    8,
    Of::Relations,
    "SELECT 'object', CASE relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, NULL, '1259', oid, relnamespace, relname,
        concat_ws(' ', CASE WHEN reloptions IS NOT NULL THEN 'with ' || reloptions::text END, pg_get_viewdef(oid, true))
    FROM pg_class WHERE oid {in} AND relkind IN ('v', 'm')",
);
pub(super) const TYPE: Part = part(
    8,
    Of::Types,
    "SELECT 'object', 'type', NULL, '1247', oid, typnamespace, typname, CASE typtype
        WHEN 'e' THEN 'enum ' || (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid)
        WHEN 'd' THEN concat_ws(' ', 'domain', format_type(typbasetype, typtypmod), CASE WHEN typnotnull THEN 'not null' END, 'default ' || typdefault,
            (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid, true), ' ' ORDER BY conname)
                FROM pg_constraint WHERE contypid = t.oid AND contype = 'c'))
        WHEN 'r' THEN 'range of ' || (SELECT format_type(rngsubtype, NULL) FROM pg_range WHERE rngtypid = t.oid)
        WHEN 'c' THEN 'composite ' || coalesce((SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = typrelid AND attnum > 0 AND NOT attisdropped), '')
        END
    FROM pg_type t WHERE oid {in} AND typtype IN ('e', 'd', 'r', 'c')",
);
pub(super) const FUNCTION: Part = part(
    8,
    Of::Functions,
    "SELECT 'object', 'function', NULL, '1255', oid, pronamespace, format('%s(%s)', proname, pg_get_function_identity_arguments(oid)),
        CASE prokind
        WHEN 'a' THEN 'aggregate ' || pg_get_function_result(oid) || (SELECT concat_ws(' ', ' of', aggtransfn, aggfinalfn, format_type(aggtranstype, NULL), agginitval)
            FROM pg_aggregate WHERE aggfnoid = p.oid)
        ELSE pg_get_functiondef(oid) END
    FROM pg_proc p WHERE oid {in}",
);
pub(super) const TRIGGER: Part = part(
    8,
    Of::Relations,
    "SELECT 'object', 'trigger', tgrelid, NULL, NULL, NULL, tgname,
        pg_get_triggerdef(oid, true) || CASE tgenabled WHEN 'O' THEN '' ELSE ' (enabled: ' || tgenabled::text || ')' END
    FROM pg_trigger WHERE tgrelid {in} AND NOT tgisinternal",
);
pub(super) const RULE: Part = part(
    8,
    Of::Relations,
    "SELECT 'object', 'rule', ev_class, NULL, NULL, NULL, rulename, pg_get_ruledef(oid, true)
    FROM pg_rewrite WHERE ev_class {in} AND rulename <> '_RETURN'",
);
pub(super) const POLICY: Part = part(
    8,
    Of::Relations,
    "SELECT 'object', 'policy', polrelid, NULL, NULL, NULL, polname,
        concat_ws(' ', CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END, 'for', polcmd, 'to',
            (SELECT coalesce(string_agg(rolname, ', ' ORDER BY rolname), 'public') FROM pg_roles WHERE oid = ANY (polroles)),
            'using ' || pg_get_expr(polqual, polrelid, true), 'with check ' || pg_get_expr(polwithcheck, polrelid, true))
    FROM pg_policy WHERE polrelid {in}",
);

/// The statements that every tenant of this kind is asked.
pub(super) fn always(whole: bool) -> impl Iterator<Item = &'static Part> {
    let other: &[Part] = if whole { &OF_DATABASE } else { &OF_SCHEMA };
    ALWAYS.iter().chain(other)
}

/// All of these of the schema that this gives the name of, but for what is on the tables of these names, as one statement. Its rows
/// are texts, all of as many columns.
pub(super) fn together<'a>(parts: impl Iterator<Item = &'a Part>, schema: &str, histories: &str) -> String {
    let mut text = members(schema, histories);
    for part in parts {
        text.push_str(&part.in_schema());
        text.push_str(" UNION ALL ");
    }
    format!("{text}SELECT {} {LEFT}", ["NULL"; MOST_COLUMNS].join(", "))
}

impl Part {
    /// The statement for a tenant that is a whole database.
    pub(super) fn in_database(&self) -> String {
        self.text.replace("{in}", FIRST_OF_USERS)
    }

    /// The statement for these objects only.
    pub(super) fn of_these(&self, oids: &[&str]) -> String {
        self.text.replace("{in}", &format!("= ANY ('{{{}}}')", oids.join(",")))
    }

    fn in_schema(&self) -> String {
        let text = self.text.replace("{in}", &self.of.in_schema());
        let names: Vec<String> = (1..=self.columns).map(|number| format!("c{number}")).collect();
        let texts = names.iter().map(|name| format!("{name}::text"));
        let all: Vec<String> = texts.chain(std::iter::repeat("NULL".to_owned())).take(MOST_COLUMNS).collect();
        format!("SELECT {} FROM ({text}) part ({})", all.join(", "), names.join(", "))
    }
}
