//! Where the tenants of a fleet are: all that whoever migrates them must know.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Kind {
    /// A schema of one PostgreSQL database.
    Schemas,
    /// A PostgreSQL database.
    Databases,
    /// A MariaDB database.
    Mariadb,
    /// An SQLite file.
    Sqlite,
}

impl Kind {
    pub fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// About how much of the disk one tenant takes each time it is made and migrated.
    pub fn bytes(self, ten: bool) -> usize {
        let kib = match self {
            Self::Schemas => [160, 480],
            Self::Databases => [8_000, 8_400],
            Self::Mariadb => [250, 900],
            Self::Sqlite => [40, 120],
        };
        kib[usize::from(ten)] << 10
    }
}

/// Tenants `t00000` and so on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Places {
    pub kind: Kind,
    pub count: usize,
    /// The URL of their server, with any database.
    pub server: Option<String>,
    /// The database of all schemas.
    pub database: String,
    /// The directory of all files.
    pub dir: PathBuf,
}

impl Places {
    /// The name of a tenant: its schema, database or file.
    pub fn name(at: usize) -> String {
        format!("t{at:05}")
    }

    /// How a tenant is reached.
    pub fn url(&self, at: usize) -> String {
        match self.kind {
            Kind::Schemas => self.at_server(&self.database),
            Kind::Databases | Kind::Mariadb => self.at_server(&Self::name(at)),
            Kind::Sqlite => format!("sqlite:{}", self.file(at).display()),
        }
    }

    /// The URL of a database of their server.
    pub fn at_server(&self, database: &str) -> String {
        let url = self.server.as_ref().expect("a server");
        let (start, _) = url.rsplit_once('/').expect("a URL with a database");
        format!("{start}/{database}")
    }

    /// The file of a tenant.
    pub fn file(&self, at: usize) -> PathBuf {
        self.dir.join(format!("{}.db", Self::name(at)))
    }
}
