//! What the catalog of a MySQL or MariaDB tenant shows of statements that commit by themselves: whether none of them is
//! done before they begin, and which are after a crash. Only asks.

use tenantry_shared::{
    failure::Failure,
    format::Script,
    place::Engine,
    plan::Progress,
    statement::{Course, Lone, Object, Trace, Unit, course},
};

use super::MySqlSession;
use crate::engine::{Session as _, steps::fingerprints};

/// What a [guard](MySqlSession::guard) fails with.
pub(super) const SEEN: &str = "1242";

impl MySqlSession {
    /// Whether the database looks as if none of these were done.
    pub(super) async fn unseen(&mut self, traces: &[&Trace]) -> Result<bool, Failure> {
        let seen = self.seen(traces).await?;
        let is_unseen =
            |(trace, seen): (&&Trace, Option<bool>)| **trace == Trace::Harmless || seen == Some(false);
        Ok(traces.iter().zip(seen).all(is_unseen))
    }

    /// A question that fails, with [`SEEN`], and what is behind it in its message with it, unless the database looks as if none
    /// of these were done. None: it cannot tell, or it is known that none is.
    pub(super) fn guard(&self, traces: &[&Trace]) -> Option<String> {
        if self.there.as_ref().is_some_and(|there| there.is_without(traces)) {
            return None;
        }
        let is_done = |trace: &&Trace| self.is_column_there(trace).or_else(|| self.is_seen(trace));
        let done: Vec<String> = traces.iter().filter_map(is_done).collect();
        // More than one row where one is wanted: the only error that both servers make in the midst of an expression.
        let fails = "(SELECT 1 UNION SELECT 2)";
        (!done.is_empty()).then(|| format!("SELECT CASE WHEN {} THEN {fails} END", done.join(" OR ")))
    }

    /// Whether the database looks as it does once each of these is done. None: it looks the same.
    async fn seen(&mut self, traces: &[&Trace]) -> Result<Vec<Option<bool>>, Failure> {
        let look = |trace: &&Trace| Some(format!("CASE WHEN {} THEN '1' ELSE '0' END", self.is_seen(trace)?));
        let looks: Vec<String> = traces.iter().filter_map(look).collect();
        if looks.is_empty() {
            return Ok(vec![None; traces.len()]);
        }
        // The record of the migration before waits for this one's mark.
        let look = format!("SELECT {}", looks.join(", "));
        let found = self.all(&[look]).await?.into_iter().flatten().flatten();
        let mut found = found.map(|flag| flag.as_deref() == Some("1"));
        let tells = |trace: &&Trace| if **trace == Trace::Harmless { None } else { found.next() };
        Ok(traces.iter().map(tells).collect())
    }

    /// A condition that holds where it is done.
    fn is_seen(&self, trace: &Trace) -> Option<String> {
        let (not, object) = match trace {
            Trace::Harmless => return None,
            Trace::Made(object) => ("", object),
            Trace::Gone(object) => ("NOT ", object),
        };
        Some(format!("{not}EXISTS ({})", self.look_for(object)))
    }

    /// The same of a column of a table that is there, from which MariaDB makes no table on the disk. A name that the table does not
    /// have is that of the row around it: then there is nothing to count.
    fn is_column_there(&self, trace: &Trace) -> Option<String> {
        let Trace::Made(Object::Column(path, column)) = trace else { return None };
        let [table] = path.as_slice() else { return None };
        let known = self.is_maria && self.there.as_ref().is_some_and(|there| there.has(table));
        let site = self.site("");
        let (table, column) = (site.name(table), site.name(column));
        known.then(|| {
            format!(
                "(SELECT (SELECT COUNT({column}) FROM {table} WHERE FALSE) FROM (SELECT 1 AS {column}) AS around) = 0"
            )
        })
    }

    /// What the traces tell of a migration whose mark was found. What is there of it must be its beginning: what is not
    /// is somebody's doing, and leaves a doubt.
    pub(super) async fn retraced(
        &mut self,
        progress: Progress,
        looked: u32,
        script: &Script,
    ) -> Result<Progress, Failure> {
        let Ok(Course::Steps(units)) = course(&script.text, Engine::MySql, script.marked) else {
            return Ok(Progress { doubt: true, traceless: true, ..progress });
        };
        let numbered = |unit: &Unit| (unit.first..).zip(unit.statements.clone()).collect::<Vec<_>>();
        let alone = units.iter().filter(|unit| !unit.session && !unit.atomic).flat_map(numbered);
        let begun = alone.filter(|(number, _)| (progress.done + 1..=looked).contains(number));
        let begun = begun.filter_map(|(number, statement)| Some((number, Lone::new(&statement.text)?.trace)));
        let begun: Vec<(u32, Trace)> = begun.filter(|(_, trace)| *trace != Trace::Harmless).collect();
        let traces: Vec<&Trace> = begun.iter().map(|(_, trace)| trace).collect();
        let seen = self.seen(&traces).await?;
        let is_seen = |at: &usize| seen[*at] == Some(true);
        let last = (0..seen.len()).rev().find(is_seen);
        let hole = (0..last.unwrap_or(0)).find(|at| !is_seen(at));
        let done = match (hole, last) {
            (Some(hole), _) => begun[hole].0 - 1,
            (None, Some(last)) => begun[last].0,
            (None, None) => progress.done,
        };
        let doubt = hole.is_some();
        let known = fingerprints(&units, Engine::MySql).into_iter().take(done as usize + usize::from(doubt));
        Ok(Progress { done, doubt, traceless: doubt, fingerprints: known.collect(), ..progress })
    }
}
