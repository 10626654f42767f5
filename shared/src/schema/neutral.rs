//! Definitions that do not say where their tenant lives.

use super::OWN;

/// Puts [`OWN`] in place of a schema's name wherever it qualifies another name: `acme.t`, `"acme".t`, `` `acme`.t ``.
#[must_use]
pub fn neutral(text: &str, schema: &str) -> String {
    neutral_before(text, schema, |_| true)
}

/// The same before these names only: where the schema is called like a table, `t.name` may mean a column of that.
#[must_use]
pub fn neutral_before(text: &str, schema: &str, is_meant: impl Fn(&str) -> bool) -> String {
    let forms = [format!("\"{schema}\"."), format!("`{schema}`."), format!("{schema}.")];
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    loop {
        let found = forms.iter().filter_map(|form| rest.find(form.as_str()).map(|at| (at, form.len())));
        let Some((at, length)) = found.min_by_key(|(at, length)| (*at, usize::MAX - length)) else {
            out.push_str(rest);
            return out;
        };
        out.push_str(&rest[..at]);
        let in_a_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '"' | '`');
        let after = rest[at + length..].trim_start_matches(['"', '`']);
        let name = &after[..after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len())];
        if out.chars().next_back().is_some_and(in_a_name) || !is_meant(name) {
            out.push_str(&rest[at..at + length]);
        } else {
            out.push_str(OWN);
            out.push('.');
        }
        rest = &rest[at + length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_own_schema_is_replaced_where_it_qualifies() {
        let text = "SELECT acme.t.a, \"acme\".f(), 'acme', other.acme.x, myacme.t FROM acme.t";
        let expected = "SELECT {own}.t.a, {own}.f(), 'acme', other.acme.x, myacme.t FROM {own}.t";
        assert_eq!(neutral(text, "acme"), expected);
        assert_eq!(neutral("`acme`.`t`", "acme"), "{own}.`t`");
        let only_t = neutral_before("SELECT t.id FROM t.t, \"t\".\"t\"", "t", |name| name == "t");
        assert_eq!(only_t, "SELECT t.id FROM {own}.t, {own}.\"t\"");
    }
}
