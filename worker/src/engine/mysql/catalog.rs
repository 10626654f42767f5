//! Reading a MySQL or MariaDB tenant's catalog: one message, nothing written.
//!
//! The words are the server's own, and MySQL and MariaDB have different ones for one schema (defaults, widths of
//! integers, collations): tenants on both compare unlike, tenants on servers of one kind and version do not. The text of
//! a routine is there only for its owner, and for who may see all routines. What a migration does in another database
//! is not seen.

use std::collections::HashSet;

use sqlx::AssertSqlSafe;
use tenantry_shared::{
    failure::Failure,
    place::Engine,
    schema::{Catalog, Kind, Object, neutral},
    site::{Row, Site},
};

use super::{MySqlSession, texts};
use crate::engine::Session as _;

const CATALOG: &str = include_str!("catalog.sql");

/// MySQL cuts lists off after 1024 bytes by default. Nothing runs in the session after a look at the catalog that
/// would mind.
const SETTINGS: &str = "SET SESSION group_concat_max_len = 4194304; ";

impl MySqlSession {
    /// The tenant's schema, without these history tables.
    pub(super) async fn read_catalog(&mut self, histories: &[&str]) -> Result<Catalog, Failure> {
        let Site { schema, .. } = self.site("");
        let database = schema.unwrap_or_default();
        let literal = Site { engine: Engine::MySql, schema: None, table: String::new() }.text(&database);
        // The text of an indexed expression is in a column that MariaDB has not.
        let expression = if self.is_maria { "''" } else { "expression" };
        // There, a name of a constraint is one of its table; the view of the other has no tables.
        let of_table = if self.is_maria { "AND c.table_name = t.table_name" } else { "" };
        let select = CATALOG.replace("{db}", &literal).replace("{expression}", expression);
        let select = select.replace("{of_table}", of_table);
        let rows = self.look(&format!("{SETTINGS}{select}")).await?;
        let mut objects: Vec<Object> = rows.iter().filter_map(|row| Object::from_row(row)).collect();
        let tables: HashSet<String> =
            objects.iter().filter(|o| o.kind == Kind::Table).map(|o| o.name.clone()).collect();
        let of_a_view = |object: &Object| {
            let is_column = matches!(object.kind, Kind::Column | Kind::Order);
            is_column && !object.on.as_ref().is_some_and(|on| tables.contains(on))
        };
        objects.retain(|object| !of_a_view(object));
        let is_stored =
            |kind: Kind| matches!(kind, Kind::View | Kind::Function | Kind::Trigger | Kind::Event);
        for object in objects.iter_mut().filter(|object| is_stored(object.kind)) {
            object.definition = neutral(&object.definition, &database);
        }
        Ok(Catalog::new(objects, histories))
    }

    async fn look(&mut self, select: &str) -> Result<Vec<Row>, Failure> {
        let rows = sqlx::raw_sql(AssertSqlSafe(select.to_owned())).fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|e| self.fail(&e))?;
        rows.iter().map(texts).collect::<Result<_, _>>().map_err(|e| self.fail(&e))
    }
}
