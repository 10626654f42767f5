//! A look at a tenant's schema asks for little where there is little. What it tells is what one query for everything tells.

use std::collections::BTreeSet;

use serde_json::Value;
use tenantry_tests::{
    Fleet, TenantDb,
    fleet::{Kind, create_mariadb_database, unique},
    server::{self, Private, skipped_on_mysql},
};

use crate::{
    site::{Site, quick_home, with_account},
    stage::ledger,
};

const EVERYTHING: &str = include_str!("catalog.sql");

const RICH: &str = r"
CREATE TABLE users (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NOT NULL DEFAULT 'it''s \'x\'' COMMENT 'who',
    mail VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, born DATE DEFAULT (CURRENT_DATE + INTERVAL 1 DAY), seen TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP,
    at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), kind ENUM('a', 'b,c') DEFAULT 'a', flags SET('x', 'y'), extra JSON DEFAULT '{}',
    twice BIGINT AS (id_again * 2) VIRTUAL, id_again BIGINT, thrice BIGINT AS (id_again * 3) STORED, hidden INT INVISIBLE DEFAULT 3,
    price DECIMAL(10, 2) UNSIGNED ZEROFILL CHECK (price > 0), raw VARBINARY(16), CONSTRAINT named CHECK (name <> '' AND mail <> 'a`b'),
    UNIQUE KEY one_mail (mail(50), name DESC), KEY by_kind (kind, seen) USING BTREE) COMMENT = 'people' ROW_FORMAT = DYNAMIC;
CREATE TABLE `order` (`key` INT, `group` INT, user BIGINT UNSIGNED, other BIGINT UNSIGNED, PRIMARY KEY (`key`, `group`), INDEX (`group`, `key`),
    CONSTRAINT written FOREIGN KEY (user) REFERENCES users (id) ON DELETE SET NULL ON UPDATE CASCADE, FOREIGN KEY (other) REFERENCES users (id));
CREATE TABLE line (id INT PRIMARY KEY, `key` INT, `group` INT, text TEXT, place POINT NOT NULL, FULLTEXT KEY words (text), SPATIAL KEY places (place),
    KEY start (text(20) DESC), CONSTRAINT of_order FOREIGN KEY (`key`, `group`) REFERENCES `order` (`key`, `group`)) DEFAULT CHARSET = utf8mb3;
CREATE TABLE plain (n INT, txt VARCHAR(10)) ENGINE = MyISAM;
CREATE TABLE in_memory (n INT, KEY hashed (n) USING HASH) ENGINE = MEMORY;
CREATE TABLE long_key (id INT, body LONGTEXT, UNIQUE KEY whole (body)) ENGINE = InnoDB;
CREATE TABLE squeezed (id INT PRIMARY KEY) ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8;
CREATE TABLE logs (y INT, n INT) PARTITION BY RANGE (y) SUBPARTITION BY HASH (n) SUBPARTITIONS 2 (PARTITION p1 VALUES LESS THAN (2027), PARTITION p2 VALUES LESS THAN MAXVALUE);
CREATE TABLE spread (n INT PRIMARY KEY) PARTITION BY KEY () PARTITIONS 3;
CREATE TABLE past (n INT, secret INT WITHOUT SYSTEM VERSIONING) WITH SYSTEM VERSIONING;
CREATE TABLE past_told (n INT, f TIMESTAMP(6) GENERATED ALWAYS AS ROW START, t TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (f, t)) WITH SYSTEM VERSIONING;
CREATE SEQUENCE numbers START WITH 7 INCREMENT BY 3;
CREATE VIEW authors AS SELECT u.name, o.`key` FROM users u JOIN `order` o ON o.user = u.id;
CREATE SQL SECURITY INVOKER VIEW some_users AS SELECT id, name FROM users WHERE id > 1 WITH LOCAL CHECK OPTION;
CREATE TRIGGER shouting BEFORE INSERT ON users FOR EACH ROW SET NEW.name = UPPER(NEW.name);
CREATE TRIGGER shouting_more BEFORE INSERT ON users FOR EACH ROW FOLLOWS shouting SET NEW.mail = UPPER(NEW.mail);
CREATE TRIGGER gone AFTER DELETE ON `order` FOR EACH ROW DELETE FROM plain;
CREATE FUNCTION twice(n INT, what VARCHAR(10)) RETURNS INT DETERMINISTIC RETURN n * 2;
CREATE FUNCTION nothing() RETURNS INT READS SQL DATA SQL SECURITY INVOKER RETURN (SELECT count(*) FROM users);
CREATE PROCEDURE tidy(IN a INT, OUT b TEXT, INOUT c DECIMAL(5, 2)) DELETE FROM plain WHERE n = a;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE DO DELETE FROM plain;
CREATE EVENT later ON SCHEDULE AT '2035-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE DO DELETE FROM plain;
";

