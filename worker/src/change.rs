//! From a planned migration to what a session runs: its script, and the SQL that keeps its history.

use std::time::Duration;

use tenantry_shared::{
    failure::{Class, Failure},
    format::Entry,
    plan::{Pending, Progress},
    site::Site,
    statement::split,
};

use crate::engine::{Change, PROGRESS_TABLE, Session, TRACELESS};

/// How far a migration came that an earlier attempt did not finish.
///
/// # Errors
/// What the reading fails with.
pub async fn progress(session: &mut impl Session) -> Result<Option<Progress>, Failure> {
    let site = session.site(PROGRESS_TABLE);
    let columns = [
        site.as_text("history"),
        site.as_text("version"),
        site.as_text("down"),
        site.as_text("done"),
        site.as_text("doubt"),
        site.as_text("fingerprints"),
    ];
    let rows = session.read(&format!("SELECT {} FROM {}", columns.join(", "), site.table())).await?;
    let row = rows.unwrap_or_default().pop();
    Ok(row.map(|row| {
        let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        Progress {
            table: text(0),
            version: text(1).into(),
            down: text(2) == "1",
            done: text(3).parse().unwrap_or_default(),
            doubt: text(4) != "0",
            traceless: text(4) == TRACELESS,
            fingerprints: text(5).split_whitespace().map(str::to_owned).collect(),
        }
    }))
}

/// A pending migration to be applied.
///
/// # Errors
/// When it is not SQL.
pub fn apply<'a>(site: &Site, pending: &'a Pending<'_>) -> Result<Change<'a>, Failure> {
    let (link, rules) = (pending.link, pending.chain.rules);
    let Some(script) = &link.migration.up else {
        let code = format!("{} is not SQL: only its own tool can run it", link.migration.file);
        return Err(Failure::new(Class::Permanent, "not-sql", code));
    };
    let previous = pending.previous.map(|link| &link.migration);
    let statements = split(&script.text, site.engine).map_or(0, |all| all.len());
    let statements = u32::try_from(statements).unwrap_or(u32::MAX);
    let entry = Entry { migration: &link.migration, previous, statements };
    let fresh = || Progress {
        table: pending.chain.table.clone(),
        version: link.migration.version.clone(),
        ..Progress::default()
    };
    let record_site = site.clone();
    Ok(Change {
        script,
        preamble: link.preamble.as_deref(),
        create: rules.create(site),
        select: rules.select(site),
        begin: rules.begin(site, entry),
        unmark: rules.unmark(site, entry),
        record: Box::new(move |took: Duration, marked| rules.record(&record_site, entry, took, marked)),
        progress: pending.resume.clone().unwrap_or_else(fresh),
        resumed: pending.resume.is_some(),
    })
}
