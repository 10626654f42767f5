//! Arguments of the commands about servers.

use clap::{ArgGroup, Subcommand};

#[derive(Subcommand)]
pub(crate) enum ServersCommand {
    /// Set how many tenants of a server may be migrated at once, by all workers together
    ///
    /// It holds for what is begun from now on, and what runs comes to its end.
    #[command(group = ArgGroup::new("what").required(true))]
    Set {
        /// Its address, or its number in the list of servers
        #[arg(value_name = "ADDRESS|ID")]
        server: String,
        /// At most so many tenants
        #[arg(long, value_name = "N", group = "what", value_parser = clap::value_parser!(u32).range(1..))]
        cap: Option<u32>,
        /// Take away what was set: the configuration's cap holds, if it has one
        #[arg(long, group = "what")]
        no_cap: bool,
    },
}