fn is_left_out() -> bool {
    skipped_on_mysql("MySQL is asked in another way, and has no sequences and no versions of rows")
}

/// What most schemas are made of.
const PLAIN: &str = r"
CREATE TABLE accounts (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARCHAR(200) NOT NULL DEFAULT 'it''s \'x\', (so`' COMMENT 'who, DEFAULT 1)',
    mail VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, code CHAR(3) CHARACTER SET ascii, kind ENUM('a', 'b,c''') DEFAULT 'a', flags SET('x', 'y') NOT NULL,
    n1 TINYINT(1) NOT NULL DEFAULT 0, n2 SMALLINT ZEROFILL, n3 MEDIUMINT, n4 INT DEFAULT -7, n5 INTEGER UNSIGNED, price DECIMAL(10, 2) DEFAULT -0.50,
    f FLOAT, f2 FLOAT(7, 2) DEFAULT 1.5, d DOUBLE DEFAULT 1e-7, b BIT(4) DEFAULT b'101', truth BOOLEAN DEFAULT TRUE, y YEAR, day DATE DEFAULT '2020-01-02', t TIME(3),
    seen TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP, made TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, at DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    `day after` DATE DEFAULT CURDATE(), own VARCHAR(36) DEFAULT UUID(), tt TINYTEXT, tx TEXT NOT NULL, tm MEDIUMTEXT DEFAULT 'x', tl LONGTEXT, bt TINYBLOB, bb BLOB NOT NULL,
    bm MEDIUMBLOB, bl LONGBLOB, raw BINARY(16), more VARBINARY(16), late VARCHAR(9) COLLATE latin1_general_cs, `weird ``one``` INT COMMENT 'a\nb\\', ä INT,
    UNIQUE KEY one_mail (mail(50), name(20) DESC), KEY by_kind (kind, seen) USING BTREE COMMENT 'x, y', FULLTEXT KEY words (tx)) COMMENT = 'people), (' ROW_FORMAT = DYNAMIC;
CREATE TABLE `order` (`key` INT, `group` INT, account BIGINT UNSIGNED, other BIGINT UNSIGNED, PRIMARY KEY (`key`, `group`), INDEX (`group`, `key`),
    CONSTRAINT written FOREIGN KEY (account) REFERENCES accounts (id) ON DELETE SET NULL ON UPDATE CASCADE, FOREIGN KEY (other) REFERENCES accounts (id) ON DELETE NO ACTION);
CREATE TABLE line (id INT PRIMARY KEY, `key` INT, `group` INT, account BIGINT UNSIGNED REFERENCES accounts (id),
    CONSTRAINT of_order FOREIGN KEY (`key`, `group`) REFERENCES `order` (`key`, `group`) ON DELETE RESTRICT ON UPDATE CASCADE) DEFAULT CHARSET = utf8mb3;
CREATE TABLE simple (n INT, txt VARCHAR(10)) ENGINE = MyISAM;
CREATE TABLE `with ``quotes``` (n INT NOT NULL);
CREATE TABLE `Big-Name` (n INT NOT NULL);
CREATE SEQUENCE numbers START WITH 7 INCREMENT BY 3;
";

/// An object as kind, table, name and definition.
type Told = (String, Option<String>, String, String);

fn told(kind: &Value, on: &Value, name: &Value, definition: &Value) -> Told {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kind = if kind == "order" { "column order" } else { kind.as_str().expect("a kind") };
    (kind.to_owned(), text(on), text(name).expect("a name"), text(definition).unwrap_or_default())
}

/// What was found out about a tenant at the last look.
async fn kept(site: &Site, tenant: &TenantDb) -> BTreeSet<Told> {
    let content = format!(
        "SELECT c.content FROM catalogs c JOIN tenants t ON t.schema_digest = c.digest WHERE t.slug = '{}'",
        tenant.id
    );
    let content = ledger(&site.home).text(&content).await.expect("a catalog");
    let objects: Vec<Value> = serde_json::from_str(&content).expect("JSON");
    objects.iter().map(|o| told(&o["kind"], &o["on"], &o["name"], &o["definition"])).collect()
}

