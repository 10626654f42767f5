//! What is asked for, as one database takes it, and what an attempt finds there.

use tenantry_shared::{
    bundle::{Chain, Link, Taken},
    failure::Failure,
    format::{Entry, Script},
    plan::{
        Applied, Goal,
        Order::{Any, Linear},
        Pending, Progress, Refusal, newest, plan,
    },
    registry::Access,
    run::ActionKind,
    site::{Row, Site},
    version::Version,
};

use super::{Trail, admitted};
use crate::{
    change,
    engine::{Asks, Limits, PROGRESS_TABLE, Seen, Select, Session, read_as, selects, written_down},
    foreign,
    orders::Order,
};

/// Whether the history of a chain says by itself what is half done.
pub(crate) fn tells(chain: &Chain, site: &Site) -> bool {
    let site = Site { table: chain.table.clone(), ..site.clone() };
    let marks = |link: &Link| {
        let entry = Entry { migration: &link.migration, previous: None };
        chain.rules.begin(&site, entry).is_some()
    };
    chain.command.is_some() || chain.links.first().is_none_or(marks)
}

/// What an attempt finds in a tenant.
pub(crate) struct Found {
    /// Whether it was read under the tenant's lock.
    locked: bool,
    pub(crate) histories: Vec<Vec<Applied>>,
    /// How far a migration came that was not finished, where that was read.
    pub(crate) progress: Option<Progress>,
    /// What may be other tools' histories, where that was read.
    pub(super) tables: Option<Vec<Row>>,
}

/// What is asked for, as one database takes it.
pub(crate) struct Work<'a> {
    pub(crate) order: &'a Order,
    pub(crate) taken: Vec<Taken<'a>>,
    pub(crate) limits: Limits,
}

impl<'a> Work<'a> {
    pub(crate) fn of(order: &'a Order, access: &Access) -> Self {
        let taken = order.bundle.taken_by(access.scope, &access.labels);
        Self { order, taken, limits: Limits::from(&order.policy) }
    }

    /// What an attempt asks at its beginning.
    pub(super) fn asks(&self, site: &Site) -> Asks {
        let mut asks = Asks { needed: selects(site, &self.taken), ..Asks::default() };
        let progress = change::select_progress(site);
        if self.tells(site) { &mut asks.wanted } else { &mut asks.needed }.push(progress);
        if matches!(self.order.action, ActionKind::Apply) && self.taken.iter().any(|t| t.chain.rules.proves())
        {
            asks.wanted.push(foreign::select(site, &self.own()));
        }
        asks
    }

    /// What was found at the beginning.
    pub(crate) async fn found(
        &self,
        session: &mut impl Session,
        seen: Result<Seen, Failure>,
        trail: &mut Trail,
    ) -> Result<Found, Failure> {
        let Seen { locked, rows } = match seen {
            Err(failure) => {
                let explained = async { Err(foreign::explained(session, &self.own(), failure).await) };
                return self.limits.answered(explained).await;
            }
            Ok(seen) => seen,
        };
        let histories = read_as(&self.taken, &rows);
        self.note(&histories, trail);
        let mut beside = rows.into_iter().skip(self.taken.len());
        let progress = change::progress_of(beside.next().flatten());
        Ok(Found { locked, histories, progress, tables: beside.next().flatten() })
    }

    /// What holds under the tenant's lock: what was read without it may be somebody's work in progress.
    pub(crate) async fn held(
        &self,
        session: &mut impl Session,
        mut found: Found,
        trail: &mut Trail,
    ) -> Result<Found, Failure> {
        if !found.locked {
            self.limits.answered(session.lock()).await?;
            let mut selects = selects(&session.site(""), &self.taken);
            selects.push(change::select_progress(&session.site("")));
            let rows = self.limits.answered(self.read(session, &selects)).await?;
            let histories = read_as(&self.taken, &rows);
            self.note(&histories, trail);
            let progress = change::progress_of(rows.into_iter().nth(self.taken.len()).flatten());
            found = Found { locked: true, histories, progress, tables: None };
        }
        found.progress =
            self.limits.answered(self.settled(session, &found.histories, found.progress)).await?;
        Ok(found)
    }

