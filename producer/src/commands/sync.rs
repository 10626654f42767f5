//! `tenants sync`: what a source lists against what the registry has, shown, asked for, and written in one transaction.

use std::collections::HashMap;

use serde_json::{Value, json};
use tenantry_shared::{
    config::{SourceConfig, environment},
    exit::Exit,
    fault::Fault,
    registry::{Edit, Mirror},
    secret::MasterKey,
    source::{
        self, Listing,
        difference::{Comparison, Difference, place},
    },
};

use super::selection::requested_by;
use crate::{
    app::App,
    output::{Output, plural},
};

/// How many tenants of the registry are held at once.
const PAGE: u32 = 1000;

/// How many tenants of each kind of change a person is shown.
const SHOWN: usize = 50;

/// How to sync.
#[derive(Clone, Copy, Default)]
pub(crate) struct How {
    pub(crate) dry_run: bool,
    pub(crate) exit_code: bool,
    pub(crate) yes: bool,
    pub(crate) force: bool,
    pub(crate) adopt: bool,
}

pub(crate) async fn run(app: &App, name: Option<&str>, how: &How, output: &Output) -> Result<Exit, Fault> {
    let (key, differences) = compare(app, name, how.adopt).await?;
    let pending = differences.iter().any(|difference| !difference.is_empty());
    if how.dry_run {
        tell(&differences, false, true, output);
        return Ok(if pending && how.exit_code { Exit::ChangesPending } else { Exit::Ok });
    }
    if !output.is_json() {
        tell(&differences, false, true, output);
    }
    let applied = apply(app, &key, &differences, how, output).await?;
    if output.is_json() {
        tell(&differences, applied, true, output);
    }
    Ok(Exit::Ok)
}

/// The sync before a run: all sources. What it says is no answer to what was asked for, and goes to standard error.
pub(crate) async fn first(app: &App, yes: bool, output: &Output) -> Result<(), Fault> {
    let (key, differences) = compare(app, None, false).await?;
    tell(&differences, false, false, output);
    apply(app, &key, &differences, &How { yes, ..How::default() }, output).await.map(|_| ())
}

/// How many tenants a source lists, all of them good.
pub(crate) async fn look(config: &SourceConfig) -> Result<u64, Fault> {
    let listing: Listing = source::read(config, &environment).await?;
    if listing.bad_count > 0 {
        let rows = listing.bad.join("; ");
        let more = listing.bad_count.saturating_sub(listing.bad.len() as u64);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let text = format!(
            "lists {}, and {}: {rows}{more}",
            plural(listing.tenants.len() as u64, "tenant"),
            plural(listing.bad_count, "bad row")
        );
        return Err(
            Fault::new(Exit::Refused, text).with_hint("mend the rows, or leave them out of the source")
        );
    }
    Ok(listing.tenants.len() as u64)
}

/// Reads the sources first, and then the registry, page by page.
async fn compare(app: &App, name: Option<&str>, adopt: bool) -> Result<(MasterKey, Vec<Difference>), Fault> {
    let key = app.key().await?;
    let configured = || app.config.sources.iter().map(|source| source.name.clone()).collect();
    let mut comparisons = Vec::new();
    let mut listed_by = HashMap::new();
    for config in chosen(&app.config.sources, name)? {
        let tenants = source::read(config, &environment).await?.tenants_of(&config.name)?;
        for slug in tenants.keys() {
            if let Some(other) = listed_by.insert(slug.clone(), &config.name) {
                let text = format!("tenant '{slug}' is listed by the sources {other} and {}", config.name);
                return Err(Fault::new(Exit::Refused, text)
                    .with_hint("nothing was changed; leave it out of one of them"));
            }
        }
        comparisons.push(Comparison::new(&config.name, tenants, adopt.then(configured)));
    }
    let mut after = None;
    loop {
        let page = app.registry.known(&key, after.as_ref(), PAGE).await?;
        for known in &page {
            comparisons.iter_mut().for_each(|comparison| comparison.with(known));
        }
        match page.last() {
            Some(last) => after = Some(last.slug.clone()),
            None => break,
        }
    }
    Ok((key, comparisons.into_iter().map(Comparison::finish).collect()))
}

