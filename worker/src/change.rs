//! From a planned migration to what a session runs: its script, and the SQL that keeps its history.

use std::time::Duration;

use tenantry_shared::{
    bundle::Taken,
    failure::{Class, Failure},
    format::{Applied, Entry, Migration, Script, Tally},
    plan::{Pending, Progress, Refusal},
    site::{Row, Site},
};

use crate::engine::{Change, Counted, PROGRESS_TABLE, Select, Session, TRACELESS};

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

/// The same, or where nothing is written of it, what [`marked`] tells.
///
/// # Errors
/// What the reading fails with.
pub async fn half_done(
    session: &mut impl Session,
    taken: &[Taken<'_>],
    histories: &[Vec<Applied>],
) -> Result<Option<Progress>, Failure> {
    match progress(session).await? {
        None => marked(session, taken, histories).await,
        written => Ok(written),
    }
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
        counted: None,
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

/// How its mark tells how far it came, where its tool leaves room for that.
fn counted<'a>(site: &Site, pending: &'a Pending<'_>) -> Option<Counted<'a>> {
    let (rules, entry, of) = (pending.chain.rules, entry(pending), site.clone());
    rules.begin_counted(site, entry, 0)?;
    Some(Box::new(move |number, marked| {
        if marked {
            rules.recount(&of, &entry.migration.version, number)
        } else {
            rules.begin_counted(&of, entry, number).unwrap_or_default()
        }
    }))
}

/// How far a migration came that was begun, as its mark and the database itself tell. Changes nothing. A file that is not
/// what was begun tells nothing of what is done.
///
/// # Errors
/// What the reading fails with.
pub async fn marked(
    session: &mut impl Session,
    taken: &[Taken<'_>],
    histories: &[Vec<Applied>],
) -> Result<Option<Progress>, Failure> {
    for (Taken { chain, .. }, history) in taken.iter().zip(histories) {
        let Some(row) = history.iter().find(|row| !row.success) else { continue };
        let Some(select) = chain.rules.counted(&session.site(&chain.table)) else { continue };
        let marks = session.read(&select).await?.unwrap_or_default();
        let number = marks.iter().find_map(|mark| match mark.as_slice() {
            [Some(version), _, Some(number)] if *version == row.version.as_str() => number.parse().ok(),
            _ => None,
        });
        let migration = chain.position(&row.version).map(|at| &chain.links[at].migration);
        let same = |migration: &&Migration| migration.checksum == row.checksum;
        let script = migration.filter(same).and_then(|migration| migration.up.as_ref());
        let (Some(tally), Some(script)) = (number.and_then(Tally::of), script) else { continue };
        let (table, version) = (chain.table.clone(), row.version.clone());
        let progress = Progress { table, version, done: tally.done, ..Progress::default() };
        return session.retrace(progress, tally.looked, script).await.map(Some);
    }
    Ok(None)
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
        counted: counted(site, pending),
        unmark: rules.unmark(site, entry),
        record: Box::new(move |took: Duration, marked| rules.record(&of, entry, took, marked)),
        progress: pending.resume.clone().unwrap_or_else(fresh),
        resumed: pending.resume.is_some(),
        more: false,
    }
}
