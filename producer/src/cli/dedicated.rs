//! One database that is named without a registry.

use clap::Args;

// Which one. Without these, `DATABASE_URL` or `DB_HOST` and its companions name it.
#[derive(Args, Default)]
pub(crate) struct DedicatedArgs {
    /// Only the one database whose URL is in this variable; no registry is needed [default: DATABASE_URL, or DB_HOST and its companions, when no tenants are selected]
    #[arg(long, value_name = "VAR", conflicts_with = "pick", help_heading = "One dedicated database")]
    pub(crate) url_env: Option<String>,
    /// Its schema, on PostgreSQL
    #[arg(long, value_name = "NAME", conflicts_with = "pick", help_heading = "One dedicated database")]
    pub(crate) schema: Option<String>,
}
