//! The format of Alembic: a graph of revisions in Python, each naming those before it.
//!
//! The history has one row for each branch's head. A row means that its revision and all that come before it are
//! applied.

use std::{collections::BTreeSet, time::Duration};

use super::{migration, ordered, python};
use crate::{
    format::{Applied, Draft, Entry, File, FormatError, Migration, Rules, of_different_versions},
    site::{Row, Site},
    version::Version,
};

/// The rules of Alembic.
#[derive(Debug)]
pub struct Alembic;

impl Rules for Alembic {
    fn name(&self) -> &'static str {
        "alembic"
    }

    fn table(&self) -> &'static str {
        "alembic_version"
    }

    fn suits(&self, _: &[File]) -> bool {
        false
    }

    fn keeps(&self, name: &str) -> bool {
        name.ends_with(".py")
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        let mut own: Vec<&File> = files.iter().filter(|file| self.keeps(&file.name)).collect();
        own.sort_by(|a, b| a.name.cmp(&b.name));
        let revisions: Result<Vec<_>, _> =
            own.into_iter().filter_map(|file| revision(file).transpose()).collect();
        let revisions = of_different_versions(revisions?)?;
        let is_there = |version: &Version| revisions.iter().any(|other| other.version == *version);
        for revision in &revisions {
            if let Some(missing) = revision.after.iter().flatten().find(|version| !is_there(version)) {
                let reason = format!("the revision {missing}, which it comes after, is in no file");
                return Err(FormatError::Name { file: revision.file.clone(), reason });
            }
        }
        ordered(revisions)
    }

    fn skeleton(&self, _: &Draft<'_>) -> Vec<File> {
        Vec::new()
    }

    fn create(&self, site: &Site) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (version_num VARCHAR(32) NOT NULL, CONSTRAINT {} PRIMARY KEY (version_num))",
            site.table(),
            site.name(&format!("{}_pkc", site.table))
        )
    }

    fn select(&self, site: &Site) -> String {
        format!("SELECT {} FROM {}", site.as_text("version_num"), site.table())
    }

    fn lists_all(&self) -> bool {
        false
    }

    fn read(&self, rows: &[Row], migrations: &[&Migration]) -> Vec<Applied> {
        let heads = rows.iter().filter_map(|row| row.first().cloned().flatten().map(Version::from));
        let (mut applied, mut left): (BTreeSet<Version>, Vec<Version>) = (BTreeSet::new(), heads.collect());
        while let Some(version) = left.pop() {
            if let Some(known) = migrations.iter().find(|migration| migration.version == version) {
                left.extend(known.after.iter().flatten().filter(|before| !applied.contains(before)).cloned());
            }
            applied.insert(version);
        }
        applied.into_iter().map(|version| Applied { version, checksum: None, success: true }).collect()
    }

    /// The heads before it make room for it.
    fn record(&self, site: &Site, entry: Entry<'_>, _: Duration, _: bool) -> String {
        let Migration { version, after, .. } = entry.migration;
        let before: Vec<String> = after.iter().flatten().map(|version| site.text(version.as_str())).collect();
        let insert = insert(site, version);
        if before.is_empty() {
            return insert;
        }
        format!("DELETE FROM {} WHERE version_num IN ({}); {insert}", site.table(), before.join(", "))
    }

    /// What is before it are heads again, as far as nothing else that is applied comes after them: with one line of
    /// revisions that is the one before.
    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        let Migration { version, after, .. } = entry.migration;
        let delete =
            format!("DELETE FROM {} WHERE version_num = {}", site.table(), site.text(version.as_str()));
        let again = after.iter().flatten().map(|version| insert(site, version));
        std::iter::once(delete).chain(again).collect::<Vec<_>>().join("; ")
    }
}

fn insert(site: &Site, version: &Version) -> String {
    format!("INSERT INTO {} (version_num) VALUES ({})", site.table(), site.text(version.as_str()))
}

