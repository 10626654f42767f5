//! Many tenants at once, as workers need them: read in one statement, and opened by whoever reaches them, who may be another
//! thread.

use serde::Deserialize;

use super::{
    Access, Registry, RegistryError,
    clause::Clause,
    tenants::{open_url, scope},
};
use crate::{
    id::TenantId,
    place::Place,
    secret::MasterKey,
    store::list,
    tenant::{Labels, Slug},
    version::Version,
};

/// So many tenants are asked for in one statement: each length is one that the database prepares.
const LENGTHS: [usize; 3] = [1, 8, 32];

const LINE: &str = "{array}(t.id, t.slug, s.engine, s.address, t.database_name, t.schema_name, t.central, t.sealed_url, t.version) AS line
    FROM tenants t JOIN servers s ON s.id = t.server_id";

/// A tenant, and what is needed to reach it.
#[derive(Clone, Debug)]
pub struct Located {
    /// Who it is.
    pub id: TenantId,
    /// How it is reached.
    pub access: Access,
    /// The version that it was last seen at.
    pub version: Option<Version>,
}

/// The same, not opened yet.
#[derive(Clone, Debug)]
pub struct Sealed {
    line: Line,
    labels: Labels,
}

/// A tenant as one line: its id, name, engine, server, database, schema, whether it is the central database, its sealed URL and
/// its version.
#[derive(Clone, Debug, Deserialize)]
struct Line(TenantId, String, String, String, String, Option<String>, i64, String, Option<String>);

impl Sealed {
    /// Who it is.
    #[must_use]
    pub fn id(&self) -> TenantId {
        self.line.0
    }

    /// How it is reached. None where something of it cannot be read, or its URL does not open with this key.
    #[must_use]
    pub fn open(self, key: &MasterKey) -> Option<Located> {
        let Line(id, slug, engine, server, database, schema, central, sealed, version) = self.line;
        let slug: Slug = slug.parse().ok()?;
        let url = open_url(key, id, &slug, &sealed).ok()?;
        let place = Place { engine: engine.parse().ok()?, server, database, schema };
        let access = Access { slug, place, url, labels: self.labels, scope: scope(central) };
        Some(Located { id, access, version: version.map(Version::from) })
    }
}

impl Registry {
    /// What workers need to reach these tenants, in no order. Those that are not there are left out.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub async fn sealed(&self, ids: &[TenantId], labels: bool) -> Result<Vec<Sealed>, RegistryError> {
        let mut lines = Vec::with_capacity(ids.len());
        for some in ids.chunks(500) {
            let count = LENGTHS.into_iter().find(|length| some.len() <= *length).unwrap_or(some.len());
            let sql = format!("SELECT {LINE} WHERE t.id IN ({})", list(self.store.dialect(), 1, count));
            // One that is named twice is found once.
            let last = some.last().into_iter().cycle();
            let named: Vec<String> = some.iter().chain(last).take(count).map(ToString::to_string).collect();
            lines.extend(
                self.store.query(&sql).bind_list(&named).fetch_lines::<Line>(self.store.pool()).await?,
            );
        }
        self.labeled(lines, labels).await
    }

    /// The same for up to so many of those that meet conditions, from the newest on.
    pub(crate) async fn sealed_where(
        &self,
        clause: &Clause,
        limit: usize,
        labels: bool,
    ) -> Result<Vec<Sealed>, RegistryError> {
        let sql = format!("SELECT {LINE} WHERE {} ORDER BY t.id DESC LIMIT {limit}", clause.text());
        let mut lines: Vec<Line> = clause.bind(self.store.query(&sql)).fetch_lines(self.store.pool()).await?;
        lines.sort_unstable_by_key(|line| std::cmp::Reverse(line.0));
        self.labeled(lines, labels).await
    }

    async fn labeled(&self, lines: Vec<Line>, labels: bool) -> Result<Vec<Sealed>, RegistryError> {
        let mut of = match labels {
            true => self.labels_of(lines.iter().map(|line| line.0).collect()).await?,
            false => Default::default(),
        };
        let seal = |line: Line| Sealed { labels: of.remove(&line.0.to_string()).unwrap_or_default(), line };
        Ok(lines.into_iter().map(seal).collect())
    }
}
