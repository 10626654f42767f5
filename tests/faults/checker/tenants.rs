//! A tenant, read with SQL of this suite's own: its history against the files, and all that can be seen of it against the
//! model.

use std::collections::BTreeMap;

use tenantry_tests::fleet::Kind;

use super::Target;
use crate::{
    bundle::{Bundle, Facts, Migration, after},
    fleet::{Eyes, Tenant},
};

const HISTORY: &str = "_sqlx_migrations";
const PROGRESS: &str = "_tenantry_progress";

/// What is in a tenant.
pub(crate) struct Seen {
    /// Version, description, whether it is done, checksum.
    history: Vec<(i64, String, bool, String)>,
    facts: Facts,
    in_progress: bool,
}

pub(super) async fn look(eyes: &mut Eyes, tenant: &Tenant) -> Result<Seen, sqlx::Error> {
    let (columns, hex) = match tenant.kind {
        Kind::PostgresDatabase | Kind::PostgresSchema => (POSTGRES, "encode(checksum, 'hex')"),
        Kind::MariaDb => (MARIADB, "lower(hex(checksum))"),
        Kind::Sqlite => (SQLITE, "lower(hex(checksum))"),
    };
    let eye = eyes.on(tenant).await?;
    let count = |row: Vec<String>| (row[0].clone(), row[1].parse::<i64>().expect("a count"));
    let mut facts: Facts = eye.rows(columns).await?.into_iter().map(count).collect();
    let own = |table: &str| {
        let column = format!("column {table}.");
        move |fact: &String| fact.starts_with(&column)
    };
    let (has_history, in_progress) = (facts.keys().any(own(HISTORY)), facts.keys().any(own(PROGRESS)));
    facts.retain(|fact, _| !fact.starts_with("column _"));
    for (sql, table) in [(COUNTS, "canary"), ("SELECT 'extra', n FROM extra", "extra")] {
        if facts.keys().any(own(table)) {
            facts.extend(eye.rows(sql).await?.into_iter().map(count));
        }
    }
    facts.retain(|_, times| *times != 0);
    let mut history = Vec::new();
    if has_history {
        let sql = format!(
            "SELECT version, description, CASE WHEN success THEN 1 ELSE 0 END, {hex} FROM {HISTORY} ORDER BY version"
        );
        for row in eye.rows(&sql).await? {
            let [version, description, done, checksum] = row.try_into().expect("four columns");
            history.push((version.parse().expect("a version"), description, done == "1", checksum));
        }
    }
    Ok(Seen { history, facts, in_progress })
}

/// What every statement of every migration leaves behind.
const COUNTS: &str = "SELECT concat('log ', version, '.', step), count(*) FROM canary GROUP BY version, step
    UNION ALL SELECT 'count', n FROM counter UNION ALL SELECT 'pace', n FROM pace
    UNION ALL SELECT concat('row orders.', id), count(*) FROM orders GROUP BY id";

const POSTGRES: &str = "SELECT 'column ' || c.relname || '.' || a.attname, 1 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT CASE WHEN x.indisvalid THEN 'index ' ELSE 'invalid index ' END || c.relname, 1
        FROM pg_class c JOIN pg_index x ON x.indexrelid = c.oid
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relname LIKE 'i\\_%'";

const MARIADB: &str = "SELECT concat('column ', table_name, '.', column_name), 1 FROM information_schema.columns WHERE table_schema = database()
    UNION ALL SELECT concat('index ', index_name), count(*) FROM information_schema.statistics
        WHERE table_schema = database() AND index_name LIKE 'i\\_%' GROUP BY index_name";

const SQLITE: &str = "SELECT 'column ' || m.name || '.' || p.name, 1 FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table'
    UNION ALL SELECT 'index ' || name, 1 FROM sqlite_master WHERE type = 'index' AND name LIKE 'i\\_%' ESCAPE '\\'";

pub(super) fn contradictions(
    tenant: &Tenant,
    bundle: &Bundle,
    seen: &Seen,
    ended: &BTreeMap<i64, &Target>,
) -> Vec<String> {
    let all = bundle.of(tenant);
    let mut wrong = Vec::new();
    let done = seen.history.iter().filter(|row| row.2).count();
    for (at, (version, description, success, checksum)) in seen.history.iter().enumerate() {
        let Some(file) = all.get(at) else {
            wrong.push(format!("{version} is in its history and no file"));
            continue;
        };
        if (*version, description, checksum) != (file.version, &file.description, &file.checksum()) {
            wrong.push(format!(
                "its history says {version} '{description}' {checksum} where {} was due",
                file.version
            ));
        }
        if !success && (at != done || !tenant.is_stepwise(file)) {
            wrong.push(format!("{version} is marked as begun"));
        }
    }
    let Some(next) = all.get(done) else {
        return [wrong, of_whole(tenant, &all, seen)].concat();
    };
    if ended.values().any(|target| target.is_proven()) {
        wrong.push(format!("a run has proven it, and its history ends before {}", next.version));
    }
    wrong.extend(of_part(tenant, &all[..done], next, seen));
    if tenant.is_broken().is_some() && ended.values().any(|target| target.is_blamed()) {
        let (version, _) = tenant.cause(bundle).expect("it is broken");
        if version != next.version.to_string() {
            wrong.push(format!("it is broken in {version}, and its history ends before {}", next.version));
        }
    }
    wrong
}

