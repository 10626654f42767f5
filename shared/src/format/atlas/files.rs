//! Atlas's files: which are migrations, and what they say.

use std::collections::HashMap;

use super::{
    super::{File, FormatError, Migration, Script, is_code, of_different_versions},
    directive, sum,
};

/// Whether a file can be a migration.
pub(super) fn is_script(name: &str) -> bool {
    name.ends_with(".sql") && !name.contains('/')
}

/// The version and the description that a script's name says.
pub(super) fn parts(name: &str) -> (&str, &str) {
    let stem = name.strip_suffix(".sql").unwrap_or(name);
    stem.split_once('_').unwrap_or((stem, ""))
}

/// Reads the files of a directory, which must be as its sums say.
pub(super) fn parse(files: &[File]) -> Result<Vec<Migration>, FormatError> {
    let mut scripts: Vec<&File> = files.iter().filter(|file| is_script(&file.name)).collect();
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    let code = |file: &&File| is_code(&file.name) && file.name.starts_with(|c: char| c.is_ascii_digit());
    if let Some(code) = files.iter().find(code) {
        return Err(FormatError::Code { file: code.name.clone() });
    }
    if scripts.is_empty() {
        return Err(FormatError::Empty);
    }
    let sums = sum::sums(&scripts);
    sum::check(files.iter().find(|file| file.name == sum::NAME), &sums)?;
    let sums: HashMap<String, String> = sums.into_iter().collect();
    let migration = |file: &&File| migration(file, sums.get(&file.name));
    let migrations: Result<_, _> = without_checkpoints(&scripts).iter().map(migration).collect();
    of_different_versions(migrations?)
}

/// Checkpoints stand for what is before them. Where nothing is, the last of them is the first migration.
fn without_checkpoints<'a>(scripts: &[&'a File]) -> Vec<&'a File> {
    let is_checkpoint = |file: &File| !directive::of_file(&file.content, "checkpoint").is_empty();
    let first = scripts.iter().position(|file| !is_checkpoint(file)).unwrap_or(scripts.len());
    let start = first.saturating_sub(1);
    let rest = scripts[first..].iter().filter(|file| !is_checkpoint(file));
    scripts[start..first].iter().chain(rest).copied().collect()
}

fn migration(file: &File, sum: Option<&String>) -> Result<Migration, FormatError> {
    let wrong = |reason: String| FormatError::Name { file: file.name.clone(), reason };
    let Some(sum) = sum else {
        return Err(wrong("it says 'atlas:sum ignore', and Atlas applies no file that has no sum".into()));
    };
    if let Some(delimiter) = directive::delimiter(&file.content) {
        return Err(wrong(format!("only Atlas itself takes it apart at '{delimiter}' (atlas:delimiter)")));
    }
    if !directive::of_file(&file.content, "txtar").is_empty() {
        return Err(wrong("only Atlas itself makes its checks (atlas:txtar)".into()));
    }
    let marked = match directive::of_file(&file.content, "txmode").as_slice() {
        [] | ["file"] => false,
        ["none"] => true,
        [mode] => return Err(wrong(format!("'{mode}' is no atlas:txmode of a file (none or file)"))),
        _ => return Err(wrong("it says atlas:txmode more than once".into())),
    };
    let (version, description) = parts(&file.name);
    Ok(Migration {
        version: version.into(),
        description: description.replace('_', " "),
        file: file.name.clone(),
        up: Some(Script::whole(&file.content, marked)),
        down: None,
        checksum: Some(sum.clone()),
        equivalents: Vec::new(),
        repeatable: false,
        after: None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::format::atlas) fn files(pairs: &[(&str, &str)]) -> Vec<File> {
        let mut files: Vec<File> =
            pairs.iter().map(|(n, c)| File { name: (*n).into(), content: (*c).into() }).collect();
        files.push(sum::tests::sum_file(&files));
        files
    }

    fn versions(pairs: &[(&str, &str)]) -> Vec<String> {
        parse(&files(pairs)).unwrap().iter().map(|m| m.version.to_string()).collect()
    }

    fn refused(content: &str) -> bool {
        let wrong = parse(&files(&[("1_a.sql", content)]));
        matches!(wrong, Err(FormatError::Name { file, .. }) if file == "1_a.sql")
    }

    #[test]
    fn files_are_ordered_by_name_and_keep_their_sum() {
        let parsed = parse(&files(&[("1_create_t.sql", "a"), ("2.sql", "b"), ("3_x_y.sql", "c")])).unwrap();
        let names: Vec<_> = parsed.iter().map(|m| (m.version.as_str(), m.description.as_str())).collect();
        assert_eq!(names, [("1", "create t"), ("2", ""), ("3", "x y")]);
        assert!(parsed[0].checksum.as_ref().is_some_and(|sum| sum.len() == 44));
    }

    #[test]
    fn a_directory_that_is_not_as_its_sums_say_is_refused() {
        let mut changed = files(&[("1_a.sql", "a")]);
        changed[0].content.push('b');
        assert!(parse(&changed).unwrap_err().to_string().contains("atlas migrate hash"));
        changed.pop();
        assert!(parse(&changed).unwrap_err().to_string().starts_with("atlas.sum: "));
    }

    #[test]
    fn directives_are_followed_or_refused() {
        let marked =
            |content: &str| parse(&files(&[("1_a.sql", content)])).unwrap()[0].up.as_ref().unwrap().marked;
        assert!(marked("-- atlas:txmode none\n\nVACUUM;"));
        assert!(!marked("-- atlas:txmode file\n\nSELECT 1;") && !marked("-- atlas:txmode none\nSELECT 1;"));
        for content in [
            "-- atlas:txmode all\n\nSELECT 1;",
            "-- atlas:txmode none\n-- atlas:txmode none\n\nSELECT 1;",
            "-- atlas:delimiter //\n\nSELECT 1//",
            "-- atlas:txtar\n\n-- migration.sql --\nSELECT 1;",
            "-- atlas:sum ignore\n\nSELECT 1;",
        ] {
            assert!(refused(content), "{content}");
        }
    }

    #[test]
    fn two_files_of_one_version_and_code_are_refused() {
        let twice = parse(&files(&[("1_a.sql", "a"), ("1_b.sql", "b")]));
        assert!(matches!(twice, Err(FormatError::Duplicate { .. })));
        let mut with_code = files(&[("1_a.sql", "a")]);
        with_code.push(File { name: "2_b.go".into(), content: String::new() });
        assert_eq!(parse(&with_code), Err(FormatError::Code { file: "2_b.go".into() }));
    }

    #[test]
    fn a_checkpoint_is_run_only_where_nothing_is_before_it() {
        let checkpoint = "-- atlas:checkpoint\n\nCREATE TABLE t (id int);";
        assert_eq!(versions(&[("1_a.sql", "a"), ("2_c.sql", checkpoint), ("3_b.sql", "b")]), ["1", "3"]);
        assert_eq!(
            versions(&[("1_c.sql", checkpoint), ("2_c.sql", checkpoint), ("3_b.sql", "b")]),
            ["2", "3"]
        );
    }
}
