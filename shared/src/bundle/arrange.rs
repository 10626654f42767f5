//! From the sets that are given to chains: whose format the files are, and which sets share a history table.

use std::collections::BTreeMap;

use super::{BundleError, Chain, Ignored, Link, MANIFEST, SetFiles, SetSpec};
use crate::format::{self, File, FormatError, Migration, Rules};

/// Several directories of one set may hold the same file.
pub(super) fn without_doubles(files: &mut Vec<File>) {
    files.sort_by(|a, b| (&a.name, &a.content).cmp(&(&b.name, &b.content)));
    files.dedup();
}

pub(super) fn rules_of(set: &SetFiles) -> Result<&'static dyn Rules, BundleError> {
    let Some(name) = &set.spec.format else { return format_of(&set.spec.name, &set.files) };
    format::named(name).ok_or_else(|| BundleError::UnknownFormat {
        set: set.spec.name.clone(),
        format: name.clone(),
        known: names(format::ALL, ", "),
    })
}

/// Finds out the format of a set's files: the one whose marks they have, and sqlx where they have none. Its names are
/// those of golang-migrate, too, which nothing in a file tells: that format has to be named.
///
/// # Errors
/// When they have marks of several formats.
pub fn format_of(set: &str, files: &[File]) -> Result<&'static dyn Rules, BundleError> {
    let suiting: Vec<_> = format::ALL.iter().copied().filter(|rules| rules.suits(files)).collect();
    match suiting.as_slice() {
        [] => Ok(&format::sqlx::Sqlx),
        [only] => Ok(*only),
        several => Err(BundleError::Ambiguous { set: set.to_owned(), formats: names(several, " or ") }),
    }
}

fn names(formats: &[&dyn Rules], between: &str) -> String {
    formats.iter().map(|rules| rules.name()).collect::<Vec<_>>().join(between)
}

/// Whether a name is like this pattern, in which `*` is any text.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    (0..=name.len()).any(|at| name.get(at..).is_some_and(|tail| fits(rest, tail)))
}

/// Puts sets that share a history table together.
pub(super) fn chains(given: &[SetFiles]) -> Result<Vec<Chain>, BundleError> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, set) in given.iter().enumerate() {
        let together = |group: &&mut Vec<usize>| {
            let first = &given[group[0]].spec;
            first.scope == set.spec.scope && first.table == set.spec.table
        };
        match groups.iter_mut().find(together) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups.iter().map(|group| chain(given, group)).collect()
}

fn chain(given: &[SetFiles], group: &[usize]) -> Result<Chain, BundleError> {
    let first = &given[group[0]];
    let rules = rules_of(first)?;
    let partial = group.iter().map(|at| &given[*at].spec).find(|spec| spec.when.is_some());
    if let Some(spec) = partial.filter(|_| group.len() > 1 && !rules.lists_all()) {
        return Err(BundleError::Untold { set: spec.name.clone(), format: rules.name().to_owned() });
    }
    let files = shared_files(given, group, rules)?;
    let command = group.iter().find_map(|at| given[*at].spec.command.clone());
    let named = |source: FormatError| match given.len() {
        1 => source.into(),
        _ => {
            let names: Vec<&str> = group.iter().map(|at| given[*at].spec.name.as_str()).collect();
            BundleError::Set { sets: names.join(", "), source }
        }
    };
    let links = links(given, group, rules, &files).map_err(named)?;
    if let Some(code) = links.iter().find(|link| command.is_none() && link.migration.up.is_none()) {
        return Err(named(FormatError::Code { file: code.migration.file.clone() }));
    }
    let versions = links.iter().enumerate();
    Ok(Chain {
        rules,
        table: first.spec.table.clone().unwrap_or_else(|| rules.table().to_owned()),
        scope: first.spec.scope,
        command,
        positions: versions.map(|(at, link)| (link.migration.version.clone(), at)).collect(),
        links,
    })
}

/// Files by name, each with the sets that have it.
type Shared<'a> = BTreeMap<&'a str, (&'a File, Vec<usize>)>;

/// The files of sets that share a history table: of one format, and of one name only where they are one file.
fn shared_files<'a>(
    given: &'a [SetFiles],
    group: &[usize],
    rules: &dyn Rules,
) -> Result<Shared<'a>, BundleError> {
    let first = &given[group[0]].spec;
    let mut files = Shared::new();
    for &at in group {
        let set = &given[at];
        if set.spec.format != first.format {
            let name = |spec: &SetSpec| spec.format.clone().unwrap_or_default();
            return Err(BundleError::MixedFormats {
                first: first.name.clone(),
                second: set.spec.name.clone(),
                formats: format!("{} and {}", name(first), name(&set.spec)),
            });
        }
        for file in &set.files {
            let (known, sets) = files.entry(&file.name).or_insert((file, Vec::new()));
            if known.content != file.content && rules.keeps(&file.name) {
                return Err(BundleError::Clash {
                    first: given[sets[0]].spec.name.clone(),
                    second: set.spec.name.clone(),
                    file: file.name.clone(),
                });
            }
            sets.push(at);
        }
    }
    Ok(files)
}

fn links(
    given: &[SetFiles],
    group: &[usize],
    rules: &dyn Rules,
    files: &Shared<'_>,
) -> Result<Vec<Link>, FormatError> {
    let all: Vec<File> = files.values().map(|(file, _)| (*file).clone()).collect();
    let link = |migration: Migration| {
        // What comes from no file belongs to the set itself.
        let sets =
            files.get(migration.file.as_str()).map_or_else(|| group.to_vec(), |(_, sets)| sets.clone());
        let preamble = sets.iter().find_map(|set| given[*set].spec.preamble.clone());
        Link { id: migration.version.clone(), migration, sets, preamble }
    };
    Ok(rules.parse(&all)?.into_iter().map(link).collect())
}

/// The SQL files that no set keeps: several may be of one directory. What a program makes of its own is not known.
pub(super) fn ignored(given: &[SetFiles]) -> Vec<Ignored> {
    let mut kept = Vec::new();
    let mut left: BTreeMap<&str, &'static str> = BTreeMap::new();
    for set in given.iter().filter(|set| set.spec.command.is_none()) {
        let Some(rules) = set.spec.format.as_deref().and_then(format::named) else { continue };
        for file in &set.files {
            if rules.keeps(&file.name) {
                kept.push(file.name.as_str());
            } else if file.name.to_ascii_lowercase().ends_with(".sql") {
                left.entry(&file.name).or_insert(rules.name());
            }
        }
    }
    left.retain(|file, _| !kept.contains(file));
    left.into_iter().map(|(file, format)| Ignored { file: file.to_owned(), format }).collect()
}

/// The files with their sets' names before theirs, and the arrangement. One plain set is stored as it is.
pub(super) fn stored_files(given: &[SetFiles]) -> Vec<File> {
    let specs: Vec<&SetSpec> = given.iter().map(|set| &set.spec).collect();
    let manifest = serde_json::to_string_pretty(&specs).unwrap_or_default();
    let mut files = vec![File { name: MANIFEST.into(), content: manifest }];
    for set in given {
        let rules = set.spec.format.as_deref().and_then(format::named);
        let name = |file: &File| format!("{}/{}", set.spec.name, file.name);
        let kept = set.files.iter().filter(|file| rules.is_none_or(|rules| rules.keeps(&file.name)));
        files.extend(kept.map(|file| File { name: name(file), content: file.content.clone() }));
    }
    files
}
