//! From the files of a Flyway location to migrations.

use std::collections::{BTreeMap, HashMap, btree_map::Entry as Slot};

use super::name::{self, Name, Parts, Role, parts};
use crate::format::{File, FormatError, Migration, Script};

/// What stands beside a script, in a file of its name with `.conf` behind.
pub(super) const SIDECAR: &str = ".conf";

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

struct Found<'a> {
    name: Name,
    file: &'a File,
}

/// The migrations of a location: versioned ones in the order of their versions, then repeatable ones in that of their
/// descriptions.
pub(super) fn parse(files: &[File]) -> Result<Vec<Migration>, FormatError> {
    let settings = Settings::of(files)?;
    let mut versioned: [BTreeMap<Parts, Found<'_>>; 3] = Default::default();
    let mut repeatable = BTreeMap::new();
    for file in files {
        let Some(name) = name::read(&file.name)? else { continue };
        let found = Found { name, file };
        let key = parts(&found.name.version).unwrap_or_default();
        match found.name.role {
            Role::Versioned => insert(&mut versioned[0], key, found)?,
            Role::Undo => insert(&mut versioned[1], key, found)?,
            Role::Baseline => insert(&mut versioned[2], key, found)?,
            Role::Repeatable => insert(&mut repeatable, found.name.description.clone(), found)?,
        }
    }
    let [mut ups, undos, baselines] = versioned;
    start_at_baseline(&mut ups, baselines)?;
    if let Some((_, lone)) = undos.iter().find(|(key, _)| !ups.contains_key(*key)) {
        let reason = format!("there is no V{}__….sql that it undoes", lone.name.version);
        return Err(FormatError::Name { file: lone.file.name.clone(), reason });
    }
    if ups.is_empty() && repeatable.is_empty() {
        return Err(FormatError::Empty);
    }
    let with_undo = ups.iter().map(|(key, up)| (up, undos.get(key)));
    let all = with_undo.chain(repeatable.values().map(|found| (found, None)));
    all.map(|(found, undo)| migration(found, undo, &settings)).collect()
}

fn insert<'a, K: Ord>(found: &mut BTreeMap<K, Found<'a>>, key: K, new: Found<'a>) -> Result<(), FormatError> {
    match found.entry(key) {
        Slot::Vacant(slot) => slot.insert(new),
        Slot::Occupied(taken) => {
            let (first, second) = (taken.get().file.name.clone(), new.file.name.clone());
            return Err(FormatError::Duplicate {
                version: version(&new.name).as_str().into(),
                first,
                second,
            });
        }
    };
    Ok(())
}

/// The newest baseline stands for the versioned migrations up to its version. Where they are there they are run, as
/// they were in every older database; where they are not, it is the first migration.
fn start_at_baseline<'a>(
    ups: &mut BTreeMap<Parts, Found<'a>>,
    mut baselines: BTreeMap<Parts, Found<'a>>,
) -> Result<(), FormatError> {
    let Some((key, newest)) = baselines.pop_last() else { return Ok(()) };
    if ups.contains_key(&key) {
        return Ok(());
    }
    if let Some((_, older)) = ups.first_key_value().filter(|(oldest, _)| **oldest < key) {
        let reason = format!(
            "whether the versioned migrations up to it are all there cannot be told: {} is, V{}__….sql is not",
            older.file.name, newest.name.version
        );
        return Err(FormatError::Name { file: newest.file.name.clone(), reason });
    }
    ups.insert(key, newest);
    Ok(())
}

/// What a migration is known by.
fn version(name: &Name) -> String {
    match name.role {
        Role::Repeatable => super::repeatable(&name.description),
        _ => name.version.clone(),
    }
}

fn migration(
    found: &Found<'_>,
    undo: Option<&Found<'_>>,
    settings: &Settings<'_>,
) -> Result<Migration, FormatError> {
    Ok(Migration {
        version: version(&found.name).into(),
        description: found.name.description.clone(),
        file: found.file.name.clone(),
        up: Some(settings.script(found.file)?),
        down: undo.map(|undo| settings.script(undo.file)).transpose()?,
        checksum: Some(checksum(&found.file.content).to_string()),
        equivalents: Vec::new(),
        repeatable: found.name.role == Role::Repeatable,
        after: None,
    })
}

