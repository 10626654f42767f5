//! What is done while somebody else holds a lock, whose process may be paused.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};
use tenantry_shared::{
    failure::Class,
    job::Next,
    run::{RunRef, TargetState},
};
use tenantry_tests::{Home, wait::until};

use super::{
    LEASE, SHORT_LEASE,
    bench::{Bench, failure},
};

/// Somebody else's locks.
enum Lock {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl Lock {
    async fn of_postgres(bench: &Bench) -> Self {
        Self::Postgres(PgConnection::connect(&bench.sql.url).await.expect("postgres"))
    }

    async fn of_mariadb(bench: &Bench) -> Self {
        Self::MariaDb(MySqlConnection::connect(&bench.sql.url).await.expect("mariadb"))
    }

    async fn runs(&mut self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(connection) => sql.execute(connection).await.map(|_| ()),
            Self::MariaDb(connection) => sql.execute(connection).await.map(|_| ()),
        }
        .expect("a statement");
    }
}

/// Five tenants failed for one cause. Before that is written as the reason of a halt, one succeeds.
async fn succeeded_before_the_halt(bench: Bench, mut lock: Lock, waiting: &str) {
    bench.enqueue().await;
    let claims = bench.take(6, "a", LEASE).await;
    for claim in &claims[..5] {
        assert!(bench.record(claim, failure(Class::Permanent), Next::End(TargetState::Failed)).await);
    }
    let run = claims[0].job.run;
    lock.runs("BEGIN").await;
    lock.runs("SELECT number FROM runs FOR UPDATE").await;
    let (own, late) = (bench.clone(), run);
    let judging = tokio::spawn(async move { own.ledger.check_gates(late).await });
    until("the halt is about to be written", || async { bench.sql.number(waiting).await == 1 }).await;
    assert!(bench.succeed(&claims[5]).await);
    lock.runs("COMMIT").await;
    assert_eq!(judging.await.expect("an end").expect("an answer"), None);
    assert_eq!(bench.ledger.find_run(RunRef::Id(run)).await.expect("the run").stop, None);
    assert_eq!(bench.ledger.stop_runs().await.expect("an answer").done, []);
    assert_eq!(bench.take(2, "b", LEASE).await.len(), 2, "it goes on");
}

#[tokio::test]
async fn a_success_before_a_halt_is_written_in_postgres_is_seen_by_it() {
    let bench = Bench::new(Home::new().with_postgres_registry().await, false, 8).await;
    let lock = Lock::of_postgres(&bench).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'UPDATE runs%'";
    succeeded_before_the_halt(bench, lock, waiting).await;
}

#[tokio::test]
async fn a_success_before_a_halt_is_written_in_mariadb_is_seen_by_it() {
    let bench = Bench::new(Home::new().with_mariadb_registry().await, false, 8).await;
    let lock = Lock::of_mariadb(&bench).await;
    let waiting = "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND info LIKE 'UPDATE runs%'";
    succeeded_before_the_halt(bench, lock, waiting).await;
}

/// Two leases have lapsed, and the target of one is held by somebody else.
async fn rescued_beside_a_lock(bench: Bench, mut lock: Lock) {
    bench.enqueue().await;
    let claims = bench.take(2, "a", SHORT_LEASE).await;
    let (held, other) = (claims[0].job.tenant, claims[1].job.tenant);
    lock.runs("BEGIN").await;
    lock.runs(&format!("UPDATE targets SET lapses = lapses WHERE tenant_id = '{held}'")).await;
    until("the other one is taken back", async || {
        let rescue = tokio::time::timeout(Duration::from_secs(5), bench.ledger.rescue(i64::MAX)).await;
        rescue.expect("an answer without a wait").expect("a rescue") == 1
    })
    .await;
    let taken = |tenant| format!("tenant_id = '{tenant}' AND state = 'retryable' AND lapses = 1");
    assert_eq!((bench.targets(&taken(other)).await, bench.targets(&taken(held)).await), (1, 0));
    lock.runs("ROLLBACK").await;
    until("this one, too", async || bench.ledger.rescue(i64::MAX).await.expect("a rescue") == 1).await;
    assert_eq!(bench.targets(&taken(held)).await, 1);
}

#[tokio::test]
async fn a_target_that_somebody_holds_keeps_no_other_from_being_taken_back_in_postgres() {
    let bench = Bench::new(Home::new().with_postgres_registry().await, false, 2).await;
    let lock = Lock::of_postgres(&bench).await;
    rescued_beside_a_lock(bench, lock).await;
}

#[tokio::test]
async fn a_target_that_somebody_holds_keeps_no_other_from_being_taken_back_in_mariadb() {
    let bench = Bench::new(Home::new().with_mariadb_registry().await, false, 2).await;
    let lock = Lock::of_mariadb(&bench).await;
    rescued_beside_a_lock(bench, lock).await;
}
