//! Histories that other tools have kept in a tenant. Applying every migration from the first on over a schema that one
//! of them has made would be the worst that can be done to it, so such a tenant is refused.

use tenantry_shared::{
    bundle::Chain,
    failure::{Class, Failure},
    format::found::{self, Found},
    site::{Row, Site},
};

use crate::engine::{Select, Session};

/// What a server says when a history table has not the columns that its format reads.
const NO_SUCH_COLUMN: [&str; 2] = ["42703", "1054"];

/// Makes sure that no other tool keeps a history in a tenant whose own histories are empty. Its `own` chains are all
/// that it may have, those too that are not worked now. An own table that is there,
/// though it is empty, says that the tenant is meant to begin at the beginning. `seen`: what [`select`] has given already.
///
/// # Errors
/// A refusal that names the tool, or what the reading fails with.
pub async fn none(session: &mut impl Session, own: &[&Chain], seen: Option<Vec<Row>>) -> Result<(), Failure> {
    let names = names(own);
    let is_whole = |rows: &Vec<Row>| rows.iter().all(|row| row.iter().all(Option::is_some));
    let rows = match seen.filter(is_whole) {
        Some(rows) => rows,
        None => session.read(&found::select(&session.site(""), &names)).await?.unwrap_or_default(),
    };
    let tables = found::tables(&rows);
    let begun = tables.iter().any(|table| names.iter().any(|own| own.eq_ignore_ascii_case(&table.name)));
    for found in found::found(&tables) {
        let reader = own.iter().find(|chain| chain.table.eq_ignore_ascii_case(&found.table));
        let refused = match reader {
            Some(chain) => found.format.is_none_or(|format| format.tool() != chain.rules.tool()),
            None => !begun,
        };
        if refused {
            let kept = extent(session, &found).await;
            return Err(refusal(&found, &kept));
        }
    }
    Ok(())
}

/// Lists what may be a history in a tenant that may have these chains, for [`none`].
#[must_use]
pub fn select(site: &Site, own: &[&Chain]) -> Select {
    let names = names(own);
    Select { guard: found::guard(site, &names), ..Select::always(found::glance(site, &names)) }
}

fn names<'a>(own: &[&'a Chain]) -> Vec<&'a str> {
    own.iter().map(|chain| chain.table.as_str()).collect()
}

/// Tells whose history it is that could not be read, where that is why.
pub async fn explained(session: &mut impl Session, own: &[&Chain], failure: Failure) -> Failure {
    let misread =
        NO_SUCH_COLUMN.contains(&failure.code.as_str()) || failure.message.contains("no such column");
    if !misread {
        return failure;
    }
    none(session, own, None).await.err().filter(|other| other.refused).unwrap_or(failure)
}

/// How far another tool's history goes, where it can be read.
async fn extent(session: &mut impl Session, found: &Found) -> String {
    let Some(format) = found.format else { return String::new() };
    let select = format.select(&session.site(&found.table));
    let rows = session.read(&select).await.ok().flatten().unwrap_or_default();
    let applied = format.read(&rows, &[]);
    match (applied.len(), applied.iter().map(|row| &row.version).max()) {
        (1, Some(newest)) => format!(", up to {newest}"),
        (many, Some(newest)) => format!(", {many} migrations up to {newest}"),
        (_, None) => String::new(),
    }
}

fn refusal(found: &Found, kept: &str) -> Failure {
    let Found { tool, table, format, ambiguous } = found;
    let like = if *ambiguous { "a tool like " } else { "" };
    let message = format!("{like}{tool} keeps the history of this tenant, in {table}{kept}");
    let adopt = "adopt the tenant as it is: tenantry baseline";
    let hint = match format {
        Some(format) => {
            format!(
                "are these {tool}'s migrations, say format = \"{}\" in tenantry.toml; else {adopt}",
                format.name()
            )
        }
        None => adopt.to_owned(),
    };
    let failure = Failure::new(Class::Permanent, "foreign-history", message).with_hint(hint);
    Failure { refused: true, ..failure }
}
