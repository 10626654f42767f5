//! What a migration begins with on PostgreSQL: time limits and the search path, for a session of our own or for one
//! transaction in somebody else's.

use tenantry_shared::{
    clock::millis,
    place::Engine,
    pooling,
    registry::Access,
    site::{Site, quoted},
};

use crate::engine::{IDLE, Limits};

/// Outside of a transaction, since version 14.
const IDLE_MS: u128 = IDLE.as_millis();

/// How often the server looks whether its client is still there while a statement runs. Since version 14, and only
/// where its system can tell.
const CLIENT_CHECK: (&str, &str) = ("client_connection_check_interval", "2000");

const PATH: &str = "search_path";

/// What others have set in a session of a pooler is as it was at its start, but for what the pooler itself keeps for each of
/// its clients. Gives no row.
const AS_AT_START: &str = "SET LOCAL SESSION AUTHORIZATION DEFAULT; SET LOCAL role TO DEFAULT;
    SELECT 1 FROM pg_settings WHERE CASE WHEN source = 'session' AND lower(name) NOT IN
            ('client_encoding', 'datestyle', 'timezone', 'intervalstyle', 'standard_conforming_strings', 'application_name')
        AND context IN ('user', CASE current_setting('is_superuser') WHEN 'on' THEN 'superuser' ELSE 'user' END)
    THEN set_config(name, reset_val, true) IS NULL ELSE false END; ";

/// A temporary table that others have left behind would be taken for the tenant's.
const NO_TABLES: &str = "DISCARD TEMP; ";

/// The settings of one tenant.
pub(super) struct Settings {
    limits: Vec<(&'static str, String)>,
    since_14: bool,
    /// Whether a session of our own has begun with its limits.
    pub(super) begun: bool,
    /// Whether the server's system can tell that a client is gone.
    pub(super) linux: bool,
    /// The tenant's schema in front of those that its URL names: that is where extensions can be. None: the tenant is the
    /// whole database.
    path: Option<String>,
    /// What else the options of its URL set, and the schemas where there is none in front of them.
    given: Vec<(String, String)>,
}

impl Settings {
    pub(super) fn of(access: &Access, limits: Limits, since_14: bool) -> Self {
        let given = pooling::settings(access.url.expose());
        let is_path =
            |(name, value): &&(String, String)| name.eq_ignore_ascii_case(PATH) && !value.trim().is_empty();
        let shared = given.iter().rev().find(is_path).map(|(_, value)| format!(", {value}"));
        let own = |schema: &String| {
            format!("{}{}", quoted(Engine::Postgres, schema), shared.clone().unwrap_or_default())
        };
        let path = access.place.schema.as_ref().map(own);
        Self { limits: time_limits(limits).into(), since_14, begun: false, linux: false, path, given }
    }

    /// Those of another tenant of the same server.
    pub(super) fn for_access(&self, access: &Access, limits: Limits) -> Self {
        Self { begun: self.begun, linux: self.linux, ..Self::of(access, limits, self.since_14) }
    }

    /// Sets all of it in a new session; where this condition holds, only for this message, which is one transaction.
    pub(super) fn of_start(&self, local: &str) -> String {
        let idle = self.since_14.then(|| ("idle_session_timeout", IDLE_MS.to_string()));
        let path = self.path.clone().map(|path| (PATH, path));
        let limits = self.limits.iter().filter(|_| !self.begun);
        let all = limits.cloned().chain(idle).chain(path);
        let mut calls: Vec<String> =
            all.map(|(name, value)| format!("set_config('{name}', {}, {local})", literal(&value))).collect();
        if self.since_14 {
            let (name, value) = CLIENT_CHECK;
            calls.push(format!(
                "CASE WHEN version() LIKE '%linux%' THEN set_config('{name}', '{value}', {local}) END"
            ));
        }
        if calls.is_empty() { String::new() } else { format!("SELECT {}; ", calls.join(", ")) }
    }

    /// Sets in a session that was freed what is the next tenant's.
    pub(super) fn of_next(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, "SET", !self.begun);
        text
    }

    /// Resets a session of our own and sets all of it anew.
    pub(super) fn of_session(&self) -> String {
        let mut text = format!("SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; {NO_TABLES}");
        self.write(&mut text, "SET", !self.begun);
        text.push_str(&self.of_idle());
        text
    }

    /// Makes the server end the session where it stands still.
    pub(super) fn of_idle(&self) -> String {
        if self.since_14 { format!("SET idle_session_timeout = {IDLE_MS}; ") } else { String::new() }
    }

    /// Sets all of it until the end of a transaction that changes something, whatever others have left behind.
    pub(super) fn of_change(&self) -> String {
        format!("{}{NO_TABLES}", self.of_transaction())
    }

    /// The same for one that only looks: it leaves everything as it is.
    pub(super) fn of_transaction(&self) -> String {
        let mut text = String::from(AS_AT_START);
        for (name, value) in &self.given {
            text.push_str(&format!("SET LOCAL {} = {}; ", name_of(name), value_of(name, value)));
        }
        self.write(&mut text, "SET LOCAL", true);
        text
    }

    fn write(&self, text: &mut String, set: &str, limits: bool) {
        let check = (self.linux && self.since_14).then(|| (CLIENT_CHECK.0, CLIENT_CHECK.1.to_owned()));
        let path = self.path.clone().map(|path| (PATH, path));
        for (name, value) in self.limits.iter().filter(|_| limits).cloned().chain(check).chain(path) {
            text.push_str(&format!("{set} {name} = {value}; "));
        }
    }
}

/// What every version of the server knows, so that a session can begin with it.
pub(super) fn time_limits(limits: Limits) -> [(&'static str, String); 3] {
    [
        // Zero would be without limit there.
        ("lock_timeout", millis(limits.lock).max(1).to_string()),
        ("statement_timeout", limits.statement.map_or(0, millis).to_string()),
        ("idle_in_transaction_session_timeout", IDLE_MS.to_string()),
    ]
}

/// The parts of a name of a setting of an extension are quoted each.
fn name_of(name: &str) -> String {
    name.split('.').map(|part| quoted(Engine::Postgres, &part.to_lowercase())).collect::<Vec<_>>().join(".")
}

/// The schemas of a path are a list of names.
fn value_of(name: &str, value: &str) -> String {
    if name.eq_ignore_ascii_case(PATH) && !value.trim().is_empty() {
        value.to_owned()
    } else {
        literal(value)
    }
}

fn literal(text: &str) -> String {
    Site { engine: Engine::Postgres, schema: None, table: String::new() }.text(text)
}
