//! Reading the tenants of a page: those that one connection reaches together, the others each by a connection of its own.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tenantry_shared::{
    failure::{Class, Failure},
    id::TenantId,
    place::{Engine, Place},
    registry::Access,
    version::Version,
};
use tokio::task::JoinSet;

use super::judge::{Kind, Kinds, Verdict};
use crate::{
    engine::{
        FileHeads, MyHeads, PgHeads,
        heads::{Heads, Together},
    },
    orders::Order,
};

/// A server that does not answer within this is left to the attempts.
const LIMIT: Duration = Duration::from_secs(2);

/// So many tenants one question is about.
const BATCH: usize = 25;

/// So many connections read what is together.
const WIDTH: usize = 4;

/// Of so many tenants of a page whose histories are like none before they are read whole.
const STRANGERS: usize = 64;

/// A tenant that is proven to have nothing to do, and the version it is at.
pub(super) type Current = (TenantId, Option<Version>);

/// A tenant to be read.
pub(super) struct Member {
    id: TenantId,
    access: Access,
    kind: Arc<Kind>,
}

/// Tenants that one connection reaches, and that take the same migrations.
struct Group {
    key: String,
    kind: Arc<Kind>,
    members: Vec<Member>,
    strangers: AtomicUsize,
}

/// Reads tenants, and keeps connections while a survey lasts.
pub(super) struct Reader {
    order: Arc<Order>,
    /// How many connections of their own tenants may have at once.
    concurrency: usize,
    kinds: Mutex<Kinds>,
    /// Where there was no answer: not asked again.
    silent: Mutex<HashSet<String>>,
    postgres: Mutex<HashMap<String, Vec<PgHeads>>>,
    mysql: Mutex<HashMap<String, Vec<MyHeads>>>,
}

impl Reader {
    pub(super) fn new(order: Arc<Order>, concurrency: usize) -> Self {
        Self {
            order,
            concurrency,
            kinds: Mutex::default(),
            silent: Mutex::default(),
            postgres: Mutex::default(),
            mysql: Mutex::default(),
        }
    }

    /// Those of the tenants that are proven to have nothing to do.
    pub(super) async fn current(self: &Arc<Self>, tenants: Vec<(TenantId, Access)>) -> Vec<Current> {
        let (groups, alone) = self.grouped(tenants);
        let mut tasks = JoinSet::new();
        for group in groups {
            let (reader, group) = (self.clone(), Arc::new(group));
            match group.members[0].access.place.engine {
                Engine::MySql => _ = tasks.spawn(async move { reader.together::<MyHeads>(group).await }),
                _ => _ = tasks.spawn(async move { reader.together::<PgHeads>(group).await }),
            }
        }
        let slots = self.concurrency.min(alone.len());
        let alone = Arc::new(Mutex::new(alone));
        for _ in 0..slots {
            let (reader, alone) = (self.clone(), alone.clone());
            tasks.spawn(async move { reader.one_by_one(&alone).await });
        }
        tasks.join_all().await.into_iter().flatten().collect()
    }

    /// Ends the connections that were kept.
    pub(super) async fn close(&self) {
        let (postgres, mysql) =
            (std::mem::take(&mut *held(&self.postgres)), std::mem::take(&mut *held(&self.mysql)));
        join_all(postgres.into_values().flatten().map(Heads::close)).await;
        join_all(mysql.into_values().flatten().map(Heads::close)).await;
    }

    fn grouped(&self, tenants: Vec<(TenantId, Access)>) -> (Vec<Group>, VecDeque<Member>) {
        let (mut groups, mut alone) = (HashMap::<_, Group>::new(), VecDeque::new());
        let (mut kinds, silent) = (held(&self.kinds), held(&self.silent));
        for (id, access) in tenants {
            let Some(kind) = kinds.of(&self.order, &access) else { continue };
            let Some(key) = shared(&access) else {
                alone.push_back(Member { id, access, kind });
                continue;
            };
            if silent.contains(&key) {
                continue;
            }
            let group = groups.entry((key, Arc::as_ptr(&kind))).or_insert_with_key(|(key, _)| Group {
                key: key.clone(),
                kind: kind.clone(),
                members: Vec::new(),
                strangers: AtomicUsize::new(0),
            });
            group.members.push(Member { id, access, kind });
        }
        (groups.into_values().collect(), alone)
    }

