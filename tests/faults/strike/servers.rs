//! Faults of servers and disks.

use std::{io::Write as _, time::Duration};

use tenantry_tests::server::Private;

use super::{Struck, say};
use crate::{
    dice::Dice,
    scene::{Scene, Setup},
    sql::Eye,
};

const POSTGRES_SESSIONS: &str =
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

const MARIADB_SESSIONS: &str = "SELECT id FROM information_schema.processlist
    WHERE id <> CONNECTION_ID() AND user = SUBSTRING_INDEX(USER(), '@', 1) AND coalesce(db, '') NOT LIKE 'registry%'";

/// A stranger takes no more connections than this.
const GREED: usize = 400;

pub(super) async fn crash_postgres(scene: &Scene, lasts: Duration) -> Struck {
    crash(scene, &scene.stand.postgres, "immediate", lasts).await
}

pub(super) async fn crash_mariadb(scene: &Scene, lasts: Duration) -> Struck {
    crash(scene, &scene.stand.mariadb, "kill", lasts).await
}

pub(super) async fn crash_registry(scene: &Scene, lasts: Duration) -> Struck {
    match scene.setup {
        Setup::Sqlite => {
            let mut stranger = scene.ledger().await;
            stranger.run("BEGIN EXCLUSIVE").await.map_err(say)?;
            tokio::time::sleep(lasts).await;
            stranger.run("ROLLBACK").await.map_err(say)
        }
        Setup::MariaDb => crash_mariadb(scene, lasts).await,
        Setup::Postgres | Setup::PostgresAndRedis => {
            crash(scene, &scene.stand.registry, "immediate", lasts).await
        }
    }
}

pub(super) async fn crash_queue(scene: &Scene, lasts: Duration, emptied: bool) -> Struck {
    let redis = &scene.stand.redis;
    crash(scene, redis, "kill", lasts).await?;
    if emptied {
        let client = redis::Client::open(redis.url.clone()).map_err(say)?;
        let mut connection = client.get_multiplexed_async_connection().await.map_err(say)?;
        redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.map_err(say)?;
    }
    Ok(())
}

async fn crash(scene: &Scene, server: &Private, how: &str, lasts: Duration) -> Struck {
    let _alone = scene.servers.lock().await;
    tokio::task::block_in_place(|| server.stop(how));
    scene.note("the server is down");
    tokio::time::sleep(lasts).await;
    tokio::task::block_in_place(|| server.restart());
    scene.note("the server is up");
    Ok(())
}

/// Until the server refuses, and for a while from then on.
pub(super) async fn take_connections(scene: &Scene, dice: &mut Dice, lasts: Duration) -> Struck {
    let _alone = scene.servers.lock().await;
    let url = if dice.percent(50) { &scene.stand.postgres.url } else { &scene.stand.mariadb.url };
    let mut taken = Vec::new();
    let refused = loop {
        match Eye::open(url).await {
            Ok(eye) if taken.len() < GREED => taken.push(eye),
            Ok(_) => return Err("the server takes more connections than a stranger has".into()),
            Err(error) => break error,
        }
    };
    scene.note(format!("{} connections of a stranger; then: {refused}", taken.len()));
    tokio::time::sleep(lasts).await;
    drop(taken);
    scene.note("the stranger is gone");
    Ok(())
}

/// One session after the other, also those that wait for their next tenant. The registry's are left alone.
pub(super) async fn end_sessions(scene: &Scene, dice: &mut Dice, lasts: Duration) -> Struck {
    let _alone = scene.servers.lock().await;
    let of_postgres = dice.percent(50);
    let server = if of_postgres { &scene.stand.postgres } else { &scene.stand.mariadb };
    let mut operator = Eye::open(&server.url).await.map_err(say)?;
    let until = tokio::time::Instant::now() + lasts;
    let mut ended = 0;
    while tokio::time::Instant::now() < until {
        tokio::time::sleep(dice.millis(5, 100)).await;
        let sessions = operator.rows(if of_postgres { POSTGRES_SESSIONS } else { MARIADB_SESSIONS }).await;
        let sessions = sessions.map_err(say)?;
        if sessions.is_empty() {
            continue;
        }
        let session = &dice.pick(&sessions)[0];
        let end = if of_postgres {
            format!("SELECT pg_terminate_backend({session})")
        } else {
            format!("KILL {session}")
        };
        ended += usize::from(operator.run(&end).await.is_ok()); // it may be gone
    }
    scene.note(format!(
        "{ended} sessions of {} were ended",
        if of_postgres { "PostgreSQL" } else { "MariaDB" }
    ));
    Ok(())
}

pub(super) async fn fill_disk(scene: &Scene, lasts: Duration) -> Struck {
    let disk = scene.small_disk.as_ref().ok_or("no disk of its own can be mounted here, which takes root")?;
    let ballast = disk.path().join("ballast");
    let mut file = std::fs::File::create(&ballast).map_err(say)?;
    let mut filled = 0;
    while file.write_all(&[0; 1024]).is_ok() {
        filled += 1;
    }
    scene.note(format!("{filled} KiB of ballast fill the disk"));
    // Whoever frees a page finds it taken.
    let until = tokio::time::Instant::now() + lasts;
    while tokio::time::Instant::now() < until {
        let _ = file.write_all(&[0; 512]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_file(&ballast).map_err(say)?;
    scene.note("the disk has room again");
    Ok(())
}
