//! Another tool that works on one directory and its tenants with us, and a worker's attempt without a registry.

use std::sync::Arc;

use tenantry_shared::{
    bundle::{Bundle, Scope, SetFiles, SetSpec},
    failure::Failure,
    format::File,
    place::DatabaseUrl,
    registry::Access,
    run::{ActionKind, Policy},
    tenant::Labels,
};
use tenantry_tests::{Ran, TenantDb, Tool, fleet::Kind};
use tenantry_worker::{
    attempt::{Trail, attempt},
    orders::Order,
};

use crate::{site::Site, tools::shape};

/// Another tool, and how a user of it works.
pub(super) struct Partner {
    /// What `tests/tools` calls it.
    pub(super) tool: &'static str,
    /// The databases that it knows.
    pub(super) kinds: &'static [Kind],
    /// Its history table.
    pub(super) table: &'static str,
    /// The files of a migration of this number that makes this table: path below the directory, and text.
    pub(super) files: fn(u32, &str) -> Vec<(String, String)>,
    /// Applies what is pending.
    pub(super) apply: fn(&Tool, &Site, &TenantDb) -> Ran,
    /// Whether it says, without a complaint, that nothing is pending.
    pub(super) is_content: fn(&Tool, &Site, &TenantDb) -> bool,
    /// Reverts the newest migration, where the tool can.
    pub(super) revert: Option<fn(&Tool, &Site, &TenantDb) -> Ran>,
}

impl Partner {
    fn write(&self, site: &Site, number: u32, table: &str) {
        for (path, text) in (self.files)(number, table) {
            write(site, &path, &text);
        }
    }

    /// Nothing where the tool is not installed.
    pub(super) async fn gets_along_with_us(&self) {
        let Some(tool) = Tool::find(self.tool) else { return };
        let site = Site::new(self.kinds, 1).await;
        self.we_finish_what_it_began(&tool, &site).await;
        if let Some(revert) = self.revert {
            self.we_see_what_it_reverted(&tool, &site, revert).await;
        }
        self.we_see_what_it_added(&tool, &site);
        self.it_takes_over_what_we_began(&tool, &site).await;
    }

    async fn we_finish_what_it_began(&self, tool: &Tool, site: &Site) {
        self.write(site, 1, "t");
        self.write(site, 2, "u");
        for tenant in &site.fleet.tenants {
            let _ = (self.apply)(tool, site, tenant).exits(0);
        }
        self.write(site, 3, "w");
        let _ = site.migrate(&[]).exits(0);
        for tenant in &site.fleet.tenants {
            let steps = site.attempts(tenant)[0]["applied"].as_array().map(Vec::len);
            assert_eq!(steps, Some(1), "{}", tenant.id);
            assert!(tenant.tables().await.contains_key("w"), "{}", tenant.id);
            assert!((self.is_content)(tool, site, tenant), "{}", tenant.id);
        }
    }

    async fn we_see_what_it_reverted(
        &self,
        tool: &Tool,
        site: &Site,
        revert: fn(&Tool, &Site, &TenantDb) -> Ran,
    ) {
        for tenant in &site.fleet.tenants {
            let _ = revert(tool, site, tenant).exits(0);
            assert!(!tenant.tables().await.contains_key("w"), "{}", tenant.id);
        }
        let run = site.migrate(&[]).exits(0).json();
        assert_eq!(run["counts"]["applied"], self.kinds.len(), "{run}");
        for tenant in &site.fleet.tenants {
            assert!(tenant.tables().await.contains_key("w"), "{}", tenant.id);
            assert!((self.is_content)(tool, site, tenant), "{}", tenant.id);
        }
    }

    fn we_see_what_it_added(&self, tool: &Tool, site: &Site) {
        self.write(site, 4, "x");
        for tenant in &site.fleet.tenants {
            let _ = (self.apply)(tool, site, tenant).exits(0);
        }
        let run = site.migrate(&[]).exits(0).json();
        assert_eq!(run["counts"]["current"], self.kinds.len(), "{run}");
    }

    async fn it_takes_over_what_we_began(&self, tool: &Tool, theirs: &Site) {
        let ours = Site::new(self.kinds, 1).await;
        self.write(&ours, 1, "t");
        self.write(&ours, 2, "u");
        let _ = ours.migrate(&[]).exits(0);
        for (tenant, other) in ours.fleet.tenants.iter().zip(&theirs.fleet.tenants) {
            assert!((self.is_content)(tool, &ours, tenant), "{}", tenant.id);
            let (own, other) = (table(tenant, self.table).await, table(other, self.table).await);
            // SQLite keeps every blank of the statement.
            assert_eq!(own.replace(' ', ""), other.replace(' ', ""), "{}", tenant.id);
        }
        self.write(&ours, 3, "w");
        for tenant in &ours.fleet.tenants {
            let _ = (self.apply)(tool, &ours, tenant).exits(0);
            assert!(tenant.tables().await.contains_key("w"), "{}", tenant.id);
        }
    }
}

