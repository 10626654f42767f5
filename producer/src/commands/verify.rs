//! `verify`: the history of each selected tenant against the migrations, and the schemas against each other. What is
//! kept of each tenant is one small record; catalogs go to the registry, each distinct one once.

mod schemas;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};
use tenantry_shared::{
    bundle::Bundle,
    digest::Digest,
    exit::Exit,
    failure::{Class, Failure},
    fault::Fault,
    id::TenantId,
    ledger::{LedgerError, OutsiderRow, outsider_id},
    registry::{Access, RegistryError},
    run::Selection,
    schema::Outside,
    secret::MasterKey,
    store::StoreError,
    tenant::Slug,
    version::Version,
};
use tenantry_worker::{
    engine::Limits,
    fan::{self, Told},
    verify::{Found, Look, Peers, Seen, Standing},
};

use self::schemas::Schemas;
use super::{selection, work};
use crate::{
    app::{self, App},
    cli::{Global, VerifyArgs},
    output::{DIM, ERROR, GOOD, Output, few, plural},
};

/// How many tenants are named for a person.
const NAMED: usize = 10;

/// What is kept of one tenant.
struct Record {
    slug: Slug,
    standing: Standing,
    version: Option<Version>,
    schema: Option<(Peers, Digest)>,
    outsiders: Vec<OutsiderRow>,
}

pub(crate) async fn run(global: &Global, args: VerifyArgs, output: &Output) -> Result<Exit, Fault> {
    selection::must_be_given(&args.selection)?;
    let app = App::with(app::config(global)?).await?;
    let bundle = selection::migrations(&app.config, args.source.as_deref())?;
    let key = app.key().await?;
    let chosen = selection::selection(&app.ledger, args.selection.clone()).await?;
    let tenants = app.ledger.count_selected(&chosen).await?;
    if tenants == 0 {
        return Err(LedgerError::NothingSelected.into());
    }
    let policy = &app.config.policy;
    let look =
        Look { bundle: &bundle, order: policy.order, limits: Limits::from(policy), schema: args.schema };
    let fleet = Fleet {
        app: &app,
        key,
        look,
        labels: bundle.asks_for_labels(),
        accept: args.accept_outside,
        looked_around: Mutex::default(),
    };
    let slots = work::slots(&app, args.concurrency);
    let records = fleet.look_at_all(&chosen, tenants, slots, output).await?;
    let schemas = if args.schema { Some(Schemas::compare(&app.ledger, &records).await?) } else { None };
    let exit = exit_of(&records, schemas.as_ref());
    if output.is_json() {
        output.document(&document(&bundle, &records, schemas.as_ref(), exit));
    } else {
        output.data(text(&bundle, &records, schemas.as_ref()).trim_end());
    }
    Ok(exit)
}

/// What every look needs.
struct Fleet<'a> {
    app: &'a App,
    key: MasterKey,
    look: Look<'a>,
    labels: bool,
    accept: bool,
    /// Databases with tenants in schemas, around which somebody has looked.
    looked_around: Mutex<HashSet<(String, String)>>,
}

impl Fleet<'_> {
    async fn look_at_all(
        &self,
        selection: &Selection,
        total: u64,
        slots: usize,
        output: &Output,
    ) -> Result<Vec<Record>, Fault> {
        let mut records: Vec<Record> = Vec::new();
        let mut progress = output.progress();
        let (mut pending, mut wrong) = (0, 0);
        let look = |id, slug| self.look_at(id, slug);
        let tell = |record: Record| {
            pending += usize::from(record.standing.pending().is_some());
            wrong += usize::from(record.standing.is_wrong());
            records.push(record);
            let states =
                format!("up to date {}  pending {pending}  wrong {wrong}", records.len() - pending - wrong);
            progress.count("verify", records.len() as u64, total, states);
        };
        fan::each(&self.app.ledger, selection, slots, Told::AsTheyCome, look, tell).await?;
        progress.finish();
        records.sort_by(|a, b| a.slug.cmp(&b.slug));
        Ok(records)
    }

    async fn look_at(&self, id: TenantId, slug: String) -> Result<Record, Fault> {
        let slug = slug.parse().map_err(|_| LedgerError::from(StoreError::Value("tenants.slug".into())))?;
        let found = match self.app.registry.access(&self.key, id, self.labels).await {
            Ok(access) => self.look.at(&access, self.is_first_in(&access)).await,
            Err(error @ (RegistryError::Secret(_) | RegistryError::Url(_))) => {
                let failure = Failure::new(Class::Permanent, "sealed-url", error.to_string())
                    .with_hint("set the tenant's URL again: tenantry tenants set ID --url-stdin");
                Found { standing: Standing::Unreadable(failure), version: None, seen: None }
            }
            Err(error) => return Err(error.into()),
        };
        let Found { standing, version, seen } = found;
        let mut record = Record { slug, standing, version, schema: None, outsiders: Vec::new() };
        if let Some(Seen { catalog, peers, outside }) = seen {
            let digest = self.app.ledger.keep_schema(&catalog).await?;
            self.app.ledger.set_schema(id, &digest).await?;
            record.schema = Some((peers, digest));
            if let Some(outside) = outside {
                record.outsiders = self.still_outside(id, &outside).await?;
            }
        }
        Ok(record)
    }

    fn is_first_in(&self, access: &Access) -> bool {
        let place = (access.place.server.clone(), access.place.database.clone());
        let mut looked_around = self.looked_around.lock().unwrap_or_else(PoisonError::into_inner);
        self.look.schema && access.place.schema.is_some() && looked_around.insert(place)
    }

    /// What appeared outside in this tenant's database. What is gone, or accepted, is forgotten.
    async fn still_outside(&self, tenant: TenantId, outside: &Outside) -> Result<Vec<OutsiderRow>, Fault> {
        let there: HashSet<Digest> = outside.objects.iter().map(|o| outsider_id(&o.object)).collect();
        let mut still = Vec::new();
        for row in self.app.ledger.outsiders(tenant).await? {
            let gone = outside.all && !there.contains(&row.id);
            if self.accept || gone {
                self.app.ledger.forget_outsider(tenant, &row.id).await?;
            } else {
                still.push(row);
            }
        }
        Ok(still)
    }
}

