//! Statements one by one on PostgreSQL: those that no transaction can hold, and the indexes they leave invalid.

use sqlx::{AssertSqlSafe, Executor as _};
use tenantry_shared::{
    failure::Failure,
    place::Engine,
    site::{Row, quoted},
    statement::{IndexWork, index_concurrently},
};

use super::{PostgresSession, line_of};
use crate::engine::{Session as _, steps::Stepwise};

/// They may run again, however they ended.
const REPEATABLE: [&str; 5] = ["VACUUM", "ANALYZE", "REINDEX", "REFRESH", "ALTER SYSTEM"];

impl Stepwise for PostgresSession {
    const BEGIN: &'static str = "BEGIN";

    async fn execute(&mut self, sql: &str) -> Result<u64, Failure> {
        let done = self.connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await;
        done.map(|done| done.rows_affected()).map_err(|e| self.fail(&e))
    }

    async fn statement(&mut self, text: &str) -> Result<(), Failure> {
        let done = self.connection.execute(sqlx::raw_sql(AssertSqlSafe(text.to_owned()))).await;
        done.map(|_| ()).map_err(|e| Failure { line: line_of(&e, text, 0), ..self.fail(&e) })
    }

    async fn clear(&mut self, statement: &str) -> Result<(), Failure> {
        let Some(IndexWork::Build { name, table }) = index_concurrently(statement) else { return Ok(()) };
        for index in self.indexes(name.as_deref(), &table, "NOT i.indisvalid").await? {
            tracing::warn!(index, "an index that was left invalid is dropped, to be built again");
            self.execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")).await?;
        }
        Ok(())
    }

    async fn is_done(&mut self, statement: &str) -> Result<Option<bool>, Failure> {
        match index_concurrently(statement) {
            Some(IndexWork::Build { name: Some(name), table }) => {
                Ok(Some(!self.indexes(Some(&name), &table, "i.indisvalid").await?.is_empty()))
            }
            // Which one it was cannot be told: an unnamed index is built once more under another name.
            Some(IndexWork::Build { name: None, .. }) => Ok(None),
            Some(IndexWork::Drop { name }) => {
                Ok(Some(self.indexes(Some(&name), &[], "TRUE").await?.is_empty()))
            }
            None => {
                let words = statement.to_ascii_uppercase();
                Ok(REPEATABLE.iter().any(|word| words.starts_with(word)).then_some(false))
            }
        }
    }
}

impl PostgresSession {
    /// The indexes, quoted with their schemas, that are meant and for which the condition holds; but for those that
    /// somebody is building just now. An index without a name has one that begins with its table's.
    async fn indexes(
        &mut self,
        name: Option<&[String]>,
        table: &[String],
        condition: &str,
    ) -> Result<Vec<String>, Failure> {
        let path = |parts: &[String]| {
            let quoted: Vec<String> = parts.iter().map(|part| quoted(Engine::Postgres, part)).collect();
            self.site("").text(&quoted.join("."))
        };
        let meant = match (name, table.split_last()) {
            (Some(name), None) => format!("c.oid = to_regclass({})", path(name)),
            // An index is made in the schema of its table.
            (Some(name), Some(_)) => {
                let bare = self.site("").text(name.last().map_or("", String::as_str));
                format!("i.indrelid = to_regclass({}) AND c.relname = {bare}", path(table))
            }
            (None, _) => format!(
                "i.indrelid = to_regclass({}) AND starts_with(c.relname, t.relname || '_') AND c.relname ~ '_idx[0-9]*$'",
                path(table)
            ),
        };
        let select = format!(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE {condition} AND {meant} AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index p
                WHERE p.index_relid = c.oid AND p.pid <> pg_backend_pid())"
        );
        let rows = self.read(&select).await?.unwrap_or_default();
        Ok(rows.into_iter().filter_map(|row: Row| row.into_iter().next().flatten()).collect())
    }
}
