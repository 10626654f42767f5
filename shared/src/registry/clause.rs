//! Conditions on `tenants t`, as SQL with its values bound. A selection is worked out by the database in one
//! statement, so that choosing from a million tenants takes no memory here.

use crate::{
    selector::{Condition, Selector},
    store::{Statement, parameters},
};

/// Conditions that must all hold, with the values of their parameters.
pub(crate) struct Clause {
    text: String,
    values: Vec<String>,
    first: usize,
}

impl Clause {
    /// No condition yet. The first parameter will be `$first`.
    pub(crate) fn new(first: usize) -> Self {
        Self { text: "1 = 1".into(), values: Vec::new(), first }
    }

    /// The tenants themselves: the central database is none of them.
    pub(crate) fn of_tenants(first: usize) -> Self {
        Self { text: "t.central = 0".into(), ..Self::new(first) }
    }

    /// The conditions, to stand behind `WHERE`.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Binds the values, in order.
    pub(crate) fn bind(&self, query: Statement) -> Statement {
        query.bind_all(self.values.iter().cloned())
    }

    /// The number of the first parameter that is free.
    pub(crate) fn next(&self) -> usize {
        self.first + self.values.len()
    }

    /// `left` compared with one value: `compare("t.slug >", …)`.
    pub(crate) fn compare(&mut self, left: &str, value: &str) {
        let parameter = self.parameters(&[value.to_owned()]);
        self.and(&format!("{left} {parameter}"));
    }

    /// `column` is, or is not, one of the values. No values: no condition.
    pub(crate) fn one_of(&mut self, column: &str, wanted: bool, values: &[String]) {
        if !values.is_empty() {
            let not = if wanted { "" } else { "NOT " };
            let list = self.parameters(values);
            self.and(&format!("{column} {not}IN ({list})"));
        }
    }

    /// The tenant's labels match.
    pub(crate) fn labels(&mut self, selector: &Selector) {
        for condition in &selector.conditions {
            let (not, name, values) = match condition {
                Condition::In(name, values) => ("", name, Some(values)),
                Condition::NotIn(name, values) => ("NOT ", name, Some(values)),
                Condition::Exists(name) => ("", name, None),
                Condition::Absent(name) => ("NOT ", name, None),
            };
            let name = self.parameters(std::slice::from_ref(name));
            let values =
                values.map(|v| format!(" AND l.value IN ({})", self.parameters(v))).unwrap_or_default();
            self.and(&format!("{not}EXISTS (SELECT 1 FROM tenant_labels l WHERE l.tenant_id = t.id AND l.name = {name}{values})"));
        }
    }

    /// The tenant failed in a run, or was not begun there; with this cause if one is given.
    pub(crate) fn failed_in(&mut self, run: &str, fingerprint: Option<&str>) {
        let run = self.parameters(&[run.to_owned()]);
        let cause = fingerprint
            .map(|print| format!(" AND f.fingerprint = {}", self.parameters(&[print.to_owned()])))
            .unwrap_or_default();
        self.and(&format!("EXISTS (SELECT 1 FROM targets f WHERE f.tenant_id = t.id AND f.run_id = {run} AND f.state IN ('failed', 'skipped'){cause})"));
    }

    fn parameters(&mut self, values: &[String]) -> String {
        let list = parameters(self.first + self.values.len(), values.len());
        self.values.extend_from_slice(values);
        list
    }

    /// A condition without values.
    pub(crate) fn and(&mut self, condition: &str) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_go_on_from_the_first() {
        let mut clause = Clause::new(3);
        clause.labels(&"plan in (a,b),!beta".parse().unwrap());
        clause.one_of("t.slug", false, &["x".into()]);
        clause.one_of("t.slug", true, &[]);
        assert_eq!(
            clause.text(),
            "1 = 1 AND EXISTS (SELECT 1 FROM tenant_labels l WHERE l.tenant_id = t.id AND l.name = $3 AND l.value IN ($4,$5)) \
             AND NOT EXISTS (SELECT 1 FROM tenant_labels l WHERE l.tenant_id = t.id AND l.name = $6) AND t.slug NOT IN ($7)"
        );
        assert_eq!(clause.values, ["plan", "a", "b", "beta", "x"]);
    }
}