fn chosen<'a>(sources: &'a [SourceConfig], name: Option<&str>) -> Result<Vec<&'a SourceConfig>, Fault> {
    if sources.is_empty() {
        return Err(Fault::new(Exit::Config, "no source of tenants is configured")
            .with_hint("`tenantry tenants sync --help` has an example of a [source] in tenantry.toml"));
    }
    let chosen: Vec<_> =
        sources.iter().filter(|source| name.is_none_or(|name| source.name == name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
        let text = format!("there is no source '{}'", name.unwrap_or_default());
        return Err(Fault::usage(text).with_hint(format!("the configured ones are: {}", names.join(", "))));
    }
    Ok(chosen)
}

/// Asks, and writes. Whether anything was written.
async fn apply(
    app: &App,
    key: &MasterKey,
    differences: &[Difference],
    how: &How,
    output: &Output,
) -> Result<bool, Fault> {
    if let Some(alarm) = differences.iter().find_map(Difference::alarm).filter(|_| !how.force) {
        return Err(Fault::new(Exit::Refused, alarm)
            .with_hint("nothing was changed; if that is right, do it with: tenantry tenants sync --force"));
    }
    let some: Vec<_> = differences.iter().filter(|difference| !difference.is_empty()).collect();
    if some.is_empty() {
        return Ok(false);
    }
    let counts = some.iter().map(|difference| difference.summary()).collect::<Vec<_>>().join("; ");
    if !how.yes && !output.confirm(&format!("Change the registry ({counts})?"), "--yes")? {
        return Err(Fault::new(Exit::Usage, "not synced"));
    }
    let mirrors: Vec<_> = some.iter().map(|difference| mirror(difference)).collect();
    app.registry.mirror(key, &mirrors, &requested_by()).await?;
    Ok(true)
}

fn mirror(difference: &Difference) -> Mirror<'_> {
    Mirror {
        source: &difference.source,
        added: &difference.added,
        edits: difference.edits().collect(),
        detail: format!("source {}: {}", difference.source, difference.summary()),
    }
}

/// Shows the differences; `asked_for`: they are what standard output is for.
fn tell(differences: &[Difference], applied: bool, asked_for: bool, output: &Output) {
    if output.is_json() && asked_for {
        let sources: Vec<_> = differences.iter().map(document).collect();
        return output
            .document(&json!({ "schema": "tenantry.sync/v1", "applied": applied, "sources": sources }));
    }
    for difference in differences {
        let text = text(difference);
        if asked_for { output.data(&text) } else { output.note(&text) }
    }
}

fn document(difference: &Difference) -> Value {
    let edits = |list: &[(Edit, Vec<String>)]| -> Vec<Value> {
        list.iter().map(|(edit, what)| json!({ "tenant": edit.slug, "what": what })).collect()
    };
    let added = difference.added.iter().map(|tenant| {
        json!({ "tenant": tenant.slug, "status": tenant.status, "place": tenant.place, "labels": tenant.labels })
    });
    json!({
        "source": difference.source,
        "listed": difference.listed,
        "added": added.collect::<Vec<_>>(),
        "changed": edits(&difference.changed),
        "suspended": edits(&difference.suspended),
        "reactivated": edits(&difference.reactivated),
        "unchanged": difference.unchanged,
        "not_its_own": difference.foreign,
        "alarm": difference.alarm(),
    })
}

fn text(difference: &Difference) -> String {
    let mut lines =
        vec![format!("source {} lists {}", difference.source, plural(difference.listed as u64, "tenant"))];
    let added = difference.added.iter().map(|tenant| (tenant.slug.as_str(), place(&tenant.place)));
    block(&mut lines, '+', added);
    for (mark, list) in
        [('~', &difference.changed), ('-', &difference.suspended), ('^', &difference.reactivated)]
    {
        block(&mut lines, mark, list.iter().map(|(edit, what)| (edit.slug.as_str(), what.join("; "))));
    }
    lines.push(difference.summary());
    if let Some(first) = difference.foreign.first() {
        lines.push(format!(
            "{} left alone, which the source lists and does not own ({first}{}); --adopt takes over those of no configured source",
            plural(difference.foreign.len() as u64, "tenant"),
            if difference.foreign.len() > 1 { ", …" } else { "" }
        ));
    }
    lines.join("\n")
}

fn block<'a>(lines: &mut Vec<String>, mark: char, rows: impl ExactSizeIterator<Item = (&'a str, String)>) {
    let more = rows.len().saturating_sub(SHOWN);
    lines.extend(rows.take(SHOWN).map(|(tenant, what)| format!("  {mark} {tenant:<20}  {what}")));
    if more > 0 {
        lines.push(format!("  {mark} … {more} more (--json lists all)"));
    }
}
