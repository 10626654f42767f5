//! Tenants that one connection reaches: read in batches by a few lanes, each with a connection of its own, which is kept for
//! the next page. The lanes of all pages together are never more than a reader's width for each database or server.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tenantry_shared::{
    failure::Failure,
    place::{Engine, Place},
};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Current, LIMIT, Member, Reader, SILENT, held, unread, within};
use crate::{
    engine::{
        MyHeads, PgHeads,
        heads::{Seen, Together},
    },
    survey::judge::{Kind, Verdict},
};

/// So many tenants one message is about.
const BATCH: usize = 50;

/// So many connections at the most read what is together. A new session of PostgreSQL knows nothing of any table yet, and one of
/// MariaDB knows what the others do: more of them are quicker there.
const WIDTH: usize = 4;
const MYSQL_WIDTH: usize = 8;

/// Of so many tenants not all are in the memory of a PostgreSQL server: it waits for the disk, and more connections wait at once.
const LARGE: u64 = 4_000;
const LARGE_WIDTH: usize = 8;

/// For so many tenants it is worth the time to open one of them.
const EACH: u64 = 64;

/// Of so many tenants of a page whose digests are like none before they are read whole.
const STRANGERS: usize = 64;

/// So many that cannot be read by themselves, and none that can, are enough.
const MISSES: usize = 3;

/// How many connections read so many tenants, if they are together.
pub(super) fn width(engine: Engine, tenants: u64) -> usize {
    let most = match engine {
        Engine::MySql => MYSQL_WIDTH,
        _ if tenants >= LARGE => LARGE_WIDTH,
        _ => WIDTH,
    };
    usize::try_from(tenants / EACH).unwrap_or(most).clamp(1, most)
}

/// Tenants that one connection reaches, and that take the same migrations.
pub(super) struct Group {
    key: String,
    kind: Arc<Kind>,
    engine: Engine,
    lanes: usize,
    batches: Mutex<VecDeque<Vec<Member>>>,
    strangers: AtomicUsize,
    /// How many could not be read by themselves.
    unreadable: AtomicUsize,
    /// Whether any batch was read.
    readable: AtomicBool,
}

impl Group {
    /// A group of one tenant or more, with work for so many lanes.
    pub(super) fn new(key: String, mut members: Vec<Member>, width: usize) -> Self {
        let (kind, engine) = (members[0].kind.clone(), members[0].access.place.engine);
        let size = members.len().div_ceil(width).clamp(1, BATCH);
        let mut batches = VecDeque::new();
        while !members.is_empty() {
            batches.push_front(members.split_off(members.len().saturating_sub(size)));
        }
        let lanes = width.min(batches.len());
        Self {
            key,
            kind,
            engine,
            lanes,
            batches: Mutex::new(batches),
            strangers: AtomicUsize::new(0),
            unreadable: AtomicUsize::new(0),
            readable: AtomicBool::new(false),
        }
    }

    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    fn next(&self) -> Option<Vec<Member>> {
        held(&self.batches).pop_front()
    }

    fn is_left(&self) -> bool {
        !held(&self.batches).is_empty()
    }

    /// The next one is this.
    fn push(&self, batch: Vec<Member>) {
        held(&self.batches).push_front(batch);
    }

    /// Where the first ones cannot be read, hardly any can: they are new, or not allowed to be.
    fn miss(&self) {
        let missed = self.unreadable.fetch_add(1, Ordering::Relaxed) + 1;
        if missed >= MISSES && !self.readable.load(Ordering::Relaxed) {
            held(&self.batches).clear();
        }
    }
}

/// The connections of one engine, by what they reach.
pub(super) struct Lanes<H> {
    idle: Mutex<HashMap<String, Vec<H>>>,
    free: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl<H> Default for Lanes<H> {
    fn default() -> Self {
        Self { idle: Mutex::default(), free: Mutex::default() }
    }
}

impl<H> Lanes<H> {
    /// All that are kept.
    pub(super) fn take(&self) -> Vec<H> {
        std::mem::take(&mut *held(&self.idle)).into_values().flatten().collect()
    }

    fn free(&self, key: &str, width: usize) -> Arc<Semaphore> {
        held(&self.free).entry(key.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(width))).clone()
    }

    fn idle(&self, key: &str) -> Option<H> {
        held(&self.idle).get_mut(key).and_then(Vec::pop)
    }

    fn keep(&self, key: &str, heads: H) {
        held(&self.idle).entry(key.to_owned()).or_default().push(heads);
    }
}

/// Connections that are kept between pages.
pub(super) trait Pooled: Together {
    fn lanes(reader: &Reader) -> &Lanes<Self>;
}