fn of_whole(tenant: &Tenant, all: &[&Migration], seen: &Seen) -> Vec<String> {
    let mut wrong = difference(&after(&tenant.begin(), all, &[]), &seen.facts);
    if seen.in_progress {
        wrong.push("everything is applied, and a record of progress is left".into());
    }
    wrong
}

/// What was begun and not finished has done its first statements, each once, and says so; nothing where one transaction
/// holds it.
fn of_part(tenant: &Tenant, done: &[&Migration], next: &Migration, seen: &Seen) -> Vec<String> {
    // A mark alone may tell how far it came.
    let is_begun = seen.in_progress || seen.history.iter().any(|row| !row.2);
    let begun = if tenant.is_stepwise(next) && is_begun { next.steps.len() } else { 0 };
    let broken = tenant.is_broken().and_then(|kind| next.breaks_at(kind)).unwrap_or(begun);
    let state = |steps: usize| after(&tenant.begin(), done, &next.steps[..steps]);
    // An index whose building was stopped stays behind, invalid, until the migration goes on.
    let mut facts = seen.facts.clone();
    if begun > 0 && next.concurrent {
        facts.remove(&format!("invalid index i_concurrent{}", next.version));
    }
    if (0..=begun.min(broken)).any(|steps| state(steps) == facts) {
        return Vec::new();
    }
    difference(&state(0), &facts)
}

fn difference(expected: &Facts, seen: &Facts) -> Vec<String> {
    let keys: std::collections::BTreeSet<_> = expected.keys().chain(seen.keys()).collect();
    let count = |facts: &Facts, key: &String| facts.get(key).copied().unwrap_or_default();
    let differs = |key: &&&String| count(expected, key) != count(seen, key);
    keys.iter()
        .filter(differs)
        .map(|key| format!("'{key}' is there {} times and not {}", count(seen, key), count(expected, key)))
        .collect()
}

/// A checker that sees nothing proves nothing.
mod tests {
    use super::*;
    use crate::{bundle::Break, dice::Dice};

    fn tenant(kind: Kind, broken: Option<Break>) -> Tenant {
        let (id, url) = ("one".into(), String::new());
        Tenant { id, kind, url, schema: None, concurrent: false, broken, mended: false, ms: 0 }
    }

    /// As it is after so many migrations, and so many statements of the next one.
    fn seen(tenant: &Tenant, bundle: &Bundle, done: usize, steps: usize) -> Seen {
        let all = bundle.of(tenant);
        let row = |file: &&Migration| (file.version, file.description.clone(), true, file.checksum());
        let then = all.get(done).map_or(&[][..], |next| &next.steps[..steps]);
        let facts = after(&tenant.begin(), &all[..done], then);
        Seen { history: all[..done].iter().map(row).collect(), facts, in_progress: steps > 0 }
    }

    fn wrong(tenant: &Tenant, bundle: &Bundle, seen: &Seen) -> Vec<String> {
        contradictions(tenant, bundle, seen, &BTreeMap::new())
    }

    /// A migration that runs in one transaction.
    fn whole(bundle: &Bundle, tenant: &Tenant) -> usize {
        let all = bundle.of(tenant);
        all.iter().position(|migration| !migration.marked).expect("one that is not marked")
    }

    #[test]
    fn the_checker_accepts_every_number_of_whole_migrations() {
        let (bundle, tenant) = (Bundle::roll(&mut Dice::new(1)), tenant(Kind::Sqlite, None));
        for done in 0..=bundle.of(&tenant).len() {
            assert_eq!(wrong(&tenant, &bundle, &seen(&tenant, &bundle, done, 0)), [""; 0]);
        }
    }

    #[test]
    fn the_checker_sees_a_migration_that_was_applied_twice() {
        let (bundle, tenant) = (Bundle::roll(&mut Dice::new(1)), tenant(Kind::MariaDb, None));
        let mut twice = seen(&tenant, &bundle, 3, 0);
        *twice.facts.get_mut("count").expect("a counter") += 1;
        assert_eq!(wrong(&tenant, &bundle, &twice), ["'count' is there 4 times and not 3"]);
    }

