//! Finding out whether a pooler before the registry lends its sessions by the transaction. Our statements are prepared, and
//! one may be run in another session than the one that has prepared it, or that has prepared something else by its name.

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _};

use super::{Dialect, StoreError, options};
use crate::{
    clock,
    pooling::{MARK, Pooling, declared, refuses_options},
};

/// Connects to a registry; refuses a session that is lent.
pub(super) async fn connect(url: &str, dialect: Dialect) -> Result<AnyConnection, StoreError> {
    if dialect != Dialect::Postgres {
        return Ok(AnyConnection::connect_with(&options(url)?).await?);
    }
    match declared(url).map_err(|_| StoreError::Pooling)? {
        Some(Pooling::Transaction) => Err(StoreError::Pooled),
        Some(Pooling::Session) => match AnyConnection::connect_with(&options(url)?).await {
            Err(error) if is_refusal(&error) => Err(StoreError::Options(error.to_string())),
            done => Ok(done?),
        },
        None => marked(url).await,
    }
}

/// A session of our own has the mark that it was begun with.
async fn marked(url: &str) -> Result<AnyConnection, StoreError> {
    let mark = format!("{:016x}", clock::chance().to_bits());
    let joint = if url.contains('?') { '&' } else { '?' };
    let marked = options(&format!("{url}{joint}options%5B{MARK}%5D={mark}"))?;
    let mut connection = match AnyConnection::connect_with(&marked).await {
        Err(error) if is_refusal(&error) => return Err(StoreError::Pooled),
        connection => connection?,
    };
    let ask = AssertSqlSafe(format!("SELECT current_setting('{MARK}', true)"));
    let row = sqlx::raw_sql(ask).fetch_one(&mut connection).await?;
    let own = row.try_get::<Option<String>, _>(0)? == Some(mark);
    if own { Ok(connection) } else { Err(StoreError::Pooled) }
}

fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| refuses_options(error.message()))
}
