//! The targets of a run counted in groups. The database counts.

use std::str::FromStr;

use serde::Serialize;

use super::{Ledger, LedgerError, waves::CENTRAL_ID};
use crate::{
    id::RunId,
    run::TargetState,
    store::{Dialect, Row, StoreError, Value, parameters},
    summary::Counts,
};

/// What targets of one group have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The cause of their failure.
    Error,
    /// The value of a label.
    Label(String),
    /// The server they are on.
    Server,
    /// Their wave.
    Wave,
}

impl FromStr for GroupBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.split_once(':')) {
            ("error", _) => Ok(Self::Error),
            ("server", _) => Ok(Self::Server),
            ("wave", _) => Ok(Self::Wave),
            (_, Some(("label", name))) if !name.is_empty() => Ok(Self::Label(name.to_owned())),
            _ => Err(format!("'{text}' is not a group (error, label:KEY, server or wave)")),
        }
    }
}

/// The targets of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupRow {
    /// What they have in common; none where it is not there: no cause, no such label.
    pub group: Option<String>,
    /// Their code, where they are grouped by cause. What was not begun because of a cause has another one than what failed.
    pub code: Option<String>,
    /// The message of one of them.
    pub message: Option<String>,
    /// How many are in each state.
    pub counts: Counts,
}

impl Ledger {
    /// The groups of a run's targets, waves in their order and others the largest first. The central database is in none.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn groups(
        &self,
        run: RunId,
        by: &GroupBy,
        states: &[TargetState],
        limit: u32,
    ) -> Result<Vec<GroupRow>, LedgerError> {
        let (value, join, order) = match by {
            GroupBy::Error => ("g.fingerprint", "", LARGEST),
            GroupBy::Server => ("s.address", "JOIN servers s ON s.id = t.server_id", LARGEST),
            GroupBy::Wave => ("g.wave", "", "g.wave"),
            GroupBy::Label(_) => {
                ("l.value", "LEFT JOIN tenant_labels l ON l.tenant_id = g.tenant_id AND l.name = $2", LARGEST)
            }
        };
        let text = if self.store.dialect() == Dialect::MySql { "CHAR" } else { "TEXT" };
        // What was not begun has the fingerprint of what stopped the run, or none: the code keeps it apart.
        let (cause, code) = match by {
            GroupBy::Error => ("g.code, min(g.message)".to_owned(), ", g.code"),
            _ => (format!("CAST(NULL AS {text}), CAST(NULL AS {text})"), ""),
        };
        let mut values = vec![Value::from(run.to_string())];
        if let GroupBy::Label(name) = by {
            values.push(name.as_str().into());
        }
        let only = match states.len() {
            0 => String::new(),
            count => format!("AND g.state IN ({})", parameters(values.len() + 1, count)),
        };
        values.extend(states.iter().map(|state| Value::from(state.as_str())));
        let sql = format!(
            "SELECT CAST({value} AS {text}), {cause}, {counts}, count(CASE WHEN g.attempt - g.uncounted > 1 AND g.state IN ('applied', 'current') THEN 1 END)
             FROM targets g JOIN tenants t ON t.id = g.tenant_id {join}
             WHERE g.run_id = $1 AND g.tenant_id <> COALESCE({CENTRAL_ID}, '') {only}
             GROUP BY {value}{code} ORDER BY {order}, 1, 2 LIMIT {limit}",
            counts = counts(),
        );
        let query = self.store.query(&sql).bind_all(values);
        query.fetch_all(self.store.pool()).await?.iter().map(read_group).collect()
    }
}

const LARGEST: &str = "count(*) DESC";

/// How many targets are in each state, in the order of their lives.
fn counts() -> String {
    let count = |state: &TargetState| format!("count(CASE WHEN g.state = '{state}' THEN 1 END)");
    TargetState::ALL.iter().map(count).collect::<Vec<_>>().join(", ")
}

fn read_group(row: &Row) -> Result<GroupRow, LedgerError> {
    let number = |at: usize| Ok::<_, sqlx::Error>(u64::try_from(row.try_get::<i64>(at)?).unwrap_or(0));
    let mut counts = Counts::default();
    for (at, state) in (3..).zip(TargetState::ALL) {
        counts.add(*state, number(at)?);
    }
    counts.retried = number(3 + TargetState::ALL.len())?;
    let text = |at: usize| row.try_get::<Option<String>>(at).map_err(StoreError::from);
    Ok(GroupRow { group: text(0)?, code: text(1)?, message: text(2)?, counts })
}