impl Pooled for PgHeads {
    fn lanes(reader: &Reader) -> &Lanes<Self> {
        &reader.postgres
    }
}

impl Pooled for MyHeads {
    fn lanes(reader: &Reader) -> &Lanes<Self> {
        &reader.mysql
    }
}

impl Reader {
    /// Those of a group that are proven to have nothing to do. Where all lanes end before there is nothing left, it is not
    /// asked again.
    pub(super) async fn together<H: Pooled>(self: Arc<Self>, group: Group) -> Vec<Current> {
        let group = Arc::new(group);
        let mut lanes = JoinSet::new();
        for _ in 0..group.lanes {
            let (reader, group) = (self.clone(), group.clone());
            lanes.spawn(async move { reader.lane::<H>(&group).await });
        }
        let mut current: Vec<Current> = lanes.join_all().await.into_iter().flatten().collect();
        // Who could not connect leaves it to the others, and they may have ended by then.
        if group.is_left() && !self.is_stopped() && !held(&self.silent).contains(&group.key) {
            current.extend(self.lane::<H>(&group).await);
        }
        if group.is_left() && !self.is_stopped() {
            self.is_silent(&group);
        }
        current
    }

    async fn lane<H: Pooled>(&self, group: &Group) -> Vec<Current> {
        let lanes = H::lanes(self);
        let free = lanes.free(&group.key, width(group.engine, self.tenants));
        let Ok(_lane) = free.acquire().await else { return Vec::new() };
        let mut current = Vec::new();
        let Some(mut batch) = group.next() else { return current };
        let mut heads = match self.connection::<H>(group, &batch[0]).await {
            Ok(heads) => heads,
            Err(failure) => {
                unread(&batch[0], &failure);
                group.push(batch);
                if failure.code == SILENT {
                    self.is_silent(group);
                }
                return current;
            }
        };
        loop {
            match self.batch(&mut heads, group, &batch).await {
                Ok(found) => {
                    group.readable.store(true, Ordering::Relaxed);
                    current.extend(found);
                }
                Err(failure) if is_of_all(&failure) => {
                    unread(&batch[0], &failure);
                    if failure.code == SILENT {
                        self.is_silent(group);
                    }
                    return current;
                }
                Err(failure) if batch.len() == 1 || is_late(&failure) => {
                    unread(&batch[0], &failure);
                    group.miss();
                }
                // What is in the way of one tenant is in no other's.
                Err(_) => {
                    let other = batch.split_off(batch.len() / 2);
                    group.push(other);
                    group.push(batch);
                }
            }
            match group.next().filter(|_| !self.is_stopped()) {
                Some(next) => batch = next,
                None => break,
            }
        }
        lanes.keep(&group.key, heads);
        current
    }

    async fn connection<H: Pooled>(&self, group: &Group, member: &Member) -> Result<H, Failure> {
        match H::lanes(self).idle(&group.key) {
            Some(heads) => Ok(heads),
            None => within(H::open(&member.access, LIMIT)).await,
        }
    }

    fn is_silent(&self, group: &Group) {
        held(&self.silent).insert(group.key.clone());
    }

    async fn batch<H: Together>(
        &self,
        heads: &mut H,
        group: &Group,
        batch: &[Member],
    ) -> Result<Vec<Current>, Failure> {
        let places: Vec<&Place> = batch.iter().map(|member| &member.access.place).collect();
        let seen = within(heads.read(&places, &group.kind.tables, group.kind.columns())).await?;
        let mut current = Vec::new();
        for (member, seen) in batch.iter().zip(seen) {
            let Some(seen) = seen else { continue };
            let verdict = self.verdict(heads, group, member, seen).await?;
            current.extend(verdict.map(|version| (member.id, version)));
        }
        Ok(current)
    }

    async fn verdict<H: Together>(
        &self,
        heads: &mut H,
        group: &Group,
        member: &Member,
        seen: Seen,
    ) -> Result<Verdict, Failure> {
        match seen {
            Seen::Rows(rows) => Ok(group.kind.judge(&self.order, &member.access, &rows)),
            Seen::Digests(digests) => match group.kind.known(&digests) {
                Some(verdict) => Ok(verdict),
                None if group.strangers.fetch_add(1, Ordering::Relaxed) >= STRANGERS => Ok(None),
                // By what it is now: nothing is taken for known but what was judged.
                None => self.whole(heads, member).await,
            },
        }
    }
}

/// Whether a failure is of the connection, and ends it.
fn is_of_all(failure: &Failure) -> bool {
    ["connection", "protocol", SILENT].contains(&failure.code.as_str())
}

/// Whether it took so long to find out that it is not tried to find out whose it is.
fn is_late(failure: &Failure) -> bool {
    ["55P03", "57014"].contains(&failure.code.as_str())
}
