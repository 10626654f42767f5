//! One statement and its values, in the form that the registry's database takes.

use sqlx::{
    Any, AnyConnection, AssertSqlSafe,
    any::{AnyArguments, AnyRow},
    query::Query,
};

use super::{
    Dialect, Row,
    execute::{Done, Executor, Want},
};

/// With more values than this a statement holds a list. Its like hardly comes again, and a server keeps only so many
/// prepared statements for all its clients together.
const MAX_KEPT_VALUES: usize = 32;

/// A value of the registry. There are no others: times are numbers, and so are truths.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

/// A statement in a database's dialect, to be given its values in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(super) dialect: Dialect,
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Statement {
    pub(super) fn new(dialect: Dialect, text: &str) -> Self {
        Self { dialect, text: dialect.words(text), values: Vec::new() }
    }

    /// The value of the next parameter.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// The values of the next parameters.
    pub(crate) fn bind_all<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.values.extend(values.into_iter().map(Into::into));
        self
    }

    pub(crate) async fn execute(self, executor: impl Executor) -> Result<Done, sqlx::Error> {
        executor.run(self, Want::Nothing).await
    }

    /// Runs an `INSERT` of one row. `false`: one with its key is there already, and nothing was changed.
    pub(crate) async fn insert(self, executor: impl Executor) -> Result<bool, sqlx::Error> {
        self.insert_rows(executor, 1).await
    }

    /// Runs an `INSERT` of so many rows. `false`: one with the key of one of them is there already. Some of the others may
    /// have been inserted then.
    pub(crate) async fn insert_rows(
        mut self,
        executor: impl Executor,
        count: u64,
    ) -> Result<bool, sqlx::Error> {
        // MySQL's own word for it, IGNORE, would ignore much more, and a failed statement ends no transaction there.
        if self.dialect != Dialect::MySql {
            self.text.push_str(" ON CONFLICT DO NOTHING");
        }
        match self.execute(executor).await {
            Ok(done) => Ok(done.rows_affected() == count),
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn fetch_one(self, executor: impl Executor) -> Result<Row, sqlx::Error> {
        self.fetch_optional(executor).await?.ok_or(sqlx::Error::RowNotFound)
    }

    pub(crate) async fn fetch_optional(self, executor: impl Executor) -> Result<Option<Row>, sqlx::Error> {
        Ok(executor.run(self, Want::One).await?.rows.pop())
    }

    pub(crate) async fn fetch_all(self, executor: impl Executor) -> Result<Vec<Row>, sqlx::Error> {
        Ok(executor.run(self, Want::All).await?.rows)
    }

    /// Runs it by a connection of the driver's.
    pub(super) async fn run_by(
        self,
        connection: &mut AnyConnection,
        want: Want,
    ) -> Result<Done, sqlx::Error> {
        let query = self.query();
        let rows: Vec<AnyRow> = match want {
            Want::Nothing => {
                let changed = query.execute(connection).await?.rows_affected();
                return Ok(Done { changed, rows: Vec::new() });
            }
            Want::One => query.fetch_optional(connection).await?.into_iter().collect(),
            Want::All => query.fetch_all(connection).await?,
        };
        Ok(Done { changed: 0, rows: rows.iter().map(Row::try_from).collect::<Result<_, _>>()? })
    }

    /// Whether it is prepared for more than once.
    pub(super) fn is_kept(&self) -> bool {
        self.values.len() <= MAX_KEPT_VALUES
    }

    /// The value of a parameter `$n`.
    pub(super) fn value(&self, parameter: &str) -> Option<&Value> {
        let number: usize = parameter.strip_prefix('$')?.parse().ok()?;
        self.values.get(number.checked_sub(1)?)
    }

    fn query(self) -> Query<'static, Any, AnyArguments> {
        let (text, values) = match self.dialect {
            Dialect::Sqlite | Dialect::Postgres => (self.text, self.values),
            Dialect::MySql => in_place(&self.text, &self.values),
        };
        let query = sqlx::query(AssertSqlSafe(text)).persistent(values.len() <= MAX_KEPT_VALUES);
        values.into_iter().fold(query, |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
        })
    }
}

/// The same statement with `?` for each `$n`, and its values in the order in which they stand: one that stands twice is
/// given twice, and one that stands nowhere is left out.
fn in_place(text: &str, values: &[Value]) -> (String, Vec<Value>) {
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut placed = Vec::with_capacity(values.len());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize = part[..digits].parse().unwrap_or(0);
        placed.extend(number.checked_sub(1).and_then(|at| values.get(at)).cloned());
        out.push('?');
        out.push_str(&part[digits..]);
    }
    (out, placed)
}

impl Statement {
    /// The values of a [`list`].
    pub(crate) fn bind_list(self, texts: &[String]) -> Self {
        match self.dialect {
            Dialect::MySql => self.bind_all(texts.iter().map(String::as_str)),
            Dialect::Sqlite | Dialect::Postgres => {
                self.bind(serde_json::to_string(texts).unwrap_or_default())
            }
        }
    }
}

/// What stands in `IN (…)` for a list of so many texts: one value, so that the statement is the same for any number, or
/// parameters from `$first` on where a server would go through all rows for it. They are the last ones of a statement.
pub(crate) fn list(dialect: Dialect, first: usize, count: usize) -> String {
    match dialect {
        Dialect::Sqlite => format!("SELECT value FROM json_each(${first})"),
        Dialect::Postgres => format!("SELECT json_array_elements_text(${first}::json)"),
        Dialect::MySql => parameters(first, count),
    }
}

/// The parameters `$first`, `$first+1`, … for a list of so many values.
pub(crate) fn parameters(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(",")
}

/// The same for a list of so many pairs, each in parentheses.
pub(crate) fn pairs(first: usize, count: usize) -> String {
    let pair = |at: usize| format!("({})", parameters(first + at * 2, 2));
    (0..count).map(pair).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_parameters_is_numbered_from_its_first() {
        assert_eq!(parameters(3, 3), "$3,$4,$5");
        assert_eq!(pairs(3, 2), "($3,$4),($5,$6)");
    }

    #[test]
    fn parameters_that_have_no_numbers_get_their_values_in_the_order_in_which_they_stand() {
        let values: Vec<Value> = (1..=11_i64).map(Value::from).collect();
        let placed = |text: &str| {
            let (text, placed) = in_place(text, &values);
            let number = |value: &Value| if let Value::Number(Some(n)) = value { *n } else { 0 };
            (text, placed.iter().map(number).collect::<Vec<_>>())
        };
        assert_eq!(placed("a = $2 AND b IN ($1,$11)"), ("a = ? AND b IN (?,?)".into(), vec![2, 1, 11]));
        assert_eq!(placed("$3 = $3"), ("? = ?".into(), vec![3, 3]));
        assert_eq!(placed("SELECT 1"), ("SELECT 1".into(), vec![]));
    }

    #[test]
    fn parameters_that_have_numbers_are_left_as_they_are() {
        let statement = Statement::new(Dialect::Postgres, "$2 = $1");
        assert_eq!(statement.text, "$2 = $1");
    }
}