    #[test]
    fn the_checker_sees_half_a_transaction_and_accepts_half_of_what_has_none() {
        let bundle = Bundle::roll(&mut Dice::new(1));
        let (lite, maria) = (tenant(Kind::Sqlite, None), tenant(Kind::MariaDb, None));
        let done = whole(&bundle, &lite);
        assert_ne!(wrong(&lite, &bundle, &seen(&lite, &bundle, done, 1)), [""; 0]);
        assert_eq!(wrong(&maria, &bundle, &seen(&maria, &bundle, done, 1)), [""; 0]);
    }

    #[test]
    fn the_checker_accepts_an_index_that_was_being_built_only_while_something_tells_of_it() {
        let bundle = Bundle::roll(&mut Dice::new(1));
        let tenant = Tenant { concurrent: true, ..tenant(Kind::PostgresSchema, None) };
        let all = bundle.of(&tenant);
        let done = all.iter().position(|migration| migration.concurrent).expect("one that builds it");
        let mut stopped = seen(&tenant, &bundle, done, 1);
        stopped.facts.insert(format!("invalid index i_concurrent{}", all[done].version), 1);
        assert_eq!(wrong(&tenant, &bundle, &stopped), [""; 0]);
        stopped.in_progress = false;
        assert_ne!(wrong(&tenant, &bundle, &stopped), [""; 0]);
        let mut left = seen(&tenant, &bundle, all.len(), 0);
        left.facts.insert(format!("invalid index i_concurrent{}", all[done].version), 1);
        assert_ne!(wrong(&tenant, &bundle, &left), [""; 0]);
    }

    #[test]
    fn the_checker_sees_statements_that_nothing_tells_of() {
        let (bundle, tenant) = (Bundle::roll(&mut Dice::new(1)), tenant(Kind::MariaDb, None));
        let mut untold = seen(&tenant, &bundle, 2, 1);
        untold.in_progress = false;
        assert_ne!(wrong(&tenant, &bundle, &untold), [""; 0]);
    }

    #[test]
    fn the_checker_sees_statements_in_a_wrong_order() {
        let (bundle, tenant) = (Bundle::roll(&mut Dice::new(1)), tenant(Kind::MariaDb, None));
        let mut part = seen(&tenant, &bundle, 2, 1);
        let version = bundle.of(&tenant)[2].version;
        part.facts.remove(&format!("log {version}.1"));
        part.facts.insert(format!("log {version}.2"), 1);
        assert_ne!(wrong(&tenant, &bundle, &part), [""; 0]);
    }

    #[test]
    fn the_checker_sees_a_history_that_is_ahead_or_behind_or_changed() {
        let (bundle, tenant) = (Bundle::roll(&mut Dice::new(1)), tenant(Kind::PostgresDatabase, None));
        let mut ahead = seen(&tenant, &bundle, 2, 0);
        ahead.history = seen(&tenant, &bundle, 3, 0).history;
        let mut behind = seen(&tenant, &bundle, 3, 0);
        behind.history.pop();
        let mut changed = seen(&tenant, &bundle, 3, 0);
        changed.history[1].3.replace_range(..2, "zz");
        for seen in [ahead, behind, changed] {
            assert_ne!(wrong(&tenant, &bundle, &seen), [""; 0]);
        }
    }

    #[test]
    fn the_checker_sees_a_statement_behind_the_one_that_fails() {
        let broken = tenant(Kind::MariaDb, Some(Break::Duplicate));
        let bundle = Bundle::roll(&mut Dice::new(1));
        let fails = |migration: &&Migration| migration.breaks_at(Break::Duplicate);
        let all = bundle.of(&broken);
        let done = all.iter().position(|migration| fails(migration).is_some()).expect("it breaks");
        let at = fails(&all[done]).expect("it breaks");
        assert_eq!(wrong(&broken, &bundle, &seen(&broken, &bundle, done, at)), [""; 0]);
        assert_ne!(wrong(&broken, &bundle, &seen(&broken, &bundle, done, at + 1)), [""; 0]);
    }

    #[test]
    fn the_checker_sees_a_record_of_progress_that_is_left() {
        let (bundle, tenant) = (Bundle::roll(&mut Dice::new(1)), tenant(Kind::MariaDb, None));
        let mut left = seen(&tenant, &bundle, bundle.of(&tenant).len(), 0);
        left.in_progress = true;
        assert_eq!(
            wrong(&tenant, &bundle, &left),
            ["everything is applied, and a record of progress is left"]
        );
    }
}
