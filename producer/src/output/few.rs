//! Many tenants in few words: how many they are, and the first of them by name.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Tenants that are alike: all of them are counted, and the first `NAMED` by name are kept.
#[derive(Default)]
pub(super) struct Alike<const NAMED: usize> {
    pub(super) count: u64,
    first: BTreeSet<String>,
}

impl<const NAMED: usize> Alike<NAMED> {
    /// One more.
    pub(super) fn add(&mut self, tenant: String) {
        self.count += 1;
        self.first.insert(tenant);
        if self.first.len() > NAMED {
            self.first.pop_last();
        }
    }

    /// So many of them, and how many more there are.
    pub(super) fn few(&self, shown: usize) -> String {
        few(self.first.iter().take(shown).map(String::as_str), self.count)
    }

    /// Adds them to the document of what they are alike in.
    pub(super) fn document(&self, of: &mut Value) {
        of["count"] = json!(self.count);
        of["tenants"] = json!(self.first);
        of["truncated"] = json!(self.count > self.first.len() as u64);
    }
}

/// `a, b, c, … (+7)`: these of so many.
pub(crate) fn few<'a>(names: impl Iterator<Item = &'a str>, of: u64) -> String {
    let names: Vec<&str> = names.collect();
    match of.saturating_sub(names.len() as u64) {
        0 => names.join(", "),
        more => format!("{}, … (+{more})", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_and_the_others_counted() {
        let mut alike = Alike::<3>::default();
        ["d", "b", "a", "c"].into_iter().for_each(|tenant| alike.add(tenant.into()));
        assert_eq!((alike.few(2), alike.few(9)), ("a, b, … (+2)".into(), "a, b, c, … (+1)".into()));
        let mut document = json!({});
        alike.document(&mut document);
        assert_eq!(document, json!({ "count": 4, "tenants": ["a", "b", "c"], "truncated": true }));
        let mut one = Alike::<3>::default();
        one.add("a".into());
        assert_eq!(one.few(3), "a");
    }
}
