//! Other tools over the same fleet, as their users do it: one process for each tenant, so many at once by `xargs -P`, or one
//! that has so many itself. Each applies the same SQL in its own format.

mod django;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bundle::Migration,
    fleet::Fleet,
    house,
    meter::Took,
    places::{Kind, Places},
    program,
    report::Report,
};

/// A tool, and over which fleets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Sqlx,
    Dbmate,
    /// Knows PostgreSQL's schemas only.
    Django,
}

/// Says which of those that could do these fleets are not installed.
pub fn name_missing(kinds: &[Kind], report: &mut Report) {
    let wanted = Peer::ALL.into_iter().filter(|peer| kinds.iter().any(|kind| peer.knows(*kind)));
    for peer in wanted.filter(|peer| peer.program().is_none()) {
        report.say(&format!("{} is missing (hint: tests/tools install {})", peer.name(), peer.package()));
    }
}

impl Peer {
    pub const ALL: [Self; 3] = [Self::Sqlx, Self::Dbmate, Self::Django];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlx => "sqlx-cli",
            Self::Dbmate => "dbmate",
            Self::Django => "django-tenants",
        }
    }

    /// What `tests/tools` calls it.
    pub fn package(self) -> &'static str {
        if self == Self::Sqlx { "sqlx" } else { self.name() }
    }

    /// Whether it can do tenants of this kind.
    pub fn knows(self, kind: Kind) -> bool {
        self != Self::Django || kind == Kind::Schemas
    }

    /// Its program, where it is installed.
    pub fn program(self) -> Option<PathBuf> {
        let script = house::script().with_file_name("tools");
        let found = Command::new(script).args(["find", self.package()]).output().ok()?;
        let path = String::from_utf8(found.stdout).ok()?.trim().to_owned();
        (!path.is_empty()).then(|| path.into())
    }

    /// The table of its history.
    pub fn history(self) -> &'static str {
        match self {
            Self::Sqlx => "_sqlx_migrations",
            Self::Dbmate => "schema_migrations",
            Self::Django => "django_migrations",
        }
    }

    /// A fleet of its own on the same server, which it needs where it keeps its list of tenants beside them.
    pub fn own_fleet(self, fleet: &Fleet, case: &str) -> Option<Fleet> {
        (self == Self::Django)
            .then(|| fleet.another(format!("django_{case}"), django::tenants(fleet.places.count)))
    }

    /// Migrates all tenants of a fleet.
    pub fn migrate(self, program: &Path, fleet: &Fleet, files: &Path, at_once: usize) -> Took {
        if self == Self::Django {
            return django::migrate(program, fleet, files, at_once);
        }
        let urls: String = (0..fleet.places.count).map(|at| self.url(fleet, at) + "\n").collect();
        let mut xargs = Command::new("xargs");
        xargs.args(["-P", &at_once.to_string(), "-I{}"]).arg(program);
        if self == Self::Sqlx {
            xargs.args(["migrate", "run", "--database-url", "{}", "--source"]).arg(files);
        } else {
            xargs.args(["--url", "{}", "--no-dump-schema", "--migrations-dir"]).arg(files).arg("migrate");
        }
        program::run(&mut xargs, urls.as_bytes()).0
    }

    /// Writes the migrations in its format.
    pub fn write(self, migrations: &[Migration]) -> PathBuf {
        let dir = house::directory(self.name());
        if self == Self::Django {
            django::write(&dir, migrations);
            return dir;
        }
        for migration in migrations {
            let text = if self == Self::Sqlx {
                migration.text()
            } else {
                format!("-- migrate:up\n{}\n-- migrate:down\n", migration.text())
            };
            let file = format!("{:04}_{}.sql", migration.version, migration.name);
            std::fs::write(dir.join(file), text).expect("a migration");
        }
        dir
    }

    fn url(self, fleet: &Fleet, at: usize) -> String {
        let (url, name) = (fleet.places.url(at), Places::name(at));
        match (self, fleet.places.kind) {
            (Self::Sqlx, Kind::Schemas) => format!("{url}?options=-csearch_path%3D{name}"),
            (Self::Dbmate, Kind::Schemas) => format!("{url}?sslmode=disable&search_path={name}"),
            (Self::Dbmate, Kind::Databases) => format!("{url}?sslmode=disable"),
            _ => url,
        }
    }
}
