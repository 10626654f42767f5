//! `tenants`: list, add, change.

use std::path::Path;

use serde_json::json;
use tenantry_shared::{
    clock::rfc3339,
    config::environment,
    exit::Exit,
    fault::Fault,
    place::DatabaseUrl,
    registry::{Change, ListQuery, NewTenant},
    tenant::{Labels, Slug, Status, Tenant},
};

use super::{import::Import, selection::read_text, sync};
use crate::{
    app::App,
    cli::{TenantsCommand, UrlSource},
    output::{Output, Table, or_dash, plural},
};

pub(crate) async fn run(app: &App, command: TenantsCommand, output: &Output) -> Result<Exit, Fault> {
    match command {
        TenantsCommand::Add { id, url, schema, labels, disabled } => {
            let url = read_url(&url)?.ok_or_else(|| {
                Fault::usage("the tenant's URL is missing")
                    .with_hint("give it with --url-stdin, --url-file FILE or --from-env VAR")
            })?;
            let place = url.place(schema.as_deref())?;
            let status = if disabled { Status::Suspended } else { Status::Active };
            let tenant = NewTenant { slug: id, url, place, status, labels: labels.into_iter().collect() };
            app.registry.add_tenants(&app.key().await?, std::slice::from_ref(&tenant)).await?;
            show(app, &tenant.slug, output).await?;
        }
        TenantsCommand::Set { id, url, schema, status, labels, remove_label } => {
            let url = match read_url(&url)? {
                Some(url) => {
                    let place = url.place(schema.as_deref())?;
                    Some((url, place))
                }
                None => None,
            };
            let change =
                Change { status, url, set_labels: labels.into_iter().collect(), remove_labels: remove_label };
            if change.is_empty() {
                let fault = Fault::usage(format!("nothing to change in tenant '{id}' is given"));
                return Err(fault.with_hint("give --status, --label, --remove-label or a new URL"));
            }
            let key = if change.url.is_some() { Some(app.key().await?) } else { None };
            app.registry.change_tenant(key.as_ref(), &id, &change).await?;
            show(app, &id, output).await?;
        }
        TenantsCommand::Show { id } => show(app, &id, output).await?,
        TenantsCommand::List { selector, status, limit, after } => {
            let query = ListQuery { selector, status, after, limit };
            let tenants = app.registry.list_tenants(&query).await?;
            list(&tenants, output);
            if let Some(last) = tenants.last().filter(|_| tenants.len() == limit as usize) {
                output.note(&format!(
                    "{} shown; there may be more, list them with --after {}",
                    tenants.len(),
                    last.slug
                ));
            }
        }
        TenantsCommand::Sync { source, dry_run, exit_code, yes, force, adopt } => {
            let how = sync::How { dry_run, exit_code, yes, force, adopt };
            return sync::run(app, source.as_deref(), &how, output).await;
        }
        TenantsCommand::Import { file, format } => {
            let import = Import::read(&file, format)?;
            app.registry.add_tenants(&app.key().await?, import.tenants()).await?;
            output.either(&json!({ "schema": "tenantry.import/v1", "added": import.count }), || {
                format!("added {}", plural(import.count, "tenant"))
            });
        }
    }
    Ok(Exit::Ok)
}

fn read_url(source: &UrlSource) -> Result<Option<DatabaseUrl>, Fault> {
    if !source.is_given() {
        return Ok(None);
    }
    let text = match (&source.url_file, &source.from_env) {
        (Some(path), _) => read_text(path)?,
        (_, Some(name)) => {
            environment(name).ok_or_else(|| Fault::usage(format!("the variable {name} is not set")))?
        }
        (None, None) => read_text(Path::new("-"))?,
    };
    Ok(Some(DatabaseUrl::parse(&text, &std::env::current_dir()?)?))
}

async fn show(app: &App, slug: &Slug, output: &Output) -> Result<(), Fault> {
    let tenant = app.registry.tenant(slug).await?;
    output.either(&json!({ "schema": "tenantry.tenant/v1", "tenant": document(&tenant) }), || {
        let place = &tenant.place;
        let rows = [
            ("tenant", tenant.slug.to_string()),
            ("status", tenant.status.to_string()),
            ("engine", place.engine.to_string()),
            ("server", place.server.clone()),
            ("database", place.database.clone()),
            ("schema", or_dash(place.schema.as_ref())),
            ("labels", labels_text(&tenant.labels)),
            ("source", or_dash(tenant.source.as_ref())),
            (
                "version",
                or_dash(
                    tenant.version.as_ref().map(|(version, at)| format!("{version}, read {}", rfc3339(*at))),
                ),
            ),
        ];
        rows.iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect()
    });
    Ok(())
}

fn list(tenants: &[Tenant], output: &Output) {
    if tenants.is_empty() && !output.is_json() {
        return output.note("no tenant found");
    }
    let documents: Vec<_> = tenants.iter().map(document).collect();
    output.either(&json!({ "schema": "tenantry.tenants/v1", "tenants": documents }), || {
        let mut table = Table::new(&[
            "tenant", "status", "engine", "server", "database", "schema", "version", "source", "labels",
        ]);
        for tenant in tenants {
            let place = &tenant.place;
            table.row(vec![
                tenant.slug.to_string(),
                tenant.status.to_string(),
                place.engine.to_string(),
                place.server.clone(),
                place.database.clone(),
                or_dash(place.schema.as_ref()),
                or_dash(tenant.version.as_ref().map(|(version, _)| version)),
                or_dash(tenant.source.as_ref()),
                labels_text(&tenant.labels),
            ]);
        }
        table.text()
    });
}

/// A tenant as every JSON document shows it.
pub(super) fn document(tenant: &Tenant) -> serde_json::Value {
    let mut value = json!(tenant);
    value["version"] = json!(tenant.version.as_ref().map(|(version, _)| version));
    value["version_read_at"] = json!(tenant.version.as_ref().map(|(_, at)| rfc3339(*at)));
    value
}

fn labels_text(labels: &Labels) -> String {
    if labels.is_empty() {
        return "-".into();
    }
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