/// What a table is made of, in small letters and without the quotes that nobody needs.
pub(super) async fn table(tenant: &TenantDb, name: &str) -> String {
    let words = shape(tenant, name).await.to_lowercase().replace(['"', '`'], "");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Migrates all; so many must be counted so.
pub(super) fn migrate(site: &Site, counted: &str, times: usize) {
    let run = site.migrate(&[]).exits(0).json();
    assert_eq!(run["counts"][counted], times, "{run}");
}

/// The versions that were applied to a tenant in the latest run.
pub(super) fn steps(site: &Site, tenant: &TenantDb) -> Vec<String> {
    let attempts = site.attempts(tenant);
    let steps = attempts.last().expect("an attempt")["applied"].as_array().expect("steps").clone();
    steps.iter().map(|step| step["version"].as_str().expect("a version").to_owned()).collect()
}

/// Writes a file of the migrations' directory.
pub(super) fn write(site: &Site, path: &str, text: &str) {
    let path = site.home.path().join("migrations").join(path);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    std::fs::write(path, text).expect("a file");
}

/// A tenant as a worker knows it.
pub(super) fn access(tenant: &TenantDb) -> Access {
    let url = DatabaseUrl::parse(&tenant.url, "/".as_ref()).expect("a URL");
    Access {
        slug: tenant.id.parse().expect("a slug"),
        place: url.place(tenant.schema.as_deref()).expect("a place"),
        url,
        labels: Labels::new(),
        scope: Scope::Tenants,
    }
}

/// Brings a tenant to the newest of these files, read in a format that is named, as a worker does it.
pub(crate) async fn applied(
    format: &str,
    files: &[(&str, &str)],
    tenant: &TenantDb,
) -> Result<Vec<String>, Failure> {
    done(ActionKind::Apply, format, files, tenant).await
}

/// The same of a set with what else belongs to it.
pub(crate) async fn applied_as(
    spec: SetSpec,
    files: &[(&str, &str)],
    tenant: &TenantDb,
) -> Result<Vec<String>, Failure> {
    attempted(order_of(ActionKind::Apply, spec, files, tenant)).await
}

/// What a worker is given of a run with this action.
pub(super) fn order(
    action: ActionKind,
    format: &str,
    files: &[(&str, &str)],
    tenant: &TenantDb,
) -> (Order, Access) {
    let format = Some(format.to_owned());
    order_of(action, SetSpec { name: "main".into(), format, ..SetSpec::default() }, files, tenant)
}

fn order_of(action: ActionKind, spec: SetSpec, files: &[(&str, &str)], tenant: &TenantDb) -> (Order, Access) {
    let file = |(name, text): &(&str, &str)| File { name: (*name).into(), content: (*text).into() };
    let set = SetFiles { spec, files: files.iter().map(file).collect() };
    let bundle = Bundle::of_sets(vec![set]).expect("a bundle");
    let target = bundle.latest().version.clone();
    let access = access(tenant);
    let order = Order { bundle: Arc::new(bundle), target, policy: Policy::default(), action };
    (order, access)
}

/// Does with a tenant what a run with this action does.
pub(super) async fn done(
    action: ActionKind,
    format: &str,
    files: &[(&str, &str)],
    tenant: &TenantDb,
) -> Result<Vec<String>, Failure> {
    attempted(order(action, format, files, tenant)).await
}

async fn attempted((order, access): (Order, Access)) -> Result<Vec<String>, Failure> {
    let mut trail = Trail::default();
    attempt(&order, &access, &mut trail).await?;
    Ok(trail.steps.into_iter().map(|step| step.file).collect())
}

/// The rows of a history in the order of their text, their columns joined by `|`.
pub(crate) async fn history(tenant: &TenantDb, table: &str, columns: &[&str]) -> Vec<String> {
    let quote = if tenant.kind == Kind::MariaDb { '`' } else { '"' };
    let columns = columns.iter().map(|column| match tenant.kind {
        Kind::MariaDb => format!("CAST({column} AS CHAR)"),
        _ => format!("CAST({column} AS TEXT)"),
    });
    let columns: Vec<String> = columns.collect();
    let (row, all) = match tenant.kind {
        Kind::MariaDb => {
            (format!("concat_ws('|', {})", columns.join(", ")), "CAST(group_concat(r SEPARATOR ';') AS CHAR)")
        }
        Kind::Sqlite => (columns.join(" || '|' || "), "group_concat(r, ';')"),
        _ => (columns.join(" || '|' || "), "string_agg(r, ';')"),
    };
    let sql = format!("SELECT {all} FROM (SELECT {row} AS r FROM {quote}{table}{quote} ORDER BY 1) x");
    let text = tenant.text(&sql).await.unwrap_or_default();
    text.split(';').filter(|row| !row.is_empty()).map(str::to_owned).collect()
}
