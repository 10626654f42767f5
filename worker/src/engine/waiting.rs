//! What a session of ours waits for, asked from beside it: from another connection, which is short and asks little.
//! Nothing that is a value in anybody's statement is told.

use tenantry_shared::{clock, failure::Failure, place::Engine, registry::Access};

use super::{
    Limits, MySqlSession, PostgresSession, Session as _,
    doing::{Lock, Now},
    holder::Holder,
};

/// Something that a session waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What it is and who holds it, in one line.
    pub text: String,
    /// The same without what goes on by itself: another one is another wait.
    pub same: String,
    /// The table whose lock it is, where that is known.
    pub table: Option<String>,
}

impl Wait {
    /// A lock of this kind. `says`: what is known of those who may hold it.
    pub(super) fn held(what: &str, says: &str, holders: &[Holder], table: Option<String>) -> Self {
        let what = obeyed_by_nothing(what);
        let Some(first) = holders.first() else { return Self { text: what.clone(), same: what, table } };
        let more = match holders.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let told = |holder: String| format!("{what} {says} {holder}{more}");
        Self { text: told(first.since(clock::unix_ms())), same: told(first.timeless()), table }
    }
}

/// What a tenant's session waits for at this moment. None: for nothing, or nobody knows.
///
/// # Errors
/// When its server cannot be asked.
pub async fn waited_for(access: &Access, limits: Limits, now: &Now) -> Result<Option<Wait>, Failure> {
    match (access.place.engine, now.session) {
        (Engine::Sqlite, _) => Ok(of_file(&access.place.database, now)),
        (_, None) if now.lock.is_none() => Ok(None),
        (Engine::Postgres, session) => {
            let mut beside = PostgresSession::connect(access, limits).await?;
            let found = beside.waited_for(session, now).await;
            beside.close().await;
            found
        }
        (Engine::MySql, None) => Ok(None),
        (Engine::MySql, Some(session)) => {
            let mut beside = MySqlSession::connect_beside(access, limits).await?;
            let found = beside.waited_for(session, now).await;
            beside.close().await;
            found
        }
    }
}

/// A file does not tell who holds its locks, and asking it would take one.
fn of_file(path: &str, now: &Now) -> Option<Wait> {
    let Some(Lock::File(words)) = &now.lock else { return None };
    Some(Wait::held(&format!("{words} {path}"), "", &[], None))
}

/// Without what a terminal would obey: tables and files have any name.
fn obeyed_by_nothing(what: &str) -> String {
    what.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_the_same_however_long_its_holder_has_been_there() {
        let holder = |seconds| Holder {
            id: "pid 1".into(),
            state: "active".into(),
            seconds: Some(seconds),
            ..Holder::default()
        };
        let wait = |seconds| Wait::held("a lock", "held by", &[holder(seconds), holder(9)], None);
        assert_eq!(wait(1).same, "a lock held by pid 1 (active), and 1 more");
        assert!(wait(1).same == wait(7_000).same && wait(1).text != wait(7_000).text);
    }

    #[test]
    fn the_name_of_a_table_cannot_command_a_terminal() {
        let wait = Wait::held("a lock on a\u{1b}[2Jb", "", &[], None);
        assert_eq!((wait.text.as_str(), wait.same.as_str()), ("a lock on a[2Jb", "a lock on a[2Jb"));
    }
}
