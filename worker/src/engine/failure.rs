//! What a tenant's database or driver says as a [`Failure`]: its class, where in which file, and the way out. Pure.

use tenantry_shared::{
    codes,
    failure::{Class, Failure},
    format::Script,
    place::Engine,
    pooling::refuses_options,
    secret::redact,
    statement::{Kind, ScriptError, Statement, split},
};

use super::Change;

/// The way out where a pooler is said to keep a session for each client, and does not know the options of the URL.
const UNKNOWN_OPTIONS: &str = "take the options out of the tenant's URL: tenantry tenants set ID --url-stdin; or name them in the pooler's ignore_startup_parameters";

/// The code of a failure: a migration has written what is to be written of it.
pub(super) const OWN_HISTORY: &str = "own-history";

/// Turns what a driver says into a [`Failure`], without the tenant's password in it.
pub(super) fn failure(error: &sqlx::Error, engine: Engine, password: Option<&str>) -> Failure {
    let made = match error {
        sqlx::Error::Database(e) => database_failure(e.as_ref(), engine),
        sqlx::Error::Io(e) => {
            Failure::new(Class::Transient, "connection", format!("the connection failed: {e}"))
        }
        sqlx::Error::Protocol(text) => {
            Failure::new(Class::Transient, "protocol", format!("the connection broke: {text}"))
        }
        sqlx::Error::WorkerCrashed => Failure::new(Class::Transient, "connection", "the connection was lost"),
        sqlx::Error::Tls(e) => Failure::new(Class::Permanent, "tls", format!("no encrypted connection: {e}")),
        error => Failure::new(Class::Permanent, "driver", error.to_string()),
    };
    let made = Failure { message: redact(&made.message, password), ..made };
    match hint(&made.code) {
        Some(hint) if made.hint.is_none() => made.with_hint(hint),
        _ => made,
    }
}

fn database_failure(error: &dyn sqlx::error::DatabaseError, engine: Engine) -> Failure {
    let code = error.code().unwrap_or_default().into_owned();
    match engine {
        Engine::Postgres => {
            let class = if is_race(error, &code) { Class::Transient } else { codes::postgres(&code) };
            if refuses_options(error.message()) {
                return Failure::new(Class::Permanent, code, error.message()).with_hint(UNKNOWN_OPTIONS);
            }
            let failure = Failure::new(class, code, error.message());
            match in_deadlock_with(error) {
                Some(pid) => failure.with_hint(format!("it and pid {pid} waited for each other")),
                None => failure,
            }
        }
        Engine::Sqlite => Failure::new(codes::sqlite(code.parse().unwrap_or(1)), code, error.message()),
        Engine::MySql => match error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            Some(e) => Failure::new(codes::mysql(e.number()), e.number().to_string(), e.message()),
            None => Failure::new(Class::Permanent, code, error.message()),
        },
    }
}

/// Whom a session of PostgreSQL that was ended for a deadlock waited for: the server tells of the ended one first.
fn in_deadlock_with(error: &dyn sqlx::error::DatabaseError) -> Option<u32> {
    let error = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?;
    let first = error.detail().filter(|_| error.code() == "40P01")?.lines().next()?;
    first.trim_end_matches('.').rsplit(' ').next()?.parse().ok()
}

/// Whether two sessions made or changed one object of the catalog at the same moment: the one that lost may try again.
fn is_race(error: &dyn sqlx::error::DatabaseError, code: &str) -> bool {
    let catalog = |e: &sqlx::postgres::PgDatabaseError| e.schema() == Some("pg_catalog");
    match code {
        "23505" => error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some_and(catalog),
        "XX000" => error.message() == "tuple concurrently updated",
        _ => false,
    }
}

/// The way out of failures that have one, whatever the migration was.
pub(super) fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "3D000" | "1049" => {
            "create the database, or correct the tenant's URL: tenantry tenants set ID --url-stdin"
        }
        "28P01" | "28000" | "1045" | "1044" => {
            "correct the tenant's user or password: tenantry tenants set ID --url-stdin"
        }
        "14" => "create the file, or correct the tenant's URL: tenantry tenants set ID --url-stdin",
        "25001" | "2D000" => {
            "it cannot run in a transaction: mark its file (-- no-transaction as the first line, or as its tool does it)"
        }
        "42501" => "give the tenant's user the right to do this, or use one that has it",
        "55P03" | "1205" | "5" => "something else holds the lock: end it, or wait longer with --lock-timeout",
        "57014" | "9" | "statement-timeout" => {
            "it was stopped: find out what it waits for, or allow more with --statement-timeout"
        }
        "connection" | "connect-timeout" | "no-answer" => {
            "is the tenant's server up, and reachable from the worker?"
        }
        _ => return None,
    })
}

/// What is wrong with a script that cannot be taken apart.
pub(super) fn unreadable(error: &ScriptError, script: &Script) -> Failure {
    let failure = Failure::new(Class::Permanent, "script", error.reason.clone());
    Failure { line: Some(script.line + error.line - 1), refused: true, ..failure }
}

/// Which statement of a script that was sent as a whole has failed, by the line.
pub(super) fn numbered(failure: Failure, script: &Script, engine: Engine) -> Failure {
    let Ok(statements) = split(&script.text, engine) else { return failure };
    let count = |n: usize| u32::try_from(n).ok();
    match (failure.line, failure.statement) {
        (Some(line), _) => {
            let before = statements.iter().filter(|s| script.line + s.line - 1 <= line).count();
            Failure { statement: count(before.max(1)), ..failure }
        }
        (None, Some(number)) => {
            // A BEGIN and COMMIT around it all were not sent, and so were not counted.
            let sent = |s: &&(usize, &Statement)| !matches!(s.1.kind, Kind::Begin | Kind::Commit);
            let sent = (1..).zip(&statements).filter(|s| sent(&s)).nth(number as usize - 1);
            match sent {
                Some((at, s)) => {
                    Failure { statement: count(at), line: Some(script.line + s.line - 1), ..failure }
                }
                None => failure,
            }
        }
        (None, None) => failure,
    }
}

/// What writing the row of a migration failed with: the migration itself may have written it.
pub(super) fn unrecorded(error: Failure, change: &Change<'_>) -> Failure {
    let table = &change.progress.table;
    match error.code.as_str() {
        "23505" | "1062" | "1555" | "2067" if change.script.text.contains(table.as_str()) => {
            let message = format!("the migration writes its own row into its history, {table}");
            let hint = "that row is written for it: take it out of the file";
            Failure::new(Class::Permanent, OWN_HISTORY, message).with_hint(hint)
        }
        _ => unwritten(error),
    }
}

/// What writing a history row failed with. That the row is there already is the work of a tool that takes no lock, or
/// not ours: the next attempt reads what it did.
pub(super) fn unwritten(error: Failure) -> Failure {
    match error.code.as_str() {
        "23505" | "1062" | "1555" | "2067" => Failure::new(
            Class::Transient,
            "locked",
            "somebody else is migrating this tenant, and has written its history meanwhile",
        ),
        _ => error,
    }
}
