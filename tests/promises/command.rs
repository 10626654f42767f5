//! A program that migrates in place of our engine: when it is started, what it gets, and what becomes of its end.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use tenantry_tests::{Tool, fleet::Kind, home::finish, wait::until};

use crate::{
    site::{KINDS, Site},
    tools::python::revision,
};

/// A site whose tenants are migrated by this shell script; `more` is more of its configuration.
async fn scripted(kinds: &[Kind], script: &str, more: &str) -> Site {
    let site = Site::new(kinds, 1).await;
    program(&site, script);
    configure(&site, "", &format!("run = [\"./migrate.sh\", \"{{tenant}}\"]\n{more}"));
    site
}

fn program(site: &Site, script: &str) {
    let path = site.home.path().join("migrate.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a script that runs");
}

fn configure(site: &Site, set: &str, command: &str) {
    let set = if set.is_empty() { "format = \"none\"" } else { set };
    let retries = "[run]\nbackoff-base = \"50ms\"\nbackoff-cap = \"200ms\"\n";
    let text = format!("{set}\n{retries}[command]\ndirectory = \".\"\n{command}\n");
    std::fs::write(site.home.path().join("tenantry.toml"), text).expect("a configuration");
}

fn output(site: &Site) -> String {
    site.attempts(site.tenant())[0]["output"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_program_without_a_history_runs_for_every_tenant_and_its_exit_code_counts() {
    let site = scripted(&KINDS, "echo \"migrating $1\"; echo $TENANTRY_TENANT >> started", "").await;
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["state"]), (&4.into(), &"succeeded".into()), "{run}");
    assert_eq!(output(&site), format!("migrating {}\n", site.tenant().id));
    let _ = site.migrate(&[]).exits(0);
    let started = std::fs::read_to_string(site.home.path().join("started")).expect("its file");
    assert_eq!(started.lines().count(), 8);
}

#[tokio::test]
async fn what_a_program_says_is_kept_without_the_password() {
    let script = "echo \"$DATABASE_URL\"; echo \"$DB_PASSWORD\" >&2; env | sort; exit 7";
    let site = scripted(&[Kind::PostgresSchema], script, "").await;
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["code"], &cause["class"]), (&"exit-7".into(), &"permanent".into()), "{cause}");
    let said = output(&site);
    for password in tenantry_tests::server::passwords() {
        assert!(!said.contains(&password) && !cause.to_string().contains(&password), "{said}");
    }
    let schema = site.tenant().schema.clone().expect("a schema");
    for line in ["DB_CONNECTION=pgsql", &format!("DB_SCHEMA={schema}"), "***", "PGOPTIONS=-c search_path="] {
        assert!(said.contains(line), "{line}: {said}");
    }
    for foreign in ["TENANTRY_MASTER_KEY", "TENANTRY_REGISTRY_URL", "CARGO"] {
        assert!(!said.contains(foreign), "{foreign}: {said}");
    }
    let text = site.home.run(&["logs", "-t", &site.tenant().id]).exits(0).stdout;
    assert!(text.contains("  | DB_CONNECTION=pgsql"), "{text}");
}

#[tokio::test]
async fn only_the_end_of_a_long_output_is_kept() {
    let site = scripted(&[Kind::Sqlite], "seq 1 200000; echo done", "").await;
    let _ = site.migrate(&[]).exits(0);
    let said = output(&site);
    assert!(
        said.starts_with("…\n") && said.ends_with("200000\ndone\n") && said.len() <= 17_000,
        "{}",
        said.len()
    );
}

#[tokio::test]
async fn exit_codes_mean_what_the_configuration_says() {
    let script = "[ -e tried ] && exit 9; touch tried; exit 3";
    let site = scripted(&[Kind::Sqlite], script, "exit-codes = { 3 = \"retry\", 9 = \"success\" }").await;
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["retried"]), (&1.into(), &1.into()), "{run}");
}

#[tokio::test]
async fn at_its_time_limit_the_whole_process_group_is_ended() {
    let script =
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done' & wait; sleep 600";
    let site = scripted(&[Kind::PostgresDatabase], script, "timeout = \"1s\"").await;
    let cause = site.fails(100, &["--retries", "1"]);
    assert_eq!(
        (&cause["code"], &cause["class"]),
        (&"command-timeout".into(), &"transient".into()),
        "{cause}"
    );
    let child = std::fs::read_to_string(site.home.path().join("child")).expect("the number of a process");
    let gone = || !std::path::Path::new(&format!("/proc/{}", child.trim())).exists();
    until("the child is gone", async || gone()).await;
}

