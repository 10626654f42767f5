//! Mending a tenant's history on purpose. Each look and each mend is a session of its own; a mend holds the tenant's
//! lock, looks once more under it, and reads afterwards what it wrote.

use std::time::Duration;

use tenantry_shared::{
    failure::{Class, Failure},
    format::{Entry, Migration, Rules},
    place::Engine,
    plan::{
        Applied, Progress, Refusal,
        mend::{Edit, EditKind, Mend, mend, troubles},
    },
    registry::Access,
    site::Site,
};

use crate::{
    attempt::{Trail, Work},
    change::{half_done, progress},
    engine::{MySqlSession, PROGRESS_TABLE, PostgresSession, Session, SqliteSession, cleared, settled},
    orders::Order,
};

/// What a mend would do to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// These changes of its history, each in words.
    Edits(Vec<String>),
    /// Nothing, and why.
    Nothing(String),
}

/// What is asked of a session.
#[derive(Clone, Copy)]
enum Task<'a> {
    Look,
    Foresee(&'a Mend),
    Mend(&'a Mend, &'a [String]),
}

enum Answer {
    Troubles(Vec<Refusal>),
    Foreseen(Foreseen),
}

/// All that is wrong with a tenant's history, each with its way out. Changes nothing.
///
/// # Errors
/// When the tenant cannot be looked at.
pub async fn look(order: &Order, access: &Access) -> Result<Vec<Refusal>, Failure> {
    match answer(order, access, Task::Look).await? {
        Answer::Troubles(troubles) => Ok(troubles),
        Answer::Foreseen(_) => Ok(Vec::new()),
    }
}

/// What a mend would do to a tenant. Changes nothing.
///
/// # Errors
/// When the tenant cannot be looked at.
pub async fn foresee(order: &Order, access: &Access, mend: &Mend) -> Result<Foreseen, Failure> {
    match answer(order, access, Task::Foresee(mend)).await? {
        Answer::Foreseen(foreseen) => Ok(foreseen),
        Answer::Troubles(_) => Ok(Foreseen::Edits(Vec::new())),
    }
}

/// Mends a tenant's history, if that still comes to what was foreseen.
///
/// # Errors
/// When it does not, or cannot be written; the history is as it was then.
pub async fn apply(order: &Order, access: &Access, mend: &Mend, foreseen: &[String]) -> Result<(), Failure> {
    answer(order, access, Task::Mend(mend, foreseen)).await.map(|_| ())
}

async fn answer(order: &Order, access: &Access, task: Task<'_>) -> Result<Answer, Failure> {
    match access.place.engine {
        Engine::Postgres => in_session::<PostgresSession>(order, access, task).await,
        Engine::MySql => in_session::<MySqlSession>(order, access, task).await,
        Engine::Sqlite => in_session::<SqliteSession>(order, access, task).await,
    }
}

async fn in_session<S: Session>(order: &Order, access: &Access, task: Task<'_>) -> Result<Answer, Failure> {
    let work = Work::of(order, access);
    let mut session = work.limits.answered(S::connect(access, work.limits)).await?;
    let answer = work.limits.answered(work.mended(&mut session, task)).await;
    session.close().await;
    answer
}

