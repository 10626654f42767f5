//! Together with Sequelize: umzug, which its program is made of, runs SQL as we do; the program itself runs JavaScript.

use tenantry_tests::{Ran, TenantDb, Tool, fleet::Kind};

use super::partner::{Partner, history, table};
use crate::site::Site;

const CONFIG: &str = "module.exports = { test: { use_env_variable: 'DATABASE_URL', logging: false } };\n";
const SCRIPT: &str = "module.exports = { up: (q, S) => q.createTable('js', { id: S.INTEGER }), down: q => q.dropTable('js') };\n";

/// The few lines that a user of umzug writes to run SQL.
const UMZUG: &str = r"
const { Sequelize } = require('sequelize'), Umzug = require('umzug'), fs = require('fs');
const sequelize = new Sequelize(process.env.DATABASE_URL, { logging: false });
const run = file => () => sequelize.query(fs.readFileSync(file, 'utf8'));
const umzug = new Umzug({ storage: 'sequelize', storageOptions: { sequelize }, migrations: {
  path: 'migrations', pattern: /^(?!.*\.down\.sql$).*\.sql$/,
  customResolver: file => ({ up: run(file), down: run(file.replace(/\.sql$/, '.down.sql')) }) } });
umzug[process.argv[1]]().then(done => console.log(done.length)).finally(() => sequelize.close());
";

fn umzug(tool: &Tool, site: &Site, tenant: &TenantDb, word: &str) -> Ran {
    tool.run_script(site.home.path(), &[("DATABASE_URL", &tenant.url)], &["-e", UMZUG, "--", word])
}

#[tokio::test]
async fn umzug_and_we_go_on_from_each_other() {
    let partner = Partner {
        tool: "sequelize-cli",
        kinds: &[Kind::PostgresDatabase, Kind::MariaDb],
        table: "SequelizeMeta",
        files: |number, table| {
            let file = |end: &str, text: String| (format!("2024010100000{number}-{table}{end}"), text);
            vec![
                file(".sql", format!("CREATE TABLE {table} (id int);")),
                file(".down.sql", format!("DROP TABLE {table};")),
            ]
        },
        apply: |tool, site, tenant| umzug(tool, site, tenant, "up"),
        is_content: |tool, site, tenant| umzug(tool, site, tenant, "pending").exits(0).stdout == "0\n",
        revert: Some(|tool, site, tenant| umzug(tool, site, tenant, "down")),
    };
    partner.gets_along_with_us().await;
}

#[tokio::test]
async fn sequelize_goes_on_in_the_history_that_we_began_and_we_see_it() {
    let Some(tool) = Tool::find("sequelize-cli") else { return };
    let kinds = [Kind::PostgresDatabase, Kind::MariaDb];
    let (ours, theirs) = (Site::new(&kinds, 1).await, Site::new(&kinds, 1).await);
    ours.home.migration("20240101000001-t.sql", "CREATE TABLE t (id int);");
    ours.home.migration("20240101000002-u.sql", "CREATE TABLE u (id int);");
    let _ = ours.migrate(&[]).exits(0);
    for site in [&ours, &theirs] {
        std::fs::create_dir(site.home.path().join("js")).expect("a directory");
        std::fs::write(site.home.path().join("js/20240101000003-js.js"), SCRIPT).expect("a file");
        std::fs::write(site.home.path().join("config.js"), CONFIG).expect("a file");
        for tenant in &site.fleet.tenants {
            let words = ["db:migrate", "--config", "config.js", "--env", "test", "--migrations-path", "js"];
            let ran = tool.run(site.home.path(), &[("DATABASE_URL", &tenant.url)], &words).exits(0);
            assert!(ran.stdout.contains("== 20240101000003-js: migrated ("), "{ran:?}");
        }
    }
    for (own, other) in ours.fleet.tenants.iter().zip(&theirs.fleet.tenants) {
        assert_eq!(table(own, "SequelizeMeta").await, table(other, "SequelizeMeta").await);
        let names = ["20240101000001-t.sql", "20240101000002-u.sql", "20240101000003-js.js"];
        assert_eq!(history(own, "SequelizeMeta", &["name"]).await, names);
    }
    let run = ours.migrate(&[]).exits(104).json();
    assert_eq!(run["failures"][0]["code"], "missing", "{run}");
}

#[tokio::test]
async fn an_sqlite_history_has_its_table_and_names() {
    let site = Site::new(&[Kind::Sqlite], 1).await;
    site.home.migration("20240101000001-t.sql", "CREATE TABLE t (id int);");
    let _ = site.migrate(&[]).exits(0);
    let expected = "create table sequelizemeta (name varchar(255) not null unique primary key)";
    assert_eq!(table(site.tenant(), "SequelizeMeta").await, expected);
    assert_eq!(history(site.tenant(), "SequelizeMeta", &["name"]).await, ["20240101000001-t.sql"]);
}
