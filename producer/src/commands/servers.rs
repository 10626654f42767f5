//! `servers`: how many tenants each server has, how many of them are being migrated, and how many may be.

use serde_json::{Value, json};
use tenantry_shared::{clock::rfc3339, config::Caps, exit::Exit, fault::Fault, ledger::ServerRow};

use super::selection;
use crate::{
    app::App,
    cli::ServersCommand,
    output::{Output, Table, ago, or_dash, plural},
};

pub(crate) async fn run(app: &App, command: Option<ServersCommand>, output: &Output) -> Result<Exit, Fault> {
    match command {
        None => list(app, output).await?,
        Some(ServersCommand::Set { server, cap, no_cap: _ }) => {
            let server = app.ledger.set_cap(&server, cap, &selection::requested_by()).await?;
            if output.is_json() {
                output.document(&json!({ "schema": "tenantry.server/v1", "server": document(&server) }));
            } else {
                output.note(&told(&server));
            }
        }
    }
    Ok(Exit::Ok)
}

async fn list(app: &App, output: &Output) -> Result<(), Fault> {
    let servers = app.ledger.servers().await?;
    if servers.is_empty() && !output.is_json() {
        output.note("no server yet; they come with their tenants");
        return Ok(());
    }
    let now = app.ledger.store().now_ms().await?;
    let documents: Vec<_> = servers.iter().map(document).collect();
    output.either(&json!({ "schema": "tenantry.servers/v1", "servers": documents }), || {
        let mut table = Table::new(&["id", "engine", "address", "tenants", "running", "cap", "limit"]);
        for server in &servers {
            table.row(vec![
                server.id.to_string(),
                server.engine.clone(),
                server.address.clone(),
                server.tenants.to_string(),
                server.running.to_string(),
                or_dash(server.cap.map(|cap| capped(cap, server.cap_from_config))),
                or_dash(server.limit.map(|limit| limited(limit, server.limited_at, now))),
            ]);
        }
        table.text()
    });
    Ok(())
}

fn capped(cap: i64, from_config: bool) -> String {
    if from_config { format!("{cap}, configured") } else { cap.to_string() }
}

fn limited(limit: i64, since: Option<i64>, now: i64) -> String {
    since.map_or_else(|| limit.to_string(), |since| format!("{limit}, since {}", ago(now, since)))
}

fn document(server: &ServerRow) -> Value {
    json!({
        "id": server.id, "engine": server.engine, "address": server.address,
        "tenants": server.tenants, "running": server.running,
        "cap": server.cap, "cap_from_config": server.cap_from_config,
        "limit": server.limit, "limited_at": server.limited_at.map(rfc3339),
    })
}

fn told(server: &ServerRow) -> String {
    let from = if server.cap_from_config { ", as the configuration says" } else { "" };
    match server.cap {
        Some(cap) => format!("{}: at most {} at once{from}", server.address, tenants(cap)),
        None => format!("{}: no cap", server.address),
    }
}

/// What is to be known of the servers, in one line.
pub(crate) fn in_words(servers: &[ServerRow], caps: &Caps) -> String {
    let unknown = caps.servers.keys().filter(|name| servers.iter().all(|server| server.address != **name));
    let unknown = unknown.map(|name| format!("no tenant is on {name}, which the configuration caps"));
    let limited = servers.iter().filter_map(|server| {
        server.limit.map(|limit| format!("{} refused connections and is limited to {limit}", server.address))
    });
    let capped = servers.iter().filter(|server| server.cap.is_some()).count() as u64;
    let counted = format!("{}, {capped} with a cap", plural(servers.len() as u64, "server"));
    std::iter::once(counted).chain(limited).chain(unknown).collect::<Vec<_>>().join("; ")
}

fn tenants(count: i64) -> String {
    plural(u64::try_from(count).unwrap_or(0), "tenant")
}
