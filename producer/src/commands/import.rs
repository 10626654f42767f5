//! Reading tenants from CSV or JSON Lines. An error names the line, and repeats no URL.

use std::{collections::HashSet, path::Path, str::FromStr as _};

use serde::Deserialize;
use tenantry_shared::{
    fault::Fault,
    place::DatabaseUrl,
    registry::NewTenant,
    source::file::{self, Table},
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

/// Reads the whole file; nothing is given when any line of it is wrong.
pub(crate) fn read(path: &Path, format: Option<ImportFormat>) -> Result<Vec<NewTenant>, Fault> {
    let jsonl = match format {
        Some(format) => format == ImportFormat::Jsonl,
        None => path.extension().is_some_and(|e| e == "jsonl" || e == "ndjson"),
    };
    let text = read_text(path)?;
    let rows = if jsonl { jsonl_rows(&text) } else { csv_rows(&text) };
    let base = std::env::current_dir()?;
    let mut seen = HashSet::new();
    let mut tenants = Vec::new();
    for (line, row) in rows.map_err(|(line, why)| at(path, line, &why))? {
        let tenant = tenant(row, &base).map_err(|why| at(path, line, &why))?;
        if !seen.insert(tenant.slug.clone()) {
            return Err(at(path, line, &format!("tenant '{}' is there twice", tenant.slug)));
        }
        tenants.push(tenant);
    }
    if tenants.is_empty() {
        return Err(Fault::usage(format!("{} holds no tenant", name_of(path))));
    }
    Ok(tenants)
}

fn at(path: &Path, line: u64, why: &str) -> Fault {
    Fault::usage(format!("{} line {line}: {why}", name_of(path)))
        .with_hint("nothing was added; mend the line and import again")
}

type Rows = Result<Vec<(u64, Row)>, (u64, String)>;

fn jsonl_rows(text: &str) -> Rows {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    // serde's own words could repeat the line, and the URL in it; its position cannot.
    lines
        .map(|(number, line)| match serde_json::from_str(line) {
            Ok(row) => Ok((number, row)),
            Err(e) => Err((
                number,
                format!("not a tenant at column {} (expected {{\"id\": …, \"url\": …}})", e.column()),
            )),
        })
        .collect()
}

fn csv_rows(text: &str) -> Rows {
    let Table { heading, rows: records } = file::csv(text)?;
    for name in &heading {
        let label = name.strip_prefix("label.").is_some_and(is_label_key);
        if !label && !["id", "url", "schema", "status"].contains(&name.as_str()) {
            return Err((
                1,
                format!("unknown column '{name}' (expected id, url, schema, status or label.KEY)"),
            ));
        }
    }
    for needed in ["id", "url"] {
        if !heading.iter().any(|name| name == needed) {
            return Err((1, format!("there is no column '{needed}'")));
        }
    }
    let mut rows = Vec::new();
    for (line, record) in records {
        let value = |name: &str| {
            let at = heading.iter().position(|column| column == name)?;
            record.get(at).filter(|value| !value.is_empty()).cloned()
        };
        let labels = heading.iter().filter_map(|column| {
            let key = column.strip_prefix("label.")?;
            value(column).map(|value| (key.to_owned(), value))
        });
        let (id, url) = (value("id").unwrap_or_default(), value("url").unwrap_or_default());
        rows.push((
            line,
            Row { id, url, schema: value("schema"), status: value("status"), labels: labels.collect() },
        ));
    }
    Ok(rows)
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

    #[test]
    fn csv_is_read_by_its_heading() {
        let rows =
            csv_rows("id,url,label.plan,schema\nacme,postgres://h/d,pro,s1\nb,mysql://h/d,,\n").unwrap();
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
            csv_rows("id,uri\n").err(),
            Some((1, "unknown column 'uri' (expected id, url, schema, status or label.KEY)".into()))
        );
        assert_eq!(csv_rows("id,schema\n").err().map(|e| e.0), Some(1));
        let (line, why) = jsonl_rows("{\"id\":\"a\",\"url\":\"postgres://u:secret@h/d\"}\n{\"id\":1,\"url\":\"postgres://u:secret@h/d\"}").err().unwrap();
        assert!(line == 2 && !why.contains("secret"));
    }
}
