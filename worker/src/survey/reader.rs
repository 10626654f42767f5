//! Reading the tenants of a page: those that one connection reaches together, the others each by a connection of its own.

mod together;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tenantry_shared::{
    failure::{Class, Failure},
    id::TenantId,
    place::Engine,
    registry::{Access, Located, Sealed},
    secret::MasterKey,
    version::Version,
};
use tokio::{sync::Semaphore, task::JoinSet};

use self::together::{Group, Lanes};
use super::judge::{Kind, Kinds, Verdict};
use crate::{
    engine::{FileHeads, MyHeads, PgHeads, heads::Heads},
    orders::Order,
};

/// A server that does not answer within this is left to the attempts.
const LIMIT: Duration = Duration::from_secs(2);

/// A tenant that is proven to have nothing to do, and the version it is at.
pub(super) type Current = (TenantId, Option<Version>);

/// A tenant to be read.
struct Member {
    id: TenantId,
    access: Access,
    kind: Arc<Kind>,
}

/// Tenants that are being read. Whoever drops it stops that.
pub(super) struct Reading(JoinSet<Vec<Current>>);

impl Reading {
    /// Those that are proven to have nothing to do.
    pub(super) async fn ended(self) -> Vec<Current> {
        self.0.join_all().await.into_iter().flatten().collect()
    }
}

/// Reads tenants, and keeps connections while a survey lasts.
pub(super) struct Reader {
    order: Arc<Order>,
    key: Arc<MasterKey>,
    /// Whether no more is to be read.
    stopped: AtomicBool,
    /// The connections of their own that tenants may have at once.
    slots: Semaphore,
    concurrency: usize,
    /// How many tenants there are.
    tenants: u64,
    kinds: Mutex<Kinds>,
    /// Where there was no answer: not asked again.
    silent: Mutex<HashSet<String>>,
    postgres: Lanes<PgHeads>,
    mysql: Lanes<MyHeads>,
}

impl Reader {
    /// One for the survey of so many tenants.
    pub(super) fn new(order: Arc<Order>, key: Arc<MasterKey>, concurrency: usize, tenants: u64) -> Self {
        Self {
            order,
            key,
            stopped: AtomicBool::new(false),
            slots: Semaphore::new(concurrency),
            concurrency,
            tenants,
            kinds: Mutex::default(),
            silent: Mutex::default(),
            postgres: Lanes::default(),
            mysql: Lanes::default(),
        }
    }

    /// Begins to read tenants, those that are together over so many connections at the most.
    pub(super) fn begin(self: &Arc<Self>, tenants: Vec<Sealed>, lanes: usize) -> Reading {
        let (reader, mut reading) = (self.clone(), JoinSet::new());
        reading.spawn(async move {
            let open = |sealed: Sealed| sealed.open(&reader.key);
            reader.read(tenants.into_iter().filter_map(open).collect(), lanes).ended().await
        });
        Reading(reading)
    }

    /// Reads no more than what is being read. What was found until then is given.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn read(self: &Arc<Self>, tenants: Vec<Located>, lanes: usize) -> Reading {
        let (groups, alone) = self.grouped(tenants, lanes);
        let mut tasks = JoinSet::new();
        for group in groups {
            let reader = self.clone();
            match group.engine() {
                Engine::MySql => tasks.spawn(async move { reader.together::<MyHeads>(group).await }),
                _ => tasks.spawn(async move { reader.together::<PgHeads>(group).await }),
            };
        }
        let slots = self.concurrency.min(alone.len());
        let alone = Arc::new(Mutex::new(alone));
        for _ in 0..slots {
            let (reader, alone) = (self.clone(), alone.clone());
            tasks.spawn(async move { reader.one_by_one(&alone).await });
        }
        Reading(tasks)
    }

    /// Ends the connections that were kept.
    pub(super) async fn close(&self) {
        join_all(self.postgres.take().into_iter().map(Heads::close)).await;
        join_all(self.mysql.take().into_iter().map(Heads::close)).await;
    }

    fn grouped(&self, tenants: Vec<Located>, lanes: usize) -> (Vec<Group>, VecDeque<Member>) {
        let (mut groups, mut alone) = (HashMap::<_, Vec<Member>>::new(), VecDeque::new());
        let (mut kinds, silent) = (held(&self.kinds), held(&self.silent));
        for Located { id, access, .. } in tenants {
            let Some(kind) = kinds.of(&self.order, &access) else { continue };
            match shared(&access) {
                None => alone.push_back(Member { id, access, kind }),
                Some(key) if silent.contains(&key) => {}
                Some(key) => {
                    let group = groups.entry((key, Arc::as_ptr(&kind))).or_default();
                    group.push(Member { id, access, kind });
                }
            }
        }
        let group = |((key, _), members): (_, Vec<Member>)| {
            let width = together::width(members[0].access.place.engine, self.tenants);
            Group::new(key, members, width.min(lanes))
        };
        (groups.into_iter().map(group).collect(), alone)
    }

    async fn one_by_one(&self, members: &Mutex<VecDeque<Member>>) -> Vec<Current> {
        let Ok(_slot) = self.slots.acquire().await else { return Vec::new() };
        let mut current = Vec::new();
        loop {
            let next = held(members).pop_front().filter(|_| !self.is_stopped());
            let Some(member) = next else { return current };
            let server = &member.access.place.server;
            if held(&self.silent).contains(server) {
                continue;
            }
            let verdict = match member.access.place.engine {
                Engine::Sqlite => self.alone::<FileHeads>(&member).await,
                _ => self.alone::<PgHeads>(&member).await,
            };
            match verdict {
                Ok(verdict) => current.extend(verdict.map(|version| (member.id, version))),
                Err(failure) if failure.code == SILENT => _ = held(&self.silent).insert(server.clone()),
                Err(failure) => unread(&member, &failure),
            }
        }
    }

    async fn alone<H: Heads>(&self, member: &Member) -> Result<Verdict, Failure> {
        let mut heads = within(H::open(&member.access, LIMIT)).await?;
        let verdict = self.whole(&mut heads, member).await;
        heads.close().await;
        verdict
    }

    async fn whole<H: Heads>(&self, heads: &mut H, member: &Member) -> Result<Verdict, Failure> {
        let rows = within(heads.whole(&member.access.place, &member.kind.tables)).await?;
        Ok(rows.and_then(|rows| member.kind.judge(&self.order, &member.access, &rows)))
    }
}

/// The code of what came too late.
const SILENT: &str = "no-answer";

async fn within<T>(look: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let silent = |_| Err(Failure::new(Class::Transient, SILENT, format!("no answer within {LIMIT:?}")));
    tokio::time::timeout(LIMIT, look).await.unwrap_or_else(silent)
}

/// What tenants have in common that one connection reaches together: the database of schemas, the server of databases.
fn shared(access: &Access) -> Option<String> {
    let url = access.url.expose();
    match access.place.engine {
        Engine::Postgres => access.place.schema.is_some().then(|| url.to_owned()),
        Engine::MySql => {
            let (path, query) = url.split_once('?').unwrap_or((url, ""));
            let (server, _) = path.rsplit_once('/')?;
            Some(format!("{server}?{query}"))
        }
        Engine::Sqlite => None,
    }
}

/// It is nobody's failure: the attempt will tell.
fn unread(member: &Member, failure: &Failure) {
    tracing::debug!(tenant.id = %member.id, code = %failure.code, error = %failure.message, "a history was not read in a survey");
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
