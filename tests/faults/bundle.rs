//! The migrations of a seed, and what a tenant must look like after any part of them: a model that knows nothing of how
//! they are run.

use std::{collections::BTreeMap, path::Path};

use sha2::{Digest as _, Sha384};

use crate::{dice::Dice, fleet::Tenant};

/// What can be seen of a tenant: how often each thing is there.
pub(crate) type Facts = BTreeMap<String, i64>;

/// What keeps a broken tenant from being migrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// The row that a migration inserts is there already.
    Duplicate,
    /// The table that a migration changes is not there.
    MissingTable,
}

/// The statements of a migration, each with what it changes.
pub(crate) struct Step {
    sql: String,
    facts: Vec<(String, i64)>,
    /// What it fails of.
    pub(crate) breaks: Option<Break>,
}

/// One file.
pub(crate) struct Migration {
    pub(crate) version: i64,
    pub(crate) description: String,
    /// Only tenants with the label take it.
    pub(crate) concurrent: bool,
    /// It says that no transaction is to hold it.
    pub(crate) marked: bool,
    pub(crate) steps: Vec<Step>,
}

/// All migrations of a seed.
pub(crate) struct Bundle {
    pub(crate) migrations: Vec<Migration>,
}

impl Bundle {
    pub(crate) fn roll(dice: &mut Dice) -> Self {
        let count = dice.number(5, 7) as i64;
        let (duplicate, missing) = (dice.number(2, count as u64) as i64, dice.number(2, count as u64) as i64);
        let concurrent = dice.number(2, count as u64 - 1) as i64;
        let slow = [dice.number(1, count as u64) as i64, dice.number(1, count as u64) as i64];
        let mut migrations = Vec::new();
        for at in 1..=count {
            let breaks = [(Break::Duplicate, duplicate), (Break::MissingTable, missing)];
            let breaks = breaks.iter().filter(|(_, of)| *of == at).map(|(kind, _)| *kind);
            migrations.push(Migration::roll(dice, at * 10, slow.contains(&at), breaks));
            if at == concurrent {
                migrations.push(Migration::concurrent(at * 10 + 5));
            }
        }
        Self { migrations }
    }

    /// Those that this tenant takes, in order.
    pub(crate) fn of(&self, tenant: &Tenant) -> Vec<&Migration> {
        self.migrations.iter().filter(|migration| tenant.concurrent || !migration.concurrent).collect()
    }

    pub(crate) fn write(&self, dir: &Path) {
        for migration in &self.migrations {
            let set = dir.join("migrations").join(if migration.concurrent { "concurrent" } else { "base" });
            std::fs::create_dir_all(&set).expect("a directory");
            std::fs::write(set.join(migration.file()), migration.text()).expect("a migration");
        }
    }
}

impl Migration {
    fn roll(dice: &mut Dice, version: i64, slow: bool, breaks: impl Iterator<Item = Break>) -> Self {
        let table = format!("t{version}");
        let mut steps = vec![log(version, 1)];
        if dice.percent(80) {
            steps.push(Step::new(
                format!("CREATE TABLE {table} (id INTEGER NOT NULL, a INTEGER)"),
                &[format!("column {table}.id"), format!("column {table}.a")],
            ));
        }
        let with_table = steps.len() == 2;
        steps.push(Step::new("UPDATE counter SET n = n + 1".into(), &["count".into()]));
        if slow {
            steps.push(Step::new("UPDATE pace SET n = n + 1".into(), &["pace".into()]));
        }
        if with_table {
            let column = format!("ALTER TABLE {table} ADD COLUMN b INTEGER");
            steps.push(Step::new(column, &[format!("column {table}.b")]));
            steps.push(Step::new(
                format!("CREATE INDEX i_{table} ON {table} (a)"),
                &[format!("index i_{table}")],
            ));
        }
        steps.push(log(version, 2));
        for kind in breaks {
            let at = 1 + dice.place(steps.len());
            steps.insert(at, guard(version, kind));
        }
        let marked = dice.percent(25);
        Self { version, description: format!("step {version}"), concurrent: false, marked, steps }
    }

    /// What no transaction can hold.
    fn concurrent(version: i64) -> Self {
        let index = format!("i_concurrent{version}");
        let build = Step::new(
            format!("CREATE INDEX CONCURRENTLY {index} ON canary (version)"),
            &[format!("index {index}")],
        );
        let steps = vec![log(version, 1), build, log(version, 2)];
        Self { version, description: "concurrent".into(), concurrent: true, marked: true, steps }
    }

    fn file(&self) -> String {
        format!("{}_{}.sql", self.version, self.description.replace(' ', "_"))
    }

    fn text(&self) -> String {
        let mark = if self.marked { "-- no-transaction\n" } else { "" };
        let steps: String = self.steps.iter().map(|step| format!("{};\n", step.sql)).collect();
        format!("{mark}{steps}")
    }

    /// What sqlx writes into the history.
    pub(crate) fn checksum(&self) -> String {
        Sha384::digest(self.text()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// At which of its statements a tenant of this kind fails.
    pub(crate) fn breaks_at(&self, kind: Break) -> Option<usize> {
        self.steps.iter().position(|step| step.breaks == Some(kind))
    }
}

impl Step {
    fn new(sql: String, facts: &[String]) -> Self {
        Self { sql, facts: facts.iter().map(|fact| (fact.clone(), 1)).collect(), breaks: None }
    }
}

fn log(version: i64, step: i64) -> Step {
    let sql = format!("INSERT INTO canary (version, step) VALUES ({version}, {step})");
    Step::new(sql, &[format!("log {version}.{step}")])
}

fn guard(version: i64, kind: Break) -> Step {
    let step = match kind {
        Break::Duplicate => Step::new(
            format!("INSERT INTO orders (id, version) VALUES (7, {version})"),
            &["row orders.7".into()],
        ),
        Break::MissingTable => Step::new("UPDATE extra SET n = n + 1".into(), &["extra".into()]),
    };
    Step { breaks: Some(kind), ..step }
}

/// A tenant that began like this, after these migrations and so many statements of the one behind them.
pub(crate) fn after(begin: &Facts, done: &[&Migration], then: &[Step]) -> Facts {
    let mut facts = begin.clone();
    for (fact, by) in done.iter().flat_map(|done| &done.steps).chain(then).flat_map(|step| &step.facts) {
        *facts.entry(fact.clone()).or_default() += by;
    }
    facts
}
