//! One tenant compared with a bundle: where its history stands, and what its schema is. Nothing is changed in it.

use tenantry_shared::{
    bundle::{Bundle, Scope, Taken},
    digest::Digest,
    failure::Failure,
    place::Engine,
    plan::{Applied, Goal, Order, Refusal, newest, plan},
    registry::Access,
    schema::{Catalog, Outside},
    version::Version,
};

use crate::{
    change,
    engine::{Limits, MySqlSession, PostgresSession, Session, SqliteSession, histories},
    foreign,
};

/// Where a tenant's history stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All of the bundle that is for it is applied, and nothing else.
    Current,
    /// So many migrations are pending, the first of them from this file.
    Behind {
        /// How many.
        pending: usize,
        /// The file.
        next: String,
    },
    /// There is no history yet: a new tenant.
    Unbegun {
        /// How many migrations are pending.
        pending: usize,
    },
    /// It is left to a program whose history cannot be read, so nobody knows.
    Unknown,
    /// There is no history of this bundle, and another tool keeps one.
    Foreign(Failure),
    /// A version was applied that is newer than all of the bundle.
    Ahead(Refusal),
    /// History and bundle contradict each other.
    Refused(Refusal),
    /// It could not be looked at.
    Unreadable(Failure),
}

impl Standing {
    /// Its name in every output.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind { .. } => "behind",
            Self::Unbegun { .. } => "no-history",
            Self::Unknown => "unknown",
            Self::Foreign(_) => "foreign",
            Self::Ahead(_) => "ahead",
            Self::Refused(refusal) => refusal.code(),
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// How many migrations are pending, where that is all.
    #[must_use]
    pub fn pending(&self) -> Option<usize> {
        match self {
            Self::Behind { pending, .. } | Self::Unbegun { pending } => Some(*pending),
            _ => None,
        }
    }

    /// Whether something is wrong that a run would not mend.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        !matches!(self, Self::Current | Self::Unknown) && self.pending().is_none()
    }

    /// The standing in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Current => "up to date".into(),
            Self::Behind { pending, next } => format!("behind by {pending}, next {next}"),
            Self::Unbegun { pending } => format!("no history yet, {pending} pending"),
            Self::Unknown => "only the program that migrates it knows what is pending".into(),
            Self::Ahead(refusal) | Self::Refused(refusal) => refusal.to_string(),
            Self::Foreign(failure) => failure.message.clone(),
            Self::Unreadable(failure) => failure.to_string(),
        }
    }

    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ahead(refusal) | Self::Refused(refusal) => Some(refusal.hint()),
            Self::Foreign(failure) | Self::Unreadable(failure) => failure.hint.clone(),
            _ => None,
        }
    }
}

/// Tenants whose schemas should be alike: of one engine, with the same migrations for them and the same left to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peers {
    /// The engine's name.
    pub engine: &'static str,
    /// Their standing in words.
    pub standing: String,
    key: String,
}

/// What a tenant's schema is.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The schema.
    pub catalog: Catalog,
    /// Whom it is compared with.
    pub peers: Peers,
    /// What is outside of all tenants in its database, where that was asked for.
    pub outside: Option<Outside>,
}

/// What was found in a tenant.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where its history stands.
    pub standing: Standing,
    /// The newest version there.
    pub version: Option<Version>,
    /// Its schema, where that was asked for.
    pub seen: Option<Seen>,
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What tenants are compared with.
    pub bundle: &'a Bundle,
    /// What a pending migration older than an applied one is.
    pub order: Order,
    /// How long a look may take.
    pub limits: Limits,
    /// Whether schemas are read.
    pub schema: bool,
}

