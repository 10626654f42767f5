//! `[run]` of the configuration: how runs are worked and let in. What the environment says wins over the profile, and
//! that over the file.

use std::{collections::BTreeMap, fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    ConfigError, Env,
    file::{Span, parse_deadline},
};
use crate::{
    clock::millis,
    plan::Order,
    run::Policy,
    wave::{Canary, OrNone, Rollout, Share, Waves},
};

/// How many tenants of one server may be migrated at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// On every server that is not named.
    pub per_server: Option<u32>,
    /// On servers by their address.
    pub servers: BTreeMap<String, u32>,
}

impl Caps {
    /// On the server of this address; none is no cap.
    #[must_use]
    pub fn of(&self, address: &str) -> Option<u32> {
        self.servers.get(address).copied().or(self.per_server)
    }
}

/// A server by its address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    cap: NonZeroU32,
}

/// A duration after which a run is stopped.
#[derive(Debug)]
struct Deadline(Duration);

impl FromStr for Deadline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_deadline(text).map(Self)
    }
}

/// What the names of this table's variables begin with.
const VARIABLES: &str = "TENANTRY_RUN_";

macro_rules! raw_run {
    ($($(#[$attribute:meta])? $name:ident: $kind:ty),+ $(,)?) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        pub(in crate::config) struct RawRun { $($(#[$attribute])? $name: Option<$kind>),+ }

        impl RawRun {
            /// The same, and what it does not say as `below` says it.
            pub(super) fn over(self, below: Self) -> Self {
                Self { $($name: self.$name.or(below.$name)),+ }
            }

            /// What the environment says.
            pub(super) fn of_environment(env: Env<'_>) -> Result<Self, ConfigError> {
                Ok(Self { $($name: variable(env, stringify!($name))?),+ })
            }
        }
    };
}

raw_run! {
    retries: u32,
    backoff_base: Span,
    backoff_cap: Span,
    connect_timeout: Span,
    lock_timeout: Span,
    statement_timeout: Span,
    order: Order,
    fingerprint: bool,
    canary: Said<Canary>,
    waves: Said<Waves>,
    soak: Span,
    max_failures: Said<Share>,
    halt_same_cause: u32,
    deadline: Said<Deadline>,
    #[serde(alias = "per-host")]
    per_server: NonZeroU32,
}

impl RawRun {
    pub(super) fn caps(&self, servers: &BTreeMap<String, RawServer>) -> Caps {
        let servers = servers.iter().map(|(address, server)| (address.clone(), server.cap.get())).collect();
        Caps { per_server: self.per_server.map(NonZeroU32::get), servers }
    }

    pub(super) fn policy(self) -> Policy {
        let default = Policy::default();
        let span = |value: Option<Span>, default: u64| value.map_or(default, |span| millis(span.0));
        let rollout = Rollout {
            canary: said(self.canary),
            waves: said(self.waves),
            soak_ms: span(self.soak, default.rollout.soak_ms),
            max_failures: said(self.max_failures),
            same_cause: self.halt_same_cause.unwrap_or(default.rollout.same_cause),
            deadline_ms: said(self.deadline).map(|deadline| millis(deadline.0)),
        };
        Policy {
            max_attempts: self.retries.unwrap_or(default.max_attempts),
            backoff_base_ms: span(self.backoff_base, default.backoff_base_ms),
            backoff_cap_ms: span(self.backoff_cap, default.backoff_cap_ms),
            connect_timeout_ms: span(self.connect_timeout, default.connect_timeout_ms),
            lock_timeout_ms: span(self.lock_timeout, default.lock_timeout_ms),
            statement_timeout_ms: span(self.statement_timeout, default.statement_timeout_ms),
            order: self.order.unwrap_or(default.order),
            fingerprint: self.fingerprint.unwrap_or(default.fingerprint),
            rollout,
        }
    }
}

fn said<T>(setting: Option<Said<T>>) -> Option<T> {
    setting.and_then(|said| said.0.0)
}

/// A value as it is said on the command line, or `none`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Words", bound = "T: FromStr, T::Err: fmt::Display")]
struct Said<T>(OrNone<T>);

/// A text; a number and a list stand for theirs.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text, a whole number or a list of them")]
enum Words {
    Number(u64),
    Text(String),
    List(Vec<Words>),
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::List(list) => {
                f.write_str(&list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl<T: FromStr> TryFrom<Words> for Said<T> {
    type Error = T::Err;

    fn try_from(words: Words) -> Result<Self, T::Err> {
        words.to_string().parse().map(Self)
    }
}

/// A setting's variable. A number or a truth is one in the file, and a text is one without quotes.
fn variable<T: DeserializeOwned>(env: Env<'_>, setting: &str) -> Result<Option<T>, ConfigError> {
    let name = format!("{VARIABLES}{}", setting.to_uppercase());
    let Some(text) = env(&name) else { return Ok(None) };
    let bare = text.trim().parse::<i64>().map(toml::Value::Integer);
    let bare = bare.or_else(|_| text.trim().parse().map(toml::Value::Boolean));
    let read = |value: toml::Value| value.try_into::<T>().map_err(|e| e.message().to_owned());
    let as_text = read(toml::Value::String(text.clone()));
    match (as_text, bare.map(read)) {
        (Ok(value), _) | (_, Ok(Ok(value))) => Ok(Some(value)),
        (Err(reason), _) => Err(ConfigError::Variable { name, reason }),
    }
}
