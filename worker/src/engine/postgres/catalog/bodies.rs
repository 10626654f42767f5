//! Bodies of functions without the name of the tenant's schema. Pure.

use std::collections::HashSet;

use tenantry_shared::schema::{Kind, Object, neutral_before};

/// The server writes a function's own name with its schema always, and its body as it was given. Where a table has
/// the schema's name, what follows it tells which of both is meant.
pub(super) fn make_neutral(objects: &mut [Object], schema: &str) {
    if !objects.iter().any(|o| o.kind == Kind::Function) {
        return;
    }
    let own: HashSet<String> =
        objects.iter().filter(|o| o.on.is_none()).map(|o| bare(&o.name).to_owned()).collect();
    let is_ambiguous = own.contains(schema);
    for object in objects.iter_mut().filter(|o| o.kind == Kind::Function) {
        let text = neutral_before(&object.definition, schema, |name| !is_ambiguous || own.contains(name));
        object.definition = search_path_neutral(&text, schema);
    }
}

/// A function's name without its arguments, any other name as it is.
fn bare(name: &str) -> &str {
    name.split('(').next().unwrap_or(name)
}

/// The search path that a function was given with the tenant's schema in it.
fn search_path_neutral(head: &str, schema: &str) -> String {
    let line = |line: &str| match line.strip_prefix(" SET search_path TO ") {
        Some(path) => format!(" SET search_path TO {}", path.replace(&format!("'{schema}'"), "{own}")),
        None => line.to_owned(),
    };
    head.lines().map(line).collect::<Vec<_>>().join("\n")
}
