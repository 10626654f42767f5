//! Which tenants, and what when there are none.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tenantry_shared::{run::RunRef, selector::Selector, tenant::Slug};

// Which tenants.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Selection (one is required)")]
pub(crate) struct SelectionArgs {
    /// Every active tenant
    #[arg(long, group = "pick")]
    pub(crate) all: bool,
    /// These tenants, separated by commas or by more of this flag; an unknown or inactive one is an error
    #[arg(short, long = "tenant", value_name = "ID", value_delimiter = ',', group = "pick")]
    pub(crate) tenants: Vec<Slug>,
    /// The tenants in this file, one id a line; '-' is standard input
    #[arg(long, value_name = "FILE", group = "pick")]
    pub(crate) tenants_file: Option<PathBuf>,
    /// Active tenants by label, as kubectl does it: plan=pro,region in (eu,us),!beta
    #[arg(short = 'l', long, value_name = "EXPR", group = "pick")]
    pub(crate) selector: Option<Selector>,
    /// Tenants that failed in this run: its number, its UUID, latest or latest-failed
    #[arg(long, value_name = "RUN", group = "pick")]
    pub(crate) failed_in: Option<RunRef>,
    /// Leave these tenants out; an unknown one is an error
    #[arg(
        short = 'x',
        long,
        value_name = "ID",
        value_delimiter = ',',
        requires = "pick",
        help_heading = "Selection, narrower"
    )]
    pub(crate) exclude: Vec<Slug>,
    /// Not more than so many, in the order of their ids
    #[arg(long, value_name = "N", requires = "pick", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Selection, narrower")]
    pub(crate) limit: Option<u32>,
}

/// What to do when the selection chooses nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NoTenants {
    /// End with 4
    Fail,
    /// Say so and end with 0
    Warn,
    /// End with 0
    Pass,
}
