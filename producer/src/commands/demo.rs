//! `demo`: a fleet of SQLite tenants, one of them with data that breaks the newest migration. The only command that
//! touches tenants' tables itself: it makes up their data.

use std::path::Path;

use sqlx::{
    AssertSqlSafe, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tenantry_shared::{
    config::{Config, Flags},
    exit::Exit,
    fault::Fault,
    place::DatabaseUrl,
    registry::{NewTenant, read_directory},
    run::{ActionKind, Pick, Policy, RunRef, Selection},
    tenant::{Labels, Slug, Status},
    version::Version,
};

use super::{enqueue::Draft, registry, work};
use crate::{
    app::App,
    cli::OnceArgs,
    output::{Output, RunView},
};

const MIGRATIONS: [(&str, &str); 3] = [
    (
        "20260901090000_create_customers.sql",
        include_str!("../../../migrations/demo/20260901090000_create_customers.sql"),
    ),
    (
        "20260915100000_create_orders.sql",
        include_str!("../../../migrations/demo/20260915100000_create_orders.sql"),
    ),
    (
        "20261102113000_one_customer_per_email.sql",
        include_str!("../../../migrations/demo/20261102113000_one_customer_per_email.sql"),
    ),
];

/// The version all tenants have before the newest migration comes.
const BEFORE: i64 = 20_260_915_100_000;

/// The tenant with two customers of one email address.
const BROKEN: &str = "globex";

/// What `--fix` does to its data.
const FIX: &str = "UPDATE customers SET email = 'bob+billing@globex.example' WHERE id = 2";

const CONFIG: &str = "# Made by `tenantry demo`. Paths are relative to this file.\nregistry-url = \"sqlite:registry.db\"\nmigrations = \"migrations\"\n";

pub(crate) async fn run(dir: &Path, tenants: u32, fix: bool, output: &Output) -> Result<Exit, Fault> {
    if fix {
        return mend(dir, output).await;
    }
    if dir.exists() {
        let fault = Fault::usage(format!("{} exists already", dir.display()));
        return Err(fault.with_hint("remove it, or make the demo elsewhere with --dir"));
    }
    let app = make(dir, tenants, output).await?;
    output.note(&format!(
        "made {tenants} tenants in {}, each with a few customers, {BROKEN} with a duplicate",
        dir.display()
    ));
    let view = migrate(&app, None, output).await?;
    output.with_config(&dir.join("tenantry.toml")).summary(&view, true);
    let promised = view.counts.failed == 1 && view.counts.applied == u64::from(tenants) - 1;
    if !promised || view.causes.list.first().is_none_or(|cause| cause.tenants != [BROKEN]) {
        return Err(Fault::new(Exit::Error, "the demo did not go as promised"));
    }
    if !output.is_json() {
        output.data(&next_steps(dir, output));
    }
    Ok(Exit::Ok)
}

fn next_steps(dir: &Path, output: &Output) -> String {
    let (dir, program) = (dir.display(), output.program());
    format!(
        "\nAs promised: {BROKEN} failed and is unchanged, all others are migrated. Two commands come next:\n  \
         fix its data:   {program} demo --dir {dir} --fix\n  \
         try it again:   {program} -c {dir}/tenantry.toml retry --work\n\
         Look around:      {program} -c {dir}/tenantry.toml status"
    )
}

/// The directory with everything in it, and the fleet at the version before the newest.
async fn make(dir: &Path, tenants: u32, output: &Output) -> Result<App, Fault> {
    let (migrations, databases, file) =
        (dir.join("migrations"), dir.join("tenants"), dir.join("tenantry.toml"));
    std::fs::create_dir_all(&migrations)?;
    std::fs::create_dir_all(&databases)?;
    std::fs::write(&file, CONFIG)?;
    for (name, content) in MIGRATIONS {
        std::fs::write(migrations.join(name), content)?;
    }
    // The environment is left out: a demo touches nothing but its own directory.
    let config = Config::load(&Flags { config: Some(file), ..Flags::default() }, &|_| None)?;
    registry::make(&config, output).await?;
    let app = App::with(config).await?;
    let new = (1..tenants).map(|n| format!("shop-{n:03}")).chain([BROKEN.to_owned()]);
    let new = new.map(|name| new_tenant(&name, &databases)).collect::<Result<Vec<_>, Fault>>()?;
    for tenant in &new {
        std::fs::write(&tenant.place.database, "")?;
    }
    app.registry.add_tenants(&app.key().await?, &new).await?;
    let before = migrate(&app, Some(BEFORE.into()), output).await?;
    if before.counts.failed > 0 {
        return Err(Fault::new(Exit::Error, "the demo's tenants could not be made"));
    }
    for tenant in &new {
        fill(tenant).await?;
    }
    Ok(app)
}

fn new_tenant(name: &str, databases: &Path) -> Result<NewTenant, Fault> {
    let slug: Slug = name.parse().map_err(|_| Fault::new(Exit::Error, "no slug"))?;
    let url =
        DatabaseUrl::parse(&format!("sqlite:{}/{name}.db", databases.display()), &std::env::current_dir()?)?;
    let plan = if name.ends_with('0') { "pro" } else { "free" };
    let labels = Labels::from([("plan".to_owned(), plan.to_owned())]);
    Ok(NewTenant { slug, place: url.place(None)?, url, status: Status::Active, labels })
}

/// Runs the fleet to a version, the newest if none is given, with workers in this process.
async fn migrate(app: &App, target: Option<Version>, output: &Output) -> Result<RunView, Fault> {
    let bundle = read_directory(&app.config.migrations)?;
    let target = target.unwrap_or_else(|| bundle.latest().version.clone());
    let selection = Selection { pick: Pick::All, exclude: Vec::new(), limit: None };
    let policy = Policy::default();
    let kind = ActionKind::Apply;
    let draft = Draft {
        kind,
        bundle,
        target,
        selection,
        policy,
        sets: Vec::new(),
        central: None,
        retry_failed: true,
    };
    let run = draft.write(app, None, Some("demo".to_owned()), &OnceArgs::default()).await?;
    match work::until_ended(app, RunRef::Id(run.id), None, output).await? {
        Ok(view) => Ok(view),
        Err(exit) => Err(Fault::new(exit, "interrupted")),
    }
}

async fn fill(tenant: &NewTenant) -> Result<(), Fault> {
    let name = tenant.slug.as_str();
    let second = if name == BROKEN { "ann" } else { "bob" };
    let data = format!(
        "INSERT INTO customers (id, name, email) VALUES (1, 'Ann', 'ann@{name}.example'), (2, 'Bob', '{second}@{name}.example');
         INSERT INTO orders (id, customer_id, total_cents) VALUES (1, 1, 4200)"
    );
    execute(Path::new(&tenant.place.database), &data).await
}

async fn mend(dir: &Path, output: &Output) -> Result<Exit, Fault> {
    let file = dir.join("tenants").join(format!("{BROKEN}.db"));
    if !file.exists() {
        return Err(Fault::usage(format!("there is no demo in {}", dir.display()))
            .with_hint("make one with: tenantry demo"));
    }
    execute(&file, FIX).await?;
    output.data(&format!("{BROKEN}: {FIX}"));
    Ok(Exit::Ok)
}

async fn execute(file: &Path, sql: &str) -> Result<(), Fault> {
    let failed = |e: sqlx::Error| Fault::new(Exit::Error, format!("{}: {e}", file.display()));
    let options = SqliteConnectOptions::new().filename(file).synchronous(SqliteSynchronous::Off);
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}