    /// What is pending and may be applied: nothing in the tenant speaks against it.
    pub(crate) async fn allowed(
        &self,
        session: &mut impl Session,
        histories: &[Vec<Applied>],
        progress: Option<&Progress>,
        tables: Option<Vec<Row>>,
    ) -> Result<Vec<Pending<'a>>, Failure> {
        let pending = self.pending(histories, progress)?;
        if let Some(left) = progress {
            self.is_worked(left)?;
        }
        admitted(session, &pending, change::apply)?;
        if self.is_untouched(histories) {
            self.limits.answered(foreign::none(session, &self.own(), tables)).await?;
        }
        Ok(pending)
    }

    /// What is half done, where a history does not say so by itself.
    pub(crate) fn untold<'f>(&self, session: &impl Session, found: &'f Found) -> Option<&'f Progress> {
        found.progress.as_ref().filter(|_| !self.tells(&session.site("")))
    }

    /// Whether every history says by itself what is half done.
    fn tells(&self, site: &Site) -> bool {
        self.taken.iter().all(|taken| tells(taken.chain, site))
    }

    /// How far a migration came that an earlier attempt did not finish, with its last statement's end found out.
    /// One that its mark tells of is written down, so that it can be gone on with like any other.
    pub(crate) async fn settled(
        &self,
        session: &mut impl Session,
        histories: &[Vec<Applied>],
        progress: Option<Progress>,
    ) -> Result<Option<Progress>, Failure> {
        let Some(progress) = progress else {
            let marked = change::marked(session, &self.taken, histories).await?;
            if let Some(progress) = &marked {
                session.write(&[], &written_down(session.site(PROGRESS_TABLE), progress)).await?;
            }
            return Ok(marked);
        };
        let script = self.script_of(&progress).filter(|_| progress.doubt);
        match script {
            Some(script) => session.settle(progress, script).await.map(Some),
            None => Ok(Some(progress)),
        }
    }

    fn script_of(&self, progress: &Progress) -> Option<&'a Script> {
        let chain = self.taken.iter().map(|taken| taken.chain).find(|chain| chain.table == progress.table)?;
        let migration = &chain.links[chain.position(&progress.version)?].migration;
        if progress.down { migration.down.as_ref() } else { migration.up.as_ref() }
    }

    /// Reads the histories.
    pub(crate) async fn look(
        &self,
        session: &mut impl Session,
        trail: &mut Trail,
    ) -> Result<Vec<Vec<Applied>>, Failure> {
        let selects = selects(&session.site(""), &self.taken);
        let rows = self.limits.answered(self.read(session, &selects)).await?;
        let histories = read_as(&self.taken, &rows);
        self.note(&histories, trail);
        Ok(histories)
    }

    async fn read(
        &self,
        session: &mut impl Session,
        selects: &[Select],
    ) -> Result<Vec<Option<Vec<Row>>>, Failure> {
        match session.read_all(selects).await {
            Err(failure) => Err(foreign::explained(session, &self.own(), failure).await),
            read => read,
        }
    }

    fn note(&self, histories: &[Vec<Applied>], trail: &mut Trail) {
        trail.to = self.newest(histories);
        // What was applied before it is not what it was found with.
        if trail.steps.is_empty() {
            trail.from.clone_from(&trail.to);
        }
    }

    /// A database keeps the progress of one migration. One of a set that is not worked now must come to its end first.
    pub(crate) fn is_worked(&self, left: &Progress) -> Result<(), Refusal> {
        if self.taken.iter().any(|taken| taken.chain.table == left.table) {
            return Ok(());
        }
        let chain = self.own().into_iter().find(|chain| chain.table == left.table);
        let link = chain.and_then(|chain| chain.position(&left.version).map(|at| &chain.links[at]));
        let version = link.map_or_else(|| left.version.clone(), |link| link.id.clone());
        let file = link.map_or_else(|| left.version.to_string(), |link| link.migration.file.clone());
        Err(Refusal::Dirty { version, file, mend: "run the set that it belongs to".into() })
    }

    /// The chains that such a database may have, whether it takes them now or not.
    fn own(&self) -> Vec<&'a Chain> {
        self.taken.first().map_or_else(Vec::new, |taken| self.order.bundle.chains_of(taken.chain.scope))
    }

    /// Whether nothing was applied yet, as far as the histories tell.
    fn is_untouched(&self, histories: &[Vec<Applied>]) -> bool {
        histories.iter().all(Vec::is_empty) && self.taken.iter().all(|taken| taken.chain.rules.proves())
    }

    /// What is pending with these histories.
    pub(crate) fn pending(
        &self,
        histories: &[Vec<Applied>],
        progress: Option<&Progress>,
    ) -> Result<Vec<Pending<'a>>, Refusal> {
        let Order { bundle, target, policy, .. } = self.order;
        plan(&self.taken, histories, progress, Goal { main: bundle.main(), target, order: policy.order })
    }

    /// What is still pending after all was applied: of any age, since one may have taken another's row away.
    pub(super) fn left(&self, histories: &[Vec<Applied>]) -> Result<Vec<Pending<'a>>, Failure> {
        let Order { bundle, target, policy, .. } = self.order;
        let order = if policy.order == Linear { Any } else { policy.order };
        let left = plan(&self.taken, histories, None, Goal { main: bundle.main(), target, order });
        left.map_err(|refusal| Failure { refused: false, ..refusal.into() })
    }

    /// The newest version of the first chain that the database takes.
    fn newest(&self, histories: &[Vec<Applied>]) -> Option<Version> {
        self.taken.iter().zip(histories).next().and_then(|(taken, history)| newest(taken.chain, history))
    }
}
