//! A bundle: an immutable arrangement of migrations, named by the digest of its files, so that every worker on every
//! machine applies the same bytes.
//!
//! Its files are arranged in *sets*: directories with what belongs to them (a format, a history table, which tenants
//! take it). Sets that keep their history in one table are one *chain*: a sequence of migrations in the order of
//! their format, whichever set each came from. Chains follow each other in the order in which the sets are given.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{
    command::{CommandError, CommandSpec},
    format::{self, Applied, File, FormatError, Migration, Rules},
    selector::Selector,
    site::Row,
    tenant::Labels,
    version::Version,
};
pub use crate::{digest::Digest, tenant::Scope};

/// The name of the only set where none are configured.
pub const ONLY_SET: &str = "main";

/// How the arrangement is written down among the bundle's files.
const MANIFEST: &str = "tenantry-sets.json";

/// What belongs to a set of migrations beside its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SetSpec {
    /// Its name.
    pub name: String,
    /// Its format; none is found out from its files.
    pub format: Option<String>,
    /// Which files of its directories are its own: a name in which `*` is any text. None is all.
    pub files: Option<String>,
    /// Its history table; none is the format's own.
    pub table: Option<String>,
    /// Which databases it is for.
    pub scope: Scope,
    /// Only tenants whose labels match take it.
    pub when: Option<String>,
    /// SQL that every migration of it begins with: settings of the session.
    pub preamble: Option<String>,
    /// The program that migrates in place of our own engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSpec>,
}

/// A set's files with what belongs to them.
#[derive(Clone, Debug)]
pub struct SetFiles {
    /// What belongs to them.
    pub spec: SetSpec,
    /// Every file of its directories.
    pub files: Vec<File>,
}

/// What is wrong with an arrangement of sets.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BundleError {
    /// The files of one chain.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The files of sets among others.
    #[error("set {sets}: {source}")]
    Set {
        /// The sets that share the history table.
        sets: String,
        /// What is wrong.
        source: FormatError,
    },
    /// A set has two files of one name.
    #[error("set {set} has {file} twice, with different contents")]
    Twice {
        /// The set.
        set: String,
        /// The file.
        file: String,
    },
    /// There is no such set.
    #[error("there is no set '{set}' (there are: {known})")]
    UnknownSet {
        /// The name.
        set: String,
        /// All names.
        known: String,
    },
    /// There is no such format.
    #[error("set {set}: there is no format '{format}' (known: {known})")]
    UnknownFormat {
        /// The set.
        set: String,
        /// The name.
        format: String,
        /// All names.
        known: String,
    },
    /// The files have marks of several formats.
    #[error("set {set}: its files could be of {formats}")]
    Ambiguous {
        /// The set.
        set: String,
        /// The formats.
        formats: String,
    },
    /// Sets that share a history table must be of one format.
    #[error("sets {first} and {second} keep their history in one table and are of two formats ({formats})")]
    MixedFormats {
        /// One set.
        first: String,
        /// The other.
        second: String,
        /// Both formats.
        formats: String,
    },
    /// A history that does not list every migration cannot be shared with a set that only some tenants take.
    #[error(
        "set {set} is for some tenants, and {format} cannot tell in a history it shares which of its migrations they have"
    )]
    Untold {
        /// The set.
        set: String,
        /// The format.
        format: String,
    },
    /// Two sets have different files of one name, and share a history table.
    #[error("sets {first} and {second} both have {file}, with different contents")]
    Clash {
        /// One set.
        first: String,
        /// The other.
        second: String,
        /// The file.
        file: String,
    },
    /// A set's condition cannot be read.
    #[error("set {set}: {reason}")]
    Condition {
        /// The set.
        set: String,
        /// Why.
        reason: String,
    },
    /// A set's command cannot be used.
    #[error("set {set}: {source}")]
    Command {
        /// The set.
        set: String,
        /// Why.
        source: CommandError,
    },
    /// No set is for the tenants.
    #[error("no set of migrations is for the tenants")]
    NoTenants,
    /// The stored arrangement is damaged.
    #[error("the arrangement of the sets cannot be read")]
    Manifest,
}

