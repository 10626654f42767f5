//! The format of dbmate: `<version>….sql`, both sides in one file.
//!
//! The version is the digits that the name begins with, as a text; the order is that of the names, as texts. A file is
//! comments, then a block that begins with the line `-- migrate:up`, then one that begins with `-- migrate:down`, which
//! may be empty and must be there. Options follow on these lines: `transaction:false` and nothing else matters. The
//! text that runs has its directive in it, as a comment.
//!
//! A second `-- migrate:up` is refused: the tool itself fails at such a file, with half of it done.

use std::time::Duration;

use super::{
    Applied, Draft, Entry, File, FormatError, Migration, Rules, Script, is_code, is_silent, leading_digits,
    lines, listed,
};
use crate::{
    place::Engine,
    site::{Row, Site},
};

const UP: &str = "migrate:up";
const DOWN: &str = "migrate:down";

/// The rules of dbmate.
#[derive(Debug)]
pub struct Dbmate;

impl Rules for Dbmate {
    fn name(&self) -> &'static str {
        "dbmate"
    }

    fn table(&self) -> &'static str {
        "schema_migrations"
    }

    fn suits(&self, files: &[File]) -> bool {
        let has_up = |file: &File| file.content.lines().any(|line| options(line, UP).is_some());
        files.iter().any(|file| self.keeps(&file.name) && has_up(file))
    }

    fn keeps(&self, name: &str) -> bool {
        leading_digits(name).is_some() && name.ends_with(".sql") && !name.contains('/')
    }

    fn parse(&self, files: &[File]) -> Result<Vec<Migration>, FormatError> {
        let top = |file: &&File| leading_digits(&file.name).is_some() && !file.name.contains('/');
        if let Some(code) = files.iter().filter(top).find(|file| is_code(&file.name)) {
            return Err(FormatError::Code { file: code.name.clone() });
        }
        let mut own: Vec<&File> = files.iter().filter(|file| self.keeps(&file.name)).collect();
        own.sort_by(|a, b| a.name.cmp(&b.name));
        let migrations: Vec<Migration> = own.into_iter().map(migration).collect::<Result<_, _>>()?;
        super::of_different_versions(migrations)
    }

    fn skeleton(&self, draft: &Draft<'_>) -> Vec<File> {
        let option = if draft.no_transaction { " transaction:false" } else { "" };
        let down = if draft.reversible { draft.comment("revert") } else { String::new() };
        let content = format!("-- {UP}{option}\n{}\n-- {DOWN}{option}\n{down}", draft.comment("apply"));
        vec![File { name: format!("{}_{}.sql", draft.number, draft.words), content }]
    }

    fn create(&self, site: &Site) -> String {
        let kind = if site.engine == Engine::Postgres { "VARCHAR" } else { "VARCHAR(128)" };
        format!("CREATE TABLE IF NOT EXISTS {} (version {kind} PRIMARY KEY)", site.table())
    }

    fn select(&self, site: &Site) -> String {
        listed::select(site, "version")
    }

    fn read(&self, rows: &[Row], _: &[&Migration]) -> Vec<Applied> {
        listed::read(rows)
    }

    fn record(&self, site: &Site, entry: Entry<'_>, _: Duration, _: bool) -> String {
        listed::insert(site, "version", entry)
    }

    fn forget(&self, site: &Site, entry: Entry<'_>) -> String {
        listed::delete(site, "version", entry)
    }
}

fn migration(file: &File) -> Result<Migration, FormatError> {
    let (up, down) = sides(file)?;
    let version = leading_digits(&file.name).unwrap_or_default();
    let title = file.name[version.len()..].trim_end_matches(".sql");
    Ok(Migration {
        version: version.into(),
        description: title.replace(['_', '-'], " ").trim().to_owned(),
        file: file.name.clone(),
        up: Some(up),
        down: Some(down),
        checksum: None,
        equivalents: Vec::new(),
        repeatable: false,
        after: None,
    })
}

fn sides(file: &File) -> Result<(Script, Script), FormatError> {
    let text = &file.content;
    let refuse = |line: u32, reason: &str| {
        Err(FormatError::Text { file: file.name.clone(), line, reason: reason.to_owned() })
    };
    let (mut up, mut down) = (None, None);
    for (number, at, line) in lines(text) {
        if let Some(outside) = options(line, UP) {
            match (up, down) {
                (None, None) => up = Some((at.start, outside)),
                (None, Some(_)) => {
                    return refuse(number, "'-- migrate:up' must stand before '-- migrate:down'");
                }
                _ => {
                    return refuse(
                        number,
                        "a second '-- migrate:up' does not work with dbmate: make it a file",
                    );
                }
            }
        } else if let Some(outside) = options(line, DOWN) {
            down = down.or(Some((at.start, outside)));
        } else if up.is_none() && down.is_none() && !is_silent(line) {
            return refuse(number, "SQL must not stand before '-- migrate:up'");
        }
    }
    match (up, down) {
        (None, _) => refuse(1, "there is no line '-- migrate:up'"),
        (_, None) => refuse(1, "there is no line '-- migrate:down' (it may have nothing after it)"),
        (Some((up, up_outside)), Some((down, down_outside))) => {
            Ok((Script::part(text, up..down, up_outside), Script::part(text, down..text.len(), down_outside)))
        }
    }
}

