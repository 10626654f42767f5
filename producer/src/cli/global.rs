//! Flags that every command takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tenantry_shared::log::LogFormat;

// Flags that every command takes.
#[derive(Args, Clone)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Configuration file [default: ./tenantry.toml, then the user's, then /etc/tenantry/config.toml]
    #[arg(short, long, global = true, value_name = "FILE", env = "TENANTRY_CONFIG", display_order = 100)]
    pub(crate) config: Option<PathBuf>,
    /// The part [profile.NAME] of the configuration file wins over its other parts
    #[arg(long, global = true, value_name = "NAME", env = "TENANTRY_PROFILE", display_order = 100)]
    pub(crate) profile: Option<String>,
    /// Registry database: sqlite:PATH, postgres://… or mysql://… [default: sqlite:.tenantry/registry.db]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "TENANTRY_REGISTRY_URL",
        hide_env_values = true,
        display_order = 101
    )]
    pub(crate) registry_url: Option<String>,
    /// Queue: redis://… or rediss://… [default: the registry itself]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "TENANTRY_QUEUE_URL",
        hide_env_values = true,
        display_order = 102
    )]
    pub(crate) queue_url: Option<String>,
    /// What standard output is: text for a person, or one JSON document
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        env = "TENANTRY_OUTPUT",
        default_value = "text",
        display_order = 103
    )]
    pub(crate) output: OutputFormat,
    /// The same as --output json
    #[arg(long, global = true, display_order = 104)]
    pub(crate) json: bool,
    /// How progress is shown on standard error
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        env = "TENANTRY_PROGRESS",
        default_value = "auto",
        display_order = 105
    )]
    pub(crate) progress: Progress,
    /// When to use color
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", display_order = 106)]
    pub(crate) color: Color,
    /// Never ask; what would ask ends with 2 and names the flag
    #[arg(long, global = true, env = "TENANTRY_NO_INPUT", value_parser = clap::builder::BoolishValueParser::new(), display_order = 107)]
    pub(crate) no_input: bool,
    /// Log more on standard error: -v info, -vv debug
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 108)]
    pub(crate) verbose: u8,
    /// Say less: no progress, no notes
    #[arg(short, long, global = true, display_order = 109)]
    pub(crate) quiet: bool,
    /// How log lines look
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "TENANTRY_LOG_FORMAT",
        default_value = "text",
        display_order = 110
    )]
    pub(crate) log_format: Format,
    /// What to log, in the notation of tracing's EnvFilter
    #[arg(long, global = true, value_name = "FILTER", env = "TENANTRY_LOG", hide = true)]
    pub(crate) log: Option<String>,
}

impl Global {
    /// The filter for log lines. Commands tell what happens by themselves: only errors that they do not tell are logged.
    pub(crate) fn log_filter(&self) -> String {
        let level = match self.verbose {
            0 => "off",
            1 => "info",
            _ => "debug",
        };
        self.log.clone().unwrap_or_else(|| level.to_owned())
    }

    /// Whether standard output is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json || self.output == OutputFormat::Json
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// A bar on a terminal, lines elsewhere
    Auto,
    /// One redrawn block
    Bar,
    /// A line now and then
    Lines,
    /// Nothing
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even into a pipe
    Always,
    /// Nowhere
    Never,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}
