//! Registries and queues, new ones for each home: a file, or a database of one PostgreSQL server, with Redis or without.

use crate::{fleet, house, server::Server};

/// Where runs are kept, and how workers hear of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kept {
    /// A file.
    Sqlite,
    /// A PostgreSQL database.
    Postgres,
    /// A PostgreSQL database, and a list in Redis.
    Redis,
}

impl Kept {
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::Redis];

    pub fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Redis => "PostgreSQL, Redis",
        }
    }
}

/// Where one registry and its queue are; a file of the home without a URL.
#[derive(Clone, Default)]
pub struct Address {
    pub registry: Option<String>,
    pub queue: Option<String>,
}

/// The servers behind, started when first needed.
#[derive(Default)]
pub struct Registries {
    postgres: Option<Server>,
    redis: Option<Server>,
    count: usize,
}

impl Registries {
    /// A new one with nothing in it.
    pub async fn another(&mut self, kept: Kept) -> Address {
        if kept == Kept::Sqlite {
            return Address::default();
        }
        self.count += 1;
        let name = format!("registry_{}", self.count);
        let server = self.postgres.get_or_insert_with(|| Server::start("postgres"));
        fleet::pg(&mut fleet::postgres(&server.url).await, &format!("CREATE DATABASE {name}")).await;
        server.settle().await;
        let registry = Some(server.database(&name));
        let queue = (kept == Kept::Redis).then(|| {
            // What one home left in the list is of no other's registry, and dropped.
            self.redis.get_or_insert_with(|| Server::start("redis")).url.clone()
        });
        Address { registry, queue }
    }

    /// Has all written that is in memory only.
    pub async fn settle(&self) {
        match &self.postgres {
            Some(server) => server.settle().await,
            None => house::settle(),
        }
    }

    /// The first process of the server that has a registry.
    pub fn server(&self, address: &Address) -> Option<u32> {
        address.registry.as_ref().and(self.postgres.as_ref()).map(Server::pid)
    }
}