/// CRC-32 of the lines without what ends them, as a number with a sign.
pub(super) fn checksum(text: &str) -> i32 {
    let mut digest = CRC.digest();
    for line in without_mark(text).split(['\r', '\n']) {
        digest.update(line.as_bytes());
    }
    digest.finalize().cast_signed()
}

/// The text without the mark of its byte order.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// How a script is run, by its sidecar.
#[derive(Clone, Copy)]
struct Setting {
    transaction: bool,
    placeholders: bool,
}

struct Settings<'a>(HashMap<&'a str, Setting>);

impl<'a> Settings<'a> {
    fn of(files: &'a [File]) -> Result<Self, FormatError> {
        let mut all = HashMap::new();
        for file in files {
            let Some(script) = file.name.strip_suffix(SIDECAR) else { continue };
            if matches!(name::read(script), Ok(Some(_))) {
                all.insert(script, setting(file)?);
            }
        }
        Ok(Self(all))
    }

    fn script(&self, file: &File) -> Result<Script, FormatError> {
        let plain = Setting { transaction: true, placeholders: true };
        let setting = self.0.get(file.name.as_str()).copied().unwrap_or(plain);
        let text = without_mark(&file.content);
        if setting.placeholders {
            without_placeholders(file, text)?;
        }
        Ok(Script::whole(text, !setting.transaction))
    }
}

fn setting(file: &File) -> Result<Setting, FormatError> {
    let mut setting = Setting { transaction: true, placeholders: true };
    for (number, line) in (1..).zip(file.content.lines()) {
        let wrong = |reason: String| Err(FormatError::Text { file: file.name.clone(), line: number, reason });
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let value = value.trim();
        match (key.trim(), value.to_ascii_lowercase().as_str()) {
            ("executeInTransaction", "true" | "false") => {
                setting.transaction = value.eq_ignore_ascii_case("true")
            }
            ("placeholderReplacement", "true" | "false") => {
                setting.placeholders = value.eq_ignore_ascii_case("true")
            }
            ("encoding", "utf-8" | "utf8") => {}
            ("executeInTransaction" | "placeholderReplacement", _) => {
                return wrong(format!("'{value}' is neither true nor false"));
            }
            (key, _) => return wrong(format!("'{key}' is not known here")),
        }
    }
    Ok(setting)
}