impl Look<'_> {
    /// Looks at one tenant; `outside`: and around it. What is in the way of it is told as its standing.
    pub async fn at(&self, access: &Access, outside: bool) -> Found {
        let found = match access.place.engine {
            Engine::Postgres => self.through::<PostgresSession>(access, outside).await,
            Engine::MySql => self.through::<MySqlSession>(access, outside).await,
            Engine::Sqlite => self.through::<SqliteSession>(access, outside).await,
        };
        found.unwrap_or_else(|failure| {
            let standing = if failure.refused { Standing::Foreign } else { Standing::Unreadable };
            Found { standing: standing(failure), version: None, seen: None }
        })
    }

    async fn through<S: Session>(&self, access: &Access, outside: bool) -> Result<Found, Failure> {
        let mut session = self.limits.answered(S::connect(access, self.limits)).await?;
        let found = self.limits.answered(self.examine(&mut session, access, outside)).await;
        session.close().await;
        found
    }

    async fn examine(
        &self,
        session: &mut impl Session,
        access: &Access,
        outside: bool,
    ) -> Result<Found, Failure> {
        let taken = self.bundle.taken_by(access.scope, &access.labels);
        let histories = self.histories(session, &taken).await?;
        let version = taken.iter().zip(&histories).next().and_then(|(taken, rows)| newest(taken.chain, rows));
        let (standing, left) = self.standing(session, &taken, &histories).await?;
        let seen = match self.schema {
            true => {
                let peers = peers(access, &taken, &standing, &left);
                Some(self.seen(session, peers, outside && access.place.schema.is_some()).await?)
            }
            false => None,
        };
        Ok(Found { standing, version, seen })
    }

    async fn histories(
        &self,
        session: &mut impl Session,
        taken: &[Taken<'_>],
    ) -> Result<Vec<Vec<Applied>>, Failure> {
        let own = self.bundle.chains_of(Scope::Tenants);
        let histories = match histories(session, taken).await {
            Ok(histories) => histories,
            Err(failure) => return Err(foreign::explained(session, &own, failure).await),
        };
        let proves = taken.iter().all(|taken| taken.chain.rules.proves());
        if proves && histories.iter().all(Vec::is_empty) {
            foreign::none(session, &own, None).await?;
        }
        Ok(histories)
    }

    /// Where the histories stand, and what tells apart tenants that stand alike.
    async fn standing(
        &self,
        session: &mut impl Session,
        taken: &[Taken<'_>],
        histories: &[Vec<Applied>],
    ) -> Result<(Standing, Vec<String>), Failure> {
        let progress = change::half_done(session, taken, histories).await?;
        let main = self.bundle.main();
        let goal = Goal { main, target: &self.bundle.latest().version, order: self.order };
        let standing = match plan(taken, histories, progress.as_ref(), goal) {
            Ok(mut pending) => {
                pending.retain(|pending| pending.chain.rules.proves());
                let left = pending.iter().map(|p| p.link.id.to_string()).collect();
                let standing = match pending.first() {
                    None if taken.iter().any(|taken| !taken.chain.rules.proves()) => Standing::Unknown,
                    None => Standing::Current,
                    Some(_) if histories.iter().all(Vec::is_empty) => {
                        Standing::Unbegun { pending: pending.len() }
                    }
                    Some(first) => {
                        let next = first.link.migration.file.clone();
                        Standing::Behind { pending: pending.len(), next }
                    }
                };
                return Ok((standing, left));
            }
            Err(refusal) if is_ahead(&refusal, taken, histories) => Standing::Ahead(refusal),
            Err(refusal) => Standing::Refused(refusal),
        };
        Ok((standing, histories.iter().flatten().map(|row| row.version.to_string()).collect()))
    }

    async fn seen(&self, session: &mut impl Session, peers: Peers, outside: bool) -> Result<Seen, Failure> {
        let tables: Vec<&str> = self.bundle.chains().iter().map(|chain| chain.table.as_str()).collect();
        let catalog = session.catalog(&tables).await?;
        let outside = if outside { Some(session.outsiders(&tables).await?) } else { None };
        Ok(Seen { catalog, peers, outside })
    }
}

/// Whether all that the bundle has not is newer than all that it has.
fn is_ahead(refusal: &Refusal, taken: &[Taken<'_>], histories: &[Vec<Applied>]) -> bool {
    let newer = |(taken, history): (&Taken<'_>, &Vec<Applied>)| {
        let newest = taken.chain.links.iter().map(|link| &link.migration.version).max();
        let mut unknown = history.iter().filter(|row| taken.chain.position(&row.version).is_none());
        unknown.all(|row| newest.is_none_or(|newest| row.version > *newest))
    };
    matches!(refusal, Refusal::Missing { .. }) && taken.iter().zip(histories).all(newer)
}

fn peers(access: &Access, taken: &[Taken<'_>], standing: &Standing, left: &[String]) -> Peers {
    let links = taken.iter().map(|taken| {
        let for_it: String = taken.links.iter().map(|is| if *is { '1' } else { '0' }).collect();
        (taken.chain.table.as_str(), for_it)
    });
    let mut parts: Vec<(&str, String)> = links.collect();
    parts.push(("left", left.join("\n")));
    let standing = match standing {
        Standing::Behind { pending, .. } => format!("behind by {pending}"),
        Standing::Unbegun { .. } => "without history".into(),
        Standing::Current => "up to date".into(),
        other => other.as_str().into(),
    };
    let key = Digest::of(parts.iter().map(|(name, text)| (*name, text.as_str()))).to_string();
    Peers { engine: access.place.engine.as_str(), standing, key }
}
