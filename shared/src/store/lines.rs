//! Many rows at once, as JSON.

use serde::de::DeserializeOwned;

use super::{Dialect, Statement, StoreError, execute::Executor};

impl Statement {
    /// The rows, in no order, of a statement that gives one column `line`, an `{array}` of what `T` is read from. A text is one
    /// in JSON, too, and a number of the database a number.
    pub(crate) async fn fetch_lines<T: DeserializeOwned>(
        mut self,
        executor: impl Executor,
    ) -> Result<Vec<T>, StoreError> {
        let lines = match self.dialect {
            Dialect::Sqlite => "line",
            Dialect::Postgres => "line::text",
            Dialect::MySql => "CAST(line AS CHAR)",
        };
        self.text = format!("SELECT {lines} FROM ({}) rows_as_lines", self.text);
        let rows = self.fetch_all(executor).await?;
        let lines = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        let all = lines.join(",");
        serde_json::from_str(&format!("[{all}]")).map_err(|error| StoreError::Value(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use crate::store::Store;

    #[tokio::test]
    async fn rows_come_whole_whatever_is_in_them_and_none_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let store = Store::init(&url).await.unwrap();
        let sql = "SELECT {array}(name, value, NULL, 7) AS line FROM settings WHERE name LIKE $1 ORDER BY name LIMIT 2";
        let lines = async |like: &str| {
            let query = store.query(sql).bind(like);
            query.fetch_lines::<(String, String, Option<String>, i64)>(store.pool()).await.unwrap()
        };
        assert!(lines("%").await.is_empty());
        for (name, value) in [("a", "\"],[\u{1}é"), ("b", "{\"c\": [1]}"), ("c", "")] {
            let insert = store.query("INSERT INTO settings (name, value) VALUES ($1, $2)");
            insert.bind(name).bind(value).execute(store.pool()).await.unwrap();
        }
        let line = |name: &str, value: &str| (name.to_owned(), value.to_owned(), None, 7);
        assert_eq!(lines("%").await, [line("a", "\"],[\u{1}é"), line("b", "{\"c\": [1]}")]);
        assert_eq!(lines("c").await, [line("c", "")]);
    }
}
