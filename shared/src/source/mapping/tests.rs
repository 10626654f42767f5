//! What becomes of a row, by example.

use std::{path::Path, time::Duration};

use super::*;
use crate::config::{FileFormat, SourceKind};

fn config(columns: Columns, tenant_url: Option<&str>) -> SourceConfig {
    SourceConfig {
        name: "crm".into(),
        kind: SourceKind::File { path: "list.csv".into(), format: FileFormat::Csv },
        columns,
        tenant_url: tenant_url.map(str::to_owned),
        secrets: BTreeMap::new(),
        active_values: None,
        timeout: Duration::from_secs(1),
        base: "/base".into(),
    }
}

fn mapping(config: &SourceConfig, base: Option<&str>) -> Mapping {
    let mut mapping = Mapping::new(config, &|_| None).ok().expect("a mapping");
    mapping.base = base.map(|url| Address::parse(url, Path::new("/base")).expect("a URL"));
    mapping
}

fn row(values: &[(&str, &str)]) -> Row {
    let mut row = Row::new("row 1".into());
    values.iter().for_each(|(name, value)| row.push(name, Some((*value).to_owned())));
    row
}

fn url(mapping: &Mapping, values: &[(&str, &str)]) -> Result<String, String> {
    mapping.tenant(&row(values)).map(|tenant| tenant.url.expose().to_owned())
}

#[test]
fn a_tenant_is_where_its_row_says_on_the_server_of_the_source() {
    let plain = mapping(&config(Columns::default(), None), Some("postgres://app:pw@db1/central"));
    assert_eq!(url(&plain, &[("id", "a"), ("database", "acme")]).unwrap(), "postgres://app:pw@db1/acme");
    assert_eq!(url(&plain, &[("id", "a"), ("url", "mysql://h/x")]).unwrap(), "mysql://h/x");
    let by_schema = plain.tenant(&row(&[("id", "a"), ("schema", "acme")])).unwrap();
    assert_eq!(
        (by_schema.place.database.as_str(), by_schema.place.schema.as_deref()),
        ("central", Some("acme"))
    );
    // `SELECT *` gives columns that mean something else there.
    let other = [("id", "a"), ("host", "shop.example"), ("password", "hash"), ("database", "acme")];
    assert_eq!(url(&plain, &other).unwrap(), "postgres://app:pw@db1/acme");
    for nowhere in [&[("id", "a")][..], &[("id", "a"), ("database", ""), ("url", " ")]] {
        assert!(url(&plain, nowhere).unwrap_err().contains("nothing says where it is"));
    }
}

#[test]
fn a_template_is_filled_with_what_a_url_can_hold() {
    let config = config(Columns::default(), Some("mysql://{user}:x@{host}/t_{id}"));
    let mapping = mapping(&config, None);
    let filled = url(&mapping, &[("id", "a"), ("user", "u@/?#"), ("host", "db-1.internal")]);
    assert_eq!(filled.unwrap(), "mysql://u%40%2F%3F%23:x@db-1.internal/t_a");
    let error = url(&mapping, &[("id", "a"), ("user", "u")]).unwrap_err();
    assert_eq!(error, "tenant 'a': column 'host', which tenant-url needs, is empty");
    assert_eq!(mapping.columns(), ["id", "user", "host", "id"]);
}

#[test]
fn a_status_is_a_word_of_ours_or_a_value_that_is_said_to_mean_active() {
    let status = |active: Option<&[&str]>, value: &str| {
        let columns = Columns { status: Some("state".into()), ..Columns::default() };
        let active_values = active.map(|list| list.iter().map(|v| (*v).to_owned()).collect());
        let config = SourceConfig { active_values, ..config(columns, None) };
        let row = row(&[("id", "a"), ("url", "mysql://h/a"), ("state", value)]);
        mapping(&config, None).tenant(&row).map(|tenant| tenant.status)
    };
    assert_eq!(status(None, ""), Ok(Status::Active));
    assert_eq!(status(None, "archived"), Ok(Status::Archived));
    assert!(status(None, "trial").unwrap_err().contains("active-values says"));
    assert_eq!(status(Some(&["active", "trial"]), "trial"), Ok(Status::Active));
    assert_eq!(status(Some(&["active"]), "gone"), Ok(Status::Suspended));
    assert_eq!(status(Some(&["active"]), ""), Ok(Status::Suspended));
}

#[test]
fn a_label_that_is_empty_is_one_the_tenant_does_not_have() {
    let labels = BTreeMap::from([("plan".to_owned(), "tier".to_owned())]);
    let mapping = mapping(&config(Columns { labels, ..Columns::default() }, None), None);
    let values =
        [("id", "a"), ("url", "mysql://h/a"), ("tier", ""), ("label.region", "eu"), ("labels.x", "1")];
    let tenant = mapping.tenant(&row(&values)).unwrap();
    let expected = [("plan", None), ("region", Some("eu")), ("x", Some("1"))];
    assert!(tenant.labels.iter().map(|(k, v)| (k.as_str(), v.as_deref())).eq(expected));
    assert_eq!(tenant.into_new().labels.len(), 2);
    let bad = [("id", "a"), ("url", "mysql://h/a"), ("label.a b", "x")];
    assert!(mapping.tenant(&row(&bad)).unwrap_err().contains("'a b' is not a label's name"));
}
