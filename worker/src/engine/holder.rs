//! Who holds the lock that somebody of ours did not get, in a few words for a hint. Nothing that is a value in their
//! statement is told.

use std::fmt;

use tenantry_shared::{
    clock::rfc3339,
    failure::Failure,
    place::Engine,
    statement::{names, outline, split},
};

use super::Change;

/// How much of a statement is told, in characters.
const OUTLINE: usize = 80;

/// A session of somebody else's.
#[derive(Clone, Debug, Default)]
pub(super) struct Holder {
    /// What its server calls it: `pid 4711`.
    pub(super) id: String,
    /// Who it is: the program, the account. What is not known is left out.
    pub(super) who: Vec<String>,
    /// What it does, in the server's words.
    pub(super) state: String,
    /// For how long, in seconds.
    pub(super) seconds: Option<u64>,
    /// What it runs, or ran last, without values.
    pub(super) outline: String,
}

impl Holder {
    /// What a query about sessions tells in its first six columns: number, program, account, state, seconds, statement.
    pub(super) fn read(row: &[Option<String>], engine: Engine) -> Option<Self> {
        let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        let named = if engine == Engine::MySql { "connection" } else { "pid" };
        let who: Vec<String> = [text(1), text(2)].into_iter().map(|name| plain(&name)).collect();
        Some(Self {
            id: format!("{named} {}", row.first()?.as_ref()?),
            who: who.into_iter().filter(|name| !name.is_empty()).collect(),
            state: text(3),
            seconds: text(4).parse().ok(),
            outline: outline(&text(5), engine, OUTLINE),
        })
    }
}

impl Holder {
    /// The same for somebody who reads it later.
    pub(super) fn since(&self, now_ms: i64) -> String {
        let begun = |seconds: u64| now_ms - i64::try_from(seconds * 1_000).unwrap_or(0);
        self.line(self.seconds.map(|seconds| format!("since {}", to_the_second(begun(seconds)))))
    }

    /// The same without how long.
    pub(super) fn timeless(&self) -> String {
        self.line(None)
    }

    fn line(&self, lasts: Option<String>) -> String {
        let does = [Some(self.state.clone()), lasts].into_iter().flatten().filter(|part| !part.is_empty());
        let does = does.collect::<Vec<_>>().join(" ");
        let parts = self.who.iter().map(String::as_str).chain([does.as_str()]);
        let all: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        let named =
            if all.is_empty() { self.id.clone() } else { format!("{} ({})", self.id, all.join(", ")) };
        if self.outline.is_empty() { named } else { format!("{named}: {}", self.outline) }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(self.seconds.map(|seconds| format!("for {}", lasting(seconds)))))
    }
}

/// In UTC.
fn to_the_second(unix_ms: i64) -> String {
    rfc3339(unix_ms - unix_ms % 1_000).replace(".000Z", "Z")
}

/// One line without what a terminal would obey, and not long: anybody names their program as they like.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn lasting(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// The failure with who holds the lock at the beginning of its hint. `says`: what is known of them.
pub(super) fn held(failure: Failure, says: &str, holders: &[Holder]) -> Failure {
    let Some(first) = holders.first() else { return failure };
    let more = match holders.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let rest = failure.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    let hint = format!("{says} {first}{more}{rest}");
    failure.with_hint(hint)
}

/// The text of the statement that failed, or of all of the script where that is not known.
pub(super) fn failed_statement(change: &Change<'_>, failure: &Failure, engine: Engine) -> String {
    let number = failure.statement.and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
    let statements = split(&change.script.text, engine).unwrap_or_default();
    let found = number.and_then(|at| statements.get(at)).map(|statement| statement.text.clone());
    found.unwrap_or_else(|| change.script.text.clone())
}

/// Whether a statement names this. Some server keeps names as they are written, some in lower case.
pub(super) fn is_named(statement: &str, name: &str, engine: Engine) -> bool {
    let names = names(statement, engine);
    names.contains(name) || engine == Engine::MySql && names.contains(&name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantry_shared::failure::Class;

    fn row(values: [&str; 6]) -> Vec<Option<String>> {
        values.into_iter().map(|value| Some(value.to_owned()).filter(|value| !value.is_empty())).collect()
    }

    #[test]
    fn a_holder_is_told_in_one_line_without_values() {
        let full =
            row(["4711", "psql", "ann", "idle in transaction", "725", "UPDATE users SET a = 'secret'"]);
        let full = Holder::read(&full, Engine::Postgres).unwrap();
        let said = "pid 4711 (psql, ann, idle in transaction for 12 min): UPDATE users SET a = ?";
        assert_eq!(full.to_string(), said);
        let later =
            "pid 4711 (psql, ann, idle in transaction since 1970-01-01T00:00:01Z): UPDATE users SET a = ?";
        assert_eq!(full.since(726_400), later);
        assert_eq!(full.timeless(), "pid 4711 (psql, ann, idle in transaction): UPDATE users SET a = ?");
        let unknown = Holder::read(&row(["12", "", "", "", "", ""]), Engine::MySql).unwrap();
        assert_eq!(unknown.to_string(), "connection 12");
        let failure = Failure::new(Class::Transient, "55P03", "x").with_hint("wait");
        let told = held(failure.clone(), "held by", &[full.clone(), full]);
        assert_eq!(told.hint, Some(format!("held by {said}, and 1 more; wait")));
        assert_eq!(held(failure.clone(), "held by", &[]), failure);
    }

    #[test]
    fn a_name_cannot_command_a_terminal() {
        let holder = row(["1", "\u{1b}[2Jpsql\n", "ann", "active", "3", ""]);
        assert_eq!(
            Holder::read(&holder, Engine::Postgres).unwrap().to_string(),
            "pid 1 ([2Jpsql, ann, active for 3 s)"
        );
    }
}
