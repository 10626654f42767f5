//! Reading tenants from CSV or JSON Lines. An error names the line, and repeats no URL.

use std::{
    collections::HashSet,
    hash::BuildHasher as _,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use serde::Deserialize;
use tenantry_shared::{
    fault::Fault,
    place::DatabaseUrl,
    registry::NewTenant,
    source::file::{self, Table, Wrong},
    tenant::{Labels, Slug, Status, is_label_key},
};

use super::selection::{name_of, read_text};
use crate::cli::ImportFormat;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    url: String,
    schema: Option<String>,
    status: Option<String>,
    #[serde(default)]
    labels: Labels,
}

/// A file of tenants, none of whose lines is wrong. The lines are kept, and read once more when the tenants are added: as
/// values these would take several times as much memory. They are not read twice from the file, which may be a pipe.
pub(crate) struct Import {
    text: String,
    jsonl: bool,
    base: PathBuf,
    /// How many tenants it holds.
    pub(crate) count: u64,
}

impl Import {
    /// Reads the whole file; nothing is given when any line of it is wrong.
    pub(crate) fn read(path: &Path, format: Option<ImportFormat>) -> Result<Self, Fault> {
        let jsonl = match format {
            Some(format) => format == ImportFormat::Jsonl,
            None => path.extension().is_some_and(|e| e == "jsonl" || e == "ndjson"),
        };
        let mut import = Self { text: read_text(path)?, jsonl, base: std::env::current_dir()?, count: 0 };
        import.count = import.checked().map_err(|(line, why)| at(path, line, &why))?;
        if import.count == 0 {
            return Err(Fault::usage(format!("{} holds no tenant", name_of(path))));
        }
        Ok(import)
    }

    /// Its tenants.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = NewTenant> {
        // No line is wrong.
        self.lines().flatten().map(|(_, tenant)| tenant)
    }

    fn checked(&self) -> Result<u64, Wrong> {
        let mut count = 0;
        // Names would be as much as the lines, and their hashes are not.
        let mut seen = HashSet::new();
        for listed in self.lines() {
            let (line, NewTenant { slug, .. }) = listed?;
            if !seen.insert(seen.hasher().hash_one(&slug)) && self.has_before(line, &slug) {
                return Err((line, format!("tenant '{slug}' is there twice")));
            }
            count += 1;
        }
        Ok(count)
    }

    fn has_before(&self, line: u64, slug: &Slug) -> bool {
        let mut before = self.lines().flatten().take_while(|(number, _)| *number < line);
        before.any(|(_, tenant)| tenant.slug == *slug)
    }

    fn lines(&self) -> impl Iterator<Item = Result<(u64, NewTenant), Wrong>> {
        let rows = if self.jsonl { jsonl_rows(&self.text) } else { csv_rows(&self.text) };
        rows.map(|row| {
            let (line, row) = row?;
            tenant(row, &self.base).map(|tenant| (line, tenant)).map_err(|why| (line, why))
        })
    }
}

fn at(path: &Path, line: u64, why: &str) -> Fault {
    Fault::usage(format!("{} line {line}: {why}", name_of(path)))
        .with_hint("nothing was added; mend the line and import again")
}

type Rows<'t> = Box<dyn Iterator<Item = Result<(u64, Row), Wrong>> + 't>;

fn jsonl_rows(text: &str) -> Rows<'_> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    // serde's own words could repeat the line, and the URL in it; its position cannot.
    Box::new(lines.map(|(number, line)| match serde_json::from_str(line) {
        Ok(row) => Ok((number, row)),
        Err(e) => Err((
            number,
            format!("not a tenant at column {} (expected {{\"id\": …, \"url\": …}})", e.column()),
        )),
    }))
}

fn csv_rows(text: &str) -> Rows<'_> {
    let table = file::csv(text).and_then(|table| known_columns(&table.heading).map(|()| table));
    let Table { heading, rows } = match table {
        Ok(table) => table,
        Err(wrong) => return Box::new(std::iter::once(Err(wrong))),
    };
    Box::new(rows.map(move |row| row.map(|(line, values)| (line, csv_row(&heading, values)))))
}

fn known_columns(heading: &[String]) -> Result<(), Wrong> {
    for name in heading {
        let label = name.strip_prefix("label.").is_some_and(is_label_key);
        if !label && !["id", "url", "schema", "status"].contains(&name.as_str()) {
            return Err((
                1,
                format!("unknown column '{name}' (expected id, url, schema, status or label.KEY)"),
            ));
        }
    }
    let missing = ["id", "url"].into_iter().find(|needed| !heading.iter().any(|name| name == needed));
    missing.map_or(Ok(()), |needed| Err((1, format!("there is no column '{needed}'"))))
}

fn csv_row(heading: &[String], values: Vec<String>) -> Row {
    let value = |name: &str| {
        let at = heading.iter().position(|column| column == name)?;
        values.get(at).filter(|value| !value.is_empty()).cloned()
    };
    let label = |column: &String| Some((column.strip_prefix("label.")?.to_owned(), value(column)?));
    Row {
        id: value("id").unwrap_or_default(),
        url: value("url").unwrap_or_default(),
        schema: value("schema"),
        status: value("status"),
        labels: heading.iter().filter_map(label).collect(),
    }
}

fn tenant(row: Row, base: &Path) -> Result<NewTenant, String> {
    let slug = Slug::from_str(&row.id).map_err(|e| e.to_string())?;
    let url = DatabaseUrl::parse(&row.url, base).map_err(|e| e.to_string())?;
    let place = url.place(row.schema.as_deref()).map_err(|e| e.to_string())?;
    if let Some(key) = row.labels.keys().find(|key| !is_label_key(key)) {
        return Err(format!("'{key}' is not a label's name"));
    }
    let status = row.status.as_deref().map_or(Ok(Status::Active), Status::from_str)?;
    Ok(NewTenant { slug, url, place, status, labels: row.labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> Result<Vec<(u64, Row)>, Wrong> {
        csv_rows(text).collect()
    }

    #[test]
    fn csv_is_read_by_its_heading() {
        let rows = csv("id,url,label.plan,schema\nacme,postgres://h/d,pro,s1\nb,mysql://h/d,,\n").unwrap();
        assert_eq!(rows[0].1.labels.get("plan").map(String::as_str), Some("pro"));
        assert_eq!(
            (rows[0].1.schema.as_deref(), rows[1].1.schema.as_deref(), rows[1].0),
            (Some("s1"), None, 3)
        );
        assert!(rows[1].1.labels.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_shows_no_url() {
        assert_eq!(
            csv("id,uri\n").err(),
            Some((1, "unknown column 'uri' (expected id, url, schema, status or label.KEY)".into()))
        );
        assert_eq!(csv("id,schema\n").err().map(|e| e.0), Some(1));
        let text = "{\"id\":\"a\",\"url\":\"postgres://u:secret@h/d\"}\n{\"id\":1,\"url\":\"postgres://u:secret@h/d\"}";
        let (line, why) = jsonl_rows(text).find_map(Result::err).unwrap();
        assert!(line == 2 && !why.contains("secret"));
    }

    #[test]
    fn a_name_that_is_there_twice_is_told_with_its_second_line() {
        let text = "id,url\na,mysql://h/a\nb,mysql://h/b\na,mysql://h/c\n".to_owned();
        let import = Import { text, jsonl: false, base: "/".into(), count: 0 };
        assert_eq!(import.checked(), Err((4, "tenant 'a' is there twice".into())));
        assert!(import.has_before(4, &"b".parse().unwrap()) && !import.has_before(3, &"b".parse().unwrap()));
    }
}
