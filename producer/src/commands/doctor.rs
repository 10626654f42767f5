//! `doctor`: looks at everything a run needs, and says what to mend.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use tenantry_shared::{
    bundle::{Bundle, Scope},
    clock::unix_ms,
    config::{CentralConfig, Config, environment},
    exit::Exit,
    failure::Failure,
    fault::Fault,
    place::Place,
    registry::{Access, CENTRAL, ListQuery},
    tenant::{Labels, Status, Tenant},
};
use tenantry_worker::{
    engine::{Limits, Probe, probe},
    worker::ALIVE,
};

use super::{selection, servers, sync};
use crate::{
    app::{self, App},
    cli::Global,
    output::{ERROR, GOOD, Output, ignored_line, plural},
};

/// How far this machine's clock may be from the registry's before it is worth a word.
const CLOCK_OFF_MS: i64 = 5_000;

#[derive(Serialize)]
struct Finding {
    check: String,
    ok: bool,
    detail: String,
    hint: Option<String>,
}

#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    worst: Option<Exit>,
}

impl Findings {
    fn good(&mut self, check: &str, detail: impl Into<String>) {
        self.list.push(Finding { check: check.into(), ok: true, detail: detail.into(), hint: None });
    }

    fn bad(&mut self, check: &str, fault: Fault) {
        self.worst.get_or_insert(fault.exit);
        self.list.push(Finding { check: check.into(), ok: false, detail: fault.message, hint: fault.hint });
    }

    fn note<T>(
        &mut self,
        check: &str,
        result: Result<T, impl Into<Fault>>,
        detail: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.good(check, detail(&value));
                Some(value)
            }
            Err(error) => {
                self.bad(check, error.into());
                None
            }
        }
    }
}

pub(crate) async fn run(global: &Global, output: &Output) -> Result<Exit, Fault> {
    let mut findings = Findings::default();
    examine(global, &mut findings).await;
    let document =
        json!({ "schema": "tenantry.doctor/v1", "ok": findings.worst.is_none(), "checks": findings.list });
    output.either(&document, || {
        let line = |f: &Finding| {
            let (mark, style) = if f.ok { ("ok", GOOD) } else { ("bad", ERROR) };
            let hint = f.hint.as_ref().map(|hint| format!("\n{:>20}  hint: {hint}", "")).unwrap_or_default();
            format!("{style}{mark:>4}{style:#}  {:<13} {}{hint}\n", f.check, f.detail)
        };
        findings.list.iter().map(line).collect()
    });
    Ok(findings.worst.unwrap_or(Exit::Ok))
}

async fn examine(global: &Global, findings: &mut Findings) {
    let shown = |config: &Config| match &config.file {
        Some(path) => path.display().to_string(),
        None => "no file, flags and variables only".into(),
    };
    let Some(config) = findings.note("configuration", app::config(global), shown) else { return };
    let bundle = findings.note("migrations", selection::migrations(&config, None), |bundle| {
        let found = bundle.chains().iter().map(|chain| chain.links.len()).sum::<usize>();
        let place = match bundle.sets() {
            [_] => config.migrations.display().to_string(),
            sets => format!("{} sets", sets.len()),
        };
        let ignored = ignored_line(bundle).map(|line| format!("; ignored: {line}")).unwrap_or_default();
        format!("{found} in {place}, newest {}{ignored}", bundle.latest().version)
    });
    for source in &config.sources {
        let check = format!("source {}", source.name);
        findings.note(&check, sync::look(source).await, |tenants| {
            format!("lists {}", plural(*tenants, "tenant"))
        });
    }
    if let Some(central) = &config.central {
        let reached = reach_central(&config, central, bundle.as_ref()).await;
        findings.note("central", reached, |(place, probe)| answers(place, *probe));
    }
    let Some(app) = findings
        .note("registry", App::with(config).await, |app| app.ledger.store().dialect().describe().into())
    else {
        return;
    };
    let key =
        findings.note("master key", app.key().await, |key| format!("opens the registry, id {}", key.id()));
    findings.note("queue", app.queue().await, |queue| queue.kind().into());
    match app.ledger.store().now_ms().await {
        Ok(now) if (now - unix_ms()).abs() > CLOCK_OFF_MS => findings
            .good("clock", format!("{} ms off the registry's; only the registry's counts", now - unix_ms())),
        Ok(_) => findings.good("clock", "agrees with the registry's"),
        Err(error) => findings.bad("clock", error.into()),
    }
    let workers = app.ledger.live_workers(ALIVE).await;
    findings.note("workers", workers, |workers| match workers.len() {
        0 => "none alive (tenantry-worker run, or use migrate)".into(),
        n => format!("{n} alive, {} slots", workers.iter().map(|w| w.slots).sum::<i64>()),
    });
    findings
        .note("servers", app.ledger.servers().await, |servers| servers::in_words(servers, &app.config.caps));
    let Some(key) = key else { return };
    match one_per_server(&app).await {
        Err(fault) => findings.bad("tenants", fault),
        Ok(tenants) if tenants.is_empty() => findings.good("tenants", "none yet (tenantry tenants add)"),
        Ok(tenants) => {
            for tenant in tenants {
                let check = format!("{} {}", tenant.place.engine, tenant.slug);
                let reached = async {
                    let labels = bundle.as_ref().is_some_and(Bundle::asks_for_labels);
                    let access = app.registry.access(&key, tenant.id, labels).await?;
                    probe(&access, Limits::from(&app.config.policy), bundle.as_ref()).await.map_err(unreached)
                };
                findings.note(&check, reached.await, |probe| answers(&tenant.place, *probe));
            }
        }
    }
}

fn answers(place: &Place, probe: Probe) -> String {
    let migrations = plural(probe.applied as u64, "migration");
    let lent = if probe.lent { ", through a pooler that lends its sessions by the transaction" } else { "" };
    format!("{} answers, {migrations} in its history{lent}", place.server)
}

fn unreached(failure: Failure) -> Fault {
    Fault { hint: failure.hint.clone(), ..Fault::new(Exit::TenantsFailed, failure.to_string()) }
}

/// Where the central database is, and what it tells.
async fn reach_central(
    config: &Config,
    central: &CentralConfig,
    bundle: Option<&Bundle>,
) -> Result<(Place, Probe), Fault> {
    let (url, place) = central.resolve(&environment, &std::env::current_dir()?)?;
    let slug = CENTRAL.parse().map_err(|_| Fault::new(Exit::Error, "no name"))?;
    let access = Access { slug, place, url, labels: Labels::new(), scope: Scope::Central };
    let found = probe(&access, Limits::from(&config.policy), bundle).await.map_err(unreached)?;
    Ok((access.place, found))
}

/// The first active tenant of each server among the first thousand.
async fn one_per_server(app: &App) -> Result<Vec<Tenant>, Fault> {
    let query = ListQuery { status: Some(Status::Active), limit: 1000, ..ListQuery::default() };
    let mut first = BTreeMap::new();
    for tenant in app.registry.list_tenants(&query).await? {
        first.entry(tenant.place.server.clone()).or_insert(tenant);
    }
    Ok(first.into_values().collect())
}
