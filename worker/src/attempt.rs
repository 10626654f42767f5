//! One attempt at one tenant, from top to bottom. How it is brought back is told in `revert`, and how it is taken over
//! as it is in `baseline`.

use std::{sync::Arc, time::Duration};

use tenantry_shared::{
    bundle::{Chain, Link, Taken},
    clock::Stopwatch,
    command::CommandSpec,
    failure::{Class, Failure},
    format::{Entry, Script},
    job::{Direction, Step},
    place::Engine,
    plan::{
        Applied, Goal,
        Order::{Any, Linear},
        Pending, Progress, Refusal, newest, plan,
    },
    registry::Access,
    run::ActionKind,
    schema::Fingerprint,
    site::{Row, Site},
    version::Version,
};

use crate::{
    change,
    engine::{
        Ahead, Asks, Change, Doing, Limits, MySqlSession, PROGRESS_TABLE, PostgresSession, Seen, Select,
        Session, SqliteSession, command, kept::Keeping, read_as, selects, written_down,
    },
    fingerprint::Surroundings,
    foreign,
    notes::Notes,
    orders::Order,
};

/// How often a session that waits for a program says that it is still there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(4);

/// What an attempt has come to know and done so far; it outlives a failure.
#[derive(Debug, Default)]
pub struct Trail {
    /// The newest version before.
    pub from: Option<Version>,
    /// The newest version at the last look.
    pub to: Option<Version>,
    /// What was applied, in order.
    pub steps: Vec<Step>,
    /// The end of what a program said that migrated in place of our engine.
    pub output: String,
    /// What was found out about its schema afterwards.
    pub fingerprint: Fingerprint,
    /// What is done at this moment.
    pub doing: Arc<Doing>,
    /// Who is told what begins.
    pub notes: Notes,
    /// Whose sessions it may take over, and who may have its own.
    pub keeping: Keeping,
}

/// Brings one tenant to the order's version, and proves it by reading its history afterwards.
///
/// # Errors
/// A [`Failure`] that carries what to do about it.
pub async fn attempt(order: &Order, access: &Access, trail: &mut Trail) -> Result<(), Failure> {
    // Each in a place of its own: where it is large it is not moved with all that waits for it.
    match access.place.engine {
        Engine::Postgres => Box::pin(migrate::<PostgresSession>(order, access, trail)).await,
        Engine::MySql => Box::pin(migrate::<MySqlSession>(order, access, trail)).await,
        Engine::Sqlite => Box::pin(migrate::<SqliteSession>(order, access, trail)).await,
    }
}

async fn migrate<S: Session>(order: &Order, access: &Access, trail: &mut Trail) -> Result<(), Failure> {
    let work = Work::of(order, access);
    let mut surroundings = Surroundings::of(order, work.limits);
    loop {
        let kept = trail.keeping.take::<S>(access, work.limits);
        let asks = |site: &Site| Asks { doing: trail.doing.clone(), ..work.asks(site) };
        let begun = S::begin(kept, access, work.limits, &asks);
        let (mut session, seen) = work.limits.answered(begun).await?;
        let result = match &order.action {
            ActionKind::Apply => work.done(&mut session, access, seen, trail, &mut surroundings).await,
            ActionKind::Rollback { back } => {
                work.reverted(&mut session, seen, trail, back, &mut surroundings).await
            }
            ActionKind::Baseline => work.recorded(&mut session, seen, trail).await,
        };
        trail.doing.migration(None);
        match &result {
            Ok(Way::There) if trail.steps.is_empty() => {}
            Ok(Way::There) => trail.fingerprint = surroundings.after(&mut session).await,
            Ok(Way::Further) => {}
            Err(_) => trail.fingerprint = surroundings.after_failure(&mut session).await,
        }
        let there = matches!(result, Ok(Way::There));
        if there {
            trail.keeping.leave(session, access, work.limits).await;
        } else {
            session.close().await;
        }
        if result? == Way::There {
            return Ok(());
        }
    }
}

