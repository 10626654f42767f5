//! A text with `{name}` in it. Pure.

/// A text with names in it that stand for values.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// Reads it.
    ///
    /// # Errors
    /// When a brace has no partner, or there is no name between two.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            let name = from.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let (name, after) = name.ok_or("it has a brace without its partner")?;
            if name.is_empty() || name.contains('{') {
                return Err("it has braces without one name between them".into());
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Name(name.to_owned()));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The names in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with the values in it.
    ///
    /// # Errors
    /// The first name that has no value.
    pub(super) fn fill(&self, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Name(name) => text.push_str(&value(name).ok_or_else(|| name.clone())?),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_the_rest_stays() {
        let template = Template::parse("mysql://app:{pw}@{host}/t_{id}").unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["pw", "host", "id"]);
        let filled = template.fill(|name| (name != "x").then(|| name.to_uppercase()));
        assert_eq!(filled.as_deref(), Ok("mysql://app:PW@HOST/t_ID"));
        assert_eq!(template.fill(|name| (name != "id").then(String::new)), Err("id".to_owned()));
    }

    #[test]
    fn braces_come_in_pairs_with_a_name() {
        for bad in ["{a", "a}", "{}", "{a{b}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
