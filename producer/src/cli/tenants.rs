//! Arguments of the commands about tenants.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use tenantry_shared::{
    selector::Selector,
    tenant::{Slug, Status, parse_label},
};

use super::examples;

// Where a tenant's URL comes from. Never an argument: those can be seen by every user of the machine.
#[derive(Args, Clone, Debug)]
#[group(id = "url", multiple = false)]
pub(crate) struct UrlSource {
    /// Read the tenant's URL from standard input
    #[arg(long)]
    pub(crate) url_stdin: bool,
    /// Read the tenant's URL from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) url_file: Option<PathBuf>,
    /// Read the tenant's URL from this environment variable
    #[arg(long, value_name = "VAR")]
    pub(crate) from_env: Option<String>,
}

impl UrlSource {
    /// Whether any is given.
    pub(crate) fn is_given(&self) -> bool {
        self.url_stdin || self.url_file.is_some() || self.from_env.is_some()
    }
}

#[derive(Subcommand)]
pub(crate) enum TenantsCommand {
    /// Add a tenant
    ///
    /// Its URL (postgres://…, mysql://… or sqlite:FILE) is never an argument: other users of the machine could read it.
    #[command(after_help = examples::TENANTS_ADD)]
    Add {
        /// Its id: letters, digits, '.', '_' and '-'
        id: Slug,
        #[command(flatten)]
        url: UrlSource,
        /// Its schema, where tenants are schemas of one PostgreSQL database
        #[arg(long, value_name = "NAME")]
        schema: Option<String>,
        /// A label, repeatable
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
        labels: Vec<(String, String)>,
        /// Add it suspended: runs leave it out
        #[arg(long)]
        disabled: bool,
    },
    /// List tenants
    List {
        /// Only those with these labels: plan=pro,region in (eu,us),!beta
        #[arg(short = 'l', long, value_name = "EXPR")]
        selector: Option<Selector>,
        /// Only those with this status
        #[arg(long, value_name = "STATUS")]
        status: Option<Status>,
        /// At most so many tenants
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Only those that come after this id, for the next page
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Show one tenant
    Show {
        /// Its id
        id: Slug,
    },
    /// Change a tenant's URL, status or labels
    Set {
        /// Its id
        id: Slug,
        #[command(flatten)]
        url: UrlSource,
        /// Its schema, together with a new URL
        #[arg(long, value_name = "NAME", requires = "url")]
        schema: Option<String>,
        /// Whether runs take it: active, suspended or archived
        #[arg(long, value_name = "STATUS")]
        status: Option<Status>,
        /// Set a label, repeatable
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
        labels: Vec<(String, String)>,
        /// Take a label away, repeatable
        #[arg(long, value_name = "KEY")]
        remove_label: Vec<String>,
    },
    /// Add many tenants from a file: all of them, or none
    ///
    /// Each needs an id and a url; schema, status and labels may be left out.
    #[command(after_help = examples::TENANTS_IMPORT)]
    Import {
        /// The file; '-' is standard input
        file: PathBuf,
        /// Its format [default: jsonl for a name that ends in .jsonl or .ndjson, else csv]
        #[arg(long, value_name = "FORMAT")]
        format: Option<ImportFormat>,
    },
    /// Make the registry list the tenants that a source lists: shows what would change, asks, and does all of it or nothing
    ///
    /// A source is a table in tenantry.toml: a query in any PostgreSQL, MySQL, MariaDB or SQLite database, a CSV or JSON Lines
    /// file, an HTTP endpoint, or the schemas, databases or files that match a pattern. A tenant that is no longer listed is
    /// suspended, never deleted; one that comes back is active again. Tenants that were added by hand are not touched.
    #[command(after_help = examples::TENANTS_SYNC)]
    Sync {
        /// Only this source: NAME of its [sources.NAME] [default: all sources]
        #[arg(value_name = "NAME")]
        source: Option<String>,
        /// Show what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// With --dry-run: end with 103 when something would change
        #[arg(long, requires = "dry_run")]
        exit_code: bool,
        /// Do not ask before changing
        #[arg(short, long)]
        yes: bool,
        /// Go on even if more than half of a source's active tenants would be suspended
        #[arg(long)]
        force: bool,
        /// Take over tenants that the source lists, too, and that were added by hand or by a source that is no longer configured
        #[arg(long)]
        adopt: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    Csv,
    Jsonl,
}