impl Work<'_> {
    async fn mended(&self, session: &mut impl Session, task: Task<'_>) -> Result<Answer, Failure> {
        if matches!(task, Task::Mend(..)) {
            session.lock().await?;
        }
        let histories = self.look(session, &mut Trail::default()).await?;
        let progress = match task {
            Task::Mend(..) => self.progress_as_it_is(session, &histories).await?,
            Task::Look | Task::Foresee(_) => half_done(session, &self.taken, &histories).await?,
        };
        let (one, expected) = match task {
            Task::Look => return Ok(Answer::Troubles(troubles(&self.taken, &histories, progress.as_ref()))),
            Task::Foresee(one) => (one, None),
            Task::Mend(one, expected) => (one, Some(expected)),
        };
        let edits = match mend(&self.taken, &histories, progress.as_ref(), one) {
            Ok(edits) => edits,
            Err(why) if expected.is_none() => return Ok(Answer::Foreseen(Foreseen::Nothing(why))),
            Err(why) => return Err(Failure::new(Class::Permanent, "changed-meanwhile", why)),
        };
        let told: Vec<String> = edits.iter().map(ToString::to_string).collect();
        let Some(expected) = expected else { return Ok(Answer::Foreseen(Foreseen::Edits(told))) };
        if told != expected {
            let other = "its history is not what it was when this was asked for";
            return Err(Failure::new(Class::Permanent, "changed-meanwhile", other));
        }
        self.write(session, &edits).await?;
        self.holds(session, one).await?;
        Ok(Answer::Foreseen(Foreseen::Edits(told)))
    }

    /// One that a mark alone tells of is written down first: a mend changes what is written.
    async fn progress_as_it_is(
        &self,
        session: &mut impl Session,
        histories: &[Vec<Applied>],
    ) -> Result<Option<Progress>, Failure> {
        match progress(session).await? {
            None => self.settled(session, histories, None).await,
            written => Ok(written),
        }
    }

    async fn write(&self, session: &mut impl Session, edits: &[Edit<'_>]) -> Result<(), Failure> {
        let mut selects = Vec::new();
        let mut statements = Vec::new();
        for edit in edits {
            let site = session.site(&edit.chain.table);
            selects.push(edit.chain.rules.select(&site));
            statements.extend(sql(&site, session.site(PROGRESS_TABLE), edit));
        }
        session.write(&selects, &statements).await
    }

    /// A mend that was written finds nothing more to mend.
    async fn holds(&self, session: &mut impl Session, one: &Mend) -> Result<(), Failure> {
        let histories = self.look(session, &mut Trail::default()).await?;
        let progress = half_done(session, &self.taken, &histories).await?;
        match mend(&self.taken, &histories, progress.as_ref(), one) {
            Err(_) => Ok(()),
            Ok(_) => Err(Failure::new(Class::Permanent, "unproven", "it was written and is not to be seen")),
        }
    }
}

/// What is written for an edit. What may end a transaction comes last.
fn sql(site: &Site, progress: Site, edit: &Edit<'_>) -> Vec<String> {
    let rules = edit.chain.rules;
    let unknown = nameless(edit);
    let migration = edit.link.map_or(&unknown, |link| &link.migration);
    let previous = edit.previous.map(|link| &link.migration);
    let entry = Entry { migration, previous };
    let record = || rules.record(site, entry, Duration::ZERO, false);
    let mut statements = match (edit.kind, &edit.progress) {
        (EditKind::Rewrite, _) => vec![rules.rewrite(site, entry)],
        (EditKind::Forget, _) => vec![rules.forget(site, entry)],
        (EditKind::Record, _) => vec![rules.create(site), record()],
        (EditKind::Done, Some(row)) => vec![settled(progress.clone(), row, true)],
        (EditKind::NotDone, Some(row)) => vec![settled(progress.clone(), row, false)],
        (EditKind::Done | EditKind::NotDone, None) => Vec::new(),
        (EditKind::Undo, _) => undone(rules, site, entry, edit),
        (EditKind::Finish, Some(row)) if row.down && edit.marked => vec![rules.forget_marked(site, entry)],
        (EditKind::Finish, Some(row)) if row.down => vec![rules.forget(site, entry)],
        (EditKind::Finish, _) if edit.marked => vec![rules.unmark(site, entry), record()],
        (EditKind::Finish, _) => vec![record()],
    };
    if matches!(edit.kind, EditKind::Undo | EditKind::Finish) && edit.progress.is_some() {
        statements.extend(cleared(progress));
    }
    statements
}

fn undone(rules: &dyn Rules, site: &Site, entry: Entry<'_>, edit: &Edit<'_>) -> Vec<String> {
    match &edit.progress {
        _ if !edit.marked => Vec::new(),
        Some(row) if row.down => vec![rules.unmark_down(site, entry)],
        _ => vec![rules.unmark(site, entry)],
    }
}

/// A version of which there is no file.
fn nameless(edit: &Edit<'_>) -> Migration {
    Migration {
        version: edit.version.clone(),
        description: String::new(),
        file: String::new(),
        up: None,
        down: None,
        checksum: None,
        equivalents: Vec::new(),
        repeatable: false,
        after: None,
    }
}