/// A set of migrations as a bundle holds it.
#[derive(Clone, Debug)]
pub struct Set {
    /// What it was given with; format and table are always there.
    pub spec: SetSpec,
    /// Which tenants take it; none is all.
    pub when: Option<Selector>,
    /// Whether it is worked: see [`Bundle::only`].
    pub chosen: bool,
}

/// Migrations that share a history table, in the order in which they are applied.
#[derive(Clone, Debug)]
pub struct Chain {
    /// How its files are named and its history is kept.
    pub rules: &'static dyn Rules,
    /// The history table.
    pub table: String,
    /// Which databases it is for.
    pub scope: Scope,
    /// The migrations, each with the sets that it belongs to.
    pub links: Vec<Link>,
    /// The program that applies them; none is our own engine.
    pub command: Option<CommandSpec>,
    positions: HashMap<Version, usize>,
}

impl Chain {
    /// What the rows of its history table say was applied.
    #[must_use]
    pub fn history(&self, rows: &[Row]) -> Vec<Applied> {
        let migrations: Vec<&Migration> = self.links.iter().map(|link| &link.migration).collect();
        self.rules.read(rows, &migrations)
    }

    /// Where in the chain the migration of this version is.
    #[must_use]
    pub fn position(&self, version: &Version) -> Option<usize> {
        self.positions.get(version).copied()
    }

    /// Whether the migration at one place must not be applied before that at another one. Places tell it, unless a
    /// migration says itself what it comes after.
    #[must_use]
    pub fn comes_after(&self, later: usize, earlier: usize) -> bool {
        let after = |at: usize| &self.links[at].migration.after;
        if after(later).is_none() && after(earlier).is_none() {
            return later > earlier;
        }
        let (mut left, mut seen) = (vec![later], HashSet::from([later]));
        while let Some(at) = left.pop() {
            let before = after(at).iter().flatten().filter_map(|version| self.position(version));
            left.extend(before.filter(|at| seen.insert(*at)));
        }
        later != earlier && seen.contains(&earlier)
    }
}

/// A migration in a chain.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its name in the bundle: the version, and before it the chain's first set where that is not the main chain.
    pub id: Version,
    /// The migration.
    pub migration: Migration,
    /// The sets that it belongs to, by their place in the bundle.
    pub sets: Vec<usize>,
    /// SQL that it begins with.
    pub preamble: Option<String>,
}

/// An immutable arrangement of migrations. It holds at least one for tenants.
#[derive(Clone, Debug)]
pub struct Bundle {
    digest: Digest,
    files: Vec<File>,
    ignored: Vec<Ignored>,
    sets: Vec<Set>,
    chains: Vec<Chain>,
    main: usize,
}

/// A file that ends like SQL and is no migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The file.
    pub file: String,
    /// The format by whose rules it is none.
    pub format: &'static str,
}

impl Bundle {
    /// Reads files into a bundle of one set, whose format is found out. Files that are no migrations are not part of it.
    ///
    /// # Errors
    /// As [`Self::of_sets`].
    pub fn new(files: Vec<File>) -> Result<Self, BundleError> {
        let spec = SetSpec { name: ONLY_SET.into(), ..SetSpec::default() };
        Self::of_sets(vec![SetFiles { spec, files }])
    }