/// Makes sure that a session can do all of this, before anything is done. What is no SQL fails when it is its turn.
pub(crate) fn admitted<'a>(
    session: &impl Session,
    pending: &'a [Pending<'_>],
    change: impl Fn(&Site, &'a Pending<'_>) -> Result<Change<'a>, Failure>,
) -> Result<(), Failure> {
    for next in pending {
        let admits = match change(&session.site(&next.chain.table), next) {
            _ if next.chain.command.is_some() => session.admits(None),
            Ok(change) => session.admits(Some(&change)),
            Err(_) => Ok(()),
        };
        admits.map_err(|failure| failure.in_migration(next.link.id.clone()))?;
    }
    Ok(())
}

fn unproven(left: &Pending<'_>) -> Failure {
    let file = &left.link.migration.file;
    let failure = match &left.chain.command {
        None => {
            let message = format!("{file} was applied and its history row is not there");
            let hint = format!("does a migration change the history table, {}?", left.chain.table);
            Failure::new(Class::Permanent, "unproven", message).with_hint(hint)
        }
        Some(command) => {
            let message = format!("{} ended well and has not applied {file}", command.run.join(" "));
            let hint = "see what it said in: tenantry logs; does it use this tenant's DATABASE_URL and these migrations?";
            Failure::new(Class::Permanent, "unproven", message).with_hint(hint)
        }
    };
    failure.in_migration(left.link.id.clone())
}

