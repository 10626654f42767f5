//! One row of a source: named values, and where it stands.

use serde_json::Value;

/// Named values of one tenant. It may hold secrets, and is shown by nothing.
pub(super) struct Row {
    at: String,
    values: Vec<(String, Option<String>)>,
}

impl Row {
    /// An empty row. `at` says where it stands, for whoever has to mend it: `row 3`.
    pub(super) fn new(at: String) -> Self {
        Self { at, values: Vec::new() }
    }

    /// A row of a JSON object; what is nested in it is named by its path: `labels.plan`.
    pub(super) fn of_json(at: String, value: &Value) -> Self {
        let mut row = Self::new(at);
        row.flatten("", value);
        row
    }

    fn flatten(&mut self, path: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.flatten(&path, value);
                }
            }
            Value::Null => self.push(path, None),
            Value::String(text) => self.push(path, Some(text.clone())),
            other => self.push(path, Some(other.to_string())),
        }
    }

    /// One more value.
    pub(super) fn push(&mut self, name: &str, value: Option<String>) {
        self.values.push((name.to_owned(), value));
    }

    /// Where it stands.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// A value that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.values.iter().find(|(column, _)| column == name)?;
        value.as_deref().map(str::trim).filter(|value| !value.is_empty())
    }

    /// The names of its values.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(name, _)| name.as_str())
    }
}
