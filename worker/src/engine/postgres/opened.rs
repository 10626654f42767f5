//! Connecting to PostgreSQL, and finding out whether a pooler stands in between that hands out its sessions by the
//! transaction.
//!
//! Ours are begun with their time limits and with a mark, an option of a value that was never used before. Where it is in
//! force the session is our own, through however many proxies; where it is refused, or not in force, a pooler has begun the
//! session that answers. That one may be ours for as long as we stay, or for one transaction: no look from within tells for
//! sure, so it is taken for the latter unless the tenant's URL says otherwise.

use std::{collections::HashSet, future::poll_fn, pin::pin, str::FromStr as _, sync::Arc, task::Poll};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _, postgres::PgConnectOptions,
};
use tenantry_shared::{
    clock::{self, Stopwatch},
    failure::{Class, Failure},
    place::{DatabaseUrl, Engine},
    pooling::{MARK, Pooling, for_driver, refuses_options, without_options},
    registry::Access,
};

use super::{
    PostgresSession,
    around::Outskirts,
    catalog::Looks,
    lent::Lent,
    message::Ready,
    settings::{Settings, time_limits},
};
use crate::engine::{Limits, failure, in_time};

/// What PgBouncer says of a transaction where it hands out its sessions by the statement.
const BY_STATEMENT: &str = "statement pooling";

/// Since this version a session can end by itself, and look whether its client is still there.
const VERSION_14: u32 = 140_000;

/// How often a connection that is being made is asked before others have their turn. A password's key takes thousands of
/// rounds (SCRAM), and sqlx gives way after every five of them: that costs more than the rounds themselves.
const POLLS: usize = 32;

/// A connection, and what is known of it.
pub(super) struct Opened {
    connection: PgConnection,
    settings: Settings,
    database: String,
    /// The first schema of the path that is there.
    schema: Option<String>,
    /// Whether each transaction may be in another session.
    lent: bool,
    /// The server's number of the session.
    pid: Option<u64>,
}

/// Connects. A session of our own has its settings then, and in any other nothing is left.
///
/// # Errors
/// When there is no connection in time, or the server refuses it.
pub(super) async fn open(access: &Access, limits: Limits) -> Result<Opened, Failure> {
    let Begun { mut connection, settings, lent } = begin(access, limits).await?;
    let password = access.url.password();
    let fail = |e: sqlx::Error| failure(&e, Engine::Postgres, password.as_deref());
    let first = match lent {
        Some(lent) => {
            let start = settings.of_start(&lent);
            Some(About::asked(&mut connection, &start, &lent).await.map_err(fail)?)
        }
        None => None,
    };
    match first {
        Some(about) if !about.lent => Ok(Opened::of(connection, settings, about)),
        _ => borrow(connection, settings, access).await,
    }
}

/// The same of a session that is a pooler's.
///
/// # Errors
/// When the pooler has no transactions, or refuses them.
pub(super) async fn borrow(
    mut connection: PgConnection,
    settings: Settings,
    access: &Access,
) -> Result<Opened, Failure> {
    let password = access.url.password();
    let fail = |e: sqlx::Error| failure(&e, Engine::Postgres, password.as_deref());
    let about = About::of_lent(&mut connection, &settings).await.map_err(fail).map_err(by_statement)?;
    Ok(Opened::of(connection, settings, about))
}

impl Opened {
    fn of(connection: PgConnection, mut settings: Settings, about: About) -> Self {
        settings.linux = about.linux;
        let About { database, schema, lent, pid, .. } = about;
        Self { connection, settings, database, schema, lent, pid }
    }

    /// The tenant's session.
    ///
    /// # Errors
    /// When its schema is not there.
    pub(super) fn session(self, access: &Access, limits: Limits) -> Result<PostgresSession, Failure> {
        if let Some(failure) = missing(access, self.schema.as_deref()) {
            return Err(failure);
        }
        let session = PostgresSession::expected(self.connection, self.settings, access, limits);
        Ok(PostgresSession {
            database: self.database,
            schema: self.schema.unwrap_or_else(|| "public".into()),
            pid: self.pid.filter(|_| !self.lent),
            lent: self.lent.then(Lent::default),
            ..session
        })
    }
}

impl PostgresSession {
    /// A session as its tenant's URL lets expect it, before it was asked.
    pub(super) fn expected(
        connection: PgConnection,
        settings: Settings,
        access: &Access,
        limits: Limits,
    ) -> Self {
        Self {
            connection,
            limits,
            password: access.url.password(),
            database: access.place.database.clone(),
            schema: access.place.schema.clone().unwrap_or_else(|| "public".into()),
            whole: access.place.schema.is_none(),
            settings,
            pid: None,
            lent: None,
            clean: true,
            unawaited: false,
            there: HashSet::new(),
            ahead: None,
            ready: Ready::default(),
            looks: Looks::default(),
            outskirts: Outskirts::default(),
            served: 0,
            born: Stopwatch::start(),
            doing: Arc::default(),
        }
    }
}