/// Lets a program apply what is pending in its chain. The session keeps the tenant's lock meanwhile.
async fn commanded(
    session: &mut impl Session,
    command: &CommandSpec,
    access: &Access,
    pending: &[Pending<'_>],
    trail: &mut Trail,
) -> Result<(), Failure> {
    if let Some(first) = pending.first() {
        trail.notes.begins(&first.link.id).await;
    }
    let watch = Stopwatch::start();
    trail.doing.migration(pending.first().map(|first| &first.link.id));
    let mut output = String::new();
    let kept = async {
        loop {
            tokio::time::sleep(SIGN_OF_LIFE).await;
            if let Err(failure) = session.read("SELECT '1'").await {
                return failure;
            }
        }
    };
    let ran = tokio::select! {
        ran = command::run(command, access, &mut output) => ran,
        lost = kept => Err(lost),
    };
    trail.output = output;
    trail.doing.migration(None);
    ran?;
    let each = watch.elapsed_ms() / pending.len().max(1) as u64;
    trail.steps.extend(pending.iter().map(|pending| Step {
        direction: Direction::Up,
        version: pending.link.id.clone(),
        file: pending.link.migration.file.clone(),
        duration_ms: each,
    }));
    Ok(())
}

/// Whether the history of a chain says by itself what is half done.
pub(crate) fn tells(chain: &Chain, site: &Site) -> bool {
    let site = Site { table: chain.table.clone(), ..site.clone() };
    let marks = |link: &Link| {
        let entry = Entry { migration: &link.migration, previous: None };
        chain.rules.begin(&site, entry).is_some()
    };
    chain.command.is_some() || chain.links.first().is_none_or(marks)
}

/// How far a session has brought a tenant.
#[derive(PartialEq, Eq)]
pub(crate) enum Way {
    /// It is where it should be.
    There,
    /// The rest needs a session without the settings that a migration left in this one.
    Further,
}

/// What an attempt finds in a tenant.
pub(crate) struct Found {
    /// Whether it was read under the tenant's lock.
    locked: bool,
    pub(crate) histories: Vec<Vec<Applied>>,
    /// How far a migration came that was not finished, where that was read.
    pub(crate) progress: Option<Progress>,
    /// What may be other tools' histories, where that was read.
    tables: Option<Vec<Row>>,
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
    fn asks(&self, site: &Site) -> Asks {
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

    async fn done(
        &self,
        session: &mut impl Session,
        access: &Access,
        seen: Result<Seen, Failure>,
        trail: &mut Trail,
        surroundings: &mut Surroundings<'_>,
    ) -> Result<Way, Failure> {
        // A tenant that has nothing to do is read and left alone: no wait for its lock, no write.
        let before = self.found(session, seen, trail).await?;
        let begun = self.untold(session, &before);
        if self.pending(&before.histories, begun).is_ok_and(|pending| pending.is_empty()) {
            return Ok(Way::There);
        }

        let Found { histories, progress, tables, .. } = self.held(session, before, trail).await?;
        let pending = match self.allowed(session, &histories, progress.as_ref(), tables).await {
            Err(failure) if failure.refused => {
                return Err(self.confirmed(session, &histories, failure, trail).await);
            }
            allowed => allowed?,
        };
        surroundings.before(session).await;
        let alike =
            |a: &Pending<'_>, b: &Pending<'_>| a.chain.command.is_some() && std::ptr::eq(a.chain, b.chain);
        let mut left = pending.len();
        for together in pending.chunk_by(alike) {
            if session.is_stained() {
                return Ok(Way::Further);
            }
            left -= together.len();
            if left == 0 {
                let selects = selects(&session.site(""), &self.taken);
                session.foresee(Ahead { selects, catalog: surroundings.wanted() });
            }
            match &together[0].chain.command {
                Some(command) => commanded(session, command, access, together, trail).await?,
                None => {
                    let next = pending.get(pending.len() - left);
                    let more = next.is_some_and(|next| next.chain.command.is_none());
                    self.apply(session, &together[0], more, trail).await?;
                }
            }
        }

        let after = self.look(session, trail).await?;
        let left = self.left(&after)?;
        match left.iter().find(|pending| pending.chain.rules.proves()) {
            None => {
                if !self.taken[0].chain.rules.proves() {
                    trail.to = Some(self.order.target.clone());
                }
                Ok(Way::There)
            }
            Some(left) => Err(unproven(left)),
        }
    }

    /// A refusal, if the history still is what was refused. SQLite has no lock that keeps others out between two looks: one
    /// at the history and one at the progress may tell of two moments.
    async fn confirmed(
        &self,
        session: &mut impl Session,
        refused: &[Vec<Applied>],
        failure: Failure,
        trail: &mut Trail,
    ) -> Failure {
        match self.look(session, trail).await {
            Ok(now) if now == refused => failure,
            Ok(_) => Failure::new(Class::Transient, "locked", "somebody else is migrating this tenant"),
            Err(failure) => failure,
        }
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

    async fn apply(
        &self,
        session: &mut impl Session,
        pending: &Pending<'_>,
        more: bool,
        trail: &mut Trail,
    ) -> Result<(), Failure> {
        trail.notes.begins(&pending.link.id).await;
        let (link, watch) = (pending.link, Stopwatch::start());
        let site = session.site(&pending.chain.table);
        trail.doing.migration(Some(&link.id));
        let applied = match change::apply(&site, pending) {
            Ok(change) => session.run(&Change { more, ..change }).await,
            Err(failure) => Err(failure),
        };
        trail.doing.migration(None);
        applied.map_err(|failure| failure.in_migration(link.id.clone()))?;
        if std::ptr::eq(pending.chain, self.taken[0].chain) && !link.migration.repeatable {
            trail.to = Some(link.migration.version.clone());
        }
        trail.steps.push(Step {
            direction: Direction::Up,
            version: link.id.clone(),
            file: link.migration.file.clone(),
            duration_ms: watch.elapsed_ms(),
        });
        Ok(())
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
    fn left(&self, histories: &[Vec<Applied>]) -> Result<Vec<Pending<'a>>, Failure> {
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

/// What was read after the last change has nothing left to do.
pub(crate) fn proven(left: &[Pending<'_>], says: &str) -> Result<Way, Failure> {
    let Some(left) = left.first() else { return Ok(Way::There) };
    let unproven = format!("{} {says}", left.link.migration.file);
    Err(Failure::new(Class::Permanent, "unproven", unproven).in_migration(left.link.id.clone()))
}
