//! From a planned migration to what a session runs: its script, and the SQL that keeps its history.

use std::time::Duration;

use tenantry_shared::{
    failure::{Class, Failure},
    format::{Entry, Script},
    plan::{Pending, Progress, Refusal},
    site::{Row, Site},
};

use crate::engine::{Change, PROGRESS_TABLE, Select, Session, TRACELESS};

/// Reads how far a migration came that an earlier attempt did not finish.
#[must_use]
pub fn select_progress(site: &Site) -> Select {
    let site = Site { table: PROGRESS_TABLE.into(), ..site.clone() };
    let columns = [
        site.as_text("history"),
        site.as_text("version"),
        site.as_text("down"),
        site.as_text("done"),
        site.as_text("doubt"),
        site.as_text("fingerprints"),
    ];
    Select::of(&site, format!("SELECT {} FROM {}", columns.join(", "), site.table()))
}

/// What the answer to [`select_progress`] says.
#[must_use]
pub fn progress_of(rows: Option<Vec<Row>>) -> Option<Progress> {
    let row = rows.unwrap_or_default().pop()?;
    let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    Some(Progress {
        table: text(0),
        version: text(1).into(),
        down: text(2) == "1",
        done: text(3).parse().unwrap_or_default(),
        doubt: text(4) != "0",
        traceless: text(4) == TRACELESS,
        fingerprints: text(5).split_whitespace().map(str::to_owned).collect(),
    })
}

/// How far a migration came that an earlier attempt did not finish.
///
/// # Errors
/// What the reading fails with.
pub async fn progress(session: &mut impl Session) -> Result<Option<Progress>, Failure> {
    let select = select_progress(&session.site(""));
    Ok(progress_of(session.read(&select.sql).await?))
}

/// A migration to be reverted.
///
/// # Errors
/// When nothing says how.
pub fn revert<'a>(site: &Site, reverting: &'a Pending<'_>) -> Result<Change<'a>, Failure> {
    let (link, rules) = (reverting.link, reverting.chain.rules);
    let Some(script) = &link.migration.down else {
        let (version, file) = (link.id.clone(), link.migration.file.clone());
        return Err(Refusal::NoDown { version, file }.into());
    };
    let (of, entry) = (site.clone(), entry(reverting));
    Ok(Change {
        begin: rules.begin_down(site, entry),
        unmark: rules.unmark_down(site, entry),
        record: Box::new(
            move |_, marked| {
                if marked { rules.forget_marked(&of, entry) } else { rules.forget(&of, entry) }
            },
        ),
        ..change(site, reverting, script, true)
    })
}

/// A pending migration to be applied.
///
/// # Errors
/// When it is not SQL.
pub fn apply<'a>(site: &Site, pending: &'a Pending<'_>) -> Result<Change<'a>, Failure> {
    let link = pending.link;
    let Some(script) = &link.migration.up else {
        let code = format!("{} is not SQL: only its own tool can run it", link.migration.file);
        return Err(Failure::new(Class::Permanent, "not-sql", code));
    };
    Ok(change(site, pending, script, false))
}

/// What a row of the history is about.
pub(crate) fn entry<'a>(pending: &'a Pending<'_>) -> Entry<'a> {
    Entry { migration: &pending.link.migration, previous: pending.previous.map(|link| &link.migration) }
}

/// This script of a migration, recorded as one that is applied.
fn change<'a>(site: &Site, pending: &'a Pending<'_>, script: &'a Script, down: bool) -> Change<'a> {
    let (link, rules) = (pending.link, pending.chain.rules);
    let (of, entry) = (site.clone(), entry(pending));
    let fresh = || Progress {
        table: pending.chain.table.clone(),
        version: link.migration.version.clone(),
        down,
        ..Progress::default()
    };
    Change {
        script,
        preamble: link.preamble.as_deref(),
        foreign_keys: rules.holds_foreign_keys(),
        create: rules.create(site),
        select: rules.select(site),
        begin: rules.begin(site, entry),
        unmark: rules.unmark(site, entry),
        record: Box::new(move |took: Duration, marked| rules.record(&of, entry, took, marked)),
        progress: pending.resume.clone().unwrap_or_else(fresh),
        resumed: pending.resume.is_some(),
    }
}
