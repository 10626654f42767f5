//! `tenants sync`: what a source lists against what the registry has, shown, asked for, and written in one transaction.

use serde::{Serialize, Serializer};
use serde_json::json;
use tenantry_shared::{
    config::{SourceConfig, environment},
    exit::Exit,
    fault::Fault,
    registry::{Edit, Mirror, NewTenant},
    secret::MasterKey,
    source::{
        self, Listed, Listing, Tenants,
        comparison::Comparison,
        difference::{Difference, place},
    },
    tenant::Slug,
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
    let lists = read(&chosen(&app.config.sources, name)?).await?;
    let compared = |(name, tenants)| Comparison::new(name, tenants, adopt.then(configured));
    let mut comparisons: Vec<_> = lists.into_iter().map(compared).collect();
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

/// What each source lists. No tenant is in two of them.
async fn read<'a>(sources: &[&'a SourceConfig]) -> Result<Vec<(&'a str, Tenants)>, Fault> {
    let mut lists: Vec<(&str, Tenants)> = Vec::new();
    for config in sources {
        let tenants = source::read(config, &environment).await?.tenants_of(&config.name)?;
        for (other, before) in &lists {
            if let Some(slug) = tenants.names().find(|slug| before.contains(slug)) {
                let text = format!("tenant '{slug}' is listed by the sources {other} and {}", config.name);
                return Err(Fault::new(Exit::Refused, text)
                    .with_hint("nothing was changed; leave it out of one of them"));
            }
        }
        lists.push((&config.name, tenants));
    }
    Ok(lists)
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
    let mirrors = some.into_iter().map(mirror).collect();
    app.registry.mirror(key, mirrors, &requested_by()).await?;
    Ok(true)
}

fn mirror(difference: &Difference) -> Mirror<'_> {
    Mirror {
        source: &difference.source,
        added: Box::new(difference.added.iter().map(Listed::into_new)),
        edits: difference.edits().collect(),
        detail: format!("source {}: {}", difference.source, difference.summary()),
    }
}

/// Shows the differences; `asked_for`: they are what standard output is for.
fn tell(differences: &[Difference], applied: bool, asked_for: bool, output: &Output) {
    if output.is_json() && asked_for {
        let sources = differences.iter().map(Document::of).collect();
        return output.document(&Sync { schema: "tenantry.sync/v1", applied, sources });
    }
    for difference in differences {
        let text = text(difference);
        if asked_for { output.data(&text) } else { output.note(&text) }
    }
}

/// The document of a sync, which is written as it is made: it lists every tenant.
#[derive(Serialize)]
struct Sync<'a> {
    schema: &'static str,
    applied: bool,
    sources: Vec<Document<'a>>,
}

#[derive(Serialize)]
struct Document<'a> {
    source: &'a str,
    listed: usize,
    #[serde(serialize_with = "added")]
    added: &'a Tenants,
    #[serde(serialize_with = "edits")]
    changed: &'a [(Edit, Vec<String>)],
    #[serde(serialize_with = "edits")]
    suspended: &'a [(Edit, Vec<String>)],
    #[serde(serialize_with = "edits")]
    reactivated: &'a [(Edit, Vec<String>)],
    unchanged: usize,
    not_its_own: &'a [Slug],
    alarm: Option<String>,
}

impl<'a> Document<'a> {
    fn of(difference: &'a Difference) -> Self {
        Self {
            source: &difference.source,
            listed: difference.listed,
            added: &difference.added,
            changed: &difference.changed,
            suspended: &difference.suspended,
            reactivated: &difference.reactivated,
            unchanged: difference.unchanged,
            not_its_own: &difference.foreign,
            alarm: difference.alarm(),
        }
    }
}

fn added<S: Serializer>(tenants: &Tenants, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tenants.iter().map(|tenant| {
        let NewTenant { slug, status, place, labels, .. } = tenant.into_new();
        json!({ "tenant": slug, "status": status, "place": place, "labels": labels })
    }))
}

fn edits<S: Serializer>(list: &[(Edit, Vec<String>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|(edit, what)| json!({ "tenant": edit.slug, "what": what })))
}

fn text(difference: &Difference) -> String {
    let mut lines =
        vec![format!("source {} lists {}", difference.source, plural(difference.listed as u64, "tenant"))];
    let added = difference.added.iter().map(|tenant| (tenant.slug, place(&tenant.place)));
    block(&mut lines, '+', difference.added.len(), added);
    for (mark, list) in
        [('~', &difference.changed), ('-', &difference.suspended), ('^', &difference.reactivated)]
    {
        let edits = list.iter().map(|(edit, what)| (edit.slug.clone(), what.join("; ")));
        block(&mut lines, mark, list.len(), edits);
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

fn block(lines: &mut Vec<String>, mark: char, count: usize, rows: impl Iterator<Item = (Slug, String)>) {
    lines.extend(rows.take(SHOWN).map(|(tenant, what)| format!("  {mark} {:<20}  {what}", tenant.as_str())));
    let more = count.saturating_sub(SHOWN);
    if more > 0 {
        lines.push(format!("  {mark} … {more} more (--json lists all)"));
    }
}