    /// Reads sets into a bundle. Files that are no migrations are not part of it.
    ///
    /// # Errors
    /// A [`BundleError`] that names the set or the file.
    pub fn of_sets(mut given: Vec<SetFiles>) -> Result<Self, BundleError> {
        let mut sets = Vec::new();
        for set in &mut given {
            without_doubles(&mut set.files);
            if let Some(command) = set.spec.command.take() {
                let unusable = |source| BundleError::Command { set: set.spec.name.clone(), source };
                let (command, format) = command.completed().map_err(unusable)?;
                set.spec.command = Some(command);
                set.spec.format = set.spec.format.take().or_else(|| format.map(str::to_owned));
            }
            if let Some(pattern) = &set.spec.files {
                set.files.retain(|file| fits(pattern, &file.name));
            }
            let rules = rules_of(set)?;
            if let Some(twice) =
                set.files.windows(2).find(|f| f[0].name == f[1].name && rules.keeps(&f[0].name))
            {
                return Err(BundleError::Twice { set: set.spec.name.clone(), file: twice[0].name.clone() });
            }
            set.spec.format = Some(rules.name().to_owned());
            // Commands without a history have nothing in common.
            let table = if rules.proves() { rules.table() } else { &set.spec.name };
            set.spec.table.get_or_insert_with(|| table.to_owned());
            let condition = |reason: String| BundleError::Condition { set: set.spec.name.clone(), reason };
            let when = set.spec.when.as_deref().map(str::parse).transpose();
            let when = when.map_err(|e: <Selector as std::str::FromStr>::Err| condition(e.to_string()))?;
            sets.push(Set { spec: set.spec.clone(), when, chosen: true });
        }
        let mut chains = chains(&given)?;
        let main = chains.iter().position(|chain| chain.scope == Scope::Tenants);
        let main = main.ok_or(BundleError::NoTenants)?;
        for (at, chain) in chains.iter_mut().enumerate() {
            let first = chain.links.first().and_then(|link| link.sets.first()).copied().unwrap_or_default();
            for link in &mut chain.links {
                let version = &link.migration.version;
                let qualified = || format!("{}/{version}", sets[first].spec.name).into();
                link.id = if at == main { version.clone() } else { qualified() };
            }
        }
        let files = stored_files(&given);
        let digest = Digest::of(files.iter().map(|f| (f.name.as_str(), f.content.as_str())));
        Ok(Self { digest, files, ignored: ignored(&given), sets, chains, main })
    }

    /// Reads the files of [`Self::files`] again. Files without an arrangement are one set.
    ///
    /// # Errors
    /// As [`Self::of_sets`], or when they are damaged.
    pub fn stored(files: Vec<File>) -> Result<Self, BundleError> {
        let Some(manifest) = files.iter().find(|file| file.name == MANIFEST) else {
            return Self::new(files);
        };
        let specs: Vec<SetSpec> =
            serde_json::from_str(&manifest.content).map_err(|_| BundleError::Manifest)?;
        let files_of = |spec: &SetSpec| {
            let below = format!("{}/", spec.name);
            let file = |file: &File| {
                let name = file.name.strip_prefix(&below)?.to_owned();
                Some(File { name, content: file.content.clone() })
            };
            files.iter().filter_map(file).collect()
        };
        let given = specs.into_iter().map(|spec| SetFiles { files: files_of(&spec), spec });
        Self::of_sets(given.collect())
    }