/// None: the file is no revision.
fn revision(file: &File) -> Result<Option<Migration>, FormatError> {
    let Some((line, own)) = python::value(&file.content, "revision") else { return Ok(None) };
    let wrong = |line, reason: &str| {
        Err(FormatError::Text { file: file.name.clone(), line, reason: reason.to_owned() })
    };
    let own = python::texts(own);
    let [own] = own.as_slice() else { return wrong(line, "the revision must be one text in quotes") };
    let Some((line, before)) = python::value(&file.content, "down_revision") else {
        return wrong(line, "it has no down_revision");
    };
    let before_it = python::texts(before);
    if before_it.is_empty() && !before.trim_start().starts_with("None") {
        return wrong(line, "the down_revision must be None or texts in quotes");
    }
    let depends = python::value(&file.content, "depends_on").map(|(_, value)| python::texts(value));
    let mut revision = migration((*own).to_owned(), file);
    let before = before_it.into_iter().chain(depends.unwrap_or_default());
    revision.after = Some(before.map(Version::from).collect());
    Ok(Some(revision))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Engine;

    fn file(revision: &str, before: &str) -> File {
        let content = format!("revision = '{revision}'\ndown_revision: str | None = {before}\n");
        File { name: format!("versions/{revision}_x.py"), content }
    }

    fn parse(files: &[(&str, &str)]) -> Result<Vec<Migration>, FormatError> {
        let mut all: Vec<File> = files.iter().map(|(revision, before)| file(revision, before)).collect();
        all.push(File { name: "env.py".into(), content: "from alembic import context\n".into() });
        Alembic.parse(&all)
    }

    fn versions(parsed: &[Migration]) -> Vec<&str> {
        parsed.iter().map(|migration| migration.version.as_str()).collect()
    }

    /// Two branches of `a`, which `d` joins again.
    const GRAPH: [(&str, &str); 4] = [("a", "None"), ("c", "'a'"), ("b", "\"a\""), ("d", "('b', 'c')")];

    fn reads(rows: &[&str]) -> Vec<String> {
        let own = parse(&GRAPH).unwrap();
        let rows: Vec<Row> = rows.iter().map(|row| vec![Some((*row).to_owned())]).collect();
        let applied = Alembic.read(&rows, &own.iter().collect::<Vec<_>>());
        applied.into_iter().map(|applied| applied.version.to_string()).collect()
    }

    #[test]
    fn the_graph_is_the_order() {
        assert_eq!(versions(&parse(&[("a", "'z'"), ("m", "'a'"), ("z", "None")]).unwrap()), ["z", "a", "m"]);
        assert_eq!(versions(&parse(&GRAPH).unwrap()), ["a", "b", "c", "d"]);
        assert_eq!(parse(&[]), Err(FormatError::Empty));
    }

    #[test]
    fn a_head_means_all_that_is_before_it() {
        assert_eq!(reads(&["d"]), ["a", "b", "c", "d"]);
        assert_eq!(reads(&["b"]), ["a", "b"]);
        assert_eq!(reads(&["b", "c"]), ["a", "b", "c"]);
        assert_eq!(reads(&["zz"]), ["zz"]);
        assert!(reads(&[]).is_empty());
    }

    #[test]
    fn a_graph_that_does_not_hold_is_refused() {
        assert!(parse(&[("a", "'gone'")]).unwrap_err().to_string().contains("gone"));
        assert!(matches!(parse(&[("a", "'b'"), ("b", "'a'")]), Err(FormatError::Name { .. })));
        assert!(matches!(parse(&[("a", "PARENT")]), Err(FormatError::Text { line: 2, .. })));
    }

    #[test]
    fn one_row_takes_the_place_of_another() {
        let own = parse(&GRAPH).unwrap();
        let site = Site { engine: Engine::Sqlite, schema: None, table: "v".into() };
        let entry = |at: usize| Entry { migration: &own[at], previous: None };
        let record = |at| Alembic.record(&site, entry(at), Duration::ZERO, false);
        assert_eq!(record(0), "INSERT INTO \"v\" (version_num) VALUES ('a')");
        let joined =
            "DELETE FROM \"v\" WHERE version_num IN ('b', 'c'); INSERT INTO \"v\" (version_num) VALUES ('d')";
        assert_eq!(record(3), joined);
        let again = "DELETE FROM \"v\" WHERE version_num = 'b'; INSERT INTO \"v\" (version_num) VALUES ('a')";
        assert_eq!(Alembic.forget(&site, entry(1)), again);
    }
}
