//! The servers that the seeds of one job break and mend again, and the networks that lead to them.

use std::path::PathBuf;

use tenantry_tests::{Proxy, Weather, server::Private};

use crate::disk::{Disk, directory};

/// A network between a worker and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The tenants' PostgreSQL.
    Postgres,
    /// The tenants' MariaDB.
    MariaDb,
    /// The registry, where it is in PostgreSQL.
    PostgresRegistry,
    /// The same server as the tenants', where the registry is in MariaDB.
    MariaDbRegistry,
    /// The queue.
    Queue,
}

/// Private servers. A seed leaves them as it found them.
pub(crate) struct Stand {
    pub(crate) postgres: Private,
    pub(crate) mariadb: Private,
    /// A PostgreSQL for registries alone.
    pub(crate) registry: Private,
    pub(crate) redis: Private,
    links: [Proxy; 5],
    /// What all of it lies on, where it can be had: hundreds of databases are made and dropped.
    memory: Option<Disk>,
}

/// What the tenants' servers take at most: less than what a stranger can take up.
const CONNECTIONS: u32 = 60;

impl Stand {
    pub(crate) async fn start() -> Self {
        let memory = Disk::mount("4g").ok();
        let dir = memory.as_ref().map_or_else(directory, |disk| disk.path().to_path_buf());
        let start = |kind, options: String| Private::start_in(&dir, kind, &options);
        let postgres = |connections| format!("-c max_connections={connections} -c max_wal_size=64MB");
        let (postgres, mariadb, registry, redis) = std::thread::scope(|scope| {
            let servers = [
                scope.spawn(|| start("postgres", postgres(CONNECTIONS))),
                scope.spawn(|| start("mariadb", format!("--max-connections={}", CONNECTIONS + 40))),
                scope.spawn(|| start("postgres", postgres(300))),
                scope.spawn(|| start("redis", "--appendonly yes".into())),
            ];
            servers.map(|server| server.join().expect("a server")).into()
        });
        let links = [
            Proxy::to(&postgres.url).await,
            Proxy::to(&mariadb.url).await,
            Proxy::to(&registry.url).await,
            Proxy::to(&mariadb.url).await,
            Proxy::to(&redis.url).await,
        ];
        Self { postgres, mariadb, registry, redis, links, memory }
    }

    /// Where the seeds' own files go.
    pub(crate) fn directory(&self) -> PathBuf {
        self.memory.as_ref().map_or_else(directory, |disk| disk.path().to_path_buf())
    }

    pub(crate) fn link(&self, link: Link) -> &Proxy {
        &self.links[link as usize]
    }

    /// Every server runs, and every network carries.
    pub(crate) fn calm(&self) {
        for link in &self.links {
            link.set(Weather::Fair);
        }
        for server in [&self.postgres, &self.mariadb, &self.registry, &self.redis] {
            server.restart();
        }
    }
}
