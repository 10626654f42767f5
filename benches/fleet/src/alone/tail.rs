//! One slow tenant among quick ones: it must hold up nobody, and be the first one the next time.

use std::time::Duration;

use crate::{
    Args,
    bundle::{self, Migration},
    fleet::Fleet,
    home::Home,
    places::{Kind, Places},
    registry::Address,
    report::{Cell, Report},
};

const TENANTS: usize = 201;
const SLOTS: usize = 8;
const SLOW: Duration = Duration::from_secs(3);

/// Three runs over schemas: all are quick; one in the middle is slow; it is slow again.
pub async fn measure(args: &Args, report: &mut Report) {
    report.say("Long tail: one tenant takes 3 s, 8 slots. Ideal is the greater of those and of a run in which all are quick.");
    let tenants = args.tenants(TENANTS);
    let fleet = Fleet::with_server(Kind::Schemas, tenants);
    fleet.empty().await;
    let home = Home::new(&args.program, Address::default());
    home.import(&fleet, tenants, None);
    let migrations = [quick(), slow(2, tenants), slow(3, tenants)];
    let mut ideal = Duration::ZERO;
    for (at, name) in ["all are quick", "one is slow", "slow again"].into_iter().enumerate() {
        home.write(&migrations[..=at]);
        fleet.settle().await;
        let took = home.migrate("applied", SLOTS);
        ideal = if at == 0 { took.wall } else { ideal.max(SLOW) };
        let before = home.number(&before(tenants)).await;
        report.line(vec![
            ("case", Cell::text("tail")),
            ("run          ", Cell::text(name)),
            ("tenants", Cell::count(tenants)),
            ("seconds", Cell::Number(took.wall.as_secs_f64(), 2)),
            ("ideal", Cell::Number(ideal.as_secs_f64(), 2)),
            ("begun before it", Cell::Number(before as f64, 0)),
        ]);
    }
}

/// How many of the newest run's targets began before the slow one.
fn before(tenants: usize) -> String {
    let newest = "(SELECT max(number) FROM runs)";
    format!(
        "SELECT count(*) FROM targets AS other, targets AS slow, tenants, runs
         WHERE runs.number = {newest} AND other.run_id = runs.id AND slow.run_id = runs.id
             AND slow.tenant_id = tenants.id AND tenants.slug = 'tenant-{:07}' AND other.started_at < slow.started_at",
        tenants / 2
    )
}

fn quick() -> Migration {
    bundle::one(Kind::Schemas).remove(0)
}

fn slow(version: i64, tenants: usize) -> Migration {
    let name = Places::name(tenants / 2);
    let sleep = format!("SELECT pg_sleep({}) WHERE current_schema() = '{name}'", SLOW.as_secs());
    let table = format!("CREATE TABLE table_{version} (id BIGINT PRIMARY KEY)");
    Migration { version, name: "slow".into(), statements: vec![table, sleep] }
}