/// Flyway puts values in wherever `${` stands, in comments too. None are known here.
fn without_placeholders(file: &File, text: &str) -> Result<(), FormatError> {
    let Some((line, text)) = (1..).zip(text.lines()).find(|(_, line)| line.contains("${")) else {
        return Ok(());
    };
    let start = text.find("${").unwrap_or_default();
    let end = text[start..].find('}').map_or(text.len(), |at| start + at + 1);
    let reason = format!(
        "there is no value for the placeholder {}: write it out, or say placeholderReplacement=false in {}{SIDECAR}",
        &text[start..end],
        file.name
    );
    Err(FormatError::Text { file: file.name.clone(), line, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &str = "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n";

    fn files(pairs: &[(&str, &str)]) -> Vec<File> {
        pairs.iter().map(|(n, c)| File { name: (*n).into(), content: (*c).into() }).collect()
    }

    fn named(names: &[&str]) -> Result<Vec<Migration>, FormatError> {
        parse(&files(&names.iter().map(|n| (*n, BODY)).collect::<Vec<_>>()))
    }

    fn versions(parsed: &[Migration]) -> Vec<&str> {
        parsed.iter().map(|m| m.version.as_str()).collect()
    }

    #[test]
    fn the_checksum_is_of_the_lines_alone() {
        assert_eq!(checksum(BODY), -1_251_861_000);
        assert_eq!(checksum(&BODY.replace('\n', "\r\n")), -1_251_861_000);
        assert_eq!(checksum(&format!("\u{feff}{}", BODY.trim_end())), -1_251_861_000);
        assert_ne!(checksum(&BODY.replace(' ', "")), -1_251_861_000);
    }

    #[test]
    fn versioned_ones_come_in_their_order_and_repeatable_ones_after_them() {
        let parsed =
            named(&["R__views.sql", "b/V10__c.sql", "V1_1__b.sql", "R__a_b.sql", "a/V1__a.sql"]).unwrap();
        assert_eq!(versions(&parsed), ["1", "1.1", "10", "R__a_b", "R__views"]);
        assert_eq!(parsed.iter().filter(|m| m.repeatable).count(), 2);
        assert_eq!((parsed[1].description.as_str(), parsed[2].file.as_str()), ("b", "b/V10__c.sql"));
    }

    #[test]
    fn an_undo_belongs_to_its_version() {
        let parsed = named(&["V1__a.sql", "U01.0__a.sql", "V2__b.sql"]).unwrap();
        assert_eq!(parsed.iter().map(|m| m.down.is_some()).collect::<Vec<_>>(), [true, false]);
        assert!(named(&["V1__a.sql", "U2__b.sql"]).unwrap_err().to_string().starts_with("U2__b.sql: "));
    }

    #[test]
    fn two_files_of_one_version_or_description_are_refused() {
        for names in [["V1__a.sql", "V1.0__b.sql"], ["R__a.sql", "x/R__a.sql"], ["B1__a.sql", "B01__b.sql"]] {
            assert!(matches!(named(&names), Err(FormatError::Duplicate { .. })), "{names:?}");
        }
        assert_eq!(named(&["README.md"]), Err(FormatError::Empty));
    }

    #[test]
    fn a_baseline_counts_only_where_what_it_stands_for_is_not_there() {
        assert_eq!(
            versions(&named(&["V1__a.sql", "V2__b.sql", "B2__ab.sql", "V3__c.sql"]).unwrap()),
            ["1", "2", "3"]
        );
        let parsed = named(&["B1__old.sql", "B2__ab.sql", "V3__c.sql"]).unwrap();
        assert_eq!((versions(&parsed), parsed[0].file.as_str()), (vec!["2", "3"], "B2__ab.sql"));
        assert!(named(&["V1__a.sql", "B2__ab.sql"]).unwrap_err().to_string().contains("V1__a.sql is, V2__"));
    }

    #[test]
    fn a_placeholder_is_refused_with_its_line() {
        let bad = files(&[("V1__a.sql", "SELECT 1;\n-- for ${owner}\n")]);
        let error = parse(&bad).unwrap_err().to_string();
        assert!(error.starts_with("V1__a.sql line 2: ") && error.contains("${owner}"), "{error}");
        let good =
            files(&[("V1__a.sql", "SELECT '${x}';"), ("V1__a.sql.conf", "placeholderReplacement=false")]);
        assert!(!parse(&good).unwrap()[0].up.as_ref().unwrap().marked);
    }

    #[test]
    fn a_sidecar_says_that_a_script_runs_outside_a_transaction() {
        let with = |conf: &str| parse(&files(&[("V1__a.sql", BODY), ("V1__a.sql.conf", conf)]));
        assert!(
            with("# why\n\nexecuteInTransaction = FALSE\nencoding=UTF-8\n").unwrap()[0]
                .up
                .as_ref()
                .unwrap()
                .marked
        );
        for (conf, line) in
            [("executeInTransaction=no", 1), ("\nshouldExecute=a==b", 2), ("encoding=latin1", 1)]
        {
            assert!(matches!(with(conf), Err(FormatError::Text { line: at, .. }) if at == line), "{conf}");
        }
    }

    proptest! {
        #[test]
        fn the_ends_of_lines_do_not_matter(lines in prop::collection::vec("[a-zä;()]{0,12}", 0..8)) {
            let one = checksum(&lines.join("\n"));
            prop_assert_eq!(checksum(&lines.join("\r\n")), one);
            prop_assert_eq!(checksum(&lines.join("\r")), one);
            prop_assert_eq!(checksum(&(lines.join("\n") + "\n")), one);
        }
    }
}
