//! What rows come to: whether a tenant with these histories has nothing left to do. Equal rows come to the same, so each is
//! judged once in a survey, by the plan that an attempt would make.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tenantry_shared::{
    bundle::{Chain, Scope, Taken},
    place::Engine,
    plan::newest,
    registry::Access,
    run::ActionKind,
    site::{Row, Site},
    tenant::Labels,
    version::Version,
};

use crate::{
    attempt::{Work, tells},
    engine::heads::{Table, digest},
    orders::Order,
};

/// A history with more rows than this is asked for as a digest from then on.
const LONG: usize = 8;

/// So many different histories are kept in mind.
const KNOWN: usize = 10_000;

/// The version that a tenant was found at, where its history knows one. None: it is not proven to have nothing to do.
pub(super) type Verdict = Option<Option<Version>>;

/// Tenants that take the same migrations.
#[derive(Debug)]
pub(super) struct Kind {
    /// The histories of one of them.
    pub(super) tables: Vec<Table>,
    engine: Engine,
    scope: Scope,
    labels: Labels,
    known: Mutex<HashMap<Vec<String>, Verdict>>,
    /// How many columns each history has, once a long one was read.
    columns: OnceLock<Vec<usize>>,
}

impl Kind {
    /// What was found out of such histories.
    pub(super) fn known(&self, digests: &[String]) -> Option<Verdict> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digests).cloned()
    }

    /// How many columns each history has, where digests are less to read than rows.
    pub(super) fn columns(&self) -> Option<&[usize]> {
        self.columns.get().map(Vec::as_slice)
    }

    /// Judges histories, and keeps what was found out.
    pub(super) fn judge(&self, order: &Order, access: &Access, rows: &[Vec<Row>]) -> Verdict {
        let digests: Vec<String> = rows.iter().map(|rows| digest(rows)).collect();
        if let Some(verdict) = self.known(&digests) {
            return verdict;
        }
        let verdict = verdict(&Work::of(order, access), rows);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < KNOWN {
            known.insert(digests, verdict.clone());
        }
        let columns: Option<Vec<usize>> = rows.iter().map(|rows| rows.first().map(Vec::len)).collect();
        if let Some(columns) = columns.filter(|_| rows.iter().any(|rows| rows.len() > LONG)) {
            let _ = self.columns.set(columns); // all have as many
        }
        verdict
    }
}

/// The kinds of tenants that were met.
#[derive(Debug, Default)]
pub(super) struct Kinds(Vec<(Vec<Vec<bool>>, Arc<Kind>)>);

impl Kinds {
    /// That of a tenant. None: it takes nothing, and no history says so.
    pub(super) fn of(&mut self, order: &Order, access: &Access) -> Option<Arc<Kind>> {
        let asks = order.bundle.asks_for_labels();
        let like = |kind: &Kind| kind.scope == access.scope && kind.engine == access.place.engine;
        if let Some((_, kind)) =
            self.0.iter().find(|(_, kind)| like(kind) && (!asks || kind.labels == access.labels))
        {
            return Some(kind.clone());
        }
        let taken = order.bundle.taken_by(access.scope, &access.labels);
        let links: Vec<Vec<bool>> = taken.iter().map(|taken| taken.links.clone()).collect();
        if let Some((_, kind)) = self.0.iter().find(|(have, kind)| like(kind) && *have == links) {
            return Some(kind.clone());
        }
        let kind = Arc::new(Kind {
            tables: taken.iter().map(|taken| table(taken.chain, access.place.engine)).collect(),
            engine: access.place.engine,
            scope: access.scope,
            labels: access.labels.clone(),
            known: Mutex::default(),
            columns: OnceLock::new(),
        });
        let kind = Some(kind).filter(|kind| !kind.tables.is_empty())?;
        self.0.push((links, kind.clone()));
        Some(kind)
    }
}

/// Whether a survey can say of an order's tenants that there is nothing to do: by their histories alone.
pub(super) fn can_tell(order: &Order) -> bool {
    let chains = order.bundle.chains();
    matches!(order.action, ActionKind::Apply) && chains.iter().all(|chain| chain.rules.proves())
}

fn table(chain: &Chain, engine: Engine) -> Table {
    let site = Site { engine, schema: None, table: chain.table.clone() };
    Table { rules: chain.rules, name: chain.table.clone(), marks: tells(chain, &site) }
}

fn verdict(work: &Work<'_>, rows: &[Vec<Row>]) -> Verdict {
    let of = |(taken, rows): (&Taken<'_>, &Vec<Row>)| taken.chain.history(rows);
    let histories: Vec<_> = work.taken.iter().zip(rows).map(of).collect();
    let done = work.pending(&histories, None).is_ok_and(|pending| pending.is_empty());
    let first = work.taken.first().zip(histories.first())?;
    done.then(|| newest(first.0.chain, first.1))
}
