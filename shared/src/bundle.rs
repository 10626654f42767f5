//! A bundle: an immutable arrangement of migrations, named by the digest of its files, so that every worker on every
//! machine applies the same bytes.
//!
//! Its files are arranged in *sets*: directories with what belongs to them (a format, a history table, which tenants
//! take it). Sets that keep their history in one table are one *chain*: a sequence of migrations in the order of
//! their format, whichever set each came from. Chains follow each other in the order in which the sets are given.

mod arrange;
mod error;

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

pub use self::{arrange::format_of, error::BundleError};
use crate::{
    command::CommandSpec,
    format::{Applied, File, Migration, Rules},
    selector::Selector,
    site::Row,
    tenant::Labels,
    version::Version,
};
pub use crate::{digest::Digest, tenant::Scope};

use self::arrange::{chains, fits, ignored, rules_of, stored_files, without_doubles};

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

impl Link {
    /// What is known of the bytes that it runs, in a database that takes it: its name, its SQL and what that begins with.
    /// None where it is not SQL.
    #[must_use]
    pub fn bytes(&self) -> Option<Digest> {
        let up = self.migration.up.as_ref()?;
        let marked = if up.marked { "marked" } else { "" };
        Some(Digest::of([
            ("id", self.id.as_str()),
            ("up", &up.text),
            ("marked", marked),
            ("preamble", self.preamble.as_deref().unwrap_or_default()),
        ]))
    }
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

    /// The migration of this name in its chain, whichever that is.
    #[must_use]
    pub fn link(&self, id: &Version) -> Option<&Link> {
        self.chains.iter().flat_map(|chain| &chain.links).find(|link| link.id == *id)
    }

    /// The bytes of all migrations that a tenant may take on its way to a version of the main chain.
    #[must_use]
    pub fn bytes_to(&self, target: &Version) -> Vec<Digest> {
        let end = self.main().position(target);
        let within = |chain: &Chain, at: usize| {
            !std::ptr::eq(chain, self.main())
                || chain.links[at].migration.repeatable
                || end.is_some_and(|end| at <= end)
        };
        let taken = |link: &Link| link.sets.iter().any(|set| self.sets[*set].chosen);
        let of_tenants = self.chains.iter().filter(|chain| chain.scope == Scope::Tenants);
        let links = of_tenants.flat_map(|chain| {
            chain.links.iter().enumerate().filter(move |(at, _)| within(chain, *at)).map(|(_, link)| link)
        });
        links.filter(|link| taken(link)).filter_map(Link::bytes).collect()
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

#[cfg(test)]
mod tests;