fn exit_of(records: &[Record], schemas: Option<&Schemas>) -> Exit {
    let unlike = schemas.is_some_and(|schemas| !schemas.all_alike());
    if unlike || records.iter().any(|r| r.standing.is_wrong() || !r.outsiders.is_empty()) {
        Exit::TenantsFailed
    } else if records.iter().any(|record| record.standing.pending().is_some()) {
        Exit::ChangesPending
    } else {
        Exit::Ok
    }
}

fn document(bundle: &Bundle, records: &[Record], schemas: Option<&Schemas>, exit: Exit) -> Value {
    let mut counts = BTreeMap::from([("total", records.len())]);
    for record in records {
        *counts.entry(record.standing.as_str()).or_default() += 1;
    }
    let tenant = |record: &Record| {
        json!({
            "tenant": record.slug,
            "standing": record.standing.as_str(),
            "version": record.version,
            "pending": record.standing.pending(),
            "message": (record.standing != Standing::Current).then(|| record.standing.describe()),
            "hint": record.standing.hint(),
            "schema": record.schema.as_ref().map(|(_, digest)| digest),
        })
    };
    json!({
        "schema": "tenantry.verify/v1",
        "exit_code": exit.code(),
        "bundle": bundle.digest(),
        "newest": bundle.latest().version,
        "counts": counts,
        "tenants": records.iter().map(tenant).collect::<Vec<_>>(),
        "schemas": schemas.map(Schemas::document),
        "outside": schemas.map(|_| records.iter().flat_map(|r| &r.outsiders).collect::<Vec<_>>()),
    })
}

fn text(bundle: &Bundle, records: &[Record], schemas: Option<&Schemas>) -> String {
    let migrations = plural(bundle.migrations().count() as u64, "migration");
    let tenants = plural(records.len() as u64, "tenant");
    let mut out = format!("{tenants} against {migrations}, the newest {}\n", bundle.latest().version);
    let mut groups: BTreeMap<(u8, &str), BTreeMap<String, Vec<&Record>>> = BTreeMap::new();
    for record in records {
        let same = groups.entry((rank(&record.standing), record.standing.as_str())).or_default();
        same.entry(record.standing.describe()).or_default().push(record);
    }
    for ((rank, word), causes) in &groups {
        let count: usize = causes.values().map(Vec::len).sum();
        let style = [GOOD, DIM, ERROR][usize::from(*rank)];
        out.push_str(&format!("{style}{count:>10}{style:#}  {word}\n"));
    }
    for (cause, same) in groups.iter().filter(|((rank, _), _)| *rank > 0).flat_map(|(_, causes)| causes) {
        let names = named(same.iter().map(|record| &record.slug));
        out.push_str(&format!("\n{cause}\n{:>10}  {names}\n", "in"));
        if let Some(hint) = same[0].standing.hint() {
            out.push_str(&format!("{DIM}{:>10}{DIM:#}  {hint}\n", "hint"));
        }
    }
    if let Some(schemas) = schemas {
        out.push_str(&schemas.text());
        out.push_str(&outside(records.iter().flat_map(|record| &record.outsiders)));
    }
    out
}

/// 0 is well, 1 is not there yet, 2 is wrong.
fn rank(standing: &Standing) -> u8 {
    match standing {
        Standing::Current => 0,
        standing if standing.is_wrong() => 2,
        _ => 1,
    }
}

fn outside<'a>(rows: impl Iterator<Item = &'a OutsiderRow>) -> String {
    let lines: String = rows
        .map(|row| {
            format!(
                "{ERROR}{:>10}{ERROR:#}  {}, since {} in run #{}\n",
                "outside", row.object, row.tenant, row.run
            )
        })
        .collect();
    if lines.is_empty() {
        return lines;
    }
    let hint = "drop it and name the tenant's own schema in the migration; or, where it belongs there: tenantry verify --all --schema --accept-outside";
    format!("\nmade outside of the tenants' schemas\n{lines}{DIM}{:>10}{DIM:#}  {hint}\n", "hint")
}

/// The first names of some, and how many more there are.
fn named<'a>(names: impl ExactSizeIterator<Item = &'a Slug>) -> String {
    let count = names.len() as u64;
    few(names.take(NAMED).map(Slug::as_str), count)
}