#[tokio::test]
async fn a_program_keeps_the_lock_of_its_tenant_for_as_long_as_it_runs() {
    let script = "echo on > began; while [ ! -e go ]; do sleep 0.1; done";
    let site = scripted(&[Kind::PostgresDatabase], script, "").await;
    let child = site.start(&[]);
    let file = |name: &str| site.home.path().join(name);
    until("it runs", async || file("began").exists()).await;
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let begun = std::time::Instant::now();
    // The server ends a session that stands still for 15 seconds; this one does not.
    until("it has run for 17 seconds", async || begun.elapsed().as_secs() >= 17).await;
    assert_eq!(site.tenant().number(locks).await, 2);
    std::fs::write(file("go"), "").expect("a file");
    let _ = finish(child).exits(0);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_with_where_it_was_looked_for() {
    let site = Site::new(&[Kind::Sqlite], 1).await;
    configure(&site, "", "run = [\"./no-such-program\"]");
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["code"], &cause["class"]), (&"command".into(), &"permanent".into()), "{cause}");
    let told = cause["message"].as_str().unwrap_or_default();
    assert!(told.starts_with("./no-such-program cannot be started: "), "{told}");
}

/// An Alembic project of two revisions, with a wrapper that notes every start.
fn alembic(site: &Site, tool: &Tool) {
    const ENV: &str = "
import os, sqlalchemy
from alembic import context
url = os.environ['DATABASE_URL'].split('?')[0]
for ours, theirs in [('postgresql:', 'postgresql+psycopg:'), ('mysql:', 'mysql+pymysql:'), ('sqlite:', 'sqlite:/')]:
    if url.startswith(ours):
        url = theirs + url[len(ours):]
with sqlalchemy.create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
";
    let write = |name: &str, text: &str| {
        let path = site.home.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    };
    write("alembic.ini", "[alembic]\nscript_location = %(here)s/scripts\n");
    write("scripts/env.py", ENV);
    write("scripts/versions/a1.py", &revision("a1", "None", "t"));
    write("scripts/versions/b2.py", &revision("b2", "'a1'", "u"));
    program(site, &format!("echo $TENANTRY_TENANT >> started; exec {} \"$@\"", tool.program().display()));
}

const ALEMBIC: &str =
    "preset = \"alembic\"\nrun = [\"./migrate.sh\", \"-x\", \"tenant={tenant}\", \"upgrade\", \"head\"]";

fn started(site: &Site) -> usize {
    std::fs::read_to_string(site.home.path().join("started")).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn alembic_is_started_for_tenants_that_are_behind_and_for_no_other() {
    let Some(tool) = Tool::find("alembic") else { return };
    let site = Site::new(&KINDS, 1).await;
    alembic(&site, &tool);
    configure(&site, "migrations = \"scripts/versions\"", ALEMBIC);
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["target"]), (&4.into(), &"b2".into()), "{run}");
    assert_eq!(started(&site), 4);
    for tenant in &site.fleet.tenants {
        let tables = tenant.tables().await;
        assert!(tables.contains_key("t") && tables.contains_key("u"), "{}: {tables:?}", tenant.id);
        let steps = &site.attempts(tenant)[0]["applied"];
        assert_eq!((&steps[0]["version"], &steps[1]["version"]), (&"a1".into(), &"b2".into()), "{steps}");
    }
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!((&run["counts"]["current"], started(&site)), (&4.into(), 4), "{run}");

    std::fs::write(site.home.path().join("scripts/versions/c3.py"), revision("c3", "'b2'", "w"))
        .expect("a file");
    let one = &site.fleet.tenants[0];
    let _ = site.home.run(&["migrate", "-t", &one.id]).exits(0);
    let run: Value = site.migrate(&[]).exits(0).json();
    assert_eq!((&run["counts"]["applied"], &run["counts"]["current"]), (&3.into(), &1.into()), "{run}");
    assert_eq!(started(&site), 8);
}

/// Promise 4.
#[tokio::test]
async fn a_program_that_ends_well_and_applied_nothing_has_failed() {
    let Some(tool) = Tool::find("alembic") else { return };
    let site = Site::new(&[Kind::PostgresDatabase], 1).await;
    alembic(&site, &tool);
    program(&site, "exit 0");
    configure(&site, "migrations = \"scripts/versions\"", ALEMBIC);
    let cause = site.fails(100, &[]);
    assert_eq!((&cause["code"], &cause["migration"]), (&"unproven".into(), &"a1".into()), "{cause}");
}
