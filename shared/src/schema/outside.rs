//! What is outside of every tenant's schema, and what of it is new.

use std::collections::HashSet;

use super::Object;

/// The schema that is looked into in any case.
const PUBLIC: &str = "public";

/// An object outside of every tenant's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outsider {
    /// The schema that it is in, or is.
    pub schema: String,
    /// The object; its name has its schema. Its definition is not read.
    pub object: Object,
}

/// What is outside of every tenant's schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// The objects.
    pub objects: Vec<Outsider>,
    /// Whether more than `public` was looked into: there may be too many schemas that nobody knows of.
    pub all: bool,
}

/// What is there after and was not before, where both have looked. What is on a table that is new itself is not told.
#[must_use]
pub fn appeared(before: &Outside, after: Outside) -> Vec<Outsider> {
    let everywhere = before.all && after.all;
    let known: HashSet<&Object> = before.objects.iter().map(|outsider| &outsider.object).collect();
    let is_new = |o: &Outsider| (everywhere || o.schema == PUBLIC) && !known.contains(&o.object);
    let new: Vec<Outsider> = after.objects.into_iter().filter(is_new).collect();
    let names: HashSet<String> = new.iter().map(|o| o.object.name.clone()).collect();
    new.into_iter().filter(|o| o.object.on.as_ref().is_none_or(|table| !names.contains(table))).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Kind, object::tests::object},
        *,
    };

    #[test]
    fn what_appeared_is_told_without_what_is_on_it() {
        let outsider = |kind, on, name| Outsider { schema: "public".into(), object: object(kind, on, name) };
        let (old, table) = (outsider(Kind::View, None, "public.v"), outsider(Kind::Table, None, "public.t"));
        let column = outsider(Kind::Column, Some("public.t"), "a");
        let elsewhere = Outsider { schema: "new".into(), object: object(Kind::Schema, None, "new") };
        let outside =
            |all, objects: &[&Outsider]| Outside { all, objects: objects.iter().copied().cloned().collect() };
        let now = outside(true, &[&old, &table, &column, &elsewhere]);
        assert_eq!(appeared(&outside(true, &[&old]), now.clone()), [table.clone(), elsewhere]);
        assert_eq!(appeared(&outside(false, &[&old, &table]), now), [column]);
    }
}
