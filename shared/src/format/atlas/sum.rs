//! `atlas.sum`: what Atlas last saw in the directory.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::directive;
use crate::format::{File, FormatError};

/// Its name.
pub(super) const NAME: &str = "atlas.sum";

const WAY_OUT: &str = "if that is meant, run: atlas migrate hash";

/// Each file's name with its sum, which is of all files up to it: so the order counts, too.
pub(super) type Sums = Vec<(String, String)>;

/// The sums of these files, in their order. Files that say so at their beginning count by their names alone, and have
/// none.
pub(super) fn sums(files: &[&File]) -> Sums {
    let (mut all, mut hash) = (Vec::new(), Sha256::new());
    for file in files {
        hash.update(file.name.as_bytes());
        if directive::is_left_out_of_sums(&file.content) {
            continue;
        }
        hash.update(file.content.as_bytes());
        all.push((file.name.clone(), STANDARD.encode(hash.clone().finalize())));
    }
    all
}

/// The sum of the sums: the first line.
pub(super) fn total(sums: &Sums) -> String {
    let mut hash = Sha256::new();
    for (name, sum) in sums {
        hash.update(name.as_bytes());
        hash.update(sum.as_bytes());
    }
    STANDARD.encode(hash.finalize())
}

/// Makes sure that the directory is what its sum file says.
///
/// # Errors
/// Names the first file that is not.
pub(super) fn check(sum_file: Option<&File>, sums: &Sums) -> Result<(), FormatError> {
    let Some(sum_file) = sum_file else {
        let reason = "it is missing: run: atlas migrate hash".to_owned();
        return Err(FormatError::Name { file: NAME.into(), reason });
    };
    let said = read(sum_file)?;
    if said == *sums {
        return Ok(());
    }
    let same = said.iter().zip(sums).take_while(|(said, own)| said == own).count();
    let (said_next, own_next) = (said.get(same), sums.get(same));
    let is_there = |name: &str| sums.iter().any(|(own, _)| own == name);
    let (file, what) = match (said_next, own_next) {
        (Some((said, _)), Some((own, _))) if said == own => {
            (own, "it is not what atlas.sum says: it was changed")
        }
        (Some((said, _)), _) if !is_there(said) => (said, "it is in atlas.sum and not in the directory"),
        (_, Some((own, _))) => (own, "it is not in atlas.sum, or not at this place"),
        (Some((said, _)), None) => (said, "it is twice in atlas.sum"),
        (None, None) => return Ok(()),
    };
    Err(FormatError::Name { file: file.clone(), reason: format!("{what} ({WAY_OUT})") })
}

fn read(file: &File) -> Result<Sums, FormatError> {
    let wrong = |line: u32, reason: &str| {
        let reason = format!("{reason} ({WAY_OUT})");
        FormatError::Text { file: NAME.into(), line, reason }
    };
    let mut lines = file.content.lines();
    let first = lines.next().unwrap_or_default();
    let mut sums = Vec::new();
    for (number, line) in (2..).zip(lines) {
        let (name, sum) = line.split_once("h1:").ok_or_else(|| wrong(number, "there is no sum in it"))?;
        sums.push((name.trim().to_owned(), sum.to_owned()));
    }
    if first.strip_prefix("h1:").unwrap_or(first) != total(&sums) {
        return Err(wrong(1, "it is not the sum of the lines below it"));
    }
    Ok(sums)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(pairs: &[(&str, &str)]) -> Vec<File> {
        pairs.iter().map(|(n, c)| File { name: (*n).into(), content: (*c).into() }).collect()
    }

    /// The sum file of these files, in their order.
    pub(in crate::format::atlas) fn sum_file(files: &[File]) -> File {
        let sums = sums(&files.iter().collect::<Vec<_>>());
        let lines: String = sums.iter().map(|(name, sum)| format!("{name} h1:{sum}\n")).collect();
        File { name: NAME.into(), content: format!("h1:{}\n{lines}", total(&sums)) }
    }

    fn complaint(before: &[(&str, &str)], after: &[(&str, &str)]) -> String {
        let after = files(after);
        let sums = sums(&after.iter().collect::<Vec<_>>());
        check(Some(&sum_file(&files(before))), &sums).map_or_else(|e| e.to_string(), |()| "none".into())
    }

    #[test]
    fn sums_are_those_of_atlas() {
        let body = "CREATE TABLE t (id int);\nCREATE INDEX i ON t (id);\n";
        let known = "h1:KJdEwUpZAGDLbt0wG6yXCdEkrAzJ//ZtbTg0WD81EME=\n1_create_t.sql h1:6MwDf7+o7bjLEq5vDh9u3xzL9sZKci5vIlB8f1k7zPE=\n";
        assert_eq!(sum_file(&files(&[("1_create_t.sql", body)])).content, known);
    }

    #[test]
    fn the_first_file_that_differs_is_named() {
        let two = [("1_a.sql", "a"), ("2_b.sql", "b")];
        assert_eq!(complaint(&two, &two), "none");
        assert!(
            complaint(&two, &[("1_a.sql", "x"), ("2_b.sql", "b")]).starts_with("1_a.sql: it is not what")
        );
        assert!(complaint(&two, &two[..1]).starts_with("2_b.sql: it is in atlas.sum and not"));
        assert!(complaint(&two[..1], &two).starts_with("2_b.sql: it is not in atlas.sum"));
        assert!(complaint(&two[1..], &two).starts_with("1_a.sql: it is not in atlas.sum"));
        assert!(complaint(&two[..1], &two).ends_with("run: atlas migrate hash)"));
    }

    #[test]
    fn a_sum_file_that_is_damaged_is_refused() {
        let content = |text: &str| File { name: NAME.into(), content: text.into() };
        assert!(matches!(check(None, &Vec::new()), Err(FormatError::Name { .. })));
        let mut damaged = sum_file(&files(&[("1_a.sql", "a")]));
        damaged.content = damaged.content.replacen("h1:", "h1:x", 1);
        assert!(matches!(check(Some(&damaged), &Vec::new()), Err(FormatError::Text { line: 1, .. })));
        assert!(matches!(
            check(Some(&content("h1:\n1_a.sql")), &Vec::new()),
            Err(FormatError::Text { line: 2, .. })
        ));
    }

    proptest! {
        #[test]
        fn any_change_of_a_file_is_found(contents in prop::collection::vec("[a-c]{0,3}", 1..5), at in 0_usize..5, new in "[a-d]{0,3}") {
            let at = at % contents.len();
            let named = |contents: &[String]| -> Vec<File> {
                contents.iter().enumerate().map(|(i, c)| File { name: format!("{i}.sql"), content: c.clone() }).collect()
            };
            let before = named(&contents);
            let mut changed = contents.clone();
            changed[at].clone_from(&new);
            let after = named(&changed);
            let found = check(Some(&sum_file(&before)), &sums(&after.iter().collect::<Vec<_>>()));
            match found {
                Ok(()) => prop_assert_eq!(&contents[at], &new),
                Err(FormatError::Name { file, .. }) => prop_assert_eq!(file, format!("{at}.sql")),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
