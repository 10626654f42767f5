//! The ledger as it is, read with SQL of the test's own into the same form as the model.

use std::{collections::BTreeMap, time::Duration};

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _, any::AnyRow};

use super::{
    super::bench::Bench,
    UNIT_MS,
    model::{Line, Model, Target},
};

const TARGETS: &str = "SELECT g.run_id, g.tenant_id, g.state, g.attempt, g.uncounted, g.lapses, g.due_at, g.sent_at, g.owner, g.class, g.code, g.wave,
        (SELECT count(*) FROM attempts a WHERE a.run_id = g.run_id AND a.tenant_id = g.tenant_id), g.finished_at
    FROM targets g";

const RUNS: &str = "SELECT id, state, wave, waves, soak_until, deadline_at, paused_at, stop_code, finished_at, surveyed FROM runs";

/// A second way into the registry.
pub(super) struct Window {
    bench: Bench,
    connection: AnyConnection,
}

impl Window {
    pub(super) async fn open(bench: &Bench) -> Self {
        let connection = AnyConnection::connect(&bench.sql.url).await.expect("the registry");
        Self { bench: bench.clone(), connection }
    }

    pub(super) async fn execute(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        self.connection.execute(sqlx::raw_sql(sql)).await.expect("a statement");
    }

    /// Makes it so much later.
    pub(super) async fn pass(&mut self, time: Duration) {
        let ms = time.as_millis();
        self.execute(&format!("UPDATE targets SET due_at = due_at - {ms}, sent_at = sent_at - {ms}")).await;
        self.execute(&format!(
            "UPDATE runs SET soak_until = soak_until - {ms}, deadline_at = deadline_at - {ms}"
        ))
        .await;
    }

    pub(super) async fn look(&mut self) -> Model {
        let now = self.bench.registry.store().now_ms().await.expect("the time");
        let rows = self.connection.fetch_all(RUNS).await.expect("runs");
        let runs = rows.iter().map(|row| (parsed(row, 0), line(row, now))).collect();
        let rows = self.connection.fetch_all(TARGETS).await.expect("targets");
        let targets: BTreeMap<_, _> =
            rows.iter().map(|row| ((parsed(row, 0), parsed(row, 1)), target(row, now))).collect();
        assert_eq!(targets.len(), rows.len(), "a tenant has two targets");
        Model { runs, targets }
    }
}

fn target(row: &AnyRow, now: i64) -> Target {
    let (class, code) = (row.get::<Option<String>, _>(9), row.get::<Option<String>, _>(10));
    let target = Target {
        state: parsed(row, 2),
        attempt: number(row, 3),
        uncounted: number(row, 4),
        lapses: number(row, 5),
        due: left(row, 6, now),
        sent: row.get::<Option<i64>, _>(7).map(|at| (now - at).div_euclid(UNIT_MS)),
        owner: row.get(8),
        failure: class.zip(code),
        wave: u64::from(number(row, 11)),
        recorded: number(row, 12),
    };
    assert_eq!(row.get::<Option<i64>, _>(13).is_some(), target.state.is_final(), "when {target:?} ended");
    target
}

fn line(row: &AnyRow, now: i64) -> Line {
    let line = Line {
        state: parsed(row, 1),
        wave: u64::from(number(row, 2)),
        waves: serde_json::from_str(&row.get::<String, _>(3)).expect("sizes"),
        soak: left(row, 4, now),
        deadline: left(row, 5, now),
        paused: row.get::<Option<i64>, _>(6).is_some(),
        stop: row.get(7),
        surveyed: row.get(9),
    };
    assert_eq!(row.get::<Option<i64>, _>(8).is_some(), line.state.is_final(), "when {line:?} ended");
    line
}

/// In how many units that is. What a test itself takes is less than one.
fn left(row: &AnyRow, at: usize, now: i64) -> Option<i64> {
    row.get::<Option<i64>, _>(at).map(|at| (at - now + UNIT_MS - 1).div_euclid(UNIT_MS).max(0))
}

fn number(row: &AnyRow, at: usize) -> u32 {
    u32::try_from(row.get::<i64, _>(at)).expect("a number of ours")
}

fn parsed<T: std::str::FromStr>(row: &AnyRow, at: usize) -> T {
    let text: String = row.get(at);
    text.parse().ok().unwrap_or_else(|| panic!("{text} is none"))
}