/// Whether a line is this directive, and if so, whether its block runs outside a transaction.
fn options(line: &str, directive: &str) -> Option<bool> {
    let options = line.strip_prefix("--")?.trim_start().strip_prefix(directive)?;
    let alone = options.is_empty() || options.starts_with(char::is_whitespace);
    alone.then(|| options.split_whitespace().any(|option| option == "transaction:false"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(name: &str, content: &str) -> File {
        File { name: name.into(), content: content.into() }
    }

    fn one(content: &str) -> Result<Migration, FormatError> {
        Dbmate.parse(&[file("20240101_a.sql", content)]).map(|mut all| all.remove(0))
    }

    fn refused(content: &str) -> (u32, String) {
        match one(content).unwrap_err() {
            FormatError::Text { line, reason, .. } => (line, reason),
            error => panic!("{error}"),
        }
    }

    const EMPTY: &str = "-- migrate:up\n-- migrate:down\n";

    #[test]
    fn the_order_is_that_of_the_names() {
        let files =
            ["2.sql", "10_b.sql", "1_a.sql", "below/3.sql", "07x.sql", "4.SQL"].map(|n| file(n, EMPTY));
        let all = Dbmate.parse(&files).unwrap();
        let versions: Vec<_> = all.iter().map(|m| m.version.as_str()).collect();
        assert_eq!(versions, ["07", "10", "1", "2"]);
    }

    #[test]
    fn a_block_has_its_directive_its_line_and_its_options() {
        let text =
            "-- why\r\n\r\n--migrate:up transaction:false foo:bar\r\nVACUUM;\r\n-- migrate:down\r\nSELECT 1;";
        let both = one(text).unwrap();
        let (up, down) = (both.up.unwrap(), both.down.unwrap());
        assert_eq!((up.line, up.marked), (3, true));
        assert_eq!(up.text, "--migrate:up transaction:false foo:bar\r\nVACUUM;\r\n");
        assert_eq!((down.line, down.marked, down.text.as_str()), (5, false, "-- migrate:down\r\nSELECT 1;"));
        assert_eq!(both.version, "20240101".into());
    }

    #[test]
    fn an_empty_block_is_nothing_to_run() {
        let both = one(EMPTY).unwrap();
        assert_eq!((both.up.unwrap().text, both.down.unwrap().text), (String::new(), String::new()));
        let other = one("-- migrate:up transaction:nope\nSELECT 1;\n-- migrate:down\n").unwrap();
        assert!(!other.up.unwrap().marked);
    }

    #[test]
    fn what_the_tool_refuses_is_refused() {
        assert_eq!(refused("SELECT 1;\n-- migrate:up\n-- migrate:down\n").0, 1);
        assert!(refused("-- migrate:up\nSELECT 1;\n").1.contains("migrate:down"));
        for no_up in
            ["", "-- Migrate:Up\n", " -- migrate:up\n", "-- migrate:upx\n", "\u{feff}-- migrate:up\n"]
        {
            refused(&format!("{no_up}-- migrate:down\n"));
        }
        assert_eq!(refused("-- migrate:down\n-- migrate:up\n").0, 2);
        assert_eq!(refused("-- migrate:up\n-- migrate:down\n-- migrate:up\n-- migrate:down\n").0, 3);
    }

    #[test]
    fn two_files_of_one_version_and_code_are_refused() {
        let two = Dbmate.parse(&[file("1_a.sql", EMPTY), file("1_b.sql", EMPTY)]);
        assert!(matches!(two, Err(FormatError::Duplicate { .. })));
        let code = Dbmate.parse(&[file("1_a.sql", EMPTY), file("2_b.rb", "")]);
        assert_eq!(code, Err(FormatError::Code { file: "2_b.rb".into() }));
    }

    #[test]
    fn only_its_directive_makes_a_directory_its_own() {
        assert!(Dbmate.suits(&[file("1_a.sql", EMPTY)]));
        assert!(!Dbmate.suits(&[file("1_a.sql", "SELECT 1;"), file("README.md", EMPTY)]));
    }

    proptest! {
        #[test]
        fn both_sides_together_are_the_file(before in "(-- [a-z]{0,5}\n)?", up in "[a-z;\n]{0,20}", down in "[a-z;\n]{0,20}") {
            let text = format!("{before}-- migrate:up\nx{up}\n-- migrate:down\nx{down}");
            let both = one(&text).unwrap();
            prop_assert_eq!(before + &both.up.unwrap().text + &both.down.unwrap().text, text);
        }
    }
}
