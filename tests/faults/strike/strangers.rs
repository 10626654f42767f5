//! Faults of strangers in tenants' databases: what they hold, and for how long.

use std::time::Duration;

use sqlx::migrate::Migrate as _;
use tenantry_tests::fleet::Kind;

use super::{Struck, say};
use crate::{
    dice::Dice,
    fleet::{Fleet, Tenant},
    scene::Scene,
    sql::Eye,
};

/// How many tenants a stranger holds at once.
const HELD: usize = 12;

/// The lock that `sqlx::migrate!` takes: of all schemas of a database at once.
pub(super) async fn advisory_lock(scene: &Scene, fleet: &Fleet, dice: &mut Dice, lasts: Duration) -> Struck {
    let mut held = Vec::new();
    for tenant in some(fleet, dice, |kind| matches!(kind, Kind::PostgresDatabase | Kind::PostgresSchema)) {
        if held.len() >= 4 {
            break;
        }
        let Eye::Postgres(mut connection) = tenant.eye().await.map_err(say)? else { continue };
        let taken = tokio::time::timeout(Duration::from_secs(1), connection.lock()).await;
        if taken.is_ok_and(|taken| taken.is_ok()) {
            scene.note(format!("the lock of {} is held", tenant.id));
            held.push(connection);
        }
    }
    hold(scene, held, lasts).await
}

pub(super) async fn lock_table(scene: &Scene, fleet: &Fleet, dice: &mut Dice, lasts: Duration) -> Struck {
    hold_with(scene, fleet, dice, lasts, |kind| match kind {
        Kind::MariaDb => "LOCK TABLES counter WRITE",
        Kind::Sqlite => "",
        _ => "BEGIN; LOCK TABLE counter",
    })
    .await
}

pub(super) async fn open_transaction(
    scene: &Scene,
    fleet: &Fleet,
    dice: &mut Dice,
    lasts: Duration,
) -> Struck {
    hold_with(scene, fleet, dice, lasts, |kind| match kind {
        Kind::Sqlite => "",
        _ => "BEGIN; UPDATE counter SET n = n + 1000",
    })
    .await
}

pub(super) async fn lock_file(scene: &Scene, fleet: &Fleet, dice: &mut Dice, lasts: Duration) -> Struck {
    hold_with(scene, fleet, dice, lasts, |kind| match kind {
        Kind::Sqlite => "BEGIN EXCLUSIVE",
        _ => "",
    })
    .await
}

/// Runs SQL in sessions with some tenants and keeps these open; what they wrote is rolled back.
async fn hold_with(
    scene: &Scene,
    fleet: &Fleet,
    dice: &mut Dice,
    lasts: Duration,
    sql: impl Fn(Kind) -> &'static str,
) -> Struck {
    let mut held = Vec::new();
    for tenant in some(fleet, dice, |kind| !sql(kind).is_empty()) {
        let Ok(mut eye) = tenant.eye().await else { continue };
        let got = tokio::time::timeout(Duration::from_millis(500), eye.run(sql(tenant.kind))).await;
        if got.is_ok_and(|got| got.is_ok()) {
            held.push(eye);
        }
    }
    hold(scene, held, lasts).await
}

async fn hold<T>(scene: &Scene, held: Vec<T>, lasts: Duration) -> Struck {
    if held.is_empty() {
        return Err("nothing was to be had".into());
    }
    scene.note(format!("{} tenants are held", held.len()));
    tokio::time::sleep(lasts * 2).await;
    scene.note(format!("{} tenants are let go", held.len()));
    Ok(())
}

fn some<'f>(fleet: &'f Fleet, dice: &mut Dice, of: impl Fn(Kind) -> bool) -> Vec<&'f Tenant> {
    let mut tenants: Vec<&Tenant> = fleet.tenants.iter().filter(|tenant| of(tenant.kind)).collect();
    dice.shuffle(&mut tenants);
    tenants.truncate(HELD);
    tenants
}
