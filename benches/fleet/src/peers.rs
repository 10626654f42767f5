//! Other tools over the same fleet: one process for each tenant, so many at once by `xargs -P`, which is how their users
//! do it. Each applies the same SQL in its own format.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bundle::Migration,
    fleet::{Fleet, Kind},
    house,
    meter::Took,
    program,
};

/// A tool that migrates one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Sqlx,
    Dbmate,
}

impl Peer {
    pub const ALL: [Self; 2] = [Self::Sqlx, Self::Dbmate];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlx => "sqlx-cli",
            Self::Dbmate => "dbmate",
        }
    }

    /// Its program, where it is installed.
    pub fn program(self) -> Option<PathBuf> {
        let name = if self == Self::Sqlx { "sqlx" } else { "dbmate" };
        let script = house::script().with_file_name("tools");
        let found = Command::new(script).args(["find", name]).output().ok()?;
        let path = String::from_utf8(found.stdout).ok()?.trim().to_owned();
        (!path.is_empty()).then(|| path.into())
    }

    /// The table of its history.
    pub fn history(self) -> &'static str {
        match self {
            Self::Sqlx => "_sqlx_migrations",
            Self::Dbmate => "schema_migrations",
        }
    }

    /// Migrates all tenants of a fleet.
    pub fn migrate(self, program: &Path, fleet: &Fleet, files: &Path, at_once: usize) -> Took {
        let urls: String = (0..fleet.count).map(|at| self.url(fleet, at) + "\n").collect();
        let mut xargs = Command::new("xargs");
        xargs.args(["-P", &at_once.to_string(), "-I{}"]).arg(program);
        match self {
            Self::Sqlx => xargs.args(["migrate", "run", "--database-url", "{}", "--source"]).arg(files),
            Self::Dbmate => {
                xargs.args(["--url", "{}", "--no-dump-schema", "--migrations-dir"]).arg(files).arg("migrate")
            }
        };
        program::run(&mut xargs, urls.as_bytes()).0
    }

    /// Writes the migrations in its format.
    pub fn write(self, migrations: &[Migration]) -> PathBuf {
        let dir = house::directory(self.name());
        for migration in migrations {
            let text = match self {
                Self::Sqlx => migration.text(),
                Self::Dbmate => format!("-- migrate:up\n{}\n-- migrate:down\n", migration.text()),
            };
            let file = format!("{:04}_{}.sql", migration.version, migration.name);
            std::fs::write(dir.join(file), text).expect("a migration");
        }
        dir
    }

    fn url(self, fleet: &Fleet, at: usize) -> String {
        let (url, name) = (fleet.url(at), Fleet::name(at));
        match (self, fleet.kind) {
            (Self::Sqlx, Kind::Schemas) => format!("{url}?options=-csearch_path%3D{name}"),
            (Self::Dbmate, Kind::Schemas) => format!("{url}?sslmode=disable&search_path={name}"),
            (Self::Dbmate, Kind::Databases) => format!("{url}?sslmode=disable"),
            _ => url,
        }
    }
}
