//! Who holds what a session of ours waited for in vain, on MySQL and MariaDB. Which of the server's views of locks are
//! there, and whether the account may see them, differs: what cannot be asked is not told.

use std::time::Duration;

use tenantry_shared::{failure::Failure, place::Engine, site::Row};

use super::MySqlSession;
use crate::engine::{
    Change, Session as _,
    holder::{Holder, failed_statement, held, is_named},
};

/// A lock was waited for too long: of a row, or of a table's definition.
const LOCK_TIMEOUT: &str = "1205";

/// An answer that takes longer is not waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// A session in the columns of [`Holder::read`].
const SESSION: &str =
    "CAST(p.ID AS CHAR), NULL, p.USER, CASE WHEN p.COMMAND = 'Sleep' THEN 'idle' ELSE p.COMMAND END,
    CAST(p.TIME AS CHAR), p.INFO";

/// Who holds the definition of which table: MySQL, and MariaDB with its plugin.
const TABLES: [&str; 2] = [
    "JOIN performance_schema.threads t ON t.PROCESSLIST_ID = p.ID
     JOIN performance_schema.metadata_locks l ON l.OWNER_THREAD_ID = t.THREAD_ID AND l.LOCK_STATUS = 'GRANTED'
     WHERE l.OBJECT_TYPE = 'TABLE' AND l.OBJECT_SCHEMA = DATABASE()",
    "JOIN information_schema.metadata_lock_info l ON l.THREAD_ID = p.ID WHERE l.TABLE_SCHEMA = DATABASE()",
];

/// Their column with the table's name.
const NAMES: [&str; 2] = ["l.OBJECT_NAME", "l.TABLE_NAME"];

/// Whose transaction is open in this database.
const OPEN: &str = "JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.ID
    WHERE p.DB = DATABASE() AND p.ID <> CONNECTION_ID() ORDER BY t.trx_started";

impl MySqlSession {
    /// A failure of a migration, with who holds the table that it did not get.
    pub(super) async fn explained(&mut self, failure: Failure, change: &Change<'_>) -> Failure {
        if failure.code != LOCK_TIMEOUT {
            return failure;
        }
        let statement = failed_statement(change, &failure, Engine::MySql);
        let ask = self.holders_of_tables(&statement);
        let (says, holders) = tokio::time::timeout(ANSWER_LIMIT, ask).await.unwrap_or_default();
        held(failure, says, &holders)
    }

    /// A failure to take the tenant's lock, with who holds the one of this name.
    pub(super) async fn explained_lock(&mut self, failure: Failure, name: &str) -> Failure {
        let of = format!("WHERE p.ID = IS_USED_LOCK({})", self.site("").text(name));
        let rows = tokio::time::timeout(ANSWER_LIMIT, self.sessions("NULL", &of)).await.unwrap_or_default();
        held(failure, "held by", &read(&rows))
    }

    /// Those with a lock on a table that the statement names; else those with a transaction open beside it, who may hold
    /// one. With what is known of them.
    async fn holders_of_tables(&mut self, statement: &str) -> (&'static str, Vec<Holder>) {
        for (joined, name) in TABLES.iter().zip(NAMES) {
            let mut rows = self.sessions(name, &format!("{joined} AND p.ID <> CONNECTION_ID()")).await;
            let table = |row: &Row| row.last().cloned().flatten().unwrap_or_default();
            rows.retain(|row| is_named(statement, &table(row), Engine::MySql));
            if !rows.is_empty() {
                return ("held by", read(&rows));
            }
        }
        ("perhaps held by the transaction of", read(&self.sessions("NULL", OPEN).await))
    }

    async fn sessions(&mut self, more: &str, joined: &str) -> Vec<Row> {
        let select = format!("SELECT {SESSION}, {more} FROM information_schema.PROCESSLIST p {joined}");
        self.read(&select).await.ok().flatten().unwrap_or_default()
    }
}

/// Each session once.
fn read(rows: &[Row]) -> Vec<Holder> {
    let mut holders: Vec<Holder> = Vec::new();
    for holder in rows.iter().filter_map(|row| Holder::read(row, Engine::MySql)) {
        if !holders.iter().any(|known| known.id == holder.id) {
            holders.push(holder);
        }
    }
    holders
}
