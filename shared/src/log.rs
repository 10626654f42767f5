//! Where log lines go: standard error, as text for a person or JSON for a collector.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `filter` is in the notation of tracing's `EnvFilter`; one that cannot be read is
/// replaced by `info`. PostgreSQL's notices are left out unless the filter names them.
pub fn start(filter: &str, format: LogFormat, color: bool) {
    let quiet = format!("sqlx::postgres::notice=off,{filter}");
    let filter = EnvFilter::try_new(quiet).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => registry.with(layer.with_ansi(color)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    drop(started); // a test that started it before is fine
}
