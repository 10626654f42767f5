//! Reading a MySQL or MariaDB tenant's catalog: a message or two, nothing written.
//!
//! The words are the server's own, and MySQL and MariaDB have different ones for one schema (defaults, widths of
//! integers, collations): tenants on both compare unlike, tenants on servers of one kind and version do not. The text of
//! a routine is there only for its owner, and for who may see all routines. What a migration does in another database
//! is not seen.

use std::collections::HashSet;

use tenantry_shared::{
    failure::Failure,
    schema::{Catalog, Kind, Object, neutral},
};

use super::{MySqlSession, parts};
use crate::engine::Session as _;

impl MySqlSession {
    /// The tenant's schema, without these history tables.
    pub(super) async fn read_catalog(&mut self, histories: &[&str]) -> Result<Catalog, Failure> {
        let (database, literal) = (self.database.clone(), self.literal());
        let objects = if self.is_maria {
            self.read_maria(&literal, histories).await
        } else {
            self.read_mysql(&literal).await
        };
        Ok(Catalog::new(tidied(objects?, &database), histories))
    }

    /// The database's name.
    pub(super) fn literal(&self) -> String {
        self.site("").text(&self.database)
    }

    /// Every object of a database, whose name is this literal.
    async fn read_mysql(&mut self, literal: &str) -> Result<Vec<Object>, Failure> {
        let select = parts::MYSQL.join("\nUNION ALL\n").replace("{db}", literal);
        let rows = self.all(&[parts::SETTINGS.to_owned(), select]).await?;
        Ok(rows.iter().flatten().filter_map(|row| Object::from_row(row)).collect())
    }
}

/// Without the columns of what is no table, and without the database's name where it stands in a text.
fn tidied(mut objects: Vec<Object>, database: &str) -> Vec<Object> {
    let tables: HashSet<String> =
        objects.iter().filter(|o| o.kind == Kind::Table).map(|o| o.name.clone()).collect();
    let of_a_view = |object: &Object| {
        let is_column = matches!(object.kind, Kind::Column | Kind::Order);
        is_column && !object.on.as_ref().is_some_and(|on| tables.contains(on))
    };
    objects.retain(|object| !of_a_view(object));
    let is_stored = |kind: Kind| matches!(kind, Kind::View | Kind::Function | Kind::Trigger | Kind::Event);
    for object in objects.iter_mut().filter(|object| is_stored(object.kind)) {
        object.definition = neutral(&object.definition, database);
    }
    objects
}
