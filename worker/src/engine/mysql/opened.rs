//! A new session with a MySQL or MariaDB tenant. Its settings, and the question who it is, travel with what is asked first.

use std::str::FromStr as _;

use sqlx::{
    ConnectOptions as _, Connection as _, MySqlConnection, Row as _,
    mysql::{MySqlConnectOptions, MySqlRow},
};
use tenantry_shared::{
    clock::{Stopwatch, millis},
    failure::{Class, Failure},
    place::Engine,
    registry::Access,
    site::Row,
};

use super::{MySqlSession, left::Left, stepwise::Stopper};
use crate::engine::{IDLE, Limits, failure, in_time};

/// What the driver sets in a session, in a message of its own, unless it is told to set nothing.
const AS_THE_DRIVER: &str = ", sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT,NO_ENGINE_SUBSTITUTION'), time_zone = '+00:00', NAMES utf8mb4";

/// The first row that a session reads begins so. What MySQL takes for a comment tells whether an account sees all triggers.
const WHO: &str = "SELECT CAST(CONNECTION_ID() AS CHAR), VERSION() /*M! , CASE WHEN EXISTS (SELECT 1 FROM information_schema.user_privileges
    WHERE privilege_type = 'TRIGGER' AND grantee = CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), '@', QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1))))
    THEN '1' ELSE '0' END */";

/// The same of one of which all of that is known.
const KNOWN: &str = "SELECT NULL";

/// How a server is connected to, and what is left to be set in the session, behind other settings. What a URL says of character
/// sets and time zones is the driver's.
pub(super) fn options(access: &Access) -> Result<(MySqlConnectOptions, &'static str), sqlx::Error> {
    let url = access.url.expose();
    let options = MySqlConnectOptions::from_str(url)?.disable_statement_logging();
    let said = url.split_once('?').is_some_and(|(_, said)| said.contains("zone"));
    if said || options.get_charset() != "utf8mb4" || options.get_collation().is_some() {
        return Ok((options, ""));
    }
    let bare = options.pipes_as_concat(false).no_engine_substitution(false).timezone(None).set_names(false);
    Ok((bare, AS_THE_DRIVER))
}

impl MySqlSession {
    /// One that nothing was asked in yet.
    pub(super) async fn opened(access: &Access, limits: Limits) -> Result<Self, Failure> {
        let password = access.url.password();
        let fail = |e: sqlx::Error| failure(&e, Engine::MySql, password.as_deref());
        let (options, more) = options(access).map_err(fail)?;
        let connect = async { MySqlConnection::connect_with(&options).await.map_err(fail) };
        let connection = in_time(limits.connect, connect).await?;
        let seconds = millis(limits.lock).div_ceil(1000).max(1);
        let settings = format!(
            "SET lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}, wait_timeout = {}{more}",
            IDLE.as_secs()
        );
        Ok(Self {
            connection,
            settings,
            stopper: Stopper::default(),
            options,
            number: None,
            limits,
            database: access.place.database.clone(),
            password,
            is_maria: false,
            sees_triggers: false,
            stained: false,
            made: None,
            unended: None,
            ahead: None,
            ready: None,
            there: None,
            left: Left::default(),
            born: Stopwatch::start(),
            doing: std::sync::Arc::default(),
        })
    }

    /// Makes its settings, learns who it is, together with the value of this expression, and asks these behind that, as
    /// [`MySqlSession::asked`] does.
    pub(super) async fn introduced(
        &mut self,
        expression: &str,
        statements: &[String],
    ) -> Result<(Option<String>, Vec<Vec<Row>>, Option<Failure>), Failure> {
        let who = if self.number.is_none() { WHO } else { KNOWN };
        let mut message = vec![std::mem::take(&mut self.settings), format!("{who}, {expression}")];
        message.extend_from_slice(statements);
        let (mut answers, failed) = self.asked(&message).await?;
        if answers.len() < 2 {
            let unsaid = || Failure::new(Class::Transient, "protocol", "the server did not answer");
            return Err(failed.unwrap_or_else(unsaid));
        }
        let rest = answers.split_off(2);
        let value = answers.pop().and_then(|mut rows| rows.pop()?.pop()?);
        Ok((value, rest, failed))
    }
}

/// What the answer to [`WHO`] says.
pub(super) struct Who {
    /// The session's number.
    pub(super) number: u64,
    pub(super) is_maria: bool,
    pub(super) sees_triggers: bool,
}

impl Who {
    pub(super) fn of(row: &MySqlRow) -> Option<Self> {
        let number: String = row.try_get(0).ok()?;
        let version: String = row.try_get(1).ok()?;
        let is_maria = version.to_ascii_lowercase().contains("mariadb");
        let sees: Option<String> = if is_maria { row.try_get(2).ok()? } else { None };
        Some(Self { number: number.parse().ok()?, is_maria, sees_triggers: sees.as_deref() == Some("1") })
    }
}