/// What one query says of a tenant, without histories and the columns of what is no table.
async fn everything(tenant: &TenantDb) -> BTreeSet<Told> {
    let database = tenant.url.rsplit('/').next().expect("a database");
    let union = EVERYTHING.replace("{db}", &format!("'{database}'"));
    let sql = format!(
        "WITH objects (kind, place, name, definition) AS ({union}) SELECT CAST(JSON_ARRAYAGG(JSON_ARRAY(kind, place, name, definition)) AS CHAR) FROM objects"
    );
    let rows = tenant.text(&format!("SET STATEMENT group_concat_max_len = 4194304 FOR {sql}")).await;
    let rows: Vec<[Value; 4]> = serde_json::from_str(&rows.expect("rows")).expect("JSON");
    let all: BTreeSet<Told> = rows.iter().map(|[kind, on, name, text]| told(kind, on, name, text)).collect();
    let tables: BTreeSet<String> = all.iter().filter(|o| o.0 == "table").map(|o| o.2.clone()).collect();
    let is_meant = |(kind, on, name, _): &Told| {
        let of_a_table = on.as_ref().is_none_or(|on| tables.contains(on));
        let history = |name: &str| name.starts_with("_tenantry_") || name == "_sqlx_migrations";
        let of_columns = kind.starts_with("column");
        (of_a_table || !of_columns) && !history(on.as_ref().unwrap_or(name))
    };
    let own = |(kind, on, name, text): Told| {
        let text = match kind.as_str() {
            "view" | "trigger" | "function" | "event" => text.replace(&format!("`{database}`."), "{own}."),
            _ => text,
        };
        (kind, on, name, text)
    };
    all.into_iter().filter(is_meant).map(own).collect()
}

async fn is_told_alike(site: &Site, tenant: &TenantDb, kinds: usize) {
    let (kept, everything) = (kept(site, tenant).await, everything(tenant).await);
    let differing: Vec<_> = kept.symmetric_difference(&everything).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    let of_kinds: BTreeSet<&str> = kept.iter().map(|object| object.0.as_str()).collect();
    assert_eq!(of_kinds.len(), kinds, "{of_kinds:?}");
}

#[tokio::test]
async fn a_rich_mariadb_schema_is_told_as_one_query_for_everything_tells_it() {
    if is_left_out() {
        return;
    }
    let site = Site::new(&[Kind::MariaDb], 1).await;
    site.home.migration("1_all.sql", RICH);
    let _ = site.migrate(&[]).exits(0);
    is_told_alike(&site, site.tenant(), 11).await;
}

#[tokio::test]
async fn an_account_of_one_database_alone_is_told_all_that_is_in_it() {
    if is_left_out() {
        return;
    }
    for (migration, kinds) in [(RICH, 11), ("CREATE TABLE t (id INT PRIMARY KEY, n INT UNIQUE);", 5)] {
        let (home, mut fleet, user) = (quick_home(), Fleet::default(), unique("owner"));
        fleet.add(Kind::MariaDb, 1, home.path()).await;
        let tenant = &mut fleet.tenants[0];
        let grant = format!("GRANT ALL ON {}.* TO {user}", tenant.id);
        tenant.execute(&format!("CREATE USER {user} IDENTIFIED BY 'own'; {grant}")).await;
        tenant.url = with_account(&tenant.url, &user, "own");
        let site = Site::of(home, fleet);
        site.home.migration("1_all.sql", migration);
        let _ = site.migrate(&[]).exits(0);
        is_told_alike(&site, site.tenant(), kinds).await;
    }
}

#[tokio::test]
async fn one_thing_of_each_kind_alone_is_told() {
    if is_left_out() {
        return;
    }
    let kinds = [
        "CREATE TABLE t (n INT CHECK (n > 0))",
        "CREATE TABLE a (n INT PRIMARY KEY); CREATE TABLE b (n INT, FOREIGN KEY (n) REFERENCES a (n))",
        "CREATE TABLE t (n INT) PARTITION BY HASH (n) PARTITIONS 2",
        "CREATE VIEW v AS SELECT 1 AS one",
        "CREATE FUNCTION f(n INT) RETURNS INT DETERMINISTIC RETURN n",
        "CREATE EVENT e ON SCHEDULE AT '2035-01-01 00:00:00' DISABLE DO DO 1",
        "CREATE SEQUENCE s",
        "CREATE TABLE t (raw VARBINARY(2) DEFAULT 0x00FF)",
        "CREATE TABLE t (n INT); CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 1",
    ];
    let site = Site::new(&[Kind::MariaDb], kinds.len()).await;
    site.home.migration("1_base.sql", "CREATE TABLE base (id INTEGER);");
    let _ = site.migrate(&[]).exits(0);
    for (tenant, sql) in site.fleet.tenants.iter().zip(kinds) {
        tenant.execute(sql).await;
    }
    let _ = site.home.run(&["verify", "--all", "--schema"]);
    for (tenant, sql) in site.fleet.tenants.iter().zip(kinds) {
        assert_eq!(kept(&site, tenant).await, everything(tenant).await, "{sql}");
    }
}

/// Counting makes one itself.
const ON_DISK: &str = "SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'CREATED_TMP_DISK_TABLES'";