    /// The same bundle, of which only these sets are worked; no names are all sets. What the others applied is known
    /// still, and the digest stays: it names the files.
    ///
    /// The main chain is then the first one for tenants that is worked, or else the first.
    ///
    /// # Errors
    /// [`BundleError::UnknownSet`] when one of them is not there.
    pub fn only(mut self, names: &[String]) -> Result<Self, BundleError> {
        let known: Vec<&str> = self.sets.iter().map(|set| set.spec.name.as_str()).collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(BundleError::UnknownSet { set: unknown.clone(), known: known.join(", ") });
        }
        for set in &mut self.sets {
            set.chosen = names.is_empty() || names.contains(&set.spec.name);
        }
        let worked = |scope: Option<Scope>| {
            let of_scope = |chain: &Chain| scope.is_none_or(|scope| chain.scope == scope);
            self.chains.iter().position(|chain| of_scope(chain) && self.works(chain))
        };
        self.main = worked(Some(Scope::Tenants)).or_else(|| worked(None)).unwrap_or(self.main);
        Ok(self)
    }

    fn works(&self, chain: &Chain) -> bool {
        chain.links.iter().flat_map(|link| &link.sets).any(|set| self.sets[*set].chosen)
    }

    /// Whether a run of it begins with the central database.
    #[must_use]
    pub fn has_central(&self) -> bool {
        self.chains.iter().any(|chain| chain.scope == Scope::Central && self.works(chain))
    }

    /// Whether the versions of the main chain are those that tenants are known by: not so where only other sets are
    /// worked.
    #[must_use]
    pub fn tells_versions(&self) -> bool {
        self.chains.iter().position(|chain| chain.scope == Scope::Tenants) == Some(self.main)
    }

    /// Whether all of its sets are worked.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.sets.iter().all(|set| set.chosen)
    }

    /// Its name.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// All that it was made of, under the names that the digest is of.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The SQL files beside it that it leaves out. A bundle that was stored has none.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Its sets, in the order given.
    #[must_use]
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// Its chains, in the order in which they are worked.
    #[must_use]
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// The chains for databases of a scope, whether a given one takes them or not.
    #[must_use]
    pub fn chains_of(&self, scope: Scope) -> Vec<&Chain> {
        self.chains.iter().filter(|chain| chain.scope == scope).collect()
    }

    /// The chain whose versions a run and a tenant are known by: the first one for tenants.
    #[must_use]
    pub fn main(&self) -> &Chain {
        &self.chains[self.main]
    }

    /// The migrations of the main chain, in order.
    pub fn migrations(&self) -> impl DoubleEndedIterator<Item = &Migration> + Clone {
        self.main().links.iter().map(|link| &link.migration)
    }

    /// The migration of this name, in whichever chain it is.
    #[must_use]
    pub fn get(&self, id: &Version) -> Option<&Migration> {
        let mut links = self.chains.iter().flat_map(|chain| &chain.links);
        links.find(|link| link.id == *id).map(|link| &link.migration)
    }

    /// The versioned migration of this name in a chain for tenants.
    #[must_use]
    pub fn of_tenants(&self, id: &Version) -> Option<&Migration> {
        let mut links =
            self.chains.iter().filter(|chain| chain.scope == Scope::Tenants).flat_map(|c| &c.links);
        links.find(|link| link.id == *id && !link.migration.repeatable).map(|link| &link.migration)
    }

    /// The migration of this version in the main chain.
    #[must_use]
    pub fn find(&self, version: &Version) -> Option<&Migration> {
        self.main().position(version).map(|at| &self.main().links[at].migration)
    }

    /// The newest versioned migration of the main chain.
    #[must_use]
    pub fn latest(&self) -> &Migration {
        let links = &self.main().links;
        let versioned = links.iter().rev().find(|link| !link.migration.repeatable);
        &versioned.unwrap_or(&links[links.len() - 1]).migration
    }

    /// Whether any set is only for some tenants.
    #[must_use]
    pub fn asks_for_labels(&self) -> bool {
        self.sets.iter().any(|set| set.when.is_some())
    }

    /// The chains that a database takes, each with whether each of its links is for it.
    #[must_use]
    pub fn taken_by(&self, scope: Scope, labels: &Labels) -> Vec<Taken<'_>> {
        let takes = |set: &Set| set.chosen && set.when.as_ref().is_none_or(|when| when.matches(labels));
        let sets: Vec<bool> = self.sets.iter().map(takes).collect();
        let of_scope = self.chains.iter().filter(|chain| chain.scope == scope);
        of_scope
            .map(|chain| Taken {
                chain,
                links: chain.links.iter().map(|link| link.sets.iter().any(|set| sets[*set])).collect(),
            })
            .filter(|taken| taken.links.contains(&true))
            .collect()
    }
}

/// A chain as one database takes it.
#[derive(Clone, Debug)]
pub struct Taken<'a> {
    /// The chain.
    pub chain: &'a Chain,
    /// For each of its links, whether the database takes it.
    pub links: Vec<bool>,
}

/// Several directories of one set may hold the same file.
fn without_doubles(files: &mut Vec<File>) {
    files.sort_by(|a, b| (&a.name, &a.content).cmp(&(&b.name, &b.content)));
    files.dedup();
}

fn rules_of(set: &SetFiles) -> Result<&'static dyn Rules, BundleError> {
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
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    (0..=name.len()).any(|at| name.get(at..).is_some_and(|tail| fits(rest, tail)))
}

