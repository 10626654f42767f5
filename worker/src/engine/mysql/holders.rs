//! Who holds what a session of ours waits for, or has waited for in vain, on MySQL and MariaDB. Which of the server's views of locks are
//! there, and whether the account may see them, differs: what cannot be asked is not told.

use std::time::Duration;

use tenantry_shared::{failure::Failure, place::Engine, site::Row};

use super::MySqlSession;
use crate::engine::{
    Change, Now, Session as _, Wait,
    doing::Lock,
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
    WHERE p.DB = DATABASE()";

/// In the states of a session that changes a table, or sleeps: none of these waits for a row.
const AT_WORK: [&str; 6] = ["copy", "alter", "index", "keys", "repair", "sleep"];

/// Whose transaction holds rows that the one of a session waits for: MariaDB, and MySQL.
const ROWS: [&str; 2] = [
    "JOIN information_schema.innodb_trx b ON b.trx_mysql_thread_id = p.ID
     JOIN information_schema.innodb_lock_waits w ON w.blocking_trx_id = b.trx_id
     JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id WHERE r.trx_mysql_thread_id",
    "JOIN performance_schema.threads b ON b.PROCESSLIST_ID = p.ID
     JOIN performance_schema.data_lock_waits w ON w.BLOCKING_THREAD_ID = b.THREAD_ID
     JOIN performance_schema.threads r ON r.THREAD_ID = w.REQUESTING_THREAD_ID WHERE r.PROCESSLIST_ID",
];

impl MySqlSession {
    /// A failure of a migration, with who holds the table that it did not get.
    pub(super) async fn explained(&mut self, failure: Failure, change: &Change<'_>) -> Failure {
        if failure.code != LOCK_TIMEOUT {
            return failure;
        }
        let statement = failed_statement(change, &failure, Engine::MySql);
        let ask = self.holders_of_tables(&statement, self.number.unwrap_or_default());
        let (says, holders) = tokio::time::timeout(ANSWER_LIMIT, ask).await.unwrap_or_default();
        held(failure, says, &holders)
    }

    /// A failure to take the tenant's lock, with who holds the one of this name.
    pub(super) async fn explained_lock(&mut self, failure: Failure, name: &str) -> Failure {
        let holders = tokio::time::timeout(ANSWER_LIMIT, self.holders_of_lock(name)).await;
        held(failure, "held by", &holders.unwrap_or_default())
    }

    /// What the session of this number waits for. The list of sessions tells of most locks. InnoDB's views of locks are asked
    /// about rows alone, and of a statement only that may wait for one: they stand still when they are read too often.
    pub(in crate::engine) async fn waited_for(
        &mut self,
        number: u64,
        now: &Now,
    ) -> Result<Option<Wait>, Failure> {
        if let Some(Lock::Named(name)) = &now.lock {
            let holders = self.holders_of_lock(name).await;
            return Ok(Some(Wait::held("the tenant's lock", "held by", &holders, None)));
        }
        let list = self.list();
        let select =
            format!("SELECT STATE, INFO FROM {list} WHERE ID = {number} AND COMMAND IN ('Query', 'Execute')");
        let Some(row) = self.read(&select).await?.and_then(|mut rows| rows.pop()) else { return Ok(None) };
        let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        let (state, statement) = (text(0), text(1));
        let waits = state.strip_prefix("Waiting for ");
        match waits.filter(|what| what.ends_with("lock") || *what == "table flush") {
            Some(what) => {
                let (says, holders) = self.holders_of_tables(&statement, number).await;
                Ok(Some(Wait::held(&format!("the {what}"), says, &holders, None)))
            }
            None if AT_WORK.iter().any(|word| state.to_lowercase().contains(word)) => Ok(None),
            None => {
                let holders = self.holders_of_rows(number).await;
                let wait = || Wait::held("a lock on rows", "held by", &holders, None);
                Ok((!holders.is_empty()).then(wait))
            }
        }
    }

    async fn holders_of_lock(&mut self, name: &str) -> Vec<Holder> {
        let of = format!("WHERE p.ID = IS_USED_LOCK({})", self.site("").text(name));
        read(&self.sessions("NULL", &of).await)
    }

    async fn holders_of_rows(&mut self, number: u64) -> Vec<Holder> {
        for joined in ROWS {
            let rows = self.sessions("NULL", &format!("{joined} = {number}")).await;
            if !rows.is_empty() {
                return read(&rows);
            }
        }
        Vec::new()
    }

    /// Those with a lock on a table that the statement of this session names; else those with a transaction open beside
    /// it, who may hold one. With what is known of them.
    async fn holders_of_tables(&mut self, statement: &str, number: u64) -> (&'static str, Vec<Holder>) {
        let others = format!("AND p.ID NOT IN ({number}, CONNECTION_ID())");
        for (joined, name) in TABLES.iter().zip(NAMES) {
            let mut rows = self.sessions(name, &format!("{joined} {others}")).await;
            let table = |row: &Row| row.last().cloned().flatten().unwrap_or_default();
            rows.retain(|row| is_named(statement, &table(row), Engine::MySql));
            if !rows.is_empty() {
                return ("held by", read(&rows));
            }
        }
        ("perhaps held by the transaction of", {
            let open = format!("{OPEN} {others} ORDER BY t.trx_started");
            read(&self.sessions("NULL", &open).await)
        })
    }

    /// The list of all sessions. MySQL's former one is an error while any of them runs bytes that are no text.
    fn list(&self) -> &'static str {
        if self.is_maria { "information_schema.PROCESSLIST" } else { "performance_schema.processlist" }
    }

    async fn sessions(&mut self, more: &str, joined: &str) -> Vec<Row> {
        let select = format!("SELECT {SESSION}, {more} FROM {} p {joined}", self.list());
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