/// How many tables on the disk a server makes for a tenant that is brought to this schema, and the tenant.
async fn on_disk(server: &Private, migration: &str) -> (Site, i64) {
    create_mariadb_database(&server.url, "plain").await;
    let url = server::with_database(&server.url, "plain");
    let tenant = TenantDb { id: "plain".into(), kind: Kind::MariaDb, url, schema: None };
    let site = Site::of(quick_home(), Fleet { tenants: vec![tenant] });
    site.home.migration("1_all.sql", migration);
    let before = site.tenant().number(ON_DISK).await;
    let _ = site.migrate(&[]).exits(0);
    let made = site.tenant().number(ON_DISK).await - before;
    (site, made)
}

#[tokio::test]
async fn a_new_mariadb_tenant_costs_its_server_no_table_on_the_disk_and_an_old_one_one() {
    if is_left_out() {
        return;
    }
    let server = Private::start("mariadb", "");
    let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER); CREATE INDEX i ON t (n);";
    let (site, made) = on_disk(&server, sql).await;
    assert!(made <= 1, "{made} tables were made on the disk");
    site.home.migration("2_more.sql", "ALTER TABLE t ADD COLUMN more INTEGER; CREATE INDEX j ON t (more);");
    let before = site.tenant().number(ON_DISK).await;
    let _ = site.migrate(&[]).exits(0);
    let made = site.tenant().number(ON_DISK).await - before;
    assert!(made <= 1 + 1, "{made} tables were made on the disk");
}

#[tokio::test]
async fn what_most_schemas_are_made_of_is_told_alike_without_the_views_of_columns_and_keys() {
    if is_left_out() {
        return;
    }
    let server = Private::start("mariadb", "--character-set-server=latin1");
    let (site, made) = on_disk(&server, PLAIN).await;
    assert!(made <= 1, "{made} tables were made on the disk");
    is_told_alike(&site, site.tenant(), 6).await;
}

#[tokio::test]
async fn modes_that_change_how_a_table_is_written_down_change_nothing_of_what_is_told() {
    if is_left_out() {
        return;
    }
    let sql = "CREATE TABLE o (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) DEFAULT 'a');";
    let modes = ["ANSI_QUOTES", "NO_FIELD_OPTIONS", "MYSQL40"];
    let modes = modes.map(|mode| format!("sql_mode = '{mode}'"));
    let server = Private::start("mariadb", "");
    let admin = TenantDb { id: "admin".into(), kind: Kind::MariaDb, url: server.url.clone(), schema: None };
    for setting in modes.iter().map(String::as_str).chain(["sql_quote_show_create = 0"]) {
        admin.execute(&format!("DROP DATABASE IF EXISTS plain; SET GLOBAL {setting}")).await;
        let (site, _) = on_disk(&server, sql).await;
        admin.execute("SET GLOBAL sql_mode = DEFAULT").await;
        is_told_alike(&site, site.tenant(), 4).await;
    }
}

/// Makes a trigger in its tenant.
const MAKES_TRIGGER: &str = r#"rest=${DATABASE_URL#mysql://}; at=${rest#*@}; host=${at%%/*}; login=${rest%%@*}; export MYSQL_PWD=${login#*:}
exec mariadb --no-defaults --protocol=tcp -h ${host%:*} -P ${host#*:} -u ${login%%:*} ${at#*/} -e "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 1"
"#;

const PROGRAM_BETWEEN: &str = "[sets.core]\nmigrations = 'core'\n[sets.program]\nformat = 'none'\n[sets.program.command]\nrun = ['sh', 'trigger.sh']
directory = '.'\n[sets.last]\nmigrations = 'last'\ntable = 'last_migrations'\n";

#[tokio::test]
async fn a_trigger_that_a_program_has_made_between_two_sets_is_told() {
    if is_left_out() {
        return;
    }
    let (home, mut fleet) = (quick_home(), Fleet::default());
    let write = |path: &str, text: &str| std::fs::write(home.path().join(path), text).expect("a file");
    for set in ["core", "last"] {
        std::fs::create_dir(home.path().join(set)).expect("a directory");
    }
    write("tenantry.toml", PROGRAM_BETWEEN);
    write("trigger.sh", MAKES_TRIGGER);
    write("core/1_t.sql", "CREATE TABLE t (n INT);");
    write("last/1_u.sql", "CREATE TABLE u (n INT);");
    fleet.add(Kind::MariaDb, 1, home.path()).await;
    let site = Site::of(home, fleet);
    let _ = site.migrate(&[]).exits(0);
    let told = kept(&site, site.tenant()).await;
    assert!(told.iter().any(|(kind, _, name, _)| kind == "trigger" && name == "g"), "{told:?}");
}