/// Puts sets that share a history table together.
fn chains(given: &[SetFiles]) -> Result<Vec<Chain>, BundleError> {
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
    let mut files: BTreeMap<&str, (&File, Vec<usize>)> = BTreeMap::new();
    for &at in group {
        let set = &given[at];
        if set.spec.format != first.spec.format {
            let name = |spec: &SetSpec| spec.format.clone().unwrap_or_default();
            return Err(BundleError::MixedFormats {
                first: first.spec.name.clone(),
                second: set.spec.name.clone(),
                formats: format!("{} and {}", name(&first.spec), name(&set.spec)),
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
    let all: Vec<File> = files.values().map(|(file, _)| (*file).clone()).collect();
    let link = |migration: Migration| {
        // What comes from no file belongs to the set itself.
        let sets =
            files.get(migration.file.as_str()).map_or_else(|| group.to_vec(), |(_, sets)| sets.clone());
        let preamble = sets.iter().find_map(|set| given[*set].spec.preamble.clone());
        Link { id: migration.version.clone(), migration, sets, preamble }
    };
    let named = |source: FormatError| match given.len() {
        1 => source.into(),
        _ => {
            let names: Vec<&str> = group.iter().map(|at| given[*at].spec.name.as_str()).collect();
            BundleError::Set { sets: names.join(", "), source }
        }
    };
    let links: Vec<Link> = rules.parse(&all).map_err(named)?.into_iter().map(link).collect();
    let command = group.iter().find_map(|at| given[*at].spec.command.clone());
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

/// The SQL files that no set keeps: several may be of one directory. What a program makes of its own is not known.
fn ignored(given: &[SetFiles]) -> Vec<Ignored> {
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
fn stored_files(given: &[SetFiles]) -> Vec<File> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Vec<File> {
        pairs.iter().map(|(n, c)| File { name: (*n).into(), content: (*c).into() }).collect()
    }

    fn set(name: &str, table: Option<&str>, when: Option<&str>, pairs: &[(&str, &str)]) -> SetFiles {
        let spec = SetSpec {
            name: name.into(),
            table: table.map(Into::into),
            when: when.map(Into::into),
            ..SetSpec::default()
        };
        SetFiles { spec, files: files(pairs) }
    }

    fn ids(chain: &Chain) -> Vec<&str> {
        chain.links.iter().map(|link| link.id.as_str()).collect()
    }

    #[test]
    fn a_readme_does_not_change_the_digest() {
        let plain = Bundle::new(files(&[("1_a.sql", "x")])).unwrap();
        let with = Bundle::new(files(&[("1_a.sql", "x"), ("README.md", "hello")])).unwrap();
        assert_eq!(plain.digest(), with.digest());
        assert_eq!(with.latest().version, 1.into());
        assert!(with.get(&1.into()).is_some() && with.get(&2.into()).is_none());
    }

    #[test]
    fn sql_that_no_set_keeps_is_told() {
        let all = [("tenant:1-a.sql", "x"), ("public:1-a.sql", "y"), ("seed.SQL", "z"), ("notes.md", "")];
        let part = |name: &str, pattern: Option<&str>| {
            let mut part = set(name, Some(name), None, &all);
            part.spec.files = pattern.map(Into::into);
            part
        };
        let ignored = |sets| Bundle::of_sets(sets).unwrap().ignored().to_vec();
        let seed = Ignored { file: "seed.SQL".into(), format: "multi-tenant-migrate" };
        assert_eq!(ignored(vec![part("own", None)]).first(), Some(&seed));
        assert_eq!(ignored(vec![part("own", None), part("shared", Some("public*"))]), [seed]);
        assert_eq!(ignored(vec![part("own", Some("tenant*"))]), []);
    }

    #[test]
    fn a_stored_bundle_is_read_as_it_was() {
        let sets = vec![
            set("core", None, None, &[("1_a.sql", "x")]),
            set("shop", Some("shop_history"), Some("plan=pro"), &[("1_b.sql", "y")]),
        ];
        let bundle = Bundle::of_sets(sets).unwrap();
        let again = Bundle::stored(bundle.files().to_vec()).unwrap();
        assert_eq!(bundle.digest(), again.digest());
        assert_eq!(again.chains().iter().map(ids).collect::<Vec<_>>(), [["1"], ["shop/1"]]);
    }

    #[test]
    fn sets_that_share_a_table_are_one_sequence() {
        let sets = vec![
            set("core", None, None, &[("1_a.sql", "x"), ("3_c.sql", "z")]),
            set("shop", None, Some("plan=pro"), &[("2_b.sql", "y"), ("3_c.sql", "z")]),
        ];
        let bundle = Bundle::of_sets(sets).unwrap();
        assert_eq!(ids(bundle.main()), ["1", "2", "3"]);
        let pro = Labels::from([("plan".to_owned(), "pro".to_owned())]);
        assert_eq!(bundle.taken_by(Scope::Tenants, &pro)[0].links, [true, true, true]);
        assert_eq!(bundle.taken_by(Scope::Tenants, &Labels::new())[0].links, [true, false, true]);
    }

    #[test]
    fn a_file_of_one_name_in_two_sets_must_be_the_same_file() {
        let sets = vec![
            set("core", None, None, &[("1_a.sql", "x")]),
            set("shop", None, None, &[("1_a.sql", "other")]),
        ];
        assert!(matches!(Bundle::of_sets(sets), Err(BundleError::Clash { .. })));
    }

    fn format(names: &[&str], content: &str) -> Result<&'static str, String> {
        let pairs: Vec<_> = names.iter().map(|name| (*name, content)).collect();
        format_of("core", &files(&pairs)).map(Rules::name).map_err(|e| e.to_string())
    }

    #[test]
    fn a_format_is_found_out_by_its_own_marks_and_is_sqlx_without_any() {
        let (dbmate, goose) = ("-- migrate:up\n-- migrate:down\n", "-- +goose Up\n");
        assert_eq!(format(&["1_a.sql"], dbmate), Ok("dbmate"));
        assert_eq!(format(&["1_a.sql"], goose), Ok("goose"));
        assert_eq!(format(&["1_a.sql"], "-- Up Migration\n"), Ok("node-pg-migrate"));
        assert_eq!(format(&["tenant:1-a.sql"], ""), Ok("multi-tenant-migrate"));
        assert_eq!(format(&["20240101000000-a.sql"], ""), Ok("sequelize"));
        assert_eq!(format(&["V1__a.sql", "R__b.sql"], ""), Ok("flyway"));
        assert_eq!(format(&["V1__a.sql", "mod.rs"], ""), Ok("refinery"));
        assert_eq!(format(&["V20240101000000__a.sql", "mod.rs"], ""), Ok("refinery-int8"));
        assert_eq!(format(&["2024-01-01-000000_a/up.sql"], ""), Ok("diesel"));
        assert_eq!(format(&["20240101000000_a/migration.sql", "migration_lock.toml"], ""), Ok("prisma"));
        assert_eq!(format(&["1_a.sql", "atlas.sum"], ""), Ok("atlas"));
        assert_eq!(format(&["1_a.sql", "atlas.sum"], goose), Ok("goose"));
        for plain in [&["1_a.sql"][..], &["1_a.up.sql", "1_a.down.sql"], &["README.md"], &[]] {
            assert_eq!(format(plain, ""), Ok("sqlx"), "{plain:?}");
        }
        let both = format(&["1_a.sql"], &format!("{dbmate}{goose}")).unwrap_err();
        assert!(both.contains("core") && both.contains("dbmate or goose"), "{both}");
    }

    #[test]
    fn one_directory_serves_several_sets() {
        let all = [("tenant:1-a.sql", "x"), ("public:1-a.sql", "y"), ("tenant:2-b.sql", "z")];
        let part = |name: &str, pattern: &str, scope: Scope| {
            let mut part = set(name, None, None, &all);
            (part.spec.files, part.spec.scope) = (Some(pattern.into()), scope);
            part
        };
        let sets = vec![part("own", "tenant*", Scope::Tenants), part("shared", "public*", Scope::Central)];
        let bundle = Bundle::of_sets(sets).unwrap();
        let chains: Vec<_> = bundle.chains().iter().map(ids).collect();
        assert_eq!(chains, [vec!["tenant:1-a.sql", "tenant:2-b.sql"], vec!["shared/public:1-a.sql"]]);
        assert_eq!(bundle.digest(), Bundle::stored(bundle.files().to_vec()).unwrap().digest());
    }

    #[test]
    fn a_history_of_one_row_is_not_shared_with_a_set_for_some() {
        let sets = |table: Option<&str>, when: Option<&str>| {
            let mut both = vec![
                set("core", None, None, &[("1_a.up.sql", "x")]),
                set("shop", table, when, &[("2_b.up.sql", "y")]),
            ];
            both.iter_mut().for_each(|set| set.spec.format = Some("golang-migrate".into()));
            Bundle::of_sets(both)
        };
        assert!(matches!(sets(None, Some("plan=pro")), Err(BundleError::Untold { .. })));
        assert!(sets(Some("shop_migrations"), Some("plan=pro")).is_ok() && sets(None, None).is_ok());
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, name) in
            [("*", ""), ("a*", "a"), ("*.sql", "x/y.sql"), ("a*b*c", "a-bb-c"), ("é*", "éa")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("a*", "ba"), ("*.sql", "sql"), ("a*b*c", "ac"), ("a", "ab")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_file_in_two_directories_of_a_set_is_one_file_or_an_error() {
        let same = set("core", None, None, &[("1_a.sql", "x"), ("1_a.sql", "x")]);
        let bundle = Bundle::of_sets(vec![same]).unwrap();
        assert_eq!((ids(bundle.main()), bundle.files().len()), (vec!["1"], 2));
        let readmes = set("core", None, None, &[("1_a.sql", "x"), ("README.md", "a"), ("README.md", "b")]);
        assert!(Bundle::of_sets(vec![readmes]).is_ok());
        let other = set("core", None, None, &[("1_a.sql", "x"), ("1_a.sql", "y")]);
        assert!(matches!(Bundle::of_sets(vec![other]), Err(BundleError::Twice { .. })));
    }

    #[test]
    fn a_bundle_of_which_only_some_sets_are_worked_keeps_its_name_and_its_ids() {
        let mut central = set("plans", None, None, &[("1_p.sql", "p")]);
        central.spec.scope = Scope::Central;
        let sets = || {
            vec![
                central.clone(),
                set("core", None, None, &[("1_a.sql", "x"), ("4_d.sql", "d")]),
                set("shop", Some("shop_history"), None, &[("2_b.sql", "y")]),
            ]
        };
        let only = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            Bundle::of_sets(sets()).unwrap().only(&names)
        };
        let whole = only(&[]).unwrap();
        assert!(whole.is_whole() && whole.has_central() && whole.tells_versions());
        let shop = only(&["shop"]).unwrap();
        assert!(!shop.is_whole() && !shop.has_central() && !shop.tells_versions());
        assert_eq!(shop.digest(), whole.digest());
        assert_eq!((ids(shop.main()), shop.latest().version.as_str()), (vec!["shop/2"], "2"));
        let taken = shop.taken_by(Scope::Tenants, &Labels::new());
        assert_eq!(taken.iter().map(|t| ids(t.chain)).collect::<Vec<_>>(), [["shop/2"]]);
        assert_eq!(ids(only(&["shop", "core"]).unwrap().main()), ["1", "4"]);
        assert_eq!(ids(only(&["plans"]).unwrap().main()), ["plans/1"]);
        let unknown = only(&["shops"]).unwrap_err().to_string();
        assert_eq!(unknown, "there is no set 'shops' (there are: plans, core, shop)");
    }

    #[test]
    fn an_unknown_format_is_named_with_those_there_are() {
        let mut unknown = set("core", None, None, &[("1_a.sql", "x")]);
        unknown.spec.format = Some("sqlxx".into());
        let error = Bundle::of_sets(vec![unknown]).unwrap_err().to_string();
        assert!(error.contains("'sqlxx'") && error.contains("sqlx"), "{error}");
    }
}