/// What is wrong where the tenant's schema is not the current one: the first one behind it would be that.
pub(super) fn missing(access: &Access, current: Option<&str>) -> Option<Failure> {
    let schema = access.place.schema.as_deref().filter(|wanted| current != Some(wanted))?;
    let missing = Failure::new(Class::Permanent, "3F000", format!("schema \"{schema}\" does not exist"));
    Some(missing.with_hint(
        "create the schema, or correct the tenant: tenantry tenants set ID --schema NAME --url-stdin",
    ))
}

/// A connection of which nothing is known yet.
pub(super) struct Begun {
    pub(super) connection: PgConnection,
    pub(super) settings: Settings,
    /// Asks, as SQL, whether the session is lent. None: it is.
    pub(super) lent: Option<String>,
}

/// Connects, and asks nothing.
///
/// # Errors
/// When there is no connection in time, or the server refuses it.
pub(super) async fn begin(access: &Access, limits: Limits) -> Result<Begun, Failure> {
    let (connection, whose) = reach(&access.url, limits).await?;
    let since_14 = connection.server_version_num().is_some_and(|v| v >= VERSION_14);
    let mut settings = Settings::of(access, limits, since_14);
    settings.begun = matches!(whose, Whose::Marked(_));
    Ok(Begun { connection, settings, lent: whose.lent() })
}

/// Whose session answers.
enum Whose {
    /// Our own if it has this mark; else a pooler's.
    Marked(String),
    /// Ours for as long as we stay: the URL says so.
    Ours,
    /// A pooler's, and ours for one transaction.
    Lent,
}

impl Whose {
    /// Asks whether a session is lent; none where it is known to be.
    fn lent(&self) -> Option<String> {
        match self {
            Self::Marked(mark) => {
                Some(format!("(current_setting('{MARK}', true) IS DISTINCT FROM '{mark}')"))
            }
            Self::Ours => Some("false".into()),
            Self::Lent => None,
        }
    }
}

async fn reach(url: &DatabaseUrl, limits: Limits) -> Result<(PgConnection, Whose), Failure> {
    let password = url.password();
    let connect = async |url: String, mark: Option<&str>| {
        let fail = |e: sqlx::Error| failure(&e, Engine::Postgres, password.as_deref());
        let options = PgConnectOptions::from_str(&url).map_err(fail)?;
        // Poolers do not know the precision of floats that sqlx asks for.
        let options =
            options.application_name("tenantry").extra_float_digits(None).disable_statement_logging();
        let options = match mark {
            Some(mark) => options.options([(MARK, mark.to_owned())].into_iter().chain(time_limits(limits))),
            None => options,
        };
        in_time(limits.connect, async { connected(&options).await.map_err(fail) }).await
    };
    let (whole, bare) = (for_driver(url.expose()), without_options(url.expose()));
    match url.pooling() {
        Some(Pooling::Session) => Ok((connect(whole, None).await?, Whose::Ours)),
        Some(Pooling::Transaction) => Ok((connect(bare, None).await?, Whose::Lent)),
        None => {
            let mark = format!("{:016x}", clock::chance().to_bits());
            match connect(whole, Some(&mark)).await {
                Err(failure) if refuses_options(&failure.message) => {
                    Ok((connect(bare, None).await?, Whose::Lent))
                }
                connection => Ok((connection?, Whose::Marked(mark))),
            }
        }
    }
}

/// Connects, and gives way to others seldom.
///
/// # Errors
/// When there is no connection, or the server refuses it.
pub(super) async fn connected(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let mut connect = pin!(PgConnection::connect_with(options));
    poll_fn(|context| {
        let mut polls = (0..POLLS).map(|_| connect.as_mut().poll(context));
        polls.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// What a session says of itself.
struct About {
    database: String,
    schema: Option<String>,
    linux: bool,
    lent: bool,
    pid: Option<u64>,
}

impl About {
    async fn asked(connection: &mut PgConnection, settings: &str, lent: &str) -> Result<Self, sqlx::Error> {
        let ask = format!(
            "{settings}SELECT current_database(), current_schema(), version() LIKE '%linux%', {lent} AS lent, pg_backend_pid()"
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(ask)).fetch_all(connection).await?;
        let row = rows.last().ok_or(sqlx::Error::RowNotFound)?;
        Ok(Self {
            database: row.try_get(0)?,
            schema: row.try_get(1)?,
            linux: row.try_get(2)?,
            lent: row.try_get(3)?,
            pid: u64::try_from(row.try_get::<i32, _>(4)?).ok(),
        })
    }

    /// In a transaction: a pooler that has none for its clients says so.
    async fn of_lent(connection: &mut PgConnection, settings: &Settings) -> Result<Self, sqlx::Error> {
        sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
        let about = Self::asked(&mut *connection, &settings.of_transaction(), "true").await?;
        sqlx::raw_sql("ROLLBACK").execute(connection).await?;
        Ok(about)
    }
}

fn by_statement(failure: Failure) -> Failure {
    if !failure.message.contains(BY_STATEMENT) {
        return failure;
    }
    let message =
        "the pooler before this tenant hands out sessions by the statement, and has no transactions";
    let hint = "give the tenant a URL past the pooler: tenantry tenants set ID --url-stdin";
    let failure = Failure::new(Class::Permanent, "pooled", message).with_hint(hint);
    Failure { refused: true, ..failure }
}