    async fn one_by_one(&self, members: &Mutex<VecDeque<Member>>) -> Vec<Current> {
        let mut current = Vec::new();
        loop {
            let Some(member) = held(members).pop_front() else { return current };
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

    async fn together<H: Pooled>(self: Arc<Self>, group: Arc<Group>) -> Vec<Current> {
        let mut heads = match self.connection::<H>(&group).await {
            Ok(heads) => heads,
            Err(failure) => {
                held(&self.silent).insert(group.key.clone());
                unread(&group.members[0], &failure);
                return Vec::new();
            }
        };
        let places: Vec<&Place> = group.members.iter().map(|member| &member.access.place).collect();
        let Ok(ready) = within(heads.ready(&places, &group.kind.tables)).await else { return Vec::new() };
        let ready: Vec<usize> = (0..ready.len()).filter(|at| ready[*at]).collect();
        if !self.learn(&mut heads, &group, &ready).await {
            return Vec::new();
        }
        let batches: VecDeque<Vec<usize>> = ready.chunks(BATCH).map(<[usize]>::to_vec).collect();
        let width = WIDTH.min(batches.len());
        let batches = Arc::new(Mutex::new(batches));
        let mut tasks = JoinSet::new();
        for _ in 1..width {
            let (reader, group, batches) = (self.clone(), group.clone(), batches.clone());
            tasks.spawn(async move {
                match reader.connection::<H>(&group).await {
                    Ok(heads) => reader.batches(heads, &group, &batches).await,
                    // Another connection reads it all.
                    Err(_) => Vec::new(),
                }
            });
        }
        let mut current = self.batches(heads, &group, &batches).await;
        current.extend(tasks.join_all().await.into_iter().flatten());
        current
    }

    /// One history must be known to ask for digests of its like. `false`: none of the first ones can be read.
    async fn learn<H: Together>(&self, heads: &mut H, group: &Group, ready: &[usize]) -> bool {
        for at in ready.iter().take(3) {
            if group.kind.columns().is_some() {
                break;
            }
            if let Err(failure) = self.whole(heads, &group.members[*at]).await {
                unread(&group.members[*at], &failure);
            }
        }
        group.kind.columns().is_some()
    }

    /// A batch that cannot be read is halved: what is in the way of one tenant is in no other's.
    async fn batches<H: Pooled>(
        &self,
        mut heads: H,
        group: &Group,
        batches: &Mutex<VecDeque<Vec<usize>>>,
    ) -> Vec<Current> {
        let mut current = Vec::new();
        loop {
            let Some(batch) = held(batches).pop_front() else { break };
            match self.batch(&mut heads, group, &batch).await {
                Ok(found) => current.extend(found),
                Err(failure) if failure.code == SILENT => return current,
                Err(failure) if batch.len() == 1 || !is_of_one(&failure) => {
                    unread(&group.members[batch[0]], &failure);
                }
                Err(_) => {
                    let (one, other) = batch.split_at(batch.len() / 2);
                    held(batches).extend([one.to_vec(), other.to_vec()]);
                }
            }
        }
        held(H::idle(self)).entry(group.key.clone()).or_default().push(heads);
        current
    }

    async fn batch<H: Together>(
        &self,
        heads: &mut H,
        group: &Group,
        batch: &[usize],
    ) -> Result<Vec<Current>, Failure> {
        let kind = &group.kind;
        let places: Vec<&Place> = batch.iter().map(|at| &group.members[*at].access.place).collect();
        let columns = kind.columns().unwrap_or_default();
        let digests = within(heads.digests(&places, &kind.tables, &columns)).await?;
        let mut current = Vec::new();
        for (at, digests) in batch.iter().zip(digests) {
            let (member, Some(digests)) = (&group.members[*at], digests) else { continue };
            let verdict = match kind.known(&digests) {
                Some(verdict) => verdict,
                None if group.strangers.fetch_add(1, Ordering::Relaxed) >= STRANGERS => None,
                // By what it is now: nothing is taken for known but what was judged.
                None => self.whole(heads, member).await?,
            };
            current.extend(verdict.map(|version| (member.id, version)));
        }
        Ok(current)
    }

    async fn connection<H: Pooled>(&self, group: &Group) -> Result<H, Failure> {
        let idle = held(H::idle(self)).get_mut(&group.key).and_then(Vec::pop);
        match idle {
            Some(heads) => Ok(heads),
            None => within(H::open(&group.members[0].access, LIMIT)).await,
        }
    }
}

/// Connections that are kept between pages.
trait Pooled: Together {
    fn idle(reader: &Reader) -> &Mutex<HashMap<String, Vec<Self>>>;
}

impl Pooled for PgHeads {
    fn idle(reader: &Reader) -> &Mutex<HashMap<String, Vec<Self>>> {
        &reader.postgres
    }
}

impl Pooled for MyHeads {
    fn idle(reader: &Reader) -> &Mutex<HashMap<String, Vec<Self>>> {
        &reader.mysql
    }
}

/// The code of what came too late.
const SILENT: &str = "no-answer";

async fn within<T>(look: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let silent = |_| Err(Failure::new(Class::Transient, SILENT, format!("no answer within {LIMIT:?}")));
    tokio::time::timeout(LIMIT, look).await.unwrap_or_else(silent)
}

/// Whether a failure may be of one tenant among many, and was found out at once.
fn is_of_one(failure: &Failure) -> bool {
    const OF_ALL: [&str; 4] = ["connection", "protocol", "55P03", "57014"];
    !OF_ALL.contains(&failure.code.as_str())
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
